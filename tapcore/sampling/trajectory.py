"""Parallel trajectory tempering: samples at equilibrium, and ln Z, along the machines of a training run.

Béreux, Decelle, Furtlehner, Rosset and Seoane, Fast training and sampling of restricted Boltzmann machines, ICLR 2025.
A run leaves machines of growing couplings: neighbours in time are close, while at lower temperatures a machine may
freeze at once.
"""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from tapcore._base import checks
from tapcore.sampling.bennett import Step, bennett, correlation_time, error
from tapcore.sampling.estimate import Estimate
from tapcore.sampling.ladder import check_room
from tapcore.sampling.laws import LogWeights
from tapcore.sampling.modes import Modes, find_modes, missed, some_rows, unvisited
from tapcore.sampling.paths import settled_centres
from tapcore.sampling.way import Given, Machines, Way, climb
from tapcore.special.exponential import sigmoid

Array = NDArray[Any]

# Part of what is kept that chains are given to forget how the ladder was built.
_BURN_IN = 0.25
# An estimate is doubted where fewer exchanges of two neighbours take place; where their laws overlap less (Klimovich,
# Shirts and Mobley, J. Comput. Aided Mol. Des. 29, 397, 2015); and after fewer exchanges of each pair.
_HARDLY, _OVERLAP, _FEW = 0.05, 0.03, 8
# Fewer journeys of values from rung 0 to a rung and back, by all ladders together, say nothing.
JOURNEYS = 10
# Chains need so many autocorrelation times to forget how the ladder was built, and to show how long these are.
_TIMES = 10.0
# A ladder starts at modes of a machine where the last starts of the search added a smaller part of Z.
_FOUND = 0.1
# Standard errors by which halves of the run may differ, and a sum that rounding and few chains add.
_ERRORS, _SLACK = 4.0, 0.02
# Part of Z in modes without a centre that nothing is said about; and in modes without a chain, times their number.
_MISSED, _UNSEEN = 1e-3, 5.0


class TrajectoryEstimate(Estimate):
    """Estimate of ln Z: a pair ``(log_z, standard_error)``.

    Attributes
    ----------
    log_z : float
        In the convention of unnormalised weights.
    standard_error : float
        By the jackknife over ladders, so that it knows of correlations along the run; and 1/K for what none of the K
        ladders may have seen, or less where all weights are nearly alike.
    doubts : tuple of str
        Why neither is to be trusted; none if nothing speaks against it.
    trusted : bool
        Whether there are no doubts.
    """


