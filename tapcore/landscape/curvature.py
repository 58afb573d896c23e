"""Second derivatives of the free energy at solutions: whether these are minima, and how flat."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.sparse.linalg import LinearOperator, eigsh

from tapcore._base import checks
from tapcore.inference.methods import check_method
from tapcore.inference.solution import Solutions, check_solved
from tapcore.machine import Machine, check_machine
from tapcore.units.interface import Unit
from tapcore.units.sites import CUMULANTS, call_rows, check_can, sites_of

Array = NDArray[Any]

# Below this, relative to what they are differences of, squares are rounding errors.
ROUNDED = 1e-13
# Up to so many numbers of a state all eigenvalues are found at once.
DENSE = 60


def curvatures(
    machine: Machine, solutions: Solutions, *, count: int = 1, tol: float = 1e-8, seed: int = 0
) -> NDArray[np.float64]:
    """Lowest curvatures of the free energy at solutions: one below 0 for each direction in which it falls.

    Eigenvalues of the Hessian of F, as a function of the averages of x and of x^2 of all units, in the coordinates in
    which the units' own part of it is the identity. They are 1 where nothing couples, below 0 in the directions in
    which a saddle is left, and 0 where a solution is about to vanish. One less an eigenvalue is an eigenvalue of the
    Jacobian of a sweep of all layers at once; all are real.

    Parameters
    ----------
    machine : Machine
    solutions : Solutions
        Converged ones, of this machine, by ``"tap"`` or ``"nmf"``.
    count : int
        How many.
    tol : float
        Relative error of the distance from 1, by Lanczos iteration.
    seed : int
        Of the vector that the iteration starts from.

    Returns
    -------
    (K, count) float64 array
        In rising order; NaN for a solution that is not finite.

    Raises
    ------
    ValueError
        Solutions of another machine or method, units that lack a fourth cumulant, an argument outside its range.

    Notes
    -----
    With ``E = sum W a_i a_j + W^2 c_i c_j/2``, the coupling terms of Eq. 35, and C_i the covariance of x and
    ``-(x - a)^2/2`` of unit i, the Hessian is ``C^{-1} - d^2 E``. A product with it takes four of a vector with W or
    W^2.
    """
    check_machine(machine)
    check_solved("solutions", solutions, machine)
    count = checks.integer("count", count, minimum=1)
    tol = checks.number("tol", tol, minimum=0)
    rng = np.random.default_rng(checks.integer("seed", seed, minimum=0))
    space = Space.of(machine, solutions.method)
    if count > space.size:
        raise ValueError(f"count must be at most {space.size}, the numbers that a state has, got {count}")
    points = space.points(*space.wide(solutions))
    found = np.full((len(solutions), count), np.nan)
    start = rng.standard_normal(space.size)
    for k, point in enumerate(points):
        if all(np.isfinite(x).all() for x in (*point.mean, *point.var)):
            found[k] = 1 - highest(space, point, count, tol, start)[0]
    return found


class Point(NamedTuple):
    """A state of a machine: arrays (n_l,) of each layer, and the roots of the units' covariances.

    `A` is what the neighbours' variances make of the precisions.
    For the covariance of x and ``-(x - mean)^2/2`` of a unit, the root is ``[[first, 0], [mixed, second]]``: it times
    its transpose is the covariance.
    """

    mean: tuple[Array, ...]
    var: tuple[Array, ...]
    first: tuple[Array, ...]
    mixed: tuple[Array, ...]
    second: tuple[Array, ...]
    A: tuple[Array, ...]


class Space(NamedTuple):
    """A machine of float64, its squared weights, and how it is expanded."""

    machine: Machine
    squares: tuple[Array, ...]
    order: int

    @classmethod
    def of(cls, machine: Machine, method: str) -> Space:
        """For a method that has a free energy of first or second order; ValueError for what it cannot do."""
        order = check_method(machine, method, lambda m: m.stability and 0 < m.order < 3).order
        check_can(machine.layers, CUMULANTS)
        for i, layer in enumerate(machine.layers):
            if any(block.widths is not None for block in layer.blocks):
                raise ValueError(f"curvature is known of sites of one column each, got those of layers[{i}]")
        machine = machine.replace(dtype="float64")
        return cls(machine, tuple(W * W for W in machine.weights) if order > 1 else (), order)

    @property
    def size(self) -> int:
        """Numbers of a vector: two for each unit."""
        return 2 * sum(self.machine.sizes)

    def wide(self, solutions: Solutions) -> tuple[list[Array], list[Array]]:
        """Fields and precisions (K, n_l) of solutions, from their means and variances."""
        mean, var = (tuple(x.astype(np.float64) for x in layers) for layers in (solutions.mean, solutions.var))
        return self.fields(mean, var)

    def fields(self, mean: Sequence[Array], var: Sequence[Array]) -> tuple[list[Array], list[Array]]:
        """What the neighbours' means and variances (K, n_l) do to each layer (Eqs. 32, 33)."""
        B = self.summed(self.machine.weights, mean)
        A = self.precisions(var)
        return [b + a * m for b, a, m in zip(B, A, mean, strict=True)], A

    def precisions(self, var: Sequence[Array]) -> list[Array]:
        """What the neighbours' variances (K, n_l) do to each layer; nothing in first order (Eq. 32)."""
        return [-x for x in self.summed(self.squares, var)]

    def points(self, B: Sequence[Array], A: Sequence[Array]) -> list[Point]:
        """States of units in fields and precisions (K, n_l)."""
        columns = []
        for layer, b, a in zip(self.machine.layers, B, A, strict=True):
            _, mean, var = layer.moments(b, a)
            columns.append((mean, var, *_roots(layer, b, a, var)))
        parts = [*zip(*columns, strict=True)]
        parts.append(tuple(self.precisions(parts[1])))
        return [Point(*(tuple(x[k] for x in layers) for layers in parts)) for k in range(len(B[0]))]

    def coupled(self, at: Point, first: Sequence[Array], second: Sequence[Array]) -> tuple[list[Array], list[Array]]:
        """The second derivatives of the coupling terms times changes of the means, and of -1/2 of the variances."""
        by_mean = self.summed(self.machine.weights, [x[None] for x in first])
        by_var = self.summed(self.squares, [2 * x[None] for x in second])
        return [x[0] + a * d for x, a, d in zip(by_mean, at.A, first, strict=True)], [x[0] for x in by_var]

    def summed(self, weights: Sequence[Array], x: Sequence[Array]) -> list[Array]:
        """What `weights` send each layer of the rows `x` (K, n_l) of its neighbours."""
        found = [np.zeros_like(layer) for layer in x]
        for i, W in enumerate(weights):
            found[i] += x[i + 1] @ W.T
            found[i + 1] += x[i] @ W
        return found

    def halves(self, vector: Array) -> tuple[list[Array], list[Array]]:
        """First and second coordinates (n_l,) of each layer, of a vector (size,)."""
        first, second = (np.split(half, np.cumsum(self.machine.sizes)[:-1]) for half in np.split(vector, 2))
        return first, second

    def product(self, at: Point, vector: Array) -> Array:
        """One less the Hessian, times a vector (size,): all first coordinates, then all second ones."""
        first, second = scaled(at, *self.halves(vector))
        to_mean, to_var = self.coupled(at, first, second)
        return np.concatenate([
            *(f * a + m * b for f, m, a, b in zip(at.first, at.mixed, to_mean, to_var, strict=True)),
            *(s * b for s, b in zip(at.second, to_var, strict=True)),
        ])  # fmt: skip


