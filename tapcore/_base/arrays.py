"""What kernels do to whole rows. Numba's assignment of slices checks shapes, and takes two seconds to compile."""

from __future__ import annotations

from typing import Any

from numpy.typing import NDArray

from tapcore._base.jit import scalar

Array = NDArray[Any]


@scalar
def copy(x: Array, out: Array) -> None:
    """Write `x` to `out`, both (n,)."""
    for i in range(x.size):
        out[i] = x[i]


@scalar
def add(x: Array, total: Array) -> None:
    """Add `x` to `total`, both (n,)."""
    for i in range(x.size):
        total[i] += x[i]


@scalar
def sum_of(x: Array) -> Any:
    """Sum of the numbers of `x`, (n,), one after another."""
    total = x.dtype.type(0)
    for i in range(x.size):
        total += x[i]
    return total
