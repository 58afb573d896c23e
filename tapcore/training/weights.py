"""The gradient with respect to the weights between two layers: averages over data less averages over chains (Eq. 39).

The model average is taken from the data average in one matrix product: with chains and samples stacked,
``[a_v; x]^T [-a_h/K; H/n]``, H the upper layer's means given the samples. Blocks go over rows of W, so that a training
step finishes each block of weights while its gradient is still in the core's cache.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from tapcore._base.jit import kernel, scalar
from tapcore._base.threads import split, thread_count
from tapcore.training.optimisers import move

Array = NDArray[Any]

# Rows of a block of weights: its gradient then stays in a core's cache up to some 500 units in the upper layer.
WEIGHT_ROWS = 64


class Ends(NamedTuple):
    """One moment of the units at both ends: of K chains, of n samples or none, and c more rows or none."""

    chains: Array  # (K, n_lower)
    data: Array  # (n, n_lower)
    more: Array  # (c, n_lower)
    upper: Array  # (K + n + c, n_upper) of chains over -K, then of data over the number of samples; or no rows


class Center(NamedTuple):
    """Rows whose products, added to those of the means, give the gradient of weights between centred units.

    With centres m and derivatives g of the fields, at the lower and the upper end: ``-(m_l g_u + g_l m_u)``.
    """

    lower: Array  # (2, n_lower)
    upper: Array  # (2, n_upper)


def center_rows(lower: tuple[Array, Array], upper: tuple[Array, Array], dtype: Any) -> Center:
    """Of the centre of each unit and the derivative of its field, at both ends."""
    return Center(np.array(lower, dtype), -np.array(upper[::-1], dtype))


def no_center(W: Array) -> Center:
    """No rows: units at the ends of W are not centred."""
    return Center(np.empty((0, W.shape[0]), W.dtype), np.empty((0, W.shape[1]), W.dtype))


class Averages(NamedTuple):
    """What a gradient averages."""

    mean: Ends
    var: Ends  # for products of order W
    third: Ends  # for products of order W^2/2
    extra: Array  # (n_lower, n_upper), to be added to the average over chains; or no rows


class Workspace(NamedTuple):
    """Arrays for K chains and n samples."""

    upper: Array  # (3, K + n, n_upper)
    columns: Array  # (blocks, WEIGHT_ROWS (K + n))
    gradient: Array  # (blocks, WEIGHT_ROWS, n_upper)
    second: Array  # (blocks, WEIGHT_ROWS, n_upper)
    blocks: NDArray[np.int64]  # of rows of W


def workspace(lower: int, upper: int, rows: int, dtype: Any) -> Workspace:
    """Allocate for `rows` chains, samples and further rows together."""
    blocks = split(lower, thread_count(), WEIGHT_ROWS)
    count = len(blocks)
    return Workspace(
        np.zeros((3, rows, upper), dtype), np.zeros((count, WEIGHT_ROWS * rows), dtype),
        np.zeros((count, WEIGHT_ROWS, upper), dtype), np.zeros((count, WEIGHT_ROWS, upper), dtype), blocks,
    )  # fmt: skip


class Moments(NamedTuple):
    """Moments of chains, or of layers given samples: tuples of arrays, one a layer, of no rows where there are none."""

    mean: tuple[Array, ...]
    var: tuple[Array, ...]
    third: tuple[Array, ...]


def averages(
    work: Workspace, lower: int, chains: Moments, data: Moments, samples: int, count: int, extra: Array, centred: Center
) -> Averages:
    """What the gradient of the weights above layer `lower` averages over `count` chains and `samples` samples."""
    ends = []
    for number, (of_chains, of_data) in enumerate(zip(chains, data, strict=True)):
        below = of_chains[lower], of_data[lower]
        more = centred if number == 0 else Center(centred.lower[:0], centred.upper[:0])
        k, n = len(below[0]), len(below[1])
        stacked = work.upper[number, : k + n + len(more.lower)]
        np.multiply(of_chains[lower + 1][:k], -1.0 / count, out=stacked[:k])
        np.multiply(of_data[lower + 1][:n], 1.0 / samples, out=stacked[k : k + n])
        stacked[k + n :] = more.upper
        ends.append(Ends(*below, more.lower, stacked))
    return Averages(ends[0], ends[1], ends[2], extra)


@scalar
def _products(b: int, lo: int, hi: int, ends: Ends, work: Workspace, out: Array) -> None:
    """Rows lo..hi of the sum over chains, samples and further rows of lower times upper."""
    chains = ends.chains.shape[0]
    count = ends.upper.shape[0]
    columns = work.columns[b, : (hi - lo) * count].reshape((hi - lo, count))
    transpose(ends.chains, lo, hi, columns, 0)
    transpose(ends.data, lo, hi, columns, chains)
    transpose(ends.more, lo, hi, columns, chains + ends.data.shape[0])
    np.dot(columns, ends.upper, out)


@scalar
def _weight_gradient(b: int, lo: int, hi: int, W: Array, of: Averages, work: Workspace) -> Array:
    """Gradient with respect to rows lo..hi of W: a view of the workspace."""
    gradient, second = work.gradient[b, : hi - lo], work.second[b, : hi - lo]
    _products(b, lo, hi, of.mean, work, gradient)
    if of.var.upper.shape[0] > 0:
        _products(b, lo, hi, of.var, work, second)
        for i in range(hi - lo):
            for j in range(W.shape[1]):
                gradient[i, j] += W[lo + i, j] * second[i, j]
    if of.third.upper.shape[0] > 0:
        half = W.dtype.type(0.5)
        _products(b, lo, hi, of.third, work, second)
        for i in range(hi - lo):
            for j in range(W.shape[1]):
                w = W[lo + i, j]
                gradient[i, j] += half * w * w * second[i, j]
    if of.extra.shape[0] > 0:
        for i in range(hi - lo):
            for j in range(W.shape[1]):
                gradient[i, j] -= of.extra[lo + i, j]
    return gradient


@scalar
def transpose(x: Array, lo: int, hi: int, columns: Array, offset: int) -> None:
    """Copy columns lo..hi of `x` to rows of `columns`, from column `offset` on."""
    for k in range(x.shape[0]):
        for i in range(lo, hi):
            columns[i - lo, offset + k] = x[k, i]


@kernel()
def add_weight_gradient(b: int, W: Array, of: Averages, work: Workspace, out: Array) -> None:
    """Add block `b` of the rows of the gradient to `out`."""
    lo, hi = work.blocks[b, 0], work.blocks[b, 0] + work.blocks[b, 1]
    out[lo:hi] += _weight_gradient(b, lo, hi, W, of, work)


@kernel()
def move_weights(
    b: int,
    powers: tuple[Array, Array, Array],
    step: Array,
    of: Averages,
    work: Workspace,
    rate: float,
    momentum: float,
    l1: float,
    l2: float,
) -> None:
    """Take a training step with block `b` of the rows of W, given with its square and cube (or no rows of that)."""
    W, W2, W3 = powers
    lo, hi = work.blocks[b, 0], work.blocks[b, 0] + work.blocks[b, 1]
    gradient = _weight_gradient(b, lo, hi, W, of, work)
    move(W[lo:hi], W2[lo:hi], step[lo:hi], gradient, rate, momentum, l1, l2)
    if W3.shape[0] > 0:
        for i in range(lo, hi):
            for j in range(step.shape[1]):
                W3[i, j] = W2[i, j] * W[i, j]
