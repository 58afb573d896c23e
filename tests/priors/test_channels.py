"""Channels: what they do to signals, and which they refuse."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_array_equal

import tapcore as tc


def test_channels_corrupt_as_they_say() -> None:
    rng = np.random.default_rng(0)
    X = (rng.random((400, 50)) < 0.5).astype(float)
    flipped = tc.BinarySymmetric(0.2).corrupt(tc.Binary(50), X, rng)
    assert abs((flipped != X).mean() - 0.2) < 0.01
    assert_array_equal(tc.BinarySymmetric(0.0).corrupt(tc.Binary(50), X, rng), X)
    spins = tc.BinarySymmetric(0.5).corrupt(tc.Spin(50), 2 * X - 1, rng)
    assert set(np.unique(spins)) == {-1.0, 1.0}
    noise = tc.GaussianNoise(0.04).corrupt(tc.Gaussian(50), X, rng) - X
    assert abs(noise.std() - 0.2) < 0.005
    mask = np.arange(50) % 2 == 0
    assert_array_equal(np.isnan(tc.Erasure(mask).corrupt(tc.Binary(50), X, rng)[0]), mask)
    for channel in (tc.BinarySymmetric(0.2), tc.GaussianNoise(0.04)):
        with pytest.raises(ValueError, match=r"rng must be a numpy.random.Generator"):
            channel.corrupt(tc.Binary(50), X, 0)  # type: ignore[arg-type]
    assert "p=0.2" in repr(tc.BinarySymmetric(0.2))
    assert "50%" in repr(tc.Erasure(mask))
    assert "0.04" in repr(tc.GaussianNoise(0.04))
    assert "2 variances" in repr(tc.GaussianNoise([1.0, 2.0]))


@pytest.mark.parametrize(
    ("channel", "unit", "X", "message"),
    [
        (tc.BinarySymmetric(0.1), tc.Binary(3), [[0, 1, 0.5]], r"X must be 0 or 1.*X\[0, 2\] is 0.5"),
        (tc.BinarySymmetric(0.1), tc.Binary(3), [[0, 1, np.nan]], r"X must be finite: X\[0, 2\] is nan"),
        (tc.GaussianNoise(0.1), tc.Gaussian(3), [[0, 1]], "X must have 3 columns"),
        (tc.GaussianNoise([0.1, 0.2]), tc.Gaussian(3), [[0, 1, 1]], "variance must be a number or an array of shape"),
        (tc.Erasure([True, False, True]), tc.Binary(3), [0, 1, 1], "X must have two axes"),
        (tc.Erasure([True, False, True]), None, [[0, 1, 1]], "unit must be a layer of units.*NoneType"),
    ],
)
def test_channels_take_signals_of_the_layer_only(channel: Any, unit: Any, X: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        channel.corrupt(unit, X, np.random.default_rng(0))


@pytest.mark.parametrize(
    ("make_channel", "message"),
    [
        (lambda: tc.BinarySymmetric(-0.1), "p must be at least 0"),
        (lambda: tc.BinarySymmetric(0.6), "p must be at least 0 and at most 0.5"),
        (lambda: tc.BinarySymmetric(np.nan), "p must be a finite number"),
        (lambda: tc.Erasure([0, 1]), "mask must be a boolean array"),
        (lambda: tc.Erasure(np.zeros((1, 2, 3), bool)), "mask must be a boolean array"),
        (lambda: tc.GaussianNoise(0.0), "variance must be finite and positive"),
        (lambda: tc.GaussianNoise([1.0, -1.0]), r"variance\[1\] is -1.0"),
        (lambda: tc.GaussianNoise(np.ones((2, 2))), "variance must be a number or an array"),
    ],
)
def test_channels_that_do_not_exist_are_refused(make_channel: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make_channel()
