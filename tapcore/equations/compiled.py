"""A machine as kernels take it, of any units and depth: all of it in one NamedTuple of a few flat arrays."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate, pairwise
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from tapcore.units.sites import Layer, Sites, sites_of

Array = NDArray[Any]

# Handing blocks to other threads takes tens of microseconds. What takes fewer multiplications than this, with UNIT for
# each parameter of a unit whose moments are computed, is done by the thread that asks.
BRIEF = 100_000
UNIT = 20


class Compiled(NamedTuple):
    """Sites (the first nine, as in `Sites`) and weights, those of each pair of layers after those of the pair below."""

    values: Array  # parameters of all blocks, one array after another
    size: NDArray[np.int64]  # (layers,) columns
    block: NDArray[np.int64]  # (layers + 1,) where the blocks of each layer begin
    wide: NDArray[np.int64]  # (layers + 1,) where its sites of several columns begin in `span`
    span: NDArray[np.int64]  # (sites of several columns, 2) first column in the layer, and columns
    begin: NDArray[np.int64]  # (blocks, 2) where its parameters begin, and its columns in the layer
    layout: NDArray[np.int64]  # (blocks, 1 + most parameters) columns; where each parameter ends
    kind: NDArray[np.int64]  # (blocks,) site type
    code: NDArray[np.int64]  # (blocks, functions) addresses; a refusal's where not asked for
    W: Array
    W2: Array  # their squares
    W3: Array  # and cubes; nothing where third order is not wanted
    at: NDArray[np.int64]  # (layers - 1,) where the weights of each pair begin

    @property
    def sites(self) -> Sites:
        """The sites, sharing memory."""
        return Sites(*self[: len(Sites._fields)])

    @property
    def weights(self) -> tuple[tuple[Array, Array, Array], ...]:
        """Weights, squares and cubes of each pair of layers: (n_l, n_{l+1}) views, without rows if there are none."""
        return tuple(
            (self._pair(self.W, i), self._pair(self.W2, i), self._pair(self.W3, i)) for i in range(len(self.at))
        )

    def _pair(self, flat: Array, pair: int) -> Array:
        n, m = int(self.size[pair]), int(self.size[pair + 1])
        if flat.size == 0:
            return np.empty((0, m), flat.dtype)
        return flat[self.at[pair] : self.at[pair] + n * m].reshape(n, m)

    def set_powers(self) -> None:
        """Make squares and cubes those of the weights, after these have changed."""
        np.multiply(self.W, self.W, out=self.W2)
        if self.W3.size:
            np.multiply(self.W2, self.W, out=self.W3)

    @property
    def has_exclusive(self) -> bool:
        """Whether any layer has sites of several columns."""
        return bool(self.wide[-1] > self.wide[0])

    def brief(self, rows: int) -> bool:
        """Whether sweeping so many rows once is done sooner than handed out."""
        return rows * (self.W.size + UNIT * self.values.size) < BRIEF

    def above(self) -> Compiled:
        """The layers but the lowest, sharing memory."""
        return Compiled(*self.sites.above(), self.W, self.W2, self.W3, self.at[1:])


def compiled(layers: Sequence[Layer], weights: Sequence[Array], order: int, *functions: int) -> Compiled:
    """Copy layers, and weights in their dtype, for kernels of an order in the weights that call these functions."""
    sites = sites_of(layers, *functions)
    dtype = sites.values.dtype
    *at, end = 0, *accumulate(a * b for a, b in pairwise(sites.size.tolist()))
    W = np.empty(end, dtype)
    for begin, w in zip(at, weights, strict=True):
        W[begin : begin + w.size].reshape(w.shape)[...] = w
    W2 = W * W
    return Compiled(*sites, W, W2, W2 * W if order > 2 else np.empty(0, dtype), np.array(at, np.int64))
