"""Inference: sweeps against the readable reference, symmetries, repeatability, convergence."""

from __future__ import annotations

import math

import naive
import numba
import numpy as np
import pytest
from cases import (
    FIELDS,
    PLAIN,
    SHAPE_METHODS,
    SHAPES,
    both,
    error,
    random_rbm,
    same,
    same_bits,
    starts,
    state_of,
)
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal

import tapcore as tc
from tapcore._base.threads import thread_limit

# Sweeps


@pytest.mark.nojit
@pytest.mark.parametrize("damping", [0.0, 0.5])
@pytest.mark.parametrize(("shape", "method"), SHAPE_METHODS)
def test_sweeps_are_those_of_the_reference(shape: str, method: str, damping: float) -> None:
    layers, weights, machine = both(shape)
    X = starts(machine, 3)
    for sweeps in (1, 2, 5):
        found = tc.solve(machine, X, method=method, damping=damping, max_sweeps=sweeps, **PLAIN)
        assert_array_equal(found.sweeps, sweeps)
        assert not found.converged.any()
        for k, x in enumerate(X):
            before = naive.solve(layers, weights, x, method, damping, sweeps=sweeps - 1)
            state = naive.sweep(layers, weights, before, method, damping, first=sweeps == 1)
            B, A = naive.all_fields(layers, weights, state, method)
            for layer in range(len(layers)):
                assert_allclose(found.mean[layer][k], state.mean[layer], rtol=0, atol=1e-12)
                assert_allclose(found.var[layer][k], state.var[layer], rtol=0, atol=1e-12)
                assert_allclose(found.B[layer][k], B[layer], rtol=0, atol=1e-12)
                assert_allclose(found.A[layer][k], A[layer], rtol=0, atol=1e-12)
            assert_allclose(
                found.free_energy[k], naive.free_energy(layers, weights, state.mean, state.var, method), atol=1e-12
            )


@pytest.mark.nojit
@pytest.mark.parametrize("damping", [0.0, 0.5])
@pytest.mark.parametrize("shape", SHAPES)
def test_residual_is_the_largest_change_before_damping(shape: str, damping: float) -> None:
    layers, weights, machine = both(shape)
    X = starts(machine, 3)
    found = tc.solve(machine, X, damping=damping, max_sweeps=4, **PLAIN)
    for k, x in enumerate(X):
        before = naive.solve(layers, weights, x, "tap", damping, sweeps=3)
        after = naive.sweep(layers, weights, before, "tap", damping)
        assert found.residual[k] == pytest.approx(naive.change(before, after) / (1 - damping), rel=1e-9)


@pytest.mark.nojit
@pytest.mark.parametrize("damping", [0.0, 0.5])
@pytest.mark.parametrize("method", ["tap", "nmf", "tap3"])
@pytest.mark.parametrize("shape", ["binary-spin", "binary-spin-binary"])
def test_going_on_from_solutions_is_as_if_never_stopped(shape: str, method: str, damping: float) -> None:
    _, _, machine = both(shape)
    X = starts(machine, 4)
    options = {"method": method, "damping": damping, **PLAIN}
    three = tc.solve(machine, X, max_sweeps=3, **options)
    kept = [x.copy() for x in (*three.mean, *three.var)]
    seven = tc.solve(machine, three, max_sweeps=4, **options)
    at_once = tc.solve(machine, X, max_sweeps=7, **options)
    for name in FIELDS:
        for a, b in zip(getattr(seven, name), getattr(at_once, name), strict=True):
            assert_array_equal(a, b)
    assert_array_equal(seven.sweeps, 4)
    for x, before in zip((*three.mean, *three.var), kept, strict=True):
        assert_array_equal(x, before)  # the solutions gone on from are left alone


@pytest.mark.nojit
@pytest.mark.parametrize("method", ["tap", "nmf", "tap3"])
def test_solutions_are_fixed_points_of_the_reference(method: str) -> None:
    for shape in (shape for shape, known in SHAPE_METHODS if known == method):
        layers, weights, machine = both(shape)
        found = tc.solve(machine, starts(machine, 2), method=method, tol=1e-13)
        assert found.converged.all()
        assert found.method == method
        for k in range(2):
            state = state_of(found, k)
            assert naive.change(state, naive.sweep(layers, weights, state, method)) < 1e-12


