"""Damped steps of means and variances, and their sizes: what every engine of inference does to a chain's rows."""

from __future__ import annotations

from typing import Any

from numpy.typing import NDArray

from tapcore._base.intrinsics import bits_to_float, float_to_bits
from tapcore._base.jit import helper, scalar

Array = NDArray[Any]


@scalar
def mix(mean: Array, var: Array, new_mean: Array, new_var: Array, damping: float) -> float:
    """Move (mean, var) to damping * old + (1 - damping) * new; the largest |new - old|, NaN if any is.

    On return `new_mean` holds new - old. The largest magnitude is found among bit patterns, which for non-negative
    floats are in the same order, NaN above inf: a maximum of integers vectorises without giving up NaN.
    """
    d = mean.dtype.type(damping)
    top = float_to_bits(mean.dtype.type(0.0))
    for i in range(mean.size):
        step_mean = new_mean[i] - mean[i]
        step_var = new_var[i] - var[i]
        mean[i] = new_mean[i] - d * step_mean
        var[i] = new_var[i] - d * step_var
        new_mean[i] = step_mean
        top = max(top, float_to_bits(abs(step_mean)), float_to_bits(abs(step_var)))
    return float(bits_to_float(top))


@helper(reassociate=True)
def squared_change(mean: Array, change: Array) -> float:
    """Sum of squares of `change`."""
    total = change.dtype.type(0.0)
    for i in range(change.size):
        total += change[i] * change[i]
    return float(total)


@scalar
def larger(a: float, b: float) -> float:
    """Maximum that keeps NaN, whichever of the two it is."""
    return b if b > a or b != b else a
