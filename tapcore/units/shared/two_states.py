"""What units of two states share."""

from __future__ import annotations

import numpy as np

from tapcore._base.intrinsics import JIT_DISABLED, stack_array
from tapcore._base.jit import scalar
from tapcore._base.random import Stream, fill_uniform
from tapcore.units.rows import Array

# Numbers drawn at a time, in an array on the stack.
_AT_ONCE = 8 if JIT_DISABLED else 512


@scalar
def draw_states(stream: Stream, x: Array, low: float, high: float) -> None:
    """Turn probabilities of the high state into states, in place; NaN stays."""
    u = stack_array(_AT_ONCE, np.float64(0.0))
    up, down = x.dtype.type(high), x.dtype.type(low)
    for a in range(0, x.size, _AT_ONCE):
        part = x[a : a + _AT_ONCE]
        fill_uniform(stream, u[: part.size])
        for i in range(part.size):
            p = part[i]
            part[i] = p if p != p else (up if u[i] < p else down)
