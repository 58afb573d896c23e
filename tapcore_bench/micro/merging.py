"""Merging of solutions: ``python -m tapcore_bench.micro.merging``.

Time to merge K and 2 K chains of 884 means, all at solutions of their own, or at a thousand with an error of 1e-8; and
the peak memory of the process, the means included.
"""

from __future__ import annotations

import argparse
import multiprocessing
import resource
import statistics
import time

import numpy as np
from numpy.typing import NDArray

from tapcore.grouping.merging import merge
from tapcore_bench.micro.harness import machine_name

SIZES = (784, 100)
NOISE, TOL = 1e-8, 1e-4
REPEATS = 3


def chains(kind: str, count: int) -> tuple[NDArray[np.float64], ...]:
    """Means of `count` chains."""
    rng = np.random.default_rng(0)
    solutions = count if kind == "distinct" else 1000
    means = tuple(rng.random((solutions, n)) for n in SIZES)
    if kind == "distinct":
        return means
    rows = rng.integers(0, solutions, count)
    # In place: the peak should be that of merging.
    made = tuple(m[rows] for m in means)
    for m in made:
        for first in range(0, count, 1000):
            m[first : first + 1000] += rng.normal(0, NOISE, m[first : first + 1000].shape)
    return made


def measure(kind: str, count: int) -> None:
    """Print medians for `count` and twice as many chains."""
    means = chains(kind, 2 * count)
    distance = np.random.default_rng(1).random(2 * count) * 1e-6
    merge(tuple(m[:100] for m in means), distance[:100], TOL)
    medians, found = [], 0
    for k in (count, 2 * count):
        seconds = []
        for _ in range(REPEATS):
            begun = time.perf_counter()
            leaders, _ = merge(tuple(m[:k] for m in means), distance[:k], TOL)
            seconds.append(time.perf_counter() - begun)
            found = len(leaders)
        medians.append(statistics.median(seconds))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    print(
        f"{kind}: {count} chains in {medians[0]:.2f} s, {2 * count} in {medians[1]:.2f} s, "
        f"{medians[1] / medians[0]:.2f} times as long; {found} solutions; peak {peak:.2f} GiB with {2 * count}",
        flush=True,
    )


def main() -> None:
    """Measure each kind in a process of its own."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--chains", type=int, default=100_000)
    options = parser.parse_args()
    print(machine_name())
    context = multiprocessing.get_context("spawn")
    for kind in ("distinct", "copies"):
        process = context.Process(target=measure, args=(kind, options.chains))
        process.start()
        process.join()


if __name__ == "__main__":
    main()
