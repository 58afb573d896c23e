"""exp, sigmoid, log1pexp, tanh and log2cosh: for arrays of any kind, and inside compiled code."""

from __future__ import annotations

import math
import os
import platform
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numba
import numpy as np
import pytest
from numpy.testing import assert_array_equal

from tapcore import special
from tapcore._base.intrinsics import JIT_DISABLED
from tapcore.special import exponential
from tapcore_bench.micro.special_accuracy import spread

NAMES = ["exp", "log1pexp", "log2cosh", "sigmoid", "tanh"]
DTYPES = [np.float64, np.float32]
compiled_only = pytest.mark.skipif(JIT_DISABLED, reason="is about compiled code")
by_name = pytest.mark.parametrize("name", NAMES)
by_dtype = pytest.mark.parametrize("dtype", DTYPES)


def values(name: str, x: Any) -> Any:
    return getattr(special, name)(x)


# --- For arrays ---


@pytest.mark.nojit
@by_name
def test_scalars_and_dtypes(name: str) -> None:
    for x in (1, 1.0, True, np.int8(1), np.uint64(1), np.float16(1), np.float64(1), [1], [[1, 0]], np.array(1)):
        found = values(name, x)
        assert found.dtype == np.float64
        assert np.shape(found) == np.shape(x)
        assert np.ravel(found)[0] == values(name, 1.0)
    assert isinstance(values(name, 1), np.float64)
    assert isinstance(values(name, np.float32(1)), np.float32)
    assert values(name, np.ones(3, np.float32)).dtype == np.float32
    assert values(name, []).shape == (0,)


@by_name
@by_dtype
def test_any_layout_of_memory(name: str, dtype: Any) -> None:
    x = np.random.default_rng(0).normal(0, 3, (4, 6, 5)).astype(dtype)
    plain = values(name, x)
    assert_array_equal(plain.ravel(), [values(name, v) for v in x.ravel()])
    assert_array_equal(values(name, x.T), plain.T)
    assert_array_equal(values(name, x[::-1, ::2]), plain[::-1, ::2])
    assert_array_equal(values(name, np.asfortranarray(x)), plain)
    assert_array_equal(values(name, x.astype(x.dtype.newbyteorder(">")).astype(dtype)), plain)
    read_only = x.copy()
    read_only.flags.writeable = False
    assert_array_equal(values(name, read_only), plain)


@pytest.mark.nojit
@by_name
@pytest.mark.parametrize("dtype", ["uint8", "bool", "int32", "float16", ">f8", ">i4"])
def test_other_dtypes_are_computed_in_double(name: str, dtype: str) -> None:
    x = np.array([[0, 1, 1], [1, 0, 1]], dtype)
    found = values(name, x)
    assert found.dtype == np.float64
    assert found.dtype.isnative
    assert_array_equal(found, values(name, x.astype(np.float64)))


@by_name
@by_dtype
def test_out_of_another_layout(name: str, dtype: Any) -> None:
    x = np.random.default_rng(1).normal(0, 3, (5, 4)).astype(dtype)
    plain = values(name, x)
    fortran = np.empty_like(x, order="F")
    assert getattr(special, name)(x, out=fortran) is fortran
    assert_array_equal(fortran, plain)
    nothing = np.empty((0, 3), dtype)
    assert getattr(special, name)(nothing, out=nothing) is nothing
    number = np.array(0.5, dtype)
    assert getattr(special, name)(number, out=number) is number
    assert number == values(name, dtype(0.5))


@by_name
def test_out(name: str) -> None:
    x = np.random.default_rng(0).normal(0, 3, (6, 4))
    plain = values(name, x)
    out = np.empty_like(x)
    assert getattr(special, name)(x, out=out) is out
    assert_array_equal(out, plain)
    strided = np.full((6, 8), 7.0)
    getattr(special, name)(x, out=strided[:, ::2])
    assert_array_equal(strided[:, ::2], plain)
    assert (strided[:, 1::2] == 7).all()
    overlapping = np.concatenate([x.ravel(), [0.0]])
    getattr(special, name)(overlapping[:-1], out=overlapping[1:])
    assert_array_equal(overlapping[1:], plain.ravel())
    assert_array_equal(getattr(special, name)(x, out=x), plain)
    assert_array_equal(x, plain)


