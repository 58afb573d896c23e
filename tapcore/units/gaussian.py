"""Gaussian units: weight ``exp(-V x^2/2 + U x)`` on the whole line."""

from __future__ import annotations

from typing import NamedTuple, Self

import numpy as np
from numpy.typing import ArrayLike

from tapcore._base import checks
from tapcore._base.intrinsics import stack_array
from tapcore._base.random import Stream
from tapcore.special.truncnorm.batch import CHUNK
from tapcore.units.parameters import parameter
from tapcore.units.rows import (
    Array,
    row_cumulants,
    row_draw,
    row_log_z,
    row_moments,
    row_third,
)
from tapcore.units.shared.fitting import column_moments, usable_variances
from tapcore.units.shared.slabs import (
    OnTheLine,
    line_chunk,
    line_cumulants,
    line_draw,
    log_gaussian,
    moved_gaussian,
)


class GaussianSite(NamedTuple):
    """Parameters of a Gaussian layer, as kernels take them."""

    U: Array
    V: Array


@row_moments.register(GaussianSite)
def _row_moments(site: GaussianSite, B: Array, A: Array, mean: Array, var: Array) -> None:
    line_chunk(site.U, site.V, B, A, False, mean, mean, var)


@row_log_z.register(GaussianSite)
def _row_log_z(site: GaussianSite, B: Array, A: Array, log_z: Array) -> None:
    for a in range(0, B.size, CHUNK):
        z = min(a + CHUNK, B.size)
        m, v = stack_array(CHUNK, np.float64(0.0)), stack_array(CHUNK, np.float64(0.0))
        line_chunk(site.U[a:z], site.V[a:z], B[a:z], A[a:z], True, log_z[a:z], m, v)


@row_cumulants.register(GaussianSite)
def _row_cumulants(site: GaussianSite, B: Array, A: Array, third: Array, fourth: Array) -> None:
    line_cumulants(site.V, B, A, third, fourth)


@row_draw.register(GaussianSite)
def _row_draw(site: GaussianSite, B: Array, A: Array, stream: Stream, x: Array) -> None:
    for i in range(B.size):
        s, b = np.float64(A[i]) + np.float64(site.V[i]), np.float64(B[i]) + np.float64(site.U[i])
        x[i] = line_draw(stream, s, b)


@row_third.register(GaussianSite)
def _row_third(site: GaussianSite, mean: Array, third: Array, slope: Array) -> None:
    third[:] = 0
    slope[:] = 0


class Gaussian(OnTheLine):
    """Gaussian units, any real x, with weight ``exp(-V x^2/2 + U x)``.

    With ``s = A + V`` and ``b = B + U``: ``ln Z(B, A) = ln(2 pi/s)/2 + b^2/(2 s)``, mean ``b/s``, variance ``1/s``; NaN
    unless s > 0. TAP lowers s by ``sum W^2 c``: a chain in which it is not positive any more is lost, and `solve` says
    so. A layer of hidden Gaussian units over spins is a Hopfield network.

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

    Notes
    -----
    Training moves ln V, not V, so that V stays positive; by `Adam`, at a fixed mean, and
    the mean by standard deviations.
    """

    names = ("U", "V")
    site_type = GaussianSite

    U = parameter("U", "Fields")
    V = parameter("V", "Precisions")

    def __init__(self, n: int, U: ArrayLike = 0.0, V: ArrayLike = 1.0) -> None:
        super().__init__(n, U=U, V=V)

    @classmethod
    def check_parameters(cls, parameters: dict[str, Array]) -> None:
        """Raise ValueError unless every V is positive."""
        checks.every("V", parameters["V"], "must be positive", lambda v: v > 0)

    def log_weight(self, x: ArrayLike) -> Array:
        """Log of the weight: ``U x - V x^2/2``; (..., n)."""
        log_weight, _, inside = log_gaussian(self, x)
        return np.where(inside, log_weight, -np.inf)

    @classmethod
    def from_data(cls, X: ArrayLike) -> Self:
        """Maximum likelihood: mean and variance of each column.

        A column that never changes gets the typical spread of the others, the geometric mean, or 1 if none changes; and
        none gets less than 1e-7 of its mean, below which ln Z would keep no digits.

        Parameters
        ----------
        X : (samples, n) array_like
            Any real dtype, boolean, or memory-mapped; read a bounded number of rows at a time.

        Raises
        ------
        ValueError
            Wrong shape, or an entry that is not finite.
        """
        array = checks.matrix("X", X, None, rows="samples")
        unit = cls(array.shape[1])
        unit.check_data("X", array)
        _, mean, var = column_moments(array)
        var = usable_variances(mean, var)
        return cls(unit.n, U=mean / var, V=1 / var)

    def standard(self) -> tuple[Array, Array]:
        """From the mean, in standard deviations."""
        U, V = (self.parameters[name].astype(np.float64) for name in self.names)
        return U / V, 1 / np.sqrt(V)

    def _moved(self, parameters: dict[str, Array], shift: Array, scale: Array) -> dict[str, Array]:
        return moved_gaussian(parameters, shift, scale)

    def sample(self, B: ArrayLike, A: ArrayLike, rng: np.random.Generator) -> Array:
        """Draw from the normal law with mean ``(B + U)/(A + V)`` and variance ``1/(A + V)``; (..., n)."""
        checks.generator("rng", rng)
        _, mean, var = self.moments(B, A)
        return np.asarray(rng.normal(mean, np.sqrt(var)), self.dtype)
