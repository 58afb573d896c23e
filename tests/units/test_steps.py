"""Coordinates in which training moves units' parameters: uphill, within their ranges, and no stiffness."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

import tapcore as tc
from tapcore.training.moves import OfParameters
from tapcore.training.optimisers import Adam, Momentum
from tapcore.units import (
    Binary,
    GaussBernoulli,
    Gaussian,
    Spin,
    TruncatedGaussBernoulli,
    TruncatedGaussian,
    Unit,
)
from tapcore.units.mixed import Mixed
from tapcore.units.shared.real_steps import STEEPEST, RealSteps
from tapcore.units.steps import PlainSteps

RNG = np.random.default_rng(5)
ON = RNG.random((400, 3)) < 0.4
NOISE = RNG.uniform(-1.7, 1.7, (400, 3))


def narrow(mean: float, sd: float) -> np.ndarray:
    return mean + sd * NOISE


# A unit far from the data, and these: all are stiff in U and V.
FAR: dict[str, tuple[Unit, np.ndarray]] = {
    "too wide": (Gaussian(3, U=0.05, V=0.01), narrow(0.0, 0.1)),
    "too narrow": (Gaussian(3, U=0.0, V=1e4), narrow(0.0, 10.0)),
    "far from 0": (Gaussian(3, U=1000.0, V=1.0), narrow(1001.0, 0.2)),
    "near an end": (TruncatedGaussian(3, U=0.0, V=0.0), narrow(0.02, 0.003)),
    "at the wrong end": (TruncatedGaussian(3, U=-150.0, V=1.5), narrow(0.6, 0.07)),
    "interval far from 0": (TruncatedGaussian(3, U=0.0, V=0.0, lo=100, hi=101), narrow(100.7, 0.05)),
    "at both ends": (TruncatedGaussian(3, U=50.0, V=100.0), np.where(ON, narrow(0.05, 0.02), narrow(0.95, 0.02))),
    "slab far from 0": (GaussBernoulli(3, rho=0.5, U=30.0, V=1.0), narrow(30.0, 0.1)),
    "narrow slab": (GaussBernoulli(3, rho=0.9, U=0.0, V=1.0), np.where(ON, narrow(1.0, 0.12), 0.0)),
    "truncated slab": (TruncatedGaussBernoulli(3, rho=0.99, U=-3.0, V=1.0), np.where(ON, narrow(0.8, 0.06), 0.0)),
}
EVERY = pytest.mark.parametrize("case", FAR)


def likelihood(unit: Unit, X: np.ndarray) -> np.ndarray:
    return np.asarray((unit.log_weight(X) - unit.moments(0.0, 0.0)[0]).mean(axis=0))


def slopes(unit: Unit, X: np.ndarray) -> tuple[dict[str, Any], dict[str, Any]]:
    """Statistics of the unit's law, and the gradient of the likelihood of the data."""
    nothing = np.zeros((1, unit.columns), unit.dtype)
    _, mean, var = unit.moments(nothing, nothing)
    model = unit.statistics(mean, var, nothing, nothing)
    return model, {name: s - model[name] for name, s in unit.data_statistics(X).items()}


def climb(unit: Unit, X: np.ndarray, count: int, optimiser: Adam | Momentum, rate: float) -> Unit:
    parameters = {name: p.copy() for name, p in unit.parameters.items()}
    of = OfParameters(optimiser, [parameters])
    for _ in range(count):
        unit = unit.with_parameters(parameters)
        model, gradient = slopes(unit, X)
        steps = unit.steps(model)
        steps.take(parameters, of.directions([steps.slopes(gradient)])[0], rate)
    return unit.with_parameters(parameters)


@EVERY
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_a_small_step_is_uphill_for_every_unit_from_afar(case: str, dtype: Any) -> None:
    unit, X = FAR[case][0].astype(dtype), FAR[case][1].astype(dtype)
    moved = climb(unit, X, 1, Momentum(), 0.01)
    unit.check_parameters(moved.parameters)
    assert moved.dtype == dtype
    # Likelihoods in float64: of a law far from the data float32 keeps few digits.
    wide = X.astype(np.float64)
    gained = likelihood(moved.astype(np.float64), wide) - likelihood(unit.astype(np.float64), wide)
    assert np.all(gained > 0)


@EVERY
@pytest.mark.parametrize(("optimiser", "rate", "count"), [(Momentum(), 0.05, 300), (Adam(), 0.02, 1200)])
def test_what_begins_far_from_the_data_comes_to_their_fit(
    case: str, optimiser: Adam | Momentum, rate: float, count: int
) -> None:
    unit, X = FAR[case]
    found = climb(unit, X, count, optimiser, rate)
    unit.check_parameters(found.parameters)
    best = likelihood(unit.fitted(X), X)
    assert np.all(likelihood(unit, X) < best - 0.3)
    assert np.all(likelihood(found, X) > best - 0.1), likelihood(found, X) - best


