"""Posterior means by Gibbs sampling, from where chains whose hidden units are measured have come.

Those move between solutions in few steps, and draw units as if they were independent given the measurements, which of
hundreds of hidden units they are not: images come out too dark. A few hundred sweeps of all layers in turn put that
right, and need not find solutions by themselves.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from tapcore._base.blas import product
from tapcore._base.threads import for_each
from tapcore.inference.pinning import draw
from tapcore.machine import Machine
from tapcore.units import Unit
from tapcore.units.sites import MOMENTS, call_rows, sites_of

Array = NDArray[Any]

# Sweeps, of which the first are left out. 100 images held out, 784x500 after 150 s, squared errors with 35 and 45 % of
# the pixels flipped: 100 measurements alone come to 0.0646 and 0.0927; 50 and 200 sweeps to 0.0584 and 0.0884, 30 and
# 400 to 0.0566 and 0.0876; sweeps alone to 0.0574 and 0.0876, and of 784x100 to 0.0563 where 30 and 400 come to 0.0542.
SWEEPS, SKIPPED = 400, 100
# Chains that a thread takes at a time, as far as an observation has no more.
ROWS = 256


def drawn_moments(
    machine: Machine, given: tuple[Array, ...], hidden: tuple[Array, ...], chains: int, rng: np.random.Generator
) -> tuple[Array, Array]:
    """Means and variances of the visible units for each of K observations, (K, n), over chains and sweeps.

    `given` is what acts on the visible layer of each chain (fields, precisions, values held), in as many rows as there
    are chains, one or none; `hidden` are values of the hidden layers, (chains K, n_l) each, an observation's chains
    next to each other.
    """
    count = len(hidden[0]) // chains
    each = max(1, ROWS // chains)
    starts = range(0, count, each)
    streams = rng.spawn(len(starts))
    mean, var = (np.empty((count, machine.layers[0].columns)) for _ in range(2))

    def block(b: int) -> None:
        own = slice(starts[b], min(starts[b] + each, count))
        rows = slice(own.start * chains, own.stop * chains)
        part = tuple(x[rows] if len(x) > 1 else x for x in given)
        chain = _Chains(machine, part, tuple(h[rows] for h in hidden), streams[b])
        mean[own], var[own] = chain.moments(chains)

    for_each(block, len(starts))
    return mean, var


class _Chains:
    """Values of all layers of some chains, drawn in turn."""

    def __init__(
        self, machine: Machine, given: tuple[Array, ...], hidden: tuple[Array, ...], rng: np.random.Generator
    ) -> None:
        self.machine, self.rng = machine, rng
        # Fields that are added to none, precisions of none and values that hold none are left out.
        self.U, V, self.held = (x.astype(machine.dtype) if len(x) else None for x in given)
        shape = len(hidden[0]), machine.layers[0].columns
        self.values: list[Array] = [np.zeros(shape, machine.dtype), *hidden]
        self.A = [np.zeros(x.shape, machine.dtype) for x in self.values]
        if V is not None:
            self.A[0][:] = V

    def moments(self, chains: int) -> tuple[Array, Array]:
        """Visible means and variances over so many chains each, and sweeps."""
        shape = (-1, chains, self.machine.layers[0].columns)
        total = square = var = np.zeros(())
        for sweep in range(SWEEPS):
            for layer in range(2, len(self.values), 2):
                self._draw(layer)
            mean, spread = self._draw(0)
            for layer in range(1, len(self.values), 2):
                self._draw(layer)
            if sweep >= SKIPPED:
                x = mean.reshape(shape).astype(np.float64)
                total = total + x.mean(axis=1)
                square = square + (x * x).mean(axis=1)
                var = var + spread.reshape(shape).mean(axis=1, dtype=np.float64)
        kept = SWEEPS - SKIPPED
        mean = total / kept
        return mean, var / kept + np.maximum(square / kept - mean * mean, 0.0)

    def _draw(self, number: int) -> tuple[Array, Array]:
        """Draw a layer given its neighbours, where it has these means and variances."""
        layer, B = self.machine.layers[number], self._received(number)
        A = self.A[number]
        if number == 0 and self.U is not None:
            B = B + self.U
        mean, var = _moments(layer, B, A)
        self.values[number] = draw(layer, mean, B, A, self.rng)
        if number == 0 and self.held is not None:
            known = np.broadcast_to(~np.isnan(self.held), mean.shape)
            mean, var = np.where(known, self.held, mean), np.where(known, 0, var)
            self.values[0] = np.where(known, self.held, self.values[0])
        return mean, var

    def _received(self, number: int) -> Array:
        """What a layer receives from its neighbours."""
        values, weights = self.values, self.machine.weights
        parts = [product(values[number - 1], weights[number - 1])] if number else []
        if number < len(weights):
            parts.append(product(values[number + 1], weights[number], transposed=True))
        return parts[0] if len(parts) == 1 else parts[0] + parts[1]


def _moments(layer: Unit, B: Array, A: Array) -> tuple[Array, Array]:
    mean, var = np.empty_like(B), np.empty_like(B)
    call_rows(sites_of([layer], MOMENTS), MOMENTS, B, A, mean, var)
    return mean, var
