"""Ratios of normalisers of neighbouring laws by Bennett's acceptance ratio, and errors by leaving ladders out.

Bennett, J. Comput. Phys. 22, 245 (1976); that the constant C which makes both averages equal is the maximum of a
likelihood: Shirts and Chodera, J. Chem. Phys. 129, 124105 (2008). With ``u = ln of the weight by the upper law, less
that by the lower one``, ``ln(Z'/Z) = C + ln <s(u - C)> - ln <s(C - u)>'`` for any C, s the logistic function; the first
average is over the lower law, the second over the upper one, and errors are least where ``C = ln(Z'/Z)``.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from tapcore.special.exponential import sigmoid

Array = NDArray[Any]

# Steps of bisection, each of which halves an interval of some thousand nats at most.
_STEPS = 60


class Step(NamedTuple):
    """Ln of the ratio of two normalisers."""

    value: float
    without: NDArray[np.float64]  # (K,) the same when ladder k is left out
    overlap: float  # of the two laws, from 0 to 1/2
    width: float  # of the range of u


def bennett(low: Array, high: Array) -> Step:
    """``ln(Z'/Z)`` from u at values of the lower law and at values of the upper one, (T, K) each, K ladders."""
    C = _balanced(low, high)
    up, down = sigmoid(low - C).sum(axis=0), sigmoid(C - high).sum(axis=0)
    # Where ladders are left out, C stays: what it is makes no difference of first order.
    without = C + _log_ratio(up.sum() - up, down.sum() - down)
    shared = sigmoid(low - C) * sigmoid(C - low), sigmoid(high - C) * sigmoid(C - high)
    width = max(low.max(), high.max()) - min(low.min(), high.min())
    overlap = shared[0].mean() + shared[1].mean()
    return Step(float(C + _log_ratio(up.sum(), down.sum())), without, float(overlap), float(width))


def _log_ratio(a: Any, b: Any) -> Any:
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.log(np.maximum(a, 0.0)) - np.log(np.maximum(b, 0.0))


def _balanced(low: Array, high: Array) -> float:
    """The constant at which both averages are equal: their difference falls with it."""
    lo, hi = min(low.min(), high.min()), max(low.max(), high.max())
    for _ in range(_STEPS):
        C = 0.5 * (lo + hi)
        if sigmoid(low - C).sum() > sigmoid(C - high).sum():
            lo = C
        else:
            hi = C
        if hi - lo <= 1e-9 * (1 + abs(C)):
            break
    return float(0.5 * (lo + hi))


def error(without: Array) -> float:
    """Standard error of a figure, by the jackknife, from what it is when each of K ladders is left out, (K,)."""
    K = len(without)
    return float(np.sqrt((K - 1) * np.var(without)))


def predicted_acceptance(u: Array) -> float:
    """Share of exchanges that would take place with a law of which nothing but u at values of the other is known.

    ``(1/K) sum_ij w_j min(1, exp(u_i - u_j))``, w in proportion to exp(u): what weights make of the K values stands for
    values of the upper law.
    """
    w = np.exp(np.sort(u) - u.max())
    return float((w * (2 * np.arange(len(u), 0, -1) - 1)).sum() / (w.sum() * len(u)))


def resampled(u: Array, start: float) -> NDArray[np.int64]:
    """Numbers of K values, taken with weights in proportion to exp(u) at even distances from `start` in [0, 1)."""
    ends = np.cumsum(np.exp(u - u.max()))
    at = (np.arange(len(u)) + start) / len(u)
    return np.minimum(np.searchsorted(ends / ends[-1], at, side="right"), len(u) - 1).astype(np.int64)


def correlation_time(series: Array) -> float:
    """Integrated autocorrelation time, ``1 + 2 sum of correlations``, of K series (T, K) about their common mean.

    The sum ends where five times what it has come to is reached (Sokal); NaN for fewer than 4 values.
    """
    T = len(series)
    if T < 4:
        return float("nan")
    x = series - series.mean()
    if not x.any():
        return 1.0
    power = np.abs(np.fft.rfft(x, 2 * T, axis=0)) ** 2
    covariance = np.fft.irfft(power.mean(axis=1))[:T] / np.arange(T, 0, -1)
    if not covariance[0] > 0:
        return 1.0
    times = 2 * np.cumsum(covariance / covariance[0]) - 1
    closed = np.arange(T) >= 5 * times
    end = int(closed.argmax()) if closed.any() else T // 2
    return max(1.0, float(times[end]))


class Series:
    """The last of what is appended, arrays of one shape; when there is no more room, every second one goes."""

    def __init__(self, shape: tuple[int, ...], room: int) -> None:
        self._kept = np.zeros((room, *shape))
        self.count, self.stride, self._seen = 0, 1, 0

    def append(self, value: Array) -> None:
        """Keep a value, if it is one of those that are to be kept."""
        if self._seen % self.stride == 0:
            if self.count == len(self._kept):
                self.count //= 2
                self._kept[: self.count] = self._kept[::2][: self.count].copy()
                self.stride *= 2
            if self._seen % self.stride == 0:
                self._kept[self.count] = value
                self.count += 1
        self._seen += 1

    @property
    def values(self) -> Array:
        """What is kept, oldest first: (count, ...)."""
        return self._kept[: self.count]
