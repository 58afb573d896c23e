"""Maximum likelihood, site by site, for real-valued units: U and V from the first two moments of the data."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from tapcore._base import checks
from tapcore.special import truncnorm

Array = NDArray[np.float64]

_NEWTON_STEPS, _HALVINGS = 100, 60
# Standard deviations below so many times the mean are rounding errors: such a column does not vary.
_ROUNDING = 8 * float(np.finfo(np.float64).eps)
# On the line nothing is fitted narrower than this share of its mean: ``U^2/2V``, half the square of their ratio, is
# part of every ln Z, and in float64 would leave no digits of it.
_NARROWEST = 1e-7
# Share of the largest variance that a mean allows between two ends: that of an even spread about their middle.
_EVEN = 1 / 3


def column_sums(X: NDArray[Any], *terms: Callable[[Array], Array]) -> list[Array]:
    """Sum of each term of (rows, n) over the rows of `X`, a bounded number of rows at a time."""
    totals = [np.zeros(X.shape[1]) for _ in terms]
    for _, rows in checks.row_blocks(X):
        x = rows.astype(np.float64)
        for total, term in zip(totals, terms, strict=True):
            total += term(x).sum(axis=0)
    return totals


def everything(x: Array) -> Array:
    """Count every entry."""
    return np.ones_like(x)


def nonzero(x: Array) -> Array:
    """Count entries that are not 0."""
    return np.asarray(x != 0, np.float64)


class ColumnMoments(NamedTuple):
    """How many entries of each column count, their mean and their variance: (n,) arrays; zeros where none counts."""

    number: Array
    mean: Array
    var: Array


def share_of_few(number: Array) -> Array:
    """Share of an imaginary sample that slabs with so many values get, lest two or three narrow it to themselves."""
    return np.exp(-number / 3)


def column_moments(X: NDArray[Any], counted: Callable[[Array], Array] = everything) -> ColumnMoments:
    """Moments of the entries of `X` (rows, n) that are `counted`: 1 for yes, 0 for no; read three times.

    No offset costs digits: sums are of differences from the first row, and then from the mean.
    """
    first = np.asarray(X[0], np.float64)
    with np.errstate(over="ignore", invalid="ignore"):  # said below
        total, count = column_sums(X, lambda x: counted(x) * (x - first), counted)
        some = np.maximum(count, 1.0)
        mean = np.where(count > 0, first + total / some, 0.0)
        squares, left = column_sums(X, lambda x: counted(x) * (x - mean) ** 2, lambda x: counted(x) * (x - mean))
    var = np.maximum(squares / some - (left / some) ** 2, 0.0)
    if not np.isfinite(var).all():
        (i,) = checks.first_index(~np.isfinite(var))
        raise ValueError(f"X must have columns whose squares are finite: those of X[:, {i}] are not; rescale it")
    return ColumnMoments(count, mean, var)


def typical(spreads: Array) -> float:
    """Geometric mean of the positive ones of these spreads, 1 if there is none."""
    positive = spreads[spreads > 0]
    return float(np.exp(np.log(positive).mean())) if positive.size else 1.0


def usable_variances(mean: Array, var: Array) -> Array:
    """Variances of columns on the line, positive and wide enough for ln Z to keep its digits.

    A column that does not vary has no scale of its own: it gets the typical one of the others, 1 if none varies.
    """
    spread = np.sqrt(var)
    varies = spread > _ROUNDING * np.abs(mean)
    spread = np.where(varies, spread, typical(spread[varies]))
    return np.maximum(spread, _NARROWEST * np.abs(mean)) ** 2


def ends(lo: ArrayLike, hi: ArrayLike, n: int) -> tuple[Array, Array]:
    """Ends of the interval of each of n sites."""
    left, right = checks.per_site("lo", lo, n), checks.per_site("hi", hi, n)
    below("lo", left, "hi", right)
    return left, right


def below(name: str, left: Array, other: str, right: Array) -> None:
    """Refuse, by the first bad index, ends that enclose nothing."""
    bad = ~(left < right)
    if bad.any():
        (i,) = checks.first_index(bad)
        raise ValueError(f"{name} must be below {other}: {name}[{i}] is {left[i]!s}, {other}[{i}] is {right[i]!s}")


class IntervalMoments(NamedTuple):
    """Moments of the entries of each column that count, on its interval [lo, hi]: (n,) arrays.

    Distances t are from the end that is nearer to their mean, in half-widths: no digits are lost of data that pile up
    at an end.
    """

    number: Array
    at_hi: NDArray[np.bool_]  # which end
    mean: Array  # of t, at most 1
    var: Array

    @classmethod
    def of(
        cls, X: NDArray[Any], lo: Array, hi: Array, counted: Callable[[Array], Array] = everything
    ) -> IntervalMoments:
        """Moments of the entries of `X` that are `counted`: 1 for yes, 0 for no; those of an even spread if none is."""
        half = (hi - lo) / 2
        right, left, count = column_sums(
            X, lambda x: counted(x) * ((hi - x) / half), lambda x: counted(x) * ((x - lo) / half), counted
        )
        at_hi, some = right <= left, np.maximum(count, 1.0)
        mean = np.where(at_hi, right, left) / some
        end, way = np.where(at_hi, hi, lo), np.where(at_hi, -half, half)
        squares, left_over = column_sums(
            X,
            lambda x: counted(x) * ((x - end) / way - mean) ** 2,
            lambda x: counted(x) * ((x - end) / way - mean),
        )
        # Sums of many rows round; of what is left of them little is.
        rest = left_over / some
        none, mean, var = count == 0, mean + rest, np.maximum(squares / some - rest * rest, 0.0)
        return cls(count, at_hi, np.where(none, 1.0, mean), np.where(none, _EVEN, var))

    def size(self, lo: Array, hi: Array) -> Array:
        """Root mean square of the entries."""
        half = (hi - lo) / 2
        mean = np.where(self.at_hi, hi - half * self.mean, lo + half * self.mean)
        return np.asarray(np.hypot(mean, half * np.sqrt(self.var)) + np.finfo(np.float64).tiny)

    def varies(self) -> NDArray[np.bool_]:
        """Whether entries differ by more than rounding."""
        return np.asarray((self.number > 0) & (np.sqrt(self.var) > _ROUNDING * self.mean))

    def settled(self) -> IntervalMoments:
        """With an imaginary sample, or a share of one, spread evenly over the interval where parameters need it.

        A column that does not vary, or takes no values but the ends, would need infinite ones. The share falls from 1
        at the largest variance that the mean allows, where the interval is the column's own scale, to 0 at a third of
        it, that of an even spread: other columns stay as they are.
        """
        ratio = self.var / (self.mean * (2 - self.mean) + np.finfo(np.float64).tiny)
        share = np.clip((ratio - _EVEN) / (1 - _EVEN), 0.0, 1.0)
        return self.blended(np.where(self.varies(), share, 1.0))

    def blended(self, imaginary: Array) -> IntervalMoments:
        """With so many samples more, spread evenly over the interval."""
        count = self.number + imaginary
        some = np.maximum(count, 1.0)
        share, other = self.number / some, imaginary / some
        mean = np.where(count > 0, share * self.mean + other, self.mean)
        var = np.where(count > 0, share * self.var + other * (_EVEN + share * (1 - self.mean) ** 2), self.var)
        return IntervalMoments(count, self.at_hi, mean, var)

    def fit(self, lo: Array, hi: Array) -> tuple[Array, Array]:
        """U and V of greatest likelihood."""
        slope, p = fit_distances(self.mean, self.var)
        half = (hi - lo) / 2
        V = p / half**2
        return np.where(self.at_hi, slope, -slope) / half + V * np.where(self.at_hi, hi, lo), V


def fit_distances(mean: Array, var: Array) -> tuple[Array, Array]:
    """(slope, p) of ``exp(-slope t - p t^2/2)`` on 0 <= t <= 2 with the given mean and variance of t.

    Newton's method on a convex function of two parameters; steps are halved until its slope along them has fallen.
    """
    aim = _Aim(mean, var, np.where(var > _EVEN * mean * (2 - mean), 2 * (1 - mean), 0.0))
    p = np.maximum(1 / var - 3, 0.0)
    tilt = 0.5 * aim.kappa * p
    gradient = aim.gradient(tilt, p)
    for _ in range(_NEWTON_STEPS):
        step = aim.newton_step(tilt, p, gradient)
        descent = -(step * gradient).sum(axis=0)
        if np.all(descent < 1e-26):
            break
        scale = np.ones_like(p)
        for _ in range(_HALVINGS):
            trial = aim.gradient(tilt + scale * step[0], p + scale * step[1])
            steep = (step * trial).sum(axis=0) > 0.5 * descent
            if not steep.any():
                break
            scale = np.where(steep, 0.5 * scale, scale)
        tilt, p, gradient = tilt + scale * step[0], p + scale * step[1], trial
    return aim.slope(tilt, p), p


class _Aim(NamedTuple):
    """Mean and variance that ``exp(-tilt u - p (u^2 - kappa u)/2)`` is to have, u = t - mean.

    About the mean, moments lose no digits. With kappa = 2 (1 - mean), ``u^2 - kappa u`` is the same at both ends, so
    that p and tilt do not say the same where little else has weight.
    """

    mean: Array
    var: Array
    kappa: Array

    def slope(self, tilt: Array, p: Array) -> Array:
        """Of the exponent at t = 0."""
        return tilt - p * (self.mean + 0.5 * self.kappa)

    def moments(self, tilt: Array, p: Array) -> tuple[Array, Array]:
        """Mean of u and variance."""
        # With x = -t the end lies at 0, and the slope there is the field.
        _, mean, var = truncnorm.moments(p, self.slope(tilt, p), -2.0, 0.0)
        return -mean - self.mean, var

    def gradient(self, tilt: Array, p: Array) -> Array:
        """Of ``ln Z + p var/2``: (2, n)."""
        off, found = self.moments(tilt, p)
        return np.array([-off, 0.5 * (self.var - found - off * off + self.kappa * off)])

    def newton_step(self, tilt: Array, p: Array, gradient: Array) -> Array:
        """Step in tilt and p: (2, n)."""
        _, found = self.moments(tilt, p)
        # Small beside 1, since further off the other end may take over; for narrow peaks, at one end or both, small
        # beside their width.
        h = 1e-3 * np.maximum(1.0, 1e-5 / np.sqrt(found))
        k = 1e-3 * np.maximum(1.0, np.where(self.kappa > 0, 1e-2 * np.abs(p), 1e-5 / found))
        across = (self.gradient(tilt + h, p) - self.gradient(tilt - h, p))[1] / (2 * h)
        down = (self.gradient(tilt, p + k) - self.gradient(tilt, p - k))[1] / (2 * k)
        determinant = np.maximum(found * down - across * across, 1e-6 * found * down)
        step = np.array([across * gradient[1] - down * gradient[0], across * gradient[0] - found * gradient[1]])
        return np.asarray(step / determinant)
