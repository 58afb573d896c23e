"""Pseudo-log-likelihood: against conditionals from all states, symmetries, the stochastic version, bad input."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from cases import random_rbm
from numpy.testing import assert_allclose, assert_array_equal

import tapcore as tc
from tapcore._base.threads import thread_limit


def states(machine: tc.Machine) -> np.ndarray:
    return np.array(list(itertools.product(machine.layers[0].levels, repeat=machine.sizes[0])))


@pytest.mark.nojit
@pytest.mark.parametrize("visible", ["Binary", "Spin"])
@pytest.mark.parametrize("hidden", ["Binary", "Spin", "Gaussian", "TruncatedGaussBernoulli"])
def test_is_the_sum_of_exact_conditionals(visible: str, hidden: str) -> None:
    machine = random_rbm(3, visible, hidden, sizes=(5, 4), sigma=0.5)
    X = states(machine)
    # Conditionals need no ln Z: any free energy will do.
    p = {tuple(x): q for x, q in zip(X, np.exp(tc.log_likelihood(machine, X, 0.0)), strict=True)}
    low, high = machine.layers[0].levels
    expected = []
    for x in X:
        total = 0.0
        for i in range(len(x)):
            turned = x.copy()
            turned[i] = low + high - x[i]
            total += np.log(p[tuple(x)] / (p[tuple(x)] + p[tuple(turned)]))
        expected.append(total)
    assert_allclose(tc.pseudo_log_likelihood(machine, X), expected, rtol=1e-12)


def test_independent_units_have_their_likelihood() -> None:
    machine = random_rbm(1, sigma=0.0)
    X = (np.random.default_rng(0).random((9, 7)) < 0.5).astype(float)
    F = -tc.exact.log_z(machine)
    assert_allclose(tc.pseudo_log_likelihood(machine, X), tc.log_likelihood(machine, X, F), rtol=1e-13)


def test_turning_all_spins_round_changes_nothing_without_fields() -> None:
    machine = tc.RBM(tc.Spin(9), tc.Spin(5), sigma=0.7, seed=0)
    X = np.random.default_rng(1).choice([-1.0, 1.0], (20, 9))
    assert_allclose(tc.pseudo_log_likelihood(machine, X), tc.pseudo_log_likelihood(machine, -X), rtol=1e-12)


@pytest.mark.usefixtures("all_threads")
def test_large_weights_and_other_dtypes() -> None:
    machine = random_rbm(2, sizes=(30, 20), sigma=300.0)
    X = np.random.default_rng(2).random((5000, 30)) < 0.5
    found = tc.pseudo_log_likelihood(machine, X)
    assert np.isfinite(found).all()
    assert (found <= 0).all()
    assert_array_equal(found, tc.pseudo_log_likelihood(machine, X.astype(np.uint8)))
    with thread_limit(1):
        assert_allclose(tc.pseudo_log_likelihood(machine, X), found, rtol=1e-12)
    single = tc.pseudo_log_likelihood(machine.replace(dtype="float32"), X)
    assert_allclose(single, found, rtol=1e-3)


def test_a_few_sites_estimate_all() -> None:
    machine = random_rbm(4, sizes=(40, 10), sigma=0.4)
    X = (np.random.default_rng(3).random((3000, 40)) < 0.5).astype(float)
    every = tc.pseudo_log_likelihood(machine, X)
    some = tc.pseudo_log_likelihood(machine, X, sites=8, seed=1)
    error = (some - every).std() / np.sqrt(len(X))
    assert error > 0
    assert abs((some - every).mean()) < 4 * error
    assert_array_equal(some, tc.pseudo_log_likelihood(machine, X, sites=8, seed=1))
    assert not np.array_equal(some, tc.pseudo_log_likelihood(machine, X, sites=8, seed=2))
    assert_allclose(tc.pseudo_log_likelihood(machine, X, sites=40), every, rtol=1e-12)


@pytest.mark.nojit
def test_bad_input_is_refused() -> None:
    machine = random_rbm(0)
    X = np.zeros((3, 7))
    for options, message in [({"sites": 0}, "sites"), ({"sites": 8}, "at most 7"), ({"seed": -1}, "seed")]:
        with pytest.raises(ValueError, match=message):
            tc.pseudo_log_likelihood(machine, X, **options)
    with pytest.raises(ValueError, match=r"X\[0, 0\]"):
        tc.pseudo_log_likelihood(machine, X + 0.5)
    with pytest.raises(ValueError, match="one of more values would need an integral, or a longer sum"):
        tc.pseudo_log_likelihood(random_rbm(0, "Gaussian"), X)
