"""Exact values by adding up states: against certified values, brute force, closed forms and derivatives."""

from __future__ import annotations

import naive
import numpy as np
import pytest
from cases import LISTED_SHAPES, MACHINES, both, close, library_machine, random_rbm
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal

import tapcore as tc
from tapcore._base.threads import thread_limit

EXACT = [name for name, entry in MACHINES.items() if "exact" in entry]


@pytest.mark.nojit
@pytest.mark.parametrize("name", EXACT)
def test_certified_values(name: str) -> None:
    certified = MACHINES[name]["exact"]
    machine = library_machine(MACHINES[name])
    close(tc.exact.log_z(machine), certified["lnZ_unnormalised"])
    found = tc.exact.moments(machine)
    close(found.log_z, certified["lnZ_unnormalised"])
    close(found.mean[0], certified["mean_v"])
    close(found.mean[1], certified["mean_h"])
    close(found.var[0] + found.mean[0] ** 2, certified["mean_v2"])
    close(found.pair[0], certified["mean_vh"])


@pytest.mark.nojit
@pytest.mark.parametrize("shape", LISTED_SHAPES)
def test_is_brute_force(shape: str) -> None:
    layers, weights, machine = both(shape, seed=1, sigma=0.7)
    expected = naive.enumerate_exact(layers, weights)
    found = tc.exact.moments(machine)
    assert found.log_z == pytest.approx(expected.log_z, rel=1e-13)
    assert found.log_z == tc.exact.log_z(machine)
    for layer, mean in enumerate(expected.mean):
        assert_allclose(found.mean[layer], mean, atol=1e-14)
        assert_allclose(found.var[layer], expected.square[layer] - mean**2, atol=1e-14)
        states = machine.layers[layer].levels
        share = (mean - states[0]) / (states[1] - states[0])
        p = tc.exact.marginals(machine, layer, [states[0], 0.3, states[1]])
        assert_allclose(p, [1 - share, 0 * share, share], atol=1e-14)
    for pair, second in zip(found.pair, expected.second, strict=True):
        assert_allclose(pair, second, atol=1e-14)
    if len(layers) == 2:
        X = np.random.default_rng(0).choice(machine.layers[0].levels, (5, machine.sizes[0]))
        F = -expected.log_z
        assert_allclose(tc.exact.log_likelihood(machine, X), naive.log_likelihood(layers, weights, X, F), rtol=1e-12)


@pytest.mark.parametrize("shape", ["gaussian-binary", "truncatedgaussian-spin", "truncatedgaussbernoulli-binary"])
def test_turned_round_it_is_the_same(shape: str) -> None:
    names = {"gaussian": "Gaussian", "truncatedgaussian": "TruncatedGaussian", "binary": "Binary", "spin": "Spin",
             "truncatedgaussbernoulli": "TruncatedGaussBernoulli"}  # fmt: skip
    machine = random_rbm(2, *(names[kind] for kind in shape.split("-")), sizes=(9, 8))
    turned = tc.RBM(machine.layers[1], machine.layers[0], weights=machine.weights[0].T)
    a, b = tc.exact.moments(machine), tc.exact.moments(turned)
    assert a.log_z == pytest.approx(b.log_z, rel=1e-14)
    assert_allclose(a.pair[0], b.pair[0].T, atol=1e-14)
    assert_allclose(a.mean[0], b.mean[1], atol=1e-14)


@pytest.mark.parametrize(
    ("visible", "hidden"),
    [
        ("Gaussian", "Binary"),
        ("TruncatedGaussian", "Spin"),
        ("TruncatedGaussBernoulli", "Binary"),
        ("Binary", "GaussBernoulli"),
    ],
)
def test_marginal_densities_have_the_moments(visible: str, hidden: str) -> None:
    machine = random_rbm(4, visible, hidden, sizes=(5, 8))
    real = 0 if machine.layers[0].levels is None else 1
    layer, found = machine.layers[real], tc.exact.moments(machine)
    lo, hi = (np.broadcast_to(end, layer.n) for end in layer.bounds())
    for i in range(layer.n):
        a, z = max(lo[i], -12.0), min(hi[i], 12.0)
        node, weight = np.polynomial.legendre.leggauss(400)
        x = (a + z) / 2 + (z - a) / 2 * node
        p = tc.exact.marginals(machine, real, x)[:, i] * weight * (z - a) / 2
        atom = tc.exact.marginals(machine, real, [0.0])[0, i] if "rho" in layer.parameters else 0.0
        assert p.sum() + atom == pytest.approx(1, abs=1e-10)
        assert p @ x == pytest.approx(found.mean[real][i], abs=1e-10)
        assert p @ x**2 - (p @ x) ** 2 == pytest.approx(found.var[real][i], abs=1e-10)


