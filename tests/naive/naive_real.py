"""Readable reference of the real-valued units: exact sums over fine grids of Gauss-Legendre nodes."""

from __future__ import annotations

import functools
import math
from typing import Any

import numpy as np

Site = dict[str, Any]

_NODES, _WEIGHTS = np.polynomial.legendre.leggauss(16)


@functools.lru_cache(maxsize=10_000)
def interval(s: float, b: float, lo: float, hi: float) -> tuple[float, float, float]:
    """(ln Z, mean, variance) of exp(-s x^2/2 + b x) on [lo, hi].

    Panels halve towards both ends, where the weight may change fast, and lie close where it peaks inside. Distances
    and exponents are taken from the highest point, so that nothing is lost beside it.
    """
    top = max(lo, min(hi, b / s)) if s > 0 else (hi if b - s * (lo + hi) / 2 >= 0 else lo)
    slope = b - s * top
    half = (hi - lo) / 2
    cuts = {0.0}
    for k in range(40):
        cuts |= {half * 2.0**-k, 2 * half - half * 2.0**-k}
    edges = {lo + c for c in cuts} | {hi}
    if s > 0:
        edges |= {x for x in (b / s + k / (2 * math.sqrt(s)) for k in range(-90, 91)) if lo < x < hi}
    ordered = np.array(sorted(e - top for e in edges))
    left, right = ordered[:-1, None], ordered[1:, None]
    t = (left + right) / 2 + _NODES * (right - left) / 2
    w = _WEIGHTS * (right - left) / 2 * np.exp(t * (slope - s * t / 2))
    mass = math.fsum(w.flat)
    shift = math.fsum((w * t).flat) / mass
    var = math.fsum((w * (t - shift) ** 2).flat) / mass
    return top * (b - s * top / 2) + math.log(mass), top + shift, var


def line(s: float, b: float) -> tuple[float, float, float]:
    """The same on the whole line."""
    return 0.5 * math.log(2 * math.pi / s) + b * b / (2 * s), b / s, 1 / s


def slab(B: float, A: float, site: Site) -> tuple[float, float, float]:
    """(ln Z, mean, variance) of the real part of the weight in fields B, A."""
    s, b = A + site["V"], B + site["U"]
    return interval(s, b, site["lo"], site["hi"]) if "lo" in site else line(s, b)


def slab_probability(B: float, A: float, site: Site) -> float:
    """P[x != 0]; 1 without an atom."""
    if "rho" not in site:
        return 1.0
    odds = math.log1p(-site["rho"]) - math.log(site["rho"]) - slab(B, A, site)[0]
    return 1 / (1 + math.exp(odds)) if odds < 0 else math.exp(-odds) / (1 + math.exp(-odds))


def _log_z(B: float, A: float, site: Site) -> float:
    log_slab = slab(B, A, site)[0]
    if "rho" not in site:
        return log_slab
    atom, rest = math.log1p(-site["rho"]), math.log(site["rho"]) + log_slab
    return max(atom, rest) + math.log1p(math.exp(-abs(atom - rest)))


def _mean(B: float, A: float, site: Site) -> float:
    return slab_probability(B, A, site) * slab(B, A, site)[1]


def _var(B: float, A: float, site: Site) -> float:
    _, m, v = slab(B, A, site)
    P = slab_probability(B, A, site)
    if "rho" not in site:
        return v
    odds = math.log1p(-site["rho"]) - math.log(site["rho"]) - slab(B, A, site)[0]
    rest = 1 / (1 + math.exp(-odds)) if odds > 0 else math.exp(odds) / (1 + math.exp(odds))
    return P * v + P * rest * m * m


def _log_weight(x: float, site: Site) -> float:
    if "rho" in site and x == 0:
        return math.log1p(-site["rho"])
    return (math.log(site["rho"]) if "rho" in site else 0.0) + site["U"] * x - site["V"] * x * x / 2


# (log_z, mean, var, support, log_weight), as in `naive.Kind`.
KINDS = dict.fromkeys(
    ("gaussian", "truncatedgaussian", "gaussbernoulli", "truncatedgaussbernoulli"),
    (_log_z, _mean, _var, None, _log_weight),
)
