"""Laws of the rungs of a ladder, and ln of the weight that a law gives to the even layers of chains.

A law is a machine, or lies at an inverse temperature beta between independent units and a machine: its weight is
``sum_k exp(beta x W h + (1 - beta) L_k(x, h))`` times the units' weights, L_k being ln of the law of independent units
at centre k times the share of Z that this centre stands for. At beta = 0 that is a mixture of laws of independent
units, whose Z is 1; at beta = 1 it is the machine, and centres are of no account. Odd layers and the number of the
centre are summed out.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from tapcore._base.arrays import copy
from tapcore._base.blocks import Job, block_kernel
from tapcore._base.intrinsics import segment
from tapcore._base.jit import scalar
from tapcore._base.random import Stream, uniform
from tapcore.equations.compiled import Compiled, compiled
from tapcore.equations.fields import add_fields
from tapcore.equations.layers import Layers, row_of
from tapcore.machine import Machine
from tapcore.sampling.centres import Centres
from tapcore.sampling.gibbs_chains import GibbsChains, Tempered, draw_parity, tempered
from tapcore.units import Unit
from tapcore.units.definition import FIELD, PRECISION
from tapcore.units.sites import DRAW, LOG_Z, MOMENTS, layer_log_z

Array = NDArray[Any]


class Mixture(NamedTuple):
    """G laws of independent units, which together are rung 0."""

    log_share: NDArray[np.float64]  # (G,) ln of the part that each is of the mixture
    logs: NDArray[np.float64]  # (G,) the same less ln Z of these units
    fields: tuple[Array, ...]  # that each layer receives at each centre, (G, n_l)

    @classmethod
    def of(cls, machine: Machine, centres: Centres) -> Mixture:
        """At the centres of a machine, with their shares of Z."""
        pairs = zip(machine.layers, centres.fields, strict=True)
        normalisers = sum(layer.moments(B, 0.0)[0].sum(axis=1) for layer, B in pairs)
        return cls(centres.log_share, np.asarray(centres.log_share - normalisers), centres.fields)


class Terms(NamedTuple):
    """What a law adds to the machine's weights, for kernels."""

    beta: Array  # (1,)
    log_share: Array  # (G,)
    logs: Array  # (G,)
    U: Array  # fields and precisions of units of even layers, one layer after another; 0 of those weighed elsewhere
    V: Array
    place: NDArray[np.int64]  # (layers,) where those of each even layer begin


class Law:
    """The law of a rung.

    Attributes
    ----------
    machine : Machine
    beta : float
        Inverse temperature, from 0, the mixture, to 1, the machine.
    own : Compiled
    terms : Terms
    """

    def __init__(self, machine: Machine, mixture: Mixture, beta: float = 1.0) -> None:
        self.machine, self.mixture, self.beta = machine, mixture, beta
        self.own = compiled(machine.layers, machine.weights, 1, DRAW, MOMENTS, LOG_Z)
        sizes = [n if i % 2 == 0 else 0 for i, n in enumerate(machine.sizes)]
        place = np.cumsum([0, *sizes])
        U, V = np.zeros(place[-1]), np.zeros(place[-1])
        self.terms = Terms(np.array([float(beta)]), mixture.log_share, mixture.logs, U, V, place[:-1].astype(np.int64))
        self._set_fields()

    def _set_fields(self) -> None:
        """Write U and V where these alone make a unit's weight, and list the other units."""
        self._others: list[tuple[int, slice, Unit]] = []
        for layer in range(0, len(self.machine.layers), 2):
            first = 0
            for block in self.machine.layers[layer].blocks:
                at = slice(first, first + block.columns)
                if _simple(block):
                    own = slice(self.terms.place[layer] + at.start, self.terms.place[layer] + at.stop)
                    self.terms.U[own] = block.parameters[FIELD]
                    if PRECISION in block.names:
                        self.terms.V[own] = block.parameters[PRECISION]
                else:
                    self._others.append((layer, at, block))
                first = at.stop

    def other_weights(self, even: tuple[Array, ...]) -> Array:
        """Ln of the weights of units of which U and V do not say all, (K,), given values of all layers."""
        parts = (block.log_weight(even[layer][:, at]).sum(axis=1) for layer, at, block in self._others)
        return sum(parts, np.zeros(len(even[0])))

    @property
    def tempered(self) -> Tempered:
        """For one chain; all of a rung have the same inverse temperature."""
        return tempered(np.array([float(self.beta)]), np.zeros(1, np.int64), self.mixture.fields)


def _simple(block: Unit) -> bool:
    """Whether ``U x - V x^2/2`` is ln of the weight, up to what the support alone determines."""
    fields = [name for name in block.names if name in (FIELD, PRECISION)]
    return all(name in (*fields, *block.fixed) for name in block.names) and all(
        block.parameters[name].size == block.columns for name in fields
    )


class _Weigh(NamedTuple):
    """Chains and a law, by no means always that which they are drawn from."""

    machine: Compiled
    chains: Layers
    blocks: NDArray[np.int64]  # (blocks, 2) first row and rows
    terms: Terms
    at: Tempered
    logits: Array  # (K, G) what each centre contributes
    out: NDArray[np.float64]  # (K,) to be added to


class LogWeights:
    """Ln of the weight that a law gives to the even layers of chains.

    Fields of odd layers in the state of the chains are overwritten.
    """

    def __init__(self, law: Law, chains: GibbsChains) -> None:
        self.law, self.chains = law, chains
        self.out = np.zeros(chains.count)
        logits = np.zeros((chains.count, len(law.terms.logs)))
        self._job = Job(
            _Weigh(law.own, chains.state.flat, chains.blocks, law.terms, law.tempered, logits, self.out)
        )  # fmt: skip
        self._brief = law.own.brief(chains.count)

    def find(self) -> NDArray[np.float64]:
        """Ln of the weights of all chains, (K,); the array is written to again by the next call."""
        self.out[:] = self.law.other_weights(self.chains.state.mean)
        self._job.run(_weigh, len(self.chains.blocks), brief=self._brief)
        return self.out


