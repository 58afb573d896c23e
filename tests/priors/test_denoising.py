"""A machine as a prior: channels, posteriors against enumeration, baselines, scores and refusals."""

from __future__ import annotations

import sys
from itertools import product
from typing import Any

import numpy as np
import pytest
from cases import random_rbm
from numpy.testing import assert_allclose, assert_array_equal
from unit_cases import EVERY_UNIT, make

import tapcore as tc


def binary(seed: int = 0, sigma: float = 0.05) -> tc.Machine:
    return random_rbm(seed, "Binary", "Binary", sizes=(7, 5), sigma=sigma)


def states(n: int, low: float = 0.0, high: float = 1.0) -> np.ndarray:
    return np.array(list(product([low, high], repeat=n)))


def exact_posterior(machine: tc.Machine, likelihood: Any) -> np.ndarray:
    """Posterior mean of two-state visible units by adding up all of their states; `likelihood(x)` (states,)."""
    x = states(machine.layers[0].n, *machine.layers[0].levels)  # type: ignore[misc]
    weights = tc.log_likelihood(machine, x, 0.0) + likelihood(x)
    p = np.exp(weights - weights.max())
    return p @ x / p.sum()


@pytest.mark.nojit
@pytest.mark.parametrize("p", [0.05, 0.2, 0.4])
def test_flips_have_the_posterior_of_enumeration(p: float) -> None:
    machine = binary()
    Y = np.random.default_rng(1).integers(0, 2, (4, 7))
    found = tc.posterior(machine, Y, tc.BinarySymmetric(p), tol=1e-10, pinning=0.0)
    for y, mean in zip(Y, found.mean, strict=True):
        exact = exact_posterior(machine, lambda x, y=y: ((x == y) * np.log((1 - p) / p)).sum(axis=1))
        assert_allclose(mean, exact, atol=2e-5)
    assert found.converged.all()
    assert_allclose(found.var, found.mean * (1 - found.mean), rtol=1e-10)
    assert_array_equal(found.mean, tc.denoise(machine, Y, tc.BinarySymmetric(p), tol=1e-10, pinning=0.0))


def test_flips_of_spins() -> None:
    machine = random_rbm(2, "Spin", "Binary", sizes=(6, 4), sigma=0.05)
    y, p = np.array([1.0, -1, 1, 1, -1, -1]), 0.1
    exact = exact_posterior(machine, lambda x: ((x == y) * np.log((1 - p) / p)).sum(axis=1))
    assert_allclose(tc.denoise(machine, y[None], tc.BinarySymmetric(p), pinning=0.0)[0], exact, atol=1e-4)


@pytest.mark.nojit
def test_no_noise_returns_what_was_seen_and_full_noise_says_nothing() -> None:
    machine = binary(sigma=1.0)
    Y = np.random.default_rng(1).integers(0, 2, (4, 7))
    found = tc.posterior(machine, Y, tc.BinarySymmetric(0.0), pinning=0.0)
    assert_array_equal(found.mean, Y)
    assert not found.var.any()
    prior = tc.Binary(7, U=np.linspace(-1, 1, 7))
    assert_allclose(tc.pointwise(prior, Y, tc.BinarySymmetric(0.0)), Y)
    blind = tc.pointwise(prior, Y, tc.BinarySymmetric(0.5))
    assert_allclose(blind, np.broadcast_to(prior.moments(0.0, 0.0)[1], (4, 7)), rtol=1e-14)


def test_pointwise_optimum_is_equation_45() -> None:
    m, p = np.array([0.1, 0.5, 0.8]), 0.2
    y = np.array([[1, 0, 0], [0, 1, 1]])
    prior = tc.Binary(3, U=np.log(m / (1 - m)))
    expected = 1 / (1 + (1 - m) / m * (p / (1 - p)) ** (2 * y - 1))
    assert_allclose(tc.pointwise(prior, y, tc.BinarySymmetric(p)), expected, rtol=1e-14)


