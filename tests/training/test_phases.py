"""Chains that stand for the machine in training: contrastive divergence and adaptive TAP."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from cases import fit_as_paper, random_rbm
from numpy.testing import assert_allclose, assert_array_equal

import tapcore as tc
from tapcore._base.threads import thread_limit

ONE_STEP: dict[str, Any] = {"epochs": 1, "learning_rate": 1e-3, "momentum": 0.0, "penalty": None, "progress": False}


def slopes(machine: tc.Machine, X: np.ndarray, **options: Any) -> tuple[np.ndarray, list[dict[str, np.ndarray]]]:
    """Gradient that one step on all of the data takes, with respect to weights and fields."""
    trained = fit_as_paper(machine, X, batch_size=len(X), **ONE_STEP | {"center": False} | options).machine
    pairs = zip(machine.layers, trained.layers, strict=True)
    change = [{name: (b.parameters[name] - a.parameters[name]) / 1e-3 for name in ("U",)} for a, b in pairs]
    return (trained.weights[0] - machine.weights[0]) / 1e-3, change


def exact_slopes(machine: tc.Machine, X: np.ndarray) -> tuple[np.ndarray, list[np.ndarray]]:
    """Gradient of the exact log-likelihood."""
    hidden = machine.layers[1].moments(X @ machine.weights[0], 0.0)[1]
    model = tc.exact.moments(machine)
    return (X.T @ hidden) / len(X) - model.pair[0], [X.mean(0) - model.mean[0], hidden.mean(0) - model.mean[1]]


@pytest.mark.parametrize("gradient", ["cd", "pcd", "ptt"])
@pytest.mark.parametrize("kind", ["Binary", "Spin", "TruncatedGaussian"])
def test_many_sweeps_of_many_chains_give_the_exact_gradient(kind: str, gradient: str) -> None:
    machine = random_rbm(3, kind, "Binary", sizes=(6, 4), sigma=0.5)
    X = tc.sample(random_rbm(4, kind, "Binary", sizes=(6, 4), sigma=0.5), 50, sweeps=30)
    if kind == "TruncatedGaussian":  # the supports are those of the other machine
        X = np.clip(X, machine.layers[0].lo, machine.layers[0].hi)  # type: ignore[attr-defined]
    weights, fields = slopes(machine, X, gradient=gradient, chains=20_000, sweeps=30)
    expected, expected_fields = exact_slopes(machine, X)
    # Standard deviations of products of spins are at most 1, of 20,000 chains 0.007.
    assert_allclose(weights, expected, atol=0.035)
    for found, exact in zip(fields, expected_fields, strict=True):
        assert_allclose(found["U"], exact, atol=0.035)


def test_one_sweep_from_the_data_is_contrastive_divergence() -> None:
    # With samples in every state in proportion to the machine's law, one sweep leaves the law as it is.
    machine = random_rbm(5, sizes=(6, 4), sigma=0.8)
    X = tc.sample(machine, 20_000, sweeps=50)
    weights, _ = slopes(machine, X, gradient="cd", chains=20_000)
    assert np.abs(weights).max() < 0.03
    # Elsewhere, it follows the data: CD-1 sees less of the way to the machine's law than the exact gradient.
    X = np.ones((2000, 6))
    weights, _ = slopes(machine, X, gradient="cd", chains=2000)
    expected, _ = exact_slopes(machine, X)
    assert 0.2 < np.abs(weights).sum() / np.abs(expected).sum() < 1.0


def test_adaptive_tap_takes_the_gradient_of_its_solutions() -> None:
    machine = random_rbm(6, "Binary", "Spin", sizes=(7, 5), sigma=0.4)
    X = tc.sample(random_rbm(7, "Binary", "Spin", sizes=(7, 5)), 12, sweeps=20)
    found = tc.solve(machine, X, method="adatap", tol=1e-13)
    weights, fields = slopes(machine, X, gradient="adatap", chains=12, sweeps=400)
    expected = tc.gradient(machine, X, found)
    assert_allclose(weights, expected.weights[0], atol=1e-9)
    for a, b in zip(fields, expected.layers, strict=True):
        assert_allclose(a["U"], b["U"], atol=1e-9)


@pytest.mark.parametrize(
    ("gradient", "rate"), [("cd", 0.05), ("pcd", 0.05), ("ptt", 0.05), ("adatap", 0.3), ("rbp", 0.1)]
)
@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_learns_correlations(gradient: str, rate: float, dtype: str) -> None:
    rng = np.random.default_rng(1)
    patterns = rng.random((2, 12)) < 0.5
    X = patterns[rng.integers(2, size=200)] ^ (rng.random((200, 12)) < 0.05)
    machine = tc.RBM(tc.Binary(12), tc.Binary(3), sigma=0.1, seed=0, dtype=dtype)
    options: dict[str, Any] = {"epochs": 150 if rate < 0.1 else 25, "batch_size": 20, "chains": 20, "sweeps": 4}
    trained, history = fit_as_paper(machine, X, learning_rate=rate, gradient=gradient, **options)
    alone = tc.exact.log_likelihood(machine, X).mean()
    assert tc.exact.log_likelihood(trained, X).mean() > alone + 2.0
    assert np.isfinite(history.log_likelihood).all()
    assert trained.dtype == dtype


@pytest.mark.usefixtures("all_threads")
def test_sampled_training_does_not_depend_on_threads() -> None:
    X = np.random.default_rng(0).random((60, 9)) < 0.4
    machine = random_rbm(8, sizes=(9, 6))
    options: dict[str, Any] = {"epochs": 2, "batch_size": 60, "chains": 200, "gradient": "pcd"}
    first = fit_as_paper(machine, X, **options).machine
    with thread_limit(1):
        again = fit_as_paper(machine, X, **options).machine
    assert_allclose(first.weights[0], again.weights[0], atol=1e-13)
    assert_array_equal(first.weights[0], fit_as_paper(machine, X, **options).machine.weights[0])
    assert (first.weights[0] != fit_as_paper(machine, X, seed=1, **options).machine.weights[0]).all()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"gradient": "pcd", "chain_init": "data"}, "chain_init must be 'persistent' for gradient 'pcd', got 'data'"),
        ({"gradient": "cd", "chain_init": "random"}, "chain_init must be 'data' for gradient 'cd'"),
        ({"gradient": "cd", "chain_init": "noise"}, "chain_init must be one of"),
        ({"gradient": "cd", "damping": 0.5}, "damping is of sweeps"),
    ],
)
def test_contradictions_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        fit_as_paper(random_rbm(9), np.zeros((3, 7)), epochs=1, **options)


def test_adaptive_chains_without_a_gaussian_are_lost_and_leave_weights_finite() -> None:
    # Couplings so strong that after one sweep few chains have a Gaussian.
    X = np.random.default_rng(0).random((30, 12)) < 0.5
    machines = [tc.RBM(tc.Binary(12), tc.Binary(8), sigma=sigma, seed=1) for sigma in (1.0, 1.5, 2.0, 3.0)]
    options: dict[str, Any] = {"epochs": 1, "batch_size": 30, "chains": 30, "gradient": "adatap", "learning_rate": 1e-6}
    lost, messages = 0, []
    for machine in machines:
        try:
            trained, history = fit_as_paper(machine, X, sweeps=1, damping=0.5, **options)
        except FloatingPointError as error:
            messages.append(str(error))
            continue
        assert np.isfinite(trained.weights[0]).all()
        lost += int(history.lost[-1])
    assert lost > 0 or messages
    assert all("every chain was lost" in message for message in messages)
