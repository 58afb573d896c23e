"""Categorical units: one of q states each, written as q columns of which one is 1."""

from __future__ import annotations

from typing import Any, NamedTuple, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from tapcore._base import checks
from tapcore._base.jit import scalar
from tapcore._base.random import Stream
from tapcore.special.exponential import exp
from tapcore.units.interface import Unit
from tapcore.units.rows import Array, row_draw, row_log_z, row_moments, uniform
from tapcore.units.shared import potentials


class CategoricalSite(NamedTuple):
    """Parameters of a categorical layer, as kernels take them."""

    states: Array  # (1,)
    U: Array  # (n q,)


@scalar
def _likeliest(site: CategoricalSite, first: int, q: int, B: Array, A: Array, logs: Array) -> int:
    """Write ln of the weights of a site's columns; the first one of the largest."""
    half, best = B.dtype.type(0.5), first
    for a in range(first, first + q):
        logs[a] = B[a] + site.U[a] - half * A[a]
        if logs[a] > logs[best]:
            best = a
    return best


@row_moments.register(CategoricalSite)
def _row_moments(site: CategoricalSite, B: Array, A: Array, mean: Array, var: Array) -> None:
    q, one = int(site.states[0]), B.dtype.type(1.0)
    for first in range(0, B.size, q):
        best = _likeliest(site, first, q, B, A, var)
        top, rest = var[best], B.dtype.type(0.0)
        for a in range(first, first + q):
            mean[a] = exp(var[a] - top)
        for a in range(first, first + q):
            rest += mean[a] if a != best else B.dtype.type(0.0)
        # What the likeliest leaves to the others has digits of its own.
        share = one / (mean[best] + rest)
        for a in range(first, first + q):
            mean[a] *= share
            var[a] = mean[a] * (one - mean[a])
        var[best] = mean[best] * (rest * share)


@row_log_z.register(CategoricalSite)
def _row_log_z(site: CategoricalSite, B: Array, A: Array, log_z: Array) -> None:
    q = int(site.states[0])
    for first in range(0, B.size, q):
        best = _likeliest(site, first, q, B, A, log_z)
        top, rest = log_z[best], B.dtype.type(0.0)
        for a in range(first, first + q):
            rest += exp(log_z[a] - top) if a != best else B.dtype.type(0.0)
            log_z[a] = 0.0 if a != best else log_z[a]
        log_z[best] = 0.0
        log_z[first] = top + np.log1p(rest)


@row_draw.register(CategoricalSite)
def _row_draw(site: CategoricalSite, B: Array, A: Array, stream: Stream, x: Array) -> None:
    q = int(site.states[0])
    for first in range(0, B.size, q):
        best = _likeliest(site, first, q, B, A, x)
        top, total = x[best], B.dtype.type(0.0)
        for a in range(first, first + q):
            x[a] = exp(x[a] - top)
            total += x[a]
        left, drawn = uniform(stream) * total, -1
        for a in range(first, first + q):
            left -= x[a]
            drawn = a if (drawn < 0) & (left < 0) else drawn
        drawn = best if drawn < 0 else drawn
        for a in range(first, first + q):
            x[a] = (1.0 if a == drawn else 0.0) if total == total else np.nan