def test_erased_units_have_the_conditional_mean_of_enumeration() -> None:
    machine = binary(3)
    Y = np.random.default_rng(1).integers(0, 2, (3, 7)).astype(float)
    mask = np.random.default_rng(2).random((3, 7)) < 0.5
    Y[mask] = np.nan
    found = tc.posterior(machine, Y, tc.Erasure(mask), tol=1e-10, pinning=0.0)
    for y, erased, mean in zip(Y, mask, found.mean, strict=True):
        exact = exact_posterior(machine, lambda x, y=y, e=erased: np.where((x == y)[:, ~e].all(axis=1), 0.0, -np.inf))
        assert_allclose(mean, exact, atol=2e-5)
        assert_array_equal(mean[~erased], y[~erased])
    whole = tc.denoise(machine, Y[:1], tc.Erasure(mask[0]), tol=1e-10, pinning=0.0)
    assert_allclose(whole[0], found.mean[0], atol=1e-8)


@EVERY_UNIT
def test_gaussian_noise_on_units_alone_is_conjugate(kind: str) -> None:
    """Without couplings the posterior is that of each unit, by quadrature or sum over its support."""
    unit = make(kind)
    machine = tc.RBM(unit, tc.Binary(2), weights=np.zeros((unit.n, 2)))
    y, t = np.linspace(-0.5, 0.9, unit.n)[None], 0.3
    found = tc.posterior(machine, y, tc.GaussianNoise(t), tol=1e-12, pinning=0.0)
    _, mean, var = unit.moments(y / t, 1 / t)
    assert_allclose(found.mean, mean, rtol=1e-12)
    assert_allclose(found.var, var, rtol=1e-12)
    if unit.levels is not None:
        low, high = unit.levels
        weights = [np.exp(-((y - s) ** 2) / (2 * t) + unit.log_weight(np.full(unit.n, s))) for s in (low, high)]
        assert_allclose(found.mean, (low * weights[0] + high * weights[1]) / sum(weights), rtol=1e-12)


def test_variances_of_noise_may_differ_from_unit_to_unit() -> None:
    machine = tc.RBM(tc.Gaussian(2, V=2.0), tc.Binary(1), weights=np.zeros((2, 1)))
    found = tc.denoise(machine, [[1.0, 1.0]], tc.GaussianNoise([0.5, 2.0]), pinning=0.0)
    assert_allclose(found, [[2.0 / 4.0, 0.5 / 2.5]], rtol=1e-12)


def test_deep_machines_are_priors_too() -> None:
    deep = tc.DBM(tc.Binary(5), tc.Binary(4), tc.Binary(3), sigma=0.1, seed=1)
    y, p = np.array([[1, 0, 1, 1, 0]]), 0.2
    found = tc.denoise(deep, y, tc.BinarySymmetric(p), tol=1e-10, pinning=0.0)
    D = np.log((1 - p) / p) * (2 * y[0] - 1)
    visible = tc.Binary(5, U=deep.layers[0].U + D)  # type: ignore[attr-defined]
    assert_allclose(found[0], tc.exact.moments(deep.replace(layers=(visible, *deep.layers[1:]))).mean[0], atol=1e-4)


def ferromagnet() -> tc.Machine:
    """Two solutions, almost all up and almost all down."""
    return tc.RBM(tc.Spin(8), tc.Spin(6), weights=np.full((8, 6), 0.45))


def test_of_several_starts_the_lowest_free_energy_wins() -> None:
    machine, channel = ferromagnet(), tc.BinarySymmetric(0.45)
    Y = np.array([[1.0] * 5 + [-1.0] * 3, [-1.0] * 8])
    wrong = tc.Spin(8, U=[-3.0] * 8)  # a prior that begins on the wrong side
    one = tc.posterior(machine, Y, channel, prior=wrong, pinning=0.0)
    many = tc.posterior(machine, Y, channel, prior=tc.Spin(8), starts=12, seed=1, combine="best")
    assert (one.mean[0] < 0).all()
    assert (many.mean[0] > 0).all()
    assert (many.free_energy <= one.free_energy + 1e-9).all()
    assert (many.mean[1] < 0).all()


def test_the_average_over_solutions_weighs_them_by_their_free_energy() -> None:
    machine, channel = ferromagnet(), tc.BinarySymmetric(0.48)
    Y = np.array([[1.0] * 5 + [-1.0] * 3])
    up, down = (tc.posterior(machine, Y, channel, prior=tc.Spin(8, U=u), pinning=0.0) for u in (3.0, -3.0))
    mixed = tc.posterior(machine, Y, channel, prior=tc.Spin(8), starts=30, combine="mean", pinning=0.0)
    share = 1 / (1 + np.exp(up.free_energy - down.free_energy))
    assert 0.5 < share[0] < 0.99
    mean = share * up.mean + (1 - share) * down.mean
    assert_allclose(mixed.mean, mean, atol=1e-4)
    assert_allclose(mixed.var, 1 - mean**2, atol=1e-4)
    assert mixed.converged.all()