@pytest.mark.nojit
def test_methods_differ_and_tap_is_the_default() -> None:
    _, _, machine = both("binary-spin")
    X = starts(machine, 2)
    tap, nmf = (tc.solve(machine, X, method=method) for method in ("tap", "nmf"))
    same_bits(tc.solve(machine, X), tap)
    assert np.abs(tap.mean[0] - nmf.mean[0]).max() > 1e-3
    assert not any(A.any() for A in nmf.A)


# Symmetries


@pytest.mark.parametrize("shape", SHAPES)
def test_order_and_company_of_chains_do_not_matter(shape: str) -> None:
    _, _, machine = both(shape, seed=2)
    X = starts(machine, 300)  # several blocks
    whole = tc.solve(machine, X)
    order = np.random.default_rng(0).permutation(300)
    same(tc.solve(machine, X[order]), whole[order])
    for part in (slice(0, 1), slice(7, 8), slice(100, 300)):
        same(tc.solve(machine, X[part]), whole[part])
    assert_array_equal(tc.solve(machine, X[order]).sweeps, whole.sweeps[order])


@pytest.mark.nojit
def test_order_of_units_does_not_matter() -> None:
    machine = random_rbm(3, "Spin", "Binary")
    X = starts(machine, 4)
    rng = np.random.default_rng(0)
    v, h = rng.permutation(7), rng.permutation(5)
    moved = tc.RBM(
        tc.Spin(7, U=machine.layers[0].U[v]),
        tc.Binary(5, U=machine.layers[1].U[h]),
        weights=machine.weights[0][np.ix_(v, h)],
    )
    a, b = tc.solve(machine, X), tc.solve(moved, X[:, v])
    assert_allclose(b.mean[0], a.mean[0][:, v], rtol=0, atol=1e-12)
    assert_allclose(b.mean[1], a.mean[1][:, h], rtol=0, atol=1e-12)
    assert_allclose(b.free_energy, a.free_energy, rtol=1e-12)


@pytest.mark.nojit
@pytest.mark.parametrize("hidden", ["Binary", "Spin"])
@pytest.mark.parametrize("method", ["tap", "nmf"])
def test_flipping_spins_flips_their_means(hidden: str, method: str) -> None:
    """x_i -> -x_i with the signs of W_i. and U_i changed is the same machine in other words."""
    machine = random_rbm(4, "Spin", hidden)
    visible, other = machine.layers
    signs = np.array([1.0, -1.0, -1.0, 1.0, -1.0, 1.0, -1.0])
    flipped = tc.RBM(tc.Spin(7, U=signs * visible.U), other, weights=signs[:, None] * machine.weights[0])
    X = starts(machine, 4)
    a, b = tc.solve(machine, X, method=method), tc.solve(flipped, signs * X, method=method)
    assert_allclose(b.mean[0], signs * a.mean[0], rtol=0, atol=1e-12)
    assert_allclose(b.mean[1], a.mean[1], rtol=0, atol=1e-12)
    assert_allclose(b.var[0], a.var[0], rtol=0, atol=1e-12)
    assert_allclose(b.free_energy, a.free_energy, rtol=1e-12)


@pytest.mark.nojit
def test_padding_with_uncoupled_layers_changes_nothing() -> None:
    """A third layer without couplings adds its own log-normaliser to -F and nothing else."""
    machine = random_rbm(5)
    extra = tc.Binary(2, U=[0.3, -0.4])
    deeper = tc.Machine((*machine.layers, extra), (*machine.weights, np.zeros((5, 2))))
    X = starts(machine, 3)
    a, b = tc.solve(machine, X), tc.solve(deeper, X)
    for layer in (0, 1):
        assert_allclose(b.mean[layer], a.mean[layer], rtol=0, atol=1e-12)
    assert_allclose(b.free_energy, a.free_energy - np.log1p(np.exp(extra.U)).sum(), rtol=1e-12)


# Repeatability


@pytest.mark.skipif(numba.config.NUMBA_NUM_THREADS < 2, reason="needs two threads")
@pytest.mark.parametrize("shape", SHAPES)
def test_number_of_threads_does_not_matter(shape: str) -> None:
    _, _, machine = both(shape, seed=6)
    X = starts(machine, 301)
    with thread_limit(1):
        one = tc.solve(machine, X)
    with thread_limit(2):
        two = tc.solve(machine, X)
    same(one, two)
    assert_array_equal(one.converged, two.converged)


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.usefixtures("all_threads")
def test_two_runs_give_the_same_bits(dtype: str) -> None:
    machine = random_rbm(7, "Binary", "Spin", sizes=(40, 30)).replace(dtype=dtype)
    X = starts(machine, 300)
    before = X.copy()
    same_bits(tc.solve(machine, X), tc.solve(machine, X))
    assert_array_equal(X, before)


