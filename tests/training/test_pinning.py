"""Chains whose hidden units are measured: what measurements add, and that chains then move as the law asks for."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cases import random_rbm
from numpy.testing import assert_allclose, assert_array_equal

import tapcore as tc
from tapcore.equations.compiled import compiled
from tapcore.equations.layers import empty_state
from tapcore.inference.pinning import KEPT, MOST_PINNING, Layers, Pinning, posterior_ratio
from tapcore.storage import format as file_format
from tapcore.training.phases import phase_for
from tapcore.training.plan import Plan
from tapcore.units.sites import MOMENTS


def chains(machine: tc.Machine, batches: int, start: np.ndarray, **options: Any) -> list[Layers]:
    """What the gradient averages over in each of so many batches, the machine staying as it is: means, and products."""
    settings = tc.Settings(epochs=1, chains=len(start), dtype="float64", renew=0.0, **options)
    phase = phase_for(machine, Plan.of(settings, machine, 100))
    own = compiled(machine.layers, machine.weights, 2, MOMENTS)
    phase.start(start)
    models = []
    for batch in range(batches):
        phase.run(lambda: machine, own, (0, batch))
        (a, b), (c, d) = (phase.model(machine.layers, slice(None)).moments)[:2]
        models.append((a.mean(0), b.mean(0), (a.T @ b + machine.weights[0] * (c.T @ d)) / len(a)))
    return models


def averages(models: list[Layers]) -> Layers:
    """Of visible and hidden units and of their products, over batches."""
    return tuple(np.mean(rows, axis=0) for rows in zip(*models, strict=True))


def test_chains_share_themselves_out_among_solutions_as_the_law_does() -> None:
    # All up or all down, and which of the two equations cannot tell but from where a chain is.
    machine = tc.RBM(tc.Spin(12, U=0.02), tc.Spin(8), weights=np.full((12, 8), 0.14))
    exact = tc.exact.moments(machine)
    assert_allclose(exact.mean[0], 0.125, atol=1e-3)
    for start in (1.0, -1.0):
        X = np.full((200, 12), start)
        alone = averages(chains(machine, 50, X, pinning=0.0))
        assert abs(alone[0][0] - exact.mean[0][0]) > 0.5
        pinned = averages(chains(machine, 400, X, pinning=2.0)[100:])
        assert_allclose(pinned[0], exact.mean[0], atol=0.15)
        assert_allclose(pinned[1], exact.mean[1], atol=0.15)
        assert_allclose(pinned[2], exact.pair[0], atol=0.05)


@pytest.mark.parametrize(("kinds", "sigma"), [(("Binary", "Binary"), 1.5), (("TruncatedGaussBernoulli", "Spin"), 0.9)])
def test_averages_come_nearer_to_the_law_s(kinds: tuple[str, str], sigma: float) -> None:
    machine = random_rbm(3, *kinds, sizes=(8, 5), sigma=sigma)
    exact = tc.exact.moments(machine)
    X = tc.sample(machine, 300, sweeps=50, progress=False)
    worst = []
    for ratio in (0.0, 1.0):
        found = averages(chains(machine, 150, X, pinning=ratio)[30:])
        worst.append(max(float(np.abs(a - b).max()) for a, b in zip(found, (*exact.mean, exact.pair[0]), strict=True)))
    assert worst[1] < 0.35 * worst[0]


def test_gaussian_units_for_which_equations_are_exact_stay_so() -> None:
    machine = random_rbm(2, "Gaussian", "Gaussian", sizes=(8, 5), sigma=0.25)
    (U, V), (Y, S) = ((layer.parameters["U"], layer.parameters["V"]) for layer in machine.layers)
    W = machine.weights[0]
    covariance = np.linalg.inv(np.block([[np.diag(V), -W], [-W.T, np.diag(S)]]))
    mean = covariance @ np.concatenate([U, Y])
    found = averages(chains(machine, 300, np.zeros((300, 8)), pinning=2.0)[20:])
    assert_allclose(np.concatenate(found[:2]), mean, atol=0.01)
    assert_allclose(found[2], covariance[:8, 8:] + np.outer(mean[:8], mean[8:]), atol=0.01)


def test_measurements_are_of_the_values_with_the_noise_that_the_ratio_says() -> None:
    count, ratio = 50_000, 2.5
    pinning = Pinning((3, 2, 4), count, np.dtype(np.float32), ratio)
    machine = tc.DBM(tc.Binary(3), tc.Binary(2), tc.Spin(4, U=0.5), dtype="float32", sigma=1e-9, seed=0)
    state = empty_state(machine.sizes, count, 1, machine.dtype)
    rng = np.random.default_rng(0)
    pinning.begin(np.ones(count, np.bool_), state, machine.layers, machine.weights, rng)
    for values in pinning.values:
        values[:] = values[0]  # the law of measurements is that of these after a while
    for _ in range(30):
        pinning.measure(rng)
    before = [fields.copy() for fields in pinning.fields]
    pinning.measure(rng)
    for fields, old, values in zip(pinning.fields, before, pinning.values, strict=True):
        assert_allclose(fields.mean(axis=0), ratio * values[0], atol=0.04)
        assert_allclose(fields.std(axis=0), np.sqrt(ratio), rtol=0.02)
        noise, earlier = fields - ratio * values, old - ratio * values
        assert_allclose((noise * earlier).mean(axis=0), KEPT * ratio, atol=0.05)
    B, A = pinning.whole(tuple(np.ones_like(x) for x in pinning.values), tuple(np.ones_like(x) for x in pinning.values))
    for b, a, fields in zip(B, A, pinning.fields, strict=True):
        assert_array_equal(b, 1 + fields)
        assert_array_equal(a, np.float32(1 + ratio))
    # Sweeps read what is written to the fields.
    assert pinning.outside.values[: 2 * count].tobytes() == pinning.fields[0].tobytes()


def test_chains_begin_where_visible_ones_send_them() -> None:
    weights = [np.diag([50.0, 50.0]) - 25, np.array([[90.0], [0.0]])]
    machine = tc.DBM(tc.Binary(2), tc.Binary(2), tc.Spin(1, U=-45.0), weights=weights)
    pinning = Pinning(machine.sizes, 4, machine.dtype, 1e4)
    state = empty_state(machine.sizes, 4, 1, machine.dtype)
    X, which = np.array([[1.0, 0], [0, 1], [1, 0], [0, 0]]), np.array([True, True, False, True])
    state.mean[0][:] = X
    state.A[1][:] = 7.0
    pinning.begin(which, state, machine.layers, machine.weights, np.random.default_rng(0))
    first, second = np.array([[1.0, 0], [0, 1], [0, 0]]), np.array([[1.0], [-1], [0]])
    assert_array_equal(pinning.values[0][:3], first)
    assert_array_equal(pinning.values[1][:3], second)
    # Measured from the beginning, and odd layers have what their neighbours' values send.
    assert_allclose(pinning.fields[0][:2], 1e4 * first[:2], atol=400)
    assert_allclose(pinning.fields[1][:2], 1e4 * second[:2], atol=400)
    assert_allclose(state.B[1][:2], X[:2] @ weights[0] + second[:2] @ weights[1].T)
    assert_array_equal(state.A[1][:, 0], [0, 0, 7, 0])
    assert_array_equal(state.B[1][2], 0)
    assert_array_equal(pinning.fields[0][2], 0)


def data(n: int = 60) -> np.ndarray:
    rng = np.random.default_rng(0)
    return (rng.random((3, 10)) < 0.5)[rng.integers(3, size=n)] ^ (rng.random((n, 10)) < 0.1)


@pytest.mark.parametrize("layers", [(10, 4), (10, 5, 3)])
def test_runs_resume_to_the_bit(layers: tuple[int, ...], tmp_path: Path) -> None:
    make: Any = tc.RBM if len(layers) == 2 else tc.DBM
    # Weights are large enough for two sweeps not to forget where chains were.
    weights = [np.random.default_rng(0).normal(size=shape) for shape in pairwise(layers)]
    machine, X = make(*map(tc.Binary, layers), weights=weights if len(layers) > 2 else weights[0]), data()
    how: dict[str, Any] = {"learning_rate": 0.05, "chains": 20, "progress": False}
    whole = tc.fit(machine, X, epochs=6, **how).machine
    tc.fit(machine, X, epochs=3, pretrain=None if len(layers) == 2 else 6, **how, checkpoint=tmp_path)
    assert tc.fit(machine, X, epochs=6, **how, checkpoint=tmp_path, resume=True).machine == whole


def test_runs_whose_measurements_kept_no_noise_are_not_gone_on_with(tmp_path: Path) -> None:
    machine, X = tc.RBM(tc.Binary(10), tc.Binary(4), seed=0), data()
    how: dict[str, Any] = {"learning_rate": 0.05, "chains": 20, "progress": False, "checkpoint": tmp_path}
    tc.fit(machine, X, epochs=1, **how)
    path = tmp_path / "epoch-0001.safetensors"
    header, tensors = file_format.read(path)
    settings = {name: value for name, value in header["settings"].items() if name != "measurements_kept"}
    file_format.write(path, header | {"settings": settings}, tensors)
    with pytest.raises(ValueError, match="resume: measurements_kept contradicts"):
        tc.fit(machine, X, epochs=2, **how, resume=True)


@pytest.mark.parametrize("sweeps", [1, 2])
def test_hidden_units_have_the_last_word(sweeps: int) -> None:
    # By naive mean field their fields are then those of the visible means as they are.
    machine = random_rbm(3, "Binary", "Binary", sizes=(8, 5), sigma=1.0)
    settings = tc.Settings(epochs=1, gradient="nmf", chains=6, dtype="float64", sweeps=sweeps, pinning=1.0, renew=0.0)
    phase: Any = phase_for(machine, Plan.of(settings, machine, 100))
    own = compiled(machine.layers, machine.weights, 1, MOMENTS)
    phase.start(np.random.default_rng(0).random((6, 8)))
    for batch in range(2):
        phase.run(lambda: machine, own, (0, batch))
        state = phase.chains.state
        assert_allclose(state.B[1], state.mean[0] @ machine.weights[0], rtol=1e-12, atol=1e-14)
        phase.model(machine.layers, slice(None))


def test_without_it_nothing_is_measured(tmp_path: Path) -> None:
    machine, X = tc.RBM(tc.Binary(10), tc.Binary(4), seed=0), data()
    tc.fit(machine, X, epochs=1, progress=False, checkpoint=tmp_path / "with")
    tc.fit(machine, X, epochs=1, progress=False, checkpoint=tmp_path / "without", pinning=0.0)
    kept = [file_format.read(tmp_path / name / "epoch-0001.safetensors") for name in ("with", "without")]
    assert [any(name.startswith("chains.value") for name in tensors) for _, tensors in kept] == [True, False]
    assert ["pinning" in header["settings"] for header, _ in kept] == [True, False]


@pytest.mark.parametrize(
    ("visible", "hidden", "expected"),
    [
        (tc.Binary(4), tc.Spin(2), 2.5),
        (tc.Spin(4), tc.Binary(2), 20.0),
        (tc.Gaussian(4), tc.Binary(2), 20.0),
        (tc.GaussBernoulli(4), tc.Binary(2), 0.0),
        (tc.TruncatedGaussian(4), tc.Binary(2), 0.0),
        (tc.Binary(4), tc.Gaussian(2), 0.0),
        (tc.Gaussian(4), tc.Gaussian(2), 0.0),
    ],
)
def test_units_are_measured_by_default_where_training_gains_by_it(visible: Any, hidden: Any, expected: float) -> None:
    machine = tc.RBM(visible, hidden)
    assert Plan.of(tc.Settings(), machine, 100).pinning == expected
    assert Plan.of(tc.Settings(gradient="pcd"), machine, 100).pinning == 0.0
    assert Plan.of(tc.Settings(pinning=0.5), machine, 100).pinning == 0.5


@pytest.mark.parametrize(
    ("hidden", "ratio", "chains"),
    [(10, 20.0, 50), (20, 15.0, 50), (60, 5.0, 50), (100, 3.0, 50), (400, 1.5, 80), (900, 1.0, 100)],
)
def test_few_hidden_units_are_measured_closely_and_many_by_more_chains(hidden: int, ratio: float, chains: int) -> None:
    machine = tc.RBM(tc.Binary(4), tc.Binary(hidden))
    plan = Plan.of(tc.Settings(), machine, 100)
    assert (plan.pinning, plan.chains) == (pytest.approx(ratio), chains)
    assert posterior_ratio(machine) == min(3.0, plan.pinning)
    assert Plan.of(tc.Settings(gradient="pcd"), machine, 100).chains == 100
    deep = tc.DBM(tc.Binary(4), tc.Binary(hidden // 2), tc.Binary(hidden - hidden // 2))
    assert Plan.of(tc.Settings(), deep, 100).pinning == plan.pinning


@pytest.mark.parametrize("hidden", [6, 16])
def test_defaults_do_not_lose_what_few_hidden_units_have_learned(hidden: int) -> None:
    pytest.importorskip("sklearn", reason="the digits are scikit-learn's")
    X = tc.datasets.load("digits")
    machine = tc.fit(tc.RBM(tc.Binary(64), tc.Binary(hidden), seed=0), X, epochs=80, progress=False).machine
    independent = tc.RBM(tc.Binary.from_data(X), tc.Binary(hidden), sigma=0)
    gain = tc.exact.log_likelihood(machine, X).mean() - tc.exact.log_likelihood(independent, X).mean()
    assert gain > 4


def test_noisy_starts_are_refused_where_no_chain_starts_from_samples() -> None:
    machine = tc.RBM(tc.Binary(4), tc.Binary(3))
    with pytest.raises(ValueError, match="noisy starts are of chains that start from samples"):
        Plan.of(tc.Settings(noisy=0.5), machine, 100)
    for started in (tc.Settings(noisy=0.5, renew=0.1), tc.Settings(noisy=0.5, chain_init="data")):
        assert Plan.of(started, machine, 100).noisy == 0.5


def test_training_and_posteriors_take_the_same_ratios() -> None:
    assert tc.Settings(pinning=MOST_PINNING).pinning == MOST_PINNING
    with pytest.raises(ValueError, match="pinning must be at least 0 and at most"):
        tc.Settings(pinning=1.01 * MOST_PINNING)
