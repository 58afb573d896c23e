"""States of chains that are moved by hand, and minima of the free energy that they flow to."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.distance import cdist

from tapcore.equations.compiled import compiled
from tapcore.equations.energy import evaluate
from tapcore.inference.records import Starts
from tapcore.inference.solution import Solutions, empty_solutions, stacked
from tapcore.inference.solve import rule_for, solve
from tapcore.inference.sweeps.chains import Chains
from tapcore.landscape.curvature import Point, Space, curvatures
from tapcore.landscape.newton import STILL, refined

Array = NDArray[Any]

# Sweeps follow the slope of the free energy only where they are small enough steps: damping to begin with, and how
# often what is left to 1 may be halved.
DAMPING, RISES = 0.5, 5
# After so many sweeps chains are accelerated.
SETTLE = 100
# Share of minima that sweeps must lead back to: of hundreds, a few are left by any damping but the slowest.
BACK = 0.95
# What minima are moved by, relative to the units' spread, to see whether sweeps lead back to them.
NUDGE = 1e-3
# Sweeps at a time, and how often, until a chain is near a minimum, in all means, and far nearer than to others.
SOME, OFTEN, NEAR, FAR = 50, 8, 0.05, 3.0
# How far from where it is lowest a chain that has not come to rest may be, in any mean.
CREPT = 1e-2
# How often it is tried to come down from where a way down ends at a saddle.
FALLS = 3
# Where a chain ends that comes to rest at no minimum, and that does not come to rest.
AT_SADDLE, NOWHERE = -1, -2


@dataclass(frozen=True)
class State:
    """Means, then variances, of K chains: (K, n_l) float64 arrays, one a layer each."""

    arrays: tuple[Array, ...]

    @classmethod
    def of(cls, solutions: Solutions) -> State:
        """What chains are in."""
        return cls(tuple(np.array(x, np.float64) for x in (*solutions.mean, *solutions.var)))

    @classmethod
    def at(cls, points: Sequence[Point]) -> State:
        """At points, a chain each."""
        return cls(tuple(np.stack(x) for x in zip(*((*p.mean, *p.var) for p in points), strict=True)))

    @classmethod
    def joined(cls, *parts: State) -> State:
        """The chains of each in turn."""
        return cls(tuple(np.concatenate(arrays) for arrays in zip(*(part.arrays for part in parts), strict=True)))

    def __len__(self) -> int:
        return len(self.arrays[0])

    @property
    def mean(self) -> tuple[Array, ...]:
        """Means (K, n_l)."""
        return self.arrays[: len(self.arrays) // 2]

    @property
    def var(self) -> tuple[Array, ...]:
        """Variances (K, n_l)."""
        return self.arrays[len(self.arrays) // 2 :]

    def rows(self, which: Any) -> State:
        """Some of the chains, in arrays of their own where `which` is an index array or a mask."""
        return State(tuple(x[which] for x in self.arrays))

    def put(self, which: Any, other: State) -> None:
        """Write the chains of another to rows of this one."""
        for x, y in zip(self.arrays, other.arrays, strict=True):
            x[which] = y

    def less(self, other: State) -> State:
        """Differences."""
        return State(tuple(x - y for x, y in zip(self.arrays, other.arrays, strict=True)))

    def times(self, by: Array) -> State:
        """Each chain's numbers times one, (K,)."""
        return State(tuple(by[:, None] * x for x in self.arrays))

    def moved(self, by: float | Array, along: State) -> State:
        """States further by so many times `along`, a number or (K,)."""
        steps = np.reshape(by, (-1, 1))
        return State(tuple(x + steps * y for x, y in zip(self.arrays, along.arrays, strict=True)))

    def within(self, space: Space) -> State:
        """The nearest that means and variances can be."""
        bounds = [layer.bounds() for layer in space.machine.layers]
        means = [np.clip(x, lo, hi) for x, (lo, hi) in zip(self.mean, bounds, strict=True)]
        return State((*means, *(np.maximum(v, 0) for v in self.var)))

    def dot(self, other: State, scale: Sequence[Array]) -> NDArray[np.float64]:
        """Scalar products of means, each times a number of `scale`, (K,)."""
        parts = [np.einsum("kn,kn,kn->k", x, y, w) for x, y, w in zip(self.mean, other.mean, scale, strict=True)]
        return np.asarray(np.sum(parts, axis=0))

    def size(self) -> NDArray[np.float64]:
        """The largest of the means, which are differences, (K,)."""
        return np.asarray(np.max([np.abs(x).max(axis=1) for x in self.mean], axis=0))

    def nudged(self, by: float, rng: np.random.Generator) -> State:
        """States with means beside, at random, by up to so much of their spread."""
        pairs = zip(self.mean, self.var, strict=True)
        means = [mean + by * np.sqrt(var) * rng.uniform(-1, 1, mean.shape) for mean, var in pairs]
        return State((*means, *self.var))

    def distance(self, other: State) -> NDArray[np.float64]:
        """Largest difference in any mean, (K,)."""
        return self.less(other).size()

    def starts(self, space: Space, method: str) -> Solutions:
        """As the result of an inference to go on from, of which nothing but means and variances is known."""
        found = empty_solutions(space.machine, len(self), method)
        for to, x in zip((*found.mean, *found.var), self.arrays, strict=True):
            to[:] = x
        for numbers in (*found.B, *found.A, found.free_energy, found.residual, found.distance, found.mse):
            numbers[:] = np.nan
        found.sweeps[:], found.converged[:] = 0, False
        return found

    def solutions(self, space: Space, method: str) -> Solutions:
        """The same with fields, precisions and free energies."""
        found = self.starts(space, method)
        found.free_energy[:] = evaluate(space.machine, self.mean, self.var, space.order, (found.B, found.A))
        return found


