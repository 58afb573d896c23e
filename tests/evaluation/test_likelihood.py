"""The TAP log-likelihood of samples."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import naive
import numpy as np
import pytest
from cases import (
    LISTED_SHAPES,
    SHAPES,
    both,
    random_rbm,
)
from numpy.testing import assert_allclose, assert_array_equal

import tapcore as tc


def data(machine: tc.Machine, count: int, seed: int = 2) -> np.ndarray:
    """Samples of a layer on its own."""
    rng = np.random.default_rng(seed)
    layer = machine.layers[0]
    return layer.astype("float64").sample(np.zeros((count, layer.n)), 0.0, rng)


@pytest.mark.nojit
@pytest.mark.parametrize("shape", [shape for shape, kinds in SHAPES.items() if len(kinds) == 2])
def test_log_likelihood_agrees_with_the_reference(shape: str) -> None:
    layers, weights, machine = both(shape, seed=6, sigma=1.0)
    X = data(machine, 9)
    expected = naive.log_likelihood(layers, weights, X, -3.25)
    assert_allclose(tc.log_likelihood(machine, X, -3.25), expected, rtol=1e-13)
    assert_allclose(tc.log_likelihood(machine, X, [-3.0, -3.5]), expected, rtol=1e-13)  # the average counts


@pytest.mark.nojit
@pytest.mark.parametrize("shape", [shape for shape in LISTED_SHAPES if len(SHAPES[shape]) == 2])
def test_log_likelihood_with_the_exact_free_energy_is_normalised(shape: str) -> None:
    layers, weights, machine = both(shape, seed=7)
    lo, hi = machine.layers[0].bounds()
    every = np.stack(np.meshgrid(*[[lo[0], hi[0]]] * machine.sizes[0]), axis=-1).reshape(-1, machine.sizes[0])
    free_energy = -naive.enumerate_exact(layers, weights).log_z
    assert np.exp(tc.log_likelihood(machine, every, free_energy)).sum() == pytest.approx(1.0, rel=1e-12)


@pytest.mark.parametrize("visible", ["Binary", "Spin"])
def test_log_likelihood_of_many_samples(visible: str, tmp_path: Path) -> None:
    """More than are taken at a time, in any dtype, in memory or on disk."""
    machine = random_rbm(15, visible)
    X = data(machine, 2 * 4096 + 77)
    whole = tc.log_likelihood(machine, X, 0.0)
    rows = [0, 4095, 4096, 8191, 8192, len(X) - 1]
    for k in rows:
        assert_allclose(tc.log_likelihood(machine, X[k : k + 1], 0.0), whole[k : k + 1], rtol=1e-13)
    dtypes = [np.int8, np.float32, np.int64] + [np.bool_, np.uint8] * (visible == "Binary")
    for dtype in dtypes:
        np.save(tmp_path / "X.npy", X.astype(dtype))
        assert_array_equal(tc.log_likelihood(machine, X.astype(dtype), 0.0), whole)
        assert_array_equal(tc.log_likelihood(machine, np.load(tmp_path / "X.npy", mmap_mode="r"), 0.0), whole)
    assert_array_equal(tc.log_likelihood(machine, np.asfortranarray(X), 0.0), whole)


@pytest.mark.nojit
def test_log_likelihood_of_a_float32_machine_is_computed_in_float64() -> None:
    machine = random_rbm(16).replace(dtype="float32")
    found = tc.log_likelihood(machine, data(machine, 5), -3.0)
    assert found.dtype == np.float64
    assert_allclose(found, tc.log_likelihood(machine.replace(dtype="float64"), data(machine, 5), -3.0), rtol=1e-15)


@pytest.mark.nojit
@pytest.mark.parametrize(
    ("X", "free_energy", "message"),
    [
        ([[0] * 6], 0.0, "X must have 7 columns, one per unit, got 6"),
        ([0] * 7, 0.0, "X must have two axes (samples, 7)"),
        (np.zeros((0, 7)), 0.0, "X must have at least one row"),
        ([[0] * 7, [0] * 6 + [0.5]], 0.0, "X must be 0 or 1 for a Binary layer: X[1, 6] is 0.5"),
        ([[0] * 6 + [np.nan]], 0.0, "X must be finite: X[0, 6] is nan"),
        ([["a"] * 7], 0.0, "X must hold real numbers"),
        ([[0] * 7], [], "free_energy must hold at least one value"),
        ([[0] * 7], np.inf, "free_energy must be finite: free_energy is inf"),
        ([[0] * 7], [0.0, np.nan], "free_energy must be finite: free_energy[1] is nan"),
        ([[0] * 7], None, "free_energy must hold real numbers"),
    ],
)
def test_log_likelihood_refuses(X: Any, free_energy: Any, message: str) -> None:
    with pytest.raises(ValueError, match=f"^{re.escape(message)}"):
        tc.log_likelihood(random_rbm(0), X, free_energy)


def test_solutions_in_place_of_their_free_energies_are_refused() -> None:
    _, _, machine = both("binary-binary")
    solutions = tc.solve(machine, np.zeros((1, 6)))
    with pytest.raises(ValueError, match=r"pass solutions\.free_energy"):
        tc.log_likelihood(machine, np.zeros((1, 6)), solutions)
