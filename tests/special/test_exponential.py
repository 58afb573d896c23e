"""exp, sigmoid, log1pexp, tanh and log2cosh: accuracy, extreme arguments and identities."""

from __future__ import annotations

import math
import re
import warnings
from typing import Any

import mpmath
import numba
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_array_equal

from tapcore import special
from tapcore._base.intrinsics import JIT_DISABLED
from tapcore.special import exponential
from tapcore_bench.micro.special_accuracy import largest_error, spread, ulp_errors

NAMES = ["exp", "log1pexp", "log2cosh", "sigmoid", "tanh"]
DTYPES = [np.float64, np.float32]
# Largest errors that the docstrings state, float64 and float32.
STATED = {"exp": (1.03, 1.05), "sigmoid": (2.5, 2.5), "log1pexp": (1.75, 1.75), "tanh": (1.5, 1.5),
          "log2cosh": (1.65, 1.65)}  # fmt: skip
EPS = 2.0**-52
compiled_only = pytest.mark.skipif(JIT_DISABLED, reason="is about compiled code")

reals = st.floats(allow_nan=False, allow_infinity=False)
moderate = st.floats(-700, 700)
by_name = pytest.mark.parametrize("name", NAMES)
by_dtype = pytest.mark.parametrize("dtype", DTYPES)


def values(name: str, x: Any) -> Any:
    return getattr(special, name)(x)


# --- Accuracy ---


@pytest.mark.nojit
@by_name
@by_dtype
def test_error_against_mpmath(name: str, dtype: Any) -> None:
    points = spread(dtype, 300 if JIT_DISABLED else 4000, seed=1)
    errors = ulp_errors(name, points)
    worst = np.argmax(errors)
    assert errors[worst] <= STATED[name][DTYPES.index(dtype)], points[worst]


@compiled_only
@by_name
@by_dtype
def test_error_at_the_worst_of_many_points(name: str, dtype: Any) -> None:
    ulp, x = largest_error(name, dtype, 300_000)
    assert ulp <= STATED[name][DTYPES.index(dtype)], x


@compiled_only
@pytest.mark.parametrize("wrong", [math.nan, math.inf, 1.0])
def test_largest_error_notices_a_wrong_value(wrong: float, monkeypatch: pytest.MonkeyPatch) -> None:
    right = special.exp
    monkeypatch.setattr(special, "exp", lambda x: np.where((x > 705) & (x < 712), wrong, right(x)))
    ulp, x = largest_error("exp", np.float64, 10_000)
    assert ulp > 1e10
    assert 705 < x < 712


@by_name
def test_docstrings_state_these_errors(name: str) -> None:
    text = re.sub(r"\s+", " ", getattr(special, name).__doc__)
    stated = re.search(r"over the whole range: ([\d.]+) ulp in float64(?:, ([\d.]+) ulp| and) in float32", text)
    assert stated is not None
    assert (float(stated[1]), float(stated[2] or stated[1])) == STATED[name]


@compiled_only
@by_dtype
def test_subnormal_results_of_exp(dtype: Any) -> None:
    info = np.finfo(dtype)
    least, normal = math.log(float(info.smallest_subnormal)), math.log(float(info.smallest_normal))
    points = np.linspace(least - 1, normal, 500).astype(dtype)
    assert (np.abs(special.exp(points).astype(np.longdouble) - np.exp(points.astype(np.longdouble)))
            <= info.smallest_subnormal).all()  # fmt: skip
    assert 0 < special.exp(dtype(least + 0.1)) <= info.smallest_subnormal


# --- Extreme arguments ---

LOG2 = math.log(2.0)