def scaled(at: Point, y: Sequence[Array], z: Sequence[Array]) -> tuple[list[Array], list[Array]]:
    """Changes of the means, and of -1/2 of the variances, that coordinates say."""
    first = [f * a for f, a in zip(at.first, y, strict=True)]
    return first, [m * a + s * b for m, s, a, b in zip(at.mixed, at.second, y, z, strict=True)]


def highest(space: Space, at: Point, count: int, tol: float, start: Array) -> tuple[Array, Array]:
    """The largest eigenvalues of one less the Hessian, falling, and their vectors (size, count)."""
    size = space.size
    if size <= DENSE or count > size // 2:
        matrix = np.stack([space.product(at, row) for row in np.eye(size)])
        values, vectors = np.linalg.eigh((matrix + matrix.T) / 2)
        return values[::-1][:count], vectors[:, ::-1][:, :count]
    operator = LinearOperator((size, size), lambda x: space.product(at, np.ravel(x)), dtype=np.float64)
    values, vectors = eigsh(operator, k=count, which="LA", tol=tol, v0=start)
    order = np.argsort(-values)
    return values[order], vectors[:, order]


def _roots(layer: Unit, B: Array, A: Array, var: Array) -> tuple[Array, Array, Array]:
    third, fourth = np.empty_like(var), np.empty_like(var)
    call_rows(sites_of([layer], CUMULANTS), CUMULANTS, np.ascontiguousarray(B), np.ascontiguousarray(A), third, fourth)
    first = np.sqrt(var)
    with np.errstate(divide="ignore", invalid="ignore"):
        mixed = np.where(first > 0, -third / (2 * first), 0.0)
        spread = (fourth + 2 * var * var) / 4
        rest = spread - mixed * mixed
    # Of two states the square is a linear function of the value, and nothing is left.
    rest = np.where(rest > ROUNDED * (np.abs(fourth) + 2 * var * var), rest, 0.0)
    return first, mixed, np.sqrt(rest)
