"""How good a machine is, by every yardstick there is, and whether they can be trusted."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from tqdm import tqdm

from tapcore._base import checks, footprint
from tapcore.evaluation.annealed import AnnealedEstimate, annealed, exchanged, own_seed, schedule
from tapcore.evaluation.equilibrium import Equilibrium, equilibrium
from tapcore.evaluation.likelihood import unchecked_log_likelihood
from tapcore.evaluation.pseudo_likelihood import pseudo_log_likelihood
from tapcore.evaluation.routes import verdict
from tapcore.inference.solve import solve
from tapcore.machine import Machine, check_machine
from tapcore.sampling.estimate import Estimate
from tapcore.sampling.gibbs_chains import chain_bytes, check_proper
from tapcore.sampling.modes import some_rows
from tapcore.sampling.paths import EVERY
from tapcore.sampling.sampler import GibbsSampler
from tapcore.sampling.trajectory import TrajectoryEstimate, TrajectoryTempering, quiet_log_z
from tapcore.sampling.way import Machines
from tapcore.storage.machines import load

Array = NDArray[Any]

# Rows from which TAP solutions are sought, how close, and after how many sweeps at most.
STARTS, TOL, SWEEPS = 1000, 1e-6, 2000
# Samples that are made from scratch, and sweeps that each takes.
SAMPLES, MADE_IN = 500, 1000
# Rows that are scored by pseudo-log-likelihood, each of whose units is asked for.
ROWS = 1000
_ROWS_STREAM, _SAMPLES_STREAM, _LADDER_STREAM = 4000, 4001, 4002


@dataclass(frozen=True)
class Score:
    """Scores of a machine on samples, in nats a sample where nothing else is said.

    Attributes
    ----------
    samples : int
        How many were scored.
    forward, reverse : AnnealedEstimate
        ln Z by annealed importance sampling from independent units, which is too low in the long run, and from samples
        of the machine, which is too high. The doubts of each are its own.
    ladder : TrajectoryEstimate or None
        ln Z by Bennett's acceptance ratios along the machines of the run (`TrajectoryTempering`); None where no run
        with several checkpoints was given.
    reverse_starts : str
        Where the samples that the reverse route starts from were made: ``"replica exchange"`` or ``"ladder"``.
    log_likelihood : float
        Average of ln P(x) by the forward route: in the long run too high.
    other_log_likelihood : float
        By the reverse one: too low.
    ladder_log_likelihood : float
        By the ladder; NaN where there is none.
    standard_error : float
        Of all of them, as far as it comes from the number of samples; NaN of one. ln Z has errors of its own, in the
        routes.
    known : bool
        Whether the forward route and another one have no doubt, and all that have none agree: within four standard
        errors of the difference. Where it is false ln Z is not known, nor a log-likelihood.
    doubts : tuple of str
        What speaks against any of the routes, and which of them do not agree. There may be some where ln Z is known:
        of a route that is then left aside.
    tap : float
        TAP log-likelihood with the average of F over all chains, as the paper has it (Eq. 38).
    tap_weighted : float
        With ``ln Z = ln sum_k exp(-F_k)`` over distinct solutions.
    solutions : int
        How many of these there are; from `STARTS` = 1,000 of the samples at most.
    pseudo_log_likelihood : float
        Of at most `ROWS` = 1,000 samples; NaN for machines that have none.
    free_energy_gap : float
        Average of ln Z P(x) over the training data less that over the samples: above 0 where the data were learned by
        heart. It needs no ln Z. NaN where there are no training data.
    equilibrium : Equilibrium
        Samples made from scratch, by Gibbs chains from independent units, beside the data.
    """

    samples: int
    forward: AnnealedEstimate
    reverse: AnnealedEstimate
    ladder: TrajectoryEstimate | None
    reverse_starts: str
    log_likelihood: float
    other_log_likelihood: float
    ladder_log_likelihood: float
    standard_error: float
    known: bool
    doubts: tuple[str, ...]
    tap: float
    tap_weighted: float
    solutions: int
    pseudo_log_likelihood: float
    free_energy_gap: float
    equilibrium: Equilibrium

    def to_dict(self) -> dict[str, Any]:
        """All of it as numbers, strings, lists and dicts; what is not finite as None, for JSON."""
        routes = {"forward": self.forward, "reverse": self.reverse, "ladder": self.ladder}
        ln_z: dict[str, Any] = dict.fromkeys(routes)
        for name, x in routes.items():
            if x is not None:
                ln_z[name] = {"log_z": _plain(x.log_z), "standard_error": _plain(x.standard_error)}
                if isinstance(x, AnnealedEstimate):
                    ln_z[name]["effective_chains"] = _plain(x.effective_chains)
                ln_z[name]["doubts"] = list(x.doubts)
        rest = {name: value for name, value in vars(self).items() if name not in (*routes, "equilibrium", "doubts")}
        return {
            **{name: _plain(value) for name, value in rest.items()},
            "doubts": list(self.doubts), **ln_z,
            "equilibrium": {name: _plain(value) for name, value in self.equilibrium._asdict().items()},
        }  # fmt: skip


def score(
    machine: Machine | str | os.PathLike[str],
    X: ArrayLike,
    *,
    data: ArrayLike | None = None,
    chains: int = 200,
    temperatures: int = 2000,
    seed: int = 0,
    progress: bool | None = None,
) -> Score:
    """Score a machine on samples by all yardsticks, and say whether its log-likelihood is known.

    ln Z is estimated by two routes that share no samples: forward from independent units, and back to them from samples
    that replica exchange has made. Of a run with several checkpoints there is a third one, a ladder of its machines
    that change places (`TrajectoryTempering`); where it came to equilibrium and neighbours among the replicas hardly
    ever changed places, the reverse route starts from its samples. Agreement of routes is no proof, disagreement is
    one: the machine is then reported as one of unknown ln Z.

    Parameters
    ----------
    machine : Machine or path
        Of any layers and units. Of a path, a file or the folder of a training run, it is the one that `load` reads
        there.
    X : (n, n_visible) array_like
        Samples, such as held-out ones.
    data : (m, n_visible) array_like, optional
        What the machine was trained on, for the free-energy gap and as further places to seek modes from.
    chains : int
        Of annealing, and of each rung of the ladder; at least 2.
    temperatures : int
        Of annealing, at least 1. Too few of them over-rate the machine: with 500 a machine of 784x100 units scored
        -85.1 nats an image that has -92.2 with 3,000. Rungs of the ladder times its sweeps are as many.
    seed : int
        At least 0. The result does not depend on the number of threads.
    progress : bool, optional
        Show a progress bar; None shows one when standard error is a terminal.

    Returns
    -------
    Score

    Raises
    ------
    ValueError
        Samples of the wrong width, empty or outside the support; an argument outside its range; a machine whose Z is
        infinite; machines of a run that have different layers or supports.
    FileNotFoundError
        No such file, or a folder without checkpoints.
    CheckpointError
        A ValueError: a file is no checkpoint.

    Notes
    -----
    ln P(x) of samples is exact but for ln Z in machines of two layers; in deeper ones the hidden layers are summed out
    by TAP, clamped to the sample (App. E).
    """
    machines: Machines | None = None
    if isinstance(machine, str | os.PathLike):
        machines, machine = _along(machine), load(machine)
    check_machine(machine)
    samples, rows = _checked("X", machine, X), None if data is None else _checked("data", machine, data)
    count, betas = checks.integer("chains", chains, minimum=2), schedule(temperatures)
    seed = checks.integer("seed", seed, minimum=0)
    wide = machine.replace(dtype="float64")
    footprint.check("chains", count, count * EVERY * chain_bytes(wide))
    check_proper(machine)
    weights = unchecked_log_likelihood(wide, samples, 0.0)
    gap = float("nan") if rows is None else float(unchecked_log_likelihood(wide, rows, 0.0).mean() - weights.mean())
    given = samples if rows is None else rows
    routes = _routes(wide, machines, given, count, betas, seed, None if progress is None else not progress)
    forward, reverse, ladder, starts = routes
    known, doubts = verdict({name: x for name, x in routes._asdict().items() if isinstance(x, Estimate)})
    mean, (energies, distinct) = float(weights.mean()), _solutions(wide, samples, seed)
    return Score(
        samples=len(samples), forward=forward, reverse=reverse, ladder=ladder, reverse_starts=starts,
        log_likelihood=mean - forward.log_z, other_log_likelihood=mean - reverse.log_z,
        ladder_log_likelihood=float("nan") if ladder is None else mean - ladder.log_z,
        standard_error=_standard_error(weights), known=known, doubts=doubts,
        tap=mean + float(energies.mean()) if len(energies) else float("nan"),
        tap_weighted=mean - float(np.logaddexp.reduce(-distinct)) if len(distinct) else float("nan"),
        solutions=len(distinct), pseudo_log_likelihood=_pseudo(machine, samples, seed), free_energy_gap=gap,
        equilibrium=_from_scratch(wide, given, seed),
    )  # fmt: skip


class _Routes(NamedTuple):
    forward: AnnealedEstimate
    reverse: AnnealedEstimate
    ladder: TrajectoryEstimate | None
    starts: str  # of the reverse route


def _along(path: str | os.PathLike[str]) -> Machines | None:
    """The machines of a run, if there are several of them."""
    machines = Machines(path, "machine")
    return machines if len(machines) > 1 else None


def _routes(
    machine: Machine, machines: Machines | None, data: Array, count: int, betas: NDArray[np.float64], seed: int,
    hidden: bool | None,
) -> _Routes:  # fmt: skip
    """All estimates of ln Z of a float64 machine; `data` are samples from which modes are sought too."""
    steps, rows = len(betas), some_rows(machine, data, seed)
    with tqdm(total=(3 if machines is None else 4) * steps, unit="temperature", disable=hidden) as bar:
        ladder = None if machines is None else _climbed(machines, data, count, steps, seed, bar)
        samples, crossed = exchanged(machine, count, steps, seed, rows, bar)
        by_ladder = ladder is not None and not crossed and not ladder.doubts
        if ladder is not None and by_ladder:
            samples = ladder.layers
        forward, reverse = annealed(machine, count, betas, seed, rows, bar, samples)
    found = None if ladder is None else quiet_log_z(ladder)
    return _Routes(forward, reverse, found, "ladder" if by_ladder else "replica exchange")


def _climbed(machines: Machines, data: Array, count: int, steps: int, seed: int, bar: Any) -> TrajectoryTempering:
    """Ladders along a run, with modes and random numbers that no other route shares."""
    ladder = TrajectoryTempering(machines, count, seed=own_seed(seed, _LADDER_STREAM), data=data)
    rungs = len(ladder.rungs)
    for first in range(0, steps, rungs):
        ladder.sweep()
        bar.update(min(rungs, steps - first))
    return ladder


def _checked(name: str, machine: Machine, X: ArrayLike) -> Array:
    return machine.layers[0].samples(name, X)


def _solutions(machine: Machine, samples: Array, seed: int) -> tuple[Array, Array]:
    """Free energies of the chains from some of the samples that converged, and of their distinct solutions."""
    starts = _some(samples, STARTS, seed).astype(np.float64)
    solutions = solve(machine, starts, tol=TOL, max_sweeps=SWEEPS)
    found = solutions.converged & np.isfinite(solutions.free_energy)
    if not found.any():
        return np.empty(0), np.empty(0)
    return solutions.free_energy[found], solutions[found].unique().free_energy


def _some(samples: Array, count: int, seed: int) -> Array:
    """Rows drawn without replacement, or all."""
    if len(samples) <= count:
        return np.asarray(samples)
    rng = np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(_ROWS_STREAM,)))
    return np.asarray(samples[np.sort(rng.permutation(len(samples))[:count])])


def _pseudo(machine: Machine, samples: Array, seed: int) -> float:
    if len(machine.layers) > 2 or machine.layers[0].levels is None:
        return float("nan")
    return float(pseudo_log_likelihood(machine, _some(samples, ROWS, seed)).mean())


def _from_scratch(machine: Machine, data: Array, seed: int) -> Equilibrium:
    """Samples of chains that begin at independent units, beside the data."""
    sampler = GibbsSampler(machine, SAMPLES, seed=own_seed(seed, _SAMPLES_STREAM))
    sampler.sweep(MADE_IN)
    return equilibrium(sampler.layers[0], data)


def _plain(value: Any) -> Any:
    if isinstance(value, float | np.floating):
        return float(value) if np.isfinite(value) else None
    return value.item() if isinstance(value, np.generic) else value


def _standard_error(values: Array) -> float:
    """Of their mean; NaN of one value, which does not show how far others are from it."""
    return float(values.std(ddof=1) / np.sqrt(len(values))) if len(values) > 1 else float("nan")
