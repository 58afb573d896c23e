"""Truncated Gauss-Bernoulli units: an atom at 0 and a slab ``exp(-V x^2/2 + U x)`` on an interval, V of any sign."""

from __future__ import annotations

from typing import NamedTuple, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from tapcore._base import checks
from tapcore._base.random import Stream
from tapcore.special import truncnorm
from tapcore.special.truncnorm.batch import CHUNK_MOMENTS
from tapcore.special.truncnorm.draw import draw
from tapcore.units.parameters import parameter
from tapcore.units.rows import Array, row_cumulants, row_draw, row_log_z, row_moments, row_slab, uses
from tapcore.units.shared.fitting import IntervalMoments, below, ends, nonzero, share_of_few
from tapcore.units.shared.slabs import Truncated, truncated_chunk, truncated_cumulants
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


@uses(CHUNK_MOMENTS)
class TruncatedGaussBernoulliSite(NamedTuple):
    """Parameters of a truncated Gauss-Bernoulli layer, as kernels take them."""

    rho: Array
    U: Array
    V: Array
    lo: Array
    hi: Array


@slab_chunk.register(TruncatedGaussBernoulliSite)
def _slab(
    site: TruncatedGaussBernoulliSite, a: int, z: int, B: Array, A: Array, log_z: Array, mean: Array, var: Array
) -> None:
    own = Truncated(site.U[a:z], site.V[a:z], site.lo[a:z], site.hi[a:z])
    truncated_chunk(own, B[a:z], A[a:z], True, log_z, mean, var)


@row_moments.register(TruncatedGaussBernoulliSite)
def _row_moments(site: TruncatedGaussBernoulliSite, B: Array, A: Array, mean: Array, var: Array) -> None:
    mixed_moments(site, B, A, mean, var)


@row_log_z.register(TruncatedGaussBernoulliSite)
def _row_log_z(site: TruncatedGaussBernoulliSite, B: Array, A: Array, log_z: Array) -> None:
    mixed_log_z(site, B, A, log_z)


@slab_cumulants.register(TruncatedGaussBernoulliSite)
def _slab_cumulants(
    site: TruncatedGaussBernoulliSite, a: int, z: int, B: Array, A: Array, third: Array, fourth: Array
) -> None:
    truncated_cumulants(
        site.U[a:z], site.V[a:z], site.lo[a:z], site.hi[a:z], B[a:z], A[a:z], third, fourth
    )  # fmt: skip


@row_cumulants.register(TruncatedGaussBernoulliSite)
def _row_cumulants(site: TruncatedGaussBernoulliSite, B: Array, A: Array, third: Array, fourth: Array) -> None:
    mixed_cumulants(site, B, A, third, fourth)


@row_slab.register(TruncatedGaussBernoulliSite)
def _row_slab(site: TruncatedGaussBernoulliSite, B: Array, A: Array, probability: Array) -> None:
    slab_probability(site, B, A, probability)


@slab_draw.register(TruncatedGaussBernoulliSite)
def _slab_draw(site: TruncatedGaussBernoulliSite, i: int, s: float, b: float, stream: Stream) -> float:
    return draw(stream, s, b, np.float64(site.lo[i]), np.float64(site.hi[i]))


@row_draw.register(TruncatedGaussBernoulliSite)
def _row_draw(site: TruncatedGaussBernoulliSite, B: Array, A: Array, stream: Stream, x: Array) -> None:
    mixed_draw(site, B, A, stream, x)