@pytest.mark.nojit
@pytest.mark.parametrize("shape", ["binary-binary", "spin-spin", "binary-spin-binary"])
def test_float32_is_close_to_float64(shape: str) -> None:
    _, _, machine = both(shape)
    X = starts(machine, 5)
    double, single = tc.solve(machine, X), tc.solve(machine.replace(dtype="float32"), X)
    assert single.converged.all()
    assert all(x.dtype == np.float32 for name in FIELDS for x in getattr(single, name))
    assert single.free_energy.dtype == np.float64
    assert_allclose(single.free_energy, double.free_energy, rtol=1e-5)
    assert error(single, double).max() < 1e-5


@pytest.mark.nojit
def test_starts_of_any_dtype_and_layout() -> None:
    machine = random_rbm(8)
    X = np.random.default_rng(0).integers(0, 2, (6, 7))
    expected = tc.solve(machine, X.astype(np.float64))
    for same_start in (X, X.astype(bool), X.astype(np.uint8), X.astype(np.float32), X.tolist(), np.asfortranarray(X)):
        same_bits(tc.solve(machine, same_start), expected)


# Convergence


def test_chains_that_stop_early_are_as_if_alone() -> None:
    rng = np.random.default_rng(2)
    machine = tc.RBM(tc.Binary(20), tc.Binary(15), weights=rng.normal(0.0, 2.0, (20, 15)))
    X = rng.choice([0.0, 1.0], (200, 20))
    together = tc.solve(machine, X, tol=1e-9)
    assert together.converged.all()
    assert together.sweeps.max() > 2 * together.sweeps.min()
    for k in (*range(0, 200, 25), int(together.sweeps.argmin()), int(together.sweeps.argmax())):
        alone = tc.solve(machine, X[k : k + 1], tol=1e-9)
        same(alone, together[k], tol=1e-11)
        assert alone.sweeps[0] == together.sweeps[k]


@pytest.mark.parametrize("damping", [None, 0.0, 0.5])
@pytest.mark.parametrize("method", ["tap", "nmf"])
@settings(max_examples=15)
@given(
    seed=st.integers(0, 10_000), kinds=st.sampled_from([("Binary", "Binary"), ("Spin", "Binary"), ("Binary", "Spin")])
)
def test_distance_bounds_the_error(method: str, damping: float | None, seed: int, kinds: tuple[str, str]) -> None:
    """Up to what an estimate may miss, on machines whose sweeps contract from any start."""
    machine = random_rbm(seed, *kinds, sizes=(12, 8), sigma=0.25)
    X = starts(machine, 6, seed)
    for tol in (1e-2, 1e-5):
        rough = tc.solve(machine, X, method=method, damping=damping, tol=tol)
        fine = tc.solve(machine, rough, method=method, damping=damping, tol=1e-15, max_sweeps=50_000)
        assert rough.converged.all()
        assert np.all(rough.distance <= tol)
        assert np.all(error(rough, fine) <= 1.5 * rough.distance)


@pytest.mark.nojit
def test_too_few_sweeps_are_no_error() -> None:
    machine = random_rbm(10)
    X = starts(machine, 4)
    short = tc.solve(machine, X, tol=1e-12, max_sweeps=3)
    assert not short.converged.any()
    assert_array_equal(short.sweeps, 3)
    assert np.all(short.residual > 1e-12)
    assert np.all(short.distance > 1e-12)
    assert np.isfinite(short.free_energy).all()
    assert tc.solve(machine, short, tol=1e-12).converged.all()


@pytest.mark.nojit
def test_a_tighter_tolerance_takes_more_sweeps() -> None:
    machine = random_rbm(10, sigma=1.0)
    X = starts(machine, 4)
    for criterion in ("distance", "mse"):
        taken = [tc.solve(machine, X, tol=tol, criterion=criterion).sweeps for tol in (1e-2, 1e-6, 1e-10)]
        assert np.all(taken[0] < taken[1])
        assert np.all(taken[1] < taken[2])


