"""Posterior means (Eq. 44) by chains whose hidden units are measured, in place of single solutions.

Where noise is strong the posterior has many solutions, and their free energies weigh them badly: TAP errs by more than
they differ. Chains under measurements (`inference/pinning.py`) move between them as the law asks for; what they come by
is averaged.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from tapcore._base import footprint
from tapcore.equations.compiled import compiled
from tapcore.inference.methods import TABLE
from tapcore.inference.pinning import Pinning, two_states
from tapcore.inference.solve import rule_for
from tapcore.inference.sweeps.chains import Chains, chain_bytes
from tapcore.machine import Machine

Array = NDArray[Any]

# Measurements of each chain in turn, of which the first are left out, and sweeps under each.
STEPS, SKIPPED, SWEEPS = 100, 30, 2
# Chains taken at a time.
AT_ONCE = 4096


def pinned_moments(
    machine: Machine,
    given: tuple[Array, ...],
    means: Array,
    *,
    chains: int,
    ratio: float,
    method: str,
    damping: float | None,
    rng: np.random.Generator,
) -> tuple[Array, Array]:
    """Means and variances of the visible units for each of K observations, (K, n) each.

    `given` is what acts on the visible layer (fields, precisions, values held), in K rows, one or none each; chains
    begin at values drawn with the `means` (K, n).
    """
    machine = _narrow(machine)
    rule = rule_for(machine, method)
    own = compiled(machine.layers, machine.weights, rule.order)
    damping = TABLE[method].damping_unless(damping)
    at_once = max(1, AT_ONCE // chains)
    made = []
    for first in range(0, len(means), at_once):
        rows = slice(first, first + at_once)
        part = tuple(np.repeat(x[rows], chains, axis=0) if len(x) > 1 else x for x in given)
        start = _drawn(machine, np.repeat(means[rows], chains, axis=0), part[2], rng)
        pool = Chains(machine.sizes, len(start), machine.dtype, order=rule.order)
        pool.start_from_visible(start)
        pinning = Pinning(machine.sizes, len(start), machine.dtype, ratio, part)
        pinning.begin(np.ones(len(start), np.bool_), pool.state, machine.layers, machine.weights, rng)
        made.append(_averaged(pool, pinning, machine, (own, rule, damping), rng, chains))
    mean, var = (np.concatenate(x) for x in zip(*made, strict=True))
    return mean, var


def _narrow(machine: Machine) -> Machine:
    """In float32 where it can be, for units of two states: noise of few chains is far above its rounding."""
    if not two_states(machine):
        return machine
    try:
        return machine.replace(dtype="float32")
    except ValueError:
        return machine


def check_room(machine: Machine, chains: int, observations: int) -> None:
    """Refuse, by the name of `starts`, more chains of an observation than there is room for."""
    count = max(chains, min(AT_ONCE, chains * observations))
    each = chain_bytes(machine.sizes, machine.dtype) + 3 * footprint.per_row(machine.sizes, machine.dtype)
    footprint.check("starts", chains, count * each)


def _averaged(
    pool: Chains, pinning: Pinning, machine: Machine, run: tuple[Any, ...], rng: np.random.Generator, chains: int
) -> tuple[Array, Array]:
    """Moments of each observation's chains, over steps."""
    shape = (-1, chains, machine.layers[0].columns)
    state, (own, rule, damping) = pool.state, run
    total = square = var = np.zeros(())
    for step in range(STEPS):
        pinning.measure(rng)
        pool.answer(own, rule, SWEEPS, damping, pinning.outside)
        pinning.draw(machine.layers, state.mean[1:], *pinning.whole(state.B[1:], state.A[1:]), rng)
        if step < SKIPPED:
            continue
        x = state.mean[0].reshape(shape).astype(np.float64)
        total = total + x.mean(axis=1)
        square = square + (x * x).mean(axis=1)
        var = var + state.var[0].reshape(shape).mean(axis=1, dtype=np.float64)
    kept = STEPS - SKIPPED
    mean = total / kept
    return mean, var / kept + np.maximum(square / kept - mean * mean, 0.0)


def _drawn(machine: Machine, means: Array, held: Array, rng: np.random.Generator) -> Array:
    """Visible values with these means, (K, n); those held where units are."""
    visible = machine.layers[0]
    values = means
    if visible.states is not None:
        low, high = visible.states
        values = np.where(rng.random(means.shape) < (means - low) / (high - low), high, low)
    if len(held):
        values = np.where(np.isnan(held), values, held)
    return np.asarray(values, machine.dtype)
