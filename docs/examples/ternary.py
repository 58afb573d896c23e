"""A unit type of one's own: x is -1, 0 or 1, with weight ``exp(U x - V x^2/2)``."""

from math import exp, log
from typing import Any, NamedTuple

import numba
import numpy as np

import tapcore as tc
from tapcore.units import Unit, parameter
from tapcore.units.rows import row_draw, row_log_z, row_moments, uniform


class TernarySite(NamedTuple):
    """Parameters of a layer, (n,) arrays, as kernels take them."""

    U: Any
    V: Any


@numba.njit
def law(b: float, s: float) -> tuple[float, float, float, float]:
    """Ln Z and the probabilities of -1, 0 and 1 for the weight ``exp(b x - s x^2/2)``."""
    most = max(0.0, abs(b) - s / 2)  # no exponential overflows
    down, zero, up = exp(-b - s / 2 - most), exp(-most), exp(b - s / 2 - most)
    total = down + zero + up
    return most + log(total), down / total, zero / total, up / total


@row_log_z.register(TernarySite)
def _row_log_z(site: TernarySite, B: Any, A: Any, log_z: Any) -> None:
    for i in range(B.size):
        log_z[i] = law(B[i] + site.U[i], A[i] + site.V[i])[0]


@row_moments.register(TernarySite)
def _row_moments(site: TernarySite, B: Any, A: Any, mean: Any, var: Any) -> None:
    for i in range(B.size):
        _, down, zero, up = law(B[i] + site.U[i], A[i] + site.V[i])
        mean[i], var[i] = up - down, (up + down) * zero + 4 * up * down  # without a difference of squares


@row_draw.register(TernarySite)  # for `sample`, Gibbs sampling and contrastive divergence only
def _row_draw(site: TernarySite, B: Any, A: Any, stream: Any, x: Any) -> None:
    for i in range(B.size):
        _, down, zero, _ = law(B[i] + site.U[i], A[i] + site.V[i])
        u = uniform(stream)
        x[i] = down if down != down else (-1 if u < down else (0 if u < down + zero else 1))


class Ternary(Unit):
    """Units {-1, 0, 1} with weight ``exp(U x - V x^2/2)``; U and V (n,), any finite values."""

    names = ("U", "V")
    site_type = TernarySite
    support = "-1, 0 or 1"
    U = parameter("U", "Fields")
    V = parameter("V", "Precisions")

    def __init__(self, n: int, U: Any = 0.0, V: Any = 0.0) -> None:
        super().__init__(n, U=U, V=V)

    def bounds(self) -> tuple[Any, Any]:
        """Means lie between -1 and 1."""
        return np.full(1, -1.0), np.ones(1)

    def contains(self, x: Any) -> Any:
        """Which entries are -1, 0 or 1: not all that lies within the bounds."""
        return np.isin(x, (-1, 0, 1))

    def log_weight(self, x: Any) -> Any:
        """Log of the weight at `x` (..., n), -inf outside the support."""
        inside, x = self.contains(x), np.where(self.contains(x), x, 0)
        return np.where(inside, self.U * x - self.V * x * x / 2, -np.inf)


if __name__ == "__main__":
    X = np.sign(np.round(np.random.default_rng(0).normal(size=(500, 18)).cumsum(axis=1) / 3))
    machine, history = tc.fit(tc.RBM(Ternary(18), tc.Binary(6), seed=0), X, epochs=30, learning_rate=0.05)
    print(history.log_likelihood, len(tc.solve(machine, X).unique()), "solutions")
