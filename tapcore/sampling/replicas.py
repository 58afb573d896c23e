"""Replica exchange: chains at several inverse temperatures that change places (Swendsen and Wang 1986)."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from tapcore._base import checks, footprint
from tapcore._base.arrays import copy
from tapcore._base.blocks import BlockKernel, Job, block_kernel
from tapcore._base.intrinsics import segment
from tapcore._base.jit import scalar
from tapcore._base.random import Stream, uniform
from tapcore._base.threads import split, thread_count
from tapcore.equations.compiled import Compiled
from tapcore.equations.fields import add_fields
from tapcore.equations.layers import Layers, row_of
from tapcore.machine import Machine, check_machine
from tapcore.sampling.gibbs_chains import GibbsChains, Tempered, check_init, check_proper
from tapcore.sampling.modes import some_rows
from tapcore.sampling.paths import settled_centres

Array = NDArray[Any]

# After so many sweeps a smaller share of exchanges between two neighbours says that there are too few replicas.
TELLING, HARDLY = 20, 0.01


class _Shares(NamedTuple):
    """What C centres stand for."""

    ends: Array  # (C,) cumulated shares of Z
    logs: Array  # (C,) ln of the shares less ln Z of independent units there


class ReplicaExchange:
    """Ladders of replicas of a machine, from independent units to the machine itself.

    There are centres in all modes of the machine that are found (`ais` says how), and k, the number of one, is part of
    a replica's state: at beta its law is ``exp(beta x W h + (1 - beta) L_k(x, h))`` times the units' weights, L_k the
    ln of the law of independent units at centre k times the share of Z that it stands for. At beta = 0 that is a
    mixture which covers all modes, and new values are drawn from it in each sweep; at 1 it is the machine. After each
    Gibbs sweep k is drawn anew, given the values, and neighbours on a ladder change places with probability
    ``min(1, exp((beta' - beta) (E - E')))``, ``E = x W h - L_k``.

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
        Samples from which centres are sought too.
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
        An argument outside its range, or a machine whose Z is infinite.
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
        count = checks.integer("chains", chains, minimum=1)
        self.betas = _ladder(betas)
        seed = checks.integer("seed", seed, minimum=0)
        # As the machine's own dtype holds them, before it gets another.
        starts, rows = None if init is None else check_init(machine, init, count), some_rows(machine, data, seed)
        check_proper(machine)
        self.machine = machine = machine.replace(dtype="float64")
        self._gibbs = gibbs = GibbsChains(machine, count * self.betas.size)
        centres, _ = settled_centres(machine, seed, rows)
        gibbs.at = centres.tempered(gibbs.count)
        pairs = zip(machine.layers, centres.fields, strict=True)
        normalisers = sum(layer.moments(B, 0.0)[0].sum(axis=1) for layer, B in pairs)
        self._shares = _Shares(np.cumsum(np.exp(centres.log_share)), np.asarray(centres.log_share - normalisers))
        self._logs = np.zeros((gibbs.count, len(centres.log_share)))
        # Row of the replica at each beta.
        self._rows = np.arange(gibbs.count).reshape(count, self.betas.size)
        self._energy = np.zeros(gibbs.count)
        self._counts = np.zeros((2, count, self.betas.size - 1), np.int64)  # tried, accepted
        self._blocks = split(count, thread_count())
        self._parity = 0
        gibbs.at.beta[:] = 0.0
        gibbs.seed(seed)
        self._run(_renew)
        gibbs.at.beta[:] = np.tile(self.betas, count)
        gibbs.begin(None if starts is None else np.repeat(starts, self.betas.size, axis=0))

    def sweep(self, sweeps: int = 1) -> None:
        """Draw all layers and try exchanges, so many times.

        Parameters
        ----------
        sweeps : int
            At least 0.

        Raises
        ------
        ValueError
            `sweeps` below 0, or no whole number.
        """
        gibbs = self._gibbs
        for _ in range(checks.integer("sweeps", sweeps, minimum=0)):
            gibbs.sweep(1, even_first=False)
            self._run(_relabel, _exchange, _renew)
            self._parity = 1 - self._parity

    def _run(self, *kernels: BlockKernel) -> None:
        gibbs = self._gibbs
        job = Job(
            _Replicas(
                gibbs.own, gibbs.state.flat, gibbs.words, gibbs.at, self._shares, gibbs.blocks, self._logs,
                self._energy, self._rows, self._blocks, self._counts, self._parity,
            )
        )  # fmt: skip
        for kernel in kernels:
            job.run(kernel, len(self._blocks if kernel is _exchange else gibbs.blocks))

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
        number = checks.integer("betas", betas, minimum=2)
        footprint.check("betas", number, 16 * number)
        return np.linspace(0.0, 1.0, number)
    array = checks.real_array("betas", betas).astype(np.float64)
    if array.ndim != 1 or array.size < 2 or not array[0] >= 0 or not (np.diff(array) > 0).all() or array[-1] != 1.0:
        raise ValueError("betas must be a number of replicas, or rise from 0 or above to 1")
    return array


