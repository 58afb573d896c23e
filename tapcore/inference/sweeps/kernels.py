"""Sweeps of the naive mean-field, TAP and third-order equations (Eqs. 32-34, Alg. 1) over blocks of chains.

Blocks run in parallel; inside one, matrix products by single-threaded BLAS, then one pass over each chain's row. A
chain that has converged swaps places with the last active one of its block, so products and passes cover active chains
only.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from tapcore._base.arrays import sum_of
from tapcore._base.blocks import block_kernel, call_block
from tapcore._base.jit import helper, scalar
from tapcore.equations.compiled import Compiled
from tapcore.equations.fields import OTHERS, set_fields
from tapcore.equations.layers import Layers, row_of
from tapcore.equations.outside import HELD, Outside, U, V, acts, add_row, hold, outside_row
from tapcore.inference.arithmetic import larger, mix, squared_change
from tapcore.inference.progress import ACTIVE, MEMORY, PLAIN, Progress, Rule, judge
from tapcore.inference.sweeps.acceleration import Memory, next_concerned
from tapcore.units.sites import layer_moments

Array = NDArray[Any]

# Columns of `Sweeps.blocks`.
FIRST, ACTIVE_ROWS, LEFT = range(3)
# Place of `accelerate` in the calls, after those of fields.
ACCELERATE = OTHERS


class Sweeps(NamedTuple):
    """Sweeps of blocks of chains."""

    machine: Compiled
    chains: Layers
    progress: Progress
    memory: Memory
    rule: Rule
    outside: Outside
    blocks: NDArray[np.int64]  # (blocks, 3) first row, active rows and sweeps to go; the last two are updated
    cold: NDArray[np.int64]  # (1,) 1: chains that have not swept yet start from visible means only, so that all
    # variances are zero and the first update of odd layers is undamped
    order: int  # in the weights
    calls: Any  # what `set_fields` calls, and `accelerate`


@block_kernel
def sweep_block(b: int, job: Sweeps) -> None:
    """Sweep block `b` as often as its sweeps to go say, fewer times when all of its chains have stopped.

    It also ends before a sweep in which a chain is to be accelerated, if `accelerate` is not linked.
    """
    while job.blocks[b, LEFT] > 0 and job.blocks[b, ACTIVE_ROWS] > 0:
        lo, count = job.blocks[b, FIRST], job.blocks[b, ACTIVE_ROWS]
        if job.rule.accelerate and job.calls[ACCELERATE] == 0 and next_concerned(job, lo, lo + count) < lo + count:
            return
        _sweep(job, b)
        job.blocks[b, ACTIVE_ROWS] = _retire(job, lo, count)
        job.blocks[b, LEFT] -= 1


@block_kernel
def answer_block(b: int, job: Sweeps) -> None:
    """Let the odd layers of block `b` answer what acts on them now, in the fields they have; then sweep from there.

    Sweeps are of even layers first, then odd ones, as often as its sweeps to go say, and never extrapolated.
    """
    lo = job.blocks[b, FIRST]
    _update_every_second(job, b, 1, False)
    while job.blocks[b, LEFT] > 0 and job.blocks[b, ACTIVE_ROWS] > 0:
        _begin_sweep(job, lo, lo + job.blocks[b, ACTIVE_ROWS])
        for parity in (0, 1):
            for layer in range(parity, job.machine.size.size, 2):
                set_fields(job, b, layer, False)
            _update_every_second(job, b, parity, False)
        job.blocks[b, ACTIVE_ROWS] = _retire(job, lo, job.blocks[b, ACTIVE_ROWS])
        job.blocks[b, LEFT] -= 1


@scalar
def _sweep(job: Sweeps, b: int) -> None:
    """One sweep of the active rows: odd layers from even ones, then even from odd (Alg. 1)."""
    lo, hi = job.blocks[b, FIRST], job.blocks[b, FIRST] + job.blocks[b, ACTIVE_ROWS]
    progress, layers, cold = job.progress, job.machine.size.size, job.cold[0] != 0
    still = cold
    _begin_sweep(job, lo, hi)
    for k in range(lo, hi):
        still = still and progress.sweeps[k] == 0
    for parity in (1, 0):
        for layer in range(parity, layers, 2):
            set_fields(job, b, layer, still and parity == 1)
        if job.rule.accelerate and parity == 1:
            k = next_concerned(job, lo, hi)
            while k < hi:
                call_block(job.calls[ACCELERATE], k, job)
                k = next_concerned(job, k + 1, hi)
        _update_every_second(job, b, parity, cold and parity == 1)


@scalar
def _begin_sweep(job: Sweeps, lo: int, hi: int) -> None:
    """No change so far in the rows lo..hi-1."""
    progress = job.progress
    for k in range(lo, hi):
        progress.residual[k] = 0.0
        progress.square[k] = 0.0
        progress.step[k] = PLAIN


@scalar
def _update_every_second(job: Sweeps, b: int, parity: int, cold: bool) -> None:
    """Means and variances of every second layer of the active rows from their fields; undamped at first, if `cold`."""
    lo, sweeps = job.blocks[b, FIRST], job.progress.sweeps
    for layer in range(parity, job.machine.size.size, 2):
        for k in range(lo, lo + job.blocks[b, ACTIVE_ROWS]):
            _update(job, b, layer, k, cold and sweeps[k] == 0)


@scalar
def _update(job: Sweeps, b: int, layer: int, k: int, first: bool) -> None:
    """Means and variances of one layer of chain k from its fields."""
    chains, outside, progress = job.chains, job.outside, job.progress
    mean, var = row_of(chains, chains.mean, layer, k), row_of(chains, chains.var, layer, k)
    B, A = row_of(chains, chains.B, layer, k), row_of(chains, chains.A, layer, k)
    n, chain = mean.size, progress.chain[k]
    new_mean, new_var = chains.scratch[b, 0, :n], chains.scratch[b, 1, :n]
    if acts(outside, U, layer):
        total = chains.scratch[b, 2, :n]
        add_row(B, outside_row(outside, U, layer, chain, n), total)
        B = total
    if acts(outside, V, layer):
        total = chains.scratch[b, 3, :n]
        add_row(A, outside_row(outside, V, layer, chain, n), total)
        A = total
    layer_moments(job.machine, layer, B, A, new_mean, new_var)
    if acts(outside, HELD, layer):
        hold(outside_row(outside, HELD, layer, chain, n), new_mean, new_var)
    damping = progress.damping[k]
    if first or progress.step[k] != PLAIN:
        damping = 0.0
    change = mix(mean, var, new_mean, new_var, damping)
    progress.residual[k] = larger(progress.residual[k], change)
    progress.square[k] += (1.0 - damping) ** 2 * squared_change(mean, new_mean)


@scalar
def _retire(job: Sweeps, lo: int, active: int) -> int:
    """Judge each active chain after a sweep; stopped ones move behind the active ones. How many are still active."""
    units = sum_of(job.machine.size)
    k = lo
    while k < lo + active:
        judge(job.progress, job.rule, k, units)
        if job.progress.status[k] == ACTIVE:
            k += 1
        else:
            active -= 1
            swap_chains(job, k, lo + active)
            # The chain swapped in has not been judged yet, unless it is the same one.
    return active


@helper(inline=False)
def swap_chains(job: Sweeps, a: int, b: int) -> None:
    """Exchange two chains with all that is known of them."""
    if a == b:
        return
    chains, p = job.chains, job.progress
    for layer in range(job.machine.size.size):
        for x in (chains.mean, chains.var, chains.B, chains.A):
            swap_rows(row_of(chains, x, layer, a), row_of(chains, x, layer, b))
    for real in (p.residual, p.square, p.rate, p.distance, p.damping, p.best, p.waited):
        real[a], real[b] = real[b], real[a]
    for whole in (p.chain, p.slot, p.sweeps, p.status, p.step):
        whole[a], whole[b] = whole[b], whole[a]
    for j in range(MEMORY):
        p.past[a, j], p.past[b, j] = p.past[b, j], p.past[a, j]


@helper(inline=False)
def swap_rows(x: Array, y: Array) -> None:
    """Exchange the numbers of two rows."""
    for i in range(x.size):
        x[i], y[i] = y[i], x[i]


@block_kernel
def gather_active(b: int, job: Sweeps) -> None:
    """Move active chains of all blocks to the front; leave how many there are in the first block's active rows.

    b is the number of rows to look at.
    """
    front, back = 0, b - 1
    while True:
        while front < b and job.progress.status[front] == ACTIVE:
            front += 1
        while back >= 0 and job.progress.status[back] != ACTIVE:
            back -= 1
        if front >= back:
            break
        swap_chains(job, front, back)
    job.blocks[0, ACTIVE_ROWS] = front
