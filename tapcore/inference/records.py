"""Where chains begin, and what is known of those that have stopped."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from tapcore.inference.progress import CONVERGED, Progress

Array = NDArray[Any]


class Starts(NamedTuple):
    """Where some chains begin: arrays of as many rows, one a layer."""

    mean: tuple[Array, ...]  # the visible means only, every variance and every other mean being zero (Eqs. 36, 37)
    var: tuple[Array, ...]  # or all means, and variances
    B: tuple[Array, ...] = ()  # fields and precisions where they are known
    A: tuple[Array, ...] = ()


class Stopped(NamedTuple):
    """Chains that have stopped: arrays of as many rows; of what is not known of them, no layers."""

    chain: NDArray[np.int64]  # number of the start
    mean: tuple[Array, ...]
    var: tuple[Array, ...]
    residual: NDArray[np.float64]
    distance: NDArray[np.float64]
    mse: NDArray[np.float64]
    sweeps: NDArray[np.int64]
    converged: NDArray[np.bool_]
    B: tuple[Array, ...] = ()
    A: tuple[Array, ...] = ()


#: What is known of a chain besides what its units are in.
NUMBERS = ("residual", "distance", "mse", "sweeps", "converged")
LAYERS = ("mean", "var", "B", "A")


def stopped_chains(
    progress: Progress, rows: Any, units: int, mean: tuple[Array, ...] = (), var: tuple[Array, ...] = (), **more: Any
) -> Stopped:
    """Copies of the rows of `progress` and of these layers, (K, n_l) arrays, for a machine of so many units.

    `more` is B and A, where they are known.
    """
    p = progress
    layers = {"mean": mean, "var": var} | more
    return Stopped(
        chain=p.chain[rows].copy(), residual=p.residual[rows].copy(), distance=p.distance[rows].copy(),
        mse=p.square[rows] / units, sweeps=p.sweeps[rows].copy(), converged=p.status[rows] == CONVERGED,
        **{name: tuple(x[rows].copy() for x in arrays) for name, arrays in layers.items()},
    )  # fmt: skip


def joined(parts: Sequence[Stopped]) -> Stopped:
    """The chains of all `parts`, in turn."""
    columns: dict[str, Any] = {
        name: tuple(np.concatenate(arrays) for arrays in zip(*(getattr(s, name) for s in parts), strict=True))
        for name in LAYERS
    }
    columns |= {name: np.concatenate([getattr(s, name) for s in parts]) for name in ("chain", *NUMBERS)}
    return Stopped(**columns)
