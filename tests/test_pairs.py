"""Machines of every pair of unit types: they solve, F is stationary at the solution, gradients are those of ln P."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from numpy.testing import assert_allclose
from unit_cases import make, samples

import tapcore as tc
from tapcore.units import UNITS

# Each pair compiles anew for many seconds: all 36 with `-m slow`, in the ordinary run each type on both sides.
OFTEN = [(kind, "Binary") for kind in UNITS] + [("Binary", kind) for kind in UNITS] + [(kind, kind) for kind in UNITS]
PAIRS = pytest.mark.parametrize(
    ("visible", "hidden"),
    [pytest.param(a, b, marks=[] if (a, b) in OFTEN else pytest.mark.slow) for a in UNITS for b in UNITS],
)


def machine_of(visible: str, hidden: str, dtype: str = "float64") -> tc.Machine:
    weights = np.random.default_rng(len(visible) * 31 + len(hidden)).normal(0, 0.1, (4, 3))
    return tc.RBM(make(visible, 4, seed=1), make(hidden, 3, seed=2), weights=weights, dtype=dtype)


def solved(machine: tc.Machine, method: str = "tap") -> tc.Solutions:
    start = machine.layers[0].moments(0.0, np.zeros((1, 4)))[1]
    solutions = tc.solve(machine, start, method=method, tol=1e-14)
    assert solutions.converged.all()
    return solutions


@PAIRS
@pytest.mark.parametrize("method", ["tap", "nmf"])
def test_free_energy_is_stationary_at_the_solution(visible: str, hidden: str, method: str) -> None:
    machine = machine_of(visible, hidden)
    solutions = solved(machine, method)
    rng = np.random.default_rng(0)
    for _ in range(4):
        pushes = [[rng.normal(0, 1, m.shape) for m in group] for group in (solutions.mean, solutions.var)]

        def energy(h: float, pushes: list = pushes) -> float:
            mean, var = (
                [x + h * push for x, push in zip(group, way, strict=True)]
                for group, way in zip((solutions.mean, solutions.var), pushes, strict=True)
            )
            return float(tc.free_energy(machine, mean, var, method=method)[0])

        h = 1e-4
        slope = (8 * (energy(h) - energy(-h)) - (energy(2 * h) - energy(-2 * h))) / (12 * h)
        bend = (energy(h) + energy(-h) - 2 * energy(0.0)) / h**2
        # F bends, so a slope would show; what is left is rounding.
        assert abs(slope) < 1e-9 * max(1.0, abs(bend))


def shifted(machine: tc.Machine) -> Iterator[tuple[str, int, str, np.ndarray]]:
    """(what, layer or -1, name, index) of the weights and of every trained parameter."""
    for index in np.ndindex(2, 2):
        yield "weight", -1, "", np.array(index)
    for number, layer in enumerate(machine.layers):
        for name in layer.names:
            if name not in layer.fixed:
                yield "parameter", number, name, np.array([number])


@PAIRS
def test_gradient_is_that_of_the_likelihood_through_solutions_solved_anew(visible: str, hidden: str) -> None:
    machine = machine_of(visible, hidden)
    X = samples(visible, 5, 4, seed=3)
    gradient = tc.gradient(machine, X, solved(machine))

    def likelihood(layers: list, W: np.ndarray) -> float:
        moved = machine.replace(layers=layers, weights=(W,))
        return float(tc.log_likelihood(moved, X, solved(moved).free_energy).mean())

    h = 1e-4
    for what, number, name, index in shifted(machine):
        at = tuple(index)

        def value(step: float, what: str = what, number: int = number, name: str = name, at: tuple = at) -> float:
            layers, W = list(machine.layers), machine.weights[0].copy()
            if what == "weight":
                W[at] += step
            else:
                parameters = {k: p.copy() for k, p in layers[number].parameters.items()}
                parameters[name][at] += step
                layers[number] = layers[number].with_parameters(parameters)
            return likelihood(layers, W)

        slope = (8 * (value(h) - value(-h)) - (value(2 * h) - value(-2 * h))) / (12 * h)
        found = gradient.weights[0][at] if what == "weight" else gradient.layers[number][name][at]
        assert_allclose(found, slope, rtol=1e-7, atol=1e-8, err_msg=f"{what} {name} of layer {number}")


@PAIRS
def test_float32_agrees(visible: str, hidden: str) -> None:
    single, double = (machine_of(visible, hidden, dtype) for dtype in ("float32", "float64"))
    rough = tc.solve(single, solved(double).mean[0], tol=1e-5)
    for a, b in zip(rough.mean, solved(double).mean, strict=True):
        assert_allclose(a, b, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("kind", UNITS)
def test_machines_are_saved_to_the_bit(kind: str, tmp_path: Path) -> None:
    for dtype in ("float64", "float32"):
        machine = machine_of(kind, "Binary", dtype)
        tc.save(tmp_path / "machine.safetensors", machine)
        assert tc.load(tmp_path / "machine.safetensors") == machine


@pytest.mark.parametrize("kind", ["Gaussian", "GaussBernoulli"])
def test_a_chain_whose_precision_turns_negative_is_reported_and_leaves_others_alone(kind: str) -> None:
    """Hidden units take up no variance while they are off; started where they waver, they take up more than V."""
    rng = np.random.default_rng(3)
    machine = tc.RBM(UNITS[kind](6, U=0.1, V=1.0), tc.Binary(4, U=-4.0), weights=1.6 * rng.normal(0, 1, (6, 4)))
    starts = rng.normal(0, 1.0, (50, 6))
    solutions = tc.solve(machine, starts, max_sweeps=500)
    lost = np.isnan(solutions.free_energy)
    assert 0 < lost.sum() < 50
    assert not solutions.converged[lost].any()
    assert solutions.converged[~lost].all()
    alone = tc.solve(machine, starts[~lost], max_sweeps=500)
    assert_allclose(solutions.mean[0][~lost], alone.mean[0], atol=1e-12)
    assert_allclose(solutions.free_energy[~lost], alone.free_energy, atol=1e-12)
