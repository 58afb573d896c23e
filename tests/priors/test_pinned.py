"""Posteriors by chains whose hidden units are measured: against enumeration, where single solutions fail."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
from cases import random_rbm
from numpy.testing import assert_allclose, assert_array_equal

import tapcore as tc
from tapcore._base.threads import thread_limit


def exact_means(machine: tc.Machine, Y: np.ndarray, p: float) -> np.ndarray:
    """Posterior means of two-state visible units whose observations were flipped with probability p."""
    low, high = machine.layers[0].levels  # type: ignore[misc]
    x = np.array(list(product([low, high], repeat=machine.layers[0].n)))
    prior, odds = tc.log_likelihood(machine, x, 0.0), np.log((1 - p) / p)
    logs = prior + odds * (x == np.asarray(Y)[:, None]).sum(axis=2)
    weights = np.exp(logs - logs.max(axis=1, keepdims=True))
    return (weights / weights.sum(axis=1, keepdims=True)) @ x


@pytest.mark.parametrize("coupling", [0.15, 0.2])
def test_chains_weigh_solutions_as_the_posterior_does(coupling: float) -> None:
    # All up or all down: one of them is no average, and free energies of TAP weigh them badly.
    machine = tc.RBM(tc.Spin(10), tc.Spin(6), weights=np.full((10, 6), coupling))
    Y, p = np.array([[1.0] * 7 + [-1.0] * 3, [1.0] * 5 + [-1.0] * 5]), 0.45
    exact = exact_means(machine, Y, p)
    found = tc.posterior(machine, Y, tc.BinarySymmetric(p), starts=2000)
    assert_allclose(found.mean, exact, atol=0.08)
    assert_allclose(found.var, 1 - exact**2, atol=0.08)
    one = tc.denoise(machine, Y, tc.BinarySymmetric(p), combine="best")
    assert np.abs(one - exact).max() > 0.2


@pytest.mark.parametrize("kind", ["Binary", "Spin"])
def test_they_come_nearer_than_solutions_where_couplings_are_strong(kind: str) -> None:
    machine, rng = (
        random_rbm(3, kind, kind, sizes=(9, 6), sigma=1.2 if kind == "Binary" else 0.6),
        np.random.default_rng(0),
    )
    states, p = np.array(machine.layers[0].levels), 0.3
    Y = states[rng.integers(0, 2, (30, 9))]
    exact, channel = exact_means(machine, Y, p), tc.BinarySymmetric(p)
    chains, solutions = (tc.denoise(machine, Y, channel, pinning=r) - exact for r in (None, 0.0))
    assert (chains**2).mean() < 0.6 * (solutions**2).mean()


def test_the_seed_decides_and_threads_do_not() -> None:
    machine, Y = random_rbm(0, "Binary", "Binary", sizes=(9, 6), sigma=1.0), np.eye(9)
    with thread_limit(1):
        one = tc.denoise(machine, Y, tc.BinarySymmetric(0.2))
    with thread_limit(2):
        assert_array_equal(tc.denoise(machine, Y, tc.BinarySymmetric(0.2)), one)
    assert (tc.denoise(machine, Y, tc.BinarySymmetric(0.2), seed=1) != one).any()


def test_observations_do_not_act_on_each_other() -> None:
    # More than are taken at a time, and each as if it were alone but for random numbers.
    machine = tc.RBM(tc.Spin(4), tc.Spin(3), weights=np.full((4, 3), 0.3))
    Y = np.repeat([[1.0, 1, 1, 1], [-1.0, -1, -1, -1]], 700, axis=0)
    found = tc.denoise(machine, Y, tc.BinarySymmetric(0.2), starts=4)
    exact = exact_means(machine, Y[[0, -1]], 0.2)
    assert_allclose(found[:700].mean(axis=0), exact[0], atol=0.03)
    assert_allclose(found[700:].mean(axis=0), exact[1], atol=0.03)


def test_units_that_are_seen_stay_as_they_are() -> None:
    machine, Y = random_rbm(0, "Binary", "Binary", sizes=(9, 6), sigma=1.0), np.eye(9)
    mask = np.random.default_rng(0).random(Y.shape) < 0.5
    found = tc.posterior(machine, Y, tc.Erasure(mask))
    assert_array_equal(found.mean[~mask], Y[~mask])
    assert not found.var[~mask].any()
    assert (found.var[mask] > 0).all()


def test_machines_of_other_units_take_solutions_unless_told_otherwise() -> None:
    machine = random_rbm(0, "Gaussian", "Binary", sizes=(5, 4), sigma=0.3)
    Y, channel = np.random.default_rng(0).normal(size=(3, 5)), tc.GaussianNoise(0.5)
    found = tc.denoise(machine, Y, channel)
    assert_array_equal(found, tc.denoise(machine, Y, channel, pinning=0.0))
    pinned = tc.denoise(machine, Y, channel, pinning=0.5, starts=200)
    assert (pinned != found).any()
    assert_allclose(pinned, found, atol=0.05)


@pytest.mark.parametrize("method", ["nmf", "tap3"])
def test_other_equations_of_sweeps_serve_too(method: str) -> None:
    machine, p = random_rbm(1, "Spin", "Spin", sizes=(6, 4), sigma=0.2), 0.3
    Y = np.random.default_rng(0).choice([-1.0, 1.0], (5, 6))
    exact = exact_means(machine, Y, p)
    found = tc.denoise(machine, Y, tc.BinarySymmetric(p), method=method, pinning=1.0, starts=1000)
    assert_allclose(found, exact, atol=0.1)
