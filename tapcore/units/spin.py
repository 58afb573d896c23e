"""Spin units: weight ``exp(U x)`` on {-1, +1}."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from tapcore._base import checks
from tapcore._base.random import Stream
from tapcore.special.exponential import log2cosh, sigmoid, tanh_moments
from tapcore.units.rows import Array, row_cumulants, row_draw, row_log_z, row_moments, row_third
from tapcore.units.shared.two_states import TwoStates, draw_states


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
        b = B[i] + site.U[i] + (A[i] - A[i])
        x[i] = sigmoid(b + b)
    draw_states(stream, x, -1.0, 1.0)


@row_third.register(SpinSite)
def _row_third(site: SpinSite, mean: Array, third: Array, slope: Array) -> None:
    one, two, six = mean.dtype.type(1.0), mean.dtype.type(2.0), mean.dtype.type(6.0)
    for i in range(mean.size):
        a = mean[i]
        third[i], slope[i] = -two * a * (one - a * a), six * a * a - two


class Spin(TwoStates):
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

    levels = (-1.0, 1.0)
    site_type = SpinSite
    support = "-1 or +1"
    hint = "; for 0 and 1, give 2.0 * {name} - 1"

    def sample(self, B: ArrayLike, A: ArrayLike, rng: np.random.Generator) -> Array:
        """Draw +1 with probability ``(1 + tanh(B + U))/2``, else -1; (..., n)."""
        checks.generator("rng", rng)
        _, mean, _ = self.moments(B, A)
        up = rng.random(mean.shape, dtype=mean.dtype) < 0.5 * (1 + mean)
        return np.where(up, 1, -1).astype(mean.dtype)
