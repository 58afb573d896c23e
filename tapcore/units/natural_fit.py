"""A fit for any unit type: fields and precisions that give each site the mean and the square of its data."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from tapcore._base import checks

Array = NDArray[np.float64]
# ln Z, mean and variance at every site in fields and precisions, (n,) each.
Moments = Callable[[Array, Array], tuple[Array, Array, Array]]

_STEPS, _HALVINGS = 100, 60
# Where a step along the gradient gains less, it is over: some 1e-13 standard deviations.
_LEAST = 1e-26


class Wanted(NamedTuple):
    """Averages of x and x^2 that a law is to have: (n,) arrays."""

    mean: Array
    square: Array


def wanted(X: NDArray[Any], moments: Moments) -> Wanted:
    """Averages over the samples `X` (samples, n) and an imaginary one from the law that is fitted."""
    nothing = np.zeros(X.shape[1])
    _, mean, var = moments(nothing, nothing)
    total, squares = mean.astype(np.float64), var + mean * mean
    for _, rows in checks.row_blocks(X):
        x = rows.astype(np.float64)
        total += x.sum(axis=0)
        squares += (x * x).sum(axis=0)
    return Wanted(total / (len(X) + 1), squares / (len(X) + 1))


def fit(moments: Moments, aim: Wanted, precisions: bool) -> tuple[Array, Array]:
    """Fields and precisions, (n,) each, in which a law has these averages; precisions stay 0 unless wanted.

    Newton's method on ``ln Z(B, A) - B <x> + A <x^2>/2``, which is convex; a step is halved until its slope has fallen.
    """
    spread = np.maximum(aim.square - aim.mean * aim.mean, 1e-14 * aim.square + np.finfo(np.float64).tiny)
    h = np.array([1e-3 / np.sqrt(spread), 1e-3 / spread])
    at = np.zeros_like(h)
    slope, var = _slopes(moments, aim, at, precisions)
    for _ in range(_STEPS):
        step = np.zeros_like(at)
        if precisions:
            across, down = (
                (_slopes(moments, aim, at + d, True)[0] - _slopes(moments, aim, at - d, True)[0])[1] / (2 * h[i])
                for i, d in enumerate((h * [[1], [0]], h * [[0], [1]]))
            )
            down = np.maximum(down, 1e-12 * spread * spread)
            determinant = np.maximum(var * down - across * across, 1e-6 * var * down)
            step[0] = (across * slope[1] - down * slope[0]) / determinant
            step[1] = (across * slope[0] - var * slope[1]) / determinant
        else:
            step[0] = -slope[0] / var
        fall = -(step * slope).sum(axis=0)
        if np.all(fall < _LEAST):
            break
        scale = np.ones_like(fall)
        for _ in range(_HALVINGS):
            trial = at + scale * step
            new_slope, new_var = _slopes(moments, aim, trial, precisions)
            good = (step * new_slope).sum(axis=0) <= 0.5 * fall  # not so where it is NaN
            if good.all():
                break
            scale = np.where(good, scale, 0.5 * scale)
        at, slope, var = trial, new_slope, new_var
    return at[0], at[1]


def _slopes(moments: Moments, aim: Wanted, at: Array, precisions: bool) -> tuple[Array, Array]:
    """Slopes with B and A, (2, n), and variances."""
    _, mean, var = moments(at[0], at[1])
    with_A = 0.5 * (aim.square - var - mean * mean) if precisions else np.zeros_like(mean)
    return np.array([mean - aim.mean, with_A]), var
