"""Memory and time of harvests of many starts: ``python -m tapcore_bench.paper.harvesting``.

Each in a process of its own: noisy images of binary MNIST stream through a 784x100 machine.
"""

from __future__ import annotations

import argparse
import multiprocessing
import resource
import time
from pathlib import Path

import tapcore as tc
from tapcore_bench.micro.harness import machine_name
from tapcore_bench.paper.data import binary_mnist
from tapcore_bench.paper.machines import trained

NOISE = 0.1


def harvest(folder: Path, epoch: int, count: int) -> None:
    """Harvest from `count` starts and print what it took."""
    (machine,) = trained(folder, 100, [epoch])
    X = binary_mnist()
    copies, rest = divmod(count, len(X))
    parts = [tc.noisy_starts(machine, X, NOISE, copies=copies)] if copies else []
    parts += [tc.noisy_starts(machine, X[:rest], NOISE, seed=1)] if rest else []
    begun = time.perf_counter()
    found = tc.harvest(machine, (x for part in parts for x in part))
    seconds = time.perf_counter() - begun
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    lost = int((found.labels < 0).sum()) if found.labels is not None else 0
    print(
        f"{count} starts: {len(found)} solutions, {lost} starts did not converge, {seconds:.1f} s, peak {peak:.0f} MB",
        flush=True,
    )


def main() -> None:
    """Print a line for each number of starts, and before them one for a few."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--epoch", type=int, default=5)
    parser.add_argument("--starts", type=lambda s: [int(n) for n in s.split(",")], default=[10_000, 100_000])
    parser.add_argument("--out", type=Path, default=Path("runs") / "convergence")
    options = parser.parse_args()
    print(machine_name())
    trained(options.out, 100, [options.epoch])
    context = multiprocessing.get_context("spawn")
    # The first process compiles kernels, which takes memory that later ones do not need.
    for count in [min(options.starts[0], 1000), *options.starts]:
        process = context.Process(target=harvest, args=(options.out, options.epoch, count))
        process.start()
        process.join()
        if process.exitcode:
            raise SystemExit(process.exitcode)


if __name__ == "__main__":
    main()
