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


def half_line(s: float, b: float) -> tuple[float, float, float]:
    """(ln Z, mean, variance) on x >= 0: on an interval beyond which the weight is below e^-700 of the largest."""
    fall = max(-b, 0.0)
    reach = 2 * 700 / (fall + math.sqrt(fall * fall + 2 * s * 700))
    return interval(s, b, 0.0, max(b / s, 0.0) + reach)


def _sides(B: float, A: float, site: Site) -> list[tuple[float, float, float]]:
    """(ln Z, mean, variance) of what lies on either side of 0."""
    right = half_line(A + site["V_pos"], B + site["U_pos"])
    log_z, mean, var = half_line(A + site["V_neg"], -B - site["U_neg"])
    return [right, (log_z, -mean, var)]


def _double_log_z(B: float, A: float, site: Site) -> float:
    logs = [side[0] for side in _sides(B, A, site)]
    return max(logs) + math.log1p(math.exp(min(logs) - max(logs)))


def _shares(B: float, A: float, site: Site) -> list[float]:
    logs = [side[0] for side in _sides(B, A, site)]
    weights = [math.exp(log - max(logs)) for log in logs]
    return [w / sum(weights) for w in weights]


def _double_mean(B: float, A: float, site: Site) -> float:
    return sum(p * side[1] for p, side in zip(_shares(B, A, site), _sides(B, A, site), strict=True))


def _double_var(B: float, A: float, site: Site) -> float:
    (p, q), (right, left) = _shares(B, A, site), _sides(B, A, site)
    return p * right[2] + q * left[2] + p * q * (right[1] - left[1]) ** 2


def _double_log_weight(x: float, site: Site) -> float:
    side = "pos" if x >= 0 else "neg"
    return site[f"U_{side}"] * x - site[f"V_{side}"] * x * x / 2


def _rectified(which: int) -> Any:
    return lambda B, A, site: half_line(A + site["V"], B + site["U"])[which]


# (log_z, mean, var, support, log_weight), as in `naive.Kind`.
KINDS = {
    **dict.fromkeys(
        ("gaussian", "truncatedgaussian", "gaussbernoulli", "truncatedgaussbernoulli"),
        (_log_z, _mean, _var, None, _log_weight),
    ),
    "relu": (*map(_rectified, range(3)), None, _log_weight),
    "doublerelu": (_double_log_z, _double_mean, _double_var, None, _double_log_weight),
}
