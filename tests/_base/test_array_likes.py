"""Arrays that are none yet: sparse matrices, tables with nullable columns, Python objects."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import numpy as np
import pytest
import scipy.sparse
from numpy.testing import assert_array_equal

import tapcore as tc
from tapcore import special
from tapcore._base import checks

DATA = np.array([[0, 1, 1], [1, 0, 1], [0, 0, 1]])


class NAType:
    """What pandas has where a value is missing."""

    def __repr__(self) -> str:
        return "<NA>"


class Table:
    """As a data frame of nullable columns: an array of Python objects is what NumPy gets of it."""

    def __init__(self, rows: Any) -> None:
        self.rows = rows

    def __array__(self, dtype: Any = None, copy: Any = None) -> np.ndarray:
        return np.array(self.rows, object)


@pytest.mark.parametrize("kind", ["csr_matrix", "csc_array", "coo_matrix", "lil_array"])
def test_sparse_matrices_are_told_how_to_become_dense(kind: str) -> None:
    sparse = getattr(scipy.sparse, kind)(DATA)
    said = rf"^X must be a dense array, got a sparse {kind}: use X\.toarray\(\)$"
    machine = tc.RBM(tc.Binary(3), tc.Spin(2), seed=0)
    for call in (
        lambda: tc.Binary.from_data(sparse),
        lambda: tc.fit(machine, sparse, epochs=1, progress=False),
        lambda: tc.log_likelihood(machine, sparse, 0.0),
        lambda: tc.BinarySymmetric(0.1).corrupt(tc.Binary(3), sparse, np.random.default_rng(0)),
    ):
        with pytest.raises(ValueError, match=said):
            call()
    with pytest.raises(TypeError, match=r"use x\.toarray\(\)"):
        special.exp(sparse)


@pytest.mark.parametrize(
    "rows",
    [DATA.tolist(), [[0, 1.0, True], [Fraction(1), np.float32(0), np.bool_(True)], [0, np.int8(0), 1]]],
)
@pytest.mark.parametrize("wrap", [Table, lambda rows: np.array(rows, object)])
def test_objects_that_are_numbers_are_taken(rows: Any, wrap: Any) -> None:
    taken = checks.real_array("X", wrap(rows))
    assert taken.dtype == np.float64
    assert_array_equal(taken, DATA)
    assert tc.Binary.from_data(wrap(rows)) == tc.Binary.from_data(DATA)


def test_objects_that_are_booleans_are_a_mask() -> None:
    rows = [[True, False, np.bool_(True)]]
    assert_array_equal(checks.real_array("X", Table(rows)), [[True, False, True]])
    assert tc.Erasure(Table(rows)).mask.dtype == np.bool_
    assert tc.Clamped([[0, 1, 1]], where=Table(rows)).where.dtype == np.bool_
    with pytest.raises(
        ValueError, match=r"^mask must be a boolean array \(n,\) or \(observations, n\), got float64 of"
    ):
        tc.Erasure(Table([[0, 1]]))


@pytest.mark.parametrize(
    ("bad", "said"),
    [
        (NAType(), "X must hold real numbers, with none missing: X[1, 2] is <NA>"),
        (None, "X must hold real numbers, with none missing: X[1, 2] is None"),
        ("1", "X must hold real numbers: X[1, 2] is '1', of type str"),
        (1j, "X must hold real numbers: X[1, 2] is 1j, of type complex"),
        (10**400, "X must hold real numbers that float64 can hold, got larger integers"),
    ],
    ids=["NA", "None", "text", "complex", "large"],
)
def test_objects_that_are_no_numbers_are_named(bad: Any, said: str) -> None:
    rows = DATA.astype(object)
    rows[1, 2] = bad
    for X in (rows, Table(rows.tolist())):
        with pytest.raises(ValueError) as caught:  # noqa: PT011 - compared as a whole
            tc.Binary.from_data(X)
        assert str(caught.value) == said


def test_nullable_columns_of_pandas() -> None:
    pandas = pytest.importorskip("pandas")
    for dtypes in (("Int64",) * 3, ("Float64",) * 3, ("boolean",) * 3, ("Int64", "Float64", "boolean")):
        table = pandas.DataFrame({c: pandas.array(x, dtype=d) for c, x, d in zip("abc", DATA.T, dtypes, strict=True)})
        assert tc.Binary.from_data(table) == tc.Binary.from_data(DATA)
        table.iloc[1, 2] = pandas.NA
        with pytest.raises(ValueError, match=r"^X must hold real numbers, with none missing: X\[1, 2\] is <NA>$"):
            tc.Binary.from_data(table)
    assert_array_equal(checks.real_array("x", pandas.Series([1, 2], dtype="Int64")), [1, 2])
    sparse = pandas.DataFrame(DATA).astype(pandas.SparseDtype("int64", 0))
    assert tc.Binary.from_data(sparse) == tc.Binary.from_data(DATA)
    with pytest.raises(ValueError, match=r"real numbers: X\[0, 1\] is 'a', of type str"):
        tc.Binary.from_data(pandas.DataFrame({"a": [0, 1], "b": ["a", "b"]}))
