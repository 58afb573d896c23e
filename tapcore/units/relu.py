"""Rectified units: weight ``exp(-V x^2/2 + U x)`` on x >= 0."""

from __future__ import annotations

from typing import NamedTuple, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from tapcore._base import checks
from tapcore._base.random import Stream
from tapcore.special import truncnorm
from tapcore.units.parameters import parameter
from tapcore.units.rows import Array, row_cumulants, row_draw, row_log_z, row_moments
from tapcore.units.shared.half_line_fit import fit_columns
from tapcore.units.shared.half_lines import draw_side, one_side, side_cumulants
from tapcore.units.shared.slabs import OnTheLine, log_gaussian, moved_gaussian


class ReLUSite(NamedTuple):
    """Parameters of a rectified layer, as kernels take them."""

    U: Array
    V: Array


@row_moments.register(ReLUSite)
def _row_moments(site: ReLUSite, B: Array, A: Array, mean: Array, var: Array) -> None:
    for i in range(B.size):
        s, b = np.float64(A[i]) + np.float64(site.V[i]), np.float64(B[i]) + np.float64(site.U[i])
        _, mean[i], var[i] = one_side(s, b)


@row_log_z.register(ReLUSite)
def _row_log_z(site: ReLUSite, B: Array, A: Array, log_z: Array) -> None:
    for i in range(B.size):
        s, b = np.float64(A[i]) + np.float64(site.V[i]), np.float64(B[i]) + np.float64(site.U[i])
        log_z[i], _, _ = one_side(s, b)


@row_cumulants.register(ReLUSite)
def _row_cumulants(site: ReLUSite, B: Array, A: Array, third: Array, fourth: Array) -> None:
    for i in range(B.size):
        s, b = np.float64(A[i]) + np.float64(site.V[i]), np.float64(B[i]) + np.float64(site.U[i])
        third[i], fourth[i] = side_cumulants(s, b)


@row_draw.register(ReLUSite)
def _row_draw(site: ReLUSite, B: Array, A: Array, stream: Stream, x: Array) -> None:
    for i in range(B.size):
        s, b = np.float64(A[i]) + np.float64(site.V[i]), np.float64(B[i]) + np.float64(site.U[i])
        x[i] = draw_side(stream, s, b)


class ReLU(OnTheLine):
    """Units that are not negative, with weight ``exp(-V x^2/2 + U x)`` on x >= 0.

    With ``s = A + V`` and ``b = B + U``, ``ln Z(B, A)``, mean and variance are those of `tapcore.truncnorm.moments` on
    ``[0, inf)``; NaN unless s > 0, or s = 0 and b < 0. The mean is a soft form of ``max(b/s, 0)``.

    Parameters
    ----------
    n : int
        Number of units.
    U, V : float or (n,) array_like
        Fields; any finite value. Precisions; positive.

    Raises
    ------
    ValueError
        `n` below 1, a parameter of the wrong shape or not finite, or V not positive.
    """

    names = ("U", "V")
    site_type = ReLUSite
    support = "finite and not negative"

    U = parameter("U", "Fields")
    V = parameter("V", "Precisions")

    def __init__(self, n: int, U: ArrayLike = 0.0, V: ArrayLike = 1.0) -> None:
        super().__init__(n, U=U, V=V)

    @classmethod
    def check_parameters(cls, parameters: dict[str, Array]) -> None:
        """Raise ValueError unless every V is positive."""
        checks.every("V", parameters["V"], "must be positive", lambda v: v > 0)

    def contains(self, x: Array) -> NDArray[np.bool_]:
        """Which entries are finite and not negative."""
        return np.asarray(np.isfinite(x) & (x >= 0))

    def bounds(self) -> tuple[Array, Array]:
        """Means are not negative."""
        return np.zeros(1), np.full(1, np.inf)

    def log_weight(self, x: ArrayLike) -> Array:
        """Log of the weight: ``U x - V x^2/2``, -inf where x < 0; (..., n)."""
        log_weight, _, inside = log_gaussian(self, x)
        return np.where(inside, log_weight, -np.inf)

    @classmethod
    def from_data(cls, X: ArrayLike) -> Self:
        """Maximum likelihood: U and V that give each unit the mean and the mean square of its column.

        One imaginary sample of a half-normal law with the column's root mean square keeps them finite. A column that
        varies by more than its mean has the heaviest tail that there is, one that falls exponentially.

        Parameters
        ----------
        X : (samples, n) array_like
            Not negative; any real dtype, boolean, or memory-mapped; read a bounded number of rows at a time.

        Raises
        ------
        ValueError
            Wrong shape, or an entry that is negative or not finite.
        """
        array = checks.matrix("X", X, None, rows="samples")
        cls(array.shape[1]).check_data("X", array)
        return cls(array.shape[1], *fit_columns(array, 1))

    def random_means(self, count: int, rng: np.random.Generator) -> Array:
        """Means drawn from the law ``exp(-V x^2/2 + U x)``: (count, n)."""
        return self.sample(0.0, np.zeros((count, self.n)), rng)

    def standard(self) -> tuple[Array, Array]:
        """From 0, in root mean squares."""
        _, mean, var = self.astype(np.float64).moments(0.0, 0.0)
        return np.zeros(self.n), np.sqrt(mean * mean + var)

    def _moved(self, parameters: dict[str, Array], shift: Array, scale: Array) -> dict[str, Array]:
        return moved_gaussian(parameters, shift, scale)

    def sample(self, B: ArrayLike, A: ArrayLike, rng: np.random.Generator) -> Array:
        """Draw from the weight at ``s = A + V`` and ``b = B + U``, exactly; (..., n)."""
        b, a = (x.astype(np.float64) for x in self.check_fields(B, A))
        return np.asarray(truncnorm.sample(a + self.V, b + self.U, 0.0, np.inf, rng), self.dtype)
