"""The data's side of the gradient: hidden layers given the samples of a batch.

In an RBM they are independent given the samples. In a deeper machine chains of the layers above the visible one take a
few sweeps for each batch, clamped to its samples (App. E).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from tapcore._base.arrays import copy
from tapcore._base.blas import multiply
from tapcore._base.blocks import block_kernel, run_blocks
from tapcore._base.intrinsics import segment
from tapcore._base.threads import split, thread_count
from tapcore.equations.compiled import Compiled
from tapcore.equations.exclusive import exclusive_slopes
from tapcore.equations.fields import third_cumulants
from tapcore.inference.conditional import fields_below
from tapcore.inference.progress import Rule
from tapcore.inference.sweeps.chains import Chains
from tapcore.training.weights import Moments
from tapcore.units import Unit
from tapcore.units.sites import layer_moments

Array = NDArray[Any]


class FirstHidden(NamedTuple):
    """The first hidden layer given n samples."""

    machine: Compiled
    x: Array  # (n n_visible,) samples
    fields: Array  # (n, n_hidden) what they send, or no rows
    B: Array  # (n, n_hidden) each, to be written
    A: Array
    mean: Array
    var: Array
    blocks: NDArray[np.int64]  # (blocks, 2) first sample and number of samples


@block_kernel
def first_hidden(b: int, job: FirstHidden) -> None:
    """Write fields, unless they are known, and moments of the first hidden layer."""
    machine, B, lo, count = job.machine, job.B, job.blocks[b, 0], job.blocks[b, 1]
    if job.fields.shape[0] > 0:
        for k in range(lo, lo + count):
            copy(job.fields[k], B[k])
    else:
        n, m = machine.size[0], machine.size[1]
        out = segment(B.reshape(B.size), lo * m, count * m)
        multiply(segment(job.x, lo * n, count * n), segment(machine.W, machine.at[0], n * m), count, False, out)
    for k in range(lo, lo + count):
        layer_moments(machine, 1, B[k], job.A[k], job.mean[k], job.var[k])


class Seen(NamedTuple):
    """All layers given the samples of a batch."""

    moments: Moments  # that the gradient takes; the visible layer's are the samples, without variance
    var: tuple[Array, ...]  # (n, n_l), of the hidden layers
    B: tuple[Array, ...]  # with what the first of them receives from the samples
    A: tuple[Array, ...]
    extra: tuple[Array, ...]  # (n_l, n_{l+1}) of each pair of layers, to be added to averages of products; or no rows

    def statistics(self, layers: Sequence[Unit]) -> list[dict[str, Array]]:
        """Averages over the samples of d ln phi/d parameter, of all layers."""
        x, *means = self.moments.mean
        hidden = zip(layers[1:], means, self.var, self.B, self.A, strict=True)
        return [layers[0].data_statistics(x), *(layer.statistics(*rows) for layer, *rows in hidden)]


class DataSide:
    """Hidden layers given n samples, in arrays kept from batch to batch."""

    def __init__(self, sizes: tuple[int, ...], samples: int, dtype: Any, rule: Rule, sweeps: int) -> None:
        self.rule, self.sweeps = rule, sweeps
        self.first = tuple(np.zeros((samples, sizes[1]), dtype) for _ in range(4))
        self.blocks = split(samples, thread_count())
        self.none = tuple(np.empty((0, n), dtype) for n in sizes)
        self.chains = None if len(sizes) == 2 else Chains(sizes[1:], samples, dtype, order=rule.order)

    def run(self, x: Array, machine: Compiled, fields: Array) -> Seen:
        """Find the hidden layers given `x`; `fields`: those of the first one if they are known, or no rows.

        The arrays are those of the next batch too.
        """
        B, A, mean, var = self.first
        job = FirstHidden(machine, x.reshape(-1), fields, B, A, mean, var, self.blocks)
        run_blocks(first_hidden, len(self.blocks), job)
        if self.chains is None:
            return Seen(Moments((x, mean), self.none, self.none), (var,), (B,), (A,), self.none[1:])
        upper = machine.above()
        self.chains.start_from_visible(mean)
        self.chains.run(upper, self.rule, self.sweeps, 0.0, fields_below(B, tuple(upper.size)))
        state, order = self.chains.state, self.rule.order
        third = third_cumulants(upper, state.mean, order)
        variances = state.var if order > 1 else self.none[1:]
        moments = Moments((x, *state.mean), (self.none[0], *variances), (self.none[0], *third))
        extra = self.none[1], *exclusive_slopes(upper, state.mean, state.var, order)
        return Seen(moments, state.var, (state.B[0] + B, *state.B[1:]), state.A, extra)
