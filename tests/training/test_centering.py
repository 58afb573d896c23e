"""Centred gradients: the steps of a machine written in what its units are above their averages."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_allclose

import tapcore as tc
from tapcore.training.plan import Plan
from tapcore.training.trainer import Trainer

RATE = 1e-3
HOW: dict[str, Any] = {
    "epochs": 2, "batch_size": 12, "chains": 12, "learning_rate": RATE, "momentum": 0, "penalty": None, "sweeps": 400,
    "chain_init": "data", "gradient": "tap", "seed": 0, "dtype": "float64",
}  # fmt: skip


def data(count: int, n: int = 9) -> np.ndarray:
    rng = np.random.default_rng(0)
    prototypes = rng.random((3, n)) < 0.6
    return (prototypes[rng.integers(3, size=count)] ^ (rng.random((count, n)) < 0.1)).astype(float)


def machine(*layers: tc.Unit, scale: float = 0.3) -> tc.Machine:
    rng = np.random.default_rng(1)
    made = tc.RBM(*layers, seed=0) if len(layers) == 2 else tc.DBM(*layers, seed=0)
    return made.replace(weights=[scale * rng.standard_normal(W.shape) for W in made.weights])


MACHINES = {
    "rbm": lambda: machine(tc.Binary(9, U=0.3), tc.Binary(6, U=-0.2)),
    "deep": lambda: machine(tc.Binary(9, U=0.3), tc.Binary(6, U=-0.2), tc.Binary(4), tc.Binary(3, U=0.5)),
    "mixed": lambda: machine(
        tc.Binary(9), tc.Gaussian(4, U=0.4, V=2.0), tc.GaussBernoulli(3, rho=0.4, U=1.0, V=2.0), scale=0.15
    ),
}


def batch_means(made: tc.Machine, X: np.ndarray) -> list[np.ndarray]:
    """Averages of all layers over samples."""
    if len(made.sizes) == 2:
        return [X.mean(axis=0), made.layers[1].moments(X @ made.weights[0], 0.0)[1].mean(axis=0)]
    found = tc.solve(made, X, fields=tc.Clamped(X), tol=1e-13)
    return [mean.mean(axis=0) for mean in found.mean]


def offsets(made: tc.Machine, X: np.ndarray) -> list[np.ndarray]:
    """Half way between averages over samples and over the chains that start from them."""
    found = tc.solve(made, X, tol=1e-13)
    return [(seen + m.mean(axis=0)) / 2 for seen, m in zip(batch_means(made, X), found.mean, strict=True)]


def written_centred(start: tc.Machine, at: list[np.ndarray], weights: list[np.ndarray]) -> tc.Machine:
    """`start` with other weights, the fields that units have where all others are at their centres as before."""
    fields = [np.array(layer.parameters["U"]) for layer in start.layers]
    for lower, (new, old) in enumerate(zip(weights, start.weights, strict=True)):
        fields[lower] -= (new - old) @ at[lower + 1]
        fields[lower + 1] -= at[lower] @ (new - old)
    pairs = zip(start.layers, fields, strict=True)
    layers = [layer.with_parameters({**layer.parameters, "U": field}) for layer, field in pairs]
    return start.replace(layers=layers, weights=weights)


def likelihood(made: tc.Machine, X: np.ndarray) -> float:
    return float(tc.log_likelihood(made, X, tc.solve(made, X, tol=1e-14).free_energy).mean())


@pytest.mark.parametrize("name", MACHINES)
def test_a_step_climbs_the_likelihood_as_a_function_of_centred_parameters(name: str) -> None:
    start, X = MACHINES[name](), data(12)
    trainer = Trainer(start, X, Plan.of(tc.Settings(**HOW, center=True), start, 12))
    trainer._train_batch(np.arange(12), RATE)
    now, at, small = trainer.snapshot(), offsets(start, X), 1e-4
    for lower, (before, after) in enumerate(zip(start.weights, now.weights, strict=True)):
        for i, j in ((0, 0), (1, 2), (3, 1)):
            ends = []
            for sign in (-1, 1):
                weights = [np.array(W) for W in start.weights]
                weights[lower][i % len(before), j] += sign * small
                ends.append(likelihood(written_centred(start, at, weights), X))
            slope = (ends[1] - ends[0]) / (2 * small)
            assert abs((after - before)[i % len(before), j] / RATE - slope) < 1e-6
    # Fields at the centres climb as in training without centring.
    plain = tc.gradient(start, X, tc.solve(start, X, tol=1e-13))
    moved_only = written_centred(start, at, list(now.weights))
    for mine, others, slopes in zip(now.layers, moved_only.layers, plain.layers, strict=True):
        assert_allclose((mine.parameters["U"] - others.parameters["U"]) / RATE, slopes["U"], atol=1e-8)


def flipped(made: tc.Machine, which: np.ndarray) -> tc.Machine:
    """The same distribution of ``1 - x`` in place of x, where `which` says so."""
    visible, hidden, *others = made.layers
    W = made.weights[0]
    sign = np.where(which, -1.0, 1.0)
    below = visible.with_parameters({"U": sign * visible.parameters["U"]})
    above = hidden.with_parameters({"U": hidden.parameters["U"] + which @ W})
    return made.replace(layers=(below, above, *others), weights=(sign[:, None] * W, *made.weights[1:]))


@pytest.mark.parametrize("name", ["rbm", "deep"])
def test_training_does_not_depend_on_what_is_called_1(name: str) -> None:
    """Momentum and penalty included; without centring it does."""
    start, X = MACHINES[name](), data(60)
    which = np.arange(9) % 2 == 0
    how = HOW | {"learning_rate": 0.1, "momentum": 0.5, "penalty": tc.L2(0.01), "sweeps": 10}
    how |= {"batch_size": 20, "pretrain": 0}
    distances = []
    for center in (True, False):
        one = tc.fit(start, X, **how, center=center).machine
        other = tc.fit(flipped(start, which), np.where(which, 1 - X, X), **how, center=center).machine
        expected = flipped(one, which)
        pairs = list(zip(other.weights, expected.weights, strict=True))
        pairs += [(a.parameters["U"], b.parameters["U"]) for a, b in zip(other.layers, expected.layers, strict=True)]
        distances.append(max(np.abs(a - b).max() for a, b in pairs))
    assert distances[0] < 1e-12
    assert distances[1] > 1e-3


@pytest.mark.parametrize("gradient", ["nmf", "tap3", "rbp", "adatap", "cd", "pcd", "ptt"])
def test_all_gradients_take_it(gradient: str) -> None:
    how = HOW | {"gradient": gradient, "learning_rate": 0.1, "sweeps": 3, "chain_init": None}
    start, X = machine(tc.Binary(9), tc.Binary(6)), data(60)
    plain, centred = (tc.fit(start, X, **how, center=center).machine for center in (False, True))
    assert np.isfinite(centred.weights[0]).all()
    assert np.isfinite(centred.layers[0].parameters["U"]).all()
    assert not np.allclose(plain.weights[0], centred.weights[0])


def test_machines_are_centred_unless_told_otherwise() -> None:
    X, how = data(60), HOW | {"learning_rate": 0.1, "sweeps": 5}
    for start in (MACHINES["rbm"](), MACHINES["deep"]()):
        asked = {center: tc.fit(start, X, **how, center=center).machine for center in (None, True, False)}
        assert asked[None] == asked[True] != asked[False]


def test_offsets_are_moving_averages_of_data_and_model() -> None:
    start, X = MACHINES["rbm"](), data(36)
    trainer = Trainer(start, X, Plan.of(tc.Settings(**HOW, center=True), start, len(X)))
    expected = [np.zeros(9), np.zeros(6)]
    for batch in range(3):
        rows = X[12 * batch : 12 * (batch + 1)]
        now = offsets(trainer.snapshot(), rows)
        rate = 0.01 if batch else 1.0
        expected = [old + rate * (new - old) for old, new in zip(expected, now, strict=True)]
        trainer._train_batch(np.arange(36), RATE)
        trainer.batch += 1
        for mine, theirs in zip(trainer.offsets.of, expected, strict=True):
            assert_allclose(mine, theirs, atol=1e-9)


@pytest.mark.parametrize("bad", [1, "yes", np.ones(2, bool)])
def test_what_is_not_a_truth_value_is_refused(bad: Any) -> None:
    with pytest.raises(ValueError, match="center must be True or False"):
        tc.fit(machine(tc.Binary(9), tc.Binary(6)), data(20), epochs=1, center=bad)
