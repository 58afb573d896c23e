"""How good a machine is, by every yardstick there is, and whether they can be trusted."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from tqdm import tqdm

from tapcore._base import checks, footprint
from tapcore.evaluation.annealed import AnnealedEstimate, annealed, schedule
from tapcore.evaluation.equilibrium import Equilibrium, equilibrium
from tapcore.evaluation.likelihood import unchecked_log_likelihood
from tapcore.evaluation.pseudo_likelihood import pseudo_log_likelihood
from tapcore.inference.solve import solve
from tapcore.machine import Machine, check_machine
from tapcore.sampling.gibbs_chains import chain_bytes, check_proper
from tapcore.sampling.modes import some_rows
from tapcore.sampling.paths import EVERY
from tapcore.sampling.sampler import GibbsSampler

Array = NDArray[Any]

# Rows from which TAP solutions are sought, how close, and after how many sweeps at most.
STARTS, TOL, SWEEPS = 1000, 1e-6, 2000
# Samples that are made from scratch, and sweeps that each takes.
SAMPLES, MADE_IN = 500, 1000
# Rows that are scored by pseudo-log-likelihood, each of whose units is asked for.
ROWS = 1000
_ROWS_STREAM, _SAMPLES_STREAM = 4000, 4001


@dataclass(frozen=True)
class Score:
    """Scores of a machine on samples, in nats a sample where nothing else is said.

    Attributes
    ----------
    samples : int
        How many were scored.
    forward, reverse : AnnealedEstimate
        ln Z by annealed importance sampling from independent units, which is too low in the long run, and from samples
        of the machine made by replica exchange, which is too high.
    log_likelihood : float
        Average of ln P(x) by the forward route: in the long run too high.
    other_log_likelihood : float
        By the reverse one: too low.
    standard_error : float
        Of both, as far as it comes from the number of samples.
    known : bool
        Whether the two routes agree and neither has a doubt. Where it is false ln Z is not known, nor a log-likelihood.
    doubts : tuple of str
        What speaks against them.
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
    log_likelihood: float
    other_log_likelihood: float
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
        routes = {"forward": self.forward, "reverse": self.reverse}
        ln_z = {
            name: {
                "log_z": _plain(x.log_z), "standard_error": _plain(x.standard_error),
                "effective_chains": _plain(x.effective_chains), "doubts": list(x.doubts),
            }
            for name, x in routes.items()
        }  # fmt: skip
        rest = {name: value for name, value in vars(self).items() if name not in (*routes, "equilibrium", "doubts")}
        return {
            **{name: _plain(value) for name, value in rest.items()},
            "doubts": list(self.doubts), **ln_z,
            "equilibrium": {name: _plain(value) for name, value in self.equilibrium._asdict().items()},
        }  # fmt: skip


def score(
    machine: Machine,
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
    that replica exchange has made. Agreement of both is no proof, disagreement is one: the machine is then reported as
    one of unknown ln Z.

    Parameters
    ----------
    machine : Machine
    X : (n, n_visible) array_like
        Samples, such as held-out ones.
    data : (m, n_visible) array_like, optional
        What the machine was trained on, for the free-energy gap and as further places to seek modes from.
    chains : int
        Of annealing, at least 2.
    temperatures : int
        Of annealing, at least 1. Too few of them over-rate the machine: with 500 a machine of 784x100 units scored
        -85.1 nats an image that has -92.2 with 3,000.
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
        infinite.

    Notes
    -----
    ln P(x) of samples is exact but for ln Z in machines of two layers; in deeper ones the hidden layers are summed out
    by TAP, clamped to the sample (App. E).
    """
    check_machine(machine)
    samples, rows = _checked("X", machine, X), None if data is None else _checked("data", machine, data)
    count, betas = checks.integer("chains", chains, minimum=2), schedule(temperatures)
    seed = checks.integer("seed", seed, minimum=0)
    wide = machine.replace(dtype="float64")
    footprint.check("chains", count, count * EVERY * chain_bytes(wide))
    check_proper(machine)
    weights = unchecked_log_likelihood(wide, samples, 0.0)
    gap = float("nan") if rows is None else float(unchecked_log_likelihood(wide, rows, 0.0).mean() - weights.mean())
    hidden = None if progress is None else not progress
    with tqdm(total=3 * len(betas), unit="temperature", disable=hidden) as bar:
        known = some_rows(machine, samples if rows is None else rows, seed)
        forward, reverse = annealed(wide, count, betas, seed, known, bar, back=True)
    doubts, mean = _doubts(forward, reverse), float(weights.mean())
    energies, distinct = _solutions(wide, samples, seed)
    return Score(
        samples=len(samples), forward=forward, reverse=reverse, log_likelihood=mean - forward.log_z,
        other_log_likelihood=mean - reverse.log_z, standard_error=float(weights.std() / np.sqrt(len(weights))),
        known=not doubts, doubts=doubts, tap=mean + float(energies.mean()) if len(energies) else float("nan"),
        tap_weighted=mean - float(np.logaddexp.reduce(-distinct)) if len(distinct) else float("nan"),
        solutions=len(distinct), pseudo_log_likelihood=_pseudo(machine, samples, seed), free_energy_gap=gap,
        equilibrium=_from_scratch(wide, samples if rows is None else rows, seed),
    )  # fmt: skip


def _checked(name: str, machine: Machine, X: ArrayLike) -> Array:
    samples = checks.matrix(name, X, machine.layers[0].columns, rows="samples")
    machine.layers[0].check_data(name, samples)
    return samples


def _doubts(forward: AnnealedEstimate, reverse: AnnealedEstimate) -> tuple[str, ...]:
    """What speaks against the two routes, each thing once; that they do not meet the reverse one says."""
    own = [doubt for doubt in reverse.doubts if not doubt.startswith("forward, ")]
    return (*(f"forward: {doubt}" for doubt in forward.doubts), *(f"reverse: {doubt}" for doubt in own))


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
    if len(machine.layers) > 2 or machine.layers[0].states is None:
        return float("nan")
    return float(pseudo_log_likelihood(machine, _some(samples, ROWS, seed)).mean())


def _from_scratch(machine: Machine, data: Array, seed: int) -> Equilibrium:
    """Samples of chains that begin at independent units, beside the data."""
    own = int(np.random.SeedSequence(seed, spawn_key=(_SAMPLES_STREAM,)).generate_state(1, np.uint64)[0] >> 1)
    sampler = GibbsSampler(machine, SAMPLES, seed=own)
    sampler.sweep(MADE_IN)
    return equilibrium(sampler.layers[0], data)


def _plain(value: Any) -> Any:
    if isinstance(value, float | np.floating):
        return float(value) if np.isfinite(value) else None
    return value.item() if isinstance(value, np.generic) else value