def test_nearest_neighbours() -> None:
    X = np.array([[0, 0, 1, 1], [1, 1, 0, 0], [1, 0, 1, 0]])
    Y = np.array([[1, 1, 1, 0], [0, 0, 1, 1]])
    assert_array_equal(tc.nearest_neighbours(X, Y, tc.BinarySymmetric(0.1))[1], X[0])
    seen = tc.Erasure([True, True, False, False])
    assert_array_equal(tc.nearest_neighbours(X, [[np.nan, np.nan, 0, 0]], seen)[0], X[1])
    assert_allclose(tc.nearest_neighbours(X, Y, tc.BinarySymmetric(0.1), k=3), np.broadcast_to(X.mean(axis=0), (2, 4)))
    rng = np.random.default_rng(0)
    data, noisy = rng.random((300, 9)), rng.random((20, 9))
    brute = np.array([data[((data - y) ** 2).sum(axis=1).argmin()] for y in noisy])
    assert_array_equal(tc.nearest_neighbours(data, noisy, tc.GaussianNoise(0.1)), brute)
    masks = tc.Erasure(rng.random((20, 9)) < 0.5)  # of each its own
    brute = np.array(
        [
            data[((data - y)[:, ~m] ** 2).sum(axis=1).argsort()[:2]].mean(axis=0)
            for y, m in zip(noisy, masks.mask, strict=True)
        ]
    )
    assert_allclose(tc.nearest_neighbours(data, noisy, masks, k=2), brute, rtol=1e-13)
    assert tc.nearest_neighbours(data, noisy, tc.Erasure(np.ones(9, bool))).shape == (20, 9)
    with pytest.raises(ValueError, match="k must be at most 3"):
        tc.nearest_neighbours(X, Y, tc.BinarySymmetric(0.1), k=4)


def test_neighbours_do_not_depend_on_scikit_learn(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("sklearn.neighbors")
    rng = np.random.default_rng(1)
    data, noisy = rng.random((3000, 9)), rng.random((40, 9))
    channels = tc.GaussianNoise(0.1), tc.Erasure(np.arange(9) < 5)
    found = [tc.nearest_neighbours(data, noisy, channel, k=3) for channel in channels]
    monkeypatch.setitem(sys.modules, "sklearn.neighbors", None)
    for channel, by_scikit_learn in zip(channels, found, strict=True):
        assert_allclose(tc.nearest_neighbours(data, noisy, channel, k=3), by_scikit_learn, rtol=1e-13)


def test_baselines_say_what_they_lack() -> None:
    machine = tc.RBM(tc.Binary(3), tc.Binary(2))
    for prior in (None, machine):
        with pytest.raises(ValueError, match="prior must be a layer of units"):
            tc.pointwise(prior, [[0, 1, 1]], tc.BinarySymmetric(0.1))  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"channel must be tapcore\.BinarySymmetric"):
        tc.nearest_neighbours([[0, 1]], [[0, 1]], 0.1)  # type: ignore[arg-type]


BINARY, REAL = tc.RBM(tc.Binary(3), tc.Binary(2), seed=0), tc.RBM(tc.TruncatedGaussian(3), tc.Binary(2), seed=0)
GOOD = [[0, 1, 1]]


