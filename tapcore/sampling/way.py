"""The way from independent units through a run's machines, and the rungs of a ladder along it."""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from copy import copy
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tapcore.machine import Machine, check_machine
from tapcore.sampling.bennett import predicted_acceptance, resampled
from tapcore.sampling.centres import Centres
from tapcore.sampling.gibbs_chains import check_proper
from tapcore.sampling.ladder import Ladder
from tapcore.sampling.laws import Law, LogWeights, Mixture
from tapcore.storage.machines import RunFolder, load
from tapcore.units import Unit

Array = NDArray[Any]
Given = Machine | Sequence[Machine] | str | os.PathLike[str]

# Neighbours are as far apart as this share of exchanges, foreseen from the lower one, lets them be.
ACCEPTANCE = 0.3
# Between two machines the step is halved until it is short enough, then so many times made more exact.
_FINER, _SHORTEST = 3, 2.0**-20
# Sweeps of the whole ladder after each new rung.
_SETTLE = 10
# Machines read from files that are kept.
_AT_HAND = 8


class Machines(Sequence[Machine]):
    """The machines given, those of a run's folder read when they are asked for; in float64."""

    def __init__(self, given: Any, name: str) -> None:
        if isinstance(given, Machine):
            given = [given]
        if isinstance(given, str | os.PathLike):
            path = Path(given)
            self._where: Sequence[Any] = RunFolder(path).way() if path.is_dir() else [path]
            if not self._where:
                raise FileNotFoundError(f"{path}: no checkpoints in this folder")
        elif isinstance(given, Sequence) and len(given) and all(isinstance(machine, Machine) for machine in given):
            self._where = list(given)
        else:
            raise ValueError(f"{name} must be a run's folder, a tapcore.Machine or several, got {given!r}")
        self._name = name
        self._read = lru_cache(_AT_HAND)(self._checked)
        if not isinstance(self._where[0], Path):  # those in memory are checked at once
            for i in range(len(self)):
                self._checked(i)

    def __len__(self) -> int:
        return len(self._where)

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        if not -len(self) <= index < len(self):
            raise IndexError(index)
        return self._read(index % len(self))

    def upto(self, index: int) -> Machines:
        """The machines up to this one."""
        some = copy(self)
        some._where = self._where[: index + 1]
        some._read = lru_cache(_AT_HAND)(some._checked)
        return some

    def _checked(self, index: int) -> Machine:
        """The machine of this number; ValueError if it has no law, or other layers than the first."""
        where = self._where[index]
        machine = (load(where) if isinstance(where, Path) else where).replace(dtype="float64")
        check_machine(machine)
        check_proper(machine)
        if index and _support(machine) != _support(first := self[0]):
            raise ValueError(
                f"{self._name} must all have the same layers and supports: number {index} has {machine.layers!r}, the "
                f"first {first.layers!r}"
            )
        return machine


def _support(machine: Machine) -> list[Any]:
    """What all machines of a ladder have in common."""
    return [
        (type(block), block.n, block.columns, [block.parameters[name].tolist() for name in block.fixed])
        for layer in machine.layers
        for block in (None, *layer.blocks)
        if block is not None
    ]


class Way:
    """Laws at all positions: 0 is a mixture of independent units, i + 1 the i-th machine, linear in between.

    Before machine number `start` it is an inverse temperature that rises, about centres in the modes of that machine;
    after it, all parameters change from those of one machine to those of the next.
    """

    def __init__(self, machines: Machines, centres: Centres, start: int = 0) -> None:
        self.machines, self.centres, self.start = machines, centres, start
        self.mixture = Mixture.of(machines[start], centres)

    @property
    def end(self) -> int:
        """Position of the last machine."""
        return len(self.machines)

    def law(self, position: float) -> Law:
        """The law at a position."""
        if position <= self.start + 1:
            return Law(self.machines[self.start], self.mixture, position / (self.start + 1))
        below = math.floor(position)
        part = position - below
        machine = self.machines[below - 1]
        if part > 0.0:
            machine = between(machine, self.machines[below], part)
        return Law(machine, self.mixture)


def between(a: Machine, b: Machine, part: float) -> Machine:
    """Machine with all parameters a `part` of the way from one machine's to another's."""
    weights = [(1.0 - part) * V + part * W for V, W in zip(a.weights, b.weights, strict=True)]
    return a.replace(
        layers=[_layer_between(*pair, part) for pair in zip(a.layers, b.layers, strict=True)], weights=weights
    )


def _layer_between(a: Unit, b: Unit, part: float) -> Unit:
    def mean(x: Array, y: Array) -> Array:
        return np.where(x == y, x, (1.0 - part) * x + part * y)  # supports to the bit

    return a.with_parameters({name: mean(x, b.parameters[name]) for name, x in a.parameters.items()})


def climb(way: Way, count: int, seed: int) -> tuple[Ladder, list[float]]:
    """A ladder of `count` ladders along the way, and the positions of its rungs.

    From one rung to the next it is as far as `ACCEPTANCE` allows: to the farthest machine, or to a law before the next
    one; half as far where exchanges then turn out to be half as many. The chains of a new rung begin at values of the
    last one, drawn by their weights.
    """
    ladder, positions = Ladder(way.law(0.0), count, seed), [0.0]
    while positions[-1] < way.end:
        steps = _Steps(way, ladder, positions[-1])
        position = steps.farthest()
        _put(way, ladder, position, steps.u(position))
        while ladder.acceptance[-1] < 0.5 * ACCEPTANCE and position - positions[-1] > _SHORTEST:
            ladder.drop()
            position = _halfway(positions[-1], position)
            _put(way, ladder, position, steps.u(position))
        positions.append(position)
    ladder.forget()
    return ladder, positions


def _put(way: Way, ladder: Ladder, position: float, u: Array) -> None:
    """Add a rung, and let the ladder come to rest."""
    ladder.add(way.law(position), resampled(u, ladder.rng.random()))
    ladder.sweep(_SETTLE, keep=False)


def _halfway(a: float, b: float) -> float:
    """A position between two others, that of a machine if there is one."""
    middle = 0.5 * (a + b)
    return float(math.floor(middle)) if math.floor(middle) > a else middle


class _Steps:
    """Steps from the last rung, at a position, to others further on."""

    def __init__(self, way: Way, ladder: Ladder, position: float) -> None:
        self.way, self.last, self.position = way, ladder.rungs[-1], position

    def u(self, position: float) -> Array:
        """Ln of the weights of the last rung's chains at another position, less that at their own, (K,)."""
        return LogWeights(self.way.law(position), self.last.chains).find() - self.last.weights.find()

    def near(self, position: float) -> bool:
        """Whether exchanges would take place often enough."""
        return predicted_acceptance(self.u(position)) >= ACCEPTANCE

    def farthest(self) -> float:
        """The farthest machine that is near, or else a position before the next one."""
        first = math.floor(self.position) + 1
        if not self.near(first):
            return self._short_of(float(first))
        good, step, end = first, 1, self.way.end
        bad = end + 1
        while good < end and good + 1 < bad:
            # Steps twice as long each time, until one is too long.
            tried = min(good + step, end) if bad > end else (good + bad) // 2
            if self.near(tried):
                good, step = tried, 2 * step
            else:
                bad = tried
        return float(good)

    def _short_of(self, far: float) -> float:
        step, begin = far - self.position, self.position
        while not self.near(begin + step / 2) and step > _SHORTEST:
            step /= 2
        good, bad = begin + step / 2, begin + step
        for _ in range(_FINER):
            middle = 0.5 * (good + bad)
            good, bad = (middle, bad) if self.near(middle) else (good, middle)
        return good
