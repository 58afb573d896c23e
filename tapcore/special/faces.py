"""What makes a compiled loop behave like a NumPy function."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from tapcore._base import checks

Array = NDArray[Any]


def broadcast(loop: Callable[[Array, Array], None], x: ArrayLike, out: Array | None) -> Any:
    """Run `loop` over all of `x`, whatever its shape and memory layout."""
    try:
        array = checks.real_array("x", x)
    except ValueError as error:
        raise TypeError(str(error)) from None
    single = array.dtype.kind == "f" and array.dtype.itemsize == 4  # of either byte order
    dtype = np.dtype(np.float32 if single else np.float64)
    if out is None:
        made = np.empty(array.shape, dtype)
        loop(np.ascontiguousarray(array, dtype).reshape(-1), made.reshape(-1))
        return made[()]  # a scalar for a scalar
    if not isinstance(out, np.ndarray) or out.dtype != dtype:
        raise TypeError(f"out must be a {dtype} array, got {getattr(out, 'dtype', type(out).__name__)}")
    if out.shape != array.shape:
        raise ValueError(f"out must have the shape of x, {array.shape}, got {out.shape}")
    if not out.flags.writeable:
        raise ValueError("out must be writeable, got a read-only array")
    if out.flags.c_contiguous and not np.may_share_memory(array, out):
        loop(np.ascontiguousarray(array, dtype).reshape(-1), out.reshape(-1))
    else:
        out[...] = broadcast(loop, array, None)
    return out
