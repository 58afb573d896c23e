"""The rate at which residuals that rise and fall shrink from peak to peak."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tapcore.inference.progress import MEMORY, PEAKS, _peaks


def turning(rate: float, period: float, swing: float, phase: float) -> np.ndarray:
    """Residuals of an error that turns, latest first."""
    k = np.arange(MEMORY, -1, -1)
    return rate**k * (1 + swing * np.cos(2 * np.pi * k / period + phase))


@pytest.mark.nojit
@given(rate=st.floats(0.5, 1.2), period=st.floats(2.2, 4.0), phase=st.floats(0, 6.3))
def test_rate_is_that_of_the_envelope(rate: float, period: float, phase: float) -> None:
    r = turning(rate, period, 0.8, phase)
    found, height = _peaks(r[0], r[1:])
    # Sweeps meet the peaks at other phases: the slowest of two rates is not far below.
    if np.isfinite(found):
        assert found > 0.8 * rate
        assert height in r


@pytest.mark.nojit
@pytest.mark.parametrize("rate", [0.7, 0.95, 1.0, 1.1])
def test_a_whole_period_gives_the_rate_exactly(rate: float) -> None:
    r = turning(rate, 3.0, 0.5, 0.3)
    found, height = _peaks(r[0], r[1:])
    assert found == pytest.approx(rate, rel=1e-12)
    assert height in r


@pytest.mark.nojit
@pytest.mark.parametrize("growth", [0.5, 0.99, 1.01, 2.0])
def test_residuals_without_peaks_tell_nothing(growth: float) -> None:
    r = growth ** np.arange(MEMORY + 1, 0, -1.0)
    assert _peaks(r[0], r[1:])[0] == np.inf


@pytest.mark.nojit
def test_what_is_not_remembered_tells_nothing() -> None:
    r = turning(0.9, 3.0, 0.5, 0.3)
    known = 3 * (PEAKS - 1)
    r[known:] = 0.0
    assert _peaks(r[0], r[1:])[0] == np.inf


@pytest.mark.nojit
def test_a_saddle_that_is_left_has_one_minimum_and_no_peaks() -> None:
    k = np.arange(MEMORY, -1, -1)
    r = 1e-3 * 0.5**k + 1e-6 * 1.3**k
    assert _peaks(r[0], r[1:])[0] == np.inf
