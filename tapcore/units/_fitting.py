"""Maximum likelihood, site by site, for real-valued units: U and V from the first two moments of the data."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from tapcore import _checks
from tapcore.special import truncnorm

Array = NDArray[np.float64]

_NEWTON_STEPS, _HALVINGS = 100, 60


def column_sums(X: NDArray[Any], *terms: Callable[[Array], Array]) -> list[Array]:
    """Sum of each term of (rows, n) over the rows of `X`, a bounded number of rows at a time."""
    totals = [np.zeros(X.shape[1]) for _ in terms]
    for _, rows in _checks.row_blocks(X):
        x = rows.astype(np.float64)
        for total, term in zip(totals, terms, strict=True):
            total += term(x).sum(axis=0)
    return totals


def ends(lo: ArrayLike, hi: ArrayLike, n: int) -> tuple[Array, Array]:
    """Ends of the interval of each of n sites."""
    left, right = _checks.per_site("lo", lo, n), _checks.per_site("hi", hi, n)
    below("lo", left, "hi", right)
    return left, right


def below(name: str, left: Array, other: str, right: Array) -> None:
    """Refuse, by the first bad index, ends that enclose nothing."""
    bad = ~(left < right)
    if bad.any():
        (i,) = _checks.first_index(bad)
        raise ValueError(f"{name} must be below {other}: {name}[{i}] is {left[i]!s}, {other}[{i}] is {right[i]!s}")


class IntervalSums:
    """What the samples in each column of an interval [lo, hi] add up to, seen from either end.

    Attributes
    ----------
    count : (n,) array
        Samples, not all whole numbers if `blended` with imaginary ones.
    sums : (4, n) array
        Of t, t^2, 2 - t and (2 - t)^2, with t the distance from `hi` in half-widths: no digits are lost of data that
        pile up at an end.
    """

    def __init__(self, count: Array, sums: Array) -> None:
        self.count, self.sums = count, sums

    @classmethod
    def of(cls, X: NDArray[Any], lo: Array, hi: Array, counted: Callable[[Array], Array]) -> IntervalSums:
        """Sums over the entries of `X` that are `counted`: 1 for yes, 0 for no."""
        half = (hi - lo) / 2
        terms = [
            lambda x: counted(x) * ((hi - x) / half),
            lambda x: counted(x) * ((hi - x) / half) ** 2,
            lambda x: counted(x) * ((x - lo) / half),
            lambda x: counted(x) * ((x - lo) / half) ** 2,
            counted,
        ]
        *sums, count = column_sums(X, *terms)
        return cls(count, np.array(sums))

    def blended(self, imaginary: Array) -> IntervalSums:
        """With so many samples more, spread evenly over the interval."""
        return IntervalSums(self.count + imaginary, self.sums + imaginary * np.array([[1], [4 / 3], [1], [4 / 3]]))

    def fit(self, lo: Array, hi: Array) -> tuple[Array, Array]:
        """U and V of greatest likelihood."""
        means = self.sums / self.count
        right = means[0] <= means[2]
        slope, p = fit_distances(np.where(right, means[0], means[2]), np.where(right, means[1], means[3]))
        half = (hi - lo) / 2
        V = p / half**2
        return np.where(right, slope, -slope) / half + V * np.where(right, hi, lo), V


def fit_distances(first: Array, second: Array) -> tuple[Array, Array]:
    """(slope, p) of ``exp(-slope t - p t^2/2)`` on 0 <= t <= 2 with the given ``<t>`` and ``<t^2>``.

    Newton's method on a convex function of two parameters; steps are halved until its slope along them has fallen.
    """
    p = np.maximum(1 / (second - first * first) - 3, 0.0)
    slope = -first * p
    gradient = _gradient(slope, p, first, second)
    for _ in range(_NEWTON_STEPS):
        step = _newton_step(slope, p, first, second, gradient)
        descent = -(step * gradient).sum(axis=0)
        if np.all(descent < 1e-22):
            break
        scale = np.ones_like(p)
        for _ in range(_HALVINGS):
            trial = _gradient(slope + scale * step[0], p + scale * step[1], first, second)
            steep = (step * trial).sum(axis=0) > 0.5 * descent
            if not steep.any():
                break
            scale = np.where(steep, 0.5 * scale, scale)
        slope, p, gradient = slope + scale * step[0], p + scale * step[1], trial
    return slope, p


def _moments(slope: Array, p: Array) -> tuple[Array, Array]:
    """Variance of t, and <t> and <t^2> as one (2, n) array."""
    # With x = -t the end lies at 0, and the slope there is the field.
    _, mean, var = truncnorm.moments(p, slope, -2.0, 0.0)
    return var, np.array([-mean, var + mean * mean])


def _gradient(slope: Array, p: Array, first: Array, second: Array) -> Array:
    """Of ``ln Z + slope <t> + p <t^2>/2``: (2, n)."""
    _, found = _moments(slope, p)
    return np.array([first - found[0], 0.5 * (second - found[1])])


def _newton_step(slope: Array, p: Array, first: Array, second: Array, gradient: Array) -> Array:
    var, _ = _moments(slope, p)
    # Small beside 1: further off the other end may take over.
    h = k = 1e-3
    across = (_gradient(slope + h, p, first, second) - _gradient(slope - h, p, first, second))[1] / (2 * h)
    down = (_gradient(slope, p + k, first, second) - _gradient(slope, p - k, first, second))[1] / (2 * k)
    determinant = np.maximum(var * down - across * across, 1e-6 * var * down)
    step = np.array([across * gradient[1] - down * gradient[0], across * gradient[0] - var * gradient[1]])
    return np.asarray(step / determinant)


def pooled_variance(variances: Array, squares: Array) -> float:
    """Average spread of columns with these variances and mean squares, 1 if none spreads by more than rounding."""
    spread = float(variances.mean())
    return spread if spread > 1e-24 * float(squares.mean()) else 1.0
