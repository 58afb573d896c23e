"""Density, distribution and samples of truncated Gaussians."""

from __future__ import annotations

import math

import numpy as np
import pytest
import scipy.stats
from numpy.testing import assert_allclose, assert_array_equal
from truncnorm_cases import exact

from tapcore._base.intrinsics import JIT_DISABLED
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


def integration_grid(weight: tuple[float, ...]) -> tuple[np.ndarray, np.ndarray]:
    """Nodes and weights of Gauss-Legendre panels, close at the ends and about the mean, out to 40 deviations."""
    _, mean, var = truncnorm.moments(*weight)
    lo, hi = (max(weight[2], mean - 40 * math.sqrt(var)), min(weight[3], mean + 40 * math.sqrt(var)))
    halvings = (hi - lo) * 0.5 ** np.arange(1, 40)
    edges = np.concatenate([[lo, hi], lo + halvings, hi - halvings, mean + math.sqrt(var) * np.linspace(-40, 40, 161)])
    edges = np.unique(np.clip(edges, lo, hi))
    nodes, parts = np.polynomial.legendre.leggauss(20)
    half = np.diff(edges)[:, None] / 2
    return (edges[:-1, None] + half * (1 + nodes)).ravel(), (half * parts).ravel()


@pytest.mark.parametrize("weight", WEIGHTS)
def test_the_density_integrates_to_one_and_has_these_moments(weight: tuple[float, ...]) -> None:
    x, parts = integration_grid(weight)
    density = np.exp(truncnorm.log_density(x, *weight))
    _, mean, var = truncnorm.moments(*weight)
    # The rounding of the nodes counts where the weight is steep.
    slack = 1e-12 + 1e-16 * np.abs((weight[1] - weight[0] * x)[density > 1e-9]).max()
    assert parts @ density == pytest.approx(1, abs=slack)
    assert parts @ (density * (x - mean)) == pytest.approx(0, abs=slack * math.sqrt(var))
    assert parts @ (density * (x - mean) ** 2) == pytest.approx(var, rel=10 * slack)


@pytest.mark.parametrize("weight", WEIGHTS)
def test_cdf_rises_up_to_rounding(weight: tuple[float, ...]) -> None:
    x = np.sort(np.concatenate([integration_grid(weight)[0], np.nextafter(grid(weight), -INF), grid(weight)]))
    found = truncnorm.cdf(x, *weight)
    assert np.all((found >= 0) & (found <= 1))
    most = np.maximum.accumulate(found)
    assert np.all(found >= most * (1 - 1e-14))
    assert_allclose(
        np.diff(found), np.diff(x) * np.exp(truncnorm.log_density((x[1:] + x[:-1]) / 2, *weight)), atol=2e-3
    )


def test_small_probabilities_keep_their_digits() -> None:
    with exact.mp.workdps(60):
        ratio = exact.mp.exp(exact.moments(1.0, 0.0, -40.0, -30.0, 50)[0] - exact.moments(1.0, 0.0, -40.0, 1.0, 50)[0])
    assert_allclose(truncnorm.cdf(-30.0, 1.0, 0.0, -40.0, 1.0), float(ratio), rtol=1e-12)


@pytest.mark.nojit
@pytest.mark.parametrize("weight", WEIGHTS)
def test_samples_follow_the_distribution(weight: tuple[float, ...]) -> None:
    s, b, lo, hi = weight
    count = 200 if JIT_DISABLED else 40_000
    x = truncnorm.sample(s, b, np.full(count, lo), hi, np.random.default_rng(7))
    assert x.shape == (count,)
    assert np.all((lo <= x) & (x <= hi))
    assert scipy.stats.kstest(truncnorm.cdf(x, *weight), "uniform").pvalue > 1e-3


def test_one_value_for_each_point() -> None:
    """Each has its own weight, and lies in its own interval; mean and spread are theirs."""
    s, b = np.repeat([-40.0, 0.0, 40.0], 4000), 3.0
    lo = np.tile([-1.0, 0.0], 6000)
    x = truncnorm.sample(s, b, lo, lo + 1, np.random.default_rng(3))
    assert np.all((lo <= x) & (x <= lo + 1))
    _, mean, var = truncnorm.moments(s, b, lo, lo + 1)
    z = ((x - mean) / np.sqrt(var)).reshape(3, -1, 2)
    assert np.abs(z.mean(axis=1)).max() < 4 / math.sqrt(2000)
    assert np.abs((z**2).mean(axis=1) - 1).max() < 0.3
    assert isinstance(truncnorm.sample(1.0, 0.0, 0.0, 1.0, np.random.default_rng(0)), float)


@pytest.mark.parametrize(
    "weight", [(3e7, 1e8, 0.0, 1e6), (-1e8, 3e3, -1.0, 1.0), (1e-8, -1e8, -5.0, 5.0), (0.0, 1e8, 1.0, 2.0)]
)
def test_extreme_weights_are_sampled_in_finite_time(weight: tuple[float, ...]) -> None:
    s, b, lo, hi = weight
    x = truncnorm.sample(s, b, np.full(2000, lo), hi, np.random.default_rng(7))
    assert scipy.stats.kstest(truncnorm.cdf(x, *weight), "uniform").pvalue > 1e-3


@pytest.mark.nojit
def test_equal_seeds_draw_equal_values() -> None:
    draws = [truncnorm.sample(-9.0, -4.0, np.zeros(50), 1.0, np.random.default_rng(seed)) for seed in (1, 1, 2)]
    assert_array_equal(draws[0], draws[1])
    assert (draws[0] != draws[2]).any()


@pytest.mark.nojit
def test_what_cannot_be_normalised_has_no_samples() -> None:
    rng = np.random.default_rng(0)
    for weight in ((-1.0, 0.0, -INF, INF), (0.0, 1.0, 0.0, INF), (0.0, 0.0, 0.0, INF), (math.nan, 0.0, 0.0, 1.0)):
        assert np.isnan(truncnorm.sample(*weight, rng))
        assert np.isnan(truncnorm.log_density(0.5, *weight))
        assert np.isnan(truncnorm.cdf(0.5, *weight))
