"""Barriers between solutions: the lowest known free energy at which paths lead from one to another."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components, minimum_spanning_tree
from scipy.spatial.distance import cdist
from tqdm import tqdm

from tapcore._base import checks
from tapcore.inference.solution import Solutions, check_solved
from tapcore.landscape.curvature import Point, Space, curvatures, highest
from tapcore.landscape.newton import STILL, refined
from tapcore.landscape.saddles import climb, ridge, sides
from tapcore.landscape.states import Basins, State
from tapcore.machine import Machine, check_machine

Array = NDArray[Any]
Pairs = NDArray[np.int64]

# To which distance chains converge on their way to a minimum, and how far from it, in any mean, is still at it.
FLOWING, SAME = 1e-6, 1e-4
# How far states that came to no saddle are moved before they climb again, relative to the units' spread.
KICK = 0.1
# Relative error of curvatures.
LANCZOS = 1e-8
# Pairs that are searched between at a time.
AT_ONCE = 256
# How often states climb from a ridge where they did not come to a saddle.
ROUNDS = 3
# How often it is tried to join what is not joined yet, each time between others.
JOINS = 12
# And after how many times without a saddle it is given up.
IN_VAIN = 3


class Merge(NamedTuple):
    """Two valleys that are one from a height on."""

    height: float  # nats
    first: int  # a minimum of each
    second: int
    saddle: int  # the row of the saddle between them


@dataclass(frozen=True, eq=False, repr=False)
class Barriers:
    """Minima of the free energy and the saddles between them: a graph.

    Attributes
    ----------
    minima : Solutions
        Those given, lowest free energy first, then others that were met.
    saddles : Solutions
        Distinct stationary points at which the free energy falls in one direction, lowest first.
    ends : (S, 2) int64 array
        The two minima that each saddle leads down to, the lower row first.
    curvature : (S,) float64 array
        The one curvature of each that is negative, as `curvatures` has it.
    """

    minima: Solutions
    saddles: Solutions
    ends: Pairs
    curvature: NDArray[np.float64]

    def __repr__(self) -> str:
        return f"Barriers({len(self.minima)} minima, {len(self.saddles)} saddles)"

    def merges(self) -> list[Merge]:
        """How valleys become one as the height rises, the lowest first: the edges of a disconnectivity graph.

        As many as there are minima, less one, where saddles join them all.
        """
        root = np.arange(len(self.minima))
        found = []
        for k in range(len(self.saddles)):  # lowest first
            a, b = self.ends[k]
            if root[a] == root[b]:
                continue
            found.append(Merge(float(self.saddles.free_energy[k]), int(a), int(b), k))
            root[root == root[b]] = root[a]
        return found

    def heights(self) -> NDArray[np.float64]:
        """The lowest free energy at which each two minima are one valley, (K, K).

        The highest of the saddles on the best way between them; infinity where none is known, and on the diagonal the
        minima's own free energies. Less the free energy of a minimum it is the barrier that is seen from there.
        """
        count = len(self.minima)
        heights = np.full((count, count), np.inf)
        groups = [np.array([k]) for k in range(count)]
        where = np.arange(count)
        for merge in self.merges():
            a, b = where[merge.first], where[merge.second]
            heights[np.ix_(groups[a], groups[b])] = heights[np.ix_(groups[b], groups[a])] = merge.height
            groups[a] = np.concatenate([groups[a], groups[b]])
            where[groups[b]] = a
        np.fill_diagonal(heights, self.minima.free_energy)
        return heights


def barriers(
    machine: Machine,
    solutions: Solutions,
    *,
    pairs: ArrayLike | None = None,
    neighbours: int = 5,
    max_sweeps: int = 10_000,
    progress: bool | None = None,
    seed: int = 0,
) -> Barriers:
    """Find the saddles of the free energy between solutions, and with them how high the barriers are.

    On the straight way from a solution to another, states are found on either side of the ridge that bounds the first
    one's basin. From there the slope is followed, by damped sweeps, down along the ridge and up across it, to a saddle
    (gentlest ascent: E and Zhou, Nonlinearity 24, 1831, 2011); Newton's method finds this to the last digits. It counts
    if the free energy falls from it in exactly one direction; which minima it lies between is found by going down on
    both sides.

    What comes out is a graph of minima and saddles that are certain, and barriers, which are upper bounds: another
    path may be lower.

    Parameters
    ----------
    machine : Machine
        Of two-state, Gaussian or truncated units; it is taken in float64.
    solutions : Solutions
        Of this machine, by ``"tap"`` or ``"nmf"``; converged ones count, each distinct one once.
    pairs : (P, 2) array_like of int, optional
        Between which distinct solutions to search, by their rank in free energy. None: each and its `neighbours`
        nearest, and so many more that all are joined, as far as that succeeds.
    neighbours : int
        By the distance of visible means.
    max_sweeps : int
        Most sweeps of a chain down to a minimum.
    progress : bool, optional
        Show a progress bar; None shows one when standard error is a terminal.
    seed : int
        Of the vector from which curvatures are sought, and of small steps off points at which chains come to rest.

    Returns
    -------
    Barriers

    Raises
    ------
    ValueError
        No converged solutions, another machine's or method's, units that lack a fourth cumulant; another argument
        outside its range.

    Warns
    -----
    UserWarning
        Where minima stay that no saddle joins to the rest.

    Notes
    -----
    Saddles are stationary to 1e-10 in any mean or variance; what Newton's method does not bring that far is no saddle.
    """
    check_machine(machine)
    check_solved("solutions", solutions, machine)
    space = Space.of(machine, solutions.method)
    max_sweeps = checks.integer("max_sweeps", max_sweeps, minimum=1)
    neighbours = checks.integer("neighbours", neighbours, minimum=1)
    rng = np.random.default_rng(checks.integer("seed", seed, minimum=0))
    minima = _minima(space, solutions)
    wanted = _near(minima, neighbours) if pairs is None else _checked(pairs, len(minima))
    search = _Search(space, Basins(space, minima, FLOWING, SAME, max_sweeps), rng)
    hidden = None if progress is None else not progress
    with tqdm(unit="pair", disable=hidden) as bar:
        search.between(wanted, bar)
        if pairs is None:
            search.join(bar)
    found = search.result()
    loose = len(found.minima) - 1 - len(found.merges())
    if loose and pairs is None:
        warnings.warn(f"no saddle was found that joins the minima: they are {loose + 1} separate groups", stacklevel=2)
    return found


def _minima(space: Space, solutions: Solutions) -> Solutions:
    """Distinct solutions of the machine in float64, to the last digits, at which the free energy rises on all sides."""
    start = State.of(solutions[solutions.converged])
    points, residual = refined(space, start.mean, start.var)
    rows = np.flatnonzero(residual <= STILL)
    if not rows.size:
        raise ValueError("solutions must hold at least one that has converged, got none")
    found = _solutions(space, [points[k] for k in rows], residual[rows], solutions.method).unique(SAME)
    found = found[curvatures(space.machine, found)[:, 0] > 0]
    if not len(found):
        raise ValueError("solutions must hold at least one minimum of the free energy, got saddles only")
    return replace(found, counts=None, labels=None)


def _solutions(space: Space, points: Sequence[Point], residual: ArrayLike, method: str) -> Solutions:
    """Stationary points as the result of an inference."""
    found = State.at(points).solutions(space, method)
    found.residual[:] = found.distance[:] = residual
    found.converged[:] = True
    return found


def _checked(pairs: ArrayLike, count: int) -> Pairs:
    array = np.asarray(pairs)
    if array.ndim != 2 or array.shape[1] != 2 or array.dtype.kind not in "iu":
        raise ValueError(f"pairs must be integers of shape (P, 2), got {array.dtype} of shape {array.shape}")
    if array.size and not (array.min() >= 0 and array.max() < count):
        raise ValueError(f"pairs must be of the {count} distinct solutions, 0 to {count - 1}")
    if (array[:, 0] == array[:, 1]).any():
        raise ValueError("pairs must be of two different solutions each")
    return array.astype(np.int64)


def _near(minima: Solutions, neighbours: int) -> Pairs:
    """Each minimum with its nearest ones, and a tree that joins all."""
    if len(minima) < 2:
        return np.zeros((0, 2), np.int64)
    apart = cdist(minima.mean[0], minima.mean[0])
    tree = minimum_spanning_tree(apart).tocoo()
    pairs = {(int(min(p)), int(max(p))) for p in zip(tree.row, tree.col, strict=True)}
    np.fill_diagonal(apart, np.inf)
    for a, row in enumerate(apart):
        nearest = np.argsort(row, kind="stable")[: min(neighbours, len(minima) - 1)]
        pairs |= {(min(a, int(b)), max(a, int(b))) for b in nearest}
    return np.array(sorted(pairs), np.int64)


class _Search:
    """Saddles so far."""

    def __init__(self, space: Space, basins: Basins, rng: np.random.Generator) -> None:
        self.space, self.basins, self.rng = space, basins, rng
        self.start = rng.standard_normal(space.size)
        self.points: list[Point] = []
        self.residual: list[float] = []
        self.curvature: list[float] = []
        self.ends: list[tuple[int, int]] = []
        self.tried: list[Pairs] = []

    def between(self, pairs: Pairs, bar: tqdm[Any]) -> None:
        """Search between pairs of minima."""
        self.tried.append(pairs)
        bar.total = (bar.total or 0) + len(pairs)
        bar.refresh()
        for a in range(0, len(pairs), AT_ONCE):
            some = pairs[a : a + AT_ONCE]
            self._search(some)
            bar.update(len(some))
            bar.set_postfix_str(f"{len(self.points)} saddles", refresh=False)

    def join(self, bar: tqdm[Any]) -> None:
        """Search between minima that nothing joins yet, the nearest ones of separate groups."""
        fruitless = 0
        for _ in range(JOINS):
            pairs, before = self._across(), len(self.points)
            if not len(pairs) or fruitless == IN_VAIN:
                break
            self.between(pairs, bar)
            fruitless = fruitless + 1 if len(self.points) == before else 0

    def result(self) -> Barriers:
        """The graph of distinct saddles between two different minima."""
        minima = self.basins.minima
        kept = [k for k, (a, b) in enumerate(self.ends) if a != b]
        if not kept:
            none = State.of(minima[:0]).solutions(self.space, minima.method)
            return Barriers(minima, none, np.zeros((0, 2), np.int64), np.zeros(0))
        residual = [self.residual[k] for k in kept]
        saddles = _solutions(self.space, [self.points[k] for k in kept], residual, minima.method).unique(SAME)
        assert saddles.labels is not None
        # Any of those that are one leads down to the same minima.
        first = [kept[int(np.flatnonzero(saddles.labels == k)[0])] for k in range(len(saddles))]
        ends = np.array([self.ends[k] for k in first], np.int64)
        curvature = np.array([self.curvature[k] for k in first])
        return Barriers(minima, replace(saddles, counts=None, labels=None), ends, curvature)

    def _across(self) -> Pairs:
        """The nearest pair of minima of each group and the rest that has not been tried, from both of them."""
        minima = self.basins.minima
        ends = np.array(self.ends, np.int64).reshape(-1, 2)
        graph = coo_matrix((np.ones(len(ends)), ends.T), shape=(len(minima), len(minima)))
        groups, label = connected_components(graph, directed=False)
        if groups == 1:
            return np.zeros((0, 2), np.int64)
        apart = cdist(minima.mean[0], minima.mean[0])
        done = np.concatenate([*self.tried, np.zeros((0, 2), np.int64)])
        apart[done[:, 0], done[:, 1]] = np.inf
        pairs = set()
        for group in range(groups):
            own, others = np.flatnonzero(label == group), np.flatnonzero(label != group)
            for first, second in ((own, others), (others, own)):
                block = apart[np.ix_(first, second)]
                a, b = np.unravel_index(block.argmin(), block.shape)
                if np.isfinite(block[a, b]):
                    pairs.add((int(first[a]), int(second[b])))
        return np.array(sorted(pairs), np.int64).reshape(-1, 2)

    def _search(self, pairs: Pairs) -> None:
        minima = State.of(self.basins.minima)
        low, high = ridge(self.basins, minima.rows(pairs[:, 0]), minima.rows(pairs[:, 1]), pairs[:, 0])
        for _ in range(ROUNDS):
            left = ~self._take(climb(self.basins, low, high))
            if not left.any():
                break
            # From beside, as where the free energy falls in several directions a chain may rest.
            low, high = (x.rows(left).nudged(KICK, self.rng).within(self.space) for x in (low, high))

    def _take(self, near: State) -> NDArray[np.bool_]:
        """Keep the saddles near states; near which of these there is one."""
        points, residual = refined(self.space, near.mean, near.var)
        found, kept = np.zeros(len(near), np.bool_), []
        for k in np.flatnonzero(residual <= STILL):
            values, vectors = highest(self.space, points[k], 2, LANCZOS, self.start)
            curvature = 1 - values
            if curvature[0] < 0 < curvature[1]:
                kept.append((k, float(curvature[0]), sides(self.space, points[k], vectors[:, 0])))
        if not kept:
            return found
        labels = self.basins.down(State.joined(*(both for _, _, both in kept)), KICK, self.rng)
        for (k, lowest, _), (a, b) in zip(kept, labels.reshape(-1, 2), strict=True):
            if min(a, b) >= 0:
                found[k] = True
                self.points.append(points[k])
                self.residual.append(float(residual[k]))
                self.curvature.append(lowest)
                self.ends.append((int(min(a, b)), int(max(a, b))))
        return found
