"""Kernels of relaxed belief propagation in an RBM: sums of messages, messages from sums less one term, and energies.

Messages lie in the rows of their receivers: those to the visible layer are (n_visible, n_hidden) arrays, those to the
hidden layer (n_hidden, n_visible). Sums are then over rows, and the messages to one receiver are the moments of a row
of the sending layer, in fields that need one column of what it received: columns are fetched some at a time.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from tapcore._base.jit import kernel, scalar
from tapcore.inference.arithmetic import larger, mix, squared_change
from tapcore.inference.progress import ACTIVE, Progress, Rule, judge
from tapcore.units.sites import Sites, layer_log_z, layer_moments

Array = NDArray[Any]

# Columns fetched at a time: eight float64 make a cache line.
TILE = 8


class Messages(NamedTuple):
    """Messages that one layer receives, and the layer's sums of them and moments in these."""

    mean: Array  # (n, n_other)
    var: Array
    B: Array  # (n,)
    A: Array
    a: Array
    c: Array


class Scratch(NamedTuple):
    """What a chain needs besides."""

    columns: Array  # (2, TILE, m), m the larger layer
    rows: Array  # (7, m)


def empty_messages(sizes: tuple[int, int]) -> tuple[tuple[Messages, Messages], Scratch]:
    """Arrays for one chain."""
    most = max(sizes)
    made = []
    for n, other in (sizes, sizes[::-1]):
        made.append(Messages(np.zeros((n, other)), np.zeros((n, other)), *(np.zeros(n) for _ in range(4))))
    return (made[0], made[1]), Scratch(np.zeros((2, TILE, most)), np.zeros((7, most)))


@kernel(reassociate=True)
def sum_messages(W: Array, to: Messages, first: int, last: int) -> None:
    """``B = sum W a`` and ``A = -sum W^2 c`` over all that units first..last of a layer receive."""
    for i in range(first, last):
        B, A = 0.0, 0.0
        for j in range(W.shape[1]):
            B += W[i, j] * to.mean[i, j]
            A -= W[i, j] * W[i, j] * to.var[i, j]
        to.B[i], to.A[i] = B, A


@scalar
def fetch(to: Messages, first: int, columns: Array) -> int:
    """Columns of messages from `first` on, as rows; how many."""
    count = min(TILE, to.mean.shape[1] - first)
    for j in range(to.mean.shape[0]):
        for t in range(count):
            columns[0, t, j] = to.mean[j, first + t]
            columns[1, t, j] = to.var[j, first + t]
    return int(count)


@scalar
def less_one(sent: Messages, weights: Array, columns: Array, t: int, B: Array, A: Array) -> None:
    """Fields of the sending layer without the messages of the receiver t of the tile."""
    mean, var = columns[0, t], columns[1, t]
    for j in range(B.size):
        B[j] = sent.B[j] - weights[j] * mean[j]
        A[j] = sent.A[j] + weights[j] * weights[j] * var[j]


@kernel()
def pass_messages(
    sites: Sites,
    layer: int,
    W: Array,
    sent: Messages,
    to: Messages,
    damping: float,
    scratch: Scratch,
    begin: int,
    end: int,
) -> float:
    """Renew the messages from the layer `layer`, which received `sent`, to units begin..end of the other layer.

    W: (receivers, senders). Returned: the largest change, NaN if any is.
    """
    n = W.shape[1]
    B, A, mean, var = scratch.rows[0, :n], scratch.rows[1, :n], scratch.rows[2, :n], scratch.rows[3, :n]
    top = 0.0
    for first in range(begin, end, TILE):
        count = min(fetch(sent, first, scratch.columns), end - first)
        for t in range(count):
            i = first + t
            less_one(sent, W[i], scratch.columns, t, B, A)
            layer_moments(sites, layer, B, A, mean, var)
            top = larger(top, mix(to.mean[i], to.var[i], mean, var, damping))
    return top


@kernel()
def marginals(sites: Sites, layer: int, to: Messages, scratch: Scratch) -> float:
    """Moments of a layer in its sums; sum of the squared changes of the means."""
    n = to.a.size
    mean, var = scratch.rows[2, :n], scratch.rows[3, :n]
    layer_moments(sites, layer, to.B, to.A, mean, var)
    mix(to.a, to.c, mean, var, 0.0)
    return squared_change(to.a, mean)


@kernel()
def run_chain(
    k: int, sites: Sites, W: Array, WT: Array, to: Any, scratch: Scratch, progress: Progress, rule: Rule, sweeps: int,
    cold: bool,
) -> None:  # fmt: skip
    """Sweep chain k so many times, or until it stops: hidden to visible, then visible to hidden.

    `to`: what the visible layer receives, and what the hidden one does. `cold`: only the means of the latter are set,
    and the first messages of hidden units are undamped. Sums and moments are those of the messages in the end.
    """
    to_v, to_h = to
    n, m = W.shape
    for sweep in range(sweeps):
        damping = progress.damping[k]
        sum_messages(WT, to_h, 0, m)
        square = marginals(sites, 1, to_h, scratch)
        top = pass_messages(sites, 1, W, to_h, to_v, 0.0 if cold and sweep == 0 else damping, scratch, 0, n)
        sum_messages(W, to_v, 0, n)
        square += marginals(sites, 0, to_v, scratch)
        top = larger(top, pass_messages(sites, 0, WT, to_v, to_h, damping, scratch, 0, m))
        end_sweep(k, top, square, n + m, progress, rule)
        if progress.status[k] != ACTIVE:
            break
    sum_messages(WT, to_h, 0, m)
    marginals(sites, 1, to_h, scratch)


@kernel()
def end_sweep(k: int, top: float, square: float, units: int, progress: Progress, rule: Rule) -> None:
    """Judge chain k by the largest change of a message and the sum of squared changes of means."""
    progress.residual[k], progress.square[k] = top, square
    judge(progress, rule, k, units)


@scalar
def _edges(sites: Sites, layer: int, W: Array, sent: Messages, scratch: Scratch) -> float:
    """Sum over a layer's units of ln Z and of half of what the ln Z of each of its messages differs from that."""
    n = W.shape[1]
    B, A, log_z, full = scratch.rows[0, :n], scratch.rows[1, :n], scratch.rows[2, :n], scratch.rows[4, :n]
    layer_log_z(sites, layer, sent.B, sent.A, full)
    total = 0.0
    for first in range(0, W.shape[0], TILE):
        count = fetch(sent, first, scratch.columns)
        for t in range(count):
            less_one(sent, W[first + t], scratch.columns, t, B, A)
            layer_log_z(sites, layer, B, A, log_z)
            part = 0.0
            for j in range(n):
                part += log_z[j] - full[j]
            total += 0.5 * part
    for j in range(n):
        total += full[j]
    return total


@kernel()
def bethe(sites: Sites, W: Array, WT: Array, to: Any, scratch: Scratch) -> float:
    """Bethe ln Z, symmetric (B13): ``sum_u ln Z_u + sum_{u -> w} (ln Z_{u -> w} - ln Z_u)/2``."""
    return _edges(sites, 1, W, to[1], scratch) + _edges(sites, 0, WT, to[0], scratch)
