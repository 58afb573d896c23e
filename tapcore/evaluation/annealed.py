"""Annealed importance sampling: ln Z with error bars, from below and from above (Neal, Stat. Comput. 11, 125, 2001)."""

from __future__ import annotations

import warnings
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from tqdm import tqdm

from tapcore._base import checks, footprint
from tapcore.evaluation.routes import apart
from tapcore.machine import Machine, check_machine
from tapcore.sampling.estimate import Estimate
from tapcore.sampling.gibbs_chains import chain_bytes, check_init, check_proper
from tapcore.sampling.modes import missed, some_rows
from tapcore.sampling.paths import EVERY, Paths, Shares, backward, settled_centres
from tapcore.sampling.replicas import HARDLY, TELLING, ReplicaExchange

Array = NDArray[Any]
Layers = tuple[Array, ...]

# What streams of random numbers are for.
_PATH, _BACK, _DEAL, _SAMPLES = range(4)
# Replicas of the ladders that reverse chains start from: with as many sweeps as temperatures over their number.
_REPLICAS = 8
# No error is less, over the square root of the number of chains, but for independent units: where so small a part of Z
# is concerned, chance decides whether any chain sees it.
_LEAST = 1e-3
# Part of Z in modes without a centre that nothing is said about, nor about less than two standard errors.
_MISSED = 1e-3
# Where couplings leave less of precisions on the whole line, weights of chains have no variance to speak of.
_NEARLY = 0.02


class AnnealedEstimate(Estimate):
    """Estimate of ln Z: a pair ``(log_z, standard_error)``.

    Attributes
    ----------
    log_z : float
        ln of the mean weight of the chains: in the long run too low, never too high, when forward; too high when
        reverse.
    standard_error : float
        From the spread of the weights. It knows nothing of parts of the law that no chain has seen.
    doubts : tuple of str
        Why neither is to be trusted; none if nothing speaks against it.
    trusted : bool
        Whether there are no doubts.
    effective_chains : float
        ``(sum w)^2 / sum w^2`` of the chains' weights w: how many chains of like weight would tell as much.
    """

    effective_chains: float = float("nan")

    def __new__(
        cls, log_z: float, standard_error: float, doubts: tuple[str, ...] = (), effective_chains: float = float("nan")
    ) -> AnnealedEstimate:
        """Make the pair, and keep what else is known."""
        made = super().__new__(cls, log_z, standard_error, doubts)
        made.effective_chains = effective_chains
        return made

    def doubted(self, *doubts: str) -> AnnealedEstimate:
        """The same with more doubts.

        Parameters
        ----------
        *doubts : str
            To be added.
        """
        return AnnealedEstimate(*self, (*self.doubts, *doubts), self.effective_chains)


