"""Ratios of normalisers, their errors, and correlation times, against what is known of Gaussians and by double sums."""

from __future__ import annotations

import numpy as np
import pytest

from tapcore.sampling.bennett import (
    Series,
    bennett,
    correlation_time,
    error,
    predicted_acceptance,
    resampled,
)

# Two normal laws, of width 1 at 0 and of another one elsewhere; the weight of the second is by exp(30) too large.
SHIFT, WIDTH = 1.5, 0.4
RATIO = 30.0 + np.log(WIDTH)


def differences(seed: int, T: int = 20, K: int = 50) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    low, high = (0.5 * x**2 - 0.5 * ((x - SHIFT) / WIDTH) ** 2 + 30.0 for x in (
        rng.normal(size=(T, K)), rng.normal(SHIFT, WIDTH, (T, K))))  # fmt: skip
    return low, high


def test_ratio_and_its_error_are_those_of_many_runs() -> None:
    found = [bennett(*differences(seed)) for seed in range(200)]
    values, errors = np.array([step.value for step in found]), np.array([error(step.without) for step in found])
    assert abs(values.mean() - RATIO) < 4 * values.std() / np.sqrt(len(values))
    assert np.sqrt((errors**2).mean()) == pytest.approx(values.std(), rel=0.2)


def test_the_constant_is_that_of_least_error() -> None:
    # Both averages are equal there.
    low, high = differences(0)
    step = bennett(low, high)
    up, down = (1 / (1 + np.exp(-z)) for z in (low - step.value, step.value - high))
    assert up.sum() == pytest.approx(down.sum(), rel=1e-6)


def test_overlap_is_a_half_of_one_law_and_falls_to_none() -> None:
    same = np.zeros((5, 4))
    assert bennett(same, same).overlap == pytest.approx(0.5)
    assert bennett(same - 40.0, same + 40.0).overlap < 1e-10


def test_an_error_knows_of_what_a_ladder_has_in_common() -> None:
    # The same values over and over again tell no more than once.
    low, high = differences(1, T=1)
    once, often = (error(bennett(np.repeat(low, n, 0), np.repeat(high, n, 0)).without) for n in (1, 30))
    assert often == pytest.approx(once, rel=1e-6)


def test_predicted_acceptance_by_a_double_sum() -> None:
    u = np.random.default_rng(2).normal(100.0, 2.0, 60)
    w = np.exp(u - u.max())
    expected = (w / w.sum() * np.minimum(1.0, np.exp(u[:, None] - u))).sum() / len(u)
    assert predicted_acceptance(u) == pytest.approx(expected, rel=1e-12)
    assert predicted_acceptance(np.full(5, 7.0)) == pytest.approx(1.0)


def test_rows_are_taken_in_proportion_to_weights() -> None:
    weights = np.array([0.0, 4.0, 1.0, 0.5, 2.5]) / 8 * 5
    with np.errstate(divide="ignore"):
        counts = [np.bincount(resampled(np.log(weights), start), minlength=5) for start in (np.arange(200) + 0.5) / 200]
    np.testing.assert_allclose(np.mean(counts, axis=0), weights, atol=0.01)
    assert (np.abs(counts - weights) < 1).all()


def test_correlation_time_of_an_autoregression() -> None:
    rng, part = np.random.default_rng(3), 0.8
    x = np.zeros((3000, 20))
    for t in range(1, len(x)):
        x[t] = part * x[t - 1] + rng.normal(size=20)
    assert correlation_time(x) == pytest.approx((1 + part) / (1 - part), rel=0.1)
    assert correlation_time(rng.normal(size=(500, 20))) == pytest.approx(1.0, abs=0.15)
    assert np.isnan(correlation_time(x[:3]))


def test_ladders_that_stay_apart_are_seen() -> None:
    rng = np.random.default_rng(4)
    apart = np.where(np.arange(20) < 10, 5.0, -5.0) + rng.normal(size=(200, 20))
    assert correlation_time(apart) > 50


def test_series_keep_every_second_value_when_there_is_no_room() -> None:
    series = Series((2,), 8)
    for n in range(100):
        series.append(np.full(2, n))
        kept = series.values[:, 0]
        assert (kept == series.stride * np.arange(series.count)).all()
        assert n - kept[-1] < series.stride
        assert series.count > min(n, 3)
