"""Truncated-Gaussian units: weight ``exp(-V x^2/2 + U x)`` on an interval, V of any sign."""

from __future__ import annotations

from typing import NamedTuple, Self

import numpy as np
from numpy.typing import ArrayLike

from tapcore._base import checks
from tapcore._base.intrinsics import stack_array
from tapcore._base.random import Stream
from tapcore.special import truncnorm
from tapcore.special.truncnorm.batch import CHUNK, CHUNK_MOMENTS
from tapcore.special.truncnorm.draw import draw
from tapcore.units.parameters import parameter
from tapcore.units.rows import (
    Array,
    row_cumulants,
    row_draw,
    row_log_z,
    row_moments,
    uses,
)
from tapcore.units.shared.fitting import IntervalMoments, below, ends
from tapcore.units.shared.real_steps import RealUnit
from tapcore.units.shared.slabs import Truncated, log_gaussian, moved_gaussian, truncated_chunk, truncated_cumulants


@uses(CHUNK_MOMENTS)
class TruncatedGaussianSite(NamedTuple):
    """Parameters of a truncated-Gaussian layer, as kernels take them."""

    U: Array
    V: Array
    lo: Array
    hi: Array


@row_moments.register(TruncatedGaussianSite)
def _row_moments(site: TruncatedGaussianSite, B: Array, A: Array, mean: Array, var: Array) -> None:
    zero = np.float64(0.0)
    m, v = stack_array(CHUNK, zero), stack_array(CHUNK, zero)
    for a in range(0, B.size, CHUNK):
        z = min(a + CHUNK, B.size)
        own = Truncated(site.U[a:z], site.V[a:z], site.lo[a:z], site.hi[a:z])
        truncated_chunk(own, B[a:z], A[a:z], False, m, m, v)
        to_mean, to_var = mean[a:z], var[a:z]
        for i in range(z - a):
            to_mean[i], to_var[i] = m[i], v[i]


@row_log_z.register(TruncatedGaussianSite)
def _row_log_z(site: TruncatedGaussianSite, B: Array, A: Array, log_z: Array) -> None:
    zero = np.float64(0.0)
    log_mass, m, v = stack_array(CHUNK, zero), stack_array(CHUNK, zero), stack_array(CHUNK, zero)
    for a in range(0, B.size, CHUNK):
        z = min(a + CHUNK, B.size)
        own = Truncated(site.U[a:z], site.V[a:z], site.lo[a:z], site.hi[a:z])
        truncated_chunk(own, B[a:z], A[a:z], True, log_mass, m, v)
        to = log_z[a:z]
        for i in range(z - a):
            to[i] = log_mass[i]


@row_cumulants.register(TruncatedGaussianSite)
def _row_cumulants(site: TruncatedGaussianSite, B: Array, A: Array, third: Array, fourth: Array) -> None:
    truncated_cumulants(site.U, site.V, site.lo, site.hi, B, A, third, fourth)


@row_draw.register(TruncatedGaussianSite)
def _row_draw(site: TruncatedGaussianSite, B: Array, A: Array, stream: Stream, x: Array) -> None:
    for i in range(B.size):
        s, b = np.float64(A[i]) + np.float64(site.V[i]), np.float64(B[i]) + np.float64(site.U[i])
        x[i] = draw(stream, s, b, np.float64(site.lo[i]), np.float64(site.hi[i]))


class TruncatedGaussian(RealUnit):
    """Real units on [lo, hi] with weight ``exp(-V x^2/2 + U x)``, V of any sign.

    ``ln Z(B, A)``, mean and variance are those of `tapcore.truncnorm.moments` at ``s = A + V`` and ``b = B + U``.

    Parameters
    ----------
    n : int
        Number of units.
    U, V : float or (n,) array_like
        Fields and precisions; any finite values. Where V < 0 the ends are likelier than the middle.
    lo, hi : float or (n,) array_like
        Ends of the interval, finite, lo < hi. They are not trained.

    Raises
    ------
    ValueError
        `n` below 1, a parameter of the wrong shape or not finite, or ``lo >= hi``.
    """

    names = ("U", "V", "lo", "hi")
    fixed = ("lo", "hi")
    site_type = TruncatedGaussianSite
    support = "between lo and hi"

    U = parameter("U", "Fields")
    V = parameter("V", "Precisions")
    lo = parameter("lo", "Left ends")
    hi = parameter("hi", "Right ends")

    def __init__(
        self, n: int, U: ArrayLike = 0.0, V: ArrayLike = 1.0, lo: ArrayLike = 0.0, hi: ArrayLike = 1.0
    ) -> None:
        super().__init__(n, U=U, V=V, lo=lo, hi=hi)

    @classmethod
    def check_parameters(cls, parameters: dict[str, Array]) -> None:
        """Raise ValueError unless every lo is below its hi."""
        below("lo", parameters["lo"], "hi", parameters["hi"])

    def bounds(self) -> tuple[Array, Array]:
        """Means lie between lo and hi."""
        return self.lo, self.hi

    def log_weight(self, x: ArrayLike) -> Array:
        """Log of the weight: ``U x - V x^2/2`` between lo and hi, -inf elsewhere; (..., n)."""
        log_weight, _, inside = log_gaussian(self, x)
        return np.where(inside, log_weight, -np.inf)

    @classmethod
    def from_data(cls, X: ArrayLike, lo: ArrayLike = 0.0, hi: ArrayLike = 1.0) -> Self:
        """Maximum likelihood: U and V that give each unit the mean and the variance of its column, on its own.

        A column that never changes, or that takes no values but the ends, would need infinite parameters: one imaginary
        sample, spread evenly over the interval, keeps them finite. The closer a column's variance is to the largest
        that its mean allows, the more of such a sample takes part, and none below a third of it.

        Parameters
        ----------
        X : (samples, n) array_like
            Between lo and hi; any real dtype, boolean, or memory-mapped; read a bounded number of rows at a time.
        lo, hi : float or (n,) array_like
            Ends of the interval.

        Raises
        ------
        ValueError
            Wrong shape, or an entry outside the interval.
        """
        array = checks.matrix("X", X, None, rows="samples")
        left, right = ends(lo, hi, array.shape[1])
        cls(array.shape[1], lo=left, hi=right).check_data("X", array)
        U, V = IntervalMoments.of(array, left, right).settled().fit(left, right)
        return cls(array.shape[1], U=U, V=V, lo=left, hi=right)

    def standard(self) -> tuple[Array, Array]:
        """From the mean, in widths of the interval."""
        wide = self.astype(np.float64)
        return wide.moments(0.0, 0.0)[1], wide.hi - wide.lo

    def _moved(self, parameters: dict[str, Array], shift: Array, scale: Array) -> dict[str, Array]:
        ends = {name: shift + scale * parameters[name] for name in self.fixed}
        return {**moved_gaussian(parameters, shift, scale), **ends}

    def sample(self, B: ArrayLike, A: ArrayLike, rng: np.random.Generator) -> Array:
        """Draw from the weight at ``s = A + V`` and ``b = B + U``, exactly; (..., n)."""
        b, a = (x.astype(np.float64) for x in self.check_fields(B, A))
        return np.asarray(truncnorm.sample(a + self.V, b + self.U, self.lo, self.hi, rng), self.dtype)
