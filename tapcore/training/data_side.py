"""The data's side of the gradient: hidden layers given the samples of a batch.

In an RBM they are independent given the samples. In a deeper machine chains of the layers above the visible one take a
few sweeps for each batch, clamped to its samples (App. E).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from tapcore._base.jit import kernel
from tapcore._base.threads import for_each_block, split, thread_count
from tapcore.equations.fields import Couplings, third_cumulants
from tapcore.inference.conditional import above, fields_below
from tapcore.inference.progress import Rule
from tapcore.inference.sweeps.chains import Chains
from tapcore.training.weights import Moments
from tapcore.units import Unit
from tapcore.units.sites import Sites, layer_moments

Array = NDArray[Any]


@kernel()
def hidden_rows(
    b: int, sites: Sites, x: Array, W: Array, fields: Array, B: Array, A: Array, mean: Array, var: Array,
    blocks: NDArray[np.int64],
) -> None:  # fmt: skip
    """Fields, unless `fields` has them, and moments of the first hidden layer given samples, for block `b`."""
    lo, hi = blocks[b, 0], blocks[b, 0] + blocks[b, 1]
    if fields.shape[0] > 0:
        B[lo:hi] = fields[lo:hi]
    else:
        np.dot(x[lo:hi], W, B[lo:hi])
    for k in range(lo, hi):
        layer_moments(sites, 1, B[k], A[k], mean[k], var[k])


class Seen(NamedTuple):
    """All layers given the samples of a batch."""

    moments: Moments  # that the gradient takes; the visible layer's are the samples, without variance
    var: tuple[Array, ...]  # (n, n_l), of the hidden layers
    B: tuple[Array, ...]  # with what the first of them receives from the samples
    A: tuple[Array, ...]

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

    def run(self, x: Array, sites: Sites, pair: Couplings, fields: Array) -> Seen:
        """Find the hidden layers given `x`; `fields`: those of the first one if they are known, or no rows.

        The arrays are those of the next batch too.
        """
        B, A, mean, var = self.first
        for_each_block(hidden_rows, len(self.blocks), sites, x, pair.W[0], fields, B, A, mean, var, self.blocks)
        if self.chains is None:
            return Seen(Moments((x, mean), self.none, self.none), (var,), (B,), (A,))
        upper, couplings = above(sites, pair)
        self.chains.start_from_visible(mean)
        self.chains.run(upper, couplings, self.rule, self.sweeps, 0.0, fields_below(B, tuple(upper.size)))
        state, order = self.chains.state, self.rule.order
        third = third_cumulants(upper, state.mean, order)
        variances = state.var if order > 1 else self.none[1:]
        moments = Moments((x, *state.mean), (self.none[0], *variances), (self.none[0], *third))
        return Seen(moments, state.var, (state.B[0] + B, *state.B[1:]), state.A)
