"""Adaptive TAP by vector approximate message passing (App. D, corrected).

Two sides exchange fields and precisions until they agree. Each unit on its own, in fields (B, A), has mean a and
variance c; the Gaussian model with the machine's couplings J and diagonal ``D = 1/c - A`` has covariance
``C = (D - J)^-1``. New fields are what makes the variances C_ii, and the means, those of the Gaussian. (A, B) play the
part that they play in TAP, where ``A = -sum W^2 c`` instead.

J couples layers of one parity to those of the other, so C follows from a matrix of the smaller parity's size: with
``r = 1/D = c/(1 - A c)`` and N the narrow, W the wide side, ``S = 1 - sqrt(r_N) W^T r_W W sqrt(r_N)``. Everything is
written in r and in ``t = r (a/c - B) = (a - c B)/(1 - A c)``, which stay finite where c vanishes. All is in float64.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from tapcore._base.blas import blas
from tapcore._base.blocks import Job, no_calls
from tapcore._base.threads import split, thread_count
from tapcore.inference.adaptive.kernels import (
    Covariances,
    Layout,
    Scratch,
    Side,
    State,
    Sweeps,
    covariances,
    energies,
    solve_gaussians,
    sweep_block,
)
from tapcore.inference.averages import wide_rows
from tapcore.inference.progress import ACTIVE, FAILED, Rule, begin, empty_progress
from tapcore.inference.records import Starts, Stopped, stopped_chains
from tapcore.inference.solution import Solutions, empty_solutions, record
from tapcore.machine import Machine
from tapcore.units.sites import LOG_Z, MOMENTS, sites_of

Array = NDArray[Any]

# Chains at a time.
AT_ONCE = 128
# Between rounds of so many sweeps chains that have stopped are taken out, and the others dealt anew to threads.
ROUND = 16


def plan(machine: Machine) -> tuple[Layout, Array]:
    """Layout of a machine, and the couplings of the wide side (rows) with the narrow one."""
    sizes = machine.sizes
    totals = [sum(sizes[parity::2]) for parity in (0, 1)]
    wide = 0 if totals[0] >= totals[1] else 1
    starts, ends = np.zeros(len(sizes), np.int64), np.zeros(len(sizes), np.int64)
    for parity in (0, 1):
        at = np.cumsum([0, *sizes[parity::2]])
        starts[parity::2], ends[parity::2] = at[:-1], at[1:]
    J = np.zeros((totals[wide], totals[1 - wide]))
    for i, W in enumerate(machine.weights):
        upper = i % 2 == wide
        rows, columns = (i, i + 1) if upper else (i + 1, i)
        J[starts[rows] : ends[rows], starts[columns] : ends[columns]] = W if upper else W.T
    side = np.array([0 if i % 2 == wide else 1 for i in range(len(sizes))], np.int64)
    return Layout(side, starts, ends), J


class AdaptiveTap:
    """Chains of adaptive TAP, some hundred at a time."""

    def __init__(self, machine: Machine, count: int) -> None:
        machine = machine.replace(dtype="float64")
        layout, J = plan(machine)
        self.count, self.threads = count, thread_count()
        wide, narrow = J.shape
        blocks = len(split(count, self.threads))
        self.sides = _empty_side(count, wide), _empty_side(count, narrow)
        self.progress = empty_progress(count)
        scratch = Scratch(
            X=np.zeros((blocks, wide, narrow)), S=np.zeros((blocks, narrow, narrow)),
            Y=np.zeros((blocks, narrow, wide + narrow)), z=np.zeros((blocks, narrow)), log_z=np.zeros((blocks, wide)),
            integers=np.zeros((blocks, 5), np.int32),
        )  # fmt: skip
        self.state = State(
            sites_of(machine.layers, MOMENTS, LOG_Z), layout, J, J.T.copy(), J * J,
            wide=self.sides[0], narrow=self.sides[1],
            log_det=np.zeros(count), definite=np.zeros(count, np.bool_), retries=np.zeros(count, np.int64),
            free_energy=np.zeros(count), progress=self.progress,
            blocks=np.zeros((blocks, 2), np.int64), scratch=scratch, blas=blas(),
        )  # fmt: skip
        self.job = Job(self.state)
        self._sweeps: Job | None = None

    def put(self, B: tuple[Array, ...], A: tuple[Array, ...], chains: NDArray[np.int64], damping: float) -> None:
        """Start all chains from fields and precisions, (K, n_l) arrays, one a layer."""
        for layer, (b, a) in enumerate(zip(B, A, strict=True)):
            side = self.sides[self.state.layout.side[layer]]
            columns = slice(self.state.layout.start[layer], self.state.layout.end[layer])
            side.B[:, columns], side.A[:, columns] = b, a
        self.state.retries[:] = 0
        begin(self.progress, slice(None), chains, damping)

    def sweep(self, active: int, rule: Rule, sweeps: int = 1) -> None:
        """Sweep the first `active` chains so many times, each until it stops."""
        if self._sweeps is None or self._sweeps.values.rule != rule:
            self._sweeps = Job(Sweeps(self.state, rule, np.zeros(1, np.int64), no_calls(1)))
            self._sweeps.link(0, solve_gaussians, "state")
        self._sweeps.values.most[0] = sweeps
        self._sweeps.run(sweep_block, self._deal(active))

    def _deal(self, active: int) -> int:
        """Deal the first `active` chains to blocks; how many."""
        dealt = split(active, self.threads)
        self.state.blocks[: len(dealt)] = dealt
        return len(dealt)

    def layers(self, name: str) -> tuple[Array, ...]:
        """What the sides hold, one (K, n_l) view a layer."""
        return tuple(
            getattr(self.sides[side], name)[:, start:end] for side, start, end in zip(*self.state.layout, strict=True)
        )

    def stopped(self, rows: NDArray[np.int64]) -> Stopped:
        """What is known of chains that have stopped: fields and precisions, NaN where a chain is lost."""
        units = sum(side.a.shape[1] for side in self.sides)
        stopped = stopped_chains(self.progress, rows, units, B=self.layers("B"), A=self.layers("A"))
        for x in (*stopped.B, *stopped.A):
            x[self.progress.status[rows] == FAILED] = np.nan
        return stopped

    def keep(self, which: NDArray[np.int64]) -> None:
        """Move the chains `which` to the front."""
        n = len(which)
        state = self.state
        for x in (*self.sides[0], *self.sides[1], state.log_det, state.definite, state.retries, *self.progress):
            x[:n] = x[which]

    def free_energies(self) -> NDArray[np.float64]:
        """Free energies of all chains from their fields, NaN of those that are lost; moments are made anew."""
        blocks = self._deal(self.count)
        self.job.run(solve_gaussians, blocks)
        self.job.run(energies, blocks)
        state = self.state
        return np.where(state.definite & (self.progress.status != FAILED), state.free_energy, np.nan)

    def covariances(self) -> Array:
        """Sum over chains, after `free_energies`, of the Gaussian's covariances of the wide and the narrow side."""
        blocks = len(self.state.blocks)
        total = np.zeros((blocks, *self.state.J.shape))
        Job(Covariances(self.state, total)).run(covariances, blocks)
        return np.asarray(total.sum(axis=0))


