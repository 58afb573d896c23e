"""Hidden layers given samples: exact in an RBM, solutions of the clamped machine where it is deeper (App. E)."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from tapcore.equations.outside import Given
from tapcore.inference.progress import Rule
from tapcore.inference.records import Starts
from tapcore.inference.solve import rule_for, run
from tapcore.machine import Machine

Array = NDArray[Any]

# Hidden layers given samples settle within some ten sweeps; those that do not are left after so many.
MOST = 10_000


class Conditional(NamedTuple):
    """Hidden layers given n samples: tuples of (n, n_l) arrays, one for each layer but the visible one."""

    mean: tuple[Array, ...]
    var: tuple[Array, ...]
    B: tuple[Array, ...]  # with what the first hidden layer receives from the samples
    A: tuple[Array, ...]
    log_z: NDArray[np.float64]  # (n,) ln of the sum over hidden states, without ln phi of the samples
    converged: NDArray[np.bool_]  # (n,)


def clamped_rule(machine: Machine, method: str, tol: float, most: int = MOST) -> Rule:
    """How hidden layers are solved for."""
    return rule_for(machine, method, adapt=True, accelerate=True, tol=tol, most=most)


def given_samples(machine: Machine, x: Array, method: str, rule: Rule) -> Conditional:
    """Solve for the hidden layers given samples `x` (n, n_visible) of the machine's dtype.

    The visible layer is left out, and what it sends to the first hidden layer is a field from outside.
    """
    fields = x @ machine.weights[0]
    log_z, mean, var = machine.layers[1].moments(fields, 0.0)
    if len(machine.layers) == 2:
        total = log_z.sum(axis=1, dtype=np.float64)
        return Conditional((mean,), (var,), (fields,), (np.zeros_like(fields),), total, np.ones(len(x), np.bool_))
    upper = Machine(machine.layers[1:], machine.weights[1:], machine.dtype)
    found = run(upper, Starts((mean,), ()), method, rule, given=fields_below(fields, upper.sizes))
    B = found.B[0] + fields, *found.B[1:]
    return Conditional(found.mean, found.var, B, found.A, -found.free_energy, found.converged)


def fields_below(fields: Array, sizes: tuple[int, ...]) -> Given:
    """Fields (n, n_0) on the first of layers of these sizes, and nothing else."""
    none = tuple(np.empty((0, n), fields.dtype) for n in sizes)
    return Given((fields, *none[1:]), none, none)