class TrajectoryTempering:
    """Parallel trajectory tempering: chains of a run's machines that change places with their neighbours.

    A ladder has a chain at each rung. Rung 0 is of independent units, a mixture of their laws in all modes of a machine
    that are found, drawn anew in each sweep; its ln Z is known. That machine is the last one or, where it has more
    modes than can be found, one half as far on, and so forth. Up to it there are tempered laws, as of
    `ReplicaExchange`; above it machines of the run, from each the farthest one with which three exchanges in ten should
    take place, and where even the next one is too far, linear interpolations of all parameters. Neighbours change
    places with probability ``min(1, exp(f(x') - f(x) + f'(x) - f'(x')))`` before each Gibbs sweep, f and f' being ln of
    the weights of the even layers, odd ones summed out. Ratios of Z of neighbours are Bennett's.

    Parameters
    ----------
    run : path, Machine or sequence of Machine
        The folder of a run, all of whose checkpoints are then there to be rungs, up to that of ``best.safetensors`` if
        there is one; or machines of the same layers and supports, each close to that before. Sampled in float64.
    chains : int
        Number of ladders K, at least 2: the chains of each rung.
    seed : int
        At least 0. The result does not depend on the number of threads.
    data : (n, n_visible) array_like, optional
        Samples from which modes are sought too.

    Attributes
    ----------
    machines : sequence of Machine
        Those given, in float64; those of a run are read when they are asked for.
    rungs : (R,) array
        Where each rung is: 0 is independent units, i + 1 machine number i, linear in between; below the machine that
        the ladder starts at, the inverse temperature times that machine's place.

    Raises
    ------
    ValueError
        Machines of different layers or supports, or whose Z is infinite; another argument outside its range; more
        ladders and rungs than there is memory for.
    FileNotFoundError
        No such file, or a folder without checkpoints.
    CheckpointError
        A ValueError: a file is no checkpoint.

    Examples
    --------
    >>> ladder = tc.TrajectoryTempering("runs/digits", chains=100)
    >>> ladder.sweep(1000)
    >>> ladder.log_z(), ladder.round_trips.sum(), ladder.layers[0]
    """

    def __init__(self, run: Given, chains: int = 100, *, seed: int = 0, data: ArrayLike | None = None) -> None:
        count = checks.integer("chains", chains, minimum=2)
        seed = checks.integer("seed", seed, minimum=0)
        self.machines = run if isinstance(run, Machines) else Machines(run, "run")
        check_room(self.machines[0], count, 2)
        self._rows = some_rows(self.machines[0], data, seed)
        self._options: dict[str, Any] = {"chains": count, "seed": seed, "data": data}
        self._earlier: dict[int, TrajectoryTempering] = {}  # ladders of machines before the one that this one starts at
        self._way = _way(self.machines, seed, self._rows)
        self._ladder, positions = climb(self._way, count, seed)
        self.rungs = np.array(positions)
        self._sweeps = 0
        self._modes: dict[int, Modes] = {}  # of the machines at these positions

    def sweep(self, sweeps: int = 1) -> None:
        """Try exchanges and draw all layers of all rungs, so many times.

        Parameters
        ----------
        sweeps : int
            At least 0.

        Raises
        ------
        ValueError
            `sweeps` below 0, or no whole number.
        """
        sweeps = checks.integer("sweeps", sweeps, minimum=0)
        self._ladder.sweep(sweeps)
        self._sweeps += sweeps

    @property
    def layers(self) -> tuple[Array, ...]:
        """Copies of the values of the last machine's chains, (K, n_l)."""
        return tuple(x.copy() for x in self._ladder.rungs[-1].chains.state.mean)

    @property
    def acceptance(self) -> NDArray[np.float64]:
        """Share of the exchanges tried between neighbours that took place, (R - 1,); NaN where none has been tried."""
        return self._ladder.acceptance

    @property
    def round_trips(self) -> NDArray[np.int64]:
        """How many times values of each ladder have gone from rung 0 to the last one and back, (K,)."""
        return self._ladder.reached[:, -1].copy()

    @property
    def autocorrelation(self) -> float:
        """Integrated autocorrelation time, in sweeps, of ln of the weights of the last rung's chains.

        NaN before some sweeps. A quarter of the run is left out.
        """
        if not self._ladder.low:
            return float("nan")
        trace = self._ladder.trace
        return 2 * trace.stride * correlation_time(trace.values[int(_BURN_IN * trace.count) :])

    @property
    def effective_samples(self) -> float:
        """Independent samples that the last machine's chains have gone through: K sweeps over `autocorrelation`."""
        return self._ladder.count * (1 - _BURN_IN) * self._sweeps / self.autocorrelation

    @property
    def doubts(self) -> tuple[str, ...]:
        """Why samples of the last machine may not be at equilibrium; none if nothing speaks against it.

        Few round trips, or fewer sweeps than ten times `autocorrelation`.
        """
        return tuple(self._unsettled(len(self.rungs) - 1))

    def log_z(self, machine: int = -1) -> TrajectoryEstimate:
        """Estimate ln Z of a machine from all sweeps so far, the first quarter left out.

        Of a machine that is no rung it is, besides, an average over where the chains of the rungs on both sides are
        now, of its weights over those of their mixture; the error counts that in. Of a machine before that which the
        ladder starts at, it is by a ladder of its own, made when first asked for, with as many sweeps.

        Parameters
        ----------
        machine : int
            Its number among `machines`; those below 0 count from the last one.

        Returns
        -------
        TrajectoryEstimate
            ``(log_z, standard_error)``. Its `doubts` say why they are not to be trusted, if so.

        Raises
        ------
        ValueError
            There is no such machine.

        Warns
        -----
        UserWarning
            The estimate is not to be trusted: two neighbours hardly change places, or hardly overlap; hardly any
            value has gone from independent units to the machine and back; there were fewer sweeps than ten times
            `autocorrelation`; both halves of the run do not agree; there
            are modes that no chain is in, or that none began at. Modes are sought when ln Z of a machine is first
            asked for, which takes seconds where there are hundreds of units.
        """
        found = self._found(machine)
        if found.doubts:
            warnings.warn(f"log_z: the estimate is not to be trusted: {'; '.join(found.doubts)}", stacklevel=2)
        return found

    def _found(self, machine: int) -> TrajectoryEstimate:
        """What `log_z` says, without a warning."""
        M = len(self.machines)
        machine = checks.integer("machine", machine, minimum=-M)
        if machine >= M:
            raise ValueError(f"machine must be below {M}, got {machine}")
        position = machine % M + 1
        upper = int(np.searchsorted(self.rungs, position))
        if position <= self._way.start and self._ladder.low:
            return self._before(position - 1)
        if not self._ladder.low:
            return TrajectoryEstimate(float("nan"), float("nan"), ("there were no sweeps",))
        return self._estimate(position, upper)

    def _before(self, machine: int) -> TrajectoryEstimate:
        """Of a machine before the one that the ladder starts at, by a ladder of its own with as many sweeps."""
        if machine not in self._earlier:
            self._earlier[machine] = TrajectoryTempering(self.machines.upto(machine), **self._options)
        ladder = self._earlier[machine]
        ladder.sweep(self._sweeps - ladder._sweeps)
        return ladder._estimate(machine + 1, len(ladder.rungs) - 1)

    def _estimate(self, position: int, upper: int) -> TrajectoryEstimate:
        """At the position of a rung, or below that of the rung `upper`."""
        steps = [self._step(r, _BURN_IN, 1.0) for r in range(upper)]
        doubts = self._doubts(steps, upper)
        value, without = _sum(steps)
        if self.rungs[upper] != position:
            value, without, few = self._beside(position, upper, steps)
            doubts += few
        # Of a part of Z that each ladder sees with a chance of 3/K, none knows once in twenty times. Where weights
        # hardly differ it hardly matters.
        unseen = min(1.0, max(step.width for step in steps)) / self._ladder.count
        rounding = 8 * np.finfo(np.float64).eps * (1 + abs(value))
        spread = float(np.linalg.norm([error(without), unseen, rounding]))
        if not np.isfinite(value + spread):
            doubts.append("weights are not finite")
        doubts += self._of_modes(position, upper, value, spread)
        return TrajectoryEstimate(value, spread, tuple(doubts))

    def _of_modes(self, position: int, upper: int, value: float, spread: float) -> list[str]:
        """What modes of the machine, and of that which the ladder starts at, have to say against ln Z of a machine."""
        centres, most = self._way.centres, max(_MISSED, 2 * spread)
        machine, ladder = self.machines[position - 1], self._ladder
        if position not in self._modes:
            # Not by the same random numbers as those where rung 0 begins.
            self._modes[position] = find_modes(machine, ladder.seed + 1, self._rows)
        modes = self._modes[position]
        around = ladder.rungs[upper if self.rungs[upper] == position else upper - 1 : upper + 1]
        alone = unvisited(machine, modes, np.concatenate([rung.chains.state.mean[0] for rung in around]))
        # Mean field's bounds are of ln Z: what a mode stands for is no less, were ln Z what it is thought to be.
        share = float(np.exp(np.minimum(modes.bound[alone] - value, 50.0)).sum())
        if share > max(most, _UNSEEN / ladder.count):
            return [f"modes without any chain have {share:.2g} times as much of Z as was found"]
        if centres.modes.missed > most:
            return ["starts still led to new modes when the search for them ended: more of them may be missing"]
        if self._lost_modes(most):
            return ["chains came to modes that none began at: others may be missing"]
        return []

    def _step(self, pair: int, first: float, last: float) -> Step:
        """Ln Z of one rung less that of the rung below, from a part of the run."""
        return bennett(*self._ladder.differences(pair, first, last))

    def _doubts(self, steps: list[Step], upper: int) -> list[str]:
        """What speaks against ln Z of the rung `upper`."""
        ladder, found = self._ladder, []
        if ladder.tried[:upper].min() < _FEW:
            return [f"there were few sweeps, {self._sweeps}"]
        if (least := float(self.acceptance[:upper].min())) < _HARDLY:
            found.append(f"two neighbours changed places in {least:.1%} of the tries")
        if (overlap := min(step.overlap for step in steps)) < _OVERLAP:
            found.append(f"two neighbours overlap by {overlap:.3f} only")
        found += self._unsettled(upper)
        middle = 0.5 * (1 + _BURN_IN)
        halves = [[self._step(r, *part) for r in range(upper)] for part in ((_BURN_IN, middle), (middle, 1.0))]
        (before, left), (after, right) = map(_sum, halves)
        if not abs(after - before) <= _ERRORS * np.hypot(error(left), error(right)) + _SLACK:
            found.append(f"both halves of the run do not agree: {before:.3f} and {after:.3f}")
        return found

    def _unsettled(self, upper: int) -> list[str]:
        """What says that chains of the rung `upper` may not be at equilibrium."""
        found = []
        if (journeys := int(self._ladder.reached[:, upper:].sum())) < JOURNEYS:
            found.append(f"values went from independent units to the machine and back {journeys} times")
        times = self._sweeps / self.autocorrelation
        if not np.isfinite(times):
            found.append(f"there were few sweeps, {self._sweeps}")
        elif times < _TIMES:
            found.append(f"sweeps are {times:.1f} autocorrelation times")
        return found

    def _lost_modes(self, most: float) -> bool:
        """Whether chains of the machine that the ladder starts at, if it is a rung, came to modes without a centre."""
        start = self._way.start
        rung = int(np.searchsorted(self.rungs, start + 1))
        if self.rungs[rung] != start + 1:
            return False
        X = self._ladder.rungs[rung].chains.state.mean[0]
        return missed(self.machines[start], self._way.centres.modes, X) > most

    def _beside(self, position: int, upper: int, steps: list[Step]) -> tuple[float, Array, list[str]]:
        """Ln Z at a position between two rungs, without each ladder too, and what speaks against it."""
        value, without = _sum(steps[:-1])
        law, K = self._way.law(position), self._ladder.count
        logs, share = np.zeros((2, K)), np.zeros((2, K))
        low, high = self._ladder.rungs[upper - 1 : upper + 1]
        for i, chains in enumerate((low.chains, high.chains)):
            own, u = (LogWeights(x.law, chains).find() for x in (low, high))
            u -= own + steps[-1].value
            logs[i] = LogWeights(law, chains).find() - own - np.logaddexp(0.0, u)
            share[i] = sigmoid(u)
        top = logs.max()
        weights = np.exp(logs - top)
        total = weights.sum(axis=0)
        moved = float((weights * share).sum() / weights.sum()) * (steps[-1].without - steps[-1].value)
        beside = top + np.log(total.sum() - total) - np.log(K - 1)
        few = float(weights.sum() ** 2 / (weights**2).sum())
        doubts = [] if few >= min(10.0, 0.5 * K) else [f"{few:.1f} of {2 * K} chains carry all of its weight"]
        return value + float(top + np.log(total.mean())), without + beside + moved, doubts


def quiet_log_z(ladder: TrajectoryTempering) -> TrajectoryEstimate:
    """Ln Z of the last machine, as `TrajectoryTempering.log_z` has it, for those who say themselves what is doubted."""
    return ladder._found(-1)


def _way(machines: Machines, seed: int, rows: Array | None) -> Way:
    """From the modes of the last machine; of one half as far on, again and again, where not all modes are found.

    Between machines early in a run whole phases may appear at once, which linear interpolations do not lead to.
    """
    start = len(machines) - 1
    while True:
        centres, _ = settled_centres(machines[start], seed, rows)
        if start == 0 or centres.modes.missed <= _FOUND:
            return Way(machines, centres, start)
        start //= 2


def _sum(steps: list[Step]) -> tuple[float, Array]:
    """Ln of the ratio of Z over all steps, and without each ladder."""
    return sum((s.value for s in steps), 0.0), np.sum([s.without for s in steps], axis=0)
