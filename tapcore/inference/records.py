"""Where chains begin, and what is known of those that have stopped."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]


class Starts(NamedTuple):
    """Where some chains begin: arrays of as many rows, one a layer."""

    mean: tuple[Array, ...]  # the visible means only, every variance and every other mean being zero (Eqs. 36, 37)
    var: tuple[Array, ...]  # or all means, and variances


class Stopped(NamedTuple):
    """Chains that have stopped: arrays of as many rows."""

    chain: NDArray[np.int64]  # number of the start
    mean: tuple[Array, ...]
    var: tuple[Array, ...]
    residual: NDArray[np.float64]
    distance: NDArray[np.float64]
    mse: NDArray[np.float64]
    sweeps: NDArray[np.int64]
    converged: NDArray[np.bool_]
