"""A Newton-Krylov finish instead of acceleration: ``python -m tapcore_bench.paper.newton_krylov``.

Sweeps that chains of a 784x100 machine take in all: plainly to a residual, then by SciPy's `newton_krylov` until they
are within 1e-6 of their solution, which is known here. Only sweeps count, not the time between them.
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import NoConvergence, newton_krylov

import tapcore as tc
from tapcore_bench.paper.data import binary_mnist
from tapcore_bench.paper.machines import trained

Array = NDArray[np.float64]

PLAIN: dict[str, Any] = {"tol": 0, "acceleration": None}
CLOSE, CHAINS, BEGIN = 1e-6, 24, (1e-2, 1e-3, 1e-4)


class Arrived(Exception):  # noqa: N818 - not an error
    """The chain is close enough to its solution."""


def finish(machine: tc.Machine, start: tc.Solutions, target: Array) -> tuple[int, bool]:
    """Sweeps from `start` by Newton-Krylov, and whether they lead to the visible means `target`."""
    ends = np.cumsum([x.shape[1] for x in (*start.mean, *start.var)])[:-1]
    sweeps, distance = 0, np.inf

    def residual(x: Array) -> Array:
        nonlocal sweeps
        sweeps += 1
        parts = [part[None] for part in np.split(x, ends)]
        means, variances = tuple(parts[:2]), tuple(np.clip(v, 0, 0.25) for v in parts[2:])
        after = tc.solve(machine, replace(start, mean=means, var=variances), max_sweeps=1, **PLAIN)
        return np.concatenate([y[0] for y in (*after.mean, *after.var)]) - x

    def look(x: Array, f: Array) -> None:
        nonlocal distance
        distance = float(np.abs(x[: ends[0]] - target).max())
        if distance < CLOSE:
            raise Arrived

    begin = np.concatenate([y[0] for y in (*start.mean, *start.var)])
    try:
        newton_krylov(residual, begin, method="lgmres", f_tol=1e-12, maxiter=30, inner_maxiter=20, callback=look)
    except Arrived:
        return sweeps, True
    except (NoConvergence, ValueError):  # the second: a step led to what is not finite
        pass
    return sweeps, distance < CLOSE


def main() -> None:
    """Print a line for each machine and residual."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--epochs", type=lambda s: [int(n) for n in s.split(",")], default=[2, 5, 10])
    parser.add_argument("--out", type=Path, default=Path("runs") / "convergence")
    options = parser.parse_args()
    X = binary_mnist()[:CHAINS]
    for epoch, machine in zip(options.epochs, trained(options.out, 100, options.epochs), strict=True):
        solutions = tc.solve(machine, X, tol=1e-10, acceleration=None)
        default = tc.solve(machine, X).sweeps.mean()
        print(f"784x100 after {epoch} epochs: by default {default:.0f} sweeps a chain", flush=True)
        for begin in BEGIN:
            ends = []
            for k, x in enumerate(X):
                chain = tc.solve(machine, x[None], max_sweeps=8, **PLAIN)
                before = 8
                while chain.residual[0] > begin:
                    chain = tc.solve(machine, chain, max_sweeps=4, **PLAIN)
                    before += 4
                more, arrived = finish(machine, chain, solutions.mean[0][k])
                ends.append((before + more, arrived))
            mean, there = np.mean(ends, axis=0)
            print(
                f"  from a residual of {begin:g}: {mean:.0f} sweeps, {100 * there:.0f} % at the plain solution",
                flush=True,
            )


if __name__ == "__main__":
    main()
