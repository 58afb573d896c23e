"""Nearest samples by Euclidean distance over some of the columns, whatever the data's offset and scale.

Distances come from matrix products of what is left of the data without their means, in float64. Of samples whose
distances these leave undecided, rounding errors being bounded, the differences are taken themselves. So many samples
and so many observations are looked at a time that memory does not depend on how many there are.
"""

from __future__ import annotations

from itertools import chain
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from tapcore._base import checks

Array = NDArray[Any]
Integers = NDArray[np.int64]
Mask = NDArray[np.bool_]

# Observations taken at a time; and numbers, where samples of each observation's own are gathered.
ROWS, NUMBERS = 1024, 1 << 22
# Squares of larger values would overflow, or those of values beside them vanish.
MOST = 1e152


class _Frame(NamedTuple):
    """Where data are looked at from."""

    centre: NDArray[np.float64]  # (n,) a whole number where all data are
    scale: float  # a power of two above all that is left
    whole: bool  # data are whole numbers, few enough that products of them add up exactly

    def place(self, x: Array) -> NDArray[np.float64]:
        """`x` less the centre, over the scale."""
        return np.asarray((x.astype(np.float64) - self.centre) / self.scale)


def nearest(X: Array, Y: Array, seen: Mask, k: int) -> Integers:
    """Numbers of the k nearest of the samples `X` for each row of `Y`, over the columns `seen` of that row.

    Parameters
    ----------
    X : (samples, n) array
    Y : (K, n) array
        Finite where `seen`.
    seen : (K, n) bool array
    k : int
        At most the number of samples.

    Returns
    -------
    (K, k) int64 array
        Nearest first; of samples as near, those with the lower numbers.

    Raises
    ------
    ValueError
        Values above `MOST` in size.
    """
    columns = np.flatnonzero(seen.any(axis=0))
    Y, seen = Y[:, columns], np.ascontiguousarray(seen[:, columns])
    frame = _frame(X, Y, seen, columns)
    distance = np.full((len(Y), k), np.inf)
    number = np.full((len(Y), k), len(X))
    for first, rows in checks.row_blocks(X):
        x = frame.place(rows[:, columns])
        for a in range(0, len(Y), ROWS):
            part = slice(a, a + ROWS)
            y = np.where(seen[part], frame.place(np.where(seen[part], Y[part], frame.centre)), 0.0)
            _take(frame, x, first, y, seen[part], distance[part], number[part])
    return number


def average(X: Array, number: Integers) -> NDArray[np.float64]:
    """Averages of the samples of each row of `number`, (K, n)."""
    out = np.empty((len(number), X.shape[1]))
    at_once = max(1, NUMBERS // (number.shape[1] * X.shape[1]))
    for a in range(0, len(number), at_once):
        out[a : a + at_once] = X[number[a : a + at_once]].mean(axis=1, dtype=np.float64)
    return out


def _frame(X: Array, Y: Array, seen: Mask, columns: Integers) -> _Frame:
    centre = np.zeros(columns.size)
    for _, rows in checks.row_blocks(X):
        centre += rows[:, columns].mean(axis=0, dtype=np.float64) * (len(rows) / len(X))
    near = np.rint(centre)
    observed = (np.where(seen[a : a + len(y)], y, near) for a, y in checks.row_blocks(Y))
    whole, most = True, 0.0
    for rows in chain((rows[:, columns] for _, rows in checks.row_blocks(X)), observed):
        whole = whole and (rows.dtype.kind in "biu" or bool((rows == np.rint(rows)).all()))
        most = max(most, float(np.abs(rows.astype(np.float64) - centre).max(initial=0.0)))
    if most > MOST:
        raise ValueError(
            f"X and Y must hold values of at most {MOST:g} in size, whose squares are finite: rescale them"
        )
    if whole and 4 * columns.size * (most + 1) ** 2 < 2.0**53:
        return _Frame(near, 1.0, True)
    return _Frame(centre, float(2.0 ** np.ceil(np.log2(most))) if most else 1.0, False)


def _take(frame: _Frame, x: Array, first: int, y: Array, seen: Mask, distance: Array, number: Integers) -> None:
    """Put samples `x`, numbered from `first`, in the place of further ones in `distance` and `number`, (rows, k)."""
    k = distance.shape[1]
    low, high = _bounds(frame, x, y, seen)
    enough = distance[:, -1].copy()  # no sample further away than this is one of the k
    if len(x) >= k:
        enough = np.minimum(enough, np.partition(high, k - 1, axis=1)[:, k - 1])
    candidate = low <= enough[:, None]
    candidate &= (low < distance[:, -1:]) | (low < high)  # of equals the first stay
    row, column = np.nonzero(candidate)
    if row.size == 0:
        return
    found = low[row, column]
    unsure = found < high[row, column]
    found[unsure] = _exact(x, y, seen, row[unsure], column[unsure])
    touched = np.unique(row)
    rows = np.concatenate([np.repeat(touched, k), row])
    distances = np.concatenate([distance[touched].ravel(), found])
    numbers = np.concatenate([number[touched].ravel(), column + first])
    order = np.lexsort((numbers, distances, rows))
    begin = np.searchsorted(rows[order], touched)
    kept = order[begin[:, None] + np.arange(k)]
    distance[touched], number[touched] = distances[kept], numbers[kept]


def _bounds(frame: _Frame, x: Array, y: Array, seen: Mask) -> tuple[Array, Array]:
    """Least and largest that the squared distances (rows, samples) can be, given how products are rounded."""
    squares, own = x * x, (y * y).sum(axis=1)
    theirs = squares.sum(axis=1) if seen.all() else seen.astype(np.float64) @ squares.T
    apart = (-2.0 * y) @ x.T
    apart += theirs
    apart += own[:, None]
    if frame.whole:
        return apart, apart
    error = 4 * (x.shape[1] + 8) * np.finfo(np.float64).eps * (theirs + own[:, None])
    return apart - error, apart + error


def _exact(x: Array, y: Array, seen: Mask, row: Integers, column: Integers) -> Array:
    """Squared distances of pairs, by differences."""
    out = np.empty(row.size)
    at_once = max(1, NUMBERS // max(1, x.shape[1]))
    for a in range(0, row.size, at_once):
        r, c = row[a : a + at_once], column[a : a + at_once]
        gap = np.where(seen[r], x[c] - y[r], 0.0)
        out[a : a + at_once] = np.einsum("ij,ij->i", gap, gap)
    return out
