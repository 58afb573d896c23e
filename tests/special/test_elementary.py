"""What the special functions share: 2^x and log x where results are normal, and arrays on the stack."""

from __future__ import annotations

import math
from fractions import Fraction
from typing import Any

import mpmath
import numba
import numpy as np
import pytest

from tapcore._base.intrinsics import JIT_DISABLED, _python_fma, stack_array
from tapcore.special.elementary import exp2_normal, log_normal

compiled_only = pytest.mark.skipif(JIT_DISABLED, reason="is about compiled code")
COUNT = 300 if JIT_DISABLED else 5000


def ulp_errors(found: Any, x: Any, exact: Any) -> np.ndarray:
    """In units of the spacing of floats of the dtype of `x` at the exact result."""
    bits = np.finfo(x.dtype).nmant
    errors = []
    with mpmath.workdps(40):
        for f, argument in zip(np.asarray(found).tolist(), x.tolist(), strict=True):
            truth = exact(mpmath.mpf(argument))
            _, exponent = mpmath.frexp(truth)
            errors.append(float(abs(f - truth) / mpmath.mpf(2) ** (int(exponent) - 1 - bits)) if truth else abs(f))
    return np.array(errors)


@pytest.mark.nojit
def test_exp2_normal() -> None:
    rng = np.random.default_rng(0)
    halves = rng.integers(-2000, 2000, COUNT) / 2  # where one power of two hands over to the next
    near = halves + rng.integers(-3, 4, COUNT) * np.spacing(halves)
    x = np.concatenate([rng.uniform(-1022, 1023.4, COUNT), rng.uniform(-2, 2, COUNT), near, [-1022.0, -1021.9, 1023.0]])
    found = np.array([exp2_normal(v) for v in x])
    assert ulp_errors(found, x, lambda v: mpmath.mpf(2) ** v).max() <= 1.0
    for n in range(-1022, 1024, 1 if not JIT_DISABLED else 31):
        assert exp2_normal(np.float64(n)) == math.ldexp(1.0, n)
    for small in (0.0, -0.0, 5e-324, -1e-300, 1e-17):
        assert exp2_normal(np.float64(small)) == 1.0


@pytest.mark.nojit
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_log_normal(dtype: Any) -> None:
    rng = np.random.default_rng(1)
    info = np.finfo(dtype)
    most = math.log(float(info.max)) - 1
    # Everywhere; next to 1, where it is 0; and at 3/4 and 3/2 times powers of two, where the power changes.
    seams = np.ldexp(rng.choice([0.75, 1.0, 1.5], COUNT), rng.integers(-100, 100, COUNT))
    x = np.concatenate(
        [
            np.exp(rng.uniform(-most + 2, most, COUNT)),
            1 + rng.choice([-1, 1], COUNT) * 10 ** rng.uniform(-7, -0.7, COUNT),
            seams * (1 + rng.integers(-3, 4, COUNT) * float(info.eps)),
            [float(info.smallest_normal), float(info.max), 1 + float(info.eps), 1 - float(info.epsneg)],
        ]
    ).astype(dtype)
    found = np.array([log_normal(v) for v in x])
    assert ulp_errors(found, x, mpmath.log).max() <= 1.0
    one = log_normal(dtype(1))
    assert one == 0
    assert JIT_DISABLED or isinstance(one, float)


@pytest.mark.nojit
def test_what_a_stack_array_holds_is_its_own() -> None:
    assert sums(np.float64(0.5)) == (4.5, 40, 8, 5)


@numba.njit
def sums(half: float) -> tuple[float, int, int, int]:
    """Two at once of unlike dtypes, each as long as asked for."""
    reals, integers = stack_array(8, half), stack_array(5, np.int64(0))
    for i in range(reals.size):
        reals[i] = half
    for i in range(integers.size):
        integers[i] = 8
    reals[0] += half
    return reals[:].sum(), integers.sum(), reals.size, integers.size


@compiled_only
def test_a_stack_array_has_the_dtype_asked_for() -> None:
    @numba.njit
    def thirds(like):  # type: ignore[no-untyped-def]
        made = stack_array(3, like)
        for i in range(3):
            made[i] = i / 3
        return made[1], made[2]

    assert thirds(np.float32(0)) == (float(np.float32(1 / 3)), float(np.float32(2 / 3)))
    assert thirds(0.0) == (1 / 3, 2 / 3)
    assert thirds(7) == (0, 0)


@compiled_only
def test_the_size_of_a_stack_array_must_be_a_constant() -> None:
    @numba.njit
    def of_size(count):  # type: ignore[no-untyped-def]
        return stack_array(count, 1.0)[0]

    with pytest.raises(numba.TypingError):
        of_size(3)


@compiled_only
def test_stack_arrays_take_nothing_from_the_heap() -> None:
    @numba.njit
    def total(rounds):  # type: ignore[no-untyped-def]
        whole = 0.0
        for _ in range(rounds):
            made = stack_array(64, 1.0)
            made[:] = 1.0
            whole += made[63]
        return whole

    assert total(100_000) == 100_000
    (ir,) = total.inspect_llvm().values()
    assert "NRT_MemInfo_alloc" not in ir
    assert "alloca" in ir or "<2 x double>" in ir


@pytest.mark.nojit
def test_products_and_sums_in_plain_python_are_rounded_once() -> None:
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=(2, 500)) * 10.0 ** rng.integers(-100, 100, (2, 500))
    for x, y in zip(a, b, strict=True):
        for c in (-x * y, 3.0, x, -x * y * (1 + 2**-50)):
            assert _python_fma(x, y, c) == float(Fraction(x) * Fraction(y) + Fraction(c))
    # In single precision too: just below half way, which doubles do not tell from half way.
    x, y, one = np.float32(2.0**-12 * (1 + 2.0**-23)), np.float32(2.0**-12 * (1 - 2.0**-23)), np.float32(1 + 2.0**-23)
    assert _python_fma(x, y, one) == one
    assert _python_fma(x, y, one).dtype == np.float32
    assert np.float32(float(x) * float(y) + float(one)) > one
    # No sum of an overflow and an infinity.
    assert _python_fma(1e200, 1e200, -np.inf) == -np.inf
    assert math.copysign(1.0, _python_fma(-0.0, 1.0, -0.0)) == -1.0
