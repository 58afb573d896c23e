"""The naive mean-field, TAP and third-order free energy (Eq. 35) at given means and variances."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from tapcore._base.blocks import Job, block_kernel, call_block, no_calls
from tapcore._base.jit import helper, scalar
from tapcore._base.threads import split, thread_count
from tapcore.equations.compiled import Compiled, compiled
from tapcore.equations.exclusive import exclusive_terms
from tapcore.equations.fields import EXCLUSIVE, OTHERS, link_fields, set_fields
from tapcore.equations.layers import Layers, empty_state, row_of
from tapcore.equations.outside import (
    HELD,
    Given,
    Outside,
    U,
    V,
    acts,
    add_row,
    hold_log_z,
    no_outside,
    outside_of,
    outside_row,
)
from tapcore.machine import Machine
from tapcore.units.sites import LOG_Z, layer_log_z, layer_third
from tapcore.units.sites import THIRD as THIRD_CUMULANT

Array = NDArray[Any]

# Chains taken at a time, so that working arrays stay small however many there are.
CHAINS_AT_ONCE = 1024
# Places of `_third_terms` and `exclusive_terms` in the calls of a job, after those of fields.
TERMS, EXCLUSIVE_TERMS = OTHERS, OTHERS + 1


def evaluate(
    machine: Machine,
    means: Sequence[Array],
    variances: Sequence[Array],
    order: int,
    fields: tuple[Sequence[Array], Sequence[Array]] = ((), ()),
    given: Given | None = None,
    own: Compiled | None = None,
) -> NDArray[np.float64]:
    """Free energy of arrays already checked; B and A are written to the arrays of `fields`, one a layer, if there are.

    `order` is that of the expansion in the weights. Of units that are held, ln phi is left out. `own` is the machine
    compiled for that order, if it has been: it serves where that is in float64.
    """
    wide = np.float64
    functions = (LOG_Z, THIRD_CUMULANT) if order > 2 else (LOG_Z,)
    if own is None or own.values.dtype != wide:
        own = compiled([layer.astype(wide) for layer in machine.layers], machine.weights, order)
    own.sites.need(*functions)
    sizes = machine.sizes
    outside = no_outside(sizes, wide) if given is None else outside_of(given, wide)
    out = np.empty(means[0].shape[0])
    for start in range(0, out.size, CHAINS_AT_ONCE):
        rows = slice(start, start + CHAINS_AT_ONCE)
        blocks = split(out[rows].size, thread_count())
        state = empty_state(sizes, out[rows].size, len(blocks), wide, order)
        for to, values in zip(state.mean + state.var, (*means, *variances), strict=True):
            to[:] = values[rows]
        job = Job(_Energies(own, state.flat, outside, blocks, order, start, out[rows], no_calls(OTHERS + 2)))
        link_fields(job)
        if order > 2:
            job.link(TERMS, _third_terms)
        if job.values.calls[EXCLUSIVE]:
            job.link(EXCLUSIVE_TERMS, exclusive_terms)
        job.run(_free_energies, len(blocks), brief=own.brief(out[rows].size))
        for into, made in zip((*fields[0], *fields[1]), state.B + state.A, strict=False):
            into[rows] = made
    return out


class _Energies(NamedTuple):
    """Free energies of blocks of chains."""

    machine: Compiled
    chains: Layers
    outside: Outside
    blocks: NDArray[np.int64]  # (blocks, 2) first row and rows
    order: int
    start: int  # number of the first chain
    out: NDArray[np.float64]  # (K,)
    calls: Any  # what `set_fields` calls, `_third_terms` and `exclusive_terms`


@block_kernel
def _free_energies(b: int, job: _Energies) -> None:
    """Write the free energies of the chains of block b."""
    chains, outside = job.chains, job.outside
    lo, count = job.blocks[b, 0], job.blocks[b, 1]
    job.out[lo : lo + count] = 0.0
    for layer in range(job.machine.size.size):
        set_fields(job, b, layer, False)
        n = job.machine.size[layer]
        log_z = chains.scratch[b, 0, :n]
        for k in range(lo, lo + count):
            mean, var = row_of(chains, chains.mean, layer, k), row_of(chains, chains.var, layer, k)
            B, A = row_of(chains, chains.B, layer, k), row_of(chains, chains.A, layer, k)
            shifted_B, shifted_A = B, A
            if acts(outside, U, layer):
                shifted_B = chains.scratch[b, 2, :n]
                add_row(B, outside_row(outside, U, layer, job.start + k, n), shifted_B)
            if acts(outside, V, layer):
                shifted_A = chains.scratch[b, 3, :n]
                add_row(A, outside_row(outside, V, layer, job.start + k, n), shifted_A)
            layer_log_z(job.machine, layer, shifted_B, shifted_A, log_z)
            if acts(outside, HELD, layer):
                hold_log_z(outside_row(outside, HELD, layer, job.start + k, n), shifted_B, shifted_A, log_z)
            job.out[k] -= _layer_terms(mean, var, B, A, log_z)
        if job.order > 2:
            call_block(job.calls[TERMS], b * job.machine.size.size + layer, job)
        if job.calls[EXCLUSIVE] != 0:
            call_block(job.calls[EXCLUSIVE_TERMS], b * job.machine.size.size + layer, job)


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


@block_kernel
def _third_terms(i: int, job: _Energies) -> None:
    """Subtract what third order adds to `_layer_terms`; i is block * layers + layer.

    Half of each pair's term, less what is in B of ``-B a/2``.
    """
    chains, layers = job.chains, job.machine.size.size
    b, layer = i // layers, i % layers
    slope = chains.scratch[b, 0, : job.machine.size[layer]]
    for k in range(job.blocks[b, 0], job.blocks[b, 0] + job.blocks[b, 1]):
        mean, third = row_of(chains, chains.mean, layer, k), row_of(chains, chains.third, layer, k)
        pull = row_of(chains, chains.pull, layer, k)
        layer_third(job.machine, layer, mean, third, slope)
        total = 0.0
        for j in range(mean.size):
            total += (third[j] - mean[j] * slope[j]) * pull[j] / 12.0
        job.out[k] -= total


class Swept(NamedTuple):
    """Free energies of chains from the fields that their last sweep has left: no matrix product is taken again."""

    machine: Compiled
    chains: Layers
    before: Array  # means before that sweep, as `chains.mean`, but each chain's at its number
    chain: NDArray[np.int64]  # (K,) the number of the chain in each row
    blocks: NDArray[np.int64]  # (blocks, 2) first row and rows
    out: NDArray[np.float64]  # (K,) of each chain, by its number


@block_kernel
def swept_energies(b: int, job: Swept) -> None:
    """Write the free energies of the chains of block b, of first or second order, of sites of one column each.

    A sweep takes odd layers first and even ones last, so that ``B = A a' + sum W a`` and ``A = -sum W^2 c`` of even
    layers, a' their means before, have all there is of each pair of layers: ``sum W a a = (B - A a') a`` and
    ``sum W^2 c c = -A c``. With these -F is stationary in means, variances, fields and precisions alike, and where a
    chain is not yet at its solution it is off in second order only.
    """
    chains = job.chains
    lo, count = job.blocks[b, 0], job.blocks[b, 1]
    for k in range(lo, lo + count):
        job.out[job.chain[k]] = 0.0
    for layer in range(job.machine.size.size):
        log_z = chains.scratch[b, 0, : job.machine.size[layer]]
        for k in range(lo, lo + count):
            mean, A = row_of(chains, chains.mean, layer, k), row_of(chains, chains.A, layer, k)
            B = row_of(chains, chains.B, layer, k)
            layer_log_z(job.machine, layer, B, A, log_z)
            chain = job.chain[k]
            if layer % 2 == 0:
                job.out[chain] -= _even_terms(mean, row_of(chains, job.before, layer, chain), A, log_z)
            else:
                job.out[chain] -= _odd_terms(mean, row_of(chains, chains.var, layer, k), B, A, log_z)


@helper(inline=False, reassociate=True)
def _even_terms(mean: Array, before: Array, A: Array, log_z: Array) -> float:
    """Sum of ``ln Z - B a + A (a^2 + c)/2 + (B - A a') a - A c/2``."""
    total = 0.0
    half = mean.dtype.type(0.5)
    for i in range(mean.size):
        total += np.float64(log_z[i] + A[i] * mean[i] * (half * mean[i] - before[i]))
    return total


@helper(inline=False, reassociate=True)
def _odd_terms(mean: Array, var: Array, B: Array, A: Array, log_z: Array) -> float:
    """Sum of ``ln Z - B a + A (a^2 + c)/2``."""
    total = 0.0
    half = mean.dtype.type(0.5)
    for i in range(mean.size):
        total += np.float64(log_z[i] - B[i] * mean[i] + half * A[i] * (mean[i] * mean[i] + var[i]))
    return total