@pytest.mark.nojit
@by_dtype
@pytest.mark.parametrize(
    ("name", "x", "expected"),
    [
        ("exp", math.inf, math.inf), ("exp", -math.inf, 0.0), ("exp", 0.0, 1.0), ("exp", -0.0, 1.0),
        ("sigmoid", math.inf, 1.0), ("sigmoid", -math.inf, 0.0), ("sigmoid", 0.0, 0.5), ("sigmoid", -0.0, 0.5),
        ("log1pexp", math.inf, math.inf), ("log1pexp", -math.inf, 0.0), ("log1pexp", 0.0, LOG2),
        ("tanh", math.inf, 1.0), ("tanh", -math.inf, -1.0), ("tanh", 0.0, 0.0), ("tanh", -0.0, -0.0),
        ("log2cosh", math.inf, math.inf), ("log2cosh", -math.inf, math.inf), ("log2cosh", 0.0, LOG2),
    ],
)  # fmt: skip
def test_limits(name: str, x: float, expected: float, dtype: Any) -> None:
    found = values(name, dtype(x))
    assert found.tobytes() == dtype(expected).tobytes()


@pytest.mark.nojit
@by_name
@by_dtype
def test_nan_stays_nan(name: str, dtype: Any) -> None:
    assert np.isnan(values(name, dtype(math.nan)))
    assert_array_equal(np.isnan(values(name, np.array([1, math.nan, 2], dtype))), [False, True, False])


@by_dtype
def test_largest_and_smallest_floats(dtype: Any) -> None:
    info = np.finfo(dtype)
    tiny = info.smallest_subnormal
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert [values(name, info.max) for name in NAMES] == [math.inf, info.max, info.max, 1.0, 1.0]
        assert [values(name, info.min) for name in NAMES] == [0.0, 0.0, info.max, 0.0, -1.0]
    assert values("tanh", tiny) == tiny
    assert values("tanh", -tiny) == -tiny
    assert values("exp", tiny) == 1.0


# --- Identities ---


@pytest.mark.nojit
@given(st.floats(-350, 350), st.floats(-350, 350))
def test_exp_of_a_sum_is_a_product(x: float, y: float) -> None:
    with mpmath.workdps(30):
        exact = mpmath.mpf(x) + mpmath.mpf(y)
        rounding = float(exact - mpmath.mpf(x + y))
    assert special.exp(x) * special.exp(y) == pytest.approx(special.exp(x + y) * (1 + rounding), rel=4 * EPS)


@given(moderate)
def test_exp_of_minus_x_is_its_inverse(x: float) -> None:
    assert special.exp(x) * special.exp(-x) == pytest.approx(1, abs=3 * EPS)


@pytest.mark.nojit
@given(reals)
def test_sigmoids_of_x_and_minus_x_add_to_one(x: float) -> None:
    assert special.sigmoid(x) + special.sigmoid(-x) == pytest.approx(1, abs=4 * EPS)


@given(reals)
def test_log1pexp_of_minus_x_is_less_by_x(x: float) -> None:
    assert special.log1pexp(x) - special.log1pexp(-x) == pytest.approx(x, rel=4 * EPS, abs=4 * EPS)


@given(reals)
def test_tanh_is_odd_and_log2cosh_even_to_the_bit(x: float) -> None:
    assert special.tanh(-x) == -special.tanh(x)
    assert special.log2cosh(-x) == special.log2cosh(x)


@given(moderate)
def test_tanh_is_a_sigmoid(x: float) -> None:
    assert special.tanh(x) == pytest.approx(2 * special.sigmoid(2 * x) - 1, abs=6 * EPS)
    assert special.log2cosh(x) == pytest.approx(special.log1pexp(2 * x) - x, rel=4 * EPS, abs=abs(x) * 4 * EPS)


@given(st.floats(-30, 30))
def test_derivatives(x: float) -> None:
    h = 1e-5
    for of, slope in ((special.log1pexp, special.sigmoid), (special.log2cosh, special.tanh)):
        assert (of(x + h) - of(x - h)) / (2 * h) == pytest.approx(slope(x), abs=2e-9)


@pytest.mark.nojit
@given(reals)
def test_bounds(x: float) -> None:
    assert 0 <= special.sigmoid(x) <= 1
    assert abs(special.tanh(x)) <= min(1.0, abs(x))
    assert special.log1pexp(x) >= max(x, 0.0)
    assert special.log2cosh(x) >= max(abs(x), LOG2)
    assert special.exp(x) >= 0


