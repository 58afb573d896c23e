"""Fields on every unit of a chain of layers (Eqs. 32, 33): the matrix products of a sweep and of the free energy.

A `job` is what a block kernel is given. Functions here use of it ``machine`` (`Compiled`), ``chains`` (`Layers`),
``blocks`` (first and number of the rows of each block), ``order`` (in the weights), ``calls[THIRD]`` (`add_third`) and
``calls[EXCLUSIVE]`` (`add_exclusive`), which `link_fields` sets where they are needed.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from tapcore._base.arrays import add
from tapcore._base.blas import multiply
from tapcore._base.blocks import Job, block_kernel, call_block, run_blocks
from tapcore._base.intrinsics import segment
from tapcore._base.jit import helper, scalar
from tapcore.equations.compiled import Compiled
from tapcore.equations.exclusive import add_exclusive
from tapcore.equations.layers import Layers, empty_state, row_of, rows_of
from tapcore.units.sites import THIRD as THIRD_CUMULANT
from tapcore.units.sites import layer_third

Array = NDArray[Any]

# Places of `add_third` and `add_exclusive` in the `calls` of a job, and the first one that is free for others.
THIRD, EXCLUSIVE, OTHERS = range(3)


def link_fields(job: Job) -> None:
    """Have ready what `set_fields` calls, for a job with ``machine``, ``order`` and ``calls``."""
    if job.values.order > 2:
        job.link(THIRD, add_third)
    if job.values.order > 1 and job.values.machine.has_exclusive:
        job.link(EXCLUSIVE, add_exclusive)


@scalar
def set_fields(job: Any, b: int, layer: int, still: bool) -> None:
    """Write B and A of the rows of block b in `layer` (Eqs. 32, 33).

    `still`: every variance is zero, and so are all terms of the second and third order.
    """
    lo, count = job.blocks[b, 0], job.blocks[b, 1]
    squares = job.order > 1 and not still
    add_fields(job.machine, job.chains, layer, lo, count, squares)
    if squares:
        chains = job.chains
        if job.calls[EXCLUSIVE] != 0:
            call_block(job.calls[EXCLUSIVE], b * job.machine.size.size + layer, job)
        for k in range(lo, lo + count):
            onsager(
                row_of(chains, chains.mean, layer, k),
                row_of(chains, chains.B, layer, k),
                row_of(chains, chains.A, layer, k),
            )
        if job.order > 2:
            call_block(job.calls[THIRD], b * job.machine.size.size + layer, job)


@helper(inline=False)
def add_fields(machine: Compiled, chains: Layers, layer: int, lo: int, count: int, squares: bool) -> None:
    """Write sum W a over the neighbours into B and sum W^2 c, or 0, into A."""
    last = machine.size.size - 1
    into_B, into_A = rows_of(chains, chains.B, layer, lo, count), rows_of(chains, chains.A, layer, lo, count)
    if layer > 0:
        below = layer - 1
        send(machine, rows_of(chains, chains.mean, below, lo, count), below, layer, count, machine.W, into_B)
        if squares:
            send(machine, rows_of(chains, chains.var, below, lo, count), below, layer, count, machine.W2, into_A)
        if layer < last:
            above, spare = layer + 1, rows_of(chains, chains.spare, layer, lo, count)
            send(machine, rows_of(chains, chains.mean, above, lo, count), above, layer, count, machine.W, spare)
            add(spare, into_B)
            if squares:
                send(machine, rows_of(chains, chains.var, above, lo, count), above, layer, count, machine.W2, spare)
                add(spare, into_A)
    else:
        send(machine, rows_of(chains, chains.mean, 1, lo, count), 1, 0, count, machine.W, into_B)
        if squares:
            send(machine, rows_of(chains, chains.var, 1, lo, count), 1, 0, count, machine.W2, into_A)
    if not squares:
        into_A[:] = 0


@helper(inline=False)
def send(machine: Compiled, x: Array, source: int, target: int, count: int, powers: Array, out: Array) -> None:
    """Write what `count` rows x of a layer send to a neighbour, by the weights or by powers of them, to `out`."""
    pair = min(source, target)
    W = segment(powers, machine.at[pair], machine.size[source] * machine.size[target])
    multiply(x, W, count, source > target, out)


@scalar
def onsager(mean: Array, B: Array, A: Array) -> None:
    """Turn sum W^2 c into A = -sum W^2 c and sum W a into B = A a + sum W a, in place (Eqs. 32, 33)."""
    for i in range(mean.size):
        A[i] = -A[i]
        B[i] += A[i] * mean[i]


@block_kernel
def add_third(i: int, job: Any) -> None:
    """Add ``(1/6) kappa3'(a) sum W^3 kappa3`` to B, and leave the sum in `pull`; i is block * layers + layer."""
    machine, chains = job.machine, job.chains
    layers = machine.size.size
    b, layer = i // layers, i % layers
    lo, count = job.blocks[b, 0], job.blocks[b, 1]
    slope = job.chains.scratch[b, 0, : machine.size[layer]]
    pull = rows_of(chains, chains.pull, layer, lo, count)
    pull[:] = 0
    if layer > 0:
        set_third(job, layer - 1, b)
        third = rows_of(chains, chains.third, layer - 1, lo, count)
        send(machine, third, layer - 1, layer, count, machine.W3, pull)
    if layer < layers - 1:
        set_third(job, layer + 1, b)
        third = rows_of(chains, chains.third, layer + 1, lo, count)
        if layer == 0:
            send(machine, third, 1, 0, count, machine.W3, pull)
        else:
            spare = rows_of(chains, chains.spare, layer, lo, count)
            send(machine, third, layer + 1, layer, count, machine.W3, spare)
            add(spare, pull)
    sixth = pull.dtype.type(1.0 / 6.0)
    for k in range(lo, lo + count):
        layer_third(
            machine, layer, row_of(chains, chains.mean, layer, k), row_of(chains, chains.third, layer, k), slope
        )
        own, B = row_of(chains, chains.pull, layer, k), row_of(chains, chains.B, layer, k)
        for j in range(slope.size):
            B[j] += sixth * slope[j] * own[j]


@scalar
def set_third(job: Any, layer: int, b: int) -> None:
    """Third cumulants of a layer from its means, in the rows of block b."""
    chains = job.chains
    slope = chains.scratch[b, 0, : job.machine.size[layer]]
    for k in range(job.blocks[b, 0], job.blocks[b, 0] + job.blocks[b, 1]):
        layer_third(
            job.machine, layer, row_of(chains, chains.mean, layer, k), row_of(chains, chains.third, layer, k), slope
        )


class _Third(NamedTuple):
    machine: Any
    chains: Any
    blocks: NDArray[np.int64]


@block_kernel
def _third_of_block(b: int, job: _Third) -> None:
    for layer in range(job.machine.size.size):
        set_third(job, layer, b)


def third_cumulants(machine: Compiled, means: tuple[Array, ...], order: int) -> tuple[Array, ...]:
    """Third cumulants of all units from their means (K, n_l); without rows where third order is not wanted."""
    count = len(means[0]) if order > 2 else 0
    state = empty_state([x.shape[1] for x in means], count, 1, means[0].dtype, order)
    if count:
        for to, x in zip(state.mean, means, strict=True):
            to[:] = x
        machine.sites.need(THIRD_CUMULANT)
        run_blocks(_third_of_block, 1, _Third(machine, state.flat, np.array([[0, count]])))
    return state.third
