"""Random spin machines, whose errors turn: ``python -m tapcore_bench.micro.turning``.

For each machine the sweeps of 16 chains by default and without acceleration, whether the chains get there, and how far
they are from their solutions then. Prints totals and the machines with the most sweeps by default, relative to those
without.
"""

from __future__ import annotations

import argparse
from typing import NamedTuple

import numpy as np

import tapcore as tc

SCALES = (0.6, 0.8, 0.9, 1.05, 1.25, 1.5)
TOL = 1e-6


class Row(NamedTuple):
    """Of one machine."""

    seed: int
    scale: float
    default: int  # sweeps of all chains
    plain: int
    got_there: int  # chains, of both ways
    beyond: int  # chains farther from their solution than they should be


def measure(seed: int, scale: float, most: int) -> Row:
    """A machine of 24 x 16 spins, weights of standard deviation scale/4, 16 random starts."""
    W = np.random.default_rng(seed).normal(0, scale / 4, (24, 16))
    machine = tc.RBM(tc.Spin(24), tc.Spin(16), weights=W)
    X = machine.layers[0].random_means(16, np.random.default_rng(seed))
    exact = tc.solve(machine, X, tol=1e-13, max_sweeps=2 * most)
    sweeps, there, beyond = [], 0, 0
    for acceleration in ("auto", None):
        found = tc.solve(machine, X, tol=TOL, max_sweeps=most, acceleration=acceleration)
        gaps = [np.abs(a - b).max(axis=1) for a, b in zip(found.mean, exact.mean, strict=True)]
        both = found.converged & exact.converged
        sweeps.append(int(found.sweeps.sum()))
        there += int(found.converged.sum())
        beyond += int((both & (np.maximum(*gaps) > TOL)).sum())
    return Row(seed, scale, sweeps[0], sweeps[1], there, beyond)


def main() -> None:
    """Print the totals and the worst machines."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--machines", type=int, default=2400)
    parser.add_argument("--first-seed", type=int, default=1000)
    parser.add_argument("--max-sweeps", type=int, default=3000)
    options = parser.parse_args()
    rows = [
        measure(options.first_seed + i // len(SCALES), SCALES[i % len(SCALES)], options.max_sweeps)
        for i in range(options.machines)
    ]
    default, plain = (sum(row[j] for row in rows) for j in (2, 3))
    print(f"{len(rows)} machines of 16 chains: {default} sweeps by default, {plain} without acceleration;")
    there, beyond = (sum(row[j] for row in rows) for j in (4, 5))
    print(f"{there} of {32 * len(rows)} get there, {beyond} of them farther than {TOL:g} from their solution;")
    print(f"with more than 1.1 times the sweeps: {sum(r.default > 1.1 * r.plain for r in rows)} machines; the worst:")
    for row in sorted(rows, key=lambda r: r.default / r.plain, reverse=True)[:5]:
        ratio = row.default / row.plain
        print(f"  seed {row.seed}, scale {row.scale}: {row.default} and {row.plain}, {ratio:.2f} times")


if __name__ == "__main__":
    main()