@pytest.mark.parametrize(
    ("machine", "Y", "channel", "options", "message"),
    [
        (BINARY, [[0, 1, 0.5]], tc.BinarySymmetric(0.1), {}, r"Y must be 0 or 1.*Y\[0, 2\] is 0.5"),
        (BINARY, [[0, 1, np.nan]], tc.BinarySymmetric(0.1), {}, r"Y must be finite: Y\[0, 2\]"),
        (BINARY, [[0, 1]], tc.BinarySymmetric(0.1), {}, "Y must have 3 columns"),
        (BINARY, [0, 1, 1], tc.BinarySymmetric(0.1), {}, "Y must have two axes"),
        (REAL, GOOD, tc.BinarySymmetric(0.1), {}, "needs visible units of two states, got TruncatedGaussian"),
        (BINARY, GOOD, tc.Erasure([True, False]), {}, r"mask must broadcast to \(1, 3\)"),
        (BINARY, GOOD, tc.Erasure([[True, False, True]] * 2), {}, r"mask must broadcast to \(1, 3\)"),
        (BINARY, [[0, np.nan, 1]], tc.Erasure([True, False, False]), {}, r"Y must be 0 or 1.*Y\[0, 1\] is nan"),
        (REAL, [[0, 1, 1.5]], tc.Erasure([True, False, False]), {}, r"Y\[0, 2\] is 1.5"),
        (REAL, [[0, 1, np.inf]], tc.GaussianNoise(0.1), {}, r"Y must be finite: Y\[0, 2\]"),
        (REAL, GOOD, tc.GaussianNoise([0.1, 0.2]), {}, "variance must be a number or an array of shape"),
        (BINARY, GOOD, 0.1, {}, "channel must be tapcore.BinarySymmetric, Erasure or GaussianNoise, got float"),
        (BINARY, GOOD, tc.BinarySymmetric(0.1), {"starts": 0}, "starts"),
        (BINARY, GOOD, tc.BinarySymmetric(0.1), {"combine": "all"}, "combine"),
        (BINARY, GOOD, tc.BinarySymmetric(0.1), {"pinning": 1e39}, "pinning must be at least 0 and at most 1e"),
        (BINARY, GOOD, tc.BinarySymmetric(0.1), {"pinning": -1.0}, "pinning must be at least 0"),
        (BINARY, GOOD, tc.BinarySymmetric(0.1), {"pinning": 1, "combine": "best"}, "pinning must be 0 or left out"),
        (BINARY, GOOD, tc.BinarySymmetric(0.1), {"starts": 10**15}, "starts"),
        (BINARY, GOOD, tc.BinarySymmetric(0.1), {"method": "rbp"}, "method"),
        (BINARY, GOOD, tc.BinarySymmetric(0.1), {"prior": tc.Binary(4)}, "prior must be a Binary layer of 3 units"),
        (BINARY, GOOD, tc.BinarySymmetric(0.1), {"prior": tc.Spin(3)}, "of 3 units, got Spin of 3"),
        (BINARY, GOOD, tc.BinarySymmetric(0.1), {"prior": np.zeros((9, 3))}, "of 3 units, got ndarray$"),
        (BINARY, GOOD, tc.BinarySymmetric(0.1), {"seed": -1}, "seed"),
        ("machine", GOOD, tc.BinarySymmetric(0.1), {}, "machine must be a tapcore.Machine"),
    ],
)
def test_what_makes_no_sense_is_refused(machine: Any, Y: Any, channel: Any, options: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        tc.denoise(machine, Y, channel, **options)


@pytest.mark.parametrize("channel", [tc.BinarySymmetric(0.2), tc.Erasure(np.arange(7) > 3), tc.GaussianNoise(0.3)])
def test_single_precision_comes_close(channel: Any) -> None:
    machine = binary(sigma=0.5)
    Y = np.random.default_rng(1).integers(0, 2, (4, 7))
    found = tc.posterior(machine.replace(dtype="float32"), Y, channel, prior=tc.Binary(7, U=0.5), pinning=0.0)
    assert found.mean.dtype == np.float32
    wide = tc.posterior(machine, Y, channel, prior=tc.Binary(7, U=0.5), pinning=0.0)
    assert_allclose(found.mean, wide.mean, atol=1e-5)
    assert_allclose(found.var, wide.var, atol=1e-5)
    assert_allclose(found.free_energy, wide.free_energy, rtol=1e-6)


OFFSETS, SCALES = (0.0, 1e4, 1e8), (1e-150, 1.0, 1e150)


@pytest.mark.parametrize("scale", SCALES)
@pytest.mark.parametrize("offset", OFFSETS)
@pytest.mark.parametrize("masks", ["none", "one", "rows"])
def test_neighbours_at_any_offset_and_scale(offset: float, scale: float, masks: str) -> None:
    rng = np.random.default_rng(4)
    shape, count = (5000, 9), 60  # more than one block of samples
    data = scale * (offset + rng.random(shape))
    noisy = data[rng.permutation(len(data))[:count]] + 0.2 * scale * rng.standard_normal((count, 9))
    erased = {"none": np.zeros(9, bool), "one": np.arange(9) % 2 == 0, "rows": rng.random((count, 9)) < 0.5}[masks]
    channel = tc.Erasure(erased)
    away, seen = (data - data[0]) / scale, channel.observed((count, 9))
    brute = [
        ((away - (y - data[0]) / scale)[:, s] ** 2).sum(axis=1).argsort(kind="stable")[:2]
        for y, s in zip(noisy, seen, strict=True)
    ]
    expected = np.array([away[b].mean(axis=0) for b in brute])
    found = (tc.nearest_neighbours(data, noisy, channel, k=2) - data[0]) / scale
    assert_allclose(found, expected, atol=1e-6)


def test_float32_neighbours_at_an_offset() -> None:
    rng = np.random.default_rng(5)
    data = (1e4 + rng.random((400, 9))).astype(np.float32)
    noisy, masks = data[:200] + np.float32(0.01), rng.random((200, 9)) < 0.2
    assert_array_equal(tc.nearest_neighbours(data, noisy, tc.Erasure(masks)), data[:200])


@pytest.mark.parametrize("whole", [True, False])
def test_of_equal_neighbours_the_first_is_taken(whole: bool) -> None:
    rng = np.random.default_rng(6)
    data = rng.integers(0, 2, (9000, 8)) * (1.0 if whole else 0.1)
    noisy, mask = data[:30], rng.random((30, 8)) < 0.7
    mask[0] = True  # nothing is seen: all are as near
    mask = np.concatenate([mask, np.ones((1, 8), bool)])
    noisy = np.concatenate([noisy, np.full((1, 8), np.nan)])
    pairs = zip(np.nan_to_num(noisy), mask, strict=True)
    brute = np.array([data[((data - y)[:, ~m] ** 2).sum(axis=1).argmin()] for y, m in pairs])
    assert_array_equal(tc.nearest_neighbours(data, noisy, tc.Erasure(mask)), brute)


@pytest.mark.filterwarnings("error")
def test_neighbours_refuse_what_is_not_finite() -> None:
    data = np.eye(3)
    with pytest.raises(ValueError, match=r"^X must be finite: X\[1, 0\] is nan"):
        tc.nearest_neighbours([[0.0, 1], [np.nan, 0]], [[0, 1]], tc.GaussianNoise(1))
    with pytest.raises(ValueError, match=r"^Y must be finite where it is observed: Y\[0, 2\] is nan"):
        tc.nearest_neighbours(data, [[0, 1, np.nan]], tc.GaussianNoise(1))
    assert_array_equal(tc.nearest_neighbours(data, [[0, np.nan, 1]], tc.Erasure([False, True, False])), data[2:])


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("combine", ["best", "mean"])
def test_images_of_which_nothing_is_seen(combine: str) -> None:
    nothing = np.full((2, 3), np.nan)
    channel = tc.Erasure(np.isnan(nothing))
    found = tc.denoise(BINARY, nothing, channel, starts=3, combine=combine)
    assert np.isfinite(found).all()
    assert np.isfinite(tc.pointwise(BINARY.layers[0], nothing, channel)).all()


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("combine", ["best", "mean"])
def test_observations_of_which_every_chain_is_lost(combine: str) -> None:
    machine = tc.RBM(tc.Gaussian(4), tc.Gaussian(3), weights=np.full((4, 3), 3.0))  # no law: W W' is above 1
    with pytest.warns(UserWarning, match="posterior: 2 of 2 observations have no posterior that was found"):
        found = tc.posterior(machine, np.zeros((2, 4)), tc.GaussianNoise(100.0), starts=3, combine=combine)
    for x in (found.mean, found.var, found.free_energy):
        assert np.isnan(x).all()
    assert not found.converged.any()


def test_neighbours_refuse_values_whose_squares_overflow() -> None:
    X = np.random.default_rng(0).normal(size=(10, 3))
    for Y in (X * 1e200, np.concatenate([X, [[1e200, 0.0, 0.0]]])):
        with pytest.raises(ValueError, match="X and Y must hold values of at most 1e"):
            tc.nearest_neighbours(Y, X, tc.GaussianNoise(1.0))
