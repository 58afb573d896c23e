"""Exact ln Z, moments, marginals and likelihood of small machines, by adding up states.

Given all layers of one parity, the units of the other layers are independent. So the states of every second layer are
enumerated, up to 2^25, and the rest is summed or integrated unit by unit: it may be of any kind and size. States come
in blocks that share their high bits: fields are a row of the block plus a row of a small table, both computed from
scratch, so that nothing drifts. Blocks are dealt to a fixed number of tasks: results do not depend on the threads.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from tapcore._base import checks
from tapcore._base.jit import kernel, scalar
from tapcore._base.threads import for_each_block
from tapcore.evaluation.likelihood import unchecked_log_likelihood
from tapcore.machine import Machine, check_machine
from tapcore.units.sites import LOG_Z, MOMENTS, Sites, layer_log_z, layer_moments, sites_of

Array = NDArray[Any]

# Most units whose states are enumerated.
MOST = 25
# Bits that the states of a block differ in: the table of their fields then stays in a core's cache.
LOW_BITS = 6
TASKS = 64


class Moments(NamedTuple):
    """Exact moments of a machine.

    Attributes
    ----------
    log_z : float
        ln Z of the unnormalised weights.
    mean, var : tuple of (n_l,) arrays, one a layer
        ``<x_i>`` and ``<x_i^2> - <x_i>^2``.
    pair : tuple of (n_l, n_{l+1}) arrays
        ``<x_i x_j>`` of units of neighbouring layers.
    """

    log_z: float
    mean: tuple[Array, ...]
    var: tuple[Array, ...]
    pair: tuple[Array, ...]


def log_z(machine: Machine) -> float:
    """Exact ln Z, in the convention of unnormalised weights.

    Parameters
    ----------
    machine : Machine
        All layers of one parity, as the hidden one or the visible one of an RBM, of at most 25 binary or spin units
        together; the others of any units.

    Returns
    -------
    float
        Computed in float64 whatever the machine's dtype; error some 1e-15 of ``max(1, |ln Z|)``.

    Raises
    ------
    ValueError
        No such layers.
    """
    plan = _Plan(machine)
    return plan.log_z()


def moments(machine: Machine) -> Moments:
    """Exact ln Z, means, variances and pair moments.

    Parameters
    ----------
    machine : Machine
        As for `log_z`, errors too.

    Returns
    -------
    Moments
        Error some 1e-15 of the largest ``<x^2>``.
    """
    plan = _Plan(machine)
    return plan.moments(plan.log_z())


def marginals(machine: Machine, layer: int, x: ArrayLike) -> NDArray[np.float64]:
    """Marginal distributions of all units of a layer.

    Parameters
    ----------
    machine : Machine
        As for `log_z`, errors too.
    layer : int
    x : (m,) array_like
        Where.

    Returns
    -------
    (m, n_layer) float64 array
        Probabilities of the states of binary and spin units, and of the atom of spike-slab units at 0; densities
        elsewhere. 0 outside the support.

    Raises
    ------
    ValueError
        No such layer, or `x` not one-dimensional and finite.
    """
    plan = _Plan(machine)
    layer = checks.integer("layer", layer, minimum=0)
    if layer >= len(machine.layers):
        raise ValueError(f"layer must be below {len(machine.layers)}, got {layer}")
    points = checks.rounded(checks.real_array("x", x), machine.dtype).astype(np.float64)
    if points.ndim != 1:
        raise ValueError(f"x must have one dimension, got shape {points.shape}")
    checks.finite("x", points)
    return plan.marginals(layer, points)


def log_likelihood(machine: Machine, X: ArrayLike) -> NDArray[np.float64]:
    """Exact ln P(x) of samples of an RBM.

    Parameters
    ----------
    machine : Machine
        Of two layers, as for `log_z`, errors too.
    X : (n, n_visible) array_like
        Samples in the visible layer's support.

    Returns
    -------
    (n,) float64 array
        In nats.

    Raises
    ------
    ValueError
        Samples of the wrong width, empty or outside the support.
    """
    check_machine(machine, layers=2)
    samples = checks.matrix("X", X, machine.layers[0].n, rows="samples")
    machine.layers[0].check_data("X", samples)
    return unchecked_log_likelihood(machine, samples, -log_z(machine))


class _Table(NamedTuple):
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


class _Plan:
    """A machine laid out for enumeration."""

    def __init__(self, machine: Machine) -> None:
        check_machine(machine)
        self.machine = machine = machine.replace(dtype="float64")
        self.listed = _listed(machine)
        self.others = [i for i in range(len(machine.layers)) if i not in self.listed]
        layers = [machine.layers[i] for i in self.listed]
        self.first = np.concatenate([np.full(layer.n, layer.states[0]) for layer in layers])  # type: ignore[index]
        self.gap = np.concatenate([np.full(layer.n, layer.states[1]) for layer in layers]) - self.first  # type: ignore[index]
        self.sites = sites_of([machine.layers[i] for i in self.others], LOG_Z, MOMENTS)
        sizes = [machine.layers[i].n for i in self.others]
        self.ends = np.concatenate([[0], np.cumsum(sizes)])
        self.table = self._tabulate()
        self.scratch = np.empty((len(self.table.tasks), 4, self.ends[-1]))
        self.logs = np.empty((len(self.table.tasks), len(self.table.low_weight)))

    def _tabulate(self) -> _Table:
        W = np.block([[self._between(i, j) for j in self.others] for i in self.listed])
        layers = [self.machine.layers[i] for i in self.listed]
        weights = np.concatenate([layer.log_weight(np.repeat([layer.states], layer.n, 0).T) for layer in layers], 1)
        step, change = self.gap[:, None] * W, weights[1] - weights[0]
        low = min(LOW_BITS, len(step))
        bits = (np.arange(1 << low)[:, None] >> np.arange(low) & 1).astype(np.float64)
        blocks = 1 << (len(step) - low)
        edges = [blocks * t // min(TASKS, blocks) for t in range(min(TASKS, blocks) + 1)]
        return _Table(
            bits @ step[:low], bits @ change[:low], bits, step[low:].copy(), change[low:].copy(), self.first @ W,
            float(weights[0].sum()), self.ends, np.zeros(self.ends[-1]), np.array([edges[:-1], edges[1:]]).T.copy(),
        )  # fmt: skip

    def _between(self, i: int, j: int) -> Array:
        if abs(i - j) == 1:
            W = self.machine.weights[min(i, j)]
            return np.asarray(W if i < j else W.T)
        return np.zeros((self.machine.layers[i].n, self.machine.layers[j].n))

    def log_z(self) -> float:
        blocks = int(self.table.tasks[-1, 1])
        top, total = np.empty(blocks), np.empty(blocks)
        for_each_block(_block_sums, len(self.table.tasks), self.sites, self.table, self.scratch, self.logs, top, total)
        most = float(top.max())
        return most + math.log(math.fsum(total * np.exp(top - most)))

    def moments(self, log_z: float) -> Moments:
        table, tasks, n, units = self.table, len(self.table.tasks), int(self.ends[-1]), len(self.gap)
        mean, square, ups = np.zeros((tasks, n)), np.zeros((tasks, n)), np.zeros((tasks, units))
        downs, pairs = np.zeros((tasks, units)), np.zeros((tasks, units, n))
        states, low = table.low_bits.shape
        work = np.empty((tasks, states, n)), np.empty((tasks, low, states)), np.empty((tasks, low, n))
        for_each_block(
            _block_moments, tasks, self.sites, table, self.scratch, self.logs, log_z, mean, square, ups, downs, pairs,
            *work,
        )  # fmt: skip
        a, q, up, down, pair = (x.sum(axis=0) for x in (mean, square, ups, downs, pairs))
        x = self.first + self.gap * up
        across = self.first[:, None] * a + self.gap[:, None] * pair
        means = self._by_layer(x, a)
        variances = self._by_layer(self.gap**2 * up * down, np.maximum(q - a * a, 0.0))
        return Moments(log_z, means, variances, self._pairs(across))

    def _by_layer(self, listed: Array, others: Array) -> tuple[Array, ...]:
        """One array a layer, from those of all enumerated units and of all others."""
        made: dict[int, Array] = {}
        for which, values in ((self.listed, listed), (self.others, others)):
            sizes = [self.machine.layers[i].n for i in which]
            made |= dict(zip(which, np.split(values, np.cumsum(sizes)[:-1], axis=-1), strict=True))
        return tuple(np.array(made[i]) for i in range(len(made)))

    def _pairs(self, across: Array) -> tuple[Array, ...]:
        starts = {i: s for s, i in zip(self._starts(self.listed), self.listed, strict=True)}
        starts |= {i: s for s, i in zip(self._starts(self.others), self.others, strict=True)}
        made = []
        for lower in range(len(self.machine.layers) - 1):
            i, j = (lower, lower + 1) if lower in self.listed else (lower + 1, lower)
            rows = slice(starts[i], starts[i] + self.machine.layers[i].n)
            block = across[rows, starts[j] : starts[j] + self.machine.layers[j].n]
            made.append(np.array(block if i == lower else block.T))
        return tuple(made)

    def _starts(self, which: list[int]) -> list[int]:
        sizes = [self.machine.layers[i].n for i in which]
        return [sum(sizes[:k]) for k in range(len(sizes))]

    def marginals(self, layer: int, x: Array) -> NDArray[np.float64]:
        log_z, unit = self.log_z(), self.machine.layers[layer]
        if unit.states is not None and layer in self.listed:
            mean = self.moments(log_z).mean[layer]
            share = (mean - unit.states[0]) / (unit.states[1] - unit.states[0])
            at = [x[:, None] == state for state in unit.states]
            return np.where(at[1], share, np.where(at[0], 1 - share, 0.0))
        tasks = len(self.table.tasks)
        part = self._starts(self.others)[self.others.index(layer)]
        weights = unit.log_weight(np.repeat(x[:, None], unit.n, 1))
        found = np.zeros((tasks, len(x), unit.n))
        for_each_block(
            _block_densities, tasks, self.sites, self.table, self.scratch, self.logs, log_z, x, part, weights, found
        )
        return np.asarray(found.sum(axis=0))


def _listed(machine: Machine) -> list[int]:
    """Layers to enumerate: those of one parity, the one with fewer units if both can be."""
    sizes = []
    for parity in (0, 1):
        layers = machine.layers[parity::2]
        if all(layer.states is not None for layer in layers):
            sizes.append((sum(layer.n for layer in layers), parity))
    if not sizes:
        raise ValueError("machine must have binary or spin units in every second layer for its states to be added up")
    units, parity = min(sizes)
    if units > MOST:
        raise ValueError(f"machine must have at most {MOST} units whose states are added up, got {units}")
    return list(range(parity, len(machine.layers), 2))


@scalar
def _row_of_block(table: _Table, block: int, row: Array) -> float:
    """Write fields of the high bits of a block, and return their ln phi."""
    weight = table.weight
    row[:] = table.fields
    for u in range(len(table.high_weight)):
        if (block >> u) & 1:
            weight += table.high_weight[u]
            for i in range(row.size):
                row[i] += table.high_fields[u, i]
    return weight


@scalar
def _log_z_of_others(sites: Sites, table: _Table, fields: Array, log_z: Array) -> float:
    """Sum of ln Z of all other units in their fields."""
    for layer in range(sites.size.size):
        a, z = table.ends[layer], table.ends[layer + 1]
        layer_log_z(sites, layer, fields[a:z], table.zero[a:z], log_z[a:z])
    total = 0.0
    for i in range(log_z.size):
        total += log_z[i]
    return total


@kernel()
def _block_sums(t: int, sites: Sites, table: _Table, scratch: Array, logs: Array, top: Array, total: Array) -> None:
    """Largest ln weight of each block of task t, and the sum of its weights relative to that."""
    row, fields, work, log = scratch[t, 0], scratch[t, 1], scratch[t, 2], logs[t]
    for block in range(table.tasks[t, 0], table.tasks[t, 1]):
        weight = _row_of_block(table, block, row)
        most = -np.inf
        for s in range(log.size):
            for i in range(row.size):
                fields[i] = row[i] + table.low_fields[s, i]
            log[s] = weight + table.low_weight[s] + _log_z_of_others(sites, table, fields, work)
            most = max(most, log[s])
        top[block], total[block] = most, 0.0
        for s in range(log.size):
            total[block] += np.exp(log[s] - most)


@kernel()
def _block_moments(
    t: int, sites: Sites, table: _Table, scratch: Array, logs: Array, log_z: float, mean: Array, square: Array,
    ups: Array, downs: Array, pairs: Array, means: Array, shares: Array, product: Array,
) -> None:  # fmt: skip
    """Add up what task t has of <a>, <a^2 + c>, P(bit), 1 - P(bit) and <bit a>."""
    row, fields, work, var, p = scratch[t, 0], scratch[t, 1], scratch[t, 2], scratch[t, 3], logs[t]
    low = table.low_bits.shape[1]
    for block in range(table.tasks[t, 0], table.tasks[t, 1]):
        weight = _row_of_block(table, block, row)
        whole = 0.0
        for s in range(p.size):
            for i in range(row.size):
                fields[i] = row[i] + table.low_fields[s, i]
            log = weight + table.low_weight[s] + _log_z_of_others(sites, table, fields, work)
            p[s] = np.exp(log - log_z)
            whole += p[s]
            a = means[t, s]
            for layer in range(sites.size.size):
                b, z = table.ends[layer], table.ends[layer + 1]
                layer_moments(sites, layer, fields[b:z], table.zero[b:z], a[b:z], var[b:z])
            for i in range(a.size):
                square[t, i] += p[s] * (a[i] * a[i] + var[i])
            for u in range(low):
                shares[t, u, s] = p[s] * table.low_bits[s, u]
                ups[t, u] += shares[t, u, s]
                downs[t, u] += p[s] - shares[t, u, s]
        np.dot(p, means[t], work)
        mean[t] += work
        np.dot(shares[t], means[t], product[t])
        pairs[t, :low] += product[t]
        for u in range(len(table.high_weight)):
            if (block >> u) & 1:
                ups[t, low + u] += whole
                pairs[t, low + u] += work
            else:
                downs[t, low + u] += whole


@kernel()
def _block_densities(
    t: int, sites: Sites, table: _Table, scratch: Array, logs: Array, log_z: float, x: Array, part: int, weights: Array,
    found: Array,
) -> None:  # fmt: skip
    """Add up what task t has of the densities at `x` of units from `part` on, with ln phi in `weights`."""
    row, fields, work = scratch[t, 0], scratch[t, 1], scratch[t, 2]
    for block in range(table.tasks[t, 0], table.tasks[t, 1]):
        weight = _row_of_block(table, block, row)
        for s in range(logs.shape[1]):
            for i in range(row.size):
                fields[i] = row[i] + table.low_fields[s, i]
            log = weight + table.low_weight[s] + _log_z_of_others(sites, table, fields, work) - log_z
            for q in range(x.size):
                for i in range(weights.shape[1]):
                    j = part + i
                    found[t, q, i] += np.exp(log + weights[q, i] + fields[j] * x[q] - work[j])
