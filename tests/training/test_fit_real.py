"""Training with real-valued units: it climbs, resumes to the bit, stays feasible, and survives chains that are lost."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from cases import fit_as_paper
from numpy.testing import assert_array_equal
from unit_cases import PLAIN as UNITS
from unit_cases import samples

import tapcore as tc
from tapcore.units import Unit

REAL = ("Gaussian", "GaussBernoulli", "TruncatedGaussian", "TruncatedGaussBernoulli")


def correlated(kind: str, count: int = 300, n: int = 6) -> np.ndarray:
    """Samples of a unit type; in half of them columns come in alike pairs."""
    X = samples(kind, count, n, seed=4)
    X[::2, 1::2] = X[::2, ::2]
    return X


def fit(visible: Unit, hidden: Unit, X: np.ndarray, **options: object) -> tc.FitResult:
    machine = tc.RBM(visible, hidden, seed=2, sigma=0.1)
    settings = {"epochs": 3, "batch_size": 20, "chains": 20, "learning_rate": 0.01, "sweeps": 5, **options}
    return fit_as_paper(machine, X, **settings)


def likelihood(machine: tc.Machine, X: np.ndarray) -> float:
    solutions = tc.solve(machine, X[:20], tol=1e-12)
    assert solutions.converged.all()
    return float(tc.log_likelihood(machine, X, solutions.free_energy).mean())


# Every type on either side; all pairs are tested where no training has to be compiled.
PAIRS = [(kind, "Binary") for kind in UNITS] + [("Binary", kind) for kind in REAL] + [(kind, kind) for kind in REAL]


@pytest.mark.parametrize(("kind", "hidden"), PAIRS)
def test_a_step_gains_what_the_gradient_promises(kind: str, hidden: str) -> None:
    X = correlated(kind, 60)
    machine = tc.RBM(UNITS[kind].from_data(X), UNITS[hidden](3), seed=2, sigma=0.1)
    options = {"batch_size": 60, "chains": 20, "learning_rate": 1e-3, "momentum": 0.0, "penalty": None, "sweeps": 300}
    machine = fit_as_paper(machine, X, epochs=0, **options).machine  # where training starts from
    result = fit_as_paper(machine, X, epochs=1, **options)
    assert result.history.lost[0] == 0
    assert np.isfinite(result.history.to_array()[:, :-4]).all()  # the last columns are of held-out data and ladders
    # All starts lead to the one solution that so weak weights have.
    slope = tc.gradient(machine, X, tc.solve(machine, X[:20], tol=1e-12))
    gain = float((slope.weights[0] * (result.machine.weights[0] - machine.weights[0])).sum())
    for layer, before, g in zip(result.machine.layers, machine.layers, slope.layers, strict=True):
        type(layer).check_parameters(dict(layer.parameters))
        gain += sum(float((g[name] * (layer.parameters[name] - before.parameters[name])).sum()) for name in g)
    assert gain > 0
    assert likelihood(result.machine, X) - likelihood(machine, X) == pytest.approx(gain, rel=0.05)


@pytest.mark.parametrize("kind", REAL)
def test_a_default_visible_layer_is_fitted_and_keeps_its_support(kind: str) -> None:
    X = correlated(kind)
    ends = {"lo": -0.5, "hi": 2.0} if "lo" in UNITS[kind].fixed else {}
    result = fit(UNITS[kind](6, **ends), tc.Binary(3), X, epochs=1, learning_rate=0.0)
    assert result.machine.layers[0] == UNITS[kind].from_data(X, **ends)
    own = UNITS[kind](6, U=0.25, **ends)
    assert fit(own, tc.Binary(3), X, epochs=1, learning_rate=0.0).machine.layers[0].U[0] == 0.25


@pytest.mark.parametrize("kind", REAL)
def test_a_run_resumes_to_the_bit(kind: str, tmp_path: Path) -> None:
    X = correlated(kind)
    whole = fit(UNITS[kind](6), UNITS[kind](3), X, epochs=4, chain_init="persistent")
    fit(UNITS[kind](6), UNITS[kind](3), X, epochs=2, chain_init="persistent", checkpoint=tmp_path)
    rest = fit(UNITS[kind](6), UNITS[kind](3), X, epochs=4, chain_init="persistent", checkpoint=tmp_path, resume=True)
    assert rest.machine == whole.machine
    assert tc.load(tmp_path) == whole.machine


def strong(scale: float) -> tc.Machine:
    """Gaussian units with weights that leave some starts, not all, without a positive precision."""
    rng = np.random.default_rng(3)
    return tc.RBM(tc.Gaussian(6, U=0.1, V=1.0), tc.Binary(4, U=-4.0), weights=scale * rng.normal(0, 1, (6, 4)))


@pytest.mark.parametrize("chain_init", ["data", "persistent"])
def test_lost_chains_are_left_out_and_counted(chain_init: str) -> None:
    machine, X = strong(1.6), np.random.default_rng(5).normal(0, 1.0, (200, 6))
    result = fit_as_paper(
        machine,
        X,
        epochs=2,
        batch_size=50,
        chains=50,
        learning_rate=1e-4,
        sweeps=8,
        chain_init=chain_init,
        penalty=None,
    )
    lost = result.history.lost
    assert 0 < lost.min() < 50 * 5
    assert np.isfinite([result.history.log_likelihood, result.history.free_energy, result.history.residual]).all()
    assert np.isfinite(result.machine.weights[0]).all()
    assert all(np.isfinite(p).all() for layer in result.machine.layers for p in layer.parameters.values())


def test_training_stops_when_every_chain_is_lost() -> None:
    X = np.random.default_rng(5).normal(0, 1.0, (200, 6))
    machine = tc.RBM(tc.Gaussian(6, U=0.1), tc.Gaussian(4), weights=np.full((6, 4), 2.0))
    with pytest.raises(FloatingPointError, match=r"epoch 1: every chain was lost, as precisions turned negative"):
        fit_as_paper(machine, X, epochs=1, batch_size=50, chains=50, learning_rate=1e-4, sweeps=8)


def test_means_that_overflow_are_not_called_negative_precisions() -> None:
    # To the letter, the step in U and ln V is stiff for values that large.
    X = np.random.default_rng(6).normal(200.0, 60.0, (300, 5))
    machine = tc.RBM(tc.Gaussian.from_data(X), tc.Binary(3), seed=0)
    with pytest.raises(FloatingPointError, match=r"every chain was lost, as means or fields overflowed") as failed:
        fit_as_paper(machine, X, epochs=3, center=False)
    assert "precisions" not in str(failed.value)


def test_a_hopfield_network_recalls_its_patterns() -> None:
    """Gaussian hidden units over spins, weights the patterns over sqrt(n): TAP finds the patterns again."""
    rng = np.random.default_rng(0)
    patterns = rng.choice([-1.0, 1.0], (3, 200))
    machine = tc.RBM(tc.Spin(200), tc.Gaussian(3, V=0.5), weights=patterns.T / np.sqrt(200))
    noisy = patterns * np.where(rng.random(patterns.shape) < 0.15, -1, 1)
    solutions = tc.solve(machine, noisy)
    assert solutions.converged.all()
    overlaps = solutions.mean[0] @ patterns.T / 200
    assert np.all(np.diag(overlaps) > 0.9)
    assert_array_equal(np.sign(solutions.mean[0]), patterns)


def test_a_history_that_turns_nan_is_said_once() -> None:
    # Factors of unit variance on both sides: from some epoch on the equations leave no positive precisions.
    rng = np.random.default_rng(0)
    X = rng.normal(size=(300, 3)) @ rng.normal(size=(3, 8)) + 0.5 * rng.normal(size=(300, 8))
    X = (X - X.mean(axis=0)) / X.std(axis=0)
    with pytest.warns(UserWarning, match="no chain of the score has a finite free energy") as said:
        found = tc.fit(tc.RBM(tc.Gaussian(8), tc.Gaussian(3), seed=0), X, epochs=60, progress=False)
    assert np.isnan(found.history.log_likelihood).sum() > 1
    assert sum("no chain of the score" in str(one.message) for one in said) == 1
