"""Truncated-Gaussian moments anywhere: bounds, symmetries, derivatives and monotonicity, by Hypothesis."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from truncnorm_cases import anywhere, errors, exact, from_shape, moments

from tapcore._base.intrinsics import JIT_DISABLED

EXAMPLES = settings(max_examples=25 if JIT_DISABLED else 400)


def signed(least: float, most: float) -> st.SearchStrategy[float]:
    exponents = st.floats(math.log(least), math.log(most))
    return st.builds(lambda e, sign: sign * math.exp(e), exponents, st.sampled_from([-1.0, 1.0]))


@st.composite
def intervals(draw: st.DrawFn) -> tuple[float, float]:
    width = math.exp(draw(st.floats(math.log(1e-7), math.log(1e6))))
    lo = draw(st.one_of(st.floats(-1e6, 1e6 - width), st.sampled_from([0.0, -width / 2, -width])))
    assume(lo >= -1e6 and lo + width <= 1e6 and lo < lo + width)
    return lo, lo + width


@st.composite
def weights(draw: st.DrawFn) -> tuple[float, float, float, float]:
    """s and b to +-1e8, drawn themselves or by the shape p, q of the weight."""
    lo, hi = draw(intervals())
    if draw(st.booleans()):
        s, b = (draw(st.one_of(st.just(0.0), signed(1e-300, 1e8), st.floats(-1e8, 1e8))) for _ in range(2))
        return s, b, lo, hi
    p, q = (draw(st.one_of(st.just(0.0), signed(1e-6, 1e5), st.floats(-50, 50))) for _ in range(2))
    s, b = (float(x) for x in from_shape(p, q, lo, hi)[:2])
    assume(abs(s) <= 1e8 and abs(b) <= 1e8)
    return s, b, lo, hi


@pytest.mark.nojit
@EXAMPLES
@given(weights())
def test_bounds(weight: tuple[float, float, float, float]) -> None:
    s, b, lo, hi = weight
    log_z, mean, var = moments(s, b, lo, hi)
    assert math.isfinite(log_z)
    assert lo <= mean <= hi
    assert 0 < var <= (hi - lo) ** 2 / 4
    # The weight lies between its least and its greatest value.
    ends = [b * x - s * x * x / 2 for x in (lo, hi)]
    most = b * b / (2 * s) if s > 0 and lo < b / s < hi else max(ends)
    slack = 1e-14 * (abs(most) + abs(log_z) + 1)
    assert min(ends) - (0 if s >= 0 else abs(s) * (hi - lo) ** 2) - slack <= log_z - math.log(hi - lo) <= most + slack


@pytest.mark.nojit
@EXAMPLES
@given(weights())
def test_reflection(weight: tuple[float, float, float, float]) -> None:
    s, b, lo, hi = weight
    log_z, mean, var = moments(s, b, lo, hi)
    # To the bit, but for weights so even that either end may count as the dominating one.
    assert errors(moments(s, -b, -hi, -lo), [log_z, -mean, var], hi - lo).max() < 1e-15


@pytest.mark.nojit
@EXAMPLES
@given(weights(), st.integers(-20, 20))
def test_another_unit_of_length(weight: tuple[float, float, float, float], power: int) -> None:
    """Powers of two go through everything exactly, the logarithm aside."""
    s, b, lo, hi = weight
    assume(all(x == 0 or abs(x) > 1e-200 for x in (s, b)))
    log_z, mean, var = moments(s, b, lo, hi)
    unit = 2.0**power
    scaled = moments(s / unit**2, b / unit, lo * unit, hi * unit)
    assert scaled[0] == pytest.approx(log_z + power * math.log(2), rel=1e-15, abs=1e-14)
    assert scaled[1] == mean * unit
    assert scaled[2] == var * unit**2


@EXAMPLES
@given(st.floats(-50, 50), st.floats(-50, 50), st.integers(-64, 64), st.integers(1, 64))
def test_a_shift_by_what_is_exact(p: float, q: float, shift: int, width: int) -> None:
    """Moments about another origin: x = y + d turns b into b - s d, with integers and eighths exact throughout."""
    s, b = round(p * 8) / 8 / width, round(q * 8) / 8
    assume(s * width == round(p * 8) / 8)
    s = round(s * 1024) / 1024
    log_z, mean, var = moments(s, b, 0.0, float(width))
    moved = moments(s, b + s * shift, float(shift), float(shift + width))
    energy = b * shift + s * shift * shift / 2
    assert moved[0] - energy == pytest.approx(log_z, abs=1e-14 * (1 + abs(energy) + abs(moved[0])))
    assert moved[1] - shift == pytest.approx(mean, abs=1e-14 * (width + abs(shift)))
    assert moved[2] == pytest.approx(var, rel=1e-13)


@pytest.mark.nojit
@EXAMPLES
@given(weights(), st.floats(0, 1))
def test_the_mean_rises_with_the_field(weight: tuple[float, float, float, float], step: float) -> None:
    s, b, lo, hi = weight
    _, mean, var = moments(s, b, lo, hi)
    higher = b + step * min(1 / math.sqrt(var), 1e8)
    assert moments(s, higher, lo, hi)[1] >= mean - 1e-15 * max(abs(lo), abs(hi))


@pytest.mark.nojit
@settings(max_examples=5 if JIT_DISABLED else 60)
@given(weights(), st.lists(st.floats(-1e8, 1e8), min_size=8, max_size=8))
def test_the_mean_rises_over_all_fields(weight: tuple[float, float, float, float], fields: list[float]) -> None:
    s, _, lo, hi = weight
    rise = np.diff(moments(s, np.sort(fields), lo, hi)[1])
    assert np.all(rise >= -1e-15 * max(abs(lo), abs(hi)))


@settings(max_examples=60)
@given(weights())
def test_values_anywhere_against_mpmath(weight: tuple[float, float, float, float]) -> None:
    """And with them the derivatives: mean = d ln Z/db, var = d mean/db hold for the reference by what it integrates."""
    expected = [float(x) for x in exact.moments(*weight)]
    assert errors(moments(*weight), expected, weight[3] - weight[2]).max() < 5e-15


@settings(max_examples=40)
@given(st.floats(-60, 60), st.floats(-60, 60), st.sampled_from([(-1.0, 1.0), (0.0, 1.0), (-0.5, 3.0), (40.0, 41.0)]))
def test_moments_are_derivatives_of_the_log_mass(p: float, q: float, ends: tuple[float, float]) -> None:
    """d ln Z/db = mean, d mean/db = var and d ln Z/ds = -(var + mean^2)/2, the left sides by mpmath."""
    s, b, lo, hi = (float(x) for x in from_shape(p, q, *ends))
    _, mean, var = moments(s, b, lo, hi)
    with exact.mp.workdps(40):
        h = exact.mpf(10) ** -12

        def slope(i: int, along_b: int, along_s: int) -> float:
            up = exact.moments(s + along_s * h, b + along_b * h, lo, hi, 40)[i]
            down = exact.moments(s - along_s * h, b - along_b * h, lo, hi, 40)[i]
            return float((up - down) / (2 * h))

        assert mean == pytest.approx(slope(0, 1, 0), abs=1e-14 * max(abs(lo), abs(hi)))
        assert var == pytest.approx(slope(1, 1, 0), rel=1e-14)
        assert -(var + mean**2) / 2 == pytest.approx(slope(0, 0, 1), rel=1e-14, abs=1e-15)


def test_many_random_points_are_finite_and_in_bounds() -> None:
    s, b, lo, hi = anywhere(0, 100_000)
    log_z, mean, var = moments(s, b, lo, hi)
    assert np.isfinite(log_z).all()
    assert np.all((lo <= mean) & (mean <= hi))
    assert np.all((var > 0) & (var <= (hi - lo) ** 2 / 4))
