"""Landscapes: numbers by hand, overlaps, warning signs, harvests merged."""

from __future__ import annotations

import math

import numpy as np
import pytest
from cases import starts
from numpy.testing import assert_allclose, assert_array_equal

import tapcore as tc


def found(energies: list[float], counts: list[int], labels: np.ndarray | None = None) -> tc.Solutions:
    """Solutions of one visible and one hidden unit."""
    n = len(energies)
    means = np.arange(n, dtype=float).reshape(n, 1)
    return tc.Solutions(
        *[(means, np.zeros((n, 1)))] * 4,
        free_energy=np.array(energies),
        residual=np.zeros(n),
        distance=np.full(n, 1e-7),
        mse=np.zeros(n),
        sweeps=np.ones(n, np.int64),
        converged=np.ones(n, bool),
        counts=np.array(counts),
        labels=labels,
    )


def test_numbers_by_hand() -> None:
    labels = np.array([0] * 6 + [1] * 2 + [-1] * 2)
    s = tc.statistics(found([-2.0, -1.0], [6, 2], labels))
    assert (s.solutions, s.starts, s.converged) == (2, 10, 8)
    assert (s.lowest, s.highest, s.helmholtz_uniform) == (-2.0, -1.0, -1.5)
    e = math.e
    assert_allclose(s.helmholtz_boltzmann, (-2 * e**2 - e) / (e**2 + e), rtol=1e-14)
    assert_allclose(s.log_sum, -math.log(e**2 + e), rtol=1e-14)
    assert_array_equal(s.basins, [0.75, 0.25])
    assert_allclose(s.effective_solutions, 1 / (0.75**0.75 * 0.25**0.25), rtol=1e-14)
    assert s.warnings == ("only 8 of 10 starts converged: allow more sweeps",)
    text = str(s)
    assert "2 solutions from 10 starts, 8 of which converged" in text
    assert "warning: only 8 of 10" in text


def test_energies_of_thousands_of_nats_do_not_overflow() -> None:
    s = tc.statistics(found([-5000.0, -4000.0, 3000.0], [1, 1, 1]))
    assert s.helmholtz_boltzmann == -5000
    assert s.log_sum == -5000
    assert_allclose(s.helmholtz_uniform, -2000)


@pytest.mark.parametrize(
    ("counts", "said"),
    [
        ([19], ()),
        ([95, 5], ("takes 95 %",)),
        ([50, 50], ()),
        ([1] * 30, ("30 solutions of 30 starts",)),
        ([3] * 10, ()),
    ],
)
def test_warning_signs(counts: list[int], said: tuple[str, ...]) -> None:
    warnings = tc.statistics(found([-1.0] * len(counts), counts)).warnings
    assert len(warnings) == len(said)
    for words, warning in zip(said, warnings, strict=True):
        assert words in warning


def test_overlaps_of_a_ferromagnet_and_of_its_binary_twin() -> None:
    W = np.full((6, 4), 0.5)
    spins = tc.RBM(tc.Spin(6), tc.Spin(4), weights=W)
    # x = (1 + s)/2 makes weights 4 W of it and fields that cancel the rest.
    bits = tc.RBM(tc.Binary(6, U=-2 * W.sum(axis=1)), tc.Binary(4, U=-2 * W.sum(axis=0)), weights=4 * W)
    for machine, centre in ((spins, 0.0), (bits, 0.5)):
        X = np.concatenate([np.full((5, 6), centre + 0.3), np.full((5, 6), centre - 0.3)])
        both = tc.harvest(machine, X)
        assert_array_equal(both.counts, [5, 5])
        for layer in (0, 1):
            assert_allclose(tc.overlaps(both, layer), [[1, -1], [-1, 1]], atol=1e-9)
    assert_array_equal(tc.overlaps(both[:1]), [[0.0]])
    with pytest.raises(ValueError, match="layer"):
        tc.overlaps(both, 2)


def test_two_harvests_are_one() -> None:
    rng = np.random.default_rng(5)
    W = rng.choice([-1.0, 1.0], (40, 3)) @ rng.choice([-1.0, 1.0], (3, 24)) * 2.2 / np.sqrt(40 * 24)
    machine = tc.RBM(tc.Spin(40), tc.Spin(24), weights=W + rng.normal(0, 0.02, (40, 24)))
    X = starts(machine, 300)
    whole, first, second = tc.harvest(machine, X), tc.harvest(machine, X[:60]), tc.harvest(machine, X[60:])
    assert len(first) < len(whole) or len(second) <= len(whole)
    for merged in (tc.merge_solutions(first, second), tc.merge_solutions(first, second, 1e-3)):
        assert len(merged) == len(whole) > 2
        assert_array_equal(merged.counts, whole.counts)
        assert_array_equal(merged.labels, whole.labels)
        assert_allclose(merged.mean[0], whole.mean[0], atol=1e-5)
    back = tc.merge_solutions(second, first)
    assert_array_equal(back.counts, whole.counts)
    assert_array_equal(back.labels, np.concatenate([whole.labels[60:], whole.labels[:60]]))
    assert_array_equal(back.mean[0], tc.merge_solutions(first, second).mean[0])


def test_starts_that_did_not_converge_stay_without_label() -> None:
    a, b = found([-1.0, 0.0], [1, 2], np.array([0, -1, 1, 1])), found([-1.0], [2], np.array([-1, 0, 0]))
    merged = tc.merge_solutions(a, b)
    assert_array_equal(merged.labels, [0, -1, 1, 1, -1, 0, 0])
    assert_array_equal(merged.counts, [3, 2])


def test_bad_input_is_refused() -> None:
    machine = tc.RBM(tc.Spin(6), tc.Spin(4), weights=np.full((6, 4), 0.5))
    chains = tc.solve(machine, np.full((3, 6), 0.5))
    unique = chains.unique()
    for call in (tc.statistics, tc.overlaps, lambda s: tc.merge_solutions(unique, s)):
        with pytest.raises(ValueError, match="counts"):
            call(chains)
    with pytest.raises(ValueError, match="at least one"):
        tc.statistics(unique[:0])
    with pytest.raises(ValueError, match="layers"):
        tc.merge_solutions(unique, found([-1.0], [1]))
    other = tc.solve(machine, np.full((3, 6), 0.5), method="nmf").unique()
    with pytest.raises(ValueError, match="method"):
        tc.merge_solutions(unique, other)
