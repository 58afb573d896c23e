"""Dawson's integral and the scaled erfi: accuracy, identities, the seam of the two series, extremes, and both faces."""

from __future__ import annotations

import math
import platform
import re
from typing import Any

import numba
import numpy as np
import pytest
import scipy.special
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal

from tapcore import special
from tapcore._base.intrinsics import JIT_DISABLED
from tapcore.special import dawson, erfi_scaled
from tapcore.special.dawson import _dawson_loop, _erfi_scaled_loop, dawson_any
from tapcore_bench.micro.special_accuracy import spread, ulp_errors

STATED = {"dawson": {np.float64: 2.1, np.float32: 2.0}, "erfi_scaled": {np.float64: 2.1, np.float32: 2.0}}
# F(x) is largest at TOP, where it is HEIGHT.
TOP, HEIGHT = 0.9241388730045918, 0.5410442246351817
# x^2 from which the other series is used.
SEAM = {np.float64: 19.0, np.float32: 10.5}
EPS = 2.0**-52
by_name = pytest.mark.parametrize("name", STATED)
by_dtype = pytest.mark.parametrize("dtype", SEAM)
compiled_only = pytest.mark.skipif(JIT_DISABLED, reason="is about compiled code")


def around(middle: Any, steps: int) -> Any:
    """Adjacent floats on both sides of `middle`."""
    return middle + np.arange(-steps, steps + 1).astype(type(middle)) * np.spacing(middle)


def seam(dtype: Any, steps: int) -> Any:
    """Adjacent floats on both sides of where the series meet."""
    return around(dtype(math.sqrt(SEAM[dtype])), steps)


@pytest.mark.nojit
@by_name
@by_dtype
def test_error_against_mpmath(name: str, dtype: Any) -> None:
    count = 200 if JIT_DISABLED else 4000
    rng = np.random.default_rng(4)
    signs = rng.choice([-1, 1], count)
    # Where the functions bend, next to 0, and where the two series meet.
    points = np.concatenate([rng.uniform(-6, 6, count), signs * 10 ** rng.uniform(-12, 2, count)]).astype(dtype)
    points = np.concatenate([spread(dtype, count, seed=3), points, seam(dtype, 20)])
    errors = ulp_errors(name, points)
    worst = np.argmax(errors)
    assert errors[worst] <= STATED[name][dtype], points[worst]


@pytest.mark.nojit
@by_name
def test_docstring_states_these_errors(name: str) -> None:
    text = re.sub(r"\s+", " ", str(getattr(special, name).__doc__))
    stated = re.search(r"Largest error found: ([\d.]+) ulp in float64 .*?, ([\d.]+) ulp in float32", text)
    assert stated is not None
    assert [float(s) for s in stated.groups()] == list(STATED[name].values())


@compiled_only
@by_name
@pytest.mark.parametrize(("low", "high"), [(0.25, 4.5), (1e9, 2e9), (2.0**127, 3.4e38)])
def test_single_against_double(name: str, low: float, high: float) -> None:
    """Every 16th float32 of a range: float64 is exact in comparison."""
    first, last = np.array([low, high], np.float32).view(np.int32)
    x = np.arange(first, last, 16, dtype=np.int32).view(np.float32)
    function = getattr(special, name)
    exact = function(x.astype(np.float64))
    spacing = np.maximum(np.ldexp(1.0, np.frexp(exact)[1] - 24), 2.0**-149)
    assert np.max(np.abs(function(x) - exact) / spacing) <= STATED[name][np.float32]


@compiled_only
def test_agrees_with_scipy() -> None:
    x = np.linspace(-60, 60, 20_001)
    assert_allclose(dawson(x), scipy.special.dawsn(x), rtol=1e-14)


@pytest.mark.nojit
@by_dtype
def test_limits(dtype: Any) -> None:
    for x, expected in [(math.inf, 0.0), (-math.inf, -0.0), (0.0, 0.0), (-0.0, -0.0)]:
        for function in (dawson, erfi_scaled):
            assert function(dtype(x)).tobytes() == dtype(expected).tobytes()
    assert np.isnan(dawson(dtype(math.nan)))
    assert np.isnan(erfi_scaled(dtype(math.nan)))


@pytest.mark.nojit
@by_dtype
def test_extremes(dtype: Any) -> None:
    info = np.finfo(dtype)
    least, rel = float(info.smallest_subnormal), 2 * float(info.eps)
    for x in (info.smallest_subnormal, dtype(7 * least), info.smallest_normal, dtype(1e-20)):
        assert dawson(x) == x
        assert dawson(-x) == -x
        assert erfi_scaled(x) == pytest.approx(2 / math.sqrt(math.pi) * float(x), rel=rel, abs=least)
    for x in (info.max, -info.max, dtype(info.max / 5), dtype(1e30)):  # some results are subnormal
        assert dawson(x) == pytest.approx(1 / (2 * float(x / 2)) / 2, rel=rel, abs=least)
        assert erfi_scaled(x) == pytest.approx(1 / math.sqrt(math.pi) / float(x), rel=rel, abs=least)


@pytest.mark.nojit
@by_dtype
def test_no_step_where_formulas_meet(dtype: Any) -> None:
    far = dtype(1e17 if dtype is np.float64 else 1e9)
    for points in (seam(dtype, 30), around(far, 30)):
        x, found = points.astype(np.float64), dawson(points)
        slope = 1 - 2 * x[0] * found[0] if x[0] < 100 else -found[0] / x[0]
        line = found[0] + (x - x[0]) * slope
        assert np.max(np.abs(found - line)) <= 2 * np.spacing(found[0])


