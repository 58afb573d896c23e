"""Fields on every unit of a chain of layers (Eqs. 32, 33): the matrix products of a sweep and of the free energy."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from tapcore._jit import scalar

Array = NDArray[Any]


class Couplings(NamedTuple):
    """Weights between neighbouring layers and their squares: tuples of (n_l, n_{l+1}) arrays."""

    W: tuple[Array, ...]
    W2: tuple[Array, ...]


class State(NamedTuple):
    """Chains: tuples of (K, n_l) arrays, one a layer, and scratch rows for each block."""

    mean: tuple[Array, ...]
    var: tuple[Array, ...]
    B: tuple[Array, ...]
    A: tuple[Array, ...]
    spare: tuple[Array, ...]  # (K, n_l) for layers with two neighbours, else empty
    rows: Array  # (blocks, 2, max n_l)


def couplings(weights: Sequence[Array]) -> Couplings:
    """Weights and their squares, as kernels take them; fresh arrays, which a training step may update in place."""
    W = tuple(np.array(w) for w in weights)
    return Couplings(W, tuple(w * w for w in W))


def empty_state(sizes: Sequence[int], count: int, blocks: int, dtype: Any) -> State:
    """Zeroed arrays for `count` chains dealt to at most `blocks` blocks."""

    def arrays() -> tuple[Array, ...]:
        return tuple(np.zeros((count, n), dtype) for n in sizes)

    last = len(sizes) - 1
    spare = tuple(np.empty((count if 0 < i < last else 0, n), dtype) for i, n in enumerate(sizes))
    return State(arrays(), arrays(), arrays(), arrays(), spare, np.empty((blocks, 2, max(sizes)), dtype))


@scalar
def add_fields(
    couplings: Couplings, state: State, layer: int, lo: int, hi: int, second_order: bool, still: bool
) -> None:
    """Write sum W a over the neighbours into B and sum W^2 c into A, for rows lo..hi of `layer`.

    `still`: every variance is zero, so the second sum is too.
    """
    B, A = state.B[layer][lo:hi], state.A[layer][lo:hi]
    squares = second_order and not still
    last = len(state.mean) - 1
    if layer > 0:
        np.dot(state.mean[layer - 1][lo:hi], couplings.W[layer - 1], B)
        if squares:
            np.dot(state.var[layer - 1][lo:hi], couplings.W2[layer - 1], A)
        if layer < last:
            spare = state.spare[layer][lo:hi]
            np.dot(state.mean[layer + 1][lo:hi], couplings.W[layer].T, spare)
            accumulate(B, spare)
            if squares:
                np.dot(state.var[layer + 1][lo:hi], couplings.W2[layer].T, spare)
                accumulate(A, spare)
    else:
        np.dot(state.mean[1][lo:hi], couplings.W[0].T, B)
        if squares:
            np.dot(state.var[1][lo:hi], couplings.W2[0].T, A)
    if not squares:
        A[:, :] = 0


@scalar
def accumulate(total: Array, term: Array) -> None:
    """Add `term` to `total`, two (rows, n) arrays, in place."""
    for k in range(total.shape[0]):
        for i in range(total.shape[1]):
            total[k, i] += term[k, i]


@scalar
def onsager(mean: Array, B: Array, A: Array) -> None:
    """Turn sum W^2 c into A = -sum W^2 c and sum W a into B = A a + sum W a, in place (Eqs. 32, 33)."""
    for i in range(mean.size):
        A[i] = -A[i]
        B[i] += A[i] * mean[i]
