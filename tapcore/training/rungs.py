"""The ladder below a machine that trains: earlier machines of its run, whose chains change places with its own.

Parallel trajectory tempering: Béreux, Decelle, Furtlehner, Rosset and Seoane, Fast training and sampling of restricted
Boltzmann machines, ICLR 2025. Here it goes on while the machine trains, and the ladder grows with it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tapcore._base import footprint
from tapcore.machine import Machine
from tapcore.sampling.bennett import predicted_acceptance, resampled
from tapcore.sampling.gibbs_chains import GibbsChains, chain_bytes, check_proper
from tapcore.sampling.ladder import Pair, Place, Rung
from tapcore.sampling.laws import Law, LogWeights, Mixture
from tapcore.sampling.way import ACCEPTANCE, between
from tapcore.storage.machines import tensors_of

Array = NDArray[Any]
Key = tuple[int, ...]

# Most rungs. One more has to be paid for by the one that is needed least.
MOST = 24
# Weight of the last try in the running average of the acceptance.
_LAST = 0.5
# The shortest step from the last rung to the machine that training has taken too far away.
_SHORTEST = 2.0**-10
# What random numbers of a batch are for, beside those of the machine's own chains.
_SWEEP, _EXCHANGE, _RESAMPLE = range(3)
_PREFIX = "chains.ladder."


class TrainingLadder:
    """K ladders whose top is the machine that trains: what a rung is, is fixed when it is added.

    In each batch one rung is drawn anew, and its chains try to change places with those above: first rung 0, of
    independent units, then the next, and so forth up to the machine, so that what has come from independent units can
    climb to the top in one go. The time of a batch is then the same however many rungs there are.

    Where the running average of the acceptance between the last rung and the machine falls below 0.3, a copy of the
    machine becomes a rung, whose chains begin where the machine's are. Where the machine has gone too far meanwhile, as
    at the start of a machine that was trained before, it is a machine in between by linear interpolation of all
    parameters, with chains of the last rung taken by their weights; the others follow at later tries. Beyond `MOST`
    rungs, the one goes whose neighbours then change places the most.

    Parameters
    ----------
    machine : Machine
        As training starts. Rung 0 is this one without couplings.
    count, seed : int

    Attributes
    ----------
    rungs : list of Rung
    acceptance : float
        Running average of the expected share of exchanges with the last rung; NaN before the first try with it.
    turn : int
        The rung that is next.
    """

    def __init__(self, machine: Machine, count: int, seed: int) -> None:
        needed = MOST * (count * chain_bytes(machine) + sum(2 * W.nbytes for W in machine.weights))
        footprint.check("chains", f"{count} ladders of up to {MOST} rungs", needed)
        self.count, self.seed, self.acceptance, self.turn = count, seed, math.nan, 0
        self._begin(machine.replace(weights=[np.zeros_like(W) for W in machine.weights]))

    def _begin(self, alone: Machine) -> None:
        """Rung 0, of these units."""
        fields = tuple(np.zeros((1, n), alone.dtype) for n in alone.sizes)
        log_z = sum(float(layer.moments(0.0, 0.0)[0].sum()) for layer in alone.layers)
        self._mixture = Mixture(np.zeros(1), np.array([-log_z]), fields)
        self.rungs = [Rung(Law(alone, self._mixture, 0.0), self.count, self.seed, 0)]
        self._pairs: list[Pair] = []

    def move(self, machine: Callable[[], Machine], top: GibbsChains, key: Key) -> bool:
        """Draw the rung whose turn it is, and let its chains try to change places with those above.

        Parameters
        ----------
        machine : callable
            Makes the machine that trains as it is now.
        top : GibbsChains
            Its chains. Visible values are to be those of this batch.
        key : tuple of int
            Of the batch's random numbers.

        Returns
        -------
        bool
            Whether it was the turn of the chains on top.
        """
        rung, rng = self.rungs[self.turn], self._rng(key, _EXCHANGE)
        rung.chains.seed(self.seed, *key, _SWEEP)
        rung.moves.sweep()
        last = rung is self.rungs[-1]
        pair = Pair(rung, Place(self._law(machine()), top)) if last else self._pairs[self.turn]
        log_odds = _log_odds(pair)
        pair.swap(np.flatnonzero(np.log1p(-rng.random(self.count)) < log_odds))
        self.turn = 0 if last else self.turn + 1
        if last:
            self._judge(_expected(log_odds), pair.high, key)
        return last

    def _law(self, machine: Machine) -> Law:
        """That of a machine."""
        with np.errstate(over="ignore"):  # what diverges is said after the epoch
            return Law(machine, self._mixture)

    def _judge(self, now: float, top: Place, key: Key) -> None:
        """Take the acceptance of a try with the last rung into account, and add a rung where one is due."""
        if math.isnan(now):
            return
        before = now if math.isnan(self.acceptance) else self.acceptance
        self.acceptance = (1 - _LAST) * before + _LAST * now
        if self.acceptance >= ACCEPTANCE or not _has_law(top.law.machine):
            return
        machine, even = top.law.machine, top.even
        # As when a ladder is built along a finished run: half as many exchanges are too few.
        if now < 0.5 * ACCEPTANCE:
            machine, rows = self._halfway(machine, self._rng(key, _RESAMPLE))
            even = tuple(x[rows] for x in self.rungs[-1].even)
        self._add(machine, even)
        if len(self.rungs) > MOST:
            self._thin()

    def _halfway(self, machine: Machine, rng: np.random.Generator) -> tuple[Machine, NDArray[np.int64]]:
        """A machine on the way from the last rung's, and which chains of that rung stand for it."""
        last, part = self.rungs[-1], 0.5
        own = last.weights.find()
        while True:
            on_the_way = between(last.law.machine, machine, part)
            u = LogWeights(self._law(on_the_way), last.chains).find() - own
            if part <= _SHORTEST or predicted_acceptance(u) >= ACCEPTANCE:
                return on_the_way, resampled(u, rng.random())
            part /= 2

    def _add(self, machine: Machine, even: tuple[Array, ...]) -> None:
        """Put a rung on top whose chains begin at these values of even layers."""
        rung = Rung(self._law(machine), self.count, self.seed, 0)
        for to, x in zip(rung.even, even, strict=True):
            to[:] = x
        self._pairs.append(Pair(self.rungs[-1], rung))
        self.rungs.append(rung)
        self.acceptance = math.nan

    def _thin(self) -> None:
        """Take the rung away, neither the first nor the last, without which its neighbours change places the most."""
        spared = [
            _expected(_log_odds(Pair(below, above))) for below, above in zip(self.rungs, self.rungs[2:], strict=False)
        ]
        gone = 1 + int(np.argmax(np.nan_to_num(spared)))
        self._pairs[gone - 1 : gone + 1] = [Pair(self.rungs[gone - 1], self.rungs[gone + 1])]
        del self.rungs[gone]

    def _rng(self, key: Key, purpose: int) -> np.random.Generator:
        return np.random.default_rng(np.random.SeedSequence(self.seed, spawn_key=(*key, purpose)))

    def tensors(self) -> dict[str, Array]:
        """All that a checkpoint keeps: machines and values of all rungs, and where the ladder is in its round."""
        kept = {f"{_PREFIX}state": np.array([self.turn, self.acceptance])}
        for r, rung in enumerate(self.rungs):
            own = tensors_of(rung.law.machine) | {f"x.{i}": x for i, x in enumerate(rung.even)}
            kept |= {f"{_PREFIX}{r}.{name}": x for name, x in own.items()}
        return kept

    def restore(self, tensors: Mapping[str, Array]) -> None:
        """Take up the ladder of a checkpoint, of machines of the same layers."""
        alone = self.rungs[0].law.machine
        for r in range(sum(name.startswith(_PREFIX) and name.endswith(".x.0") for name in tensors)):
            own = {
                name.removeprefix(f"{_PREFIX}{r}."): x
                for name, x in tensors.items()
                if name.startswith(f"{_PREFIX}{r}.")
            }
            machine = _with_tensors(alone, own)
            even = tuple(own[f"x.{i}"] for i in range(len(self.rungs[0].even)))
            if r == 0:
                self._begin(machine)
            else:
                self._add(machine, even)
        turn, acceptance = tensors[f"{_PREFIX}state"]
        self.turn, self.acceptance = int(turn), math.nan if np.isnan(acceptance) else float(acceptance)


