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
from tapcore._base.blocks import run_blocks
from tapcore.evaluation.enumeration import (
    BlockSums,
    Densities,
    States,
    StateSums,
    Table,
    block_densities,
    block_moments,
    block_sums,
)
from tapcore.evaluation.likelihood import unchecked_log_likelihood
from tapcore.machine import Machine, check_machine
from tapcore.units.sites import LOG_Z, MOMENTS, sites_of

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
    samples = machine.layers[0].samples("X", X)
    return unchecked_log_likelihood(machine, samples, -log_z(machine))


class _Plan:
    """A machine laid out for enumeration."""

    def __init__(self, machine: Machine) -> None:
        check_machine(machine)
        self.machine = machine = machine.replace(dtype="float64")
        self.listed = _listed(machine)
        self.others = [i for i in range(len(machine.layers)) if i not in self.listed]
        layers = [machine.layers[i] for i in self.listed]
        self.first = np.concatenate([np.full(layer.columns, layer.levels[0]) for layer in layers])  # type: ignore[index]
        self.gap = np.concatenate([np.full(layer.columns, layer.levels[1]) for layer in layers]) - self.first  # type: ignore[index]
        self.sites = sites_of([machine.layers[i] for i in self.others], LOG_Z, MOMENTS)
        sizes = [machine.layers[i].columns for i in self.others]
        self.ends = np.concatenate([[0], np.cumsum(sizes)])
        self.table = self._tabulate()
        tasks = len(self.table.tasks)
        scratch, logs = np.empty((tasks, 4, self.ends[-1])), np.empty((tasks, len(self.table.low_weight)))
        self.states = States(self.sites, self.table, scratch, logs)

    def _tabulate(self) -> Table:
        W = np.block([[self._between(i, j) for j in self.others] for i in self.listed])
        layers = [self.machine.layers[i] for i in self.listed]
        weights = np.concatenate(
            [layer.log_weight(np.repeat([layer.levels], layer.columns, 0).T) for layer in layers], 1
        )
        step, change = self.gap[:, None] * W, weights[1] - weights[0]
        low = min(LOW_BITS, len(step))
        bits = (np.arange(1 << low)[:, None] >> np.arange(low) & 1).astype(np.float64)
        blocks = 1 << (len(step) - low)
        edges = [blocks * t // min(TASKS, blocks) for t in range(min(TASKS, blocks) + 1)]
        return Table(
            bits @ step[:low], bits @ change[:low], bits, step[low:].copy(), change[low:].copy(), self.first @ W,
            float(weights[0].sum()), self.ends, np.zeros(self.ends[-1]), np.array([edges[:-1], edges[1:]]).T.copy(),
        )  # fmt: skip

    def _between(self, i: int, j: int) -> Array:
        if abs(i - j) == 1:
            W = self.machine.weights[min(i, j)]
            return np.asarray(W if i < j else W.T)
        return np.zeros((self.machine.layers[i].columns, self.machine.layers[j].columns))

    def log_z(self) -> float:
        blocks = int(self.table.tasks[-1, 1])
        top, total = np.empty(blocks), np.empty(blocks)
        run_blocks(block_sums, len(self.table.tasks), BlockSums(self.states, top, total))
        most = float(top.max())
        return most + math.log(math.fsum(total * np.exp(top - most)))

    def moments(self, log_z: float) -> Moments:
        table, tasks, n, units = self.table, len(self.table.tasks), int(self.ends[-1]), len(self.gap)
        mean, square, ups = np.zeros((tasks, n)), np.zeros((tasks, n)), np.zeros((tasks, units))
        downs, pairs = np.zeros((tasks, units)), np.zeros((tasks, units, n))
        states, low = table.low_bits.shape
        work = np.empty((tasks, states, n)), np.empty((tasks, low, states)), np.empty((tasks, low, n))
        run_blocks(block_moments, tasks, StateSums(self.states, log_z, mean, square, ups, downs, pairs, *work))
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
            sizes = [self.machine.layers[i].columns for i in which]
            made |= dict(zip(which, np.split(values, np.cumsum(sizes)[:-1], axis=-1), strict=True))
        return tuple(np.array(made[i]) for i in range(len(made)))

    def _pairs(self, across: Array) -> tuple[Array, ...]:
        starts = {i: s for s, i in zip(self._starts(self.listed), self.listed, strict=True)}
        starts |= {i: s for s, i in zip(self._starts(self.others), self.others, strict=True)}
        made = []
        for lower in range(len(self.machine.layers) - 1):
            i, j = (lower, lower + 1) if lower in self.listed else (lower + 1, lower)
            rows = slice(starts[i], starts[i] + self.machine.layers[i].columns)
            block = across[rows, starts[j] : starts[j] + self.machine.layers[j].columns]
            made.append(np.array(block if i == lower else block.T))
        return tuple(made)

    def _starts(self, which: list[int]) -> list[int]:
        sizes = [self.machine.layers[i].columns for i in which]
        return [sum(sizes[:k]) for k in range(len(sizes))]

    def marginals(self, layer: int, x: Array) -> NDArray[np.float64]:
        log_z, unit = self.log_z(), self.machine.layers[layer]
        if unit.levels is not None and layer in self.listed:
            mean = self.moments(log_z).mean[layer]
            share = (mean - unit.levels[0]) / (unit.levels[1] - unit.levels[0])
            at = [x[:, None] == state for state in unit.levels]
            return np.where(at[1], share, np.where(at[0], 1 - share, 0.0))
        tasks = len(self.table.tasks)
        part = self._starts(self.others)[self.others.index(layer)]
        weights = unit.log_weight(np.repeat(x[:, None], unit.columns, 1))
        found = np.zeros((tasks, len(x), unit.columns))
        run_blocks(block_densities, tasks, Densities(self.states, log_z, x, part, weights, found))
        return np.asarray(found.sum(axis=0))


def _listed(machine: Machine) -> list[int]:
    """Layers to enumerate: those of one parity, the one with fewer units if both can be."""
    sizes = []
    for parity in (0, 1):
        layers = machine.layers[parity::2]
        if all(layer.levels is not None for layer in layers):
            sizes.append((sum(layer.columns for layer in layers), parity))
    if not sizes:
        raise ValueError("machine must have binary or spin units in every second layer for its states to be added up")
    units, parity = min(sizes)
    if units > MOST:
        raise ValueError(f"machine must have at most {MOST} units whose states are added up, got {units}")
    return list(range(parity, len(machine.layers), 2))