class Flow:
    """Chains that sweeps carry along the slope of the free energy."""

    def __init__(self, space: Space, method: str, count: int) -> None:
        machine = space.machine
        self.rule = rule_for(machine, method)
        self.chains = Chains(machine.sizes, count, machine.dtype, order=self.rule.order)
        self.own = compiled(machine.layers, machine.weights, self.rule.order)

    def on(self, states: State, sweeps: int, damping: float) -> State:
        """Where states are after so many sweeps."""
        self.chains.start(Starts(states.mean, states.var))
        self.chains.run(self.own, self.rule, sweeps, damping)
        now = self.chains.state
        return State(tuple(x.copy() for x in (*now.mean, *now.var)))


class Basins:
    """Minima of the free energy, and which of them states flow to; a minimum that was not known is added.

    Parameters
    ----------
    minima : Solutions
        Distinct ones, of the machine in float64.
    tol : float
        Distance to which chains converge.
    merge : float
        Largest difference in any mean between a chain and its minimum.
    max_sweeps : int
        Most sweeps of a chain.

    Attributes
    ----------
    damping : float
        Of sweeps.
    accelerated : bool
        Whether chains that take long are accelerated. Not where they would leave minima, for which damping rises then.
    """

    def __init__(self, space: Space, minima: Solutions, tol: float, merge: float, max_sweeps: int) -> None:
        self.space, self.minima, self.merge = space, minima, merge
        self.how: dict[str, Any] = {"method": minima.method, "tol": tol, "max_sweeps": max_sweeps}
        self.damping, self.accelerated = DAMPING, True
        here = State.of(minima).nudged(NUDGE, np.random.default_rng(0))
        for _ in range(RISES):
            if (self._nearest(self._ended(here)) == np.arange(len(minima))).mean() >= BACK:
                break
            if not self.accelerated:
                self.damping += (1 - self.damping) / 2
            self.accelerated = False

    def flow(self, states: State) -> tuple[NDArray[np.int64], State]:
        """Minima that each of the states flows to, (K,), or `AT_SADDLE` or `NOWHERE`; and where they end."""
        ended = self._arrived(self._ended(states))
        labels = self._nearest(ended)
        unknown = labels == AT_SADDLE
        if unknown.any():
            # A chain that starts on a ridge may come to rest at its saddle, and is not far from it for long.
            new = ended[unknown].unique(self.merge)
            new = new[curvatures(self.space.machine, new)[:, 0] > 0]
            self.minima = stacked(self.minima, replace(new, labels=None, counts=None), None)
            labels = self._nearest(ended)
        return labels, State.of(ended)

    def down(self, states: State, by: float, rng: np.random.Generator) -> NDArray[np.int64]:
        """Minima that states lead down to, as `flow`; where the way ends at a saddle, as symmetries have it, beside it.

        Chains are moved off by up to so much of the units' spread, at random.
        """
        labels, ended = self.flow(states)
        for _ in range(FALLS):
            stuck = np.flatnonzero(labels == AT_SADDLE)
            if not stuck.size:
                break
            further, _ = self.flow(ended.rows(stuck).nudged(by, rng).within(self.space))
            labels[stuck] = further
        return labels

    def near(self, states: State) -> NDArray[np.int64]:
        """Which minimum each of the states soon comes near, (K,), or `NOWHERE`: sooner than `flow`, and less surely."""
        flow = Flow(self.space, self.minima.method, len(states))
        minima = np.concatenate(State.of(self.minima).mean, axis=1)
        labels = np.full(len(states), NOWHERE)
        for _ in range(OFTEN):
            states = flow.on(states, SOME, self.damping)
            left = np.flatnonzero(labels == NOWHERE)
            apart = cdist(np.concatenate([x[left] for x in states.mean], axis=1), minima, "chebyshev")
            least = apart.min(axis=1)
            sure = (least < NEAR) & ((apart < FAR * least[:, None]).sum(axis=1) == 1)
            labels[left[sure]] = apart.argmin(axis=1)[sure]
            if (labels != NOWHERE).all():
                break
        return labels

    def _ended(self, states: State) -> Solutions:
        begun, sweeps = states.starts(self.space, self.minima.method), self.how["max_sweeps"]
        how = self.how | {"max_sweeps": min(sweeps, SETTLE) if self.accelerated else sweeps}
        first = solve(self.space.machine, begun, damping=self.damping, acceleration=None, **how)
        on_the_way = ~(first.converged | first.lost)
        if not self.accelerated or not on_the_way.any():
            return first
        # What has not come to rest yet is in one basin or on a ridge: of a basin only the bottom matters.
        then = solve(self.space.machine, first[on_the_way], **self.how)
        order = np.concatenate([np.flatnonzero(~on_the_way), np.flatnonzero(on_the_way)])
        return stacked(first[~on_the_way], then, None)[np.argsort(order)]

    def _arrived(self, ended: Solutions) -> Solutions:
        """The same; chains that still creep along a flat bottom are taken to where it is lowest, if this is near."""
        creeping = np.flatnonzero(~(ended.converged | ended.lost))
        if not creeping.size:
            return ended
        before = State.of(ended).rows(creeping)
        points, residual = refined(self.space, before.mean, before.var)
        there = State.at(points)
        near = (residual <= STILL) & (there.distance(before) <= CREPT)
        after = there.solutions(self.space, ended.method)
        for name in ("mean", "var", "B", "A"):
            for x, y in zip(getattr(ended, name), getattr(after, name), strict=True):
                x[creeping[near]] = y[near]
        ended.free_energy[creeping[near]] = after.free_energy[near]
        ended.converged[creeping[near]] = True
        return ended

    def _nearest(self, ended: Solutions) -> NDArray[np.int64]:
        labels = np.where(ended.converged, AT_SADDLE, NOWHERE)
        minima, states = State.of(self.minima), State.of(ended)
        for k in np.flatnonzero(ended.converged):
            apart = minima.distance(states.rows([k]))
            best = int(apart.argmin())
            if apart[best] <= self.merge:
                labels[k] = best
        return labels