def test_rounding_errors_are_the_end() -> None:
    """Below the rounding errors of the dtype no tolerance keeps a chain going."""
    for dtype in ("float64", "float32"):
        machine = random_rbm(10).replace(dtype=dtype)
        found = tc.solve(machine, starts(machine, 4), tol=1e-300)
        assert found.converged.all()
        assert np.all(found.residual <= 8 * np.finfo(dtype).eps)
        assert np.all(found.sweeps < 1000)


def test_a_machine_that_oscillates_needs_damping() -> None:
    rng = np.random.default_rng(0)
    machine = tc.RBM(tc.Spin(30), tc.Spin(20), weights=rng.normal(0.0, 0.8, (30, 20)))
    X = starts(machine, 8)
    plain = tc.solve(machine, X, damping=0.0, max_sweeps=3000)
    assert not plain.converged.all()
    assert np.isinf(plain.distance[~plain.converged]).all()
    adapted = tc.solve(machine, X)
    assert adapted.converged.all()
    assert np.all(adapted.residual < 1e-6)


@pytest.mark.nojit
def test_slow_chains_wait_for_their_distance() -> None:
    """A rate near 1 leaves the solution far away although the residual is small; the distance says how far."""
    # Two spins below their critical coupling 1: a visible mean shrinks by W^2 a sweep.
    machine = tc.RBM(tc.Spin(1), tc.Spin(1), weights=[[0.99]])
    found = tc.solve(machine, [[0.01]], method="nmf", tol=1e-4, damping=0.0)
    assert found.converged[0]
    left = abs(found.mean[0][0, 0])  # the solution is at 0
    assert left > 20 * found.residual[0]
    assert left <= found.distance[0] <= 1e-4


@pytest.mark.nojit
@pytest.mark.parametrize("damping", [0.0, 0.5])
def test_criterion_of_the_paper_stops_at_the_first_sweep_that_meets_it(damping: float) -> None:
    """mse: the mean over all units of the squared change of the means in one sweep."""
    layers, weights, machine = both("binary-spin", sigma=0.6)
    X = starts(machine, 3)
    for tol in (1e-4, 1e-8):
        found = tc.solve(machine, X, damping=damping, criterion="mse", tol=tol)
        assert found.converged.all()
        for k, x in enumerate(X):
            state, squares = naive.start(layers, x), []
            for sweep in range(int(found.sweeps[k])):
                new = naive.sweep(layers, weights, state, "tap", damping, first=sweep == 0)
                changes = np.concatenate([b - a for a, b in zip(state.mean, new.mean, strict=True)])
                squares.append(float((changes**2).mean()))
                state = new
            assert squares[-1] <= tol < min(squares[:-1])


@pytest.mark.nojit
def test_a_chain_that_starts_at_its_solution_stays() -> None:
    machine = random_rbm(12)
    found = tc.solve(machine, starts(machine, 3), tol=1e-14)
    again = tc.solve(machine, found, tol=1e-6)
    assert again.converged.all()
    assert np.all(again.sweeps <= 2)
    same(again, found, tol=1e-13)


@pytest.mark.nojit
def test_solutions_of_a_similar_machine_are_a_start() -> None:
    machine, other = random_rbm(12, "Spin"), random_rbm(12, "Spin", sigma=0.33)
    cold = tc.solve(other, starts(machine, 3), tol=1e-12)
    warm = tc.solve(other, tc.solve(machine, starts(machine, 3)), tol=1e-12)
    same(warm, cold, tol=1e-11)


@pytest.mark.nojit
def test_two_spins_by_hand() -> None:
    """Naive mean field of two coupled spins: a = tanh(w a), F = -2 ln(2 cosh(w a)) + w a^2."""
    w = 1.5
    found = tc.solve(tc.RBM(tc.Spin(1), tc.Spin(1), weights=[[w]]), [[1.0], [-1.0], [0.0]], method="nmf", tol=1e-14)
    a = 1.0
    for _ in range(500):
        a = math.tanh(w * a)
    assert_allclose(found.mean[0][:, 0], [a, -a, 0.0], atol=1e-13)
    ordered = -2 * math.log(2 * math.cosh(w * a)) + w * a * a
    assert_allclose(found.free_energy, [ordered, ordered, -2 * math.log(2)], rtol=1e-13)