@pytest.mark.nojit
@by_name
def test_refuses_what_is_no_real_array(name: str) -> None:
    function = getattr(special, name)
    for x in (1j, "one", None, np.array([object()])):
        with pytest.raises(TypeError, match="x must hold real numbers"):
            function(x)
    x = np.ones(3)
    with pytest.raises(TypeError, match="out must be a float64 array, got float32"):
        function(x, out=np.ones(3, np.float32))
    with pytest.raises(TypeError, match="out must be a float64 array, got list"):
        function(x, out=[0.0, 0.0, 0.0])
    with pytest.raises(ValueError, match=r"out must have the shape of x, \(3,\), got \(1, 3\)"):
        function(x, out=np.ones((1, 3)))
    out = np.ones(3)
    out.flags.writeable = False
    with pytest.raises(ValueError, match="read-only"):
        function(x, out=out)


# --- Inside compiled code ---


@compiled_only
@by_name
def test_scalar_in_compiled_code(name: str) -> None:
    function = getattr(special, name)

    @numba.njit
    def fill(x: Any, out: Any) -> None:
        for i in range(x.size):
            out[i] = function(x[i])

    for dtype in DTYPES:
        x = np.append(spread(dtype, 500), np.array([math.inf, -math.inf, math.nan, -0.0], dtype))
        out = np.empty_like(x)
        fill(x, out)
        # In float32 these bits come from float32 arithmetic only.
        assert_array_equal(out, values(name, x))
    integers = np.arange(-5, 6)
    out = np.empty(integers.size)
    fill(integers, out)
    assert_array_equal(out, values(name, integers))


@compiled_only
@by_name
def test_compiled_code_keeps_single_precision(name: str) -> None:
    function = getattr(special, name)

    @numba.njit
    def call(x: Any) -> Any:
        return function(x)

    for x in (np.float32(0.3), 0.3, 1):
        assert call(x) == values(name, x)
    returned = {str(of[0]): str(version.signature.return_type) for of, version in call.overloads.items()}
    assert returned == {"float32": "float32", "float64": "float64", "int64": "float64"}


@compiled_only
@by_name
def test_truth_value_in_compiled_code(name: str) -> None:
    function = getattr(special, name)
    assert numba.njit(lambda x: function(x))(True) == values(name, True)


@compiled_only
@pytest.mark.skipif(platform.machine() not in ("x86_64", "AMD64"), reason="looks for instructions of x86-64")
@by_name
@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_loops_vectorise(name: str, dtype: str) -> None:
    loop = getattr(exponential, f"_{name}_loop").py_func
    fresh = numba.njit(error_model="numpy")(loop)
    fresh(np.ones(8, dtype), np.ones(8, dtype))
    (assembly,) = fresh.inspect_asm().values()
    packed = {"float64": r"v?mulpd|vfn?m\w+pd", "float32": r"v?mulps|vfn?m\w+ps"}[dtype]
    assert re.search(packed, assembly)
    # Nothing is called for each element.
    assert not re.search(rf"call\w*\s+\S*_{name}\b", assembly)


USER = """
import numba, numpy as np
from tapcore.special import {name}

@numba.njit(cache=True)
def total(x):
    s = 0.0
    for i in range(x.size):
        s += {name}(x[i])
    return s

if __name__ == "__main__":
    print(total(np.ones(3)))
"""


@compiled_only
def test_second_process_compiles_nothing(tmp_path: Path) -> None:
    """Neither the library's loops nor a user's own kernel that calls them."""
    (tmp_path / "user.py").write_text(USER.format(name="sigmoid"))
    code = (
        "import numpy as np, user\n"
        "from tapcore.special import exponential as e\n"
        "user.total(np.ones(3)); e.exp(np.ones(3))\n"
        "for f in (user.total, e._exp_loop):\n"
        "    print(sum(f.stats.cache_hits.values()), sum(f.stats.cache_misses.values()))\n"
    )
    environment = {**os.environ, "NUMBA_CACHE_DIR": str(tmp_path / "cache")}
    command = [sys.executable, "-c", code]
    first, second = (
        subprocess.run(command, check=True, capture_output=True, text=True, cwd=tmp_path, env=environment).stdout
        for _ in range(2)
    )
    assert first == "0 1\n0 1\n"
    assert second == "1 0\n1 0\n"


@by_name
def test_big_endian_single_precision_stays_single(name: str) -> None:
    x = np.array([-1.5, 0.25, 3.0], np.float32)
    found = values(name, x.astype(">f4"))
    assert found.dtype == np.float32
    assert_array_equal(found, values(name, x))
