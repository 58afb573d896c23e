"""The result of an inference: chains at (or on their way to) fixed points."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from tapcore._base import checks
from tapcore.grouping.merging import merge, tolerance_for
from tapcore.inference.records import LAYERS, NUMBERS, Stopped
from tapcore.machine import Machine

if TYPE_CHECKING:
    from tapcore.inference.averages import Averages

Array = NDArray[Any]


@dataclass(frozen=True, eq=False, repr=False)
class Solutions:
    """K chains of an inference, one row each.

    Attributes
    ----------
    mean, var, B, A : tuple of (K, n_l) arrays, one a layer
        Means and variances of the units, and their fields and precisions (Eqs. 32, 33; U and V not included).
    free_energy : (K,) float64 array
        F = -ln Z as the method estimates it (Eq. 35), from `mean` and `var`.
    residual : (K,) float64 array
        Largest |update - value| over all means and variances in the last sweep, before damping.
    distance : (K,) float64 array
        Estimated distance, in any mean or variance, to the fixed point that the chain approaches, from the residual and
        its rate of contraction; inf while it does not contract. A chain that passes close by an unstable fixed point
        approaches it for a while.
    mse : (K,) float64 array
        Mean over all units of the squared change of the means in the last sweep, the paper's measure of convergence.
    sweeps : (K,) int64 array
        Sweeps each chain took.
    converged : (K,) bool array
    method : str
        The inference that made them.
    counts : (K,) int64 array or None
        How many chains each one stands for, after `unique`.
    labels : (number of chains merged,) int64 array or None
        After `unique`: the row here for each chain before; -1 for a chain that had not converged.
    machine : Machine or None
        Whose equations they solve.
    """

    mean: tuple[Array, ...]
    var: tuple[Array, ...]
    B: tuple[Array, ...]
    A: tuple[Array, ...]
    free_energy: NDArray[np.float64]
    residual: NDArray[np.float64]
    distance: NDArray[np.float64]
    mse: NDArray[np.float64]
    sweeps: NDArray[np.int64]
    converged: NDArray[np.bool_]
    method: str = "tap"
    counts: NDArray[np.int64] | None = None
    labels: NDArray[np.int64] | None = None
    machine: Machine | None = None

    def __len__(self) -> int:
        return int(self.mean[0].shape[0])

    def __repr__(self) -> str:
        sizes = "-".join(str(m.shape[1]) for m in self.mean)
        lost = int(self.lost.sum())
        said = f"{int(self.converged.sum())} converged" + (f", {lost} lost" if lost else "")
        return f"Solutions({len(self)} chains of {sizes} units, {said}, {self.method})"

    @property
    def lost(self) -> NDArray[np.bool_]:
        """(K,) which chains have left the finite numbers, as where a precision turned negative; their F is NaN."""
        return np.isnan(self.free_energy)

    def __getitem__(self, rows: Any) -> Solutions:
        """Chains picked by a slice, an index array or a mask."""
        rows = np.arange(len(self))[rows]
        if rows.ndim > 1:
            raise IndexError(f"chains have one axis, got an index of {rows.ndim}")
        rows = np.atleast_1d(rows)
        picked: dict[str, Any] = {name: tuple(x[rows] for x in getattr(self, name)) for name in LAYERS}
        picked |= {name: getattr(self, name)[rows] for name in _PER_CHAIN}
        counts = None if self.counts is None else self.counts[rows]
        return replace(self, **picked, counts=counts, labels=None)

    def unique(self, tol: float | None = None) -> Solutions:
        """The distinct solutions among the converged chains.

        Chains whose means differ by at most `tol` in every unit are one solution, represented by its most tightly
        converged chain, whatever the order of the chains.

        Parameters
        ----------
        tol : float, optional
            Largest difference in any mean, at least 0; choose it well above the distance to which chains converged.
            None: a hundred times the largest distance of a converged chain, up to 0.01, and not below the square root
            of the dtype's machine epsilon.

        Returns
        -------
        Solutions
            One row a solution, lowest free energy first, with `counts` and `labels`. Chains that did not converge are
            left out, with label -1. Rows that have `counts` count as so many chains.
        """
        tol = tolerance_for("tol", tol, self.distance[self.converged], self.mean[0].dtype)
        leaders, labels = merge(self.mean, np.where(self.converged, self.distance, np.nan), tol)
        by_energy = np.argsort(self.free_energy[leaders], kind="stable")
        rank = np.empty(len(leaders) + 1, dtype=np.int64)
        rank[by_energy], rank[-1] = np.arange(len(leaders)), -1
        labels = rank[labels]
        chains = np.ones(len(self), dtype=np.int64) if self.counts is None else self.counts
        counts = np.zeros(len(leaders), dtype=np.int64)
        np.add.at(counts, labels[labels >= 0], chains[labels >= 0])
        return replace(self[leaders[by_energy]], counts=counts, labels=labels)

    def averages(self, temperature: float = 1.0) -> Averages:
        """What the distinct solutions say together: averages of the law over all of them, weighted by ``exp(-F)``.

        `python -m tapcore_bench.paper.accuracy` measures how near they come to enumeration, beside one solution alone.

        Parameters
        ----------
        temperature : float
            Weights are ``exp(-F/temperature)``; above 0, infinity for all alike, as in the paper.

        Returns
        -------
        Averages
            ``log_z``, ``mean``, ``var``, ``pair`` and ``weights``, of `unique` of the chains that converged unless they
            have `counts` already, as those of `harvest` have.

        Raises
        ------
        ValueError
            No chain has converged, or these were not made by `solve` or `harvest`.

        Examples
        --------
        >>> together = tc.harvest(machine, X).averages()
        >>> together.log_z, together.pair[0]
        """
        from tapcore.inference.averages import averages_of

        temperature = checks.temperature("temperature", temperature)
        if self.machine is None:
            raise ValueError("averages are of solutions that solve or harvest made: these have no machine")
        distinct = self.unique() if self.counts is None else self
        if len(distinct) == 0:
            raise ValueError("averages need a solution, and no chain has converged: allow more sweeps")
        return averages_of(self.machine, distinct, temperature)


def empty_solutions(machine: Machine, count: int, method: str) -> Solutions:
    """Solutions of `count` chains, to be filled in."""

    def layers() -> tuple[NDArray[Any], ...]:
        return tuple(np.empty((count, n), machine.dtype) for n in machine.sizes)

    return Solutions(
        layers(), layers(), layers(), layers(),
        free_energy=np.empty(count), residual=np.empty(count), distance=np.empty(count), mse=np.empty(count),
        sweeps=np.empty(count, np.int64), converged=np.empty(count, np.bool_), method=method, machine=machine,
    )  # fmt: skip


def record(solutions: Solutions, stopped: Stopped) -> None:
    """Write what is known of chains that have stopped to their rows."""
    rows = stopped.chain
    for name in NUMBERS:
        getattr(solutions, name)[rows] = getattr(stopped, name)
    for name in LAYERS:
        layers = getattr(stopped, name)
        for to, values in zip(getattr(solutions, name) if layers else (), layers, strict=True):
            to[rows] = values


def stacked(first: Solutions, second: Solutions, counts: NDArray[np.int64] | None) -> Solutions:
    """The chains of `first`, then those of `second`, of the same layers, with these counts."""
    layers: dict[str, Any] = {
        name: tuple(np.concatenate(pair) for pair in zip(getattr(first, name), getattr(second, name), strict=True))
        for name in LAYERS
    }
    layers |= {name: np.concatenate([getattr(first, name), getattr(second, name)]) for name in _PER_CHAIN}
    return replace(first, **layers, counts=counts, labels=None)


_PER_CHAIN = ("free_energy", *NUMBERS)


def check_solved(name: str, solutions: Any, machine: Machine) -> None:
    """As `check_solutions`; and refuse those that are known to be another machine's, but for its dtype."""
    check_solutions(name, solutions, machine.sizes)
    own = solutions.machine
    if own is not None and own.replace(dtype="float32") != machine.replace(dtype="float32"):
        raise ValueError(f"{name} must be of this machine, got those of another one of the same size")


def check_solutions(name: str, solutions: Any, sizes: tuple[int, ...], dtype: Any = None) -> None:
    """Refuse, as the argument `name`, all but solutions of layers of these sizes that are finite in `dtype`."""
    if not isinstance(solutions, Solutions):
        raise ValueError(f"{name} must be the result of tapcore.solve, got {type(solutions).__name__}")
    given = tuple(m.shape[1] for m in solutions.mean)
    if given != sizes:
        raise ValueError(f"{name} must be solutions of layers {sizes}, got layers {given}")
    if len(solutions) == 0:
        raise ValueError(f"{name} must hold at least one chain, got none")
    for field in ("mean", "var"):
        for layer, x in enumerate(getattr(solutions, field)):
            checks.finite(f"{name}.{field}[{layer}]", x, dtype)
