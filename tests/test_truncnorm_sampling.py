"""Density, distribution and samples of truncated Gaussians."""

from __future__ import annotations

import math

import numpy as np
import pytest
import scipy.stats
from numpy.testing import assert_allclose, assert_array_equal
from truncnorm_cases import exact

from tapcore._jit import JIT_DISABLED
from tapcore.special import truncnorm

INF = math.inf
# Every way of drawing: around a mode inside, broad and narrow; falling from an end; rising to one end and to both.
WEIGHTS = [
    (2.0, 1.0, 0.0, 1.0), (50.0, 25.0, 0.0, 1.0), (50.0, 80.0, 0.0, 1.0), (1e-3, 8.0, 0.0, 5.0), (1.0, 3.0, -4.0, 1.0),
    (-30.0, -14.0, 0.0, 1.0), (-30.0, 5.0, 0.0, 1.0), (-100.0, -50.0, 0.0, 1.0), (-5.0, 20.0, -1.0, 1.0),
    (0.0, 3.0, -1.0, 2.0), (0.0, 0.0, -1.0, 2.0), (-1e6, 0.0, -1.0, 1.0), (1e6, 2e6, 0.0, 3.0),
    (1.0, -5.0, 0.0, INF), (0.0, -3.0, 0.0, INF), (3.0, -3.5, -1.0, INF), (10.0, 0.0, -INF, 1.0), (0.3, 0.1, -INF, INF),
]  # fmt: skip
BOUNDED = [w for w in WEIGHTS if math.isfinite(w[2] + w[3])]


def grid(weight: tuple[float, ...], count: int = 9) -> np.ndarray:
    """Points within the weight, by its mean and spread, ends among them."""
    _, mean, var = truncnorm.moments(*weight)
    points = mean + np.sqrt(var) * np.linspace(-3, 3, count)
    return np.unique(np.clip(points, weight[2], weight[3]))


@pytest.mark.nojit
@pytest.mark.parametrize("weight", WEIGHTS)
def test_log_density(weight: tuple[float, ...]) -> None:
    x = grid(weight)
    s, b, lo, hi = weight
    with exact.mp.workdps(60):
        log_z = exact.moments(*weight, digits=50)[0]
        expected = [float(exact.mpf(b) * t - exact.mpf(s) * exact.mpf(t) ** 2 / 2 - log_z) for t in map(float, x)]
    assert_allclose(truncnorm.log_density(x, *weight), expected, rtol=1e-13, atol=1e-13)
    outside = [t for t in (lo - 1, hi + 1) if math.isfinite(t)]
    assert np.isneginf(truncnorm.log_density(outside, *weight)).all()
    assert np.isnan(truncnorm.log_density(math.nan, *weight))


@pytest.mark.nojit
@pytest.mark.parametrize("weight", WEIGHTS)
def test_cdf(weight: tuple[float, ...]) -> None:
    s, b, lo, hi = weight
    x = [float(t) for t in grid(weight) if lo < t < hi]
    expected = []
    with exact.mp.workdps(60):
        log_z = exact.moments(*weight, digits=50)[0]
        expected = [float(exact.mp.exp(exact.moments(s, b, lo, t, 50)[0] - log_z)) for t in x]
    found = truncnorm.cdf(x, *weight)
    assert_allclose(found, expected, rtol=1e-13)
    # The other tail is that of the mirrored weight.
    assert_allclose(found + truncnorm.cdf(np.negative(x), s, -b, -hi, -lo), 1.0, rtol=2e-14)
    ends = [t for t in (lo, lo - 1) if math.isfinite(t)], [t for t in (hi, hi + 1) if math.isfinite(t)]
    assert_array_equal(truncnorm.cdf(ends[0], *weight), 0.0)
    assert_array_equal(truncnorm.cdf(ends[1], *weight), 1.0)
    assert np.isnan(truncnorm.cdf(math.nan, *weight))


def test_small_probabilities_keep_their_digits() -> None:
    with exact.mp.workdps(60):
        ratio = exact.mp.exp(exact.moments(1.0, 0.0, -40.0, -30.0, 50)[0] - exact.moments(1.0, 0.0, -40.0, 1.0, 50)[0])
    assert_allclose(truncnorm.cdf(-30.0, 1.0, 0.0, -40.0, 1.0), float(ratio), rtol=1e-12)


@pytest.mark.parametrize("weight", WEIGHTS)
def test_samples_follow_the_distribution(weight: tuple[float, ...]) -> None:
    s, b, lo, hi = weight
    count = 200 if JIT_DISABLED else 20_000
    x = truncnorm.sample(s, b, np.full(count, lo), hi, np.random.default_rng(7))
    assert x.shape == (count,)
    assert np.all((lo <= x) & (x <= hi))
    assert scipy.stats.kstest(truncnorm.cdf(x, *weight), "uniform").pvalue > 1e-3


@pytest.mark.nojit
def test_equal_seeds_draw_equal_values() -> None:
    draws = [truncnorm.sample(-9.0, -4.0, np.zeros(50), 1.0, np.random.default_rng(seed)) for seed in (1, 1, 2)]
    assert_array_equal(draws[0], draws[1])
    assert (draws[0] != draws[2]).any()


@pytest.mark.nojit
def test_what_cannot_be_normalised_has_no_samples() -> None:
    rng = np.random.default_rng(0)
    for weight in ((-1.0, 0.0, -INF, INF), (0.0, 1.0, 0.0, INF), (math.nan, 0.0, 0.0, 1.0)):
        assert np.isnan(truncnorm.sample(*weight, rng))
        assert np.isnan(truncnorm.log_density(0.5, *weight))
        assert np.isnan(truncnorm.cdf(0.5, *weight))
