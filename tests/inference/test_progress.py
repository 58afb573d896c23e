"""The rate at which residuals that rise and fall shrink from peak to peak."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tapcore.inference.progress import MEMORY, PEAKS, RESTLESS, STEADY, _peaks, is_steady


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


@pytest.mark.nojit
@given(rate=st.floats(0.5, 1.2))
def test_chains_are_steady_that_shrink_or_grow(rate: float) -> None:
    r = rate ** np.arange(MEMORY, 0, -1.0)
    assert is_steady(r, 0.0)
    assert is_steady(r, RESTLESS)
    assert not is_steady(r, 1.01 * RESTLESS)
    r[STEADY - 1 :] = 0.0  # one too few are known
    assert not is_steady(r, 0.0)


@pytest.mark.nojit
@given(rate=st.floats(0.8, 1.1), period=st.floats(2.0, 3.0), phase=st.floats(0, 6.3))
def test_chains_whose_errors_turn_are_not_steady(rate: float, period: float, phase: float) -> None:
    assert not is_steady(turning(rate, period, 0.8, phase)[1:], 0.0)


@pytest.mark.nojit
@pytest.mark.parametrize("top", range(MEMORY))
def test_chains_that_have_left_a_saddle_are_steady(top: int) -> None:
    k = np.arange(MEMORY)
    r = np.where(k < top, 1e-3 * 0.5 ** (top - k), 1e-3 * 0.8 ** (k - top))
    assert is_steady(r, 0.0)
