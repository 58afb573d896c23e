"""Many points at once: sorted by regime, so that a loop does the same to all of its points, one in each SIMD lane.

What remains (strongly bimodal weights, infinite ends, odd arguments) goes through `describe` point by point.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tapcore._base.apart import apart
from tapcore._base.intrinsics import JIT_DISABLED, address_of, fma, numbers_at, stack_array
from tapcore._base.jit import helper, scalar
from tapcore.special.elementary import exp2_normal, log_normal
from tapcore.special.gauss_legendre import DISTANCES, LOG2_WEIGHTS, STARTS, WEIGHTS
from tapcore.special.truncnorm.point import (
    FLAT,
    MOST_Q,
    REACH,
    REACH_FALLING,
    RULE_FOR,
    around_mode,
    describe,
    energy_at,
    quadrature_terms,
    reduce,
    two_falling,
)

Array = NDArray[Any]

#: Points taken at a time: enough to fill the lanes in each regime, few enough for the innermost caches. What is padding
#: to a compiled loop costs an interpreted one dearly.
CHUNK = 8 if JIT_DISABLED else 512
# Each regime's points start at a multiple of the lanes, so room is left for the gaps.
_LANES = 1 if JIT_DISABLED else 8
# Regimes in the order of their places: the rules for p < 0, those for p >= 0, and of points that no rule serves those
# with the mode inside, then those with it outside.
_RISING, _RULES = 7, 10
_INSIDE, _OUTSIDE, _REGIMES = _RULES, _RULES + 1, _RULES + 2
_BOUNDS = _REGIMES + 1
_ODD = CHUNK + _LANES * _REGIMES
_ROOM = _ODD + _LANES
# Regimes by |p| + |q| for p < 0, then for p >= 0; then of points that no rule serves, the last where nothing here does.
_KEY_FALLING, _KEY_INSIDE, _KEY_OUTSIDE, _KEY_ODD = 43, 53, 54, 55
_REGIME = np.concatenate([RULE_FOR, _RISING + RULE_FOR[:10], (_INSIDE, _OUTSIDE, _REGIMES)])
# How many points, whether log-masses are wanted, and where seven arrays are.
_WORDS = 9
# Half-widths and masses in this range cannot overflow, whatever is done with them here.
_LEAST_W, _MOST_W, _MOST_P = 1e-100, 1e100, 1e100


@helper(inline=False)
def _moments(s: Array, b: Array, lo: Array, hi: Array, with_log: bool, log_z: Array, mean: Array, var: Array) -> None:
    """Log-mass, mean and variance of at most CHUNK points, float64; log-masses if `with_log`."""
    zero, count = np.float64(0.0), s.size
    p, q, g = stack_array(CHUNK, zero), stack_array(CHUNK, zero), stack_array(CHUNK, zero)
    key, place = stack_array(CHUNK, np.int64(0)), stack_array(CHUNK, np.int64(0))
    for i in range(count):
        side, edge, w, p[i], q[i], slope = reduce(s[i], b[i], lo[i], hi[i])
        g[i] = slope * w
        key[i] = _key(p[i], q[i], g[i], w)
        # Where the results are put together: the reference, and the half-width with the side as its sign.
        inside = (p[i] > FLAT) & (g[i] < 0.0)
        mean[i] = b[i] / s[i] if inside else edge
        var[i] = side * w
        if with_log:
            log_z[i] = 0.5 * b[i] * (b[i] / s[i]) if inside else energy_at(s[i], b[i], edge)
    starts = stack_array(_BOUNDS, np.int64(0))
    odd = _sort(count, key, starts, place)
    ps, qs, gs = stack_array(_ROOM, zero), stack_array(_ROOM, zero), stack_array(_ROOM, zero)
    zeroth, first, second = stack_array(_ROOM, zero), stack_array(_ROOM, zero), stack_array(_ROOM, zero)
    for j in range(_ROOM):
        ps[j] = qs[j] = gs[j] = zeroth[j] = first[j] = second[j] = 0.0
    for i in range(count):
        j = place[i]
        ps[j], qs[j], gs[j] = p[i], q[i], g[i]
    _compute_regimes(starts, ps, qs, gs, zeroth, first, second)
    for i in range(count):
        w = var[i]
        mean[i] = min(max(mean[i] - w * first[place[i]], lo[i]), hi[i])
        var[i] = w * w * second[place[i]]
        if with_log:
            log_z[i] += log_normal(abs(w) * zeroth[place[i]])
    if odd:
        for i in range(count):
            if place[i] == _ODD:
                _, energy, log_mass, mean[i], var[i] = describe(s[i], b[i], lo[i], hi[i])
                if with_log:
                    log_z[i] = energy + log_mass


@apart(_WORDS)
def CHUNK_MOMENTS(words: NDArray[np.int64]) -> None:
    """Such a chunk, for compiled code; Python has this ready before it runs what calls `moments_of_chunk`."""
    n, with_log, like = words[0], words[1] != 0, stack_array(1, np.float64(0.0))
    s, b = numbers_at(words[2], 0, n, like), numbers_at(words[3], 0, n, like)
    lo, hi = numbers_at(words[4], 0, n, like), numbers_at(words[5], 0, n, like)
    log_z, mean = numbers_at(words[6], 0, n, like), numbers_at(words[7], 0, n, like)
    _moments(s, b, lo, hi, with_log, log_z, mean, numbers_at(words[8], 0, n, like))


_call = CHUNK_MOMENTS.call


@scalar
def _call_moments(
    s: Array, b: Array, lo: Array, hi: Array, with_log: bool, log_z: Array, mean: Array, var: Array
) -> None:
    words = stack_array(_WORDS, np.int64(0))
    words[0], words[1] = s.size, np.int64(with_log)
    words[2], words[3], words[4], words[5] = address_of(s), address_of(b), address_of(lo), address_of(hi)
    words[6], words[7], words[8] = address_of(log_z), address_of(mean), address_of(var)
    _call(words)


moments_of_chunk: Callable[..., None] = _moments if JIT_DISABLED else _call_moments


@scalar
def _key(p: Any, q: Any, g: Any, w: Any) -> Any:
    size = q + abs(p)
    by_rule = (size < REACH_FALLING) | ((p < 0.0) & (size < REACH) & (q <= MOST_Q))
    closed = (p >= 0.0) & (p <= _MOST_P) & (q <= _MOST_P)
    otherwise = (_KEY_INSIDE if g < 0.0 else _KEY_OUTSIDE) if closed else _KEY_ODD
    # Added to the integer: the sum of floats may round up to the next key.
    found = np.int64(size if by_rule else otherwise) + np.int64(_KEY_FALLING if by_rule & (p >= 0.0) else 0)
    return found if (w >= _LEAST_W) & (w <= _MOST_W) else np.int64(_KEY_ODD)


@scalar
def _sort(count: int, key: Array, starts: Array, place: Array) -> Any:
    """Give each point its place among those of its regime, or _ODD if it has none; return how many have none."""
    next_place = stack_array(_BOUNDS, np.int64(0))
    next_place[:] = 0
    for i in range(count):
        next_place[_REGIME[key[i]]] += 1
    odd = next_place[_REGIMES]
    starts[0] = 0
    for r in range(_REGIMES):
        length = next_place[r]
        next_place[r] = starts[r]
        starts[r + 1] = starts[r] + (length + _LANES - 1) // _LANES * _LANES
    for i in range(count):
        r = _REGIME[key[i]]
        place[i] = next_place[r] if r < _REGIMES else _ODD
        next_place[r] += 1
    return odd


@scalar
def _compute_regimes(
    starts: Array, ps: Array, qs: Array, gs: Array, zeroth: Array, first: Array, second: Array
) -> None:
    """Mass, mean distance and variance, in half-widths, at each place, from p, q and g there, which are overwritten."""
    a, z = starts[_INSIDE], starts[_OUTSIDE]
    _compute_inside(ps[a:z], gs[a:z], zeroth[a:z], first[a:z], second[a:z])
    a, z = starts[_OUTSIDE], starts[_REGIMES]
    _compute_outside(ps[a:z], qs[a:z], gs[a:z], zeroth[a:z], first[a:z], second[a:z])
    other = stack_array(_ROOM, np.float64(0.0))
    a = starts[_RULES]
    # What the rules need takes the place of p, q, g.
    for j in range(a):
        gs[j], qs[j], ps[j], other[j] = quadrature_terms(ps[j], qs[j], gs[j])
    # Slices, as loops over them begin at 0: with any other beginning Numba looks for negative indices.
    for r in range(_RISING):
        a, z = starts[r], starts[r + 1]
        _apply_rising_rule(r, ps[a:z], qs[a:z], zeroth[a:z], first[a:z], second[a:z])
    for r in range(_RISING, _RULES):
        a, z = starts[r], starts[r + 1]
        _apply_rule(r - _RISING, ps[a:z], qs[a:z], other[a:z], gs[a:z], zeroth[a:z], first[a:z], second[a:z])
    for j in range(starts[_RULES]):
        share = 1.0 / zeroth[j]
        first[j] *= share
        second[j] = second[j] * share - first[j] * first[j]


@scalar
def _compute_inside(p: Array, g: Array, zeroth: Array, first: Array, second: Array) -> None:
    for j in range(p.size):
        zeroth[j], first[j], second[j] = around_mode(p[j], 1.0, g[j])


@scalar
def _compute_outside(p: Array, q: Array, g: Array, zeroth: Array, first: Array, second: Array) -> None:
    for j in range(p.size):
        zeroth[j], first[j], second[j] = two_falling(p[j], 1.0, q[j], g[j])


@scalar
def _apply_rising_rule(r: int, half: Array, slope: Array, zeroth: Array, first: Array, second: Array) -> None:
    """As `_apply_rule` where every reference is an end: all that depends on the node alone is the same in each lane."""
    for n in range(STARTS[r], STARTS[r + 1]):
        t, log_weight = DISTANCES[n], LOG2_WEIGHTS[n]
        squared, bent = t * t, t * (t - 2.0)
        for j in range(half.size):
            e = exp2_normal(fma(half[j], bent, fma(slope[j], t, log_weight)))
            zeroth[j] += e
            first[j] = fma(e, t, first[j])
            second[j] = fma(e, squared, second[j])


@scalar
def _apply_rule(
    r: int, half: Array, slope: Array, other: Array, depth: Array, zeroth: Array, first: Array, second: Array
) -> None:
    for n in range(STARTS[r], STARTS[r + 1]):
        node, weight = DISTANCES[n], WEIGHTS[n]
        for j in range(half.size):
            t = node - depth[j]
            e = weight * exp2_normal(t * fma(half[j], node - other[j], slope[j]))
            zeroth[j] += e
            first[j] = fma(e, t, first[j])
            second[j] = fma(e * t, t, second[j])
