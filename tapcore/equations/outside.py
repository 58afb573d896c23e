"""What acts on units from outside a machine: fields that are added, and values at which units are held."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from itertools import accumulate
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from tapcore._base.intrinsics import segment
from tapcore._base.jit import scalar

Array = NDArray[Any]

# Rows of `Outside.first` and `Outside.rows`.
U, V, HELD = range(3)


class Given(NamedTuple):
    """For Python: (chains, n_l) arrays, one a layer, of one row for all chains, or of none."""

    U: tuple[Array, ...]  # added to B
    V: tuple[Array, ...]  # added to A
    held: tuple[Array, ...]  # values of units that are held there, NaN of those that are free


class Outside(NamedTuple):
    """For kernels: the same, one array after another."""

    values: Array
    first: NDArray[np.int64]  # (3, layers) where each array begins
    rows: NDArray[np.int64]  # (3, layers) and its rows, 0 of none


def no_given(sizes: Sequence[int], dtype: Any) -> Given:
    """Nothing from outside."""
    return Given(*(tuple(np.empty((0, n), dtype) for n in sizes) for _ in Given._fields))


@lru_cache(maxsize=64)
def no_outside(sizes: tuple[int, ...], dtype: Any) -> Outside:
    """The same for kernels of that dtype: kept, as most calls have nothing from outside."""
    return outside_of(no_given(sizes, dtype), dtype)


def outside_of(given: Given, dtype: Any) -> Outside:
    """For kernels of that dtype."""
    arrays = [np.asarray(x, dtype) for layers in given for x in layers]
    ends = [0, *accumulate(x.size for x in arrays)]
    return Outside(
        np.concatenate([x.ravel() for x in arrays]),
        np.array(ends[:-1], np.int64).reshape(3, -1),
        np.array([len(x) for x in arrays], np.int64).reshape(3, -1),
    )


@scalar
def acts(outside: Any, what: int, layer: int) -> bool:
    """Whether there is any of `what` on a layer."""
    return bool(outside.rows[what, layer] > 0)


@scalar
def outside_row(outside: Any, what: int, layer: int, chain: int, n: int) -> Array:
    """Row of a chain, of a layer of n units on which `what` acts."""
    k = min(chain, outside.rows[what, layer] - 1)
    return segment(outside.values, outside.first[what, layer] + k * n, n)


@scalar
def add_row(own: Array, row: Array, total: Array) -> None:
    """Write ``own + row`` to `total`."""
    for i in range(own.size):
        total[i] = own[i] + row[i]


@scalar
def hold(row: Array, mean: Array, var: Array) -> None:
    """Put units that are held at their values, without variance."""
    for i in range(mean.size):
        if row[i] == row[i]:
            mean[i], var[i] = row[i], 0.0


@scalar
def hold_log_z(row: Array, B: Array, A: Array, log_z: Array) -> None:
    """Put ``ln exp(B x - A x^2/2)`` for units that are held at x: phi(x) is left out."""
    half = log_z.dtype.type(0.5)
    for i in range(log_z.size):
        if row[i] == row[i]:
            log_z[i] = (B[i] - half * A[i] * row[i]) * row[i]
