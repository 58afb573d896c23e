"""Harvest: the same as solving and merging, in any order and in pieces; interruption; starts; all of small machines."""

from __future__ import annotations

import signal
from collections.abc import Iterator

import numpy as np
import pytest
from cases import starts
from numpy.testing import assert_allclose, assert_array_equal
from scipy import optimize

import tapcore as tc
from tapcore._base.threads import thread_limit
from tapcore.landscape import harvest as room


@pytest.fixture(scope="module")
def machine() -> tc.Machine:
    """Spins with a dozen solutions that undamped chains reach."""
    rng = np.random.default_rng(5)
    patterns = rng.choice([-1.0, 1.0], (40, 3))
    hidden = rng.choice([-1.0, 1.0], (3, 24))
    W = patterns @ hidden * 2.2 / np.sqrt(40 * 24) + rng.normal(0, 0.02, (40, 24))
    return tc.RBM(tc.Spin(40), tc.Spin(24), weights=W)


def test_harvest_is_solve_and_unique(machine: tc.Machine) -> None:
    X = starts(machine, 300)
    solved = tc.solve(machine, X)
    unique = solved.unique(1e-4)
    found = tc.harvest(machine, X)
    assert len(unique) > 3
    assert solved.converged.all()
    assert_array_equal(found.labels, unique.labels)
    assert_array_equal(found.counts, unique.counts)
    for name in ("mean", "var", "B", "A"):
        for ours, theirs in zip(getattr(found, name), getattr(unique, name), strict=True):
            assert_allclose(ours, theirs, atol=1e-9)
    assert_allclose(found.free_energy, unique.free_energy, rtol=1e-12)
    assert (np.diff(found.free_energy) >= 0).all()
    assert (found.distance <= 1e-6).all()
    assert found.converged.all()


