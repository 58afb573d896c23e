"""Spin units: weight ``exp(U x)`` on {-1, +1}."""

from __future__ import annotations

from typing import NamedTuple, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from tapcore._base import checks
from tapcore._base.random import Stream
from tapcore.special.exponential import log2cosh, sigmoid, tanh_moments
from tapcore.units.interface import Unit, parameter
from tapcore.units.rows import Array, row_cumulants, row_draw, row_log_z, row_moments, row_third
from tapcore.units.shared.two_states import draw_states


class SpinSite(NamedTuple):
    """Parameters of a spin layer, as kernels take them."""

    U: Array


@row_moments.register(SpinSite)
def _row_moments(site: SpinSite, B: Array, A: Array, mean: Array, var: Array) -> None:
    for i in range(B.size):
        # The difference is 0; x^2 = 1 leaves A no part in the moments, but NaN must reach them.
        mean[i], var[i] = tanh_moments(B[i] + site.U[i] + (A[i] - A[i]))


@row_log_z.register(SpinSite)
def _row_log_z(site: SpinSite, B: Array, A: Array, log_z: Array) -> None:
    half = B.dtype.type(0.5)
    for i in range(B.size):
        log_z[i] = log2cosh(B[i] + site.U[i]) - half * A[i]


@row_cumulants.register(SpinSite)
def _row_cumulants(site: SpinSite, B: Array, A: Array, third: Array, fourth: Array) -> None:
    two, four, six = B.dtype.type(2.0), B.dtype.type(4.0), B.dtype.type(6.0)
    for i in range(B.size):
        a, c = tanh_moments(B[i] + site.U[i] + (A[i] - A[i]))
        third[i], fourth[i] = -two * a * c, c * (four - six * c)


@row_draw.register(SpinSite)
def _row_draw(site: SpinSite, B: Array, A: Array, stream: Stream, x: Array) -> None:
    for i in range(B.size):
        b = B[i] + site.U[i]
        x[i] = sigmoid(b + b)
    draw_states(stream, x, -1.0, 1.0)


@row_third.register(SpinSite)
def _row_third(site: SpinSite, mean: Array, third: Array, slope: Array) -> None:
    one, two, six = mean.dtype.type(1.0), mean.dtype.type(2.0), mean.dtype.type(6.0)
    for i in range(mean.size):
        a = mean[i]
        third[i], slope[i] = -two * a * (one - a * a), six * a * a - two


class Spin(Unit):
    """Spin units {-1, +1} with weight ``exp(U x)``.

    ``ln Z(B, A) = log(2 cosh b) - A/2``, mean ``tanh(b)``, variance ``1 - tanh(b)^2``, with ``b = B + U``.

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
    states = (-1.0, 1.0)
    site_type = SpinSite
    support = "-1 or +1"

    U = parameter("U", "Fields")

    def __init__(self, n: int, U: ArrayLike = 0.0) -> None:
        super().__init__(n, U=U)

    def contains(self, x: Array) -> NDArray[np.bool_]:
        """Which entries are -1 or +1."""
        return np.asarray((x == 1) | (x == -1))

    def bounds(self) -> tuple[Array, Array]:
        """Means lie in [-1, 1]."""
        return np.full(1, -1.0), np.ones(1)

    def check_data(self, name: str, X: Array) -> None:
        """Raise ValueError with a hint unless every entry is -1 or +1."""
        try:
            super().check_data(name, X)
        except ValueError as error:
            hint = f"; for 0 and 1, give 2.0 * {name} - 1"
            raise ValueError(f"{error}{hint if 'finite' not in str(error) else ''}") from None

    def log_weight(self, x: ArrayLike) -> Array:
        """Log of the weight: ``U x`` on {-1, +1}, -inf elsewhere; (..., n)."""
        x = checks.real_array("x", x)
        inside = self.contains(x)
        return np.where(inside, self.U * np.where(inside, x, 0), -np.inf)

    @classmethod
    def from_data(cls, X: ArrayLike) -> Self:
        """Fields that give each unit the mean of its column, on its own.

        A column that never changes would need an infinite field: one imaginary sample, half up and half down, keeps it
        finite.

        Parameters
        ----------
        X : (samples, n) array_like of -1 and +1
            Any real dtype, or memory-mapped; read a bounded number of rows at a time.

        Raises
        ------
        ValueError
            Wrong shape, or an entry other than -1 and +1.
        """
        array = checks.matrix("X", X, None, rows="samples")
        unit = cls(array.shape[1])
        unit.check_data("X", array)
        up = np.zeros(unit.n)
        for _, rows in checks.row_blocks(array):
            up += (rows > 0).sum(axis=0)
        return cls(unit.n, U=0.5 * np.log((up + 0.5) / (array.shape[0] - up + 0.5)))

    def sample(self, B: ArrayLike, A: ArrayLike, rng: np.random.Generator) -> Array:
        """Draw +1 with probability ``(1 + tanh(B + U))/2``, else -1; (..., n)."""
        checks.generator("rng", rng)
        _, mean, _ = self.moments(B, A)
        up = rng.random(mean.shape, dtype=mean.dtype) < 0.5 * (1 + mean)
        return np.where(up, 1, -1).astype(mean.dtype)

    def statistics(self, mean: Array, var: Array, B: Array, A: Array) -> dict[str, Array]:
        """Average mean, for U."""
        return {"U": mean.mean(axis=0)}

    def data_statistics(self, X: Array) -> dict[str, Array]:
        """Average of x, for U."""
        return {"U": X.mean(axis=0)}