def ais(
    machine: Machine,
    chains: int = 100,
    temperatures: int | ArrayLike = 1000,
    seed: int = 0,
    *,
    data: ArrayLike | None = None,
    reverse: bool = False,
    init: ArrayLike | None = None,
    progress: bool | None = None,
) -> AnnealedEstimate:
    """Estimate ln Z by annealed importance sampling.

    Chains go from independent units to the machine through intermediate laws, in which the couplings are scaled by
    beta about a centre x0, h0: ``exp(beta (x - x0) W (h - h0) + x W h0 + x0 W h - x0 W h0)`` times the units' weights.
    Every second layer is summed out of their weights. Where a machine has several modes, there is a centre in each, a
    solution of naive mean field; a chain anneals to the part of the law that its centre is responsible for, by the
    laws of independent units at all centres, and the parts add up to Z (`Paths`).

    Forward, ``<weight> = Z``: ln Z is estimated too low on average, by no more than some standard errors where these
    are small. Reverse, chains go from samples of the machine to independent units, and ln Z is estimated too high,
    provided that the starts are samples: between the two lies a bracket, and where they differ by more than their
    errors more temperatures are needed.

    Parameters
    ----------
    machine : Machine
        Of any layers and units.
    chains : int
        Number of chains, at least 2.
    temperatures : int or (T,) array_like
        Steps of equal size in beta; or the betas, rising from above 0 to 1.
    seed : int
        At least 0. The result does not depend on the number of threads.
    data : (n, n_visible) array_like, optional
        Samples from which centres are sought too, some hundred of them. Without, they are sought from random and
        structured starts and from cooled chains, which may miss modes of large machines.
    reverse : bool
        From the machine to independent units. Unless `init` is given a forward run goes before, to compare with.
    init : (chains, n_visible) array_like, optional
        Samples of a machine of two layers that reverse chains start from. None draws them by replica exchange,
        with centres and random numbers that the forward run does not share.
    progress : bool, optional
        Show a progress bar; None shows one when standard error is a terminal.

    Returns
    -------
    AnnealedEstimate
        ``(log_z, standard_error)``, in the convention of unnormalised weights; float64 for any machine. Its `doubts`
        say why they are not to be trusted, if so.

    Raises
    ------
    ValueError
        An argument outside its range, or a machine whose Z is infinite.

    Warns
    -----
    UserWarning
        The estimate is not to be trusted: few chains carry all of the weight; starts still led to new centres when
        the search for them ended, or chains ended at modes that have none; forward and reverse do not meet.
    """
    check_machine(machine)
    count = checks.integer("chains", chains, minimum=2)
    betas = schedule(temperatures)
    seed = checks.integer("seed", seed, minimum=0)
    footprint.check("chains", count, count * (EVERY if reverse else 1) * chain_bytes(machine.replace(dtype="float64")))
    left = check_proper(machine)
    if init is not None and not reverse:
        raise ValueError("init is where reverse chains start: forward ones start from independent units")
    if init is not None and len(machine.layers) > 2:
        raise ValueError("init, visible samples, says too little of a machine of more than two layers: leave it out")
    # As the machine's own dtype holds them, before it gets another.
    starts = None if init is None else check_init(machine, init, count)
    rows = some_rows(machine, data, seed)
    machine = machine.replace(dtype="float64")
    hidden = None if progress is None else not progress
    whole = reverse and starts is None
    with tqdm(total=len(betas) * (3 if whole else 1), unit="temperature", disable=hidden) as bar:
        if starts is not None:
            centres, shares = settled_centres(machine, seed, rows)
            found = _backward(Paths(machine, count, centres), shares, (starts,), betas, seed, bar)
        else:
            samples = exchanged(machine, count, len(betas), seed, rows, bar).layers if reverse else None
            routes = annealed(machine, count, betas, seed, rows, bar, samples)
            found = _doubted(routes[-1], routes[0]) if reverse else routes[0]
    if left < _NEARLY:
        found = found.doubted("couplings all but outgrow the precisions of real units")
    if found.doubts:
        warnings.warn(f"ais: the estimate is not to be trusted: {'; '.join(found.doubts)}", stacklevel=2)
    return found


def annealed(
    machine: Machine, count: int, betas: NDArray[np.float64], seed: int, rows: Array | None, bar: Any,
    samples: Layers | None,
) -> list[AnnealedEstimate]:  # fmt: skip
    """The forward estimate of a float64 machine; and the reverse one, if there are `samples` to go back from.

    These are values of all layers. Each estimate has its own doubts only.
    """
    centres, shares = settled_centres(machine, seed, rows)
    paths = Paths(machine, count, centres)
    forward, shares = _forward(paths, betas, seed, bar)
    if samples is None:
        return [forward]
    return [forward, _backward(paths, shares, samples, betas, seed, bar)]


def schedule(temperatures: Any) -> NDArray[np.float64]:
    """Inverse temperatures from a number of steps, or as they are given; ValueError if they cannot be."""
    if np.ndim(temperatures) == 0:
        steps = checks.integer("temperatures", temperatures, minimum=1)
        footprint.check("temperatures", steps, 16 * steps)
        return np.arange(1, steps + 1) / steps
    betas = checks.real_array("temperatures", temperatures).astype(np.float64)
    if betas.ndim != 1 or betas.size == 0 or not (np.diff(betas, prepend=0.0) > 0).all() or betas[-1] != 1.0:
        raise ValueError("temperatures must be a number of steps, or rise from above 0 to 1")
    return betas


