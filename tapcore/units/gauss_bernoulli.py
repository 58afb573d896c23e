"""Gauss-Bernoulli units: an atom at 0 and a slab ``exp(-V x^2/2 + U x)`` on the whole line."""

from __future__ import annotations

from typing import NamedTuple, Self

import numpy as np
from numpy.typing import ArrayLike

from tapcore._base import checks
from tapcore._base.random import Stream
from tapcore.units.rows import Array, row_cumulants, row_draw, row_log_z, row_moments, row_slab
from tapcore.units.shared.fitting import ColumnMoments, column_moments, nonzero, share_of_few, typical
from tapcore.units.shared.slabs import OnTheLine, line_chunk, line_cumulants, line_draw
from tapcore.units.shared.spike_slab import (
    SpikeSlab,
    mixed_cumulants,
    mixed_draw,
    mixed_log_z,
    mixed_moments,
    representable,
    rho_of_data,
    slab_chunk,
    slab_cumulants,
    slab_draw,
    slab_probability,
)

# Values whose standard deviation is no more of their mean are all alike.
_ALIKE = 1e-12


class GaussBernoulliSite(NamedTuple):
    """Parameters of a Gauss-Bernoulli layer, as kernels take them."""

    rho: Array
    U: Array
    V: Array


@slab_chunk.register(GaussBernoulliSite)
def _slab(site: GaussBernoulliSite, a: int, z: int, B: Array, A: Array, log_z: Array, mean: Array, var: Array) -> None:
    line_chunk(site.U[a:z], site.V[a:z], B[a:z], A[a:z], True, log_z, mean, var)


@row_moments.register(GaussBernoulliSite)
def _row_moments(site: GaussBernoulliSite, B: Array, A: Array, mean: Array, var: Array) -> None:
    mixed_moments(site, B, A, mean, var)


@row_log_z.register(GaussBernoulliSite)
def _row_log_z(site: GaussBernoulliSite, B: Array, A: Array, log_z: Array) -> None:
    mixed_log_z(site, B, A, log_z)


@slab_cumulants.register(GaussBernoulliSite)
def _slab_cumulants(site: GaussBernoulliSite, a: int, z: int, B: Array, A: Array, third: Array, fourth: Array) -> None:
    line_cumulants(site.V[a:z], B[a:z], A[a:z], third, fourth)


@row_cumulants.register(GaussBernoulliSite)
def _row_cumulants(site: GaussBernoulliSite, B: Array, A: Array, third: Array, fourth: Array) -> None:
    mixed_cumulants(site, B, A, third, fourth)


@row_slab.register(GaussBernoulliSite)
def _row_slab(site: GaussBernoulliSite, B: Array, A: Array, probability: Array) -> None:
    slab_probability(site, B, A, probability)


@slab_draw.register(GaussBernoulliSite)
def _slab_draw(site: GaussBernoulliSite, i: int, s: float, b: float, stream: Stream) -> float:
    return line_draw(stream, s, b)


@row_draw.register(GaussBernoulliSite)
def _row_draw(site: GaussBernoulliSite, B: Array, A: Array, stream: Stream, x: Array) -> None:
    mixed_draw(site, B, A, stream, x)


