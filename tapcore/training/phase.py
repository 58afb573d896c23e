"""What training asks of the chains that stand for the machine while it trains.

A phase keeps K chains from batch to batch, starts them or leaves them where they are, moves them a few sweeps and says
what the gradient averages over them.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from tapcore.equations.compiled import Compiled
from tapcore.machine import Machine
from tapcore.training.weights import Moments
from tapcore.units import Unit

Array = NDArray[Any]
Layers = tuple[Array, ...]
Maker = Callable[[], Machine]
Key = tuple[int, ...]


#: Shares of chains that count alike.
ALIKE = np.empty(0)


class Exchanges(NamedTuple):
    """Exchanges of the chains with those of other machines."""

    acceptance: float = math.nan  # share of the last ones with the nearest machine that took place
    rungs: int = 0  # how many other machines there are


class Model(NamedTuple):
    """What a gradient averages over the chains that are not lost."""

    moments: Moments  # of the orders that count
    extra: tuple[Array, ...]  # (n_l, n_{l+1}) of each pair of layers, to be added to these averages; or no rows
    statistics: tuple[dict[str, Array], ...]  # of each layer's parameters
    fields: Array  # (all chains, n_hidden) fields of hidden units where chains started, in this batch; or no rows
    shares: Array = ALIKE  # (K,) what each chain counts, in the dtype of its moments; or nothing: all count alike


class Phase(Protocol):
    """Chains of one kind."""

    def start(self, X: Array) -> None:
        """All chains from visible values X (K, n_visible)."""

    def restart(self, which: NDArray[np.bool_], X: Array) -> None:
        """Some chains anew, from their rows of X."""

    def lost(self) -> NDArray[np.bool_]:
        """Which chains have left the finite numbers."""

    def why_lost(self, layers: Sequence[Unit]) -> str:
        """How chains came to be lost, in a few words."""

    def run(self, machine: Maker, own: Compiled, key: Key) -> None:
        """Move all chains of the machine `own`, which `machine` makes a `Machine`; `key` tells random streams apart."""

    def model(self, layers: Sequence[Unit], kept: Any) -> Model:
        """What the gradient averages over the chains `kept`."""

    def tensors(self) -> dict[str, Array]:
        """Arrays that a checkpoint keeps."""

    def restore(self, tensors: Mapping[str, Array]) -> None:
        """Go on from the arrays of a checkpoint, those of `tensors` among them."""

    def exchanges(self) -> Exchanges:
        """How chains change places with those of other machines: not at all, unless a phase says otherwise."""
        return Exchanges()


def named(**arrays: Layers) -> dict[str, Array]:
    """Arrays of all layers as checkpoints name them."""
    return {f"chains.{name}.{i}": x for name, layers in arrays.items() for i, x in enumerate(layers)}


def overwrite(arrays: Mapping[str, Array], tensors: Mapping[str, Array]) -> None:
    """Write to arrays what a checkpoint has under their names."""
    for name, array in arrays.items():
        array[...] = tensors[name]


def means_only(mean: Layers) -> Moments:
    """Moments of chains that have values, or means, and nothing else that counts."""
    return Moments(mean, no_rows_each(mean), no_rows_each(mean))


def no_rows(mean: Layers) -> Array:
    """No fields of hidden units."""
    return np.empty((0, mean[1].shape[1]), mean[1].dtype)


def no_rows_each(mean: Layers) -> Layers:
    """Nothing of each layer."""
    return tuple(np.empty((0, x.shape[1]), x.dtype) for x in mean)
