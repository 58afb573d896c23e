"""Centres about which couplings are scaled, and how they share out a machine's law.

Chains that warm up or cool down about one centre stay in its mode where modes are far apart, and agree with each other
on what is wrong. So each mode has a centre of its own, but for modes that chains change between, both ways: these have
one together, their average, from where all of them can be reached.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from tapcore.machine import Machine
from tapcore.sampling.gibbs_chains import Tempered, tempered
from tapcore.sampling.modes import Modes, field

Array = NDArray[Any]
Layers = tuple[Array, ...]


class Centres(NamedTuple):
    """G centres of C modes."""

    modes: Modes
    part: NDArray[np.int64]  # (C,) the centre of each mode
    log_mode: NDArray[np.float64]  # (C,) ln of the part of Z that each mode is thought to stand for; adds up to 1
    means: Layers  # (G, n_l) arrays, one a layer
    fields: Layers  # what each layer receives from its neighbours at these means
    log_z0: NDArray[np.float64]  # (G,) ln Z of independent units in these fields, where a path to the machine begins

    @property
    def log_share(self) -> NDArray[np.float64]:
        """Ln of the part of Z that each centre is thought to stand for, (G,)."""
        share = np.full(len(self.log_z0), -np.inf)
        np.logaddexp.at(share, self.part, self.log_mode)
        return share

    def responsibilities(self, even: Layers, machine: Machine) -> NDArray[np.float64]:
        """Ln of the share of each centre in values of even layers, (K, G): the exponentials of a row add up to 1.

        By the laws of independent units at the modes, weighted with what these are thought to stand for.
        """
        logs = np.tile(self.log_mode, (len(even[0]), 1))
        for x, layer, unit in zip(even, range(0, len(machine.layers), 2), machine.layers[::2], strict=True):
            B = field(machine, self.modes.means, layer)
            logs += x @ B.T - unit.moments(B, 0.0)[0].sum(axis=1)
        parts = np.full((len(logs), len(self.log_z0)), -np.inf)
        np.logaddexp.at(parts.T, self.part, logs.T)
        return np.asarray(parts - np.logaddexp.reduce(parts, axis=1)[:, None])

    def tempered(self, count: int) -> Tempered:
        """`count` chains at the machine itself, all with the first centre."""
        return tempered(np.ones(count), np.zeros(count, np.int64), self.fields)

    def with_shares(self, log_share: Array) -> Centres:
        """With other shares of the centres, up to a factor; modes of one centre keep their proportions."""
        log_mode = self.log_mode + (log_share - self.log_share)[self.part]
        return self._replace(log_mode=log_mode - np.logaddexp.reduce(log_mode))


def centres_of(machine: Machine, modes: Modes, log_mode: Array, part: NDArray[np.int64]) -> Centres:
    """One centre for the modes of each part, their average."""
    count = int(part.max()) + 1
    log_mode = log_mode - np.logaddexp.reduce(log_mode)
    weights = np.zeros((count, len(part)))
    weights[part, np.arange(len(part))] = 1.0
    weights /= weights.sum(axis=1, keepdims=True)
    means = tuple(weights @ x for x in modes.means)
    fields = tuple(field(machine, means, layer) for layer in range(len(means)))
    constant = sum((a @ W * b).sum(axis=1) for a, W, b in zip(means, machine.weights, means[1:], strict=False))
    log_z0 = sum(layer.moments(B, 0.0)[0].sum(axis=1) for layer, B in zip(machine.layers, fields, strict=True))
    return Centres(modes, part, log_mode, means, fields, np.asarray(log_z0 - constant))