class Categorical(Unit):
    """Units of q states, as letters of a sequence: weight ``exp(U_a)`` of state a.

    A row has q columns for each unit, one after another, of which the column of the unit's state is 1 and the others
    are 0; codes of states, integers 0 to q - 1 and one a unit, are taken in their place. With fields on columns,
    ``ln Z(B, A) = ln sum_a exp(U_a + B_a - A_a/2)``; means are the probabilities p_a of states, and the covariance of
    two columns of a unit is ``p_a (1 if a is b, else 0) - p_a p_b``.

    Parameters
    ----------
    n : int
        Number of units.
    states : int
        q, at least 2.
    U : float or (n, q) array_like
        Potentials; any finite value. The same number added to all of a unit changes nothing but ln Z.

    Raises
    ------
    ValueError
        `n` below 1, `states` below 2 or no integer, or `U` of the wrong shape or not finite.

    Notes
    -----
    Largest errors among 400 random laws of 21 states, exponents differing by some 30, against 40 digits: of ln Z 3e-16
    of the larger of it and 1, of probabilities 1.1e-14. Methods "rbp", "adatap" and "tap3" do not know such units, and
    "tap" not two layers of them side by side.
    """

    names = ("states", "U")
    fixed = ("states",)
    site_type = CategoricalSite
    support = "one column a unit that is 1, the others 0 (or codes of states)"

    def __init__(self, n: int, states: ArrayLike, U: ArrayLike = 0.0) -> None:
        n, q = checks.integer("n", n, minimum=1), _count(states)
        super().__init__(n, states=q, U=potentials.flat("U", U, n, q))

    @property
    def states(self) -> int:
        """Number of states of each unit."""
        return int(self.parameters["states"][0])

    @property
    def U(self) -> Array:
        """Potentials, (n, q)."""
        return self.parameters["U"].reshape(self.n, -1)

    @classmethod
    def lengths(cls, n: int, parameters: dict[str, ArrayLike]) -> dict[str, int]:
        """One number of states, and a potential of each for every unit."""
        return {"states": 1, "U": n * _count(parameters["states"])}

    @property
    def widths(self) -> NDArray[np.int64]:
        """Columns of each unit."""
        return np.full(self.n, self.states, np.int64)

    def bounds(self) -> tuple[Array, Array]:
        """Means are probabilities."""
        return np.zeros(1), np.ones(1)

    def contains(self, x: Array) -> NDArray[np.bool_]:
        """Which units of `x` (..., n q) have one column that is 1 and others that are 0: all of their columns."""
        x = np.asarray(x)
        each = x.reshape(*x.shape[:-1], self.n, self.states)
        good = ((each == 0) | (each == 1)).all(axis=-1) & ((each == 1).sum(axis=-1) == 1)
        return np.repeat(good, self.states, axis=-1)

    def log_weight(self, x: ArrayLike) -> Array:
        """Log of the weight: U in the column that is 1, 0 in others, -inf outside the support; (..., n q)."""
        array = checks.real_array("x", x)
        inside = self.contains(array)
        return np.where(inside, self.parameters["U"] * np.where(inside, array, 0), -np.inf)

    @classmethod
    def from_data(cls, X: ArrayLike, states: ArrayLike) -> Self:
        """Potentials that give each state the frequency that it has in the column of codes, or in its own.

        A state that never occurs would need an infinite potential: one imaginary sample, spread evenly over the states,
        keeps it finite.

        Parameters
        ----------
        X : (samples, n q) array_like, or (samples, n) of integers
            One column a state, or codes; any real dtype, or memory-mapped; read a bounded number of rows at a time.
        states : int
            q.

        Raises
        ------
        ValueError
            Wrong shape, a row that is not one 1 a unit, or a code that is none.
        """
        q, array = _count(states), checks.matrix("X", X, None, rows="samples")
        # Zeros and ones may be either where there are two states.
        whole = array.shape[1] % q == 0 and not _are_codes(array)
        if whole and q == 2:
            whole = all(cls(array.shape[1] // 2, 2).contains(some).all() for _, some in checks.row_blocks(array))
        layer = cls(array.shape[1] // q if whole else array.shape[1], q)
        rows = layer.samples("X", array)
        counts = np.zeros(layer.columns)
        for _, some in checks.row_blocks(rows):
            counts += some.sum(axis=0, dtype=np.float64)
        return cls(layer.n, q, potentials.of_counts(counts.reshape(layer.n, q)))

    def random_means(self, count: int, rng: np.random.Generator) -> Array:
        """Probabilities drawn evenly from all that add up to 1: (`count`, n q)."""
        drawn = rng.standard_exponential((count, self.n, self.states))
        return np.asarray((drawn / drawn.sum(axis=-1, keepdims=True)).reshape(count, -1))


def _count(states: ArrayLike) -> int:
    """A number of states; ValueError if it is none."""
    array = np.asarray(states)
    value = array.reshape(-1)[0].item() if array.size == 1 else states
    # Files hold all parameters as floats.
    whole = int(value) if isinstance(value, float) and value.is_integer() else value
    return checks.integer("states", whole, minimum=2)


def _are_codes(array: NDArray[Any]) -> bool:
    """Whether numbers are larger than those of columns."""
    return any((rows > 1).any() for _, rows in checks.row_blocks(array))
