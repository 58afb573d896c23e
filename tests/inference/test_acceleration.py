"""Acceleration: the readable reference move by move, the same solutions, never more sweeps, saddles left alone."""

from __future__ import annotations

import naive_acceleration
import numpy as np
import pytest
from cases import starts
from hypothesis import example, given
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal

import tapcore as tc


def slow_machine(
    seed: int = 0, visible: int = 12, hidden: int = 8, pull: float = 0.98
) -> tuple[list, list, tc.Machine]:
    """Spins of which two directions hardly contract: plain sweeps take hundreds to come near the solution."""
    rng = np.random.default_rng(seed)
    u, v = rng.choice([-1.0, 1.0], (2, visible)), rng.choice([-1.0, 1.0], (2, hidden))
    W = (u.T * np.array([pull, 0.9 * pull])) @ v / np.sqrt(visible * hidden)
    U, V = rng.normal(0, 0.02, visible), rng.normal(0, 0.02, hidden)
    layers = [[{"kind": "spin", "U": x} for x in units] for units in (U, V)]
    return layers, [W], tc.RBM(tc.Spin(visible, U=U), tc.Spin(hidden, U=V), weights=W)


@pytest.fixture(scope="module")
def trained() -> tuple[tc.Machine, np.ndarray]:
    """A machine trained on digits, with about twenty solutions, and data to start from."""
    X = tc.datasets.load("digits")
    machine = tc.RBM(tc.Binary(64), tc.Binary(32), seed=0)
    settings = tc.paper_settings(epochs=40, learning_rate=0.05)
    return tc.fit(machine, X, settings=settings, progress=False).machine, X[:400].astype(float)


@pytest.mark.nojit
@pytest.mark.parametrize("seed", [0, 2, 5])
def test_moves_are_those_of_the_reference(seed: int) -> None:
    layers, weights, machine = slow_machine(seed, pull=1.0)
    x0 = starts(machine, 1, seed)
    kinds = set()
    chain = naive_acceleration.Chain(layers, weights, x0[0], 1e-9)
    for sweeps in range(1, 45):
        chain.sweep()
        kinds.add(chain.kind)
        found = tc.solve(machine, x0, tol=1e-9, max_sweeps=sweeps)
        if found.sweeps[0] < sweeps:
            break
        for ours, theirs in zip((*found.mean, *found.var), (*chain.state.mean, *chain.state.var), strict=True):
            # Differences are kept in single precision; weights of tens multiply their rounding errors of 1e-8.
            assert_allclose(ours[0], theirs, rtol=0, atol=1e-6)
    assert {"plain", "moved"} <= kinds


@pytest.mark.parametrize("pull", [0.9, 0.97, 0.99])
def test_slow_chains_take_a_fraction_of_the_sweeps(pull: float) -> None:
    machine = slow_machine(1, 40, 30, pull)[2]
    X = starts(machine, 20)
    fast, plain = tc.solve(machine, X, tol=1e-10), tc.solve(machine, X, tol=1e-10, acceleration=None)
    assert fast.converged.all()
    assert plain.converged.all()
    assert fast.sweeps.mean() < 0.6 * plain.sweeps.mean()
    assert_allclose(fast.mean[0], plain.mean[0], atol=1e-9)


def test_chains_end_where_plain_ones_do(trained: tuple[tc.Machine, np.ndarray]) -> None:
    machine, X = trained
    fast, plain = tc.solve(machine, X), tc.solve(machine, X, acceleration=None)
    assert fast.converged.all()
    assert len(plain.unique()) > 5
    assert (np.abs(fast.mean[0] - plain.mean[0]).max(axis=1) < 1e-4).mean() >= 0.95
    assert fast.sweeps.sum() <= 0.7 * plain.sweeps.sum()


# Acceleration of these chains used to take up to three times as many sweeps: their errors turn, by complex eigenvalues.
@example(seed=1506, scale=1.30078125, shape="spin")
@example(seed=492, scale=1.1684, shape="spin")
@example(seed=1210, scale=0.8, shape="spin")
@example(seed=1318, scale=0.8, shape="spin")
@example(seed=1075, scale=0.9, shape="spin")
@example(seed=1228, scale=0.9, shape="spin")
@given(seed=st.integers(0, 2**32 - 1), scale=st.floats(0.05, 3.0), shape=st.sampled_from(["spin", "binary"]))
def test_never_more_sweeps_nor_fewer_solutions(seed: int, scale: float, shape: str) -> None:
    rng = np.random.default_rng(seed)
    unit = {"spin": tc.Spin, "binary": tc.Binary}[shape]
    machine = tc.RBM(unit(24), unit(16), weights=rng.normal(0, scale / 4, (24, 16)))
    X = starts(machine, 16, seed)
    fast, plain = tc.solve(machine, X), tc.solve(machine, X, acceleration=None)
    assert fast.converged.sum() >= plain.converged.sum()
    # Chance moves single chains across the border of two basins, or lets damping end a cycle sooner or later; the sum
    # over chains may not be much longer.
    assert fast.sweeps.sum() <= 1.1 * plain.sweeps.sum() + 10 * len(X)


