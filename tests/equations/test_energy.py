"""The free energy: stationary at solutions, that of the reference anywhere, exact without couplings."""

from __future__ import annotations

import re
from typing import Any

import naive
import numpy as np
import pytest
from cases import (
    LISTED_SHAPES,
    SHAPE_METHODS,
    both,
    random_rbm,
    starts,
)
from numpy.testing import assert_allclose, assert_array_equal

import tapcore as tc


@pytest.mark.nojit
@pytest.mark.parametrize(("shape", "method"), SHAPE_METHODS)
def test_free_energy_is_stationary_at_a_solution(shape: str, method: str) -> None:
    _, _, machine = both(shape, seed=3)
    found = tc.solve(machine, starts(machine, 1), method=method, tol=1e-14)
    values = [x[0] for x in (*found.mean, *found.var)]
    count = len(machine.layers)

    def energy(part: int, i: int, step: float) -> float:
        moved = [v.copy() for v in values]
        moved[part][i] += step
        return float(tc.free_energy(machine, moved[:count], moved[count:], method=method)[0])

    for part, v in enumerate(values):
        for i in range(v.size):
            assert abs(energy(part, i, 1e-4) - energy(part, i, -1e-4)) / 2e-4 < 1e-7
    # Away from a solution it is not.
    assert abs(energy(0, 0, 0.1) - energy(0, 0, 0.0)) > 1e-6


@pytest.mark.nojit
@pytest.mark.parametrize(("shape", "method"), SHAPE_METHODS)
def test_free_energy_anywhere_is_that_of_the_reference(shape: str, method: str) -> None:
    layers, weights, machine = both(shape, seed=4)
    rng = np.random.default_rng(0)
    mean = [layer.random_means(3, rng) for layer in machine.layers]
    var = [rng.uniform(0, 0.25, m.shape) for m in mean]
    found = tc.free_energy(machine, mean, var, method=method)
    for k in range(3):
        state = naive.State([m[k] for m in mean], [v[k] for v in var])
        assert found[k] == pytest.approx(naive.free_energy(layers, weights, state.mean, state.var, method), abs=1e-12)


@pytest.mark.parametrize("method", ["tap", "nmf", "tap3"])
@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_free_energy_of_solutions_is_free_energy_of_their_moments(dtype: str, method: str) -> None:
    machine = random_rbm(13).replace(dtype=dtype)
    found = tc.solve(machine, starts(machine, 1500), method=method)  # more than are taken at a time
    again = tc.free_energy(machine, found.mean, found.var, method=method)
    assert again.dtype == np.float64
    assert_array_equal(found.free_energy, again)
    assert_allclose(tc.free_energy(machine, [m[7] for m in found.mean], [v[7] for v in found.var], method=method),
                    found.free_energy[7], rtol=1e-13)  # fmt: skip


@pytest.mark.nojit
@pytest.mark.parametrize("method", ["tap", "nmf", "tap3"])
@pytest.mark.parametrize("shape", LISTED_SHAPES)
def test_without_couplings_all_is_exact(shape: str, method: str) -> None:
    layers, weights, machine = both(shape, seed=5)
    machine = machine.replace(weights=[0 * W for W in weights])
    exact = naive.enumerate_exact(layers, machine.weights)
    found = tc.solve(machine, starts(machine, 2), method=method)
    assert_allclose(found.free_energy, -exact.log_z, rtol=1e-14)
    for layer, mean in enumerate(exact.mean):
        assert_allclose(found.mean[layer], np.stack([mean] * 2), rtol=1e-13)
        assert_allclose(found.var[layer], np.stack([exact.square[layer] - mean**2] * 2), rtol=1e-12)
    X = starts(machine, 2).round()
    X[X == 0] = machine.layers[0].bounds()[0]
    expected = machine.layers[0].log_weight(X) - machine.layers[0].moments(0.0, 0.0)[0]
    if len(layers) == 2:
        assert_allclose(tc.log_likelihood(machine, X, found.free_energy), expected.sum(axis=1), rtol=1e-13)


@pytest.mark.nojit
@pytest.mark.parametrize(
    ("mean", "var", "message"),
    [
        ([np.zeros(7)], [np.zeros(7)], "mean must hold one array for each of 2 layers, got 1"),
        ([np.zeros(7), np.zeros(5)], [np.zeros(7)], "var must hold one array for each of 2 layers, got 1"),
        ([np.zeros(7), np.zeros(4)], [np.zeros(7), np.zeros(5)], "mean[1] must have 5 columns"),
        ([np.zeros(7), np.zeros(5)], [np.zeros(8), np.zeros(5)], "var[0] must have 7 columns"),
        ([np.zeros((0, 7)), np.zeros((0, 5))], [np.zeros((0, 7)), np.zeros((0, 5))], "mean[0] must have at least one"),
        ([np.zeros((2, 7)), np.zeros((2, 5))], [np.zeros((2, 7)), np.zeros(5)], "mean and var must have the same"),
        ([np.zeros(7), ["a"] * 5], [np.zeros(7), np.zeros(5)], "mean[1] must hold real numbers"),
    ],
)
def test_free_energy_refuses_moments_that_do_not_fit(mean: Any, var: Any, message: str) -> None:
    with pytest.raises(ValueError, match=f"^{re.escape(message)}"):
        tc.free_energy(random_rbm(0), mean, var)


@pytest.mark.nojit
def test_free_energy_refuses_unknown_methods() -> None:
    machine = random_rbm(0)
    found = tc.solve(machine, starts(machine, 1), max_sweeps=1)
    with pytest.raises(ValueError, match=r"^method must be one of 'nmf', 'tap', 'tap3', got 'exact'"):
        tc.free_energy(machine, found.mean, found.var, method="exact")