@block_kernel
def _weigh(b: int, job: _Weigh) -> None:
    lo, count = job.blocks[b, 0], job.blocks[b, 1]
    for layer in range(0, job.machine.size.size, 2):
        for k in range(lo, lo + count):
            job.out[k] += _own_weight(job, layer, row_of(job.chains, job.chains.mean, layer, k))
    set_logits(job, b)
    for k in range(lo, lo + count):
        job.out[k] += log_sum(job.logits[k]) if job.terms.beta[0] < 1.0 else job.logits[k, 0]


@scalar
def _own_weight(job: _Weigh, layer: int, x: Array) -> float:
    U = segment(job.terms.U, job.terms.place[layer], x.size)
    V = segment(job.terms.V, job.terms.place[layer], x.size)
    total = 0.0
    for i in range(x.size):
        total += x[i] * (U[i] - 0.5 * V[i] * x[i])
    return total


@scalar
def set_logits(job: Any, b: int) -> None:
    """Write ln of what each centre contributes to the weight of block b's rows, own weights of even units apart.

    At beta = 1 there is one contribution, whatever the centre: only the first one is written.
    """
    lo, count, beta = job.blocks[b, 0], job.blocks[b, 1], job.terms.beta[0]
    used = job.logits.shape[1] if beta < 1.0 else 1
    for k in range(lo, lo + count):
        for c in range(used):
            job.logits[k, c] = (1.0 - beta) * job.terms.logs[c] if beta < 1.0 else 0.0
    for layer in range(job.machine.size.size):
        if layer % 2 == 1:
            add_fields(job.machine, job.chains, layer, lo, count, False)
        elif beta == 1.0:
            continue
        n = job.machine.size[layer]
        for c in range(used):
            centre = segment(job.at.fields, job.at.first[layer] + c * n, n)
            for k in range(lo, lo + count):
                if layer % 2 == 0:
                    job.logits[k, c] += (1.0 - beta) * _dot(row_of(job.chains, job.chains.mean, layer, k), centre)
                else:
                    job.logits[k, c] += _summed_out(job, b, layer, k, centre)


@scalar
def _dot(x: Array, y: Array) -> float:
    total = 0.0
    for i in range(x.size):
        total += x[i] * y[i]
    return total


@scalar
def _summed_out(job: Any, b: int, layer: int, k: int, centre: Array) -> float:
    """Ln Z of the units of an odd layer in chain k, whose B is x W."""
    B, A, beta = (
        row_of(job.chains, job.chains.B, layer, k),
        row_of(job.chains, job.chains.A, layer, k),
        job.terms.beta[0],
    )
    fields, log_z = job.chains.scratch[b, 0, : B.size], job.chains.scratch[b, 1, : B.size]
    for i in range(B.size):
        fields[i] = beta * B[i] + (1.0 - beta) * centre[i]
    layer_log_z(job.machine, layer, fields, A, log_z)
    total = 0.0
    for i in range(B.size):
        total += log_z[i]
    return total


@scalar
def log_sum(logs: Array) -> float:
    """Ln of the sum of the exponentials."""
    top = logs.max()
    total = 0.0
    for c in range(logs.size):
        total += np.exp(logs[c] - top)
    return float(top + np.log(total))


class _Move(NamedTuple):
    """Chains that are drawn from a law of their own."""

    machine: Compiled
    chains: Layers
    words: Stream
    at: Tempered
    blocks: NDArray[np.int64]
    terms: Terms
    logits: Array


class Moves:
    """Gibbs sweeps of chains by a law; the number of the centre is drawn first, then odd layers, then even ones."""

    def __init__(self, law: Law, chains: GibbsChains) -> None:
        self._blocks, self._brief = len(chains.blocks), law.own.brief(chains.count)
        chains.use(law.own)
        one = law.tempered
        chains.at = one._replace(beta=np.full(chains.count, float(law.beta)), label=np.zeros(chains.count, np.int64))
        logits = np.zeros((chains.count, len(law.terms.logs)))
        self._job = Job(
            _Move(law.own, chains.state.flat, chains.words, chains.at, chains.blocks, law.terms, logits)
        )  # fmt: skip

    def sweep(self) -> None:
        """Draw all layers, from the values of even ones; at beta = 0 anew, whatever these are."""
        self._job.run(_move, self._blocks, brief=self._brief)


@block_kernel
def _move(b: int, job: _Move) -> None:
    lo, count, beta = job.blocks[b, 0], job.blocks[b, 1], job.terms.beta[0]
    if job.logits.shape[1] > 1 and beta < 1.0:
        if beta > 0.0:
            set_logits(job, b)
        else:
            for k in range(lo, lo + count):
                copy(job.terms.log_share, job.logits[k])
        for k in range(lo, lo + count):
            job.at.label[k] = _drawn(job.logits[k], uniform(job.words[k]))
    draw_parity(job, 1, lo, count)
    draw_parity(job, 0, lo, count)


@scalar
def _drawn(logs: Array, u: float) -> int:
    """A number with probability in proportion to ``exp(logs)``, from a uniform one in [0, 1)."""
    rest = u * np.exp(log_sum(logs) - logs.max())
    top = logs.max()
    for c in range(logs.size):
        rest -= np.exp(logs[c] - top)
        if rest < 0.0:
            return c
    return int(logs.argmax())