def test_a_chain_that_only_damping_settles_is_left_to_it() -> None:
    """Undamped sweeps circle away from its solution slowly: products are skew, and moves no help."""
    machine = tc.RBM(tc.Spin(24), tc.Spin(16), weights=np.random.default_rng(1506).normal(0, 1.30078125 / 4, (24, 16)))
    X = starts(machine, 16, 1506)[1:2]
    fast, plain = tc.solve(machine, X), tc.solve(machine, X, acceleration=None)
    assert tc.spectral_radius(machine, plain)[0] > 1
    assert fast.converged.all()
    assert plain.converged.all()
    assert_allclose(fast.mean[0], plain.mean[0], atol=2e-6)
    assert fast.sweeps[0] < 2 * plain.sweeps[0]


def test_errors_that_turn_and_hardly_shrink_are_damped() -> None:
    """Undamped, these chains shrink by 3 % a sweep."""
    machine = tc.RBM(tc.Spin(24), tc.Spin(16), weights=np.random.default_rng(1010).normal(0, 0.2, (24, 16)))
    X = starts(machine, 16, 1010)
    adaptive = tc.solve(machine, X, acceleration=None)
    undamped = tc.solve(machine, X, acceleration=None, damping=0.0)
    assert adaptive.converged.all()
    assert undamped.converged.all()
    assert adaptive.sweeps.mean() < 0.4 * undamped.sweeps.mean()


@pytest.mark.parametrize("scale", [0.6, 0.8, 0.9])
def test_distances_of_errors_that_turn_are_known(scale: float) -> None:
    """Residuals that rise and fall tell the rate by their peaks: such chains do not go on to rounding errors."""
    for seed in range(1205, 1214):
        machine = tc.RBM(tc.Spin(24), tc.Spin(16), weights=np.random.default_rng(seed).normal(0, scale / 4, (24, 16)))
        X = starts(machine, 16, seed)
        exact = tc.solve(machine, X, tol=1e-13)
        for acceleration in ("auto", None):
            found = tc.solve(machine, X, acceleration=acceleration)
            both = found.converged & exact.converged
            gap = np.abs(found.mean[0] - exact.mean[0]).max(axis=1)
            assert both.mean() > 0.9
            assert np.isfinite(found.distance[both]).all()
            assert (gap[both] <= found.distance[both]).all()


def test_distance_bounds_the_error(trained: tuple[tc.Machine, np.ndarray]) -> None:
    slow = slow_machine(2, 40, 30)[2]
    for machine, X in [(slow, starts(slow, 40)), trained]:
        exact = tc.solve(machine, X, tol=1e-13)
        for tol in (1e-4, 1e-6, 1e-9):
            found = tc.solve(machine, X, tol=tol)
            gap = np.max([np.abs(a - b).max(axis=1) for a, b in zip(found.mean, exact.mean, strict=True)], axis=0)
            same = gap < 0.01
            assert same.mean() > 0.95
            assert (gap[same] <= tol).all()
            assert (found.distance[found.converged] <= tol).all()


def test_a_saddle_is_left_as_the_plain_iteration_leaves_it() -> None:
    """Between the two solutions of a ferromagnet: chains that begin close to the border still leave it."""
    W = np.full((6, 4), 0.5)
    machine = tc.RBM(tc.Spin(6), tc.Spin(4), weights=W)
    for nudge in (1e-3, 1e-5, 1e-7, -1e-6):
        found = tc.solve(machine, np.full((1, 6), nudge))
        assert found.converged.all()
        assert (np.sign(found.mean[0]) == np.sign(nudge)).all()
        assert np.abs(found.mean[0]).min() > 0.3
        assert tc.spectral_radius(machine, found)[0] < 1


def test_a_precision_made_negative_is_taken_back() -> None:
    """Gaussian hidden units near the edge of what can be normalised: extrapolated chains are not lost."""
    rng = np.random.default_rng(0)
    patterns = rng.choice([-1.0, 1.0], (50, 3))
    for strength in (0.8, 0.95, 1.2, 1.6):
        machine = tc.RBM(tc.Spin(50), tc.Gaussian(3), weights=patterns * np.sqrt(strength / 50))
        X = patterns.T[rng.integers(0, 3, 30)] * np.where(rng.random((30, 50)) < 0.2, -1, 1)
        fast, plain = tc.solve(machine, X), tc.solve(machine, X, acceleration=None)
        assert_array_equal(fast.converged, plain.converged)
        assert_array_equal(np.isfinite(fast.mean[1]), np.isfinite(plain.mean[1]))


def test_the_papers_criterion_and_fixed_damping_are_plain() -> None:
    machine = slow_machine(0, 30, 20)[2]
    X = starts(machine, 5)
    for how in ({"criterion": "mse", "tol": 1e-16}, {"damping": 0.3}):
        assert_array_equal(tc.solve(machine, X, **how).sweeps, tc.solve(machine, X, **how, acceleration=None).sweeps)


def test_float32_chains_are_accelerated_too() -> None:
    machine = slow_machine(1, 40, 30)[2]
    X = starts(machine, 10)
    single = machine.replace(dtype="float32")
    fast, plain = tc.solve(single, X, tol=1e-4), tc.solve(single, X, tol=1e-4, acceleration=None)
    assert fast.converged.all()
    assert fast.sweeps.mean() < plain.sweeps.mean()
    assert_allclose(fast.mean[0], tc.solve(machine, X).mean[0], atol=1e-3)
