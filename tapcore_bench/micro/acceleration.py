"""Solving with acceleration against the plain iteration, on machines too small or too easy to gain much from it."""

from __future__ import annotations

from functools import partial

import numpy as np

import tapcore as tc
from tapcore_bench.micro.harness import Row, take_turns

CHAINS = 1000
SIZES = ((60, 30), (300, 100), (784, 100))
# Standard deviation of the weights times the root of the number of units: from a few sweeps to many solutions.
SCALES = (1.0, 3.0, 6.0)
TARGET = 1.10


def rows(repeats: int) -> list[Row]:
    """Random machines of binary and spin units: how long 1,000 random starts take to 1e-6, either way."""
    made = []
    for visible, hidden in SIZES:
        for unit in (tc.Binary, tc.Spin):
            for scale in SCALES:
                sigma = scale / np.sqrt(visible + hidden)
                machine = tc.RBM(unit(visible), unit(hidden), sigma=sigma, seed=1)
                X = machine.layers[0].random_means(CHAINS, np.random.default_rng(2))
                ways = [partial(tc.solve, machine, X, acceleration=a, max_sweeps=2000) for a in ("auto", None)]
                ours, plain = take_turns(ways, repeats)
                what = f"{CHAINS} chains of {visible}x{hidden} {unit.__name__}, weights {sigma:.2g}"
                made.append(Row(what, ours, plain, "the plain iteration", TARGET))
    return made
