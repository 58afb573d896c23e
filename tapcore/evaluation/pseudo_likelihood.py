"""Pseudo-log-likelihood of samples: a yardstick that needs neither ln Z nor an approximation of it."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from tapcore._base import checks
from tapcore._base.blas import multiply
from tapcore._base.blocks import block_kernel, run_blocks
from tapcore._base.intrinsics import segment
from tapcore._base.threads import split, thread_count
from tapcore.machine import Machine, check_machine
from tapcore.special.exponential import log1pexp
from tapcore.units.sites import LOG_Z, Sites, layer_log_z, sites_of

Array = NDArray[Any]


def pseudo_log_likelihood(
    machine: Machine, X: ArrayLike, *, sites: int | None = None, seed: int = 0
) -> NDArray[np.float64]:
    """Pseudo-log-likelihood of samples of an RBM: ``sum_i ln P(x_i | all other visible units)``.

    Hidden units are summed or integrated out exactly: with x' the sample whose unit i is in its other state,
    ``ln P(x_i | ...) = -ln(1 + exp(g(x') - g(x)))``, ``g(x) = sum_i ln phi_i(x_i) + sum_j ln Z_j(sum_i W_ij x_i, 0)``
    (Besag 1975).

    Parameters
    ----------
    machine : Machine
        Of two layers, visible units binary or spins, hidden units of any kind.
    X : (n, n_visible) array_like
        Samples in the visible layer's support; any real dtype, boolean, or memory-mapped.
    sites : int, optional
        Take only so many visible units of each sample, drawn at random without replacement, and scale up: an unbiased
        estimate in ``sites / n_visible`` of the time. None takes all, which is exact.
    seed : int
        Of the draw, at least 0.

    Returns
    -------
    (n,) float64 array
        In nats, at most 0. Divide by `n_visible` for a figure per unit.

    Raises
    ------
    ValueError
        A machine of more than two layers, or with real-valued visible units, whose conditional distributions would need
        an integral; samples of the wrong width, empty or outside the support; `sites` outside 1 to n_visible.

    Notes
    -----
    Each sample takes ``n_visible n_hidden`` evaluations of a hidden unit's ln Z. Error some 1e-15 of the sum of the
    magnitudes of these.
    """
    check_machine(machine, layers=2)
    visible, hidden = (layer.astype(np.float64) for layer in machine.layers)
    if visible.levels is None:
        raise ValueError(
            f"machine must have binary or spin visible units, got {type(visible).__name__}: one of more values would "
            "need an integral, or a longer sum"
        )
    samples = visible.samples("X", X)
    seed = checks.integer("seed", seed, minimum=0)
    if sites is not None and checks.integer("sites", sites, minimum=1) > visible.columns:
        raise ValueError(f"sites must be at most {visible.columns}, the number of visible units, got {sites}")
    low, high = visible.levels
    weights = visible.log_weight(np.repeat([[low], [high]], visible.columns, 1))
    W, zero, units = np.array(machine.weights[0], np.float64), np.zeros(hidden.columns), sites_of([hidden], LOG_Z)
    out = np.empty(samples.shape[0])
    for start, rows in checks.row_blocks(samples):
        x = np.ascontiguousarray(rows, dtype=np.float64)
        which = np.arange(visible.columns)[None]
        if sites is not None:
            rng = np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(start,)))
            which = np.argpartition(rng.random(x.shape), sites - 1, axis=1)[:, :sites].copy()
        blocks = split(len(x), thread_count())
        fields, scratch = np.empty((len(x), hidden.columns)), np.empty((len(blocks), 3, hidden.columns))
        job = _Sums(
            units, x, W, zero, low + high, high - low, weights[1] - weights[0], which, blocks, fields, scratch,
            out[start : start + len(x)],
        )  # fmt: skip
        run_blocks(_sums, len(blocks), job)
    return out if sites is None else out * (visible.columns / sites)


class _Sums(NamedTuple):
    """Sums of ln P(x_i | ...) of n samples."""

    hidden: Sites
    x: Array  # (n, n_visible)
    W: Array  # (n_visible, n_hidden)
    zero: Array  # (n_hidden,) precisions
    both: float  # sum of the two states
    gap: float  # between them
    up: Array  # (n_visible,) ln phi of the upper state less that of the lower one
    which: NDArray[np.int64]  # (n, units looked at), or one row for all
    blocks: NDArray[np.int64]  # (blocks, 2) first sample and number of samples
    fields: Array  # (n, n_hidden) scratch
    scratch: Array  # (blocks, 3, n_hidden)
    out: NDArray[np.float64]  # (n,)


@block_kernel
def _sums(b: int, job: _Sums) -> None:
    """Sum of ln P(x_i | ...) over the units of `which` for each row of block `b`."""
    x, W, zero, which, lo, count = job.x, job.W, job.zero, job.which, job.blocks[b, 0], job.blocks[b, 1]
    moved, log_z, other = job.scratch[b, 0], job.scratch[b, 1], job.scratch[b, 2]
    n, m = W.shape
    rows, out = (
        segment(x.reshape(x.size), lo * n, count * n),
        segment(job.fields.reshape(job.fields.size), lo * m, count * m),
    )
    multiply(rows, W.reshape(W.size), count, False, out)
    for k in range(lo, lo + count):
        fields, total = job.fields[k], 0.0
        layer_log_z(job.hidden, 0, fields, zero, log_z)
        for i in which[min(k, which.shape[0] - 1)]:
            step = job.both - 2.0 * x[k, i]
            for j in range(moved.size):
                moved[j] = fields[j] + step * W[i, j]
            layer_log_z(job.hidden, 0, moved, zero, other)
            change = job.up[i] * step / job.gap
            for j in range(moved.size):
                change += other[j] - log_z[j]
            total -= log1pexp(change)
        job.out[k] = total
