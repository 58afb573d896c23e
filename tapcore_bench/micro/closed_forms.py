"""Mean and variance of truncated Gaussians as others compute them, and by mpmath.

Each method takes arrays s, b, lo, hi and gives (mean, var) of ``exp(-s x^2/2 + b x)`` on [lo, hi].
"""

from __future__ import annotations

import functools
import importlib.util
import itertools
from collections.abc import Callable
from typing import Any

import mpmath
import numpy as np
import scipy.stats
from numpy.typing import NDArray
from scipy.special import erf, erfi

from tapcore.special import truncnorm

Array = NDArray[np.float64]
Moments = tuple[Array, Array]

TERMS = 11


def tapcore(s: Array, b: Array, lo: Array, hi: Array) -> Moments:
    """The library's."""
    _, mean, var = truncnorm.moments(s, b, lo, hi)
    return mean, var


def scipy_truncnorm(s: Array, b: Array, lo: Array, hi: Array) -> Moments:
    """`scipy.stats.truncnorm`, for s > 0."""
    sigma, mu = 1 / np.sqrt(s), b / s
    with np.errstate(all="ignore"):
        mean, var = scipy.stats.truncnorm((lo - mu) / sigma, (hi - mu) / sigma, loc=mu, scale=sigma).stats("mv")
    return mean, var


def closed_form(s: Array, b: Array, lo: Array, hi: Array, *, printed: bool = False, series: bool = False) -> Moments:
    """Differences of Erf or Erfi (Eqs. C6 to C8), with the sign of C7 as printed or mended, and with C19 or without."""
    with np.errstate(all="ignore"):
        center, root = b / s, np.sqrt(np.abs(s) / 2)
        h_lo, h_hi = root * (lo - center), root * (hi - center)
        positive = s > 0
        power = np.where(positive, -1.0, 1.0)
        e_lo, e_hi = np.exp(power * h_lo**2), np.exp(power * h_hi**2)
        d = np.where(positive, erf(h_hi) - erf(h_lo), erfi(h_hi) - erfi(h_lo))
        step = np.where(positive, e_lo - e_hi, e_hi - e_lo)
        ratio, ends = step / d, (h_lo * e_lo - h_hi * e_hi) / d
        if series:
            far = (h_lo * h_hi > 0) & (np.minimum(h_lo**2, h_hi**2) > 10)
            ratio = np.where(far, 1 / _series(h_lo, h_hi, power), ratio)
            share = np.exp(-np.abs(h_hi**2 - h_lo**2))
            low_leads = (np.abs(h_lo) < np.abs(h_hi)) == positive
            weight_lo, weight_hi = np.where(low_leads, 1.0, share), np.where(low_leads, share, 1.0)
            sign = np.where(positive, weight_lo - weight_hi, weight_hi - weight_lo)
            ends = np.where(far, ratio * (h_lo * weight_lo - h_hi * weight_hi) / sign, ends)
        shift = np.sqrt(2 / (np.pi * np.abs(s))) * ratio
        mean = center + np.where(positive | (not printed), shift, -shift)
        var = 1 / s - (mean - center) ** 2 + 2 / (np.sqrt(np.pi) * s) * ends
    return mean, var


def _series(h_lo: Array, h_hi: Array, power: Array) -> Array:
    """C19 corrected: the difference of Erf or Erfi over that of the exponentials."""

    def tail(h: Array) -> Array:
        total, term = np.zeros_like(h), np.ones_like(h)
        for k in range(TERMS):
            total += term
            term = term * power * (2 * k + 1) / (2 * h * h)
        return total / h

    low, high = tail(h_lo), tail(h_hi)
    gap = h_lo**2 - h_hi**2
    positive = power < 0
    with np.errstate(all="ignore"):
        falling = low / (1 - np.exp(gap)) + high / (1 - np.exp(-gap))
        rising = high / (1 - np.exp(gap)) + low / (1 - np.exp(-gap))
    return np.asarray(np.where(positive, falling, rising) / np.sqrt(np.pi))


def stable_trunc_gaussian(s: Array, b: Array, lo: Array, hi: Array) -> Moments:
    """The package of that name, for s > 0."""
    torch = importlib.import_module("torch")
    TruncatedGaussian = importlib.import_module("stable_trunc_gaussian").TruncatedGaussian

    made = TruncatedGaussian(*(torch.from_numpy(np.array(x)) for x in (b / s, 1 / np.sqrt(s), lo, hi)))
    return made.mean.numpy(), made.variance.numpy()


def _anything(s: Array, lo: Array, hi: Array) -> NDArray[np.bool_]:
    return np.ones(s.shape, bool)


def _proper(s: Array, lo: Array, hi: Array) -> NDArray[np.bool_]:
    return np.asarray(s > 0)


def _bounded(s: Array, lo: Array, hi: Array) -> NDArray[np.bool_]:
    return np.asarray((s != 0) & np.isfinite(lo) & np.isfinite(hi))


def _methods() -> dict[str, tuple[Callable[..., Any], Callable[..., Moments]]]:
    """By name: which points a method takes, and the method."""
    found: dict[str, tuple[Callable[..., Any], Callable[..., Moments]]] = {
        "tapcore": (_anything, tapcore),
        "closed form as printed": (_bounded, lambda *a: closed_form(*a, printed=True)),
        "closed form, sign mended": (_bounded, closed_form),
        "closed form, sign mended, with the series": (_bounded, lambda *a: closed_form(*a, series=True)),
        "scipy.stats.truncnorm": (_proper, scipy_truncnorm),
    }
    if importlib.util.find_spec("stable_trunc_gaussian") is None:
        return found
    return {**found, "stable-trunc-gaussian": (_proper, stable_trunc_gaussian)}


METHODS = _methods()


def exact(p: float, q: float) -> tuple[mpmath.mpf, mpmath.mpf]:
    """Mean and variance on [-1, 1] for q >= 0, by quadrature in the distance from where the weight is greatest."""
    with mpmath.workdps(30):
        s, b = mpmath.mpf(p), mpmath.mpf(q)
        top = b / s if s > 0 and b < s else mpmath.mpf(1)
        slope = b - s * top
        near = {mpmath.mpf(2) ** -k for k in range(10)}
        cuts = {-1, 1} | {x for n in near for x in (1 - n, n - 1, top - n, top + n) if -1 < x < 1}
        sums = [mpmath.mpf(0)] * 3
        for left, right in itertools.pairwise(sorted(x - top for x in map(mpmath.mpf, cuts))):
            half, middle = (right - left) / 2, (right + left) / 2
            for node, weight in _rule():
                t = middle + half * node
                e = weight * half * mpmath.exp(t * (slope - s * t / 2))
                sums = [sums[0] + e, sums[1] + e * t, sums[2] + e * t * t]
        mean = sums[1] / sums[0]
        return top + mean, sums[2] / sums[0] - mean**2


@functools.cache
def _rule() -> list[tuple[mpmath.mpf, mpmath.mpf]]:
    """Gauss-Legendre rule of 24 nodes with 30 digits."""
    count, found = 24, []
    for start in np.polynomial.legendre.leggauss(count)[0]:
        x = mpmath.findroot(lambda t: mpmath.legendre(count, t), mpmath.mpf(float(start)))
        slope = count * (x * mpmath.legendre(count, x) - mpmath.legendre(count - 1, x)) / (x * x - 1)
        found.append((x, 2 / ((1 - x * x) * slope**2)))
    return found
