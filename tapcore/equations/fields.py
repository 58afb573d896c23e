"""Fields on every unit of a chain of layers (Eqs. 32, 33): the matrix products of a sweep and of the free energy."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from tapcore._base import footprint
from tapcore._base.jit import kernel, scalar
from tapcore.machine import Machine
from tapcore.units.sites import THIRD, Sites, layer_third

Array = NDArray[Any]

# Order of the small-weight expansion that each method of sweeps takes into account.
ORDERS = {"nmf": 1, "tap": 2, "tap3": 3}


class Couplings(NamedTuple):
    """Weights between neighbouring layers, their squares and cubes: tuples of (n_l, n_{l+1}) arrays."""

    W: tuple[Array, ...]
    W2: tuple[Array, ...]
    W3: tuple[Array, ...]  # without rows where third order is not wanted


class State(NamedTuple):
    """Chains: tuples of (K, n_l) arrays, one a layer, and scratch rows for each block."""

    mean: tuple[Array, ...]
    var: tuple[Array, ...]
    B: tuple[Array, ...]
    A: tuple[Array, ...]
    spare: tuple[Array, ...]  # (K, n_l) for layers with two neighbours, else empty
    third: tuple[Array, ...]  # (K, n_l) third cumulants, and what a layer receives from those of its neighbours;
    pull: tuple[Array, ...]  # empty where third order is not wanted
    rows: Array  # (blocks, 4, max n_l)


class Given(NamedTuple):
    """What acts on units from outside: (chains, n_l) arrays, one a layer, of one row for all chains, or of none."""

    U: tuple[Array, ...]  # added to B
    V: tuple[Array, ...]  # added to A
    held: tuple[Array, ...]  # values of units that are held there, NaN of those that are free


def no_given(sizes: Sequence[int], dtype: Any) -> Given:
    """Nothing from outside."""
    return Given(*(tuple(np.empty((0, n), dtype) for n in sizes) for _ in Given._fields))


def couplings(weights: Sequence[Array], order: int = 2) -> Couplings:
    """Weights and their powers, as kernels take them; fresh arrays, which a training step may update in place."""
    W = tuple(np.array(w) for w in weights)
    cubes = (w * w * w if order > 2 else np.zeros((0, w.shape[1]), w.dtype) for w in W)
    return Couplings(W, tuple(w * w for w in W), tuple(cubes))


def check_order(machine: Machine, method: str) -> int:
    """Order of a method of sweeps; ValueError where the machine has units for which it is not known."""
    order = ORDERS[method]
    for i, layer in enumerate(machine.layers if order > 2 else ()):
        if not layer.third_order:
            raise ValueError(
                f"method {method!r} needs the third cumulant of each unit as a function of its mean; that of "
                f"layers[{i}] ({type(layer).__name__}) depends on the variance too, and its slopes on the fifth "
                "cumulant: use 'tap'"
            )
    return order


def empty_state(sizes: Sequence[int], count: int, blocks: int, dtype: Any, order: int = 2) -> State:
    """Zeroed arrays for `count` chains dealt to at most `blocks` blocks."""

    def arrays() -> tuple[Array, ...]:
        return tuple(np.zeros((count, n), dtype) for n in sizes)

    last = len(sizes) - 1
    spare = tuple(np.empty((count if 0 < i < last else 0, n), dtype) for i, n in enumerate(sizes))
    third, pull = (tuple(np.zeros((count if order > 2 else 0, n), dtype) for n in sizes) for _ in range(2))
    rows = np.empty((blocks, 4, max(sizes)), dtype)
    return State(arrays(), arrays(), arrays(), arrays(), spare, third, pull, rows)


def state_bytes(sizes: Sequence[int], dtype: Any, order: int = 2) -> int:
    """What `empty_state` takes for each chain."""
    copies = 4 + (2 if order > 2 else 0)
    return footprint.per_row((copies * sum(sizes), sum(sizes[1:-1])), dtype)


@scalar
def set_fields(
    sites: Sites, couplings: Couplings, state: State, layer: int, lo: int, hi: int, order: int, still: bool, rows: Array
) -> None:
    """Write B and A of rows lo..hi of `layer` (Eqs. 32, 33), to an order in the weights.

    `still`: every variance is zero, and so are all terms of the second and third order. `rows`: two for scratch.
    """
    squares = order > 1 and not still
    add_fields(couplings, state, layer, lo, hi, squares)
    if squares:
        for k in range(lo, hi):
            onsager(state.mean[layer][k], state.B[layer][k], state.A[layer][k])
    if squares and order > 2:
        _add_third(sites, couplings, state, layer, lo, hi, rows)


@scalar
def add_fields(couplings: Couplings, state: State, layer: int, lo: int, hi: int, squares: bool) -> None:
    """Write sum W a over the neighbours into B and sum W^2 c, or 0, into A."""
    B, A = state.B[layer][lo:hi], state.A[layer][lo:hi]
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


@scalar
def shifted(given: Array, chain: int, own: Array, scratch: Array) -> Array:
    """`own` plus the row of a chain of what is given, in `scratch` if there is any."""
    if given.shape[0] == 0:
        return own
    row, total = given[min(chain, given.shape[0] - 1)], scratch[: own.size]
    for i in range(own.size):
        total[i] = own[i] + row[i]
    return total


@scalar
def hold(held: Array, chain: int, mean: Array, var: Array) -> None:
    """Put units of a chain that are held at their values."""
    if held.shape[0] > 0:
        row = held[min(chain, held.shape[0] - 1)]
        for i in range(mean.size):
            if row[i] == row[i]:
                mean[i], var[i] = row[i], 0.0


@scalar
def hold_log_z(held: Array, chain: int, B: Array, A: Array, log_z: Array) -> None:
    """Put ``ln exp(B x - A x^2/2)`` for units of a chain that are held at x: phi(x) is left out."""
    if held.shape[0] > 0:
        row, half = held[min(chain, held.shape[0] - 1)], log_z.dtype.type(0.5)
        for i in range(log_z.size):
            if row[i] == row[i]:
                log_z[i] = (B[i] - half * A[i] * row[i]) * row[i]


@scalar
def _add_third(sites: Sites, couplings: Couplings, state: State, layer: int, lo: int, hi: int, rows: Array) -> None:
    """Add ``(1/6) kappa3'(a) sum W^3 kappa3`` to B, and leave the sum in `state.pull`."""
    last = len(state.mean) - 1
    pull, n = state.pull[layer], state.mean[layer].shape[1]
    pull[lo:hi, :] = 0
    if layer > 0:
        _set_third(sites, state, layer - 1, lo, hi, rows[0])
        np.dot(state.third[layer - 1][lo:hi], couplings.W3[layer - 1], pull[lo:hi])
    if 0 < layer < last:
        _set_third(sites, state, layer + 1, lo, hi, rows[0])
        np.dot(state.third[layer + 1][lo:hi], couplings.W3[layer].T, state.spare[layer][lo:hi])
        accumulate(pull[lo:hi], state.spare[layer][lo:hi])
    if layer == 0:
        _set_third(sites, state, 1, lo, hi, rows[0])
        np.dot(state.third[1][lo:hi], couplings.W3[0].T, pull[lo:hi])
    sixth, slope = pull.dtype.type(1.0 / 6.0), rows[0, :n]
    for k in range(lo, hi):
        layer_third(sites, layer, state.mean[layer][k], state.third[layer][k], slope)
        for i in range(n):
            state.B[layer][k, i] += sixth * slope[i] * pull[k, i]


@scalar
def _set_third(sites: Sites, state: State, layer: int, lo: int, hi: int, slope: Array) -> None:
    """Third cumulants of `layer` from its means."""
    for k in range(lo, hi):
        layer_third(sites, layer, state.mean[layer][k], state.third[layer][k], slope[: state.mean[layer].shape[1]])


@kernel()
def _third_cumulants(sites: Sites, state: State) -> None:
    for layer in range(len(state.mean)):
        _set_third(sites, state, layer, 0, state.mean[layer].shape[0], state.rows[0, 0])


def third_cumulants(sites: Sites, means: tuple[Array, ...], order: int) -> tuple[Array, ...]:
    """Third cumulants of all units from their means (K, n_l); without rows where third order is not wanted."""
    count = len(means[0]) if order > 2 else 0
    state = empty_state([x.shape[1] for x in means], count, 1, means[0].dtype, order)
    state = state._replace(mean=tuple(x[:count] for x in means))
    if count:
        sites.need(THIRD)
        _third_cumulants(sites, state)
    return state.third
