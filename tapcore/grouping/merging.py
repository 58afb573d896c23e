"""Which chains are at the same solution: of chains at hand, and of a stream of any length."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from tapcore._base import checks
from tapcore.grouping.rows import Integers, Rows, hash_rows, rows_in
from tapcore.grouping.splitting import grow
from tapcore.grouping.tree import DEPTH, PER_NODE, elect, empty_tree, find, link, listed, unlink

# Chains are merged within SAFETY times the largest distance from a solution, but not further apart than LOOSEST.
SAFETY, LOOSEST = 100.0, 1e-2
# A store has room for this many solutions at first. Its tree is made anew when a list at its bottom is too long and
# there are this many times the solutions there were the last time.
ROOM, STALE = 64, 1.125


def merging_distance(distance: NDArray[np.float64], dtype: Any) -> float:
    """The difference in means up to which two chains count as one solution, from how closely they converged.

    ``max(min(100 d, 0.01), sqrt(eps))`` for the largest distance d and eps the spacing of numbers at 1: far above the
    differences between chains at one solution, at most 2 d, and far below the gaps between solutions. The bound of 0.01
    keeps a few poorly converged chains from making all solutions one; they may then count as solutions of their own.

    Parameters
    ----------
    distance : (K,) array
        Estimated distances of converged chains to their solutions; those that are not finite do not count.
    dtype : dtype
        Of the means.
    """
    finite = distance[np.isfinite(distance)]
    largest = float(finite.max()) if finite.size else 0.0
    return max(min(SAFETY * largest, LOOSEST), float(np.sqrt(np.finfo(dtype).eps)))


def tolerance_for(name: str, tol: float | None, distances: ArrayLike, dtype: Any) -> float:
    """The difference in means up to which chains count as one solution: a user's choice or `merging_distance`.

    Parameters
    ----------
    name : str
        Of the user's argument, for the message.
    tol : float or None
        What the user gave.
    distances : float or (K,) array
        How far converged chains are from their solutions: estimated, or what they converged to.
    dtype : dtype
        Of the means.

    Raises
    ------
    ValueError
        `tol` is negative or not a finite number.
    """
    if tol is None:
        return merging_distance(np.atleast_1d(np.asarray(distances, np.float64)), dtype)
    return checks.number(name, tol, minimum=0)


def merge(means: tuple[NDArray[Any], ...], distance: NDArray[np.float64], tol: float) -> tuple[Integers, Integers]:
    """Group rows whose entries all differ by at most `tol` from the group's most tightly converged row.

    Rows are taken in the order of their distance, and of a hash of their values where that is equal: each joins the
    nearest row that leads a group, the earlier one of two as near, if none of their entries differ by more than `tol`;
    else it leads a new group. So groups do not depend on the order of the rows.

    The time is near-linear in the number of rows, however many are alike, as long as solutions are a few `tol` apart or
    lie on a surface of few dimensions. A cloud of many dimensions as wide as `tol` is compared pair by pair.

    Parameters
    ----------
    means : tuple of (K, n_l) arrays
        One a layer. Rows that are not finite are in no group.
    distance : (K,) array
        How far each row is from its solution; rows of distance NaN are in no group.
    tol : float
        Largest difference in any mean.

    Returns
    -------
    leaders : (groups,) int64 array
        Row of each group's leader.
    labels : (K,) int64 array
        Group of each row; -1 for none.
    """
    matrices = _alike(means, np.result_type(*means))
    rows = rows_in(matrices)
    order, _ = _order(rows, distance)
    return _merge(rows, order, tol, len(distance))


def _merge(rows: Rows, order: Integers, tol: float, count: int) -> tuple[Integers, Integers]:
    """As `merge`, of `count` rows those in `order`."""
    labels = np.full(count, -1, dtype=np.int64)
    tree = empty_tree(2 * order.size + 1, int(rows.table[:, 1].sum()))
    grow(rows, order.copy(), tree, 0, 1, tol)
    return elect(rows, order, tol, tree, labels), labels


def _alike(means: Sequence[NDArray[Any]], dtype: Any) -> list[NDArray[Any]]:
    """As kernels take them: copies only of what lies otherwise in memory."""
    return [np.require(m, dtype, ["C", "A"]) for m in means]


def _order(rows: Rows, distance: NDArray[np.float64]) -> tuple[Integers, Integers]:
    """Rows that take part, the closest to their solution first, and the hashes of all rows."""
    hashes = np.empty(len(distance), dtype=np.int64)
    hash_rows(rows, hashes)
    order = np.lexsort((hashes, distance))
    return order[(hashes[order] >= 0) & ~np.isnan(distance[order])], hashes


class Gathered:
    """The distinct solutions in a stream of converged chains, each kept once.

    Memory grows with the number of solutions, not of chains. Every chain is compared with the solutions near it only,
    so that the time to add chains is near-linear in their number (see `merge`).

    Solutions and labels are in the order of arrival. Apart from that the result depends neither on the order of the
    chains nor on how they are dealt to calls of `add`, if no chain is further than d from its solution, ``2 d <= tol``,
    and solutions are more than ``tol + 2 d`` apart in some mean, for which 2 `tol` is always enough. Otherwise a chain
    between two solutions may come to another one, and solutions whose chains come closer as tighter ones replace looser
    ones stay two; `merge` of `means` and `distance` finds those.

    Parameters
    ----------
    sizes : sequence of int
        Units in each layer.
    dtype : dtype
        Of the means.
    tol : float
        Largest difference in any mean, at least 0.
    """

    def __init__(self, sizes: Sequence[int], dtype: Any, tol: float) -> None:
        self.tol = checks.number("tol", tol, minimum=0)
        self.sizes = tuple(sizes)
        self._count = self._built = 0
        self._columns: dict[str, NDArray[Any]] = {}
        self._make_columns({name: np.zeros((0, n), dtype) for name, n in zip(self._layers, self.sizes, strict=True)})
        self._make_columns({_DISTANCE: np.zeros(0), _HASH: np.zeros(0, np.int64), _COUNT: np.zeros(0, np.int64)})
        self._tree, self._used = empty_tree(1, sum(self.sizes)), 1
        self._following, self._place = np.zeros(ROOM, np.int64), np.arange(ROOM)

    def __len__(self) -> int:
        return self._count

    @property
    def means(self) -> tuple[NDArray[Any], ...]:
        """Means of the most tightly converged chain of each solution: (S, n_l) arrays, valid until the next `add`."""
        return tuple(self._columns[name][: self._count] for name in self._layers)

    @property
    def distance(self) -> NDArray[np.float64]:
        """(S,) distances of these chains to their solutions."""
        return self._columns[_DISTANCE][: self._count]

    @property
    def counts(self) -> Integers:
        """(S,) numbers of chains at each solution."""
        return self._columns[_COUNT][: self._count]

    @property
    def kept(self) -> dict[str, NDArray[Any]]:
        """What else was given with these chains, by name."""
        own = {*self._layers, *_OWN}
        return {name: x[: self._count] for name, x in self._columns.items() if name not in own}

    def add(self, means: Sequence[NDArray[Any]], distance: NDArray[np.float64], **others: NDArray[Any]) -> Integers:
        """Add K converged chains.

        Parameters
        ----------
        means : sequence of (K, n_l) arrays
            One a layer.
        distance : (K,) array
            How far each chain is from its solution: the closest stands for it.
        **others : (K, ...) arrays
            What else to keep of the chains that stand for solutions, such as ``free_energy``; the same names each time.

        Returns
        -------
        (K,) int64 array
            Number of each chain's solution, which stays; -1 for a row that is not finite or has distance NaN.
        """
        batch = self._checked(means, distance, others)
        rows = rows_in([batch[name] for name in self._layers])
        order, batch[_HASH] = _order(rows, batch[_DISTANCE])
        labels = np.full(len(distance), -1, dtype=np.int64)
        find(rows, order, self._tree, self._rows, self._place, self._following, self.tol, labels)
        known = labels[order] >= 0
        self._tighten(batch, order[known], labels)
        leaders, groups = _merge(rows, order[~known], self.tol, len(distance))
        labels[groups >= 0] = self._count + groups[groups >= 0]
        self._append(batch, leaders)
        np.add.at(self.counts, labels[order], 1)
        return labels

    @property
    def _layers(self) -> list[str]:
        # Names of columns of ours have a space, which those of callers cannot.
        return [f"mean {layer}" for layer in range(len(self.sizes))]

    @property
    def _rows(self) -> Rows:
        return rows_in([self._columns[name] for name in self._layers])

    def _checked(
        self, means: Sequence[NDArray[Any]], distance: NDArray[np.float64], others: dict[str, NDArray[Any]]
    ) -> dict[str, NDArray[Any]]:
        """The columns of a batch."""
        sizes = tuple(m.shape[1] for m in means)
        if sizes != self.sizes:
            raise ValueError(f"means must be of layers {self.sizes}, got layers {sizes}")
        batch = dict(zip(self._layers, _alike(means, self._rows.like.dtype), strict=True))
        batch |= {_DISTANCE: np.asarray(distance, dtype=np.float64)} | others
        lengths = {len(x) for x in batch.values()}
        if len(lengths) > 1:
            raise ValueError(f"what is added must be as many rows of everything, got {sorted(lengths)}")
        if self._count == 0:
            self._make_columns({name: x for name, x in others.items() if name not in self._columns})
        if set(others) != set(self.kept):
            raise ValueError(f"what is kept must stay {sorted(self.kept)}, got {sorted(others)}")
        return batch

    def _make_columns(self, like: dict[str, NDArray[Any]]) -> None:
        room = len(self._columns[_COUNT]) if self._columns.get(_COUNT) is not None else ROOM
        self._columns |= {name: np.zeros((room, *x.shape[1:]), x.dtype) for name, x in like.items()}

    def _write(self, numbers: Integers, batch: dict[str, NDArray[Any]], rows: Integers) -> None:
        for name, x in batch.items():
            self._columns[name][numbers] = x[rows]

    def _tighten(self, batch: dict[str, NDArray[Any]], order: Integers, labels: Integers) -> None:
        """Replace solutions by their first chain in `order` where that one is closer to convergence."""
        numbers, first = np.unique(labels[order], return_index=True)
        rows = order[first]
        distance, old = batch[_DISTANCE][rows], self.distance[numbers]
        tie = (distance == old) & (batch[_HASH][rows] < self._columns[_HASH][numbers])
        closer = (distance < old) | tie
        numbers, rows = numbers[closer], rows[closer]
        # A row that moves may come to another leaf.
        unlink(self._tree, self._rows, self._following, numbers)
        self._write(numbers, batch, rows)
        link(self._tree, self._rows, self._following, numbers)

    def _append(self, batch: dict[str, NDArray[Any]], rows: Integers) -> None:
        """Add the rows of a batch as solutions."""
        numbers = np.arange(self._count, self._count + len(rows))
        self._count += len(rows)
        room = len(self._place)
        if self._count > room:
            room = max(self._count, 2 * room)
            self._columns = {name: _with_room(x, room) for name, x in self._columns.items()}
            self._following, self._place = _with_room(self._following, room), np.arange(room)
        self._write(numbers, batch, rows)
        link(self._tree, self._rows, self._following, numbers)
        self._split_crowded()

    def _split_crowded(self) -> None:
        """Split leaves that list too much, or make the tree anew if one is too deep to be split."""
        tree = self._tree
        crowded = np.flatnonzero(tree.size[: self._used] > tree.limit[: self._used])
        if np.any(tree.depth[crowded] >= DEPTH) and self._count > STALE * self._built:
            self._built = self._count
            self._tree, self._used = empty_tree(1, sum(self.sizes)), 1
            self._split(0, np.arange(self._count))
            return
        for leaf in crowded.tolist():
            self._split(leaf, listed(self._tree, self._following, leaf))

    def _split(self, leaf: int, numbers: Integers) -> None:
        nodes = self._used + 2 * len(numbers)
        if nodes > len(self._tree.column):
            self._tree = self._tree._replace(
                **{name: _with_room(getattr(self._tree, name), 2 * nodes) for name in PER_NODE}
            )
        self._used = grow(self._rows, numbers, self._tree, leaf, self._used, self.tol)
        link(self._tree, self._rows, self._following, numbers)


_DISTANCE, _HASH, _COUNT = _OWN = "the distance", "the hash", "the count"


def _with_room(x: NDArray[Any], room: int) -> NDArray[Any]:
    grown = np.zeros((room, *x.shape[1:]), x.dtype)
    grown[: len(x)] = x
    return grown
