"""Shares of chains in the model's averages: distinct solutions by exp(-F/T), whatever number of chains is at each."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tapcore._base.jit import kernel, scalar
from tapcore.equations.compiled import Compiled
from tapcore.equations.energy import evaluate
from tapcore.inference.progress import Rule
from tapcore.inference.sweeps.chains import Chains
from tapcore.machine import Machine

Array = NDArray[Any]

# Directions in which means of chains are compared.
DIRECTIONS = 2
# Chains are at one solution if their means differ, in each direction, by at most this share of how much those of all
# chains do, and their free energies by at most so many nats.
SAME_MEAN, SAME_ENERGY = 1e-3, 1e-2


class SolutionShares:
    """Free energies of K chains after their sweeps, and what each of them counts.

    Parameters
    ----------
    machine : Machine
    chains : Chains
        Of that machine; nothing acts on them from outside.
    rule : Rule
        Of their sweeps.
    temperature : float
        Above 0; infinity for distinct solutions alike.
    """

    def __init__(self, machine: Machine, chains: Chains, rule: Rule, temperature: float) -> None:
        self.chains, self.rule, self.temperature = chains, rule, temperature
        # Even layers say where a chain is: odd ones follow from them in half a sweep.
        rng = np.random.default_rng(0)
        self.directions = [rng.standard_normal((n, DIRECTIONS)).astype(machine.dtype) for n in machine.sizes[::2]]
        self.energies = np.zeros(chains.count)

    def run(self, machine: Callable[[], Machine], own: Compiled, sweeps: int, damping: float) -> None:
        """Sweep every chain of the machine `own`, which `machine` makes a `Machine`, and find its free energy."""
        if self.rule.order > 2 or own.has_exclusive:  # sweeps leave less behind than their free energies have terms
            self.chains.run(own, self.rule, sweeps, damping)
            state = self.chains.state
            self.energies[:] = evaluate(machine(), state.mean, state.var, self.rule.order)
        else:
            self.chains.run_to_energies(own, self.rule, sweeps, damping, self.energies)

    def of(self, kept: Any) -> Array:
        """What each of the chains `kept` counts, in the dtype of their means: they add up to 1."""
        means = [x[kept] for x in self.chains.state.mean[::2]]
        marks = sum(x @ along for x, along in zip(means, self.directions, strict=True))
        return shares_of(self.energies[kept], np.asarray(marks), self.temperature).astype(means[0].dtype)


def shares_of(energies: NDArray[np.float64], marks: Array, temperature: float) -> NDArray[np.float64]:
    """Shares of chains, which have equal parts of the weight exp(-F/temperature) of the solution they are at.

    Parameters
    ----------
    energies : (K,) array
        A chain has no share where it is not finite; if none is finite, all chains count alike.
    marks : (K, DIRECTIONS) array
        Projections of each chain's means.
    temperature : float
        Above 0, or infinity.

    Returns
    -------
    (K,) array
        They add up to 1.
    """
    finite = np.isfinite(energies)
    if not finite.any():
        return np.full(len(energies), 1.0 / len(energies))
    order = np.argsort(marks[:, 0], kind="stable")
    shares, allowed = np.zeros(len(energies)), np.zeros(DIRECTIONS)
    rounding = float(np.sqrt(np.finfo(marks.dtype).eps))
    _share_out(order[finite[order]], energies, marks, allowed, rounding, temperature, shares)
    return shares


@kernel()
def _share_out(
    order: NDArray[np.int64],
    F: Array,
    marks: Array,
    allowed: Array,
    rounding: float,
    temperature: float,
    shares: Array,
) -> None:
    """Write the shares of the chains of `order`, in that of their first marks.

    `allowed` (DIRECTIONS,) is room for what marks may differ by, `rounding` the least share of their size that counts.

    The order is not that of F, which solutions may have in common that are each other's mirror images. Two solutions
    whose marks and F all agree are taken for one: in random directions that has a chance of a millionth or so, and the
    two then have the weight of one. Chains of a third one whose first mark lies between those of two chains at one
    solution make this count twice; converged chains leave no room between. Of chains that are all on their way to one
    solution some may be taken to be there already and others not: their averages are nearly the same, however they
    count.
    """
    least = F[order[0]]
    for j in range(DIRECTIONS):
        low = high = np.float64(marks[order[0], j])
        for k in order:
            low, high = min(low, np.float64(marks[k, j])), max(high, np.float64(marks[k, j]))
            least = min(least, F[k])
        allowed[j] = max(SAME_MEAN * (high - low), rounding * max(-low, high))
    first, total = 0, 0.0
    while first < order.size:
        last = first + 1
        while last < order.size and _at_one_solution(order[last - 1], order[last], F, marks, allowed):
            last += 1
        weight = np.exp((least - F[order[first]]) / temperature)
        total += weight
        for k in order[first:last]:
            shares[k] = weight / (last - first)
        first = last
    for k in order:
        shares[k] /= total


@scalar
def _at_one_solution(k: int, other: int, F: Array, marks: Array, allowed: Array) -> bool:
    for j in range(DIRECTIONS):
        if abs(marks[k, j] - marks[other, j]) > allowed[j]:
            return False
    return bool(abs(F[k] - F[other]) <= SAME_ENERGY)
