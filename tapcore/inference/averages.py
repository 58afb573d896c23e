"""What distinct solutions say together: averages of the machine's law over all of them, weighted by exp(-F).

Each solution stands for a part of the law whose weight is ``Z_k = exp(-F_k)``. Where these parts are apart they add up,
``Z = sum_k Z_k``, and the law is a mixture of theirs. The paper averages over solutions alike (Eqs. 38, 39).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tapcore.equations.compiled import compiled
from tapcore.equations.exclusive import exclusive_slopes
from tapcore.equations.fields import third_cumulants
from tapcore.inference.methods import TABLE
from tapcore.machine import Machine

Array = NDArray[Any]
Layers = tuple[Array, ...]

# Engines of inference that have their own averages of pairs: of a machine of two layers, and of its only solution.
PAIRS: dict[str, Callable[[Machine, Any], Array]] = {}


@dataclass(frozen=True, eq=False)
class Averages:
    """Averages over solutions.

    Attributes
    ----------
    log_z : float
        Estimate of ln Z, in nats: ``sum_k w_k (-F_k - ln w_k)``, which is ``ln sum_k exp(-F_k)`` at temperature 1.
    mean, var : tuple of (n_l,) float64 arrays, one a layer
        Of the units: of a mixture, the variance of means over its parts is part of the variance.
    pair : tuple of (n_l, n_{l+1}) float64 arrays, one a pair of layers
        Averages of products of two units that a weight joins.
    weights : (K,) float64 array
        Of each solution; they add up to 1.
    """

    log_z: float
    mean: Layers
    var: Layers
    pair: Layers
    weights: NDArray[np.float64]

    def __repr__(self) -> str:
        sizes = "-".join(str(len(m)) for m in self.mean)
        count = len(self.weights)
        return f"Averages(log_z={self.log_z:.6g}, {count} solution{'s' * (count > 1)} of {sizes} units)"


def solution_weights(free_energy: Array, temperature: float) -> NDArray[np.float64]:
    """Weights in proportion to ``exp(-F/temperature)``, alike at infinity; they add up to 1."""
    logs = -np.asarray(free_energy, np.float64) / temperature
    return np.asarray(np.exp(logs - np.logaddexp.reduce(logs)))


def averages_of(machine: Machine, solutions: Any, temperature: float) -> Averages:
    """Averages over distinct solutions of a machine, all of them finite."""
    F = solutions.free_energy
    weights = solution_weights(F, temperature)
    means, variances = (wide_rows(x) for x in (solutions.mean, solutions.var))
    mean = tuple(weights @ m for m in means)
    var = tuple(weights @ (c + (m - at) ** 2) for m, c, at in zip(means, variances, mean, strict=True))
    some = weights[weights > 0]
    log_z = float(weights @ -F - some @ np.log(some))
    return Averages(log_z, mean, var, _pairs(machine, solutions, weights), weights)


def wide_rows(layers: Layers) -> Layers:
    """Rows of all layers in float64."""
    return tuple(np.ascontiguousarray(x, np.float64) for x in layers)


def _pairs(machine: Machine, solutions: Any, weights: Array) -> Layers:
    """Averages of ``x_i x_j``: the derivatives of -F with respect to the weights, at each solution."""
    wide, method = machine.replace(dtype="float64"), TABLE[solutions.method]
    if method.engine in PAIRS:
        pair_of = PAIRS[method.engine]
        return (np.asarray(sum(w * pair_of(wide, solutions[k]) for k, w in enumerate(weights))),)
    means, variances = wide_rows(solutions.mean), wide_rows(solutions.var)
    own = compiled(wide.layers, wide.weights, 1)
    third = third_cumulants(own, means, method.order)
    made = []
    for i, W in enumerate(wide.weights):
        pair = _products(means, i, weights)
        if method.order > 1:
            pair += W * _products(variances, i, weights)
        if method.order > 2:
            pair += 0.5 * W * W * _products(third, i, weights)
        made.append(pair)
    for k in range(len(weights)):
        mean, var = (tuple(x[k : k + 1] for x in layers) for layers in (means, variances))
        for pair, more in zip(made, exclusive_slopes(own, mean, var, method.order), strict=True):
            if not len(more):
                return tuple(made)
            pair += weights[k] * more
    return tuple(made)


def _products(rows: Layers, lower: int, weights: Array) -> Array:
    return np.asarray((weights[:, None] * rows[lower]).T @ rows[lower + 1])
