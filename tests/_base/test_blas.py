"""Routines that kernels call by address agree with NumPy's."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.testing import assert_allclose

from tapcore._base import blas as _blas
from tapcore._base.jit import kernel


@kernel()
def _all(blas, integers, X, C, x, Y):  # type: ignore[no-untyped-def]
    _blas.square(blas, integers, X, C)
    for i in range(C.shape[0]):
        C[i, i] += 1.0
    definite = _blas.factor(blas, integers, C)
    _blas.solve_factored(blas, integers, C, x)
    _blas.solve_lower(blas, integers, C, Y)
    return definite


@pytest.mark.nojit
@pytest.mark.parametrize(("k", "n", "m"), [(7, 4, 9), (3, 8, 2), (1, 1, 1), (200, 130, 170)])
def test_products_factors_and_solutions(k: int, n: int, m: int) -> None:
    rng = np.random.default_rng(n)
    X, x, Y = rng.normal(size=(k, n)), rng.normal(size=n), rng.normal(size=(n, m))
    C, y, Z = np.zeros((n, n)), x.copy(), Y.copy()
    assert _all(_blas.blas(), np.empty(5, np.int32), X, C, y, Z)
    whole = X.T @ X + np.eye(n)
    L = np.linalg.cholesky(whole)
    assert_allclose(np.tril(C), L, atol=1e-12)
    assert_allclose(y, np.linalg.solve(whole, x), atol=1e-12)
    assert_allclose(Z, np.linalg.solve(L, Y), atol=1e-12)


@pytest.mark.nojit
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("k", [0, 1, 9])
def test_products_for_python(k: int, dtype: type) -> None:
    rng = np.random.default_rng(k)
    x, y, W = (rng.normal(size=shape).astype(dtype) for shape in ((k, 7), (k, 4), (7, 4)))
    W.setflags(write=False)  # as a machine's weights are
    tolerance = 100 * np.finfo(dtype).eps
    for found, wanted in ((_blas.product(x, W), x @ W), (_blas.product(y, W, transposed=True), y @ W.T)):
        assert found.dtype == dtype
        assert_allclose(found, wanted, atol=tolerance, strict=True)


@pytest.mark.nojit
def test_what_is_not_positive_definite_is_reported() -> None:
    C = np.array([[1.0, 0.0], [2.0, 1.0]])
    assert not _blas.factor(_blas.blas(), np.empty(5, np.int32), C)
