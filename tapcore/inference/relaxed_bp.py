"""Relaxed belief propagation on an RBM (App. B): messages between all pairs of units of the two layers.

``B_{u -> w} = B_u - W a_{w -> u}`` and ``A_{u -> w} = A_u + W^2 c_{w -> u}``, the full sums less one term, so that a
sweep takes O(n_visible n_hidden). A chain's messages take 32 bytes a pair of units: each thread runs one chain at a
time, from its start to its end, while they stay in its cache. All is in float64.
"""

from __future__ import annotations

from collections.abc import Callable
from queue import SimpleQueue
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tapcore._threads import for_each_block, thread_count
from tapcore.inference.chains import Starts
from tapcore.inference.messages import Messages, Scratch, bethe, empty_messages, pass_messages, run_chain
from tapcore.inference.progress import CONVERGED, FAILED, Progress, Rule, begin, empty_progress
from tapcore.inference.solution import Solutions, empty_solutions
from tapcore.machine import Machine

Array = NDArray[Any]
Pair = tuple[Messages, Messages]


class RelaxedBP:
    """What all chains of a machine share."""

    def __init__(self, machine: Machine) -> None:
        if len(machine.layers) != 2:
            raise ValueError(f"method 'rbp' is for machines of two layers, got {len(machine.layers)}: use 'tap'")
        self.machine = machine = machine.replace(dtype="float64")
        self.sites = tuple(layer.site() for layer in machine.layers)
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

        for_each_block(task, count)

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

    def recall(self, to: Pair, scratch: Scratch, marginals: Any, k: int) -> None:
        """Messages to both layers from means, variances, fields and precisions of their units."""
        for layer in range(2):
            # Nothing is left of the chain before: its NaN would outlive even a share of 0.
            to[layer].mean[:], to[layer].var[:] = 0, 0
            to[layer].a[:], to[layer].c[:] = marginals.mean[layer][k], marginals.var[layer][k]
            to[layer].B[:], to[layer].A[:] = marginals.B[layer][k], marginals.A[layer][k]
        to[0].mean[:], to[0].var[:] = marginals.mean[1][k], marginals.var[1][k]
        pass_messages(self.sites[0], self.WT, to[0], to[1], 0.0, scratch)
        pass_messages(self.sites[1], self.W, to[1], to[0], 0.0, scratch)

    def run(self, k: int, to: Pair, scratch: Scratch, progress: Progress, rule: Rule, sweeps: int, cold: bool) -> None:
        """Sweep a chain until it stops, at most so many times."""
        run_chain(k, self.sites, self.W, self.WT, to, scratch, progress, rule, sweeps, cold)

    def log_z(self, to: Pair, scratch: Scratch) -> float:
        """Bethe ln Z of a chain."""
        return float(bethe(self.sites, self.W, self.WT, to, scratch))


def solve_relaxed(machine: Machine, starts: Starts, rule: Rule, damping: float) -> Solutions:
    """Run chains until each has stopped."""
    engine = RelaxedBP(machine)
    count = len(starts.mean[0])
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