@compiled_only
@by_name
@by_dtype
def test_monotone_up_to_its_error(name: str, dtype: Any) -> None:
    points = np.sort(spread(dtype, 200_000, seed=2))
    points = points[points >= 0] if name == "log2cosh" else points
    found = values(name, points)
    best = np.maximum.accumulate(found)
    finite = np.isfinite(best)
    fall = (best[finite] - found[finite]) / np.spacing(best[finite])
    assert fall.max() <= 2 * max(STATED[name])


@compiled_only
@by_name
@by_dtype
def test_falls_by_no_more_than_an_ulp_to_the_next_float(name: str, dtype: Any) -> None:
    points = spread(dtype, 200_000, seed=3)
    points = np.abs(points) if name == "log2cosh" else points
    found, following = values(name, points), values(name, np.nextafter(points, dtype(math.inf)))
    finite = np.isfinite(found)
    fall = (found[finite] - following[finite]) / np.spacing(np.abs(found[finite]))
    assert fall.max() <= 1


@pytest.mark.nojit
@given(st.floats(width=32, allow_nan=False, allow_infinity=False))
def test_symmetries_and_bounds_in_single_precision(number: float) -> None:
    x = np.float32(number)
    assert special.tanh(-x).tobytes() == (-special.tanh(x)).tobytes()
    assert special.log2cosh(-x) == special.log2cosh(x)
    assert abs(special.tanh(x)) <= 1
    assert special.log1pexp(x) >= max(x, 0)
    assert special.log2cosh(x) >= abs(x)
    assert special.sigmoid(x) + special.sigmoid(-x) == pytest.approx(1, abs=4 * 2.0**-23)


@pytest.mark.nojit
def test_log2cosh_is_at_least_log_2_in_single_precision() -> None:
    assert special.log2cosh(np.float32(5.2242430683691055e-05)) >= LOG2


# --- Moments for sweeps ---


@numba.njit
def binary_moments(z: float) -> tuple[float, float]:
    return exponential.sigmoid_moments(z)


@numba.njit
def spin_moments(b: float) -> tuple[float, float]:
    return exponential.tanh_moments(b)


@pytest.mark.nojit
@given(moderate)
def test_moments_have_their_digits_in_both_tails(x: float) -> None:
    with mpmath.workdps(700):
        s = 1 / (1 + mpmath.exp(-mpmath.mpf(x)))
        t = mpmath.tanh(mpmath.mpf(x))
        binary, spin = (s, s * (1 - s)), (t, 1 - t * t)
    for found, exact in ((binary_moments(x), binary), (spin_moments(x), spin)):
        assert found[0] == pytest.approx(float(exact[0]), rel=6 * EPS, abs=1e-300)
        assert found[1] == pytest.approx(float(exact[1]), rel=8 * EPS, abs=1e-300)


@pytest.mark.nojit
def test_moments_in_single_precision() -> None:
    eps = 2.0**-23
    for x in np.linspace(-86, 86, 345, dtype=np.float32):
        mean, var = binary_moments(x)
        assert mean == pytest.approx(1 / (1 + math.exp(-x)), rel=4 * eps)
        assert var == pytest.approx((2 * math.cosh(x / 2)) ** -2, rel=6 * eps, abs=1e-44)
        mean, var = spin_moments(x / 2)
        assert mean == pytest.approx(math.tanh(x / 2), rel=4 * eps)
        assert var == pytest.approx(math.cosh(x / 2) ** -2, rel=6 * eps, abs=1e-44)


@pytest.mark.nojit
@given(st.floats(-700, 700))
def test_variance_is_mean_times_mean_of_the_other_state(x: float) -> None:
    mean, var = binary_moments(x)
    assert var == pytest.approx(mean * binary_moments(-x)[0], rel=6 * EPS)


@pytest.mark.nojit
@pytest.mark.parametrize("x", [math.inf, -math.inf, 1e300, -1e300, 0.0, -0.0, math.nan])
def test_moments_at_extremes(x: float) -> None:
    for (mean, var), least in ((binary_moments(x), 0.0), (spin_moments(x), -1.0)):
        if math.isnan(x):
            assert math.isnan(mean)
            assert math.isnan(var)
        elif x == 0:
            assert mean == (1 + least) / 2
            assert var == (1 - least) ** 2 / 4
        else:
            assert mean == (1.0 if x > 0 else least)
            assert var == 0
