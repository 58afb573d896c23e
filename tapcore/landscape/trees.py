"""Trees of solutions: which were one earlier in training, or at a higher temperature."""

from __future__ import annotations

import math
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from tapcore._base import checks
from tapcore.grouping.merging import tolerance_for
from tapcore.inference.solution import Solutions, check_solved
from tapcore.inference.solve import solve
from tapcore.machine import Machine
from tapcore.storage.machines import RunFolder, epoch_of, load

Array = NDArray[Any]


@dataclass(frozen=True, eq=False, repr=False)
class SolutionTree:
    """A tree whose leaves are the solutions of a machine.

    Nodes are numbered from the leaves, which are first and in the order of `solutions`, to the root, which is last.
    Each is a solution of the machine at its position, where those below it have become one; but the root only if
    `joined`.

    Attributes
    ----------
    along : {"epoch", "beta"}
        What positions are.
    position : (N,) float64 array
        Of each node.
    parent : (N,) int64 array
        The node above each; -1 for the root.
    free_energy : (N,) float64 array
        Of each node; NaN for a root that is no solution.
    mean : (N, n_visible) array
        Visible means of each node; of a root that is no solution, their average over the nodes right below it.
    solutions : Solutions
        The leaves.
    joined : bool
        Whether all solutions come from one. If not, those that are left at the first position, or are lost on the way
        as chains from them do not converge, hang from a root there.
    """

    along: str
    position: NDArray[np.float64]
    parent: NDArray[np.int64]
    free_energy: NDArray[np.float64]
    mean: Array
    solutions: Solutions
    joined: bool

    def __len__(self) -> int:
        return len(self.parent)

    def __repr__(self) -> str:
        return f"SolutionTree({len(self.solutions)} leaves, {len(self)} nodes along {self.along})"

    @property
    def names(self) -> list[str]:
        """Of the nodes: S0, S1, ... for the leaves, N with the number of the node for others."""
        leaves = len(self.solutions)
        return [f"S{k}" if k < leaves else f"N{k}" for k in range(len(self))]

    @property
    def children(self) -> list[list[int]]:
        """The nodes right below each node, in rising order."""
        found: list[list[int]] = [[] for _ in self.parent]
        for node, above in enumerate(self.parent):
            if above >= 0:
                found[above].append(node)
        return found

    def leaves_below(self) -> list[list[int]]:
        """The leaves below each node; of a leaf, itself."""
        found = [[k] if k < len(self.solutions) else [] for k in range(len(self))]
        for node, above in enumerate(self.parent):  # those below a node come before it
            if above >= 0:
                found[above] += found[node]
        return found

    def newick(self) -> str:
        """The tree in Newick format, with the names of all nodes, and differences of positions as lengths."""
        names, parts = self.names, [""] * len(self)
        for node, below in enumerate(self.children):
            inner = f"({','.join(parts[child] for child in below)})" if below else ""
            above = self.parent[node]
            length = f":{abs(self.position[node] - self.position[above]):.9g}" if above >= 0 else ""
            parts[node] = f"{inner}{names[node]}{length}"
        return f"{parts[-1]};"