@EVERY
def test_slopes_are_derivatives_along_steps(case: str) -> None:
    """A step of one coordinate gains what its slope says, up to a factor of V's."""
    unit, X = FAR[case]
    model, gradient = slopes(unit, X)
    steps = unit.steps(model)
    for name, slope in steps.slopes(gradient).items():
        along = {other: np.zeros(3) for other in gradient} | {name: np.ones(3)}
        ends = []
        for h in (-1e-4, 1e-4):
            parameters = {key: p.copy() for key, p in unit.parameters.items()}
            steps.take(parameters, along, h)
            ends.append({key: p - unit.parameters[key] for key, p in parameters.items()})
        promised = sum(gradient[key] * (ends[1][key] - ends[0][key]) for key in gradient) / 2e-4
        assert np.all(promised * slope >= 0)
        if name != "V" and np.all(np.abs(slope) < STEEPEST):
            assert_allclose(promised, slope, rtol=1e-3, atol=1e-7 * np.abs(gradient[name]).max())


@pytest.mark.parametrize("factor", [1e-3, 1.0, 1e3])
def test_gaussian_steps_do_not_depend_on_the_scale(factor: float) -> None:
    X = narrow(3.0, 0.5)
    of_one = climb(Gaussian(3, U=1.0, V=1.0), X, 20, Adam(), 0.01)
    scaled = climb(Gaussian(3, U=1 / factor, V=1 / factor**2), factor * X, 20, Adam(), 0.01)
    assert_allclose(scaled.V * factor**2, of_one.V, rtol=1e-6)
    assert_allclose(scaled.U * factor, of_one.U, rtol=1e-6)


def test_coordinates_are_adams_and_momentum_steps_in_the_parameters() -> None:
    unit, X = FAR["too wide"]
    model, gradient = slopes(unit, X)
    for optimiser, kind in ((Adam(), RealSteps), (Momentum(), PlainSteps)):
        steps = OfParameters(optimiser, [unit.parameters]).steps(unit, model)
        assert type(steps) is kind
    assert_array_equal(steps.slopes(gradient)["V"], gradient["V"])


def test_training_takes_them(monkeypatch: pytest.MonkeyPatch) -> None:
    taken: list[str] = []
    take = RealSteps.take
    monkeypatch.setattr(RealSteps, "take", lambda *words: (taken.append("real"), take(*words))[1])
    machine = tc.RBM(Gaussian(3), Binary(2), seed=0)
    for optimizer, expected in ((Adam(), ["real"]), (Momentum(), [])):
        taken.clear()
        tc.fit(machine, narrow(3.0, 0.5)[:50], epochs=1, batch_size=50, optimizer=optimizer, progress=False)
        assert taken == expected


@pytest.mark.parametrize("make", [Binary, Spin])
def test_units_of_two_states_step_in_their_fields(make: Callable[..., Unit]) -> None:
    unit = make(3, U=[0.1, -2.0, 5.0])
    gradient = {"U": np.array([0.3, -0.1, 0.2])}
    steps = unit.steps(gradient)
    assert_array_equal(steps.slopes(gradient)["U"], gradient["U"])
    parameters = {"U": unit.parameters["U"].copy()}
    steps.take(parameters, gradient, 0.7)
    assert_array_equal(parameters["U"], unit.parameters["U"] + 0.7 * gradient["U"])


def test_blocks_step_as_they_do_alone() -> None:
    blocks = Binary(2, U=0.3), TruncatedGaussian(3, U=5.0, V=20.0)
    layer = Mixed(*blocks)
    X = np.concatenate([ON[:, :2].astype(float), narrow(0.4, 0.1)], axis=1)
    moved = climb(layer, X, 3, Adam(), 0.01)
    for block, alone, part in zip(moved.blocks, blocks, (X[:, :2], X[:, 2:]), strict=True):
        assert block == climb(alone, part, 3, Adam(), 0.01)


def test_a_slab_without_a_weight_is_not_entered() -> None:
    """Beside zeros no rho belongs to a slab so narrow and so far from 0: rho stays one that can be told from 0."""
    X = np.where(ON, narrow(100.5, 0.05), 0.0)
    found = climb(TruncatedGaussBernoulli(3, lo=100, hi=101, U=0.0, V=0.0), X, 300, Momentum(), 0.05)
    assert np.all(found.rho > 1e3 * np.finfo(np.float64).tiny)
    assert np.all(np.abs(found.nonzero_probability(0.0, 0.0) - ON.mean(axis=0)) < 0.05)
