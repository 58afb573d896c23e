"""Which chains are at the same solution."""

from __future__ import annotations

from bisect import bisect_left, bisect_right, insort
from typing import Any

import numpy as np
from numpy.typing import NDArray


def merge(
    means: tuple[NDArray[Any], ...], distance: NDArray[np.float64], tol: float
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Group rows whose entries all differ by at most `tol` from the group's most tightly converged row.

    Two rows that are alike in every mean are alike in any one fixed projection, so only leaders within a window of the
    projection need a full look: near-linear in the number of rows, as long as solutions are further apart than `tol`.

    Parameters
    ----------
    means : tuple of (K, n_l) arrays
        One a layer.
    distance : (K,) array
        How far each row is from its solution: the closest rows lead.
    tol : float
        Largest difference in any mean.

    Returns
    -------
    leaders : (groups,) int64 array
        Row of each group's leader.
    labels : (K,) int64 array
        Group of each row.
    """
    count = means[0].shape[0]
    # Any fixed direction will do; equal seeds make it the same one every time.
    rng = np.random.default_rng(0)
    directions = [rng.uniform(-1, 1, m.shape[1]) for m in means]
    projection = np.zeros(count)
    for m, direction in zip(means, directions, strict=True):
        projection += m @ direction
    reach = sum(np.abs(d).sum() for d in directions)
    window = reach * (tol + 4 * np.finfo(means[0].dtype).eps)
    # Ties in the distance are broken by the values themselves, not by where a row stands.
    order = np.lexsort((projection, distance))
    labels = np.empty(count, dtype=np.int64)
    leaders: list[int] = []
    seen: list[tuple[float, int]] = []
    for row in order:
        here = projection[row]
        low, high = bisect_left(seen, (here - window, -1)), bisect_right(seen, (here + window, count))
        # All candidates are looked at, not just the first that fits: the nearest one wins.
        gaps = [(_gap(means, row, leaders[group]), group) for _, group in seen[low:high]]
        near, group = min(gaps, default=(np.inf, -1))
        if near > tol:
            group = len(leaders)
            leaders.append(int(row))
            insort(seen, (float(here), group))
        labels[row] = group
    return np.array(leaders, dtype=np.int64), labels


def _gap(means: tuple[NDArray[Any], ...], a: int, b: int) -> float:
    return max(float(np.max(np.abs(m[a] - m[b]))) for m in means)
