"""Kernels that add up over all states of the units of every second layer."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from tapcore._base.arrays import add, copy
from tapcore._base.blas import multiply
from tapcore._base.blocks import block_kernel
from tapcore._base.jit import scalar
from tapcore.units.sites import Sites, layer_log_z, layer_moments

Array = NDArray[Any]


class Table(NamedTuple):
    """What kernels take: N units enumerated, n others; state b has unit u in its second state where bit u is set."""

    low_fields: Array  # (2^LOW, n) fields on the others from the low bits
    low_weight: Array  # (2^LOW,) ln phi from the low bits
    low_bits: Array  # (2^LOW, LOW)
    high_fields: Array  # (N - LOW, n) of each high bit
    high_weight: Array  # (N - LOW,)
    fields: Array  # (n,) of the state without bits
    weight: float
    ends: NDArray[np.int64]  # (layers + 1,) where the other layers end in n
    zero: Array  # (n,)
    tasks: NDArray[np.int64]  # (TASKS, 2) first and last block


@scalar
def _row_of_block(table: Table, block: int, row: Array) -> float:
    """Write fields of the high bits of a block, and return their ln phi."""
    weight = table.weight
    copy(table.fields, row)
    for u in range(len(table.high_weight)):
        if (block >> u) & 1:
            weight += table.high_weight[u]
            for i in range(row.size):
                row[i] += table.high_fields[u, i]
    return weight


@scalar
def _log_z_of_others(sites: Sites, table: Table, fields: Array, log_z: Array) -> float:
    """Sum of ln Z of all other units in their fields."""
    for layer in range(sites.size.size):
        a, z = table.ends[layer], table.ends[layer + 1]
        layer_log_z(sites, layer, fields[a:z], table.zero[a:z], log_z[a:z])
    total = 0.0
    for i in range(log_z.size):
        total += log_z[i]
    return total


class States(NamedTuple):
    """A look at all states of the enumerated units."""

    sites: Sites  # of all other units
    table: Table
    scratch: Array  # (tasks, 4, n)
    logs: Array  # (tasks, states of the low bits)


class BlockSums(NamedTuple):
    """Sums of blocks of states."""

    states: States
    top: Array  # (blocks,) largest ln weight of each block
    total: Array  # (blocks,) sum of its weights relative to that


@block_kernel
def block_sums(t: int, job: BlockSums) -> None:
    """Write the sums of the blocks of task t."""
    states = job.states
    table, row, log = states.table, states.scratch[t, 0], states.logs[t]
    for block in range(table.tasks[t, 0], table.tasks[t, 1]):
        weight = _row_of_block(table, block, row)
        most = -np.inf
        for s in range(log.size):
            log[s] = weight + _log_weight(states, t, s)
            most = max(most, log[s])
        job.top[block], job.total[block] = most, 0.0
        for s in range(log.size):
            job.total[block] += np.exp(log[s] - most)


@scalar
def _log_weight(states: States, t: int, s: int) -> float:
    """What ln of the weight of state s of the low bits adds to that of the block in task t; its fields are left there.

    In rows 1 and 2 of scratch: fields of all other units, and their ln Z.
    """
    table, row, fields = states.table, states.scratch[t, 0], states.scratch[t, 1]
    for i in range(row.size):
        fields[i] = row[i] + table.low_fields[s, i]
    return float(table.low_weight[s] + _log_z_of_others(states.sites, table, fields, states.scratch[t, 2]))


class StateSums(NamedTuple):
    """Sums over the states, one of each for each task."""

    states: States
    log_z: float
    mean: Array  # (tasks, n) <a>
    square: Array  # (tasks, n) <a^2 + c>
    ups: Array  # (tasks, units) P(bit)
    downs: Array  # (tasks, units) 1 - P(bit)
    pairs: Array  # (tasks, units, n) <bit a>
    means: Array  # (tasks, states, n) scratch
    shares: Array  # (tasks, low bits, states) scratch
    product: Array  # (tasks, low bits, n) scratch


@block_kernel
def block_moments(t: int, job: StateSums) -> None:
    """Add up what task t has of the sums."""
    states = job.states
    table, row, work, p = states.table, states.scratch[t, 0], states.scratch[t, 2], states.logs[t]
    means, shares, product = job.means[t], job.shares[t], job.product[t]
    low = table.low_bits.shape[1]
    for block in range(table.tasks[t, 0], table.tasks[t, 1]):
        weight = _row_of_block(table, block, row)
        whole = 0.0
        for s in range(p.size):
            p[s] = np.exp(weight + _log_weight(states, t, s) - job.log_z)
            whole += p[s]
            _add_moments(job, t, s)
            for u in range(low):
                shares[u, s] = p[s] * table.low_bits[s, u]
                job.ups[t, u] += shares[u, s]
                job.downs[t, u] += p[s] - shares[u, s]
        multiply(p, means.reshape(means.size), 1, False, work)
        add(work, job.mean[t])
        multiply(shares.reshape(shares.size), means.reshape(means.size), low, False, product.reshape(product.size))
        for u in range(low):
            add(product[u], job.pairs[t, u])
        for u in range(len(table.high_weight)):
            if (block >> u) & 1:
                job.ups[t, low + u] += whole
                add(work, job.pairs[t, low + u])
            else:
                job.downs[t, low + u] += whole


@scalar
def _add_moments(job: StateSums, t: int, s: int) -> None:
    """Means of all other units in state s of task t, and what they add to the averages of squares."""
    states, a = job.states, job.means[t, s]
    table, fields, var, p = states.table, states.scratch[t, 1], states.scratch[t, 3], states.logs[t, s]
    for layer in range(states.sites.size.size):
        b, z = table.ends[layer], table.ends[layer + 1]
        layer_moments(states.sites, layer, fields[b:z], table.zero[b:z], a[b:z], var[b:z])
    for i in range(a.size):
        job.square[t, i] += p * (a[i] * a[i] + var[i])


class Densities(NamedTuple):
    """Densities of some of the other units."""

    states: States
    log_z: float
    x: Array  # (points,)
    part: int  # the first of the units
    weights: Array  # (points, units) their ln phi
    total: Array  # (tasks, points, units)


@block_kernel
def block_densities(t: int, job: Densities) -> None:
    """Add up what task t has of the densities."""
    states = job.states
    table, row, fields, work = states.table, states.scratch[t, 0], states.scratch[t, 1], states.scratch[t, 2]
    for block in range(table.tasks[t, 0], table.tasks[t, 1]):
        weight = _row_of_block(table, block, row)
        for s in range(states.logs.shape[1]):
            log = weight + _log_weight(states, t, s) - job.log_z
            for q in range(job.x.size):
                for i in range(job.weights.shape[1]):
                    j = job.part + i
                    job.total[t, q, i] += np.exp(log + job.weights[q, i] + fields[j] * job.x[q] - work[j])
