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

from tapcore._base import checks, footprint
from tapcore._base.jit import kernel, scalar
from tapcore._base.random import WORDS, Stream, streams
from tapcore._base.threads import for_each_block, split, thread_count
from tapcore.equations.fields import Couplings, State, add_fields, couplings, empty_state, state_bytes
from tapcore.machine import Machine
from tapcore.units.sites import DRAW, MOMENTS, Sites, layer_draw, layer_moments, sites_of

Array = NDArray[Any]


class Tempered(NamedTuple):
    """Where each of K chains is between independent units and the machine."""

    beta: Array  # (K,) inverse temperatures
    label: NDArray[np.int64]  # (K,) which centre
    fields: tuple[Array, ...]  # (C, n_l) arrays, one a layer: what each layer receives from neighbours at each centre


@kernel()
def sweep_block(
    b: int, sites: Sites, pair: Couplings, state: State, words: Stream, at: Tempered,
    blocks: NDArray[np.int64], sweeps: int, even_first: bool,
) -> None:  # fmt: skip
    """Draw odd layers given even ones and even given odd, or in the other order, `sweeps` times.

    `state.mean` holds the values, `state.B` the fields they were drawn in.
    """
    lo, hi = blocks[b, 0], blocks[b, 0] + blocks[b, 1]
    first = 0 if even_first else 1
    for _ in range(sweeps):
        draw_parity(sites, pair, state, words, at, first, lo, hi)
        draw_parity(sites, pair, state, words, at, 1 - first, lo, hi)


@scalar
def draw_parity(
    sites: Sites, pair: Couplings, state: State, words: Stream, at: Tempered, parity: int, lo: int, hi: int
) -> None:
    """Draw every second layer given the others."""
    for layer in range(parity, len(state.mean), 2):
        add_fields(pair, state, layer, lo, hi, False)
        draw_tempered(sites, state, words, at, layer, lo, hi)


@scalar
def draw_tempered(sites: Sites, state: State, words: Stream, at: Tempered, layer: int, lo: int, hi: int) -> None:
    """Draw a layer whose B holds x W, and leave the fields it was drawn in there."""
    # Two loops: in one, the compiler loses sight of what may overlap, and takes twice as long.
    for k in range(lo, hi):
        temper(state.B[layer][k], at.fields[layer][at.label[k]], at.beta[k])
    for k in range(lo, hi):
        layer_draw(sites, layer, state.B[layer][k], state.A[layer][k], words[k], state.mean[layer][k])


@scalar
def temper(B: Array, centre: Array, beta: float) -> None:
    """Turn x W into the fields at inverse temperature beta, in place."""
    inside, outside = B.dtype.type(beta), B.dtype.type(1.0 - beta)
    for i in range(B.size):
        B[i] = inside * B[i] + outside * centre[i]


@kernel()
def begin_block(
    b: int, sites: Sites, pair: Couplings, state: State, words: Stream, at: Tempered,
    blocks: NDArray[np.int64], layer: int,
) -> None:  # fmt: skip
    """Draw even layers from `layer` on as at beta = 0, and then odd ones given all even ones."""
    lo, hi = blocks[b, 0], blocks[b, 0] + blocks[b, 1]
    for l in range(layer, len(state.mean), 2):  # noqa: E741
        for k in range(lo, hi):
            state.B[l][k, :] = at.fields[l][at.label[k]]
            state.A[l][k, :] = 0
            layer_draw(sites, l, state.B[l][k], state.A[l][k], words[k], state.mean[l][k])
    draw_parity(sites, pair, state, words, at, 1, lo, hi)


@kernel()
def moments_block(
    b: int, sites: Sites, state: State, mean: tuple[Array, ...], var: tuple[Array, ...], blocks: NDArray[np.int64]
) -> None:
    """Means and variances of odd layers in the fields their values were drawn in."""
    for layer in range(1, len(state.mean), 2):
        for k in range(blocks[b, 0], blocks[b, 0] + blocks[b, 1]):
            layer_moments(sites, layer, state.B[layer][k], state.A[layer][k], mean[layer][k], var[layer][k])


@kernel()
def contrast_block(
    b: int, sites: Sites, pair: Couplings, state: State, words: Stream, at: Tempered,
    blocks: NDArray[np.int64], anew: bool, sweeps: int, mean: tuple[Array, ...], var: tuple[Array, ...],
    first: Array,
) -> None:  # fmt: skip
    """All that a training step asks of a block: begin at the visible values if `anew`, sweep, and find moments.

    `first` is given the fields of layer 1 at the visible values.
    """
    if anew:
        begin_block(b, sites, pair, state, words, at, blocks, 2)
        rows = slice(blocks[b, 0], blocks[b, 0] + blocks[b, 1])
        first[rows] = state.B[1][rows]
    sweep_block(b, sites, pair, state, words, at, blocks, sweeps, True)
    moments_block(b, sites, state, mean, var, blocks)


def check_init(machine: Machine, init: ArrayLike, count: int) -> Array:
    """`init` as the visible values of `count` chains."""
    array = checks.matrix("init", init, machine.layers[0].n, rows="chains")
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
        self.mean, self.var = (tuple(np.zeros_like(x) for x in self.state.mean) for _ in range(2))
        self.first = np.zeros_like(self.state.mean[1])
        self.words = streams(count, 0)
        fields = tuple(np.zeros((1, n), machine.dtype) for n in machine.sizes)
        self.at = Tempered(np.ones(count), np.zeros(count, np.int64), fields)
        self.use(sites_of(machine.layers), couplings(machine.weights, 1))

    def use(self, sites: Sites, pair: Couplings) -> None:
        """Sample with these parameters from now on."""
        self.sites, self.pair = sites.need(DRAW, MOMENTS), pair

    def seed(self, seed: int, *key: int) -> None:
        """Set the stream of every chain."""
        self.words[:] = streams(self.count, seed, *key)

    def begin(self, X: Array | None = None) -> None:
        """Start at visible values X (K, n_0), or where the machine without couplings would draw them."""
        if X is not None:
            self.state.mean[0][:] = X
        self._each(begin_block, 0 if X is None else 2)

    def sweep(self, sweeps: int, *, even_first: bool = True) -> None:
        """Draw all layers so many times."""
        self._each(sweep_block, sweeps, even_first)

    def contrast(self, X: Array | None, sweeps: int) -> None:
        """Start at visible values, if any, sweep, and find the means and variances of odd layers given even ones."""
        if X is not None:
            self.state.mean[0][:] = X
        self._each(contrast_block, X is not None, sweeps, self.mean, self.var, self.first)

    def lost(self) -> NDArray[np.bool_]:
        """Which chains hold values that are not finite, as where a weight could not be normalised."""
        return np.asarray(~np.all([np.isfinite(x).all(axis=1) for x in self.state.mean], axis=0))

    def _each(self, block_kernel: Any, *options: Any) -> None:
        for_each_block(
            block_kernel, len(self.blocks), self.sites, self.pair, self.state, self.words, self.at, self.blocks,
            *options,
        )  # fmt: skip
