"""Gradients: against the readable reference, finite differences of the log-likelihood, and training steps."""

from __future__ import annotations

from pathlib import Path

import naive
import numpy as np
import pytest
from cases import MACHINES, POINTS, fit_as_paper, library_machine, random_rbm
from numpy.testing import assert_allclose

import tapcore as tc
from tapcore.training import gradient as module

PAIRS = [("Binary", "Binary"), ("Spin", "Spin"), ("Binary", "Spin"), ("Spin", "Binary")]


def samples(machine: tc.Machine, count: int, seed: int = 5) -> np.ndarray:
    states = [-1.0, 1.0] if isinstance(machine.layers[0], tc.Spin) else [0.0, 1.0]
    return np.random.default_rng(seed).choice(states, (count, machine.sizes[0]))


def reference(machine: tc.Machine) -> tuple[list[naive.Layer], list[np.ndarray]]:
    layers = [[{"kind": type(layer).__name__.lower(), "U": float(u)} for u in layer.U] for layer in machine.layers]
    return layers, list(machine.weights)


@pytest.mark.nojit
@pytest.mark.parametrize("method", ["tap", "nmf", "tap3"])
@pytest.mark.parametrize(("visible", "hidden"), PAIRS)
def test_agrees_with_the_reference(visible: str, hidden: str, method: str) -> None:
    machine = random_rbm(1, visible, hidden)
    X = samples(machine, 9)
    # A few sweeps only: the formula holds for any chains, converged or not.
    solutions = tc.solve(machine, X[:4], method=method, tol=0, max_sweeps=3, acceleration=None)
    states = [naive.State([m[k] for m in solutions.mean], [v[k] for v in solutions.var]) for k in range(4)]
    expected = naive.gradient(*reference(machine), X, states, method)
    found = tc.gradient(machine, X, solutions)
    assert_allclose(found.weights[0], expected["W"][0], rtol=0, atol=1e-14)
    for layer in (0, 1):
        assert_allclose(found.layers[layer]["U"], expected["U"][layer], rtol=0, atol=1e-14)


DERIVED = [(name, POINTS[key]) for name, machine in MACHINES.items() for key in POINTS if key in machine]


@pytest.mark.parametrize(("name", "method"), DERIVED)
def test_is_the_derivative_of_the_log_likelihood(name: str, method: str) -> None:
    """Finite differences with solutions converged anew at each end."""
    machine = library_machine(MACHINES[name])
    X = np.array(MACHINES[name]["X"])
    solutions = tc.solve(machine, X, method=method, tol=1e-15)
    gradient = tc.gradient(machine, X, solutions)

    def likelihood(moved: tc.Machine) -> float:
        found = tc.solve(moved, solutions, method=method, tol=1e-15)
        return float(tc.log_likelihood(moved, X, found.free_energy).mean())

    def slope(make: object, step: float = 1e-5) -> float:
        return (likelihood(make(step)) - likelihood(make(-step))) / (2 * step)  # type: ignore[operator]

    for i, j in [(0, 0), (1, 1), (-1, -1)]:
        bump = np.zeros(machine.sizes)
        bump[i, j] = 1
        found = slope(lambda step, b=bump: machine.replace(weights=(machine.weights[0] + step * b,)))
        assert found == pytest.approx(gradient.weights[0][i, j], abs=2e-9)
    for layer, i, name in [(side, i, name) for side, i in ((0, 1), (1, -1)) for name in gradient.layers[side]]:

        def with_parameter(step: float, layer: int = layer, i: int = i, name: str = name) -> tc.Machine:
            layers = list(machine.layers)
            parameters = {key: np.array(value) for key, value in layers[layer].parameters.items()}
            parameters[name][i] += step
            layers[layer] = type(layers[layer])(layers[layer].n, **parameters)
            return machine.replace(layers=layers)

        # Derivatives with respect to rho grow like its inverse powers, and so do errors of differences.
        allowed = 2e-8 if name == "rho" else 2e-9
        assert slope(with_parameter) == pytest.approx(gradient.layers[layer][name][i], abs=allowed)


