"""Chains in memory: allocation, starts, and rounds of blocks until all have stopped."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tapcore._threads import for_each_block, split, thread_count
from tapcore.fields import Couplings, empty_state
from tapcore.inference.tap import ACTIVE, CONVERGED, FAILED, Rule, empty_progress, gather_active, sweep_block

Array = NDArray[Any]

# Between rounds of this many sweeps the chains still active are dealt anew to the blocks.
ROUND = 16


class Chains:
    """State and progress of K chains, kept in place from one run to the next."""

    def __init__(self, sizes: Sequence[int], count: int, dtype: Any) -> None:
        self.count = count
        self.threads = thread_count()
        self.state = empty_state(sizes, count, len(split(count, self.threads)), dtype)
        self.progress = empty_progress(count)
        self.cold = True

    def start_from_visible(self, X: Array) -> None:
        """Visible means at the rows of `X` (K, n_0), every variance and every other mean zero (Eqs. 36, 37)."""
        for mean, var in zip(self.state.mean, self.state.var, strict=True):
            mean[:] = 0
            var[:] = 0
        self.state.mean[0][:] = X
        self.cold = True

    def start_from_moments(self, means: Sequence[Array], variances: Sequence[Array]) -> None:
        """Every layer at the given (K, n_l) means and variances."""
        for mean, given in zip(self.state.mean + self.state.var, (*means, *variances), strict=True):
            mean[:] = given
        self.cold = False

    def run(self, sites: Any, couplings: Couplings, rule: Rule, sweeps: int, damping: float) -> None:
        """Sweep until every chain has stopped or taken `sweeps` sweeps; then rows are in the order of the starts."""
        p = self.progress
        p.chain[:] = np.arange(self.count)
        p.past[:] = 0
        p.rate[:] = 0.5  # of a chain that reaches rounding errors before a rate is known
        p.distance[:] = np.inf
        p.damping[:] = damping
        p.best[:] = np.inf
        for q in (p.waited, p.sweeps, p.status):
            q[:] = ACTIVE
        active, done = self.count, 0
        # Without a tolerance no chain stops early and one round does.
        at_once = ROUND if rule.tol > 0 else sweeps
        while active and done < sweeps:
            now = min(at_once, sweeps - done)
            blocks = split(active, self.threads)
            for_each_block(sweep_block, len(blocks), sites, couplings, self.state, p, rule, blocks, now, self.cold)
            self.cold = False
            done += now
            active = gather_active(self.state, p, active)
        self._restore_order()

    def converged(self) -> NDArray[np.bool_]:
        """Which chains met the tolerance."""
        return np.asarray(self.progress.status == CONVERGED)

    def lost(self) -> NDArray[np.bool_]:
        """Which chains have left the finite numbers, as where a weight could not be normalised any more."""
        return np.asarray(self.progress.status == FAILED)

    def judge_again(self) -> None:
        """Find out which chains are lost, after the state has been overwritten."""
        rows = [np.isfinite(x).all(axis=1) for x in (*self.state.mean, *self.state.var)]
        self.progress.status[:] = np.where(np.all(rows, axis=0), ACTIVE, FAILED)

    def restart(self, which: NDArray[np.bool_], X: Array) -> None:
        """Start some of the chains anew from visible means, their rows of `X` (K, n_0)."""
        for mean, var in zip(self.state.mean, self.state.var, strict=True):
            mean[which] = 0
            var[which] = 0
        self.state.mean[0][which] = X[which]

    def _restore_order(self) -> None:
        chain = self.progress.chain
        if (chain[:-1] < chain[1:]).all():
            return
        order = np.argsort(chain)
        state, p = self.state, self.progress
        for x in (*state.mean, *state.var, *state.B, *state.A, *p):
            x[:] = x[order]
