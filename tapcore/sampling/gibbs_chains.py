"""Gibbs sweeps of many chains: every second layer given the others, then those given these.

A chain may be at an inverse temperature beta, which scales the couplings about a centre of its own: its law is
proportional to ``exp(beta (x - x0) W (h - h0) + x W h0 + x0 W h - x0 W h0)`` times the units' weights, the machine
itself at beta = 1 and independent units at 0. Fields are then ``(1 - beta) x0 W + beta x W``. Each chain has a stream
of random numbers of its own: what it draws depends neither on threads nor on the other chains.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from tapcore._base import footprint
from tapcore._base.arrays import copy
from tapcore._base.blocks import Kept, block_kernel
from tapcore._base.intrinsics import segment
from tapcore._base.jit import scalar
from tapcore._base.random import WORDS, Stream, streams
from tapcore._base.threads import split, thread_count
from tapcore.equations.compiled import Compiled, compiled
from tapcore.equations.fields import add_fields
from tapcore.equations.layers import Layers, empty_state, row_of, rows_of, state_bytes
from tapcore.machine import Machine
from tapcore.units.sites import DRAW, MOMENTS, layer_draw, layer_moments

Array = NDArray[Any]


class Tempered(NamedTuple):
    """Where each of K chains is between independent units and the machine."""

    beta: Array  # (K,) inverse temperatures
    label: NDArray[np.int64]  # (K,) which centre
    first: NDArray[np.int64]  # (layers,) where those of each layer begin in `fields`
    fields: Array  # what each layer receives from neighbours at each of C centres: (C, n_l), one layer after another


def tempered(beta: Array, label: NDArray[np.int64], fields: tuple[Array, ...]) -> Tempered:
    """With fields at centres, (C, n_l) arrays, one a layer."""
    ends = np.cumsum([0] + [x.size for x in fields])
    return Tempered(beta, label, ends[:-1].astype(np.int64), np.concatenate([x.ravel() for x in fields]))


class Gibbs(NamedTuple):
    """Gibbs sweeps of blocks of chains; `chains.mean` holds the values, `chains.B` the fields they were drawn in."""

    machine: Compiled
    chains: Layers
    words: Stream  # (K, words) of random numbers
    at: Tempered
    blocks: NDArray[np.int64]  # (blocks, 2) first row and rows
    sweeps: int
    even_first: bool  # draw even layers first
    anew: int  # begin by drawing even layers from this one on as at beta = 0, and then odd ones; -1: go on
    mean: Array  # as `chains.mean`: where to write moments of odd layers given even ones, or nothing
    var: Array
    fields: Array  # (K n_1,) where to write those of layer 1 at the start, or nothing


@block_kernel
def sweep_block(b: int, job: Gibbs) -> None:
    """Begin, if asked to, sweep, and find moments, if asked to."""
    layers, lo, count = job.machine.size.size, job.blocks[b, 0], job.blocks[b, 1]
    if job.anew >= 0:
        _begin(job, lo, count)
    if job.fields.size > 0:
        n = job.machine.size[1]
        copy(rows_of(job.chains, job.chains.B, 1, lo, count), segment(job.fields, lo * n, count * n))
    first = 0 if job.even_first else 1
    for _ in range(job.sweeps):
        draw_parity(job, first, lo, count)
        draw_parity(job, 1 - first, lo, count)
    if job.mean.size > 0:
        for layer in range(1, layers, 2):
            for k in range(lo, lo + count):
                B, A = row_of(job.chains, job.chains.B, layer, k), row_of(job.chains, job.chains.A, layer, k)
                layer_moments(
                    job.machine,
                    layer,
                    B,
                    A,
                    row_of(job.chains, job.mean, layer, k),
                    row_of(job.chains, job.var, layer, k),
                )


@scalar
def _begin(job: Gibbs, lo: int, count: int) -> None:
    """Draw even layers as at beta = 0, and then odd ones given all even ones."""
    chains = job.chains
    for layer in range(job.anew, job.machine.size.size, 2):
        for k in range(lo, lo + count):
            B, A = row_of(chains, chains.B, layer, k), row_of(chains, chains.A, layer, k)
            copy(centre_of(job, job.at.fields, layer, k), B)
            A[:] = 0
            layer_draw(job.machine, layer, B, A, job.words[k], row_of(chains, chains.mean, layer, k))
    draw_parity(job, 1, lo, count)


@scalar
def draw_parity(job: Any, parity: int, lo: int, count: int) -> None:
    """Draw every second layer given the others."""
    for layer in range(parity, job.machine.size.size, 2):
        add_fields(job.machine, job.chains, layer, lo, count, False)
        draw_tempered(job, layer, lo, count)


@scalar
def draw_tempered(job: Any, layer: int, lo: int, count: int) -> None:
    """Draw a layer whose B holds x W, and leave the fields it was drawn in there."""
    chains, words = job.chains, job.words
    # Two loops: in one, the compiler loses sight of what may overlap, and takes twice as long.
    for k in range(lo, lo + count):
        temper(row_of(chains, chains.B, layer, k), centre_of(job, job.at.fields, layer, k), job.at.beta[k])
    for k in range(lo, lo + count):
        B, A = row_of(chains, chains.B, layer, k), row_of(chains, chains.A, layer, k)
        layer_draw(job.machine, layer, B, A, words[k], row_of(chains, chains.mean, layer, k))


@scalar
def centre_of(job: Any, values: Array, layer: int, k: int) -> Array:
    """Row of `values`, which lie as the fields at centres do, for the centre of chain k."""
    n = job.machine.size[layer]
    return segment(values, job.at.first[layer] + job.at.label[k] * n, n)


@scalar
def temper(B: Array, centre: Array, beta: float) -> None:
    """Turn x W into the fields at inverse temperature beta, in place."""
    inside, outside = B.dtype.type(beta), B.dtype.type(1.0 - beta)
    for i in range(B.size):
        B[i] = inside * B[i] + outside * centre[i]


def check_init(machine: Machine, init: ArrayLike, count: int) -> Array:
    """`init` as the visible values of `count` chains."""
    array = machine.layers[0].rows("init", init, "chains")
    if len(array) != count:
        raise ValueError(f"init must have {count} rows, one per chain, got {len(array)}")
    machine.layers[0].check_data("init", array)
    return machine.layers[0].rounded(array)


def chain_bytes(machine: Machine) -> int:
    """What each of `GibbsChains` takes: its state, its moments, and its stream of random numbers."""
    more = (2 * sum(machine.sizes), machine.sizes[1])
    return state_bytes(machine.sizes, machine.dtype, 1) + footprint.per_row(more, machine.dtype) + 8 * (WORDS + 1)


def check_proper(machine: Machine) -> float:
    """Refuse a machine whose Z is infinite: units on the whole line whose couplings outgrow their precisions.

    Returns
    -------
    float
        What is left of precisions, at most 1: the least eigenvalue of those of all units on the line less their
        couplings, in units in which each precision is 1.

    Raises
    ------
    ValueError
        It names the layers.
    """
    tails = [layer.tail_precision() for layer in machine.layers]
    first, least = 0, 1.0
    for layer in range(1, len(tails) + 1):
        if layer < len(tails) and tails[layer] is not None and tails[layer - 1] is not None:
            continue
        if layer - first > 1:
            left = _left(machine, first, layer, tails)
            if not left > 0:
                raise ValueError(
                    f"machine must have a finite Z: layers[{first}] to layers[{layer - 1}] are of units on the whole "
                    "line, and their couplings outgrow the precisions, so that no law has these weights"
                )
            least = min(least, left)
        first = layer
    return least


def _left(machine: Machine, first: int, end: int, tails: list[Any]) -> float:
    """What couplings leave of the precisions of these layers, which are in a row on the line."""
    widths = [1 / np.sqrt(np.asarray(tails[i], np.float64)) for i in range(first, end)]
    blocks = [
        widths[i][:, None] * W.astype(np.float64) * widths[i + 1]
        for i, W in enumerate(machine.weights[first : end - 1])
    ]
    if len(blocks) == 1:
        return 1.0 - float(np.linalg.norm(blocks[0], 2))
    starts = np.cumsum([0, *(len(w) for w in widths)])
    matrix = np.eye(starts[-1])
    for i, block in enumerate(blocks):
        below, above = slice(starts[i], starts[i + 1]), slice(starts[i + 1], starts[i + 2])
        matrix[below, above], matrix[above, below] = -block, -block.T
    return float(np.linalg.eigvalsh(matrix)[0])


class GibbsChains:
    """K chains of a machine with their streams of random numbers.

    Attributes
    ----------
    state : State
        `mean` the values, (K, n_l) arrays, one a layer; `B` the fields in which they were drawn.
    mean, var : tuple of (K, n_l) arrays
        Of odd layers given even ones, as `contrast` last wrote them.
    first : (K, n_1) array
        Fields of layer 1 where `contrast` last began at visible values.
    words : (K, 4) uint64 array
    at : Tempered
        Of the machine itself at first, with one centre that sends no fields.
    """

    def __init__(self, machine: Machine, count: int) -> None:
        self.count = count
        footprint.check("chains", count, count * chain_bytes(machine))
        self.blocks = split(count, thread_count())
        self.state = empty_state(machine.sizes, count, len(self.blocks), machine.dtype, 1)
        self.moments = empty_state(machine.sizes, count, 0, machine.dtype, 1)
        self.mean, self.var = self.moments.mean, self.moments.var
        self.first = np.zeros_like(self.state.mean[1])
        self.words = streams(count, 0)
        fields = tuple(np.zeros((1, n), machine.dtype) for n in machine.sizes)
        self.at = tempered(np.ones(count), np.zeros(count, np.int64), fields)
        self.none, self._first = np.empty(0, machine.dtype), self.first.reshape(-1)
        self._runs = Kept()
        self.use(compiled(machine.layers, machine.weights, 1))

    def use(self, own: Compiled) -> None:
        """Sample the machine with these parameters from now on."""
        own.sites.need(DRAW, MOMENTS)
        self.own = own

    def seed(self, seed: int, *key: int) -> None:
        """Set the stream of every chain."""
        self.words[:] = streams(self.count, seed, *key)

    def begin(self, X: Array | None = None) -> None:
        """Start at visible values X (K, n_0), or where the machine without couplings would draw them."""
        if X is not None:
            self.state.mean[0][:] = X
        self._run(0, anew=0 if X is None else 2)

    def sweep(self, sweeps: int, *, even_first: bool = True) -> None:
        """Draw all layers so many times."""
        self._run(sweeps, even_first=even_first)

    def contrast(self, X: Array | None, sweeps: int) -> None:
        """Start at visible values, if any, sweep, and find the means and variances of odd layers given even ones."""
        if X is None:
            self._run(sweeps, moments=True)
            return
        self.state.mean[0][:] = X
        self._run(sweeps, anew=2, moments=True, fields=self._first)

    def lost(self) -> NDArray[np.bool_]:
        """Which chains hold values that are not finite, as where a weight could not be normalised."""
        return np.asarray(~np.all([np.isfinite(x).all(axis=1) for x in self.state.mean], axis=0))

    def _run(
        self, sweeps: int, *, even_first: bool = True, anew: int = -1, moments: bool = False,
        fields: Array | None = None,
    ) -> None:  # fmt: skip
        mean, var = (self.moments.flat.mean, self.moments.flat.var) if moments else (self.none, self.none)
        job = Gibbs(
            self.own, self.state.flat, self.words, self.at, self.blocks, sweeps, even_first, anew, mean, var,
            self.none if fields is None else fields,
        )  # fmt: skip
        self._runs.run(sweep_block, len(self.blocks), job)
