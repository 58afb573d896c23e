"""How close estimates of two-state signals come to them."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from tapcore._base import checks

Array = NDArray[Any]


def matthews_correlation(X: ArrayLike, estimate: ArrayLike, threshold: float = 0.5) -> NDArray[np.float64]:
    """Matthews correlation of each row of two-state signals with its estimate.

    Parameters
    ----------
    X, estimate : (K, n) array_like
        Signals and their posterior means.
    threshold : float
        Above is one state, below the other: halfway between them.

    Returns
    -------
    (K,) float64 array
        -1 to 1; 0 where a row is all one state; NaN where there is a NaN.

    Raises
    ------
    ValueError
        `X` or `estimate` is no matrix of real numbers, or they differ in shape.
    """
    hit, missed, wrong, right = _confusion(X, estimate, threshold)
    size = np.sqrt((hit + wrong) * (hit + missed) * (right + wrong) * (right + missed))
    return np.where(size == 0, 0.0, (hit * right - missed * wrong) / np.where(size == 0, 1.0, size))


def f1_score(X: ArrayLike, estimate: ArrayLike, threshold: float = 0.5) -> NDArray[np.float64]:
    """F1 score of each row of two-state signals with its estimate: of the upper state.

    Parameters
    ----------
    X, estimate : (K, n) array_like
        Signals and their posterior means.
    threshold : float
        Above is one state, below the other: halfway between them.

    Returns
    -------
    (K,) float64 array
        0 to 1; 0 where both are low throughout; NaN where there is a NaN.

    Raises
    ------
    ValueError
        As for `matthews_correlation`.
    """
    hit, missed, wrong, _ = _confusion(X, estimate, threshold)
    size = 2 * hit + missed + wrong
    return np.where(size == 0, 0.0, 2 * hit / np.where(size == 0, 1.0, size))


def _confusion(X: ArrayLike, estimate: ArrayLike, threshold: float) -> tuple[Array, ...]:
    threshold = checks.number("threshold", threshold)
    arrays = [checks.matrix(name, a, None) for name, a in (("X", X), ("estimate", estimate))]
    x, e = (a > threshold for a in arrays)
    if x.shape != e.shape:
        raise ValueError(f"estimate must have the shape of X, {x.shape}, got {e.shape}")
    # NaN stays NaN: above and below a threshold it would count as the lower state.
    unknown = np.where(np.isnan(arrays[0]) | np.isnan(arrays[1]), np.nan, 0.0).sum(axis=1)
    return tuple(both.sum(axis=1) + unknown for both in (x & e, x & ~e, ~x & e, ~x & ~e))
