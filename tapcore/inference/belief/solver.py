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

from collections.abc import Callable
from queue import SimpleQueue
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tapcore._base.threads import for_each, split, thread_count
from tapcore.inference.belief.kernels import (
    Messages,
    Scratch,
    bethe,
    empty_messages,
    end_sweep,
    marginals,
    pass_messages,
    run_chain,
    sum_messages,
)
from tapcore.inference.progress import ACTIVE, CONVERGED, FAILED, Progress, Rule, begin, empty_progress
from tapcore.inference.records import Starts
from tapcore.inference.solution import Solutions, empty_solutions
from tapcore.machine import Machine
from tapcore.units.sites import LOG_Z, MOMENTS, sites_of

Array = NDArray[Any]
Pair = tuple[Messages, Messages]


class RelaxedBP:
    """What all chains of a machine share."""

    def __init__(self, machine: Machine) -> None:
        if len(machine.layers) != 2:
            raise ValueError(f"method 'rbp' is for machines of two layers, got {len(machine.layers)}: use 'tap'")
        self.machine = machine = machine.replace(dtype="float64")
        self.sites = sites_of(machine.layers, MOMENTS, LOG_Z)
        self.W = np.array(machine.weights[0])
        self.WT = self.W.T.copy()

    def each(self, count: int, work: Callable[..., None], memory: Callable[[], tuple[Any, ...]]) -> None:
        """Call ``work(k, *memory)`` for k = 0..count-1, each thread with its own memory to write to."""
        free: SimpleQueue[tuple[Any, ...]] = SimpleQueue()
        for _ in range(min(thread_count(), count)):
            free.put(memory())

        def task(k: int) -> None:
            mine = free.get()
            try:
                work(k, *mine)
            finally:
                free.put(mine)

        for_each(task, count)

    def begin(self, to: Pair, starts: Starts, k: int) -> bool:
        """Messages to the hidden layer are means and variances of visible units; whether only means are known."""
        for x in (*to[0], *to[1]):
            x[...] = 0
        to[0].a[:], to[1].mean[:] = starts.mean[0][k], starts.mean[0][k]
        if not starts.var:
            return True
        to[0].c[:], to[1].var[:] = starts.var[0][k], starts.var[0][k]
        to[0].mean[:], to[0].var[:] = starts.mean[1][k], starts.var[1][k]
        to[1].a[:], to[1].c[:] = starts.mean[1][k], starts.var[1][k]
        return False

    def recall(self, to: Pair, scratch: Scratch, chains: Any, k: int) -> None:
        """Messages to both layers from means, variances, fields and precisions of their units."""
        for layer in range(2):
            # Nothing is left of the chain before: its NaN would outlive even a share of 0.
            to[layer].mean[:], to[layer].var[:] = 0, 0
            to[layer].a[:], to[layer].c[:] = chains.mean[layer][k], chains.var[layer][k]
            to[layer].B[:], to[layer].A[:] = chains.B[layer][k], chains.A[layer][k]
        to[0].mean[:], to[0].var[:] = chains.mean[1][k], chains.var[1][k]
        pass_messages(self.sites, 0, self.WT, to[0], to[1], 0.0, scratch, 0, len(self.WT))
        pass_messages(self.sites, 1, self.W, to[1], to[0], 0.0, scratch, 0, len(self.W))

    def run(self, k: int, to: Pair, scratch: Scratch, progress: Progress, rule: Rule, sweeps: int, cold: bool) -> None:
        """Sweep a chain until it stops, at most so many times."""
        run_chain(k, self.sites, self.W, self.WT, to, scratch, progress, rule, sweeps, cold)

    def log_z(self, to: Pair, scratch: Scratch) -> float:
        """Bethe ln Z of a chain."""
        return float(bethe(self.sites, self.W, self.WT, to, scratch))


class SharedRelaxedBP(RelaxedBP):
    """The same, to the bit, one chain at a time, whose receiving units are dealt to threads in blocks."""

    def each(self, count: int, work: Callable[..., None], memory: Callable[[], tuple[Any, ...]]) -> None:
        """Call ``work(k, *memory)`` for k = 0..count-1, in turn."""
        mine = memory()
        for k in range(count):
            work(k, *mine)

    def run(self, k: int, to: Pair, scratch: Scratch, progress: Progress, rule: Rule, sweeps: int, cold: bool) -> None:
        """Sweep a chain until it stops, at most so many times."""
        each = [scratch, *(empty_messages((0, max(self.W.shape)))[1] for _ in range(thread_count() - 1))]
        for sweep in range(sweeps):
            damping = float(progress.damping[k])
            top, square = self._half(1, to, each, 0.0 if cold and sweep == 0 else damping)
            other_top, other_square = self._half(0, to, each, damping)
            end_sweep(k, float(np.max([top, other_top])), square + other_square, sum(self.W.shape), progress, rule)
            if progress.status[k] != ACTIVE:
                break
        sum_messages(self.WT, to[1], 0, len(self.WT))
        marginals(self.sites, 1, to[1], scratch)

    def _half(self, layer: int, to: Pair, scratch: list[Scratch], damping: float) -> tuple[float, float]:
        """What a layer sends: the largest change of a message, and the sum of squared changes of its means."""
        own, across = (self.W, self.WT) if layer == 0 else (self.WT, self.W)
        changes = np.zeros(len(scratch))

        def receive(b: int, blocks: NDArray[np.int64]) -> None:
            first, length = blocks[b]
            sum_messages(own, to[layer], first, first + length)

        def send(b: int, blocks: NDArray[np.int64]) -> None:
            first, length = blocks[b]
            changes[b] = pass_messages(
                self.sites, layer, across, to[layer], to[1 - layer], damping, scratch[b], first, first + length
            )

        def deal(work: Callable[..., None], units: int) -> None:
            blocks = split(units, len(scratch), units)
            for_each(lambda b: work(b, blocks), len(blocks))

        deal(receive, len(own))
        square = float(marginals(self.sites, layer, to[layer], scratch[0]))
        deal(send, len(across))
        return float(np.max(changes)), square


def engine_for(machine: Machine, count: int) -> RelaxedBP:
    """What runs so many chains on all threads."""
    return (RelaxedBP if count >= thread_count() else SharedRelaxedBP)(machine)


def solve_relaxed(machine: Machine, starts: Starts, rule: Rule, damping: float) -> Solutions:
    """Run chains until each has stopped."""
    count = len(starts.mean[0])
    engine = engine_for(machine, count)
    found = empty_solutions(machine, count, "rbp")
    progress = empty_progress(count)
    begin(progress, slice(None), np.arange(count), damping)

    def work(k: int, to: Pair, scratch: Scratch) -> None:
        cold = engine.begin(to, starts, k)
        engine.run(k, to, scratch, progress, rule, rule.most, cold)
        lost = progress.status[k] == FAILED
        for layer in range(2):
            for into, made in zip((found.mean, found.var, found.B, found.A), (to[layer].a, to[layer].c, to[layer].B,
                                                                              to[layer].A), strict=True):  # fmt: skip
                into[layer][k] = np.nan if lost else made
        found.free_energy[k] = np.nan if lost else -engine.log_z(to, scratch)

    engine.each(count, work, lambda: empty_messages((engine.W.shape[0], engine.W.shape[1])))
    found.residual[:], found.distance[:] = progress.residual, progress.distance
    found.mse[:], found.sweeps[:] = progress.square / sum(machine.sizes), progress.sweeps
    found.converged[:] = progress.status == CONVERGED
    return found
