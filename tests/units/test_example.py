"""The unit type in `docs/examples/ternary.py`, as it stands there: against enumeration, and in a machine."""

from __future__ import annotations

import importlib.util
import itertools
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from cases import fit_as_paper
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose

import tapcore as tc
from tapcore.units import UNITS

ROOT = Path(__file__).resolve().parents[2]
FILE = ROOT / "docs" / "examples" / "ternary.py"
LINES = 80
STATES = np.array([-1.0, 0.0, 1.0])


@pytest.fixture(scope="module")
def example() -> Iterator[ModuleType]:
    """The module, and its unit type among the others for no longer than this file's tests."""
    before = dict(UNITS)
    spec = importlib.util.spec_from_file_location("ternary", FILE)
    module = sys.modules["ternary"] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    assert {**before, "Ternary": module.Ternary} == UNITS
    yield module
    del UNITS["Ternary"], sys.modules["ternary"]
    assert before == UNITS


def samples(count: int, n: int = 8) -> np.ndarray:
    """Random walks."""
    return np.sign(np.round(np.random.default_rng(1).normal(size=(count, n)).cumsum(axis=1) / 2))


def unit_of(module: ModuleType, seed: int, n: int = 5) -> Any:
    rng = np.random.default_rng(seed)
    return module.Ternary(n, U=rng.normal(size=n), V=2 * rng.normal(size=n))


def test_it_is_short() -> None:
    assert len(FILE.read_text(encoding="utf-8").splitlines()) <= LINES


@pytest.mark.nojit
@settings(max_examples=50)
@given(seed=st.integers(0, 2**32 - 1), scale=st.sampled_from([0.3, 3.0, 30.0, 300.0]))
def test_moments_are_those_of_enumeration(example: ModuleType, seed: int, scale: float) -> None:
    unit, rng = unit_of(example, seed), np.random.default_rng(seed)
    B, A = rng.normal(0, scale, (2, 3, 5))
    x = STATES[:, None, None]
    exponent = np.longdouble(1) * (B + unit.U) * x - (A + unit.V) * x * x / 2
    most = exponent.max(axis=0)
    p = np.exp(exponent - most)
    log_z, p = most + np.log(p.sum(axis=0)), p / p.sum(axis=0)
    mean = (p * x).sum(axis=0)
    expected = log_z, mean, (p * (x - mean) ** 2).sum(axis=0)
    for result, value in zip(unit.moments(B, A), expected, strict=True):
        assert_allclose(result, value.astype(float), rtol=1e-14 * max(1, scale), atol=1e-15 * max(1, scale))
    for result, value in zip(unit.astype(np.float32).moments(B, A), expected, strict=True):
        assert result.dtype == np.float32
        assert_allclose(result, value.astype(float), rtol=1e-5 * max(1, scale), atol=1e-6 * max(1, scale))


@pytest.mark.nojit
def test_support_weight_and_statistics(example: ModuleType) -> None:
    unit, X = unit_of(example, 0, 8), samples(30)
    odd = np.array([[np.nan] * 8, [np.inf] * 8, [0.5] * 8, [-2.0] * 8])
    with np.errstate(all="raise"):
        assert np.isneginf(unit.log_weight(odd)).all()
    assert unit.contains(X).all()
    assert not unit.contains(odd).any()
    assert_allclose(unit.log_weight(X), unit.U * X - unit.V * X**2 / 2)
    assert_allclose(unit.data_statistics(X)["V"], -0.5 * (X**2).mean(axis=0))
    assert np.isnan(unit.moments(np.nan, 0.0)).all()
    with pytest.raises(ValueError, match=r"^X must be -1, 0 or 1 for a Ternary layer: X\[0, 0\] is 0\.5"):
        unit.check_data("X", odd[2:])


@pytest.mark.nojit
def test_it_is_fitted_and_drawn_without_a_line_of_its_own(example: ModuleType) -> None:
    X = samples(400)
    X[:, 0], X[:, 1] = 1.0, 0.0  # never change
    unit = example.Ternary.from_data(X)
    _, mean, var = unit.moments(0.0, 0.0)
    assert_allclose(mean, X.sum(axis=0) / 401, atol=1e-9)
    assert_allclose(mean**2 + var, ((X**2).sum(axis=0) + 2 / 3) / 401, rtol=1e-9)
    x = unit.sample(0.0, np.zeros((2000, 8)), np.random.default_rng(0))
    assert unit.contains(x).all()
    assert np.all(np.abs(x.mean(axis=0) - mean) < 5 * np.sqrt(var / 2000) + 1e-12)


def test_a_machine_with_it_has_the_ln_z_of_enumeration(example: ModuleType) -> None:
    rng = np.random.default_rng(3)
    machine = tc.RBM(unit_of(example, 1, 4), tc.Binary(3, U=rng.normal(size=3)), sigma=0.5, seed=0)
    x = np.array(list(itertools.product(STATES, repeat=4)))
    h = np.array(list(itertools.product([0.0, 1.0], repeat=3)))
    visible, hidden = machine.layers
    weights = visible.log_weight(x).sum(axis=1)[:, None] + x @ machine.weights[0] @ h.T + h @ hidden.U
    exact = np.log(np.exp(weights).sum())
    assert_allclose(tc.exact.log_z(machine), exact, rtol=1e-13)
    for method in ("tap", "rbp", "adatap"):
        solutions = tc.solve(machine, np.zeros((1, 4)), method=method)
        assert solutions.converged.all()
        assert_allclose(-solutions.free_energy, exact, atol=0.1)


def test_it_trains_and_is_saved_and_loaded(example: ModuleType, tmp_path: Path) -> None:
    X = samples(300)
    machine = tc.RBM(example.Ternary(8), tc.Binary(5), seed=0)
    machine, history = fit_as_paper(machine, X, epochs=25, learning_rate=0.1, checkpoint=tmp_path / "run")
    assert history.log_likelihood[-1] > history.log_likelihood[0] + 0.05
    # Nothing about the solver is the example's own: a fixed point satisfies the equations.
    solutions = tc.solve(machine, X, tol=1e-10)
    assert solutions.converged.all()
    _, mean, _ = machine.layers[0].moments(solutions.B[0], solutions.A[0])
    assert_allclose(solutions.mean[0], mean, atol=1e-8)
    tc.save(tmp_path / "machine.safetensors", machine)
    for path in (tmp_path / "machine.safetensors", tmp_path / "run"):
        assert tc.load(path) == machine
    fit_as_paper(machine, X, epochs=1, gradient="cd")
    assert machine.layers[0].contains(tc.sample(machine, 10, sweeps=5)).all()
    del UNITS["Ternary"]
    try:
        with pytest.raises(tc.CheckpointError, match="unknown unit type 'Ternary': import the module that defines it"):
            tc.load(tmp_path / "run")
    finally:
        UNITS["Ternary"] = example.Ternary


def test_what_it_does_not_register_is_refused(example: ModuleType) -> None:
    X, machine = samples(20), tc.RBM(example.Ternary(8), tc.Binary(5), seed=0)
    with pytest.raises(ValueError, match=r"method 'tap3' needs .* layers\[0\] \(Ternary\)"):
        tc.solve(machine, X, method="tap3")
    with pytest.raises(ValueError, match=r"^Ternary layers have no third and fourth cumulants: row_cumulants is not"):
        fit_as_paper(machine, X, epochs=1, gradient="rbp")


def test_it_runs_as_a_script(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-W", "error", str(FILE)], cwd=tmp_path, check=False, capture_output=True, text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "solutions" in done.stdout
