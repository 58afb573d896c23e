"""What solutions say together: estimates of -ln Z, basins, overlaps, and warning signs (Secs. V.2, VII.3)."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tapcore._base import checks
from tapcore.inference.solution import Solutions, check_solutions, stacked

# A solution that takes this share of many starts hints at a machine that tells its data apart too little; as many
# solutions as this share of the starts, at one that has learned them by heart, a spin glass; fewer converged starts
# than this share, at an iteration that cannot be trusted. Fewer starts than FEW say neither.
TOO_MUCH, TOO_MANY, TOO_FEW_CONVERGED = 0.9, 0.5, 0.95
FEW = 20


@dataclass(frozen=True)
class LandscapeStatistics:
    """Numbers that sum up distinct solutions.

    Attributes
    ----------
    solutions : int
    starts : int
        Chains that were started.
    converged : int
        Those that reached a solution.
    lowest, highest : float
        Free energies, in nats.
    helmholtz_uniform : float
        Average of F over solutions, an estimate of -ln Z (Sec. V.2).
    helmholtz_boltzmann : float
        Average of F with weights proportional to ``exp(-F)``, which leaves out the many solutions of high free energy.
    log_sum : float
        ``-ln sum exp(-F)``: -ln Z if the solutions were separate states that together are all there is.
    basins : (solutions,) float64 array
        Share of the converged starts at each solution.
    effective_solutions : float
        ``exp`` of the entropy of `basins`: how many basins of equal size would be as varied.
    warnings : tuple of str
        Signs that the machine or the iteration may not be in order.
    """

    solutions: int
    starts: int
    converged: int
    lowest: float
    highest: float
    helmholtz_uniform: float
    helmholtz_boltzmann: float
    log_sum: float
    basins: NDArray[np.float64]
    effective_solutions: float
    warnings: tuple[str, ...]

    def __str__(self) -> str:
        lines = [
            f"{self.solutions} solutions from {self.starts} starts, {self.converged} of which converged",
            f"free energy {self.lowest:.4f} to {self.highest:.4f}; -ln Z by uniform average "
            f"{self.helmholtz_uniform:.4f}, by Boltzmann weights {self.helmholtz_boltzmann:.4f}",
            f"largest basin {100 * self.basins.max():.1f} %; as varied as {self.effective_solutions:.1f} equal basins",
        ]
        return "\n".join([*lines, *(f"warning: {w}" for w in self.warnings)])

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, LandscapeStatistics):
            return NotImplemented
        return all(np.array_equal(getattr(self, f.name), getattr(other, f.name)) for f in fields(self))

    __hash__ = None  # type: ignore[assignment]


def statistics(solutions: Solutions) -> LandscapeStatistics:
    """Sum up distinct solutions, as `harvest` or `Solutions.unique` gives them.

    Parameters
    ----------
    solutions : Solutions
        At least one, with `counts`. Without `labels`, as of picked rows, all starts are taken to have converged.

    Raises
    ------
    ValueError
        No solutions, or none with `counts`.

    Notes
    -----
    Warnings follow Sec. VII.3: of at least 20 starts, one solution takes more than 90 %; there are more solutions than
    half of the converged starts; fewer than 95 % of the starts converged.
    """
    counts = _counts("solutions", solutions)
    if len(solutions) == 0:
        raise ValueError("solutions must hold at least one solution, got none")
    F = solutions.free_energy
    reached = int(counts.sum())
    starts = reached if solutions.labels is None else max(len(solutions.labels), reached)
    basins = counts / max(reached, 1)
    some = basins[basins > 0]
    weights = np.exp(-(F - F.min()))
    return LandscapeStatistics(
        solutions=len(solutions), starts=starts, converged=reached, lowest=float(F.min()), highest=float(F.max()),
        helmholtz_uniform=float(F.mean()), helmholtz_boltzmann=float(weights @ F / weights.sum()),
        log_sum=-float(np.logaddexp.reduce(-F)), basins=basins,
        effective_solutions=float(np.exp(-(some * np.log(some)).sum())),
        warnings=tuple(_warnings(len(solutions), starts, reached, float(basins.max()))),
    )  # fmt: skip


def _warnings(solutions: int, starts: int, reached: int, largest: float) -> list[str]:
    found = []
    if reached < TOO_FEW_CONVERGED * starts:
        found.append(f"only {reached} of {starts} starts converged: allow more sweeps")
    if reached < FEW:
        return found
    if largest > TOO_MUCH:
        found.append(
            f"one solution takes {100 * largest:.0f} % of the starts: if these are diverse, the machine hardly tells "
            "them apart"
        )
    if solutions > TOO_MANY * reached:
        found.append(
            f"{solutions} solutions of {reached} starts: the machine may have memorised its data, a spin-glass phase"
        )
    return found


def overlaps(solutions: Solutions, layer: int = 0) -> NDArray[np.float64]:
    """How alike solutions are: ``q_ab = sum_i m_i^a m_i^b / sqrt(sum_i (m_i^a)^2 sum_i (m_i^b)^2)``.

    The overlap of spin-glass theory, normalised to 1 for equal solutions, with m the means less their average over all
    starts (over solutions where none counts), so that it says as much of units in {0, 1} as of units in {-1, 1}.

    Parameters
    ----------
    solutions : Solutions
        With `counts`.
    layer : int
        Whose means.

    Returns
    -------
    (K, K) float64 array
        Between -1 and 1; 0 with a solution that is at the average.

    Raises
    ------
    ValueError
        Solutions without `counts`, or no such layer.
    """
    counts = _counts("solutions", solutions)
    layer = checks.integer("layer", layer, minimum=0)
    if layer >= len(solutions.mean):
        raise ValueError(f"layer must be below {len(solutions.mean)}, got {layer}")
    means = np.asarray(solutions.mean[layer], np.float64)
    if len(means) == 0:
        return np.zeros((0, 0))
    away = means - np.average(means, axis=0, weights=counts if counts.any() else None)
    size = np.sqrt((away * away).sum(axis=1))
    # What is as small as rounding errors of the average has no direction.
    unit = away / np.where(size > 1e-12 * np.sqrt(away.shape[1]), size, np.inf)[:, None]
    return np.clip(unit @ unit.T, -1, 1)


def merge_solutions(first: Solutions, second: Solutions, tol: float | None = None) -> Solutions:
    """Two harvests as one.

    Parameters
    ----------
    first, second : Solutions
        Distinct solutions of one machine, with `counts`.
    tol : float, optional
        Largest difference in any mean between chains of one solution. None: as `Solutions.unique`.

    Returns
    -------
    Solutions
        The most tightly converged chain of each solution, lowest free energy first; `counts` add up, `labels` are of
        the starts of `first`, then of `second` (None unless both have them).

    Raises
    ------
    ValueError
        Solutions of other layers, by another method, or without `counts`.
    """
    a, b = _counts("first", first), _counts("second", second)
    sizes = tuple(m.shape[1] for m in first.mean)
    if len(second):
        check_solutions("second", second, sizes)
    if first.method != second.method:
        raise ValueError(f"second must be by the method of first, {first.method!r}, got {second.method!r}")
    both = stacked(first, second, np.concatenate([a, b]))
    merged = both.unique(tol)
    assert merged.labels is not None
    labels = None
    if first.labels is not None and second.labels is not None:
        became = np.append(merged.labels, -1)  # the last for the label -1
        shifted = np.where(second.labels < 0, -1, second.labels + len(first))
        labels = became[np.concatenate([first.labels, shifted])]
    return replace(merged, labels=labels)


def _counts(name: str, solutions: Any) -> NDArray[np.int64]:
    if not isinstance(solutions, Solutions) or solutions.counts is None:
        raise ValueError(f"{name} must be distinct solutions with counts, as harvest or Solutions.unique gives them")
    return solutions.counts
