"""Codes of states, one a site, and the columns that they stand for."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from tapcore._base import checks

Array = NDArray[Any]


def columns_of(name: str, X: Array, widths: NDArray[np.int64]) -> Array:
    """Rows of columns for rows (rows, n) that hold a code, 0 to q - 1, in the place of the q columns of a site.

    Sites of one column stay as they are. ValueError, with the first bad index, for what is no code.
    """
    first = np.cumsum(widths) - widths
    made = np.zeros((len(X), int(widths.sum())), np.uint8 if (widths > 1).all() else X.dtype)
    several = widths > 1
    for start, rows in checks.row_blocks(X):
        good = (rows >= 0) & (rows < widths) & (rows == np.floor(rows)) | ~several
        if not good.all():
            k, s = checks.first_index(~good)
            raise ValueError(
                f"{name} must hold states as codes, integers from 0 to {widths[s] - 1}: {name}[{start + k}, {s}] is "
                f"{rows[k, s]!s}"
            )
        at = first + np.where(several, rows, 0).astype(np.int64)
        to = made[start : start + len(rows)]
        np.put_along_axis(to, at, np.where(several, 1, rows).astype(made.dtype), axis=1)
    return made
