"""Rows of numbers: hashed, copied, compared."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from tapcore._base.intrinsics import float_to_bits, numbers_at
from tapcore._base.jit import helper, kernel

Integers = NDArray[np.int64]

# Columns compared before asking whether to go on.
CHUNK = 64


class Rows(NamedTuple):
    """Rows that lie in several matrices, their layers, side by side: kernels are the same for any number of these.

    It does not keep the matrices alive.
    """

    table: Integers  # (layers, 2) where the numbers of each are, and how many columns it has
    like: NDArray[Any]  # none of the numbers


def rows_in(matrices: Sequence[NDArray[Any]]) -> Rows:
    """Of C-ordered matrices of one dtype."""
    return Rows(np.array([(m.ctypes.data, m.shape[1]) for m in matrices]), np.empty(0, matrices[0].dtype))


@helper(inline=False)
def part(rows: Rows, layer: int, r: int) -> NDArray[Any]:
    """Row `r` of a layer."""
    columns = rows.table[layer, 1]
    return numbers_at(rows.table[layer, 0], r * columns, columns, rows.like)


@kernel()
def hash_rows(rows: Rows, hashes: Integers) -> None:
    """A hash of the values of each row, wherever it stands; -1, which no other row has, if one is not finite."""
    for r in range(hashes.size):
        total, weight = np.int64(0), np.int64(1)
        bad = 0.0
        for layer in range(len(rows.table)):
            for number in part(rows, layer, r):
                x = np.float64(number)
                bad += x - x
                # Numbers such as 1 have few bits set: these are mixed before odd weights tell the columns apart.
                bits = float_to_bits(x)
                bits = (bits ^ (bits >> np.int64(32))) * np.int64(0x2545F4914F6CDD1D)
                weight += np.int64(0x1E3779B97F4A7C16)
                total += (bits ^ (bits >> np.int64(29))) * weight
        hashes[r] = (total & np.int64(0x7FFFFFFFFFFFFFFF)) if bad == 0.0 else np.int64(-1)


@helper(inline=False)
def width_of(rows: Rows) -> int:
    """Columns of all layers."""
    width = 0
    for layer in range(len(rows.table)):
        width += rows.table[layer, 1]
    return width


@helper(inline=False)
def copy_row(rows: Rows, r: int, probe: NDArray[Any]) -> None:
    """Write row `r` to `probe`, layer by layer."""
    base = 0
    for layer in range(len(rows.table)):
        row = part(rows, layer, r)
        for c in range(row.size):
            probe[base + c] = row[c]
        base += row.size


@helper(inline=False)
def value(rows: Rows, r: int, column: int) -> float:
    """The number in one column."""
    layer = 0
    while column >= rows.table[layer, 1]:
        column -= rows.table[layer, 1]
        layer += 1
    return np.float64(part(rows, layer, r)[column])


@helper(inline=False)
def first_beyond(rows: Rows, r: int, probe: NDArray[Any], limit: float) -> int:
    """A column from which on row and probe differ by more than `limit` soon; -1 if they do nowhere."""
    base = 0
    for layer in range(len(rows.table)):
        row = part(rows, layer, r)
        for lo in range(0, row.size, CHUNK):
            count = np.int64(0)
            for c in range(lo, min(lo + CHUNK, row.size)):
                count += abs(np.float64(row[c]) - np.float64(probe[base + c])) > limit
            if count > 0:
                return base + lo
        base += row.size
    return -1


@helper(inline=False)
def gap_to(rows: Rows, r: int, probe: NDArray[Any]) -> float:
    """Largest absolute difference between a row and the probe."""
    most = 0.0
    base = 0
    for layer in range(len(rows.table)):
        row = part(rows, layer, r)
        for c in range(row.size):
            gap = abs(np.float64(row[c]) - np.float64(probe[base + c]))
            if gap > most:
                most = gap
        base += row.size
    return most
