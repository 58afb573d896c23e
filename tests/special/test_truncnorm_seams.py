"""Truncated-Gaussian moments at adjacent floats on both sides of every seam, and where products underflow."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator

import numba
import numpy as np
import pytest
from truncnorm_cases import errors, exactly, moments

from tapcore._base.intrinsics import JIT_DISABLED
from tapcore.special import truncnorm
from tapcore.special.truncnorm.point import reduce

Weight = tuple[float, float, float, float]
INTERVALS = [(-1.0, 1.0), (0.0, 1.0), (3.0, 3.5), (-1e5, 2e4)]
SIZES = (1, 4, 10, 16, 23, 32, 43)  # of |p| + |q|: the rules
FIELDS = (22, 25, 354)  # of |q|: other end lost for s < 0, for s >= 0, and e^(-2 q) flushed to 0


@numba.njit
def one_by_one(s, b, lo, hi):
    out = np.empty((3, s.size))
    for i in range(s.size):
        out[0, i], out[1, i], out[2, i] = truncnorm.moments(s[i], b[i], lo[i], hi[i])
    return out


def shape(s: float, b: float, lo: float, hi: float) -> tuple[float, float, float]:
    """(|p| + |q|, |q|, x^2): x^2 = g^2/|s| where the mode lies outside, else 0."""
    _, _, _, p, q, g = reduce(np.float64(s), np.float64(b), np.float64(lo), np.float64(hi))
    return abs(p) + q, q, g * g / abs(s) if s and g > 0 else 0.0


def on_both_sides(crossed: Callable[[float], bool], a: float, z: float) -> tuple[float, float]:
    """The adjacent floats in [a, z] between which `crossed` changes."""
    before = crossed(a)
    assert crossed(z) != before
    while np.nextafter(a, z) != z:
        middle = a + (z - a) / 2
        a, z = (middle, z) if crossed(middle) == before else (a, middle)
    return a, z


def pairs(number: int, value: float, p: float, lo: float, hi: float) -> Iterator[tuple[Weight, Weight]]:
    """Weights of the given p next to where that number of `shape` reaches `value`, with b on either side."""
    half, middle = (hi - lo) / 2, (hi + lo) / 2
    s = p / half**2
    for side in (-1, 1):
        # Where s > 0 the numbers rise all the way once the mode is at the end.
        first = s * middle + side * (p if p > 0 and number == 2 else 0) / half
        last = s * middle + side * (2 * value + 30 * math.sqrt(abs(p)) + abs(p)) / half
        near, far = on_both_sides(lambda b: shape(s, b, lo, hi)[number] >= value, first, last)
        yield (s, near, lo, hi), (s, far, lo, hi)


def seams(lo: float, hi: float) -> Iterator[tuple[Weight, Weight]]:
    for size in SIZES:
        for share in (-0.97, -0.6, -0.2, -1e-9, 1e-9, 0.3, 0.5, 0.8, 0.99):
            yield from pairs(0, size, share * size, lo, hi)
    for field in FIELDS:
        for p in (-400.0, -50.0, -21.0, -3.0, 3.0, 20.0, 70.0, 3e3):
            yield from pairs(1, field, p, lo, hi)
    for p in (-400.0, -50.0, -2.0, 2.0, 60.0, 1e3, 1e5):
        yield from pairs(2, 420.0, p, lo, hi)  # the series of the far tail
    half = (hi - lo) / 2
    # b = s hi, s lo: the mode at the end; for s < 0 the weight least there.
    for p in (-1e6, -1e3, -50.0, -10.0, -1.0, -0.1, 0.1, 0.7, 3.0, 9.0, 50.0, 1e4):
        for end in (lo, hi):
            s = p / half**2
            if end:  # at 0 underflow would take part: see below
                yield (s, np.nextafter(s * end, -np.inf), lo, hi), (s, s * end, lo, hi)
                yield (s, np.nextafter(s * end, np.inf), lo, hi), (s, s * end, lo, hi)
    # The sign of s.
    for q in (0.3, -0.99, 5.0, 9.9, -10.1, 21.9, 22.1, -26.0, 1e5):
        for s in (-1e-250, 1e-250):
            yield (s, q / half, lo, hi), (0.0, q / half, lo, hi)


@pytest.mark.nojit
@pytest.mark.parametrize(("lo", "hi"), INTERVALS)
def test_adjacent_floats_on_both_sides_of_a_seam(lo: float, hi: float) -> None:
    found = list(seams(lo, hi))[:: 60 if JIT_DISABLED else 1]
    weights = np.array([w for pair in found for w in pair]).T
    expected = exactly(*weights)
    for results in (moments(*weights), one_by_one(*weights)):
        each = errors(results, expected, hi - lo)
        assert each.max() < 6e-15, weights[:, each.max(axis=0).argmax()]
        # What jumps is the error: the weights themselves differ by the rounding of b.
        jumps = (results - expected)[:, ::2] - (results - expected)[:, 1::2]
        assert errors(jumps + expected[:, ::2], expected[:, ::2], hi - lo).max() < 1e-14


# Where p, q or g underflow though s and b do not


@pytest.mark.parametrize("path", [moments, one_by_one])
def test_weights_flat_to_the_last_digit(path: Callable[..., np.ndarray]) -> None:
    rng = np.random.default_rng(1)
    count = 300
    s = 10 ** rng.uniform(-323, -40, count) * rng.choice([-1, 1], count)
    lo = np.where(rng.random(count) < 0.2, 0.0, rng.uniform(-1, 1, count))
    width = 10 ** rng.uniform(-3, 6, count)
    b = s * (lo + width * rng.uniform(-1, 2, count))
    found = path(s, b, lo, lo + width)
    width = (lo + width) - lo
    assert errors(found, [np.log(width), lo + width / 2, width**2 / 12], width).max() < 5e-15


@pytest.mark.parametrize("path", [moments, one_by_one])
@pytest.mark.parametrize(
    ("s", "b", "lo", "hi"),
    [(1.19e-315, 2.26e-318, 0.0, 0.004), (1e-299, 3e-306, 0.0, 1e-6), (7.8e-316, 1.8e-317, -0.045, 0.072)],
)
def test_a_mode_inside_a_flat_weight(path: Callable[..., np.ndarray], s: float, b: float, lo: float, hi: float) -> None:
    found = path(*(np.array([x]) for x in (s, b, lo, hi)))
    assert errors(found, exactly(s, b, lo, hi), hi - lo).max() < 5e-15


@pytest.mark.parametrize("path", [moments, one_by_one])
@pytest.mark.parametrize("weight", [(-200.0, -5e-324, 0.0, 1.0), (-800.0, 1e-323, -1.0, 0.0)])
def test_least_weight_at_the_other_end(path: Callable[..., np.ndarray], weight: Weight) -> None:
    found = path(*(np.array([x]) for x in weight))
    assert errors(found, exactly(*weight), 1.0).max() < 5e-15
