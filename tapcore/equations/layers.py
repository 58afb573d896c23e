"""Chains of a machine in memory: the rows of every layer, and which of them kernels take together."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate, pairwise
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from tapcore._base import footprint
from tapcore._base.intrinsics import segment
from tapcore._base.jit import scalar

Array = NDArray[Any]


class Layers(NamedTuple):
    """K chains for kernels. Of each layer l an array has (K, n_l) numbers, after those of the layer below."""

    size: NDArray[np.int64]  # (layers,) n_l
    first: NDArray[np.int64]  # (layers,) where they begin
    mean: Array
    var: Array
    B: Array
    A: Array
    spare: Array  # for layers with two neighbours; nothing where there are none
    third: Array  # third cumulants, and what a layer receives from those of its neighbours;
    pull: Array  # nothing where third order is not wanted
    scratch: Array  # (blocks, 4, largest n_l)


class State(NamedTuple):
    """The same for Python: tuples of (K, n_l) views, one a layer, without rows where there are none."""

    mean: tuple[Array, ...]
    var: tuple[Array, ...]
    B: tuple[Array, ...]
    A: tuple[Array, ...]
    third: tuple[Array, ...]
    pull: tuple[Array, ...]
    flat: Layers


def empty_state(sizes: Sequence[int], count: int, blocks: int, dtype: Any, order: int = 2) -> State:
    """Zeroed arrays for `count` chains dealt to at most `blocks` blocks."""
    first = [count * units for units in accumulate(sizes, initial=0)]
    # One piece of memory: several would be handed back to the system, and cleared anew, with each call of `solve`.
    mean, var, B, A, *more = np.zeros((4 + (len(sizes) > 2) + 2 * (order > 2), first[-1]), dtype)
    none = np.empty(0, dtype)
    spare = more.pop() if len(sizes) > 2 else none
    third, pull = more if order > 2 else (none, none)
    flat = Layers(
        np.array(sizes, np.int64), np.array(first[:-1], np.int64), mean, var, B, A, spare, third, pull,
        np.empty((blocks, 4, max(sizes)), dtype),
    )  # fmt: skip

    def views(x: Array) -> tuple[Array, ...]:
        return tuple(x[a:z].reshape(-1, n) for (a, z), n in zip(pairwise(first), sizes, strict=True))

    return State(views(mean), views(var), views(B), views(A), views(third), views(pull), flat)


def state_bytes(sizes: Sequence[int], dtype: Any, order: int = 2) -> int:
    """What `empty_state` takes for each chain."""
    copies = 4 + (2 if order > 2 else 0) + (1 if len(sizes) > 2 else 0)
    return footprint.per_row((copies * sum(sizes),), dtype)


@scalar
def row_of(chains: Layers, x: Array, layer: int, k: int) -> Array:
    """Numbers of chain k in a layer: (n_l,)."""
    n = chains.size[layer]
    return segment(x, chains.first[layer] + k * n, n)


@scalar
def rows_of(chains: Layers, x: Array, layer: int, lo: int, count: int) -> Array:
    """Numbers of chains lo..lo+count-1 in a layer: (count n_l,)."""
    n = chains.size[layer]
    return segment(x, chains.first[layer] + lo * n, count * n)
