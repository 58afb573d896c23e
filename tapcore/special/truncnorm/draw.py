"""Exact samples of ``exp(-s x^2/2 + b x)`` on ``[lo, hi]``, by rejection from normal and exponential envelopes.

Whatever the arguments, more than one candidate in eight is accepted, and most are (Robert, Statistics and Computing 5,
121, 1995, for s > 0).
"""

from __future__ import annotations

import math

from tapcore._base.jit import scalar
from tapcore._base.random import Stream, exponential, normal, uniform
from tapcore.special.truncnorm.point import reduce, reduce_unbounded


@scalar
def draw(stream: Stream, s: float, b: float, lo: float, hi: float) -> float:
    """One value; NaN where the weight cannot be normalised."""
    if not (lo < hi and math.isfinite(s) and math.isfinite(b)):
        return math.nan
    if math.isinf(lo) or math.isinf(hi):
        side, edge, w, p, q, g = reduce_unbounded(s, b, lo, hi)
    else:
        side, edge, w, p, q, g = reduce(s, b, lo, hi)
    if math.isnan(g):
        return math.nan
    if s > 0.0 and g < 0.0:
        return _draw_around_mode(stream, s, b / s, lo, hi, p)
    t = _draw_falling(stream, s, g, w, p) if s > 0.0 else _draw_rising(stream, s, g, w, p, q)
    return min(max(edge - side * t, lo), hi)


@scalar
def _draw_around_mode(stream: Stream, s: float, mode: float, lo: float, hi: float, p: float) -> float:
    if p < 1.0:
        while True:
            x = lo + (hi - lo) * uniform(stream)
            if uniform(stream) <= math.exp(-0.5 * s * (x - mode) * (x - mode)):
                return x
    sigma = 1.0 / math.sqrt(s)
    while True:
        x = mode + sigma * normal(stream)
        if lo <= x <= hi:
            return x


@scalar
def _draw_falling(stream: Stream, s: float, g: float, w: float, p: float) -> float:
    """Distance from the end: ``e^(-g t - s t^2/2)`` on [0, 2 w], g >= 0."""
    # The exponential that touches the weight at `best` leaves the least over; on a short interval any does.
    root = math.sqrt(s)
    rate = g if p < 1.0 else 0.5 * (g + math.hypot(g, 2.0 * root))
    best = (rate - g) / s
    while True:
        t = _draw_exponential(stream, rate, 2.0 * w)
        if uniform(stream) <= math.exp(-0.5 * s * (t - best) * (t - best)):
            return t


@scalar
def _draw_rising(stream: Stream, s: float, g: float, w: float, p: float, q: float) -> float:
    """Distance from the end: ``e^(-g t - s t^2/2)`` on [0, 2 w], s <= 0."""
    if math.isinf(w):
        return exponential(stream) / g
    # Over each half of the interval the chord of the exponent bounds it.
    near, far = q - 0.5 * p, -q - 0.5 * p
    mass_near = _exponential_mass(near)
    mass_far = math.exp(-2.0 * q - min(far, 0.0)) * _exponential_mass(abs(far))
    while True:
        at_far = uniform(stream) * (mass_near + mass_far) > mass_near
        t = _draw_exponential(stream, (far if at_far else near) / w, w)
        if uniform(stream) <= math.exp(0.5 * s * t * (w - t)):
            return 2.0 * w - t if at_far else t


@scalar
def _exponential_mass(rate: float) -> float:
    """Integral of ``e^(-rate t)`` over [0, 1]."""
    return 1.0 if rate == 0.0 else -math.expm1(-rate) / rate


@scalar
def _draw_exponential(stream: Stream, rate: float, length: float) -> float:
    """Value in [0, length] of density proportional to ``e^(-rate t)``, the rate of any sign."""
    span = abs(rate) * length
    u = uniform(stream)
    # Without slope, and as good as without.
    t = u * length if span < 1e-15 else -math.log1p(u * math.expm1(-span)) / abs(rate)
    return t if rate >= 0.0 else length - t