def _with_tensors(machine: Machine, tensors: Mapping[str, Array]) -> Machine:
    """The machine with these arrays, named as `tensors_of` does, in place of its own."""
    layers = [
        layer.with_parameters({name: tensors[f"layers.{i}.{name}"] for name in layer.parameters})
        for i, layer in enumerate(machine.layers)
    ]
    return machine.replace(layers=layers, weights=[tensors[f"weights.{i}"] for i in range(len(machine.weights))])


def _log_odds(pair: Pair) -> NDArray[np.float64]:
    """Ln of the weights of two neighbours' chains in each other's place, less that of where they are, (K,).

    NaN of chains that are lost: these stay where they are.
    """
    with np.errstate(invalid="ignore", over="ignore"):
        low, high, _ = pair.differences()
        return np.asarray(low - high)


def _expected(log_odds: NDArray[np.float64]) -> float:
    """Share of the exchanges that is to take place, of chains that are not lost; NaN if all are."""
    known = log_odds[~np.isnan(log_odds)]
    return float(np.exp(np.minimum(known, 0.0)).mean()) if known.size else math.nan


def _has_law(machine: Machine) -> bool:
    """Whether its Z is finite: else chains of a rung would leave the finite numbers in time."""
    try:
        check_proper(machine)
    except ValueError:
        return False
    return True