class GaussBernoulli(OnTheLine, SpikeSlab):
    """Units with weight ``(1 - rho) delta(x) + rho exp(-V x^2/2 + U x)``, the slab on the whole line.

    With ``s = A + V``, ``b = B + U``, ``ln I = ln(2 pi/s)/2 + b^2/(2 s)``, ``m = b/s``, ``v = 1/s`` and
    ``P = rho I/(1 - rho + rho I)``: ``ln Z(B, A) = ln(1 - rho + rho I)``, mean ``P m``, variance
    ``P v + P (1 - P) m^2``; NaN unless s > 0, and a chain in which TAP's A makes it so is lost, as `solve` reports.

    Parameters
    ----------
    n : int
        Number of units.
    rho : float or (n,) array_like
        Weights of the slabs, inside (0, 1); not the probability of ``x != 0``, for which see `with_slab_probability`.
    U, V : float or (n,) array_like
        Fields of the slabs; any finite value. Their precisions; positive.

    Raises
    ------
    ValueError
        `n` below 1, a parameter of the wrong shape or not finite, rho outside (0, 1), or V not positive.

    Notes
    -----
    Training moves the logit of rho and ln V, so that rho stays inside (0, 1) and V positive; by `Adam`, the slab's mean
    and spread at a probability of the slab that stays: rho makes up for its integral.
    """

    names = ("rho", "U", "V")
    site_type = GaussBernoulliSite

    def __init__(self, n: int, rho: ArrayLike = 0.5, U: ArrayLike = 0.0, V: ArrayLike = 1.0) -> None:
        super().__init__(n, rho=rho, U=U, V=V)

    @classmethod
    def check_parameters(cls, parameters: dict[str, Array]) -> None:
        """Raise ValueError unless every rho is inside (0, 1) and every V positive."""
        super().check_parameters(parameters)
        checks.every("V", parameters["V"], "must be positive", lambda v: v > 0)

    @classmethod
    def from_data(cls, X: ArrayLike) -> Self:
        """Maximum likelihood: zeros tell the atom from the slab, the other values U and V, column by column.

        Half a zero and half another value, both imaginary, keep rho inside (0, 1). Other values that are all alike get
        an imaginary one beside them, as far off as they are from 0, and c of them, if few, a share ``exp(-c/3)`` of
        one; where there are none, the slab is centred at 0 and
        spreads as the typical one of the other columns, or by 1. The weight of a slab is not normalised: beside
        zeros, no rho that can be told from 0 belongs to a slab that is more than some 11 standard deviations off 0, and
        its variance is doubled until there is one. Columns without zeros need none.

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
        samples, n = array.shape
        cls(n).check_data("X", array)
        found = column_moments(array, nonzero)
        probability = (found.number + 0.5) / (samples + 1)
        mean, var = _slab_moments(found)
        scale = np.sqrt(mean * mean + var)
        no_zeros = found.number == samples
        while True:
            log_slab = _log_slab(mean / var, 1 / var)
            ready = representable(probability, log_slab - np.log(scale), no_zeros)
            if (ready | (var > scale * scale)).all():
                break
            var = np.where(ready, var, 2 * var)
        return cls(n, rho=rho_of_data(probability, log_slab, no_zeros), U=mean / var, V=1 / var)

    def standard(self) -> tuple[Array, Array]:
        """From 0, in root mean squares of the slab."""
        U, V = (self.parameters[name].astype(np.float64) for name in ("U", "V"))
        return np.zeros(self.n), np.hypot(U / V, 1 / np.sqrt(V))

    def log_slab(self) -> Array:
        """Log of each slab's integral at B = A = 0, (n,)."""
        return _log_slab(self.U, self.V)

    def sample_slab(self, B: ArrayLike, A: ArrayLike, rng: np.random.Generator) -> Array:
        """Draw from the slabs alone; (..., n)."""
        b, a = (x.astype(np.float64) for x in self.check_fields(B, A))
        s = np.where(a + self.V > 0, a + self.V, np.nan)
        return np.asarray(rng.normal((b + self.U) / s, np.sqrt(1 / s)))

    def slab_law(self) -> tuple[Array, Array]:
        """``U/V`` and ``1/V``."""
        U, V = (self.parameters[name].astype(np.float64) for name in ("U", "V"))
        return U / V, 1 / V


def _log_slab(U: Array, V: Array) -> Array:
    return np.asarray(0.5 * np.log(2 * np.pi / V) + 0.5 * U * U / V)


def _slab_moments(found: ColumnMoments) -> tuple[Array, Array]:
    """Mean and variance, which is positive, of the values of each column that are not 0."""
    count, mean, var = found
    size = np.sqrt(mean * mean + var)  # 0 where there are none
    few = share_of_few(count)
    var = np.where(
        var <= (_ALIKE * mean) ** 2, mean * mean / (count + 1), (count * var + few * size * size) / (count + few)
    )
    return mean, np.where(count > 0, var, typical(size) ** 2)
