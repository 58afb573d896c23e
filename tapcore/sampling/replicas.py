"""Replica exchange: chains at several inverse temperatures that change places (Swendsen and Wang 1986)."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from tapcore import _checks
from tapcore._jit import kernel
from tapcore._random import Stream, uniform
from tapcore._threads import for_each_block, split, thread_count
from tapcore.fields import Couplings, State, add_fields
from tapcore.machine import Machine, check_machine
from tapcore.sampling.centre import means_given, pilot_means, set_centre
from tapcore.sampling.chains import GibbsChains, check_init

Array = NDArray[Any]


class ReplicaExchange:
    """Ladders of replicas of a machine, in which the couplings are scaled by 0 to 1 about a centre.

    A replica at beta has the law ``exp(beta (x - x0) W (h - h0) + x W h0 + x0 W h)`` times the units' weights. After
    each Gibbs sweep neighbours on a ladder change places with probability
    ``min(1, exp((beta' - beta) (C - C')))``, ``C = (x - x0) W (h - h0)``.

    Parameters
    ----------
    machine : Machine
        Of any layers and units; sampled in float64.
    chains : int
        Number of ladders K.
    betas : int or (R,) array_like
        Number of replicas of a ladder, evenly spaced in beta from 0 to 1, at least 2; or the betas, rising to 1.
    init : (K, n_visible) array_like, optional
        Visible values that all replicas of a ladder start from. None draws every unit on its own.
    data : (n, n_visible) array_like, optional
        Samples whose mean is the centre. None takes the means of short Gibbs chains.
    seed : int
        At least 0. The result does not depend on the number of threads.

    Attributes
    ----------
    betas : (R,) array
    acceptance : (R - 1,) array
        Share of the exchanges tried between neighbours that took place; NaN where none has been tried.

    Raises
    ------
    ValueError
        An argument outside its range.
    """

    def __init__(
        self,
        machine: Machine,
        chains: int,
        betas: int | ArrayLike = 10,
        *,
        init: ArrayLike | None = None,
        data: ArrayLike | None = None,
        seed: int = 0,
    ) -> None:
        check_machine(machine)
        count = _checks.integer("chains", chains, minimum=1)
        self.betas = _ladder(betas)
        seed = _checks.integer("seed", seed, minimum=0)
        starts = None if init is None else check_init(machine, init, count)
        self.machine = machine = machine.replace(dtype="float64")
        self._gibbs = gibbs = GibbsChains(machine, count * self.betas.size)
        self._means = pilot_means(gibbs, seed) if data is None else means_given(machine, data)
        set_centre(gibbs, machine, self._means)
        # Row of the replica at each beta.
        self._rows = np.arange(gibbs.count).reshape(count, self.betas.size)
        self._energy = np.zeros(gibbs.count)
        self._counts = np.zeros((2, count, self.betas.size - 1), np.int64)  # tried, accepted
        self._blocks = split(count, thread_count())
        self._parity = 0
        gibbs.beta[:] = np.tile(self.betas, count)
        gibbs.seed(seed)
        gibbs.begin(None if starts is None else np.repeat(starts, self.betas.size, axis=0))

    def sweep(self, sweeps: int = 1) -> None:
        """Draw all layers and try exchanges, so many times."""
        gibbs = self._gibbs
        for _ in range(_checks.integer("sweeps", sweeps, minimum=0)):
            gibbs.sweep(1, even_first=False)
            for_each_block(
                _coupling, len(gibbs.blocks), gibbs.pair, gibbs.state, gibbs.centre, self._means, gibbs.blocks,
                self._energy,
            )  # fmt: skip
            for_each_block(
                _exchange, len(self._blocks), self._rows, gibbs.beta, self._energy, gibbs.words, self._counts,
                self._parity, self._blocks,
            )  # fmt: skip
            self._parity = 1 - self._parity

    @property
    def layers(self) -> tuple[Array, ...]:
        """Copies of the values at beta = 1, (K, n_l)."""
        return tuple(x[self._rows[:, -1]] for x in self._gibbs.state.mean)

    @property
    def acceptance(self) -> NDArray[np.float64]:
        """Share of the exchanges tried between neighbours that took place."""
        tried, accepted = self._counts.sum(axis=1)
        return np.where(tried > 0, accepted / np.maximum(tried, 1), np.nan)


def _ladder(betas: Any) -> NDArray[np.float64]:
    if np.ndim(betas) == 0:
        return np.linspace(0.0, 1.0, _checks.integer("betas", betas, minimum=2))
    array = _checks.real_array("betas", betas).astype(np.float64)
    if array.ndim != 1 or array.size < 2 or not array[0] >= 0 or not (np.diff(array) > 0).all() or array[-1] != 1.0:
        raise ValueError("betas must be a number of replicas, or rise from 0 or above to 1")
    return array


@kernel()
def _coupling(
    b: int, pair: Couplings, state: State, centre: tuple[Array, ...], means: tuple[Array, ...],
    blocks: NDArray[np.int64], out: Array,
) -> None:  # fmt: skip
    """Write ``(x - x0) W (h - h0)`` of each row; the fields of odd layers are overwritten."""
    lo, hi = blocks[b, 0], blocks[b, 0] + blocks[b, 1]
    out[lo:hi] = 0.0
    for layer in range(1, len(state.mean), 2):
        add_fields(pair, state, layer, lo, hi, False)
        for k in range(lo, hi):
            for i in range(state.mean[layer].shape[1]):
                out[k] += (state.B[layer][k, i] - centre[layer][i]) * (state.mean[layer][k, i] - means[layer][i])


@kernel()
def _exchange(
    b: int, rows: NDArray[np.int64], beta: Array, energy: Array, words: Stream, counts: NDArray[np.int64],
    parity: int, blocks: NDArray[np.int64],
) -> None:  # fmt: skip
    """Every second pair of neighbours on each ladder changes places, or does not."""
    for k in range(blocks[b, 0], blocks[b, 0] + blocks[b, 1]):
        for j in range(parity, rows.shape[1] - 1, 2):
            low, high = rows[k, j], rows[k, j + 1]
            counts[0, k, j] += 1
            if uniform(words[low]) < np.exp((beta[high] - beta[low]) * (energy[low] - energy[high])):
                rows[k, j], rows[k, j + 1] = high, low
                beta[low], beta[high] = beta[high], beta[low]
                counts[1, k, j] += 1
