"""Posterior means (Eq. 44) by chains whose hidden units are measured, in place of single solutions.

Where noise is strong the posterior has many solutions, and their free energies weigh them badly: TAP errs by more than
they differ. Chains under measurements (`inference/pinning.py`) move between them nearly as the law asks for; from where
they come they are sampled on (`priors/drawn.py`).
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
from tapcore.priors.drawn import drawn_moments

Array = NDArray[Any]

# Measurements of each chain in turn, and sweeps under each.
STEPS, SWEEPS = 30, 2
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
        for _ in range(STEPS):
            pinning.measure(rng)
            pool.answer(own, rule, SWEEPS, damping, pinning.outside)
            state = pool.state
            pinning.draw(machine.layers, state.mean[1:], *pinning.whole(state.B[1:], state.A[1:]), rng)
        made.append(drawn_moments(machine, part, pinning.values, chains, rng))
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


def _drawn(machine: Machine, means: Array, held: Array, rng: np.random.Generator) -> Array:
    """Visible values with these means, (K, n); those held where units are."""
    visible = machine.layers[0]
    values = means
    if visible.levels is not None:
        low, high = visible.levels
        values = np.where(rng.random(means.shape) < (means - low) / (high - low), high, low)
    if len(held):
        values = np.where(np.isnan(held), values, held)
    return np.asarray(values, machine.dtype)
