"""Where chains may start, besides the data: arrays of visible means, a bounded number of rows at a time."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from tapcore._base import checks
from tapcore.machine import Machine, check_machine

Array = NDArray[Any]

# Rows of an array.
ROWS = 1024


def random_starts(machine: Machine, count: int, seed: int = 0) -> Iterator[Array]:
    """Random visible means: uniform where they are bounded, else drawn from the units' own law.

    Parameters
    ----------
    machine : Machine
    count : int
        Number of starts.
    seed : int
        At least 0.

    Returns
    -------
    iterator of (at most 1024, n_visible) arrays

    Raises
    ------
    ValueError
        An argument outside its range.
    """
    check_machine(machine)
    count, seed = checks.integer("count", count, minimum=1), checks.integer("seed", seed, minimum=0)
    return (
        machine.layers[0].random_means(min(ROWS, count - first), _stream(seed, first))
        for first in range(0, count, ROWS)
    )


def noisy_starts(machine: Machine, X: ArrayLike, noise: float, *, copies: int = 1, seed: int = 0) -> Iterator[Array]:
    """Samples in which each unit is replaced, with probability `noise`, by a random mean.

    Parameters
    ----------
    machine : Machine
    X : (n, n_visible) array_like
        Samples; may be memory-mapped.
    noise : float
        Probability, 0 to 1.
    copies : int
        Noisy copies of each sample; all samples come once before any comes again.
    seed : int
        At least 0.

    Returns
    -------
    iterator of (at most 1024, n_visible) arrays

    Raises
    ------
    ValueError
        `X` of the wrong shape or with values that are no visible means, or another argument outside its range.
    """
    check_machine(machine)
    visible = machine.layers[0]
    array = visible.rows("X", X, "samples")
    visible.check_means("X", array)
    noise = checks.number("noise", noise, minimum=0, maximum=1)
    copies, seed = checks.integer("copies", copies, minimum=1), checks.integer("seed", seed, minimum=0)

    def noisy(copy: int, first: int) -> Array:
        rng = _stream(seed, copy, first)
        rows = np.array(array[first : first + ROWS], np.float64)
        return np.where(rng.random(rows.shape) < noise, visible.random_means(len(rows), rng), rows)

    return (noisy(copy, first) for copy in range(copies) for first in range(0, array.shape[0], ROWS))


def structured_starts(machine: Machine) -> Iterator[Array]:
    """Visible means given that one unit of the next layer is high, or low, and all others are at their means.

    High and low are two standard deviations from the mean of the unit alone, or the end of its range. With what the
    weights of each hidden unit say of the visible ones, these reach solutions that no sample may be near.

    Parameters
    ----------
    machine : Machine

    Returns
    -------
    iterator of (at most 1024, n_visible) arrays
        2 starts for each unit of the second layer: the high ones, then the low ones.
    """
    check_machine(machine)
    visible, hidden, W = machine.layers[0], machine.layers[1], machine.weights[0]
    _, mean, var = hidden.moments(0.0, 0.0)
    lo, hi = hidden.bounds()
    spread = 2 * np.sqrt(var)
    ends = np.concatenate([np.minimum(mean + spread, hi), np.maximum(mean - spread, lo)])

    def given(units: Array) -> Array:
        at = np.tile(mean, (len(units), 1))
        at[np.arange(len(units)), units % hidden.columns] = ends[units]
        return visible.moments(at @ W.T, 0.0)[1]

    units = np.arange(2 * hidden.columns)
    return (given(units[first : first + ROWS]) for first in range(0, units.size, ROWS))


def _stream(seed: int, *key: int) -> np.random.Generator:
    return np.random.default_rng(np.random.SeedSequence(seed, spawn_key=key))