class _Replicas(NamedTuple):
    """Replicas that change centres and places."""

    machine: Compiled
    chains: Layers
    words: Stream
    at: Tempered
    shares: _Shares
    blocks: NDArray[np.int64]  # (blocks, 2) first row and rows
    logs: Array  # (rows, C) what the law of each centre says of the values of a row
    energy: NDArray[np.float64]  # (rows,)
    ladders: NDArray[np.int64]  # (K, R) rows of the replicas at each beta
    parts: NDArray[np.int64]  # (blocks, 2) first ladder and ladders
    counts: NDArray[np.int64]  # (2, K, R - 1) exchanges tried, and those that took place
    parity: int  # of the pairs that try


@block_kernel
def _relabel(b: int, job: _Replicas) -> None:
    """Draw the centre of each row given its values, and write its energy; the fields of odd layers are overwritten."""
    lo, count = job.blocks[b, 0], job.blocks[b, 1]
    logs, energy, layers = job.logs, job.energy, job.machine.size.size
    energy[lo : lo + count] = 0.0
    for layer in range(1, layers, 2):
        add_fields(job.machine, job.chains, layer, lo, count, False)
        for k in range(lo, lo + count):
            B, x = row_of(job.chains, job.chains.B, layer, k), row_of(job.chains, job.chains.mean, layer, k)
            for i in range(x.size):
                energy[k] += B[i] * x[i]
    for k in range(lo, lo + count):
        copy(job.shares.logs, logs[k])
    for layer in range(layers):
        n = job.machine.size[layer]
        for c in range(logs.shape[1]):
            fields = segment(job.at.fields, job.at.first[layer] + c * n, n)
            for k in range(lo, lo + count):
                x, total = row_of(job.chains, job.chains.mean, layer, k), 0.0
                for i in range(n):
                    total += x[i] * fields[i]
                logs[k, c] += total
    for k in range(lo, lo + count):
        if logs.shape[1] > 1:
            job.at.label[k] = _draw(logs[k], 1.0 - job.at.beta[k], uniform(job.words[k]))
        energy[k] -= logs[k, job.at.label[k]]


@scalar
def _draw(logs: Array, power: float, u: float) -> int:
    """A number with probability in proportion to ``exp(power logs)``, from a uniform one in [0, 1)."""
    top = logs.max()
    total = 0.0
    for c in range(logs.size):
        total += np.exp(power * (logs[c] - top))
    rest = u * total
    for c in range(logs.size):
        rest -= np.exp(power * (logs[c] - top))
        if rest < 0.0:
            return c
    return int(logs.argmax())


@block_kernel
def _renew(b: int, job: _Replicas) -> None:
    """Draw the centre of rows at beta = 0 whatever their values are: the next sweep draws all of these anew."""
    ends = job.shares.ends
    for k in range(job.blocks[b, 0], job.blocks[b, 0] + job.blocks[b, 1]):
        if job.at.beta[k] == 0.0 and ends.size > 1:
            u, c = uniform(job.words[k]) * ends[-1], 0
            while c < ends.size - 1 and u >= ends[c]:
                c += 1
            job.at.label[k] = c


@block_kernel
def _exchange(b: int, job: _Replicas) -> None:
    """Every second pair of neighbours on each ladder changes places, or does not."""
    ladders, beta, energy = job.ladders, job.at.beta, job.energy
    for k in range(job.parts[b, 0], job.parts[b, 0] + job.parts[b, 1]):
        for j in range(job.parity, ladders.shape[1] - 1, 2):
            low, high = ladders[k, j], ladders[k, j + 1]
            job.counts[0, k, j] += 1
            if uniform(job.words[low]) < np.exp((beta[high] - beta[low]) * (energy[low] - energy[high])):
                ladders[k, j], ladders[k, j + 1] = high, low
                beta[low], beta[high] = beta[high], beta[low]
                job.counts[1, k, j] += 1