class TruncatedGaussBernoulli(SpikeSlab):
    """Units with weight ``(1 - rho) delta(x) + rho exp(-V x^2/2 + U x)``, the slab on [lo, hi], V of any sign.

    With I, m, v the integral, mean and variance of the slab at ``s = A + V``, ``b = B + U`` (`tapcore.truncnorm`) and
    ``P = rho I/(1 - rho + rho I)``: ``ln Z(B, A) = ln(1 - rho + rho I)``, mean ``P m``, variance
    ``P v + P (1 - P) m^2``.

    Parameters
    ----------
    n : int
        Number of units.
    rho : float or (n,) array_like
        Weights of the slabs, inside (0, 1); not the probability of ``x != 0``, for which see `with_slab_probability`.
    U, V : float or (n,) array_like
        Fields and precisions of the slabs; any finite values.
    lo, hi : float or (n,) array_like
        Ends of the slabs, finite, lo < hi. They are not trained. 0 need not lie between them.

    Raises
    ------
    ValueError
        `n` below 1, a parameter of the wrong shape or not finite, rho outside (0, 1), or ``lo >= hi``.

    Notes
    -----
    Training moves the logit of rho, so that rho stays inside (0, 1); by `Adam`, the slab's mean and spread at a
    probability of the slab that stays: rho makes up for its integral.
    """

    names = ("rho", "U", "V", "lo", "hi")
    fixed = ("lo", "hi")
    site_type = TruncatedGaussBernoulliSite
    support = "0 or between lo and hi"

    lo = parameter("lo", "Left ends")
    hi = parameter("hi", "Right ends")

    def __init__(
        self,
        n: int,
        rho: ArrayLike = 0.5,
        U: ArrayLike = 0.0,
        V: ArrayLike = 1.0,
        lo: ArrayLike = 0.0,
        hi: ArrayLike = 1.0,
    ) -> None:
        super().__init__(n, rho=rho, U=U, V=V, lo=lo, hi=hi)

    @classmethod
    def check_parameters(cls, parameters: dict[str, Array]) -> None:
        """Raise ValueError unless every rho is inside (0, 1) and every lo below its hi."""
        super().check_parameters(parameters)
        below("lo", parameters["lo"], "hi", parameters["hi"])

    def contains(self, x: Array) -> NDArray[np.bool_]:
        """Which entries are 0 or lie between lo and hi."""
        return np.asarray((x == 0) | ((x >= self.lo) & (x <= self.hi)))

    def bounds(self) -> tuple[Array, Array]:
        """Means lie between lo or 0 and hi or 0."""
        return np.minimum(self.lo, 0), np.maximum(self.hi, 0)

    @classmethod
    def from_data(cls, X: ArrayLike, lo: ArrayLike = 0.0, hi: ArrayLike = 1.0) -> Self:
        """Maximum likelihood: zeros tell the atom from the slab, the other values U and V, column by column.

        Half a zero and half another value, both imaginary, keep rho inside (0, 1). One in the slab, spread evenly over
        the interval, keeps U and V finite, as for `TruncatedGaussian`, and of slabs with few values c a share
        ``exp(-c/3)`` of it takes part. The weight of a slab is not normalised: beside zeros, no rho that can be told
        from 0 belongs to a slab that is narrow and far from 0, and there are more of them until there is one. Columns
        without zeros need none.

        Parameters
        ----------
        X : (samples, n) array_like
            0 or between lo and hi; any real dtype, boolean, or memory-mapped; read a bounded number of rows at a time.
        lo, hi : float or (n,) array_like
            Ends of the slabs.

        Raises
        ------
        ValueError
            Wrong shape, or an entry outside the support.
        """
        array = checks.matrix("X", X, None, rows="samples")
        samples, n = array.shape
        left, right = ends(lo, hi, n)
        cls(n, lo=left, hi=right).check_data("X", array)
        found = IntervalMoments.of(array, left, right, nonzero)
        probability, scale = (found.number + 0.5) / (samples + 1), found.size(left, right)
        no_zeros = found.number == samples
        found, imaginary = found.settled().blended(share_of_few(found.number)), np.zeros(n)
        while True:
            U, V = found.blended(imaginary).fit(left, right)
            log_slab = truncnorm.moments(V, U, left, right)[0]
            ready = representable(probability, log_slab - np.log(scale), no_zeros)
            if ready.all() or imaginary.max() > 1e6 * (samples + 1):
                break
            imaginary = np.where(ready, imaginary, 4 * imaginary + 1)
        # Intervals far from 0 leave no other choice than all of them alike.
        U, V = np.where(ready, U, 0.0), np.where(ready, V, 0.0)
        log_slab = np.where(ready, log_slab, np.log(right - left))
        return cls(n, rho=rho_of_data(probability, log_slab, no_zeros), U=U, V=V, lo=left, hi=right)

    def standard(self) -> tuple[Array, Array]:
        """From 0, in distances of the farther end."""
        ends = np.abs([self.parameters[name].astype(np.float64) for name in self.fixed])
        return np.zeros(self.n), np.asarray(ends.max(axis=0))

    def log_slab(self) -> Array:
        """Log of each slab's integral at B = A = 0, (n,)."""
        return np.asarray(truncnorm.moments(self.V, self.U, self.lo, self.hi)[0])

    def sample_slab(self, B: ArrayLike, A: ArrayLike, rng: np.random.Generator) -> Array:
        """Draw from the slabs alone; (..., n)."""
        b, a = (x.astype(np.float64) for x in self.check_fields(B, A))
        return np.asarray(truncnorm.sample(a + self.V, b + self.U, self.lo, self.hi, rng))

    def slab_law(self) -> tuple[Array, Array]:
        """Those of the truncated Gaussian."""
        lo, hi, U, V = (self.parameters[name].astype(np.float64) for name in ("lo", "hi", "U", "V"))
        _, mean, var = truncnorm.moments(V, U, lo, hi)
        return np.asarray(mean), np.asarray(var)
