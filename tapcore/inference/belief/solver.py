"""Relaxed belief propagation on an RBM (App. B): messages between all pairs of units of the two layers.

``B_{u -> w} = B_u - W a_{w -> u}`` and ``A_{u -> w} = A_u + W^2 c_{w -> u}``, the full sums less one term, so that a
sweep takes O(n_visible n_hidden). A chain's messages take 32 bytes a pair of units: each thread runs one chain at a
time, from its start to its end, while they stay in its cache; threads that are more than the chains share each one,
by blocks of receiving units. All is in float64.

A message takes its sender to be Gaussian within the field of one unit, which it is not; how much that misses depends on
where its values lie. So the same law has one ln Z with units in {0, 1} and another with units in {-1, 1}: 13.88 and
12.38 nats for one of 4 x 3 units with weights of standard deviation 2 in {0, 1}, whose exact ln Z is 12.07 and whose
TAP ln Z is 12.06 either way.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from tapcore._base.blocks import BlockKernel, Job, no_calls
from tapcore._base.threads import split, thread_count
from tapcore.inference.belief.kernels import (
    BEGIN,
    END,
    RUN,
    TILE,
    Chains,
    Deal,
    Half,
    Kept,
    Messages,
    Solving,
    begin_solving,
    end_solving,
    end_sweep,
    receive,
    run_chain,
    run_groups,
    send,
    settle,
)
from tapcore.inference.progress import ACTIVE, Rule, begin, empty_progress
from tapcore.inference.records import Starts, stopped_chains
from tapcore.inference.solution import Solutions, empty_solutions, record
from tapcore.machine import Machine
from tapcore.units.sites import LOG_Z, MOMENTS, sites_of

Array = NDArray[Any]


class RelaxedBP:
    """Chains of a machine, dealt to threads in groups; or, if they are fewer than threads, run by all of these in turn.

    It comes to the same, to the bit.

    Parameters
    ----------
    groups : (groups, 2) array
        First chain and number of chains of each: a thread runs them in order.
    """

    def __init__(self, machine: Machine, groups: NDArray[np.int64], rule: Rule, damping: float) -> None:
        machine = machine.replace(dtype="float64")
        n, m = machine.sizes
        count, threads = int(groups[:, 1].sum()), thread_count()
        self.shared = count < threads
        self.workers = 1 if self.shared else min(threads, len(groups))
        scratch, most = threads if self.shared else self.workers, max(n, m)
        W = np.array(machine.weights[0])
        self.chains = Chains(
            sites_of(machine.layers, MOMENTS, LOG_Z), W, W.T.copy(), self._messages(n, m), self._messages(m, n),
            columns=np.zeros((scratch, 2, TILE, most)), rows=np.zeros((scratch, 7, most)),
            progress=empty_progress(count), rule=rule, chain=np.zeros(self.workers, np.int64),
            cold=np.zeros(self.workers, np.bool_),
        )  # fmt: skip
        begin(self.chains.progress, slice(None), np.arange(count), damping)
        self.deal = Deal(groups, np.zeros(1, np.int64), np.zeros(self.workers, np.int64))

    def _messages(self, n: int, other: int) -> Messages:
        pairs, units = (self.workers, n, other), (self.workers, n)
        return Messages(np.zeros(pairs), np.zeros(pairs), *(np.zeros(units) for _ in range(4)))

    def run(self, values: Any, first: BlockKernel, last: BlockKernel) -> None:
        """Run each chain until it stops, between two kernels that are called with its worker and a job.

        The job, `values`, has fields ``chains``, ``deal`` and ``calls``, for three.
        """
        job = Job(values)
        if self.shared:
            self._run_shared(job, first, last)
            return
        job.link(BEGIN, first)
        job.link(RUN, run_chain, "chains")
        job.link(END, last)
        self.deal.taken[0] = 0
        job.run(run_groups, self.workers)

    def _run_shared(self, job: Job, first: BlockKernel, last: BlockKernel) -> None:
        workers, sizes = len(self.chains.rows), self.chains.W.shape
        blocks = [split(n, workers, n) for n in sizes]
        changes, square = np.zeros((2, workers)), np.zeros(2)
        halves = [
            Job(Half(self.chains, layer, blocks[layer], blocks[1 - layer], changes, square)) for layer in range(2)
        ]
        for g, (begins, count) in enumerate(self.deal.groups):
            self.deal.group[0] = g
            for k in range(begins, begins + count):
                self.chains.chain[0] = k
                job.run_here(first)
                while self.chains.progress.status[k] == ACTIVE:
                    for layer in (1, 0):
                        halves[layer].run(receive, len(blocks[layer]))
                        halves[layer].run_here(settle)
                        halves[layer].run(send, len(blocks[1 - layer]))
                    halves[0].run_here(end_sweep)
                halves[1].run(receive, len(blocks[1]))
                halves[1].run_here(settle)
                job.run_here(last)


def _wide(x: Array) -> Array:
    """The array itself if it is float64, or else another one: memory that nobody has written holds no numbers."""
    return x if x.dtype == np.float64 else np.zeros(x.shape)


def solve_relaxed(machine: Machine, starts: Starts, method: str, rule: Rule, damping: float) -> Solutions:
    """Run chains until each has stopped."""
    count = len(starts.mean[0])
    each = np.stack([np.arange(count), np.ones(count, np.int64)], axis=1)
    engine = RelaxedBP(machine, each, rule, damping)
    solutions = empty_solutions(machine, count, method)
    names = Kept._fields
    kept = [Kept(*(_wide(getattr(solutions, name)[layer]) for name in names)) for layer in range(2)]
    for layer in range(2 if starts.var else 1):
        kept[layer].mean[:] = starts.mean[layer]
        if starts.var:
            kept[layer].var[:] = starts.var[layer]
    job = Solving(engine.chains, engine.deal, kept[0], kept[1], not starts.var, solutions.free_energy, no_calls(3))
    engine.run(job, begin_solving, end_solving)
    for layer in range(2):
        for name, x in zip(names, kept[layer], strict=True):
            if x is not getattr(solutions, name)[layer]:
                getattr(solutions, name)[layer][:] = x
    record(solutions, stopped_chains(engine.chains.progress, slice(None), sum(machine.sizes)))
    return solutions
