"""Sweeps of the naive mean-field, TAP and third-order equations (Eqs. 32-34, Alg. 1) over blocks of chains.

Blocks run in parallel; inside one, matrix products by single-threaded BLAS, then one pass over each chain's row. A
chain that has converged swaps places with the last active one of its block, so products and passes cover active chains
only.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from tapcore._base.jit import kernel, scalar
from tapcore.equations.fields import Couplings, Given, State, hold, set_fields, shifted
from tapcore.inference.arithmetic import larger, mix, squared_change
from tapcore.inference.progress import ACTIVE, MEMORY, PLAIN, Progress, Rule, judge
from tapcore.inference.sweeps.acceleration import Memory, accelerate, next_concerned
from tapcore.units.sites import Sites, layer_moments

Array = NDArray[Any]


@kernel()
def sweep_block(
    b: int,
    sites: Sites,
    couplings: Couplings,
    state: State,
    memory: Memory,
    progress: Progress,
    rule: Rule,
    given: Given,
    blocks: NDArray[np.int64],
    sweeps: int,
    cold: bool,
) -> None:
    """Sweep block `b` at most `sweeps` times, fewer when all of its chains have stopped.

    Parameters
    ----------
    sites : Sites
        All layers.
    blocks : (number of blocks, 2) int64
        First row and number of active rows of each block; the second is updated.
    cold : bool
        Chains that have not swept yet start from visible means only: all variances are zero and the first update of odd
        layers is undamped.
    """
    lo, active = blocks[b, 0], blocks[b, 1]
    for _ in range(sweeps):
        if active == 0:
            break
        _sweep(sites, couplings, state, memory, progress, rule, given, lo, lo + active, state.rows[b], cold)
        active = _retire(state, progress, rule, lo, active)
    blocks[b, 1] = active


@scalar
def _sweep(
    sites: Sites,
    couplings: Couplings,
    state: State,
    memory: Memory,
    progress: Progress,
    rule: Rule,
    given: Given,
    lo: int,
    hi: int,
    rows: Array,
    cold: bool,
) -> None:
    """One sweep of rows lo..hi: odd layers from even ones, then even from odd (Alg. 1)."""
    still = cold
    for k in range(lo, hi):
        progress.residual[k] = 0.0
        progress.square[k] = 0.0
        progress.step[k] = PLAIN
        still = still and progress.sweeps[k] == 0
    for parity in (1, 0):
        for layer in range(parity, len(state.mean), 2):
            set_fields(sites, couplings, state, layer, lo, hi, rule.order, still and parity == 1, rows)
        if rule.accelerate and parity == 1:
            k = next_concerned(memory, progress, rule, lo, hi)
            while k < hi:
                accelerate(state, memory, progress, rule, k)
                k = next_concerned(memory, progress, rule, k + 1, hi)
        for layer in range(parity, len(state.mean), 2):
            for k in range(lo, hi):
                first = cold and parity == 1 and progress.sweeps[k] == 0
                _update(sites, state, progress, given, layer, k, rows, first)


@scalar
def _update(
    sites: Sites, state: State, progress: Progress, given: Given, layer: int, k: int, rows: Array, first: bool
) -> None:
    """Means and variances of one layer of chain k from its fields."""
    mean, var = state.mean[layer][k], state.var[layer][k]
    new_mean, new_var = rows[0, : mean.size], rows[1, : mean.size]
    chain = progress.chain[k]
    B = shifted(given.U[layer], chain, state.B[layer][k], rows[2])
    A = shifted(given.V[layer], chain, state.A[layer][k], rows[3])
    layer_moments(sites, layer, B, A, new_mean, new_var)
    hold(given.held[layer], chain, new_mean, new_var)
    damping = progress.damping[k]
    if first or progress.step[k] != PLAIN:
        damping = 0.0
    change = mix(mean, var, new_mean, new_var, damping)
    progress.residual[k] = larger(progress.residual[k], change)
    progress.square[k] += (1.0 - damping) ** 2 * squared_change(mean, new_mean)


@scalar
def _retire(state: State, progress: Progress, rule: Rule, lo: int, active: int) -> int:
    """Judge each active chain after a sweep; stopped ones move behind the active ones. How many are still active."""
    units = 0
    for layer in range(len(state.mean)):
        units += state.mean[layer].shape[1]
    k = lo
    while k < lo + active:
        judge(progress, rule, k, units)
        if progress.status[k] == ACTIVE:
            k += 1
        else:
            active -= 1
            swap_chains(state, progress, k, lo + active)
            # The chain swapped in has not been judged yet, unless it is the same one.
    return active


@scalar
def swap_chains(state: State, progress: Progress, a: int, b: int) -> None:
    """Exchange two chains with all that is known of them."""
    if a == b:
        return
    for layer in range(len(state.mean)):
        for x in (state.mean[layer], state.var[layer], state.B[layer], state.A[layer]):
            for i in range(x.shape[1]):
                x[a, i], x[b, i] = x[b, i], x[a, i]
    for p in (progress.residual, progress.square, progress.rate, progress.distance, progress.damping, progress.best,
              progress.waited):  # fmt: skip
        p[a], p[b] = p[b], p[a]
    for q in (progress.chain, progress.slot, progress.sweeps, progress.status, progress.step):
        q[a], q[b] = q[b], q[a]
    for j in range(MEMORY):
        progress.past[a, j], progress.past[b, j] = progress.past[b, j], progress.past[a, j]


@kernel()
def gather_active(state: State, progress: Progress, count: int) -> int:
    """Move active chains among the first `count` rows to the front; how many there are."""
    front = 0
    back = count - 1
    while True:
        while front < count and progress.status[front] == ACTIVE:
            front += 1
        while back >= 0 and progress.status[back] != ACTIVE:
            back -= 1
        if front >= back:
            return front
        swap_chains(state, progress, front, back)
