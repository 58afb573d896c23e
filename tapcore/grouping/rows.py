"""Rows of numbers: hashed, copied, compared."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from tapcore._base.intrinsics import float_to_bits
from tapcore._base.jit import helper, kernel

Rows = tuple[NDArray[Any], ...]
Integers = NDArray[np.int64]

# Columns compared before asking whether to go on.
CHUNK = 64


@kernel()
def hash_rows(rows: Rows, hashes: Integers) -> None:
    """A hash of the values of each row, wherever it stands; -1, which no other row has, if one is not finite."""
    for r in range(hashes.size):
        total, weight = np.int64(0), np.int64(1)
        bad = 0.0
        for m in rows:
            for c in range(m.shape[1]):
                x = np.float64(m[r, c])
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
    for m in rows:
        width += m.shape[1]
    return width


@helper(inline=False)
def copy_row(rows: Rows, r: int, probe: NDArray[Any]) -> None:
    """Write row `r` to `probe`, layer by layer."""
    base = 0
    for m in rows:
        for c in range(m.shape[1]):
            probe[base + c] = m[r, c]
        base += m.shape[1]


@helper(inline=False)
def value(rows: Rows, r: int, column: int) -> float:
    """The number in one column."""
    x = 0.0
    for m in rows:
        if 0 <= column < m.shape[1]:
            x = np.float64(m[r, column])
        column -= m.shape[1]
    return x


@helper(inline=False)
def first_beyond(rows: Rows, r: int, probe: NDArray[Any], limit: float) -> int:
    """A column from which on row and probe differ by more than `limit` soon; -1 if they do nowhere."""
    base = 0
    for m in rows:
        for lo in range(0, m.shape[1], CHUNK):
            count = np.int64(0)
            for c in range(lo, min(lo + CHUNK, m.shape[1])):
                count += abs(np.float64(m[r, c]) - np.float64(probe[base + c])) > limit
            if count > 0:
                return base + lo
        base += m.shape[1]
    return -1


@helper(inline=False)
def gap_to(rows: Rows, r: int, probe: NDArray[Any]) -> float:
    """Largest absolute difference between a row and the probe."""
    most = 0.0
    base = 0
    for m in rows:
        for c in range(m.shape[1]):
            gap = abs(np.float64(m[r, c]) - np.float64(probe[base + c]))
            if gap > most:
                most = gap
        base += m.shape[1]
    return most
