"""erfcx: accuracy, identities, extreme arguments, and both its faces."""

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

from tapcore._base.intrinsics import JIT_DISABLED
from tapcore.special import erfcx, exp
from tapcore.special.erfcx import _erfcx_loop
from tapcore_bench.micro.special_accuracy import spread, ulp_errors

STATED = {np.float64: 2.1, np.float32: 2.4}
by_dtype = pytest.mark.parametrize("dtype", STATED)
compiled_only = pytest.mark.skipif(JIT_DISABLED, reason="is about compiled code")
EPS = 2.0**-52


@pytest.mark.nojit
@by_dtype
def test_error_against_mpmath(dtype: Any) -> None:
    points = spread(dtype, 300 if JIT_DISABLED else 6000, seed=3)
    rng = np.random.default_rng(4)
    # Where it is near 1, and where the two sides meet.
    near = (rng.choice([-1, 1], len(points)) * 10 ** rng.uniform(-12, 0.5, len(points))).astype(dtype)
    points = np.concatenate([points, near])
    errors = ulp_errors("erfcx", points)
    worst = np.argmax(errors)
    assert errors[worst] <= STATED[dtype], points[worst]


def test_docstring_states_these_errors() -> None:
    text = re.sub(r"\s+", " ", str(erfcx.__doc__))
    stated = re.search(r"over the whole range: ([\d.]+) ulp in float64, ([\d.]+) ulp in float32", text)
    assert stated is not None
    assert [float(s) for s in stated.groups()] == list(STATED.values())


@compiled_only
def test_agrees_with_scipy() -> None:
    # To the left SciPy loses some hundred ulp.
    x = np.linspace(0, 300, 10_001)
    assert_allclose(erfcx(x), scipy.special.erfcx(x), rtol=2e-15)


@pytest.mark.nojit
@by_dtype
@pytest.mark.parametrize(
    ("x", "expected"), [(math.inf, 0.0), (-math.inf, math.inf), (0.0, 1.0), (-0.0, 1.0), (-30.0, math.inf)]
)
def test_limits(x: float, expected: float, dtype: Any) -> None:
    found = erfcx(dtype(x))
    assert found.tobytes() == dtype(expected).tobytes()


@pytest.mark.nojit
@by_dtype
def test_extremes(dtype: Any) -> None:
    info = np.finfo(dtype)
    assert np.isnan(erfcx(dtype(math.nan)))
    assert erfcx(info.min) == math.inf
    # Subnormal, yet right: 1/(sqrt(pi) x).
    assert erfcx(info.max) == pytest.approx(
        1 / math.sqrt(math.pi) / float(info.max), rel=0, abs=float(info.smallest_subnormal)
    )
    assert erfcx(info.smallest_subnormal) == 1
    assert erfcx(-info.smallest_subnormal) == 1


@pytest.mark.nojit
@given(st.floats(-25, 25))
def test_reflection(x: float) -> None:
    # The rounding of x^2 alone changes e^(x^2) by up to x^2 half ulp.
    assert erfcx(x) + erfcx(-x) == pytest.approx(2 * exp(x * x), rel=(4 + x * x) * EPS)


@pytest.mark.nojit
@given(st.floats(0, 1e300))
def test_bounds_of_mills_ratio(x: float) -> None:
    """2/sqrt(pi) / (x + sqrt(x^2 + 2)) < erfcx(x) <= 2/sqrt(pi) / (x + sqrt(x^2 + 4/pi))."""
    scale = 2 / math.sqrt(math.pi)
    assert erfcx(x) >= scale / (x + math.hypot(x, math.sqrt(2))) * (1 - 4 * EPS)
    assert erfcx(x) <= scale / (x + math.hypot(x, math.sqrt(4 / math.pi))) * (1 + 4 * EPS)


@given(st.floats(-5, 20))
def test_derivative(x: float) -> None:
    """d erfcx/dx = 2 x erfcx(x) - 2/sqrt(pi)."""
    h = 1e-5
    slope = (erfcx(x + h) - erfcx(x - h)) / (2 * h)
    assert slope == pytest.approx(2 * x * erfcx(x) - 2 / math.sqrt(math.pi), rel=1e-6, abs=1e-8)


@compiled_only
@by_dtype
def test_falls_up_to_its_error(dtype: Any) -> None:
    found = erfcx(np.sort(spread(dtype, 200_000, seed=5)))
    least = np.minimum.accumulate(found)
    finite = np.isfinite(found)
    rise = (found[finite] - least[finite]) / np.spacing(least[finite])
    assert rise.max() <= 2 * STATED[dtype]


@by_dtype
def test_arrays_and_out(dtype: Any) -> None:
    x = np.random.default_rng(0).normal(0, 3, (4, 5)).astype(dtype)
    plain = erfcx(x)
    assert plain.dtype == dtype
    assert_array_equal(erfcx(x.T), plain.T)
    assert erfcx(x, out=x) is x
    assert_array_equal(x, plain)
    with pytest.raises(TypeError, match="x must hold real numbers"):
        erfcx("one")


@compiled_only
@by_dtype
def test_in_compiled_code(dtype: Any) -> None:
    @numba.njit
    def fill(x: Any, out: Any) -> None:
        for i in range(x.size):
            out[i] = erfcx(x[i])

    x = np.append(spread(dtype, 500), np.array([math.inf, -math.inf, math.nan], dtype))
    out = np.empty_like(x)
    fill(x, out)
    assert_array_equal(out, erfcx(x))


@compiled_only
@pytest.mark.skipif(platform.machine() not in ("x86_64", "AMD64"), reason="looks for instructions of x86-64")
@pytest.mark.parametrize(("dtype", "packed"), [("float64", r"vdivpd|divpd"), ("float32", r"vdivps|divps")])
def test_loop_vectorises(dtype: str, packed: str) -> None:
    fresh = numba.njit(error_model="numpy")(_erfcx_loop.py_func)
    fresh(np.ones(8, dtype), np.ones(8, dtype))
    (assembly,) = fresh.inspect_asm().values()
    assert re.search(packed, assembly)
