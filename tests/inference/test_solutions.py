"""Solutions: which chains are at the same one, and picking chains like rows."""

from __future__ import annotations

import numpy as np
import pytest
from cases import (
    FIELDS,
    random_rbm,
    same_bits,
    starts,
)
from numpy.testing import assert_array_equal

import tapcore as tc


def several() -> tuple[tc.Machine, tc.Solutions]:
    """Chains at several solutions of a machine, some of them not yet there."""
    rng = np.random.default_rng(1)
    machine = tc.RBM(tc.Spin(20), tc.Spin(15), weights=rng.normal(0.0, 0.4, (20, 15)))
    X = rng.choice([-1.0, 1.0], (60, 20))
    sweeps = np.sort(tc.solve(machine, X).sweeps)
    return machine, tc.solve(machine, X, max_sweeps=int(sweeps[50]))


def test_unique_merges_chains_at_the_same_solution() -> None:
    _, found = several()
    merged = found.unique()
    assert 1 < len(merged) < found.converged.sum() < len(found)
    assert merged.converged.all()
    assert merged.counts is not None
    assert merged.labels is not None
    assert merged.counts.sum() == found.converged.sum()
    assert_array_equal(merged.labels == -1, ~found.converged)
    assert_array_equal(np.bincount(merged.labels[found.converged]), merged.counts)
    assert np.all(np.diff(merged.free_energy) >= 0)
    for k in np.flatnonzero(found.converged):
        assert np.abs(found.mean[0][k] - merged.mean[0][merged.labels[k]]).max() <= 1e-4
        assert np.abs(found.mean[1][k] - merged.mean[1][merged.labels[k]]).max() <= 1e-4
    means = np.concatenate(merged.mean, axis=1)
    gaps = np.abs(means[:, None] - means[None]).max(axis=2)[np.triu_indices(len(merged), 1)]
    assert gaps.min() > 1e-4


def test_unique_keeps_the_most_tightly_converged_chain() -> None:
    _, found = several()
    merged = found.unique()
    assert merged.labels is not None
    for solution in range(len(merged)):
        assert merged.distance[solution] == found.distance[merged.labels == solution].min()


def test_unique_does_not_depend_on_the_order_of_chains() -> None:
    _, found = several()
    order = np.random.default_rng(2).permutation(len(found))
    a, b = found.unique(), found[order].unique()
    assert_array_equal(a.counts, b.counts)
    assert a.labels is not None
    assert_array_equal(a.labels[order], b.labels)
    for x, y in zip((*a.mean, *a.var, *a.B, *a.A), (*b.mean, *b.var, *b.B, *b.A), strict=True):
        assert_array_equal(x, y)


def test_unique_respects_its_tolerance() -> None:
    _, found = several()
    assert len(found.unique(2.0)) == 1
    converged = found[found.converged]
    distinct = len(np.unique(np.concatenate(converged.mean, axis=1), axis=0))
    assert len(found.unique(0.0)) == distinct > len(found.unique())
    with pytest.raises(ValueError, match=r"^tol must be at least 0"):
        found.unique(-1e-9)


def test_unique_of_chains_that_did_not_converge_is_empty() -> None:
    machine, _ = several()
    merged = tc.solve(machine, starts(machine, 3), max_sweeps=1).unique()
    assert len(merged) == 0
    assert_array_equal(merged.labels, [-1, -1, -1])
    assert_array_equal(merged.counts, [])


@pytest.mark.nojit
def test_unique_is_stable_when_repeated() -> None:
    machine = random_rbm(14)
    merged = tc.solve(machine, starts(machine, 5)).unique()
    assert_array_equal(merged.counts, [5])
    again = merged.unique()
    same_bits(again, merged)
    assert_array_equal(again.labels, [0])


@pytest.mark.nojit
def test_chains_are_picked_like_rows() -> None:
    machine = random_rbm(14, sizes=(4, 3))
    found = tc.solve(machine, starts(machine, 5))
    assert len(found) == 5
    assert repr(found) == "Solutions(5 chains of 4-3 units, 5 converged, tap)"
    mask = np.array([True, False, True, False, True])
    for pick in (slice(1, 4), slice(None, None, -2), [0, 3], np.array([4, 4, 0]), mask, []):
        rows = np.arange(5)[pick] if len(np.shape(pick)) == 0 or len(pick) else np.arange(0)
        part = found[pick] if len(rows) else found[:0]
        assert len(part) == len(rows)
        for name in FIELDS:
            for x, whole in zip(getattr(part, name), getattr(found, name), strict=True):
                assert_array_equal(x, whole[rows])
        for name in ("free_energy", "residual", "distance", "sweeps", "converged"):
            assert_array_equal(getattr(part, name), getattr(found, name)[rows])
        assert part.method == found.method
    assert len(found[2]) == 1
    assert_array_equal(found[-1].mean[0], found.mean[0][4:])
    assert repr(found[:0]) == "Solutions(0 chains of 4-3 units, 0 converged, tap)"
    with pytest.raises(IndexError):
        found[5]


@pytest.mark.nojit
def test_picked_solutions_keep_their_counts() -> None:
    machine = random_rbm(14)
    merged = tc.solve(machine, starts(machine, 5)).unique()
    assert_array_equal(merged[0].counts, [5])
    assert merged[0].labels is None


@pytest.mark.nojit
def test_unique_merges_with_the_nearest_leader_within_its_tolerance() -> None:
    """By hand: the closest to convergence lead, 0.09 and 0.06 are within 0.1 of a leader, 0.11 and 0.5 are not."""
    values = np.array([[0.06], [0.5], [0.11], [0.09], [0.0]])
    found = tc.Solutions(
        *[(values, np.zeros((5, 1)))] * 4,
        free_energy=np.array([0.0, -3.0, -2.0, 0.0, -1.0]),
        residual=np.zeros(5),
        distance=np.array([1e-5, 1e-6, 1e-7, 1e-8, 1e-9]),
        mse=np.zeros(5),
        sweeps=np.ones(5, np.int64),
        converged=np.ones(5, bool),
    )
    merged = found.unique(0.1)
    assert_array_equal(merged.mean[0], [[0.5], [0.11], [0.0]])
    assert_array_equal(merged.counts, [1, 2, 2])
    assert_array_equal(merged.labels, [1, 0, 1, 2, 2])


def test_chains_are_picked_by_one_index() -> None:
    _, found = several()
    with pytest.raises(IndexError, match="one axis"):
        found[np.array([[0, 1], [2, 3]])]


def test_lost_chains_are_told() -> None:
    machine = tc.RBM(tc.Gaussian(4), tc.Gaussian(4), weights=np.full((4, 4), 3.0))
    found = tc.solve(machine, np.zeros((2, 4)))
    assert found.lost.all()
    assert repr(found) == "Solutions(2 chains of 4-4 units, 0 converged, 2 lost, tap)"
    _, others = several()
    assert not others.lost.any()
