"""The free energy of given means and variances, for users: `free_energy`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from tapcore._base import checks
from tapcore.equations.energy import evaluate
from tapcore.inference.methods import check_method
from tapcore.machine import Machine, check_machine

Array = NDArray[Any]


def free_energy(
    machine: Machine, mean: Sequence[ArrayLike], var: Sequence[ArrayLike], *, method: str = "tap"
) -> NDArray[np.float64]:
    """Free energy F = -ln Z of chains with the given means and variances.

    ``-F = sum_units [ln Z(B, A) - B a + A (a^2 + c)/2] + sum_ij [W a_i a_j + W^2 c_i c_j/2]`` with ``A = -sum W^2 c``
    and ``B = A a + sum W a`` (Eqs. 32, 33, 35); naive mean field drops the terms in W^2. Third order adds
    ``sum_ij W^3 kappa3_i kappa3_j/6``, kappa3 the third cumulant as a function of the mean: ``a (1 - a) (1 - 2 a)`` of
    binary units, ``-2 a (1 - a^2)`` of spins; B gains ``kappa3'(a) sum W^3 kappa3/6``. Where (mean, var) solve the
    equations, F is stationary in them.

    Parameters
    ----------
    machine : Machine
    mean, var : sequence of (K, n_l) array_like, one a layer
        As in `Solutions`; one chain may be given as (n_l,) arrays.
    method : {"tap", "nmf", "tap3"}

    Returns
    -------
    (K,) float64 array
        In float64 also for a float32 machine; NaN for a chain with NaN.

    Raises
    ------
    ValueError
        Arrays of the wrong number or shape; third order of units other than binary, spin and Gaussian ones.

    Notes
    -----
    Relative error about 1e-15 times the sum of the magnitudes of the terms.
    """
    check_machine(machine)
    order = check_method(machine, method, lambda m: m.order > 0).order
    means, variances = _layers(machine, "mean", mean), _layers(machine, "var", var)
    count = means[0].shape[0]
    if any(x.shape[0] != count for x in (*means, *variances)):
        raise ValueError(f"mean and var must have the same number of chains in every layer, got {count} in mean[0]")
    return evaluate(machine, means, variances, order)


def _layers(machine: Machine, name: str, given: Sequence[ArrayLike]) -> list[Array]:
    if len(given) != len(machine.layers):
        raise ValueError(f"{name} must hold one array for each of {len(machine.layers)} layers, got {len(given)}")
    arrays = []
    for i, (x, layer) in enumerate(zip(given, machine.layers, strict=True)):
        array = np.atleast_2d(checks.real_array(f"{name}[{i}]", x))
        arrays.append(checks.matrix(f"{name}[{i}]", array, layer.columns, rows="chains"))
    return arrays
