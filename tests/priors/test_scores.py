"""Scores of estimates of two-state signals."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

import tapcore as tc


def test_scores_are_those_of_scikit_learn() -> None:
    metrics = pytest.importorskip("sklearn.metrics")
    rng = np.random.default_rng(0)
    X = rng.random((5, 40)) < 0.3
    estimate = np.clip(X + rng.normal(0, 0.5, X.shape), 0, 1)
    for row, (mcc, f1) in enumerate(zip(tc.matthews_correlation(X, estimate), tc.f1_score(X, estimate), strict=True)):
        assert_allclose(mcc, metrics.matthews_corrcoef(X[row], estimate[row] > 0.5), rtol=1e-12)
        assert_allclose(f1, metrics.f1_score(X[row], estimate[row] > 0.5), rtol=1e-12)
    assert_array_equal(tc.matthews_correlation(X, X), 1.0)
    assert_array_equal(tc.matthews_correlation(np.zeros((1, 4)), np.ones((1, 4))), 0.0)
    assert_array_equal(tc.f1_score(np.zeros((1, 4)), np.zeros((1, 4))), 0.0)
    spins = 2.0 * X - 1
    assert_array_equal(tc.matthews_correlation(spins, 0.1 * spins, threshold=0.0), 1.0)
    with pytest.raises(ValueError, match="estimate must have the shape of X"):
        tc.matthews_correlation(X, estimate[:, :3])


@pytest.mark.parametrize("score", [tc.matthews_correlation, tc.f1_score])
def test_scores_of_nan_are_nan(score: Any) -> None:
    X = np.array([[0.0, 1, 1, 0], [0, 1, 1, 0]])
    estimate = np.array([[0.1, 0.9, 0.8, np.nan], [0.1, 0.9, 0.8, 0.2]])
    assert_array_equal(np.isnan(score(X, estimate)), [True, False])
    for threshold in (np.nan, "a"):
        with pytest.raises(ValueError, match="threshold must be a finite number"):
            score(X, X, threshold=threshold)