def _empty_side(count: int, n: int) -> Side:
    return Side(*(np.zeros((count, n)) for _ in Side._fields))


def solve_adaptive(machine: Machine, starts: Starts, method: str, rule: Rule, damping: float) -> Solutions:
    """Sweep chains from fields and precisions until each has stopped."""
    count = len(starts.B[0])
    found = empty_solutions(machine, count, method)
    for first in range(0, count, AT_ONCE):
        rows = np.arange(first, min(first + AT_ONCE, count))
        engine = AdaptiveTap(machine, len(rows))
        engine.put(tuple(x[rows] for x in starts.B), tuple(x[rows] for x in starts.A), rows, damping)
        active = len(rows)
        while active:
            engine.sweep(active, rule, ROUND)
            stopped = np.flatnonzero(engine.progress.status[:active] != ACTIVE)
            if len(stopped):
                record(found, engine.stopped(stopped))
                engine.keep(np.flatnonzero(engine.progress.status[:active] == ACTIVE))
                active -= len(stopped)
        engine.put(tuple(x[rows] for x in found.B), tuple(x[rows] for x in found.A), rows, 0.0)
        found.free_energy[rows] = engine.free_energies()
        for name, into in (("a", found.mean), ("c", found.var)):
            for x, made in zip(into, engine.layers(name), strict=True):
                x[rows] = made
    return found


def mean_covariance(machine: Machine, fields: tuple[Array, ...], precisions: tuple[Array, ...]) -> Array:
    """Average over chains of the Gaussian's covariances of the two layers of an RBM, (n_0, n_1).

    With the product of the means it is the average of ``x_i x_j``, the derivative of -F with respect to W.
    """
    total = np.zeros(machine.sizes)
    for first in range(0, len(fields[0]), AT_ONCE):
        part = slice(first, first + AT_ONCE)
        engine = AdaptiveTap(machine, len(fields[0][part]))
        engine.put(tuple(x[part] for x in fields), tuple(x[part] for x in precisions), np.arange(engine.count), 0.0)
        engine.free_energies()
        made = engine.covariances()
        total += made if engine.state.layout.side[0] == 0 else made.T
    return np.asarray(total / len(fields[0]))


def pairs_of_gaussian(machine: Machine, one: Solutions) -> Array:
    """Averages of ``x_i x_j`` of an RBM at its only solution, (n_0, n_1)."""
    below, above = (x[0] for x in wide_rows(one.mean))
    return np.asarray(np.outer(below, above) + mean_covariance(machine, wide_rows(one.B), wide_rows(one.A)))