@pytest.mark.nojit
@given(st.floats(allow_nan=False))
def test_odd_to_the_bit(x: float) -> None:
    for function in (dawson, erfi_scaled):
        for dtype in SEAM:
            with np.errstate(over="ignore"):
                y = np.float64(x).astype(dtype)
            assert function(-y).tobytes() == (-function(y)).tobytes()


@pytest.mark.nojit
@given(st.floats(0, 1e300, exclude_min=True))
def test_bounds(x: float) -> None:
    found = dawson(x)
    assert 0 < found <= HEIGHT * (1 + 2 * EPS)
    assert x / (1 + 2 * x * x) * (1 - 4 * EPS) <= found <= x
    assert erfi_scaled(x) == pytest.approx(2 / math.sqrt(math.pi) * found, rel=5 * EPS, abs=1e-323)


@pytest.mark.nojit
def test_largest_value() -> None:
    assert dawson(TOP) == pytest.approx(HEIGHT, rel=2 * EPS)
    # The slope is 0 there.
    assert 1 - 2 * TOP * dawson(TOP) == pytest.approx(0, abs=4 * EPS)


@given(st.floats(-30, 30))
def test_derivative(x: float) -> None:
    """F' = 1 - 2 x F."""
    h = 1e-3
    # Of order h^4, so that a large step can tell slopes from rounding.
    slope = (8 * (dawson(x + h) - dawson(x - h)) - dawson(x + 2 * h) + dawson(x - 2 * h)) / (12 * h)
    assert slope == pytest.approx(1 - 2 * x * dawson(x), abs=1e-11)


@pytest.mark.nojit
@given(st.floats(-1e-3, 1e-3), st.floats(200, 1e12))
def test_series_at_both_ends(small: float, large: float) -> None:
    z = small * small
    assert dawson(small) == pytest.approx(small * (1 - 2 / 3 * z * (1 - 2 / 5 * z)), rel=3 * EPS, abs=1e-323)
    w = 1 / (2 * large * large)
    assert dawson(large) == pytest.approx((1 + w * (1 + 3 * w * (1 + 5 * w))) / (2 * large), rel=4 * EPS)


@compiled_only
@by_name
@by_dtype
def test_rises_then_falls_up_to_its_error(name: str, dtype: Any) -> None:
    found = getattr(special, name)(np.sort(np.abs(spread(dtype, 200_000, seed=5))))
    top = int(np.argmax(found))
    rising, falling = found[: top + 1], found[: top - 1 : -1]
    for part in (rising, falling):
        greatest = np.maximum.accumulate(part)
        assert np.max((greatest - part) / np.spacing(part)) <= 2 * STATED[name][dtype]


@pytest.mark.nojit
def test_rises_then_falls_in_coarse_steps() -> None:
    x = np.linspace(0, 40, 401)
    steps = np.diff(dawson(x))
    assert np.all(steps[x[1:] < TOP] > 0)
    assert np.all(steps[x[:-1] > TOP] < 0)


@pytest.mark.nojit
@by_name
@by_dtype
def test_arrays_and_out(name: str, dtype: Any) -> None:
    function = getattr(special, name)
    x = np.random.default_rng(0).normal(0, 3, (4, 5)).astype(dtype)
    plain = function(x)
    assert plain.dtype == dtype
    assert type(function(dtype(1))) is dtype
    assert_array_equal(function(x.T), plain.T)
    assert function(x, out=x) is x
    assert_array_equal(x, plain)
    with pytest.raises(TypeError, match="x must hold real numbers"):
        function("one")


@pytest.mark.nojit
def test_other_arguments() -> None:
    assert dawson(2) == dawson(2.0)
    assert dawson(True) == dawson(1.0)
    assert dawson([[1, 2]]).shape == (1, 2)
    assert dawson(np.empty((0, 3))).shape == (0, 3)


@compiled_only
@by_dtype
def test_in_compiled_code(dtype: Any) -> None:
    @numba.njit
    def fill(x: Any, faces: Any, helper: Any) -> None:
        for i in range(x.size):
            faces[0, i] = dawson(x[i])
            faces[1, i] = erfi_scaled(x[i])
            helper[i] = dawson_any(x[i])

    x = np.concatenate(
        [spread(dtype, 500), seam(dtype, 5), np.array([0.0, -0.0, math.inf, -math.inf, math.nan], dtype)]
    )
    faces, helper = np.empty((2, x.size), dtype), np.empty_like(x)
    fill(x, faces, helper)
    assert_array_equal(faces, [dawson(x), erfi_scaled(x)])
    assert_array_equal(helper, dawson(x))


@compiled_only
@pytest.mark.skipif(platform.machine() not in ("x86_64", "AMD64"), reason="looks for instructions of x86-64")
@pytest.mark.parametrize("loop", [_dawson_loop, _erfi_scaled_loop])
@pytest.mark.parametrize(("dtype", "packed", "degree"), [("float64", "pd", 23), ("float32", "ps", 11)])
def test_loops_vectorise(loop: Any, dtype: str, packed: str, degree: int) -> None:
    fresh = numba.njit(error_model="numpy")(loop.py_func)
    fresh(np.ones(8, dtype), np.ones(8, dtype))
    (assembly,) = fresh.inspect_asm().values()
    # The divisions alone could be packed within one turn of a scalar loop; the polynomial could not.
    assert len(re.findall(rf"vfmadd\d+{packed}", assembly)) >= degree
