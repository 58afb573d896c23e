"""Chains whose hidden units are measured: what measurements add, and that chains then move as the law asks for."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cases import random_rbm
from numpy.testing import assert_allclose, assert_array_equal

import tapcore as tc
from tapcore.equations.compiled import compiled
from tapcore.inference.pinning import MOST_PINNING, Layers, Pinning
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
    pinning = Pinning((3, 2, 4), 50_000, np.dtype(np.float32), 2.5)
    pinning.values[0][:] = [1.0, 0.0]
    pinning.values[1][:] = [0.0, 1.0, -1.0, 0.5]
    pinning.measure(np.random.default_rng(0))
    for fields, values in zip(pinning.fields, pinning.values, strict=True):
        assert_allclose(fields.mean(axis=0), 2.5 * values[0], atol=0.04)
        assert_allclose(fields.std(axis=0), np.sqrt(2.5), rtol=0.02)
    B, A = pinning.whole(tuple(np.ones_like(x) for x in pinning.values), tuple(np.ones_like(x) for x in pinning.values))
    for b, a, fields in zip(B, A, pinning.fields, strict=True):
        assert_array_equal(b, 1 + fields)
        assert_array_equal(a, np.float32(3.5))
    # Sweeps read what is written to the fields.
    assert pinning.outside.values[: 2 * 50_000].tobytes() == pinning.fields[0].tobytes()


def test_values_begin_where_visible_ones_send_them() -> None:
    machine = tc.DBM(tc.Binary(2), tc.Binary(2), tc.Spin(1), weights=[np.diag([50.0, 50.0]) - 25, [[90.0], [0.0]]])
    pinning = Pinning(machine.sizes, 4, machine.dtype, 1.0)
    X, which = np.array([[1.0, 0], [0, 1], [1, 0], [0, 0]]), np.array([True, True, False, True])
    machine = machine.replace(layers=[machine.layers[0], tc.Binary(2), tc.Spin(1, U=-45.0)])
    pinning.begin(which, X, machine.layers, machine.weights, np.random.default_rng(0))
    assert_array_equal(pinning.values[0][:3], [[1, 0], [0, 1], [0, 0]])
    assert_array_equal(pinning.values[1][:3], [[1], [-1], [0]])


def data(n: int = 60) -> np.ndarray:
    rng = np.random.default_rng(0)
    return (rng.random((3, 10)) < 0.5)[rng.integers(3, size=n)] ^ (rng.random((n, 10)) < 0.1)


@pytest.mark.parametrize("layers", [(10, 4), (10, 5, 3)])
def test_runs_resume_to_the_bit(layers: tuple[int, ...], tmp_path: Path) -> None:
    make: Any = tc.RBM if len(layers) == 2 else tc.DBM
    machine, X = make(*map(tc.Binary, layers), seed=0), data()
    how: dict[str, Any] = {"learning_rate": 0.05, "chains": 20, "progress": False}
    whole = tc.fit(machine, X, epochs=6, **how).machine
    tc.fit(machine, X, epochs=3, pretrain=None if len(layers) == 2 else 6, **how, checkpoint=tmp_path)
    assert tc.fit(machine, X, epochs=6, **how, checkpoint=tmp_path, resume=True).machine == whole


def test_without_it_nothing_is_measured(tmp_path: Path) -> None:
    machine, X = tc.RBM(tc.Binary(10), tc.Binary(4), seed=0), data()
    tc.fit(machine, X, epochs=1, progress=False, checkpoint=tmp_path / "with")
    tc.fit(machine, X, epochs=1, progress=False, checkpoint=tmp_path / "without", pinning=0.0)
    from tapcore.storage import format as file_format

    kept = [file_format.read(tmp_path / name / "epoch-0001.safetensors") for name in ("with", "without")]
    assert [any(name.startswith("chains.value") for name in tensors) for _, tensors in kept] == [True, False]
    assert ["pinning" in header["settings"] for header, _ in kept] == [True, False]


@pytest.mark.parametrize(
    ("visible", "hidden", "expected"),
    [
        (tc.Binary(4), tc.Spin(2), 2.5),
        (tc.Spin(4), tc.Binary(2), 3.0),
        (tc.Gaussian(4), tc.Binary(2), 3.0),
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


def test_training_and_posteriors_take_the_same_ratios() -> None:
    assert tc.Settings(pinning=MOST_PINNING).pinning == MOST_PINNING
    with pytest.raises(ValueError, match="pinning must be at least 0 and at most"):
        tc.Settings(pinning=1.01 * MOST_PINNING)
