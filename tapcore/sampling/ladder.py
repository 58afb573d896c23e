"""Ladders of chains whose neighbours change places: one law a rung, from independent units to the last machine.

Parallel tempering (Swendsen and Wang, Phys. Rev. Lett. 57, 2607, 1986) along any sequence of laws; pairs of neighbours
of one parity try in one sweep, those of the other in the next, which carries values along a ladder faster than pairs
drawn at random (Okabe et al., Chem. Phys. Lett. 335, 435, 2001).
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from tapcore._base import footprint
from tapcore.machine import Machine
from tapcore.sampling.bennett import Series
from tapcore.sampling.gibbs_chains import GibbsChains, chain_bytes
from tapcore.sampling.laws import Law, LogWeights, Moves

Array = NDArray[Any]

# Exchanges of which u is kept for all pairs, and values of the last rung of which ln of the weight is.
_KEPT, _TRACED = 256, 4096
# What random numbers of exchanges are for.
_EXCHANGES = 4000


class Place:
    """K chains, one of each ladder, and the law that weighs them."""

    def __init__(self, law: Law, chains: GibbsChains) -> None:
        self.law, self.chains = law, chains
        self.weights = LogWeights(law, chains)

    @property
    def even(self) -> tuple[Array, ...]:
        """Values of even layers, (K, n_l) each."""
        return self.chains.state.mean[::2]


class Rung(Place):
    """Chains that are drawn from their law."""

    def __init__(self, law: Law, count: int, seed: int, number: int) -> None:
        super().__init__(law, GibbsChains(law.machine, count))
        self.chains.seed(seed, number)
        self.moves = Moves(law, self.chains)


class Pair:
    """Two neighbours, and the weights of the chains of each by the law of the other."""

    def __init__(self, low: Place, high: Place) -> None:
        self.low, self.high = low, high
        self._low_by_high = LogWeights(high.law, low.chains)
        self._high_by_low = LogWeights(low.law, high.chains)

    def differences(self) -> tuple[Array, Array, Array]:
        """U of the chains of both rungs, and ln of the weights of the upper ones by their own law, (K,) each."""
        u_low = self._low_by_high.find() - self.low.weights.find()
        own = self.high.weights.find()
        return u_low, own - self._high_by_low.find(), own

    def swap(self, which: NDArray[np.int64]) -> None:
        """Let chains of some ladders change places."""
        for a, b in zip(self.low.even, self.high.even, strict=True):
            a[which], b[which] = b[which], a[which]


class Ladder:
    """K ladders of the same rungs.

    Attributes
    ----------
    rungs : list of Rung
        The lowest is of independent units.
    tried : int array (R - 1,)
    accepted : int array (R - 1, K)
        Exchanges of neighbours since `forget`.
    reached : int array (K, R)
        How many times a value that had left rung 0 came back to it, by the highest rung it had been to meanwhile.
    low, high : (Series, Series)
        u of the chains of both rungs of each pair, (pairs, K), of even pairs and of odd ones.
    trace : Series
        Ln of the weights of the last rung's chains, at every second sweep.
    """

    def __init__(self, law: Law, count: int, seed: int) -> None:
        self.count, self.seed = count, seed
        self.rng = np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(_EXCHANGES,)))
        self.rungs: list[Rung] = []
        self._pairs: list[Pair] = []
        self.add(law)

    def add(self, law: Law, rows: NDArray[np.int64] | None = None) -> Rung:
        """Put a rung on top, whose chains begin with the values that these rows of the last one have."""
        check_room(law.machine, self.count, len(self.rungs) + 1)
        rung = Rung(law, self.count, self.seed, len(self.rungs))
        if self.rungs:
            below = self.rungs[-1]
            self._pairs.append(Pair(below, rung))
            for to, x in zip(rung.even, below.even, strict=True):
                to[:] = x if rows is None else x[rows]
        self.rungs.append(rung)
        rung.moves.sweep()
        self.forget()
        return rung

    def drop(self) -> None:
        """Take the uppermost rung away."""
        self.rungs.pop()
        self._pairs.pop()
        self.forget()

    @property
    def acceptance(self) -> NDArray[np.float64]:
        """Share of the exchanges of neighbours that took place, (R - 1,); NaN where none has been tried."""
        return np.where(self.tried > 0, self.accepted.mean(axis=1) / np.maximum(self.tried, 1), np.nan)

    def forget(self) -> None:
        """Count and keep from now on."""
        K, R = self.count, len(self.rungs)
        self.tried, self.accepted = np.zeros(R - 1, np.int64), np.zeros((R - 1, K), np.int64)
        self.reached = np.zeros((K, R), np.int64)
        self.swept = 0
        # Which replica is at each rung of a ladder, and how high each has been since it left rung 0; -1: before that.
        self._replica = np.tile(np.arange(R), (K, 1))
        self._height = np.full((K, R), -1)
        self._height[:, 0] = 0
        self.low: tuple[Series, ...] = ()
        self.high: tuple[Series, ...] = ()

    def _prepare(self) -> None:
        """Make room for what is kept."""
        pairs = [len(self._pairs[parity::2]) for parity in (0, 1)]
        self.low, self.high = (tuple(Series((n, self.count), _KEPT) for n in pairs) for _ in range(2))
        self.trace = Series((self.count,), _TRACED)

    def sweep(self, sweeps: int, *, keep: bool = True) -> None:
        """Try exchanges and draw all layers of all rungs, so many times."""
        if keep and not self.low:
            self._prepare()
        for _ in range(sweeps):
            parity = self.swept % 2
            self.exchange(parity, keep)
            for rung in self.rungs:
                rung.moves.sweep()
            self.swept += 1

    def exchange(self, parity: int, keep: bool = True) -> None:
        """Let every second pair of neighbours try to change places."""
        found = []
        for r in range(parity, len(self._pairs), 2):
            low, high, own = self._pairs[r].differences()
            log_odds = low - high
            which = np.flatnonzero(np.log1p(-self.rng.random(self.count)) < log_odds)
            self._pairs[r].swap(which)
            self._replica[which, r], self._replica[which, r + 1] = (
                self._replica[which, r + 1], self._replica[which, r],
            )  # fmt: skip
            self.tried[r] += 1
            self.accepted[r, which] += 1
            found.append((low, high))
            if keep and r == len(self._pairs) - 1:
                self.trace.append(own)
        self._note_heights()
        if keep and found:
            for series, values in zip((self.low, self.high), zip(*found, strict=True), strict=True):
                series[parity].append(np.stack(values))

    def _note_heights(self) -> None:
        """How far up the replicas are; those at rung 0 begin anew."""
        ladders = np.arange(self.count)
        at = np.take_along_axis(self._height, self._replica, axis=1)
        high = np.where(at >= 0, np.maximum(at, np.arange(len(self.rungs))), -1)
        np.add.at(self.reached, (ladders, np.maximum(high[:, 0], 0)), high[:, 0] > 0)
        high[:, 0] = 0
        np.put_along_axis(self._height, self._replica, high, axis=1)

    def differences(self, pair: int, first: float, last: float) -> tuple[Array, Array]:
        """U of both rungs of a pair, (T, K), from one part of what is kept to another."""
        low, high = self.low[pair % 2].values, self.high[pair % 2].values
        part = slice(int(first * len(low)), max(int(last * len(low)), 1))
        return low[part, pair // 2], high[part, pair // 2]


def check_room(machine: Machine, count: int, rungs: int) -> None:
    """Refuse more chains, as the argument `chains`, than there is memory for on so many rungs."""
    weights = 8 * 2 * sum(W.size for W in machine.weights)
    kept = 8 * count * (2 * _KEPT + 4)
    needed = rungs * (count * chain_bytes(machine) + kept + weights)
    footprint.check("chains", f"{count} ladders of {rungs} rungs", needed)
