"""BLAS and LAPACK routines for kernels, without copies: what Numba's own linear algebra has not, or allocates for.

Matrices are float64 and C order; what LAPACK calls the upper triangle is then the lower one. Each thread needs integers
of its own, where dimensions go: ``np.empty(5, np.int32)``.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from tapcore._base.intrinsics import JIT_DISABLED, address_of, call_address, compiled_multiply
from tapcore._base.jit import kernel, scalar
from tapcore._base.own_blas import blas_address

Array = NDArray[Any]


class Blas(NamedTuple):
    """Addresses of routines, and constants for their arguments."""

    syrk: int
    potrf: int
    potrs: int
    trsm: int
    letters: NDArray[np.uint8]  # U N R
    numbers: NDArray[np.float64]  # 0 1


@cache
def blas() -> Blas:
    """Routines of the BLAS and LAPACK of kernels."""
    addresses: dict[str, Any] = {name: blas_address(f"d{name}") for name in ("syrk", "potrf", "potrs", "trsm")}
    return Blas(**addresses, letters=np.frombuffer(b"UNR", np.uint8).copy(), numbers=np.array([0.0, 1.0]))


def _python_multiply(x: Array, W: Array, rows: int, transposed: bool, out: Array) -> None:
    inner, outer = x.size // rows, out.size // rows
    matrix = W.reshape(outer, inner).T if transposed else W.reshape(inner, outer)
    np.dot(x.reshape(rows, inner), matrix, out.reshape(rows, outer))


# ``out = x W``, or ``x W^T`` if `transposed`: contiguous numbers of matrices x and out of so many rows, at least 1, and
# of W, whose shape follows, all of one dtype.
multiply: Callable[[Array, Array, int, bool, Array], None] = (
    _python_multiply if JIT_DISABLED else compiled_multiply(blas_address)
)


@kernel()
def _product(x: Array, W: Array, rows: int, transposed: bool, out: Array) -> None:
    multiply(x, W, rows, transposed, out)


def product(x: Array, W: Array, transposed: bool = False) -> Array:
    """``x W``, or ``x W^T`` if `transposed`, as kernels make it: how many threads NumPy's BLAS has changes no bit.

    Matrices x (k, n) and W of the same dtype, float64 or float32.
    """
    out = np.empty((len(x), W.shape[0 if transposed else 1]), x.dtype)
    if len(x) > 0:
        _product(np.ravel(x), np.ravel(W), len(x), transposed, np.ravel(out))
    return out


@scalar
def square(blas: Blas, integers: NDArray[np.int32], X: Array, C: Array) -> None:
    """Lower triangle of ``X^T X`` for X (k, n) into C (n, n)."""
    k, n = X.shape
    integers[0], integers[1] = n, k
    letter, number, integer = address_of(blas.letters), address_of(blas.numbers), address_of(integers)
    call_address(
        blas.syrk,
        (letter, letter + 1, integer, integer + 4, number + 8, address_of(X), integer, number, address_of(C), integer),
    )


@scalar
def factor(blas: Blas, integers: NDArray[np.int32], C: Array) -> bool:
    """Replace the lower triangle of C (n, n) by its Cholesky factor; False if it is not positive definite."""
    integers[0], integers[1] = C.shape[0], 0
    letter, integer = address_of(blas.letters), address_of(integers)
    call_address(blas.potrf, (letter, integer, address_of(C), integer, integer + 4))
    return bool(integers[1] == 0)


@scalar
def solve_factored(blas: Blas, integers: NDArray[np.int32], L: Array, x: Array) -> None:
    """Replace x (n,) by the solution of ``L L^T y = x``."""
    integers[0], integers[1], integers[2] = L.shape[0], 1, 0
    letter, integer = address_of(blas.letters), address_of(integers)
    call_address(
        blas.potrs,
        (letter, integer, integer + 4, address_of(L), integer, address_of(x), integer, integer + 8),
    )


@scalar
def solve_lower(blas: Blas, integers: NDArray[np.int32], L: Array, Y: Array) -> None:
    """Replace Y (n, m) by ``L^-1 Y``."""
    n, m = Y.shape
    integers[0], integers[1] = m, n
    letter, number, integer = address_of(blas.letters), address_of(blas.numbers), address_of(integers)
    call_address(
        blas.trsm,
        (
            letter + 2, letter, letter + 1, letter + 1, integer, integer + 4, number + 8, address_of(L), integer + 4,
            address_of(Y), integer,
        ),
    )  # fmt: skip