def _forward(paths: Paths, betas: NDArray[np.float64], seed: int, bar: Any) -> tuple[AnnealedEstimate, Shares]:
    paths.deal(_generator(seed, _DEAL))
    paths.gibbs.seed(seed, _PATH)
    log_weights = paths.forward(betas, bar)
    found = estimate_of(log_weights, len(betas), 1, _independent(paths.machine))
    doubts, most = [*found.doubts], max(_MISSED, 2 * found.standard_error)
    if paths.centres.modes.missed > most:
        doubts.append("starts still led to new modes when the search for them ended: more of them may be missing")
    elif missed(paths.machine, paths.centres.modes, paths.gibbs.state.mean[0]) > most:
        doubts.append("chains ended at modes that none began at: others may be missing")
    return AnnealedEstimate(*found, tuple(doubts), found.effective_chains), paths.shares(log_weights)


class Exchanged(NamedTuple):
    """Samples by replica exchange."""

    layers: Layers  # values of all layers, (K, n_l)
    crossed: bool  # whether neighbours changed places often enough for values to have come from independent units


def exchanged(machine: Machine, count: int, steps: int, seed: int, rows: Array | None, bar: Any) -> Exchanged:
    """Samples of a float64 machine, from ladders with centres of their own."""
    data = None if rows is None else rows[:-1]  # without their mean
    replicas = ReplicaExchange(machine, count, _REPLICAS, data=data, seed=own_seed(seed, _SAMPLES))
    for first in range(0, steps, _REPLICAS):
        replicas.sweep()
        bar.update(min(_REPLICAS, steps - first))
    crossed = steps >= TELLING * _REPLICAS and bool(replicas.acceptance.min() >= HARDLY)
    return Exchanged(replicas.layers, crossed)


def _backward(
    paths: Paths, shares: Shares, layers: Layers, betas: NDArray[np.float64], seed: int, bar: Any
) -> AnnealedEstimate:
    # With the centres' own shares all samples weigh alike, so that those of few samples need not be among them.
    share = np.exp(shares.log_share - shares.log_share.max())
    share /= share.sum()
    log_weights = backward(paths.machine, paths.centres, np.log(share), layers[::2], betas, (seed, _BACK), bar)
    found = estimate_of(log_weights, len(betas), -1, _independent(paths.machine))
    # Which of them are depends on chance; by how much that matters, on how well their shares are known.
    chance = np.sqrt((share * shares.error**2).sum() / paths.gibbs.count)
    error = float(np.hypot(found.standard_error, chance))
    return AnnealedEstimate(found.log_z, error, found.doubts, found.effective_chains)


def estimate_of(log_weights: Array, steps: int, sign: int, independent: bool) -> AnnealedEstimate:
    """Ln Z from logs of weights, of so many steps, whose mean is Z (`sign` 1) or 1/Z (-1).

    Between `independent` units no step makes an error but of rounding.
    """
    top = log_weights.max()
    if not np.isfinite(top):
        return AnnealedEstimate(float("nan"), float("nan"), ("no chain has a finite weight",))
    weights = np.exp(log_weights - top)
    mean = weights.mean()
    error = weights.std(ddof=1) / (np.sqrt(weights.size) * mean)
    rounding = np.finfo(np.float64).eps * (1 + abs(top)) * np.sqrt(steps)
    least = rounding if independent else _LEAST / np.sqrt(weights.size)
    few = weights.sum() ** 2 / (weights**2).sum()
    enough = few >= min(10.0, 0.5 * weights.size)
    doubts = () if enough else (f"{few:.1f} of {weights.size} chains carry all of the weight",)
    log_z = float(sign * (top + np.log(mean)))
    return AnnealedEstimate(log_z, float(np.hypot(error, least)), doubts, float(few))


def _independent(machine: Machine) -> bool:
    return not any(W.any() for W in machine.weights)


def _doubted(found: AnnealedEstimate, forward: AnnealedEstimate) -> AnnealedEstimate:
    """A reverse estimate with the doubts that a forward one raises."""
    doubts = [f"forward, {doubt}" for doubt in forward.doubts]
    if gap := apart(("forward", "reverse"), forward, found):
        doubts.append(gap)
    return found.doubted(*doubts)


def own_seed(seed: int, stream: int) -> int:
    """A seed for streams of random numbers that nothing else shares."""
    return int(np.random.SeedSequence(seed, spawn_key=(stream,)).generate_state(1, np.uint64)[0] >> 1)


def _generator(seed: int, *key: int) -> np.random.Generator:
    return np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(2000, *key)))
