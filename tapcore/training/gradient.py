"""Gradients of the TAP log-likelihood (Eqs. 39-41), for users and, in the same kernels, for training steps.

The model average is taken from the data average in one matrix product: with chains and samples stacked,
``[a_v; x]^T [-a_h/K; H/n]``, H the hidden means given the samples. Blocks go over visible rows of W, so that a training
step finishes each block of weights while its gradient is still in the core's cache.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from tapcore import _checks
from tapcore._jit import kernel, scalar
from tapcore._threads import for_each_block, split, thread_count
from tapcore.fields import ORDERS, Couplings, check_order, third_cumulants
from tapcore.inference.adaptive_tap import mean_covariance
from tapcore.inference.bethe_gradient import Marginals, found_again
from tapcore.inference.solution import Solutions, check_solutions
from tapcore.machine import Machine, check_machine
from tapcore.training.update_rules import move
from tapcore.units._sites import MOMENTS, Sites, layer_moments, sites_of

Array = NDArray[Any]

# Visible rows of a block of weights: its gradient then stays in a core's cache up to some 500 hidden units.
WEIGHT_ROWS = 64
# Samples of the public gradient taken at a time.
SAMPLES_AT_ONCE = 1024


class Gradient(NamedTuple):
    """Derivatives of the average TAP log-likelihood.

    Attributes
    ----------
    weights : tuple of (n_l, n_{l+1}) arrays
    layers : tuple of dict of str to (n_l,) array
        By parameter name, one dict a layer.
    """

    weights: tuple[Array, ...]
    layers: tuple[dict[str, Array], ...]


class Workspace(NamedTuple):
    """Arrays of a gradient from K chains and n samples; `blocks` x WEIGHT_ROWS rows where it says (rows)."""

    B: Array  # (n, n_hidden): fields, means and variances of hidden units given the samples
    A: Array  # (n, n_hidden): zero
    mean: Array  # (n, n_hidden)
    var: Array  # (n, n_hidden)
    stacked: Array  # (K + n, n_hidden)
    columns: Array  # (rows, K + n)
    var_columns: Array  # (rows, K)
    gradient: Array  # (rows, n_hidden)
    second: Array  # (rows, n_hidden)
    row_blocks: NDArray[np.int64]  # of samples; each has as large a share of the chains
    weight_blocks: NDArray[np.int64]  # of visible units


def workspace(sizes: tuple[int, ...], chains: int, samples: int, dtype: Any) -> Workspace:
    """Allocate for `chains` chains and `samples` samples."""
    visible, hidden = sizes
    row_blocks = split(samples, thread_count())
    weight_blocks = split(visible, thread_count(), WEIGHT_ROWS)
    rows = WEIGHT_ROWS * len(weight_blocks)
    given = [np.zeros((samples, hidden), dtype) for _ in range(4)]
    shapes = [(chains + samples, hidden), (rows, chains + samples), (rows, chains), (rows, hidden), (rows, hidden)]
    return Workspace._make([*given, *(np.zeros(shape, dtype) for shape in shapes), row_blocks, weight_blocks])


class Averages(NamedTuple):
    """What a gradient averages: K chains and n samples, and the weight of each one."""

    x: Array  # (n, n_visible)
    mean: tuple[Array, ...]  # (K, n_visible), (K, n_hidden)
    var: tuple[Array, ...]
    per_sample: float
    per_chain: float
    third: tuple[Array, ...]  # (K, n_visible), (K, n_hidden) third cumulants, without rows below third order
    order: int  # in the weights: 1 is naive mean field, 2 TAP
    extra: Array  # (n_visible, n_hidden), to be added to the average over chains; or no rows
    fields: Array  # (n, n_hidden) fields of hidden units given the samples, if they are known; or no rows


@kernel()
def hidden_rows(b: int, sites: Sites, W: Array, of: Averages, work: Workspace) -> None:
    """Write hidden means given samples, and the stack of them below those of chains, for block `b` of its rows."""
    blocks, chains = work.row_blocks.shape[0], of.mean[1].shape[0]
    first, last = work.row_blocks[b, 0], work.row_blocks[b, 0] + work.row_blocks[b, 1]
    number = W.dtype.type
    per_chain, per_sample = number(-of.per_chain), number(of.per_sample)
    for k in range(chains * b // blocks, chains * (b + 1) // blocks):
        for j in range(W.shape[1]):
            work.stacked[k, j] = per_chain * of.mean[1][k, j]
    if of.fields.shape[0] > 0:
        work.B[first:last] = of.fields[first:last]
    else:
        np.dot(of.x[first:last], W, work.B[first:last])
    for k in range(first, last):
        layer_moments(sites, 1, work.B[k], work.A[k], work.mean[k], work.var[k])
        for j in range(W.shape[1]):
            work.stacked[chains + k, j] = per_sample * work.mean[k, j]


@scalar
def _weight_gradient(b: int, lo: int, hi: int, W: Array, of: Averages, work: Workspace) -> Array:
    """Gradient with respect to rows lo..hi of W: a view of the workspace (Eq. 39)."""
    chains, samples = of.mean[0].shape[0], of.x.shape[0]
    start = b * WEIGHT_ROWS
    end = start + hi - lo
    columns, gradient = work.columns[start:end], work.gradient[start:end]
    transpose(of.mean[0], lo, hi, columns, 0)
    transpose(of.x, lo, hi, columns, chains)
    np.dot(columns, work.stacked[: chains + samples], gradient)
    per_chain, half = W.dtype.type(of.per_chain), W.dtype.type(0.5)
    var_columns, second = work.var_columns[start:end], work.second[start:end]
    if of.order > 1 and chains > 0:
        transpose(of.var[0], lo, hi, var_columns, 0)
        np.dot(var_columns, of.var[1], second)
        for i in range(hi - lo):
            for j in range(W.shape[1]):
                gradient[i, j] -= per_chain * W[lo + i, j] * second[i, j]
    if of.order > 2 and chains > 0:
        transpose(of.third[0], lo, hi, var_columns, 0)
        np.dot(var_columns, of.third[1], second)
        for i in range(hi - lo):
            for j in range(W.shape[1]):
                w = W[lo + i, j]
                gradient[i, j] -= half * per_chain * w * w * second[i, j]
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
def _add_weight_gradient(b: int, W: Array, of: Averages, work: Workspace, out: Array) -> None:
    lo, hi = work.weight_blocks[b, 0], work.weight_blocks[b, 0] + work.weight_blocks[b, 1]
    out[lo:hi] += _weight_gradient(b, lo, hi, W, of, work)


@kernel()
def move_weights(
    b: int,
    pair: Couplings,
    step: Array,
    of: Averages,
    work: Workspace,
    rate: float,
    momentum: float,
    l1: float,
    l2: float,
) -> None:
    """Take a training step with block `b` of the visible rows of W."""
    lo, hi = work.weight_blocks[b, 0], work.weight_blocks[b, 0] + work.weight_blocks[b, 1]
    gradient = _weight_gradient(b, lo, hi, pair.W[0], of, work)
    move(pair.W[0][lo:hi], pair.W2[0][lo:hi], step[lo:hi], gradient, rate, momentum, l1, l2)
    if of.order > 2:
        for i in range(lo, hi):
            for j in range(step.shape[1]):
                pair.W3[0][i, j] = pair.W2[0][i, j] * pair.W[0][i, j]


def gradient(machine: Machine, X: ArrayLike, solutions: Solutions) -> Gradient:
    """Gradient of the average TAP log-likelihood of samples of an RBM (Eqs. 39-41).

    ``dW = <x f_a(x W)>_samples - <a_v a_h + W c_v c_h>_solutions``, and for a parameter theta of a unit
    ``<d ln phi/d theta>_samples - <d ln phi/d theta>_solutions``, hidden units given each sample. Naive mean-field
    solutions leave out the term in ``c_v c_h``; third order adds ``W^2 kappa3_v kappa3_h/2`` to it, kappa3 the third
    cumulants; adaptive TAP has the covariance of its Gaussian instead. Relaxed belief propagation's free energy is not
    stationary in its messages: these are found again from the solutions, and what they do to it is added up to the end.

    Parameters
    ----------
    machine : Machine
        Of two layers.
    X : (n, n_visible) array_like
        Samples in the visible layer's support; any real dtype, boolean, or memory-mapped; read a thousand rows at a
        time.
    solutions : Solutions
        Of this machine. All count alike, whether converged or not.

    Returns
    -------
    Gradient
        float64 arrays, per weight and unit parameter. It is the derivative of ``mean(log_likelihood(...))`` where the
        solutions have converged.

    Raises
    ------
    ValueError
        A machine of more than two layers; samples of the wrong width, empty or outside the support; solutions of
        another machine's sizes, or not finite; those of relaxed belief propagation that do not converge.
    """
    check_machine(machine, layers=2)
    samples = _checks.matrix("X", X, machine.layers[0].n, rows="samples")
    machine.layers[0].check_data("X", samples)
    check_solutions("solutions", solutions, machine.sizes)
    wide = machine.replace(dtype="float64")
    means, variances, fields, precisions = (
        tuple(np.ascontiguousarray(x, dtype=np.float64) for x in layers)
        for layers in (solutions.mean, solutions.var, solutions.B, solutions.A)
    )
    W, sites = np.array(wide.weights[0]), sites_of(wide.layers, MOMENTS)
    dW = np.zeros_like(W)
    if solutions.method == "rbp":
        slopes = found_again(wide, Marginals(means, variances, fields, precisions))
        dW -= slopes.weights
        pairs = zip(wide.layers, (slopes.visible, slopes.hidden), strict=True)
        model = tuple(layer.parameter_slopes(x) for layer, x in pairs)
        means, variances = (tuple(x[:0] for x in arrays) for arrays in (means, variances))  # all is in the slopes
    else:
        if solutions.method == "adatap":
            dW -= mean_covariance(wide, fields, precisions)
        moments = zip(wide.layers, means, variances, fields, precisions, strict=True)
        model = tuple(layer.statistics(*rows) for layer, *rows in moments)
    layers = tuple({name: -value for name, value in statistics.items()} for statistics in model)
    order = check_order(machine, solutions.method) if solutions.method in ORDERS else 1
    third = third_cumulants(sites, means, order)
    none = np.empty((0, W.shape[1]))
    for start in range(0, len(samples), SAMPLES_AT_ONCE):
        x = np.ascontiguousarray(samples[start : start + SAMPLES_AT_ONCE], dtype=np.float64)
        # The chains' part goes with the first samples.
        count = len(means[0]) if start == 0 else 0
        chains = (means[0][:count], means[1][:count]), (variances[0][:count], variances[1][:count])
        of = Averages(
            x, *chains, 1 / len(samples), 1 / len(solutions), (third[0][:count], third[1][:count]), order, none, none
        )
        work = workspace(machine.sizes, count, len(x), np.float64)
        for_each_block(hidden_rows, len(work.row_blocks), sites, W, of, work)
        for_each_block(_add_weight_gradient, len(work.weight_blocks), W, of, work, dW)
        share = len(x) / len(samples)
        for total, term in zip(layers, data_statistics(wide.layers, of, work), strict=True):
            for name in total:
                total[name] += share * term[name]
    return Gradient((dW,), layers)


def data_statistics(layers: Any, of: Averages, work: Workspace) -> tuple[dict[str, Array], dict[str, Array]]:
    """Averages over the samples of d ln phi/d parameter, for the visible and the hidden layer."""
    return layers[0].data_statistics(of.x), layers[1].statistics(work.mean, work.var, work.B, work.A)
