"""The gradient with respect to the weights between two layers: averages over data less averages over chains (Eq. 39).

The model average is taken from the data average in one matrix product: with chains and samples stacked,
``[a_v; x]^T [-a_h/K; H/n]``, H the upper layer's means given the samples; chains that do not count alike have shares in
place of 1/K. Blocks go over rows of W, so that a training step finishes each block of weights while its gradient is
still in the core's cache.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from tapcore._base.blas import multiply
from tapcore._base.blocks import block_kernel
from tapcore._base.intrinsics import segment
from tapcore._base.jit import scalar
from tapcore._base.threads import split, thread_count
from tapcore.training.moves import How, Memory, adapt, move

Array = NDArray[Any]

# Rows of a block of weights: its gradient then stays in a core's cache up to some 500 units in the upper layer.
WEIGHT_ROWS = 64


class Ends(NamedTuple):
    """One moment of the units at both ends: of K chains, of n samples or none, and c more rows or none."""

    chains: Array  # (K, n_lower)
    data: Array  # (n, n_lower)
    more: Array  # (c, n_lower)
    upper: Array  # (K + n + c, n_upper) of chains by -shares, then of data over the number of samples; or no rows


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
    gradient: Array  # (blocks, WEIGHT_ROWS n_upper)
    second: Array  # (blocks, WEIGHT_ROWS n_upper)
    blocks: NDArray[np.int64]  # of rows of W


def workspace(lower: int, upper: int, rows: int, dtype: Any) -> Workspace:
    """Allocate for `rows` chains, samples and further rows together."""
    blocks = split(lower, thread_count(), WEIGHT_ROWS)
    count = len(blocks)
    return Workspace(
        np.zeros((3, rows, upper), dtype), np.zeros((count, WEIGHT_ROWS * rows), dtype),
        np.zeros((count, WEIGHT_ROWS * upper), dtype), np.zeros((count, WEIGHT_ROWS * upper), dtype), blocks,
    )  # fmt: skip


class Moments(NamedTuple):
    """Moments of chains, or of layers given samples: tuples of arrays, one a layer, of no rows where there are none."""

    mean: tuple[Array, ...]
    var: tuple[Array, ...]
    third: tuple[Array, ...]


def averages(
    work: Workspace,
    lower: int,
    chains: Moments,
    data: Moments,
    samples: int,
    shares: Array | float,
    extra: Array,
    centred: Center,
) -> Averages:
    """What the gradient of the weights above layer `lower` averages over chains and `samples` samples.

    `shares` is what each chain counts, (K,) of the dtype of its moments, or one number for all.
    """
    ends = []
    for number, (of_chains, of_data) in enumerate(zip(chains, data, strict=True)):
        below = of_chains[lower], of_data[lower]
        more = centred if number == 0 else Center(centred.lower[:0], centred.upper[:0])
        k, n = len(below[0]), len(below[1])
        stacked = work.upper[number, : k + n + len(more.lower)]
        counts = -shares if isinstance(shares, float) else -shares[:k, None]
        np.multiply(of_chains[lower + 1][:k], counts, out=stacked[:k])
        np.multiply(of_data[lower + 1][:n], 1.0 / samples, out=stacked[k : k + n])
        stacked[k + n :] = more.upper
        ends.append(Ends(*below, more.lower, stacked))
    return Averages(ends[0], ends[1], ends[2], extra)


def less(extra: Array, data: Array) -> Array:
    """What is to be added to averages over chains, less the same of those over data; either may be no rows."""
    return extra if len(data) == 0 else -data if len(extra) == 0 else extra - data


@scalar
def _products(b: int, ends: Ends, work: Workspace, out: Array) -> None:
    """Sum over chains, samples and further rows of lower times upper, for the rows of block `b`: (rows n_upper,)."""
    lo, rows = work.blocks[b, 0], work.blocks[b, 1]
    chains, count = ends.chains.shape[0], ends.upper.shape[0]
    flat = segment(work.columns[b], 0, rows * count)
    columns = flat.reshape((rows, count))
    transpose(ends.chains, lo, columns, 0)
    transpose(ends.data, lo, columns, chains)
    transpose(ends.more, lo, columns, chains + ends.data.shape[0])
    multiply(flat, ends.upper.reshape(ends.upper.size), rows, False, out)


@scalar
def _weight_gradient(b: int, W: Array, average: Averages, work: Workspace) -> None:
    """Write the gradient with respect to the rows of block `b` of W to the workspace."""
    lo, rows, m = work.blocks[b, 0], work.blocks[b, 1], W.shape[1]
    gradient, second = segment(work.gradient[b], 0, rows * m), segment(work.second[b], 0, rows * m)
    own = segment(W.reshape(W.size), lo * m, rows * m)
    _products(b, average.mean, work, gradient)
    if average.var.upper.shape[0] > 0:
        _products(b, average.var, work, second)
        for i in range(own.size):
            gradient[i] += own[i] * second[i]
    if average.third.upper.shape[0] > 0:
        half = W.dtype.type(0.5)
        _products(b, average.third, work, second)
        for i in range(own.size):
            gradient[i] += half * own[i] * own[i] * second[i]
    if average.extra.shape[0] > 0:
        for i in range(rows):
            for j in range(m):
                gradient[i * m + j] -= average.extra[lo + i, j]


@scalar
def transpose(x: Array, lo: int, columns: Array, offset: int) -> None:
    """Copy columns of `x` from `lo` on to the rows of `columns`, from column `offset` on."""
    for k in range(x.shape[0]):
        for i in range(columns.shape[0]):
            columns[i, offset + k] = x[k, lo + i]


class Sum(NamedTuple):
    """A gradient to be added to a sum."""

    W: Array  # (n_lower, n_upper)
    average: Averages
    work: Workspace
    total: Array  # (n_lower, n_upper)


@block_kernel
def add_weight_gradient(b: int, job: Sum) -> None:
    """Add block `b` of the rows of the gradient to the sum."""
    lo, rows = job.work.blocks[b, 0], job.work.blocks[b, 1]
    _weight_gradient(b, job.W, job.average, job.work)
    m = job.W.shape[1]
    total = segment(job.total.reshape(job.total.size), lo * m, rows * m)
    for i in range(total.size):
        total[i] += job.work.gradient[b, i]


class Step(NamedTuple):
    """A training step of the weights between two layers."""

    W: Array  # (n_lower, n_upper)
    W2: Array  # their squares
    W3: Array  # and cubes, or no rows
    step: Array  # (n_lower, n_upper) the last step, to be replaced
    memory: Memory
    average: Averages
    work: Workspace
    how: How


@block_kernel
def move_weights(b: int, job: Step) -> None:
    """Take the step with the rows of block `b`."""
    lo, rows, m = job.work.blocks[b, 0], job.work.blocks[b, 1], job.W.shape[1]
    _weight_gradient(b, job.W, job.average, job.work)
    W, W2 = segment(job.W.reshape(job.W.size), lo * m, rows * m), segment(job.W2.reshape(job.W2.size), lo * m, rows * m)
    step, gradient = segment(job.step.reshape(job.step.size), lo * m, rows * m), job.work.gradient[b]
    if job.memory.mean.shape[0] > 0:
        whole, squares = job.memory.mean, job.memory.square
        mean = segment(whole.reshape(whole.size), lo * m, rows * m)
        square = segment(squares.reshape(squares.size), lo * m, rows * m)
        adapt(mean, square, gradient, job.how.share, job.how.squares)
    move(W, W2, step, gradient, job.how.rate, job.how.momentum, job.how.l1, job.how.l2)
    if job.W3.shape[0] > 0:
        for i in range(rows):
            for j in range(m):
                job.W3[lo + i, j] = W2[i * m + j] * W[i * m + j]
