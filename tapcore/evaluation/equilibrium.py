"""Whether a machine makes what it has learned: samples made from scratch beside the data."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]

# Rows of data that are compared: errors of their averages are far below those of some hundred samples.
MOST = 20_000
# Columns whose correlations are compared, evenly spaced: a million pairs of them.
COLUMNS = 1000
# Averages that differ by no more than this share of the columns' spread are all alike.
ROUNDING = 1e-9


class Equilibrium(NamedTuple):
    """Averages of samples against those of data: slope of the best line through the origin of both, and correlation.

    Both are 1 where samples are as the data, but for noise: of few samples correlations fall short of 1, while slopes
    do not. Slopes below 1 are of samples that are flatter than the data. NaN where the data do not vary, as averages
    of standardised columns do not.

    Attributes
    ----------
    mean_slope, mean_correlation : float
        Of the averages of columns, above their average over the columns.
    pair_slope, pair_correlation : float
        Of the covariances of pairs of columns.
    samples : int
        How many were made; those that are not finite left out.
    """

    mean_slope: float
    mean_correlation: float
    pair_slope: float
    pair_correlation: float
    samples: int


def equilibrium(samples: Array, data: Array) -> Equilibrium:
    """Compare the averages and covariances of columns of samples with those of data, (n, columns) each.

    Of more than `MOST` = 20,000 rows of the data and `COLUMNS` = 1,000 columns, evenly spaced ones.
    """
    samples = samples[np.isfinite(samples).all(axis=1)]
    if len(samples) < 2 or len(data) < 2:
        return Equilibrium(np.nan, np.nan, np.nan, np.nan, len(samples))
    columns = np.unique(np.linspace(0, samples.shape[1] - 1, COLUMNS).round().astype(np.int64))
    rows = np.unique(np.linspace(0, len(data) - 1, MOST).round().astype(np.int64))
    made, given = (np.asarray(x[:, columns], np.float64) for x in (samples, data[rows]))
    means = [x.mean(axis=0) for x in (made, given)]
    upper = np.triu_indices(len(columns), 1)
    pairs = [((x - m).T @ (x - m) / len(x))[upper] for x, m in zip((made, given), means, strict=True)]
    centred = [m - m.mean() for m in means]
    if np.abs(centred[1]).max() <= ROUNDING * np.sqrt(given.var(axis=0).max()):  # columns that have been standardised
        centred[1][:] = 0
    return Equilibrium(*_compared(*centred), *_compared(*pairs), len(samples))


def _compared(ours: Array, theirs: Array) -> tuple[float, float]:
    """Slope of ours against theirs, through the origin, and their correlation."""
    square = float(theirs @ theirs)
    if len(theirs) < 2 or not square > 0:
        return float("nan"), float("nan")
    deviations = [x - x.mean() for x in (ours, theirs)]
    norms = [float(np.sqrt(d @ d)) for d in deviations]
    if not min(norms) > 0:
        return float(ours @ theirs / square), float("nan")
    return float(ours @ theirs / square), float(deviations[0] @ deviations[1] / (norms[0] * norms[1]))
