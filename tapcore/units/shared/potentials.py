"""Free potentials of states: a number for each state of each site, kept site after site in one array."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from tapcore._base import checks, footprint

Array = NDArray[Any]


def flat(name: str, value: ArrayLike, n: int, states: int) -> Array:
    """Potentials of n sites, one array after another.

    `value` is a number, one for each state, (states,), or for each site and state, (n, states), as such or flat.
    """
    footprint.check("n", n, 8 * n * states)
    array = checks.real_array(name, value)
    if array.shape == (n * states,):
        return array
    if array.ndim > 2 or (array.ndim and array.shape[-1] != states) or (array.ndim == 2 and array.shape[0] != n):
        raise ValueError(f"{name} must be a number or an array of shape ({n}, {states}), got shape {array.shape}")
    checks.finite(name, array)
    return np.array(np.broadcast_to(array, (n, states)), np.float64).reshape(-1)


def of_counts(counts: Array) -> Array:
    """Potentials that give each state its frequency, (n, states), and one imaginary sample, spread over all states.

    The last makes them finite. They add up to 0 at each site.
    """
    logs = np.log(counts + 1 / counts.shape[-1])
    return np.asarray(logs - logs.mean(axis=-1, keepdims=True))