@pytest.mark.parametrize("dtype", ["bool", "uint8", "float32", "float64"])
def test_any_dtype_and_many_samples(dtype: str) -> None:
    """Samples are taken in parts; the parts add up to the average over all."""
    machine = random_rbm(2)
    X = samples(machine, 2 * module.SAMPLES_AT_ONCE + 17)
    solutions = tc.solve(machine, X[:3])
    whole = tc.gradient(machine, X.astype(dtype), solutions)
    hidden_means = machine.layers[1].moments(X @ machine.weights[0], 0.0)[1]
    a, c = solutions.mean, solutions.var
    model = (a[0].T @ a[1] + machine.weights[0] * (c[0].T @ c[1])) / 3
    assert_allclose(whole.weights[0], X.T @ hidden_means / len(X) - model, atol=1e-13)
    assert_allclose(whole.layers[1]["U"], hidden_means.mean(0) - a[1].mean(0), atol=1e-13)


def test_memory_mapped_samples(tmp_path: Path) -> None:
    machine = random_rbm(3)
    X = samples(machine, 30)
    np.save(tmp_path / "x.npy", X.astype(np.uint8))
    solutions = tc.solve(machine, X[:3])
    mapped = np.load(tmp_path / "x.npy", mmap_mode="r")
    assert_allclose(tc.gradient(machine, mapped, solutions).weights[0], tc.gradient(machine, X, solutions).weights[0])


def test_float32_machine() -> None:
    machine = random_rbm(4)
    X = samples(machine, 30)
    solutions = tc.solve(machine, X[:3])
    narrow = machine.replace(dtype="float32")
    found = tc.gradient(narrow, X, tc.solve(narrow, X[:3]))
    assert found.weights[0].dtype == np.float64
    assert_allclose(found.weights[0], tc.gradient(machine, X, solutions).weights[0], atol=1e-5)


def test_a_training_step_follows_the_gradient() -> None:
    """One full batch without momentum or penalty moves the weights by learning_rate times the gradient."""
    machine = random_rbm(6)
    X = samples(machine, 12)
    rate, sweeps = 0.125, 4
    result = fit_as_paper(
        machine, X, epochs=1, batch_size=12, chains=12, learning_rate=rate, momentum=0, penalty=None, sweeps=sweeps
    )
    solutions = tc.solve(machine, X, damping=0, tol=0, max_sweeps=sweeps, acceleration=None)
    gradient = tc.gradient(machine, X, solutions)
    assert_allclose(result.machine.weights[0] - machine.weights[0], rate * gradient.weights[0], atol=1e-15)
    for layer in (0, 1):
        moved = result.machine.layers[layer].U - machine.layers[layer].U
        assert_allclose(moved, rate * gradient.layers[layer]["U"], atol=1e-15)


def test_refuses_bad_input() -> None:
    machine = random_rbm(7)
    X = samples(machine, 6)
    solutions = tc.solve(machine, X[:2])
    bad = X.copy()
    bad[3, 2] = 0.5
    with pytest.raises(ValueError, match=r"X must be 0 or 1 .*X\[3, 2\] is 0\.5"):
        tc.gradient(machine, bad, solutions)
    with pytest.raises(ValueError, match="X must have 7 columns"):
        tc.gradient(machine, X[:, :4], solutions)
    with pytest.raises(ValueError, match="X must have at least one row"):
        tc.gradient(machine, X[:0], solutions)
    with pytest.raises(ValueError, match=r"solutions must be solutions of layers \(7, 5\)"):
        tc.gradient(machine, X, tc.solve(random_rbm(7, sizes=(7, 4)), X[:2]))
    with pytest.raises(ValueError, match="solutions must hold at least one chain"):
        tc.gradient(machine, X, solutions[:0])
    with pytest.raises(ValueError, match=r"tapcore\.solve"):
        tc.gradient(machine, X, X)
    deep = tc.Machine((tc.Binary(7), tc.Binary(5), tc.Binary(2)), (machine.weights[0], np.zeros((5, 2))))
    with pytest.raises(ValueError, match=r"solutions must be solutions of layers \(7, 5, 2\)"):
        tc.gradient(deep, X, solutions)
