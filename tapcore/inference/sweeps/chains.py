"""A pool of chains in memory: starts, sweeps, and streams of any number of starts through it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tapcore._base import footprint
from tapcore._base.blocks import Job, no_calls
from tapcore._base.threads import BLOCK_ROWS, split, thread_count
from tapcore.equations.compiled import Compiled
from tapcore.equations.energy import Swept
from tapcore.equations.fields import link_fields
from tapcore.equations.layers import empty_state, state_bytes
from tapcore.equations.outside import Given, Outside, no_outside, outside_of
from tapcore.inference.progress import ACTIVE, FAILED, PROGRESS_BYTES, Rule, begin, empty_progress
from tapcore.inference.records import Starts, Stopped, stopped_chains
from tapcore.inference.sweeps.acceleration import accelerate, empty_memory, forget
from tapcore.inference.sweeps.energies import ending, sweep_to_energies
from tapcore.inference.sweeps.kernels import (
    ACCELERATE,
    ACTIVE_ROWS,
    LEFT,
    Sweeps,
    answer_block,
    gather_active,
    sweep_block,
)
from tapcore.machine import Machine
from tapcore.units.sites import MOMENTS
from tapcore.units.sites import THIRD as THIRD_CUMULANT

Array = NDArray[Any]

# Between rounds of this many sweeps chains that have stopped make room for others, and the blocks are dealt anew.
ROUND = 16


def chain_bytes(sizes: Sequence[int], dtype: Any, order: int = 2) -> int:
    """What each of `Chains` takes: its state, its start, and what is known of its progress."""
    return state_bytes(sizes, dtype, order) + footprint.per_row(sizes[:1], dtype) + PROGRESS_BYTES


class Chains:
    """State and progress of K chains, kept in place from one run to the next."""

    def __init__(
        self, sizes: Sequence[int], count: int, dtype: Any, *, order: int = 2, accelerated: bool = False
    ) -> None:
        self.count, self.units = count, sum(sizes)
        footprint.check("chains", count, count * chain_bytes(sizes, dtype, order))
        self.threads = thread_count()
        blocks = len(split(count, self.threads))
        self.state = empty_state(sizes, count, blocks, dtype, order)
        self.blocks = np.zeros((blocks, 3), np.int64)
        self.progress = empty_progress(count)
        self.progress.slot[:] = np.arange(count)
        self.nothing = no_outside(tuple(sizes), np.dtype(dtype))
        self.memory = empty_memory(sizes, count if accelerated else 0, dtype)
        self.cold = True
        self._flag = np.zeros(1, np.int64)
        self._job: Job | None = None
        self._ending: Job | None = None

    def start_from_visible(self, X: Array) -> None:
        """Visible means at the rows of `X` (K, n_0), every variance and every other mean zero (Eqs. 36, 37)."""
        self.start(Starts((X,), ()))

    def start(self, starts: Starts) -> None:
        """Every chain from its row of `starts`."""
        self._write(slice(None), starts)
        self.cold = not starts.var

    def run(
        self, machine: Compiled, rule: Rule, sweeps: int, damping: float, given: Given | Outside | None = None
    ) -> None:
        """Sweep every chain `sweeps` times, however close it comes; a lost chain stops."""
        self._begin(slice(None), np.arange(self.count), damping)
        self._sweep(self._job_of(machine, rule._replace(tol=0.0), self._outside(given)), self.count, sweeps)
        self.cold = False
        self._restore_order()

    def answer(self, machine: Compiled, rule: Rule, sweeps: int, damping: float, outside: Outside) -> None:
        """As `run`, for chains whose odd layers have the fields of the rest already, while what acts on them is new.

        They answer it first, without a product; so sweeps begin with even layers, and end with odd ones.
        """
        self._begin(slice(None), np.arange(self.count), damping)
        job = self._job_of(machine, rule._replace(tol=0.0), outside)
        blocks = self._deal(self.count, sweeps)
        job.run(answer_block, len(blocks), brief=machine.brief(self.count * sweeps))
        self.cold = False
        self._restore_order()

    def run_to_energies(self, machine: Compiled, rule: Rule, sweeps: int, damping: float, out: Array) -> None:
        """Sweep every chain as `run` does, and write their free energies to `out` (K,), the same array in each call.

        Of first or second order, of a machine all of whose sites have one column; nothing acts from outside.
        """
        self._begin(slice(None), np.arange(self.count), damping)
        job = self._job_of(machine, rule._replace(tol=0.0), self.nothing)
        if self._ending is None or self._ending.values.sweeps is not job.values:
            state = self.state.flat
            before, blocks = np.zeros_like(state.mean), split(self.count, self.threads)
            self._ending = ending(job.values, Swept(machine, state, before, self.progress.chain, blocks, out))
        blocks = self._deal(self.count, sweeps)
        self._ending.run(sweep_to_energies, len(blocks), brief=machine.brief(self.count * sweeps))
        self.cold = False
        self._restore_order()

    def stream(
        self,
        machine: Compiled,
        rule: Rule,
        starts: Iterable[Starts],
        damping: float,
        stop: Callable[[], bool] = bool,
        given: Given | None = None,
    ) -> Iterator[Stopped]:
        """Sweep chains from each of `starts`, in turn as others stop, and yield them as they do.

        All `starts` are of one kind, either with variances or without. Once `stop()` is true, chains that are still
        active are left.
        """
        queue, job = _Queue(starts), self._job_of(machine, rule, self._outside(given))
        active = 0
        while not stop():
            while active < self.count and (more := queue.take(self.count - active)) is not None:
                numbers, first = more
                rows = slice(active, active + len(numbers))
                self._write(rows, first)
                self._begin(rows, numbers, damping)
                self.cold = not first.var
                active = rows.stop
            if active == 0:
                return
            self._sweep(job, active, ROUND)
            job.run_here(gather_active, active)
            still = int(self.blocks[0, ACTIVE_ROWS])
            if still < active:
                yield self._copy(slice(still, active))
            active = still

    def lost(self) -> NDArray[np.bool_]:
        """Which chains have left the finite numbers, as where a weight could not be normalised any more."""
        return np.asarray(self.progress.status == FAILED)

    def judge_again(self) -> None:
        """Find out which chains are lost, after the state has been overwritten."""
        rows = [np.isfinite(x).all(axis=1) for x in (*self.state.mean, *self.state.var)]
        self.progress.status[:] = np.where(np.all(rows, axis=0), ACTIVE, FAILED)

    def restart(self, which: NDArray[np.bool_], X: Array) -> None:
        """Start some of the chains anew from visible means, their rows of `X` (K, n_0)."""
        self._write(which, Starts((X[which],), ()))

    def _write(self, rows: Any, starts: Starts) -> None:
        for x in (*self.state.mean, *self.state.var):
            x[rows] = 0
        for x, given in zip(self.state.mean, starts.mean, strict=False):
            x[rows] = given
        for x, given in zip(self.state.var, starts.var, strict=False):
            x[rows] = given

    def _begin(self, rows: slice, chains: NDArray[np.int64], damping: float) -> None:
        begin(self.progress, rows, chains, damping)
        if len(self.memory.known):
            forget(self.memory, self.progress.slot[rows])

    def _outside(self, given: Given | Outside | None) -> Outside:
        if isinstance(given, Outside):
            return given
        return self.nothing if given is None else outside_of(given, self.nothing.values.dtype)

    def _job_of(self, machine: Compiled, rule: Rule, outside: Outside) -> Job:
        """What sweeps of that machine are given: kept, as most calls have the same."""
        if self._job is not None:
            last = self._job.values
            if last.machine is machine and last.outside is outside and last.rule == rule:
                return self._job
        job = Job(
            Sweeps(
                machine, self.state.flat, self.progress, self.memory, rule, outside, self.blocks, self._flag,
                rule.order, no_calls(ACCELERATE + 1),
            )
        )  # fmt: skip
        machine.sites.need(MOMENTS, *((THIRD_CUMULANT,) if rule.order > 2 else ()))
        link_fields(job)
        self._job = job
        return job

    def _sweep(self, job: Job, count: int, sweeps: int) -> None:
        """Sweep the first `count` chains."""
        values: Sweeps = job.values
        blocks = self._deal(count, sweeps)
        brief = values.machine.brief(count * sweeps)
        job.run(sweep_block, len(blocks), brief=brief)
        if values.rule.accelerate and np.any((blocks[:, LEFT] > 0) & (blocks[:, ACTIVE_ROWS] > 0)):
            job.link(ACCELERATE, accelerate)  # which is compiled only where it is wanted
            job.run(sweep_block, len(blocks), brief=brief)

    def _deal(self, count: int, sweeps: int) -> NDArray[np.int64]:
        """Blocks of the first `count` chains, to be swept so many times."""
        dealt = split(count, self.threads)
        blocks = self.blocks[: len(dealt)]
        blocks[:, :2], blocks[:, LEFT] = dealt, sweeps
        self._flag[0] = self.cold
        return blocks

    def _copy(self, rows: slice) -> Stopped:
        return stopped_chains(self.progress, rows, self.units, self.state.mean, self.state.var)

    def _restore_order(self) -> None:
        chain = self.progress.chain
        if (chain[:-1] < chain[1:]).all():
            return
        order = np.argsort(chain)
        state, p = self.state, self.progress
        for x in (*state.mean, *state.var, *state.B, *state.A, *p):
            x[:] = x[order]


class _Queue:
    """Rows of a series of starts, numbered from 0."""

    def __init__(self, starts: Iterable[Starts]) -> None:
        self.rest = iter(starts)
        self.given: Starts | None = None
        self.used = self.number = 0

    def take(self, most: int) -> tuple[NDArray[np.int64], Starts] | None:
        """The next rows, at least one and at most `most`; None when there are no more."""
        while self.given is None or self.used == len(self.given.mean[0]):
            self.given, self.used = next(self.rest, None), 0
            if self.given is None:
                return None
        rows = slice(self.used, min(self.used + most, len(self.given.mean[0])))
        numbers = np.arange(self.number, self.number + rows.stop - rows.start)
        self.used, self.number = rows.stop, int(numbers[-1]) + 1
        return numbers, Starts(tuple(x[rows] for x in self.given.mean), tuple(x[rows] for x in self.given.var))


def pool(machine: Machine, most: int | None, rule: Rule) -> Chains:
    """Chains for a stream of at most `most` starts, if that is known: few enough to stay in the caches."""
    count = BLOCK_ROWS * thread_count()
    count = count if most is None else min(most, count)
    return Chains(machine.sizes, count, machine.dtype, order=rule.order, accelerated=rule.accelerate)
