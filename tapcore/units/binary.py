"""Binary units: weight ``exp(U x)`` on {0, 1}."""

from __future__ import annotations

from typing import NamedTuple, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from tapcore._base import checks
from tapcore._base.random import Stream
from tapcore.special.exponential import log1pexp, sigmoid, sigmoid_moments
from tapcore.units.interface import Unit, parameter
from tapcore.units.rows import Array, row_cumulants, row_draw, row_log_z, row_moments, row_third
from tapcore.units.shared.two_states import draw_states


class BinarySite(NamedTuple):
    """Parameters of a binary layer, as kernels take them."""

    U: Array


@row_moments.register(BinarySite)
def _row_moments(site: BinarySite, B: Array, A: Array, mean: Array, var: Array) -> None:
    half = B.dtype.type(0.5)
    for i in range(B.size):
        mean[i], var[i] = sigmoid_moments(B[i] + site.U[i] - half * A[i])


@row_log_z.register(BinarySite)
def _row_log_z(site: BinarySite, B: Array, A: Array, log_z: Array) -> None:
    half = B.dtype.type(0.5)
    for i in range(B.size):
        log_z[i] = log1pexp(B[i] + site.U[i] - half * A[i])


@row_cumulants.register(BinarySite)
def _row_cumulants(site: BinarySite, B: Array, A: Array, third: Array, fourth: Array) -> None:
    half, one, six = B.dtype.type(0.5), B.dtype.type(1.0), B.dtype.type(6.0)
    for i in range(B.size):
        a, c = sigmoid_moments(B[i] + site.U[i] - half * A[i])
        third[i], fourth[i] = c * (one - (a + a)), c * (one - six * c)


@row_draw.register(BinarySite)
def _row_draw(site: BinarySite, B: Array, A: Array, stream: Stream, x: Array) -> None:
    half = B.dtype.type(0.5)
    for i in range(B.size):
        x[i] = sigmoid(B[i] + site.U[i] - half * A[i])
    draw_states(stream, x, 0.0, 1.0)


@row_third.register(BinarySite)
def _row_third(site: BinarySite, mean: Array, third: Array, slope: Array) -> None:
    one = mean.dtype.type(1.0)
    for i in range(mean.size):
        a = mean[i]
        c, d = a * (one - a), one - (a + a)
        third[i], slope[i] = c * d, d * d - (c + c)


class Binary(Unit):
    """Binary units {0, 1} with weight ``exp(U x)``.

    ``ln Z(B, A) = log(1 + e^z)``, mean ``sigm(z)``, variance ``sigm(z) sigm(-z)``, with ``z = B + U - A/2``.

    Parameters
    ----------
    n : int
        Number of units.
    U : float or (n,) array_like
        Fields; any finite value.

    Raises
    ------
    ValueError
        `n` below 1, or `U` of the wrong shape or not finite.
    """

    names = ("U",)
    site_type = BinarySite
    support = "0 or 1"
    states = (0.0, 1.0)

    U = parameter("U", "Fields")

    def __init__(self, n: int, U: ArrayLike = 0.0) -> None:
        super().__init__(n, U=U)

    def contains(self, x: Array) -> NDArray[np.bool_]:
        """Which entries are 0 or 1."""
        return np.asarray((x == 0) | (x == 1))

    def bounds(self) -> tuple[Array, Array]:
        """Means lie in [0, 1]."""
        return np.zeros(1), np.ones(1)

    def check_data(self, name: str, X: Array) -> None:
        """Raise ValueError with a hint unless every entry is 0 or 1."""
        try:
            super().check_data(name, X)
        except ValueError as error:
            hint = "; binarise first, e.g. X > threshold (`--threshold` on the command line)"
            raise ValueError(f"{error}{hint if 'finite' not in str(error) else ''}") from None

    def log_weight(self, x: ArrayLike) -> Array:
        """Log of the weight: ``U x`` on {0, 1}, -inf elsewhere; (..., n)."""
        x = checks.real_array("x", x)
        inside = self.contains(x)
        return np.where(inside, self.U * np.where(inside, x, 0), -np.inf)

    @classmethod
    def from_data(cls, X: ArrayLike) -> Self:
        """Fields that give each unit the mean of its column, on its own.

        A column that never changes would need an infinite field. One imaginary sample, half on and half off, keeps it
        finite: the mean used is ``(sum + 1/2)/(samples + 1)``.

        Parameters
        ----------
        X : (samples, n) array_like of 0 and 1
            Any real dtype, boolean, or memory-mapped; read a bounded number of rows at a time.

        Raises
        ------
        ValueError
            Wrong shape, or an entry other than 0 and 1.
        """
        array = checks.matrix("X", X, None, rows="samples")
        unit = cls(array.shape[1])
        unit.check_data("X", array)
        total = np.zeros(unit.n)
        for _, rows in checks.row_blocks(array):
            total += rows.sum(axis=0, dtype=np.float64)
        return cls(unit.n, U=np.log((total + 0.5) / (array.shape[0] - total + 0.5)))

    def sample(self, B: ArrayLike, A: ArrayLike, rng: np.random.Generator) -> Array:
        """Draw 0 or 1 with probability ``sigm(B + U - A/2)`` of 1; (..., n)."""
        checks.generator("rng", rng)
        _, mean, _ = self.moments(B, A)
        return (rng.random(mean.shape, dtype=mean.dtype) < mean).astype(mean.dtype)

    def statistics(self, mean: Array, var: Array, B: Array, A: Array) -> dict[str, Array]:
        """Average mean, for U."""
        return {"U": mean.mean(axis=0)}

    def data_statistics(self, X: Array) -> dict[str, Array]:
        """Average of x, for U."""
        return {"U": X.mean(axis=0)}
