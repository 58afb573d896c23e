"""Sizes of steps: NaN is never lost on the way to a chain's residual."""

from __future__ import annotations

import math

import numpy as np
import pytest

from tapcore._base.jit import kernel
from tapcore.inference.arithmetic import larger, mix

VALUES = (-math.inf, -1.0, 0.0, 0.5, 1.0, math.inf, math.nan)


@kernel()
def largest(x: np.ndarray, start: float) -> float:
    """As kernels use it: over the numbers of a row, compiled into the loop."""
    top = start
    for i in range(x.size):
        top = larger(top, x[i])
    return top


@pytest.mark.nojit
@pytest.mark.parametrize("a", VALUES)
@pytest.mark.parametrize("b", VALUES)
def test_larger_is_the_maximum_and_keeps_nan_of_either_argument(a: float, b: float) -> None:
    np.testing.assert_equal(larger(a, b), np.maximum(a, b))


@pytest.mark.nojit
@pytest.mark.parametrize("place", [None, 0, 1, 7, 15])
@pytest.mark.parametrize("start", [0.0, 9.0, math.nan])
def test_larger_keeps_nan_from_anywhere_in_a_loop(place: int | None, start: float) -> None:
    x = np.linspace(0.0, 2.0, 16)
    if place is not None:
        x[place] = math.nan
    np.testing.assert_equal(largest(x, start), np.maximum(start, np.max(x)))


@pytest.mark.nojit
@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("place", [0, 3, 8])
@pytest.mark.parametrize("which", ["mean", "var"])
def test_mix_keeps_nan_of_any_unit(dtype: str, place: int, which: str) -> None:
    arrays = {name: np.zeros(9, dtype) for name in ("mean", "var", "new_mean", "new_var")}
    arrays["new_mean"][:], arrays["new_var"][:] = 3.0, 0.5
    arrays[f"new_{which}"][place] = math.nan
    assert math.isnan(mix(*arrays.values(), 0.25))
