"""Binary units: weight ``exp(U x)`` on {0, 1}."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from tapcore._base import checks
from tapcore._base.random import Stream
from tapcore.special.exponential import log1pexp, sigmoid, sigmoid_moments
from tapcore.units.rows import Array, row_cumulants, row_draw, row_log_z, row_moments, row_third
from tapcore.units.shared.two_states import TwoStates, draw_states


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


class Binary(TwoStates):
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

    site_type = BinarySite
    support = "0 or 1"
    levels = (0.0, 1.0)
    hint = "; binarise first, e.g. X > threshold (`--threshold` on the command line)"

    def sample(self, B: ArrayLike, A: ArrayLike, rng: np.random.Generator) -> Array:
        """Draw 0 or 1 with probability ``sigm(B + U - A/2)`` of 1; (..., n)."""
        checks.generator("rng", rng)
        _, mean, _ = self.moments(B, A)
        return (rng.random(mean.shape, dtype=mean.dtype) < mean).astype(mean.dtype)
