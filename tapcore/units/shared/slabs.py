"""Rows of real-valued weights ``exp(-V x^2/2 + U x)``, on the line and on an interval, with and without an atom.

Whatever the layer's dtype, these are computed in float64, `CHUNK` sites at a time in arrays on the stack.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from tapcore._base import checks
from tapcore._base.intrinsics import stack_array
from tapcore._base.jit import scalar
from tapcore._base.random import Stream, normal
from tapcore.special.elementary import log_normal
from tapcore.special.truncnorm.batch import CHUNK, moments_of_chunk
from tapcore.special.truncnorm.cumulants import cumulants
from tapcore.units.interface import Unit
from tapcore.units.rows import Array
from tapcore.units.shared.real_steps import RealUnit

_LOG_TWO_PI = 1.8378770664093453


class Truncated(NamedTuple):
    """Weights ``exp(-V x^2/2 + U x)`` on [lo, hi] of some sites."""

    U: Array
    V: Array
    lo: Array
    hi: Array


@scalar
def truncated_chunk(
    sites: Truncated, B: Array, A: Array, with_log: bool, log_z: Array, mean: Array, var: Array
) -> None:
    """Log-normaliser (if `with_log`), mean and variance of at most CHUNK sites on their intervals."""
    zero, n = np.float64(0.0), B.size
    s, b = stack_array(CHUNK, zero), stack_array(CHUNK, zero)
    left, right = stack_array(CHUNK, zero), stack_array(CHUNK, zero)
    for i in range(n):
        s[i] = np.float64(A[i]) + np.float64(sites.V[i])
        b[i] = np.float64(B[i]) + np.float64(sites.U[i])
        left[i], right[i] = sites.lo[i], sites.hi[i]
    moments_of_chunk(s[:n], b[:n], left[:n], right[:n], with_log, log_z, mean, var)


@scalar
def line_chunk(U: Array, V: Array, B: Array, A: Array, with_log: bool, log_z: Array, mean: Array, var: Array) -> None:
    """As `truncated_chunk` for any number of sites on the whole line: NaN unless ``A + V > 0``."""
    for i in range(B.size):
        total = np.float64(A[i]) + np.float64(V[i])
        b = np.float64(B[i]) + np.float64(U[i])
        s = total if (total > 0.0) & (b == b) else np.nan
        var[i] = 1.0 / s
        mean[i] = b / s
        if with_log:
            log_z[i] = 0.5 * (_LOG_TWO_PI - log_normal(s) + b * (b / s))


@scalar
def line_cumulants(V: Array, B: Array, A: Array, third: Array, fourth: Array) -> None:
    """Third and fourth cumulants on the whole line: 0, or NaN as moments are."""
    for i in range(B.size):
        total = np.float64(A[i]) + np.float64(V[i])
        third[i] = fourth[i] = 0.0 if (total > 0.0) & (B[i] == B[i]) else np.nan


@scalar
def truncated_cumulants(
    U: Array, V: Array, lo: Array, hi: Array, B: Array, A: Array, third: Array, fourth: Array
) -> None:
    """Third and fourth cumulants on the intervals of any number of sites."""
    for i in range(B.size):
        s, b = np.float64(A[i]) + np.float64(V[i]), np.float64(B[i]) + np.float64(U[i])
        third[i], fourth[i] = cumulants(s, b, np.float64(lo[i]), np.float64(hi[i]))


@scalar
def line_draw(stream: Stream, s: float, b: float) -> float:
    """One value of the weight ``exp(-s x^2/2 + b x)`` on the whole line; NaN unless s > 0."""
    return b / s + normal(stream) / math.sqrt(s) if s > 0.0 else math.nan


class OnTheLine(RealUnit):
    """A layer whose values may be any real numbers; its `names` hold "U" and a positive "V"."""

    support = "finite"

    def contains(self, x: Array) -> NDArray[np.bool_]:
        """Which entries are finite."""
        return np.isfinite(x)

    def bounds(self) -> tuple[Array, Array]:
        """Means may be any real numbers."""
        return np.full(1, -np.inf), np.full(1, np.inf)

    def tail_precision(self) -> Array | None:
        """V."""
        return self.parameters["V"]

    def random_means(self, count: int, rng: np.random.Generator) -> Array:
        """Means drawn from the law ``exp(-V x^2/2 + U x)``: (count, n)."""
        U, V = self.parameters["U"], self.parameters["V"]
        return rng.normal(U / V, np.sqrt(1 / V), (count, self.n))


def log_gaussian(unit: Unit, x: ArrayLike) -> tuple[Array, Array, NDArray[np.bool_]]:
    """(``U x - V x^2/2``, x, whether x is in the support), x and the first being 0 outside; (..., n) each."""
    x = checks.real_array("x", x)
    values = unit.rounded(x)
    inside = unit.contains(values)
    # Rounded, but computed with as many digits as they came in.
    within = np.where(inside, values, 0).astype(np.result_type(x, values))
    return (unit.parameters["U"] - 0.5 * unit.parameters["V"] * within) * within, within, inside


def moved_gaussian(parameters: dict[str, Array], shift: Array, scale: Array) -> dict[str, Array]:
    """U and V of ``x = shift + scale z`` for those of z: ``exp(U z - V z^2/2)`` up to a factor."""
    V = parameters["V"] / scale**2
    return {"U": parameters["U"] / scale + V * shift, "V": V}