def test_gaussian_units_leave_a_closed_form() -> None:
    """ln Z of spins that a Gaussian unit couples: a sum over the magnetisation of a Curie-Weiss model."""
    n, w = 12, 0.4
    machine = tc.RBM(tc.Spin(n), tc.Gaussian(1, V=2.0), weights=np.full((n, 1), w))
    from scipy.special import comb, logsumexp

    k = np.arange(n + 1)
    m = 2 * k - n
    expected = logsumexp(np.log(comb(n, k)) + (w * m) ** 2 / 4.0) + 0.5 * np.log(2 * np.pi / 2.0)
    assert tc.exact.log_z(machine) == pytest.approx(expected, rel=1e-14)


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 10**6), scale=st.floats(0.01, 3.0))
def test_moments_are_derivatives_of_log_z(seed: int, scale: float) -> None:
    machine = random_rbm(seed, "Binary", "Spin", sizes=(4, 3), sigma=scale)
    found, step = tc.exact.moments(machine), 1e-5

    def log_z(i: int, j: int, change: float) -> float:
        W = np.array(machine.weights[0])
        W[i, j] += change
        return tc.exact.log_z(machine.replace(weights=(W,)))

    for i, j in [(0, 0), (3, 2), (2, 1)]:
        slope = (log_z(i, j, step) - log_z(i, j, -step)) / (2 * step)
        assert slope == pytest.approx(found.pair[0][i, j], abs=1e-8)
    first = machine.layers[0]
    moved = [
        tc.exact.log_z(machine.replace(layers=(tc.Binary(4, U=first.U + s * np.eye(4)[1]), machine.layers[1])))
        for s in (step, -step)
    ]
    assert (moved[0] - moved[1]) / (2 * step) == pytest.approx(found.mean[0][1], abs=1e-8)


def test_without_couplings_units_are_on_their_own() -> None:
    machine = random_rbm(5, "TruncatedGaussian", "Binary", sizes=(6, 9), sigma=0.0)
    expected = sum(float(layer.moments(0.0, 0.0)[0].sum()) for layer in machine.layers)
    found = tc.exact.moments(machine)
    assert found.log_z == pytest.approx(expected, rel=1e-14)
    assert_allclose(found.mean[0], machine.layers[0].moments(0.0, 0.0)[1], rtol=1e-13)
    assert_allclose(found.pair[0], np.outer(found.mean[0], found.mean[1]), rtol=1e-13)


@pytest.mark.usefixtures("all_threads")
def test_large_weights_do_not_overflow_and_threads_do_not_matter() -> None:
    machine = random_rbm(6, "Binary", "Binary", sizes=(300, 12), sigma=40.0)
    with thread_limit(1):
        alone = tc.exact.moments(machine)
    found = tc.exact.moments(machine)
    assert np.isfinite(found.log_z)
    assert found.log_z == alone.log_z
    for a, b in zip(found.mean + found.var + found.pair, alone.mean + alone.var + alone.pair, strict=True):
        assert np.isfinite(a).all()
        assert_array_equal(a, b)
    single = machine.replace(dtype="float32")
    assert tc.exact.log_z(single) == pytest.approx(found.log_z, rel=1e-6)


@pytest.mark.nojit
def test_what_cannot_be_added_up_is_refused() -> None:
    with pytest.raises(ValueError, match="at most 25 units whose states are added up, got 26"):
        tc.exact.log_z(random_rbm(0, sizes=(27, 26)))
    with pytest.raises(ValueError, match="binary or spin units in every second layer"):
        tc.exact.moments(random_rbm(0, "Gaussian", "TruncatedGaussian"))
    machine = random_rbm(0, "Gaussian", "Binary")
    for layer, x, message in [(2, [0.0], "layer must be below 2"), (0, [[0.0]], "x must have one dimension"),
                              (0, [np.nan], r"x\[0\]"), (-1, [0.0], "layer")]:  # fmt: skip
        with pytest.raises(ValueError, match=message):
            tc.exact.marginals(machine, layer, x)
    with pytest.raises(ValueError, match=r"X\[0, 1\]"):
        tc.exact.log_likelihood(random_rbm(0), np.eye(7) + np.eye(7, k=1) * 0.5)
    with pytest.raises(ValueError, match=r"machine must be a tapcore\.Machine"):
        tc.exact.log_z("machine")  # type: ignore[arg-type]