@pytest.mark.usefixtures("all_threads")
def test_the_count_depends_on_neither_order_nor_threads_nor_pieces(
    machine: tc.Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    X = starts(machine, 500)
    order = np.random.default_rng(0).permutation(500)
    found = tc.harvest(machine, X)
    shuffled = tc.harvest(machine, X[order])
    with thread_limit(1):
        alone = tc.harvest(machine, X)
    monkeypatch.setattr(room, "CHUNK", 16)
    pieces = tc.harvest(machine, iter(np.array_split(X, 7)))
    for other in (shuffled, alone, pieces):
        assert_array_equal(found.counts, other.counts)
        assert_allclose(found.mean[0], other.mean[0], atol=1e-5)
    assert_array_equal(found.labels[order], shuffled.labels)
    assert_array_equal(found.labels, pieces.labels)


def test_harvest_goes_on_from_solutions(machine: tc.Machine) -> None:
    rough = tc.solve(machine, starts(machine, 50), max_sweeps=3)
    assert not rough.converged.any()
    found = tc.harvest(machine, rough)
    assert found.counts.sum() == 50
    assert len(tc.harvest(machine, found)) == len(found)


def test_chains_that_do_not_converge_have_no_label(machine: tc.Machine) -> None:
    X = starts(machine, 60)
    sweeps = tc.solve(machine, X).sweeps
    most = int(np.median(sweeps))
    found = tc.harvest(machine, X, max_sweeps=most)
    assert_array_equal(found.labels == -1, sweeps > most)
    nothing = tc.harvest(machine, X, max_sweeps=1)
    assert len(nothing) == 0
    assert_array_equal(nothing.labels, np.full(60, -1))
    assert nothing.mean[0].shape == (0, 40)


def test_ctrl_c_gives_what_there_is(machine: tc.Machine) -> None:
    def interrupted() -> Iterator[np.ndarray]:
        X = starts(machine, 2000)
        yield X[:1000]
        signal.raise_signal(signal.SIGINT)
        yield X[1000:]

    with pytest.warns(UserWarning, match="interrupted: .* starts have stopped"):
        found = tc.harvest(machine, interrupted())
    assert len(found) > 3
    done = found.labels >= 0
    assert 500 < done.sum() < 2000
    assert found.counts.sum() == done.sum()
    assert_array_equal(np.bincount(found.labels[done]), found.counts)
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_bad_input_is_refused_before_work(machine: tc.Machine) -> None:
    X = starts(machine, 4)
    bad = X.copy()
    bad[3, 7] = 2.0
    for wrong, message in [(bad, r"init\[3, 7\]"), (X[:, :5], "init"), (X[:0], "at least one row"), (np.nan, "init")]:
        with pytest.raises(ValueError, match=message):
            tc.harvest(machine, wrong)
    with pytest.raises(ValueError, match="init must be a rectangular array"):
        tc.harvest(machine, [X[:1], X[1:4]])
    for option, value in [
        ("tol", 0), ("tol", -1), ("merge", -1.0), ("method", "exact"), ("max_sweeps", 0), ("damping", 1.0),
        ("acceleration", "fast"),
    ]:  # fmt: skip
        with pytest.raises(ValueError, match=option):
            tc.harvest(machine, X, **{option: value})


# Starts


def test_random_starts_are_repeatable_and_in_range(machine: tc.Machine) -> None:
    parts = list(tc.random_starts(machine, 2500, seed=3))
    assert [len(x) for x in parts] == [1024, 1024, 452]
    X = np.concatenate(parts)
    assert X.min() >= -1
    assert X.max() <= 1
    assert abs(X.mean()) < 0.01
    assert_array_equal(X, np.concatenate(list(tc.random_starts(machine, 2500, seed=3))))
    assert not np.array_equal(X, np.concatenate(list(tc.random_starts(machine, 2500, seed=4))))
    assert len(np.unique(X[:, 0])) == 2500


def test_noisy_starts_change_a_share_of_the_units(machine: tc.Machine) -> None:
    X = np.ones((1500, 40))
    noisy = np.concatenate(list(tc.noisy_starts(machine, X, 0.25, copies=2, seed=1)))
    assert noisy.shape == (3000, 40)
    assert abs((noisy != 1).mean() - 0.25) < 0.01
    assert not np.array_equal(noisy[:1500], noisy[1500:])
    assert_array_equal(np.concatenate(list(tc.noisy_starts(machine, X, 0.0))), X)
    for noise in (-0.1, 1.1):
        with pytest.raises(ValueError, match="noise"):
            tc.noisy_starts(machine, X, noise)
    with pytest.raises(ValueError, match=r"X\[0, 0\]"):
        tc.noisy_starts(machine, 2 * X, 0.1)


def test_structured_starts_are_what_a_hidden_unit_means() -> None:
    W = np.array([[1.5, 0.0], [0.0, -2.0], [0.5, 0.5]])
    machine = tc.RBM(tc.Binary(3, U=[0.1, 0.2, 0.3]), tc.Binary(2), weights=W)
    (found,) = tc.structured_starts(machine)
    # Means 1/2, two standard deviations of 1/2 away: the ends 1 and 0.
    hidden = np.array([[1, 0.5], [0.5, 1], [0, 0.5], [0.5, 0]])
    assert_allclose(found, 1 / (1 + np.exp(-(hidden @ W.T + [0.1, 0.2, 0.3]))), rtol=1e-14)
    gaussian = tc.RBM(tc.Spin(3), tc.Gaussian(2, V=4.0), weights=W)
    (found,) = tc.structured_starts(gaussian)
    assert_allclose(found, np.tanh(np.array([[1, 0], [0, 1], [-1, 0], [0, -1]]) @ W.T), rtol=1e-14)


# All solutions


def test_a_ferromagnet_has_two() -> None:
    machine = tc.RBM(tc.Spin(6), tc.Spin(4), weights=np.full((6, 4), 0.5))
    found = tc.harvest(machine, tc.random_starts(machine, 2000))
    assert len(found) == 2
    assert_allclose(found.mean[0][0], -found.mean[0][1], atol=1e-6)
    assert found.counts.sum() == 2000


@pytest.mark.parametrize("seed", range(5))
def test_small_machines_have_the_stable_roots_that_a_root_finder_finds(seed: int) -> None:
    """Newton's method from many random points finds every root of the equations; those that attract are harvested."""
    n, rng = 6, np.random.default_rng(seed)
    W = 1.5 * rng.choice([-1.0, 1.0], (n, 2)) @ rng.choice([-1.0, 1.0], (2, 5)) + rng.normal(0, 0.3, (n, 5))
    U, V = -W.sum(axis=1) / 2, -W.sum(axis=0) / 2
    machine = tc.RBM(tc.Binary(n, U=U), tc.Binary(5, U=V), weights=W)

    def sweep(z: np.ndarray) -> np.ndarray:
        v, h = z[:n], z[n:]
        A = -(v * (1 - v)) @ W**2
        h = 1 / (1 + np.exp(-(v @ W + A * (h - 0.5) + V)))
        A = -(W**2) @ (h * (1 - h))
        v = 1 / (1 + np.exp(-(W @ h + A * (v - 0.5) + U)))
        return np.concatenate([v, h])

    roots: list[np.ndarray] = []
    for z in rng.random((400, n + 5)):
        answer = optimize.root(lambda z: sweep(z) - z, z, tol=1e-13)
        z = answer.x
        if np.abs(sweep(z) - z).max() > 1e-9 or any(np.abs(z - r).max() < 1e-5 for r in roots):
            continue
        J = np.array([(sweep(z + 1e-6 * e) - sweep(z - 1e-6 * e)) / 2e-6 for e in np.eye(n + 5)]).T
        if np.abs(np.linalg.eigvals(J)).max() < 0.999:
            roots.append(z)
    found = tc.harvest(machine, tc.random_starts(machine, 2000, seed=seed), damping=0.0)
    ours = np.concatenate(found.mean, axis=1)
    assert len(roots) > 1
    assert len(ours) == len(roots)
    for root in roots:
        assert np.abs(ours - root).max(axis=1).min() < 1e-5