def solution_tree(
    machine: Machine | str | os.PathLike[str],
    solutions: Solutions,
    *,
    betas: ArrayLike | None = None,
    merge: float | None = None,
    tol: float = 1e-6,
    max_sweeps: int = 10_000,
) -> SolutionTree:
    """Join the solutions of a machine into a tree, as training goes back or the temperature rises.

    Chains start from the solutions of one machine and go to those of the one before it, a run's checkpoint or the same
    machine at a smaller `Machine.at`; where chains of two solutions meet, these were one.

    Parameters
    ----------
    machine : Machine, or str or path
        A machine, of which temperatures rise; or the folder of a training run, whose checkpoints are taken, the machine
        that stands for the run last.
    solutions : Solutions
        Distinct ones of the machine, or of the one that stands for the run, as `harvest` or `Solutions.unique` give.
    betas : (n,) array_like, optional
        Inverse temperatures below 1, for a machine; None takes 0.98, 0.96, ... down to 0.
    merge : float, optional
        Largest difference in any mean at which two chains are at one solution; None chooses it as `harvest` does.
    tol, max_sweeps
        As for `solve`.

    Returns
    -------
    SolutionTree

    Raises
    ------
    ValueError
        Solutions that are not of the machine or have not converged, or a run without an earlier checkpoint; betas
        outside [0, 1), or given for a run; another argument outside its range.
    """
    tol = checks.number("tol", tol, minimum=0)
    max_sweeps = checks.integer("max_sweeps", max_sweeps, minimum=1)
    if isinstance(machine, Machine):
        earlier: Iterable[tuple[float, Machine]] = ((beta, machine.at(beta)) for beta in _betas(betas))
        along, last, here = "beta", 1.0, machine
    else:
        if betas is not None:
            raise ValueError("betas are of a machine: a run has its checkpoints")
        way = RunFolder(machine).way()
        if len(way) < 2:
            raise ValueError(f"{machine}: a tree needs checkpoints of a run before its last one")
        earlier = ((epoch_of(path), load(path)) for path in way[-2::-1])
        along, last, here = "epoch", epoch_of(way[-1]), load(way[-1])
    check_solved("solutions", solutions, here)
    if not solutions.converged.all():
        k = int(np.argmin(solutions.converged))
        raise ValueError(f"solutions must have converged, as those of harvest or unique have: chain {k} has not")
    merge = tolerance_for("merge", merge, tol, here.dtype)
    growing = _Growing(solutions, last)
    how: dict[str, Any] = {"method": solutions.method, "tol": tol, "max_sweeps": max_sweeps}
    for at, before in earlier:
        if growing.one:
            break
        growing.back_to(at, solve(before, growing.now, **how), merge)
    return growing.tree(along)


def _betas(betas: ArrayLike | None) -> list[float]:
    array = np.arange(49, -1, -1) / 50 if betas is None else np.asarray(checks.real_array("betas", betas), np.float64)
    if array.ndim != 1 or not array.size:
        raise ValueError(f"betas must be a row of numbers, got shape {array.shape}")
    if not ((array >= 0) & (array < 1)).all():
        raise ValueError("betas must be at least 0 and below 1, which is the machine as it is")
    return [float(beta) for beta in np.unique(array)[::-1]]


class _Growing:
    """A tree while it grows from its leaves."""

    def __init__(self, solutions: Solutions, position: float) -> None:
        self.solutions = self.now = solutions
        self.position = [position] * len(solutions)
        self.parent = [-1] * len(solutions)
        self.free_energy = [float(x) for x in solutions.free_energy]
        self.mean: list[Array] = list(solutions.mean[0])
        self.tips = list(range(len(solutions)))  # the nodes that are on their way, rows of `now`
        self.lost: list[int] = []
        self.at = position

    @property
    def one(self) -> bool:
        """Whether there is nothing left to join."""
        return len(self.tips) < 2

    def back_to(self, position: float, ended: Solutions, merge: float) -> None:
        """Join those that have met at a position."""
        self.at = position
        distinct = ended.unique(merge)
        assert distinct.labels is not None
        self.lost += [self.tips[k] for k in np.flatnonzero(distinct.labels < 0)]
        tips = []
        for row in range(len(distinct)):
            members = [self.tips[k] for k in np.flatnonzero(distinct.labels == row)]
            tips.append(members[0] if len(members) == 1 else self._node(
                members, position, float(distinct.free_energy[row]), distinct.mean[0][row]
            ))  # fmt: skip
        self.now, self.tips = distinct, tips

    def tree(self, along: str) -> SolutionTree:
        """What has grown, with a root."""
        tips = [*self.tips, *self.lost]
        joined = len(tips) == 1
        if not joined:
            self._node(tips, self.at, math.nan, np.mean([self.mean[k] for k in tips], axis=0))
        return SolutionTree(
            along, np.array(self.position), np.array(self.parent, np.int64), np.array(self.free_energy),
            np.array(self.mean), self.solutions, joined,
        )  # fmt: skip

    def _node(self, members: Sequence[int], position: float, free_energy: float, mean: Array) -> int:
        node = len(self.parent)
        for member in members:
            self.parent[member] = node
        self.parent.append(-1)
        self.position.append(position)
        self.free_energy.append(free_energy)
        self.mean.append(mean)
        return node
