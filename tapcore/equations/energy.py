"""The naive mean-field, TAP and third-order free energy (Eq. 35) at given means and variances."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from tapcore._base import checks
from tapcore._base.jit import kernel, scalar
from tapcore._base.threads import for_each_block, split, thread_count
from tapcore.equations.fields import (
    ORDERS,
    Couplings,
    Given,
    State,
    check_order,
    couplings,
    empty_state,
    hold_log_z,
    no_given,
    set_fields,
    shifted,
)
from tapcore.machine import Machine, check_machine
from tapcore.units.sites import LOG_Z, THIRD, Sites, layer_log_z, layer_third, sites_of

Array = NDArray[Any]

# Chains taken at a time, so that working arrays stay small however many there are.
CHAINS_AT_ONCE = 1024


def free_energy(
    machine: Machine, mean: Sequence[ArrayLike], var: Sequence[ArrayLike], *, method: str = "tap"
) -> NDArray[np.float64]:
    """Free energy F = -ln Z of chains with the given means and variances.

    ``-F = sum_units [ln Z(B, A) - B a + A (a^2 + c)/2] + sum_ij [W a_i a_j + W^2 c_i c_j/2]`` with ``A = -sum W^2 c``
    and ``B = A a + sum W a`` (Eqs. 32, 33, 35); naive mean field drops the terms in W^2. Third order adds
    ``sum_ij W^3 kappa3_i kappa3_j/6``, kappa3 the third cumulant as a function of the mean: ``a (1 - a) (1 - 2 a)`` of
    binary units, ``-2 a (1 - a^2)`` of spins; B gains ``kappa3'(a) sum W^3 kappa3/6``. Where (mean, var) solve the
    equations, F is stationary in them.

    Parameters
    ----------
    machine : Machine
    mean, var : sequence of (K, n_l) array_like, one a layer
        As in `Solutions`; one chain may be given as (n_l,) arrays.
    method : {"tap", "nmf", "tap3"}

    Returns
    -------
    (K,) float64 array
        In float64 also for a float32 machine; NaN for a chain with NaN.

    Raises
    ------
    ValueError
        Arrays of the wrong number or shape; third order of units other than binary, spin and Gaussian ones.

    Notes
    -----
    Relative error about 1e-15 times the sum of the magnitudes of the terms.
    """
    check_machine(machine)
    check_order(machine, checks.choice("method", method, tuple(ORDERS)))
    means, variances = _layers(machine, "mean", mean), _layers(machine, "var", var)
    count = means[0].shape[0]
    if any(x.shape[0] != count for x in (*means, *variances)):
        raise ValueError(f"mean and var must have the same number of chains in every layer, got {count} in mean[0]")
    return evaluate(machine, means, variances, method)


def evaluate(
    machine: Machine,
    means: Sequence[Array],
    variances: Sequence[Array],
    method: str,
    fields: tuple[Sequence[Array], Sequence[Array]] = ((), ()),
    given: Given | None = None,
) -> NDArray[np.float64]:
    """Free energy of arrays already checked; B and A are written to the arrays of `fields`, one a layer, if there are.

    Of units that are held, ln phi is left out.
    """
    order = ORDERS[method]
    pair = couplings([w.astype(np.float64) for w in machine.weights], order)
    sites = sites_of([layer.astype(np.float64) for layer in machine.layers], LOG_Z, *((THIRD,) if order > 2 else ()))
    outside = no_given(machine.sizes, np.float64)
    if given is not None:
        outside = Given(*(tuple(np.ascontiguousarray(x, np.float64) for x in layers) for layers in given))
    out = np.empty(means[0].shape[0])
    for start in range(0, out.size, CHAINS_AT_ONCE):
        rows = slice(start, start + CHAINS_AT_ONCE)
        blocks = split(out[rows].size, thread_count())
        state = empty_state(machine.sizes, out[rows].size, len(blocks), np.float64, order)
        for to, values in zip(state.mean + state.var, (*means, *variances), strict=True):
            to[:] = values[rows]
        for_each_block(_free_energies, len(blocks), sites, pair, state, outside, start, blocks, order, out[rows])
        for into, made in zip((*fields[0], *fields[1]), state.B + state.A, strict=False):
            into[rows] = made
    return out


def _layers(machine: Machine, name: str, given: Sequence[ArrayLike]) -> list[Array]:
    if len(given) != len(machine.layers):
        raise ValueError(f"{name} must hold one array for each of {len(machine.layers)} layers, got {len(given)}")
    arrays = []
    for i, (x, layer) in enumerate(zip(given, machine.layers, strict=True)):
        array = np.atleast_2d(checks.real_array(f"{name}[{i}]", x))
        arrays.append(checks.matrix(f"{name}[{i}]", array, layer.n, rows="chains"))
    return arrays


@kernel()
def _free_energies(
    b: int,
    sites: Sites,
    pair: Couplings,
    state: State,
    given: Given,
    start: int,
    blocks: NDArray[np.int64],
    order: int,
    out: Array,
) -> None:
    lo, hi = blocks[b, 0], blocks[b, 0] + blocks[b, 1]
    out[lo:hi] = 0.0
    for layer in range(len(state.mean)):
        set_fields(sites, pair, state, layer, lo, hi, order, False, state.rows[b])
        log_z = state.rows[b, 0, : state.mean[layer].shape[1]]
        for k in range(lo, hi):
            mean, var, B, A = state.mean[layer][k], state.var[layer][k], state.B[layer][k], state.A[layer][k]
            U = shifted(given.U[layer], start + k, B, state.rows[b, 2])
            V = shifted(given.V[layer], start + k, A, state.rows[b, 3])
            layer_log_z(sites, layer, U, V, log_z)
            hold_log_z(given.held[layer], start + k, U, V, log_z)
            out[k] -= _layer_terms(mean, var, B, A, log_z)
            if order > 2:
                layer_third(sites, layer, mean, state.third[layer][k], log_z)
                out[k] -= _third_terms(mean, state.third[layer][k], log_z, state.pull[layer][k])


@scalar
def _layer_terms(mean: Array, var: Array, B: Array, A: Array, log_z: Array) -> float:
    """Sum of the terms of -F that belong to one layer, ``ln Z - B a/2 + A c/4``.

    Each pair of layers is seen from both ends, so half of sum W a a and of sum W^2 c c/2 goes to each: with
    ``sum W a = B - A a`` and ``sum W^2 c = -A`` the rest of Eq. 35 cancels.
    """
    total = 0.0
    for i in range(mean.size):
        total += log_z[i] - 0.5 * B[i] * mean[i] + 0.25 * A[i] * var[i]
    return total


@scalar
def _third_terms(mean: Array, third: Array, slope: Array, pull: Array) -> float:
    """What third order adds to `_layer_terms`: half of each pair's term, less what is in B of ``-B a/2``."""
    total = 0.0
    for i in range(mean.size):
        total += (third[i] - mean[i] * slope[i]) * pull[i] / 12.0
    return total
