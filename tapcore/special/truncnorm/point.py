"""One point at a time: mass, mean and variance of ``exp(-s x^2/2 + b x)`` on ``[lo, hi]``, by the regime it lies in.

With half-width w and midpoint m, ``p = s w^2`` and ``q = w (b - s m)`` tell the shape of the weight on [-1, 1], and the
sign of q which end dominates. The reference is the mode if it lies inside, or else that end; distances run from it
inwards, and g is the slope of the exponent at the end.

=================== ==================================================================================================
|p| + |q| < 10      Gauss-Legendre rule of 12 to 20 nodes
s > 0, mode inside  two error functions, both terms positive
s >= 0 otherwise    Mills' ratio at the dominating end less that at the other, which weighs e^-10 of it at most; its
                    asymptotic series where g^2 >= 420 s and the other end is lost in rounding
s < 0               Gauss-Legendre rule of 24 to 36 nodes where |p| + |q| < 43 and |q| <= 22; elsewhere Dawson's
                    function at the dominating end, cut where the weight is least; if that is inside, a mixture with the
                    other end
an end at infinity  as for s >= 0, without that end
=================== ==================================================================================================
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from tapcore._base.intrinsics import fma
from tapcore._base.jit import helper, scalar
from tapcore.special.dawson import dawson_any
from tapcore.special.elementary import exp2_normal, exp_negative
from tapcore.special.erfcx import erfcx_positive
from tapcore.special.gauss_legendre import DISTANCES, STARTS, WEIGHTS
from tapcore.special.one_ended import falling, far_tail, in_far_tail, rising

# Which rule of _gauss_legendre reaches the last digits for |p| + |q| in [i, i + 1).
RULE_FOR = np.repeat(np.arange(7), (1, 3, 6, 6, 7, 9, 11))
#: |p| + |q| from which on no rule does; for s >= 0 none is needed before that.
REACH, REACH_FALLING = 43.0, 10.0
#: |q| up to which the rules serve for s < 0: further out the other end is lost in rounding if it does not rise.
MOST_Q = 22.0
#: |q| from which on the other end is lost in rounding whatever s >= 0.
ALONE_Q = 25.0

#: p up to which the weight is flat to the last digit, wherever its mode may be: that has lost its own digits near 0.
FLAT = 1e-30

_LOG2_E = 1.4426950408889634
_SQRT_HALF = 0.7071067811865476
_SQRT_TWO = 1.4142135623730951
_SQRT_HALF_PI = 1.2533141373155003
_SQRT_TWO_OVER_PI = 0.7978845608028654


@scalar
def reduce(s: float, b: float, lo: float, hi: float) -> tuple[float, float, float, float, float, float]:
    """(side, edge, w, p, q, g) of a finite interval.

    `edge` is the dominating end, `side` 1 if it is the right one and -1 if the left, q >= 0, and g the slope of the
    exponent at that end, outwards: below 0 where the mode lies inside.
    """
    half_lo, half_hi = 0.5 * lo, 0.5 * hi
    w = half_hi - half_lo
    # The midpoint and the slope there keep what rounding takes from them: b and s m may cancel.
    m = half_lo + half_hi
    part = m - half_lo
    m_low = (half_lo - (m - part)) + (half_hi - part)
    product = s * m
    product_low = fma(s, m, -product)
    slope = b - product
    part = slope - b
    slope_low = (b - (slope - part)) - (product + part)
    q = w * (slope + (slope_low - product_low - s * m_low))
    right = q >= 0.0
    side = 1.0 if right else -1.0
    edge = hi if right else lo
    return side, edge, w, s * w * w, abs(q), side * fma(-s, edge, b)


@scalar
def energy_at(s: Any, b: Any, x: Any) -> Any:
    """``b x - s x^2/2``."""
    return x * fma(-0.5 * s, x, b)


@scalar
def energy_between(s: Any, b: Any, x: Any, reference: Any) -> Any:
    """``energy_at`` x less that at the reference, without the digits that cancel."""
    d = x - reference
    return d * (fma(-s, reference, b) - 0.5 * s * d)


@helper(inline=False)
def describe(s: float, b: float, lo: float, hi: float) -> tuple[float, float, float, float, float]:
    """(reference, energy, log_mass, mean, var): ln Z is ``energy + log_mass``, energy the exponent at the reference.

    NaN unless s, b are finite, lo < hi, and the weight can be normalised.
    """
    if not (lo < hi and math.isfinite(s) and math.isfinite(b)):
        return math.nan, math.nan, math.nan, math.nan, math.nan
    if math.isinf(lo) or math.isinf(hi):
        side, edge, w, p, q, g = reduce_unbounded(s, b, lo, hi)
        if math.isnan(g):
            return math.nan, math.nan, math.nan, math.nan, math.nan
    else:
        side, edge, w, p, q, g = reduce(s, b, lo, hi)
    size = q + abs(p)
    if size < REACH_FALLING or (s < 0.0 and size < REACH and q <= MOST_Q):
        mass, distance, var = _by_quadrature(w, p, q, g)
    elif s < 0.0:
        mass, distance, var = _two_rising(s, w, q, g, side * fma(s, hi if side < 0.0 else lo, -b))
    elif g >= 0.0 and q > ALONE_Q and in_far_tail(s, g):
        mass, distance, var = far_tail(s, g)
    elif g >= 0.0:
        mass, distance, var = two_falling(s, w, q, g)
    else:
        mass, distance, var = around_mode(s, w, g)
    inside = p > FLAT and g < 0.0
    reference = b / s if inside else edge
    energy = 0.5 * b * reference if inside else energy_at(s, b, edge)
    mean = min(max(reference - side * distance, lo), hi)
    return reference, energy, math.log(mass), mean, min(var, w * w)


@scalar
def reduce_unbounded(s: float, b: float, lo: float, hi: float) -> tuple[float, float, float, float, float, float]:
    """As `reduce` with an end at infinity; all NaN where the weight cannot be normalised."""
    side, edge = (1.0, hi) if math.isinf(lo) else (-1.0, lo)
    g = side * fma(-s, edge, b)
    if math.isinf(lo) and math.isinf(hi):
        edge, g = 0.0, -math.inf
    # An infinite edge here means [inf, inf] or the like.
    if s < 0.0 or (s == 0.0 and g <= 0.0) or math.isinf(edge):
        side = edge = g = math.nan
    return side, edge, math.inf, math.inf, math.inf, g


@scalar
def quadrature_terms(p: float, q: float, g: float) -> tuple[float, float, float, float]:
    """(depth, slope, half, other) for the slope g at the end in units of the half-width.

    The reference lies `depth` half-widths from the dominating end, and at a distance t from the reference the weight is
    ``2^(t (slope + half (t + depth - other)))``. For p > 0 the exponent is ``-(max(g, 0) t + p t^2/2)``; for p < 0,
    where its terms would cancel at the far end, it is written ``-t (q - p/2 (2 - t))``.
    """
    rises = p < 0.0
    inside = (p > FLAT) & (g < 0.0)
    depth = -g / p if inside else 0.0
    slope = q if rises else max(g, 0.0)
    return depth, -_LOG2_E * slope, -0.5 * _LOG2_E * p, 2.0 if rises else depth


@scalar
def _by_quadrature(w: float, p: float, q: float, g: float) -> tuple[float, float, float]:
    """(mass, mean distance, variance)."""
    depth, slope, half, other = quadrature_terms(p, q, g * w)
    rule = RULE_FOR[int(q + abs(p))]
    zeroth, first, second = 0.0, 0.0, 0.0
    for i in range(STARTS[rule], STARTS[rule + 1]):
        t = DISTANCES[i] - depth
        e = WEIGHTS[i] * exp2_normal(t * fma(half, DISTANCES[i] - other, slope))
        zeroth += e
        first += e * t
        second += e * t * t
    first /= zeroth
    return w * zeroth, w * first, w * w * (second / zeroth - first * first)


@scalar
def around_mode(s: float, w: float, g: float) -> tuple[float, float, float]:
    """(mass, mean distance, variance) for s > 0 with the mode inside: g < 0."""
    sigma = 1.0 / math.sqrt(s)
    near = -g * sigma
    far = 2.0 * w * math.sqrt(s) - near
    far = far if far > near else near  # of two infinite ends too
    e_near, e_far = exp_negative(-0.5 * near * near), exp_negative(-0.5 * far * far)
    # At an infinite end both products are NaN.
    lost_near, lost_far = e_near * erfcx_positive(_SQRT_HALF * near), e_far * erfcx_positive(_SQRT_HALF * far)
    spread_near, spread_far = near * e_near, far * e_far
    near_counts, far_counts = e_near > 0.0, e_far > 0.0
    total = 2.0 - (lost_near if near_counts else 0.0) - (lost_far if far_counts else 0.0)
    spread = (spread_near if near_counts else 0.0) + (spread_far if far_counts else 0.0)
    r = _SQRT_TWO_OVER_PI / total
    distance = r * (e_near - e_far)
    return sigma * _SQRT_HALF_PI * total, sigma * distance, sigma * sigma * (1.0 - r * spread - distance * distance)


@scalar
def two_falling(s: float, w: float, q: float, g: float) -> tuple[float, float, float]:
    """(mass, mean distance, variance) for s >= 0 and g >= 0: all that lies within one end but not beyond the other."""
    mass, mean, var = falling(s, g)
    far_mass, far_mean, far_var = falling(s, fma(2.0 * s, w, g))
    drop = exp_negative(-2.0 * q)
    matters = drop > 0.0
    rest = mass - drop * far_mass
    share = -drop * far_mass / rest
    gap = 2.0 * w + far_mean - mean
    mixed_mean, mixed_var = mix(share, gap, mean, var, far_var)
    return rest if matters else mass, mixed_mean if matters else mean, mixed_var if matters else var


@scalar
def mix(share: float, gap: float, mean: float, var: float, other_var: float) -> tuple[float, float]:
    """Mean and variance when a `share`, possibly negative, lies `gap` beyond the mean with a variance of its own."""
    return mean + share * gap, (1.0 - share) * (var + share * gap * gap) + share * other_var


@scalar
def _two_rising(s: float, w: float, q: float, g: float, g_other: float) -> tuple[float, float, float]:
    """(mass, mean distance, variance) for s < 0, `g_other` the outward slope at the other end."""
    mass, mean, var = rising(s, g)
    # Of the other end absolute accuracy is enough: its own variance is small beside the square of the gap.
    drop = exp_negative(-2.0 * q)
    root = math.sqrt(-s)
    x = g_other / root
    # Closer to the least weight than this the other end has no mass, and no moments that could be told.
    if x > 1e-100 and drop > 0.0:
        whole = _SQRT_TWO * dawson_any(_SQRT_HALF * x)
        y = (1.0 - exp_negative(-0.5 * x * x)) / whole
        share = drop * whole / root
        total = mass + share
        gap = 2.0 * w - mean - (x - y) / root
        mean, var = mix(share / total, gap, mean, var, (x / whole - 1.0 - y * y) / -s)
        mass = total
    return mass, mean, var
