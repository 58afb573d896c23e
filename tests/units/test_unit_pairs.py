"""Machines of every pair of unit types: solutions, free energies and gradients, against differences and the reference.

Also what happens where a weight cannot be normalised any more, and that every unit type is saved to the bit.
"""

from __future__ import annotations

import warnings
import zlib
from collections.abc import Callable
from itertools import product
from pathlib import Path
from typing import Any

import naive
import numpy as np
import pytest
from cases import FIELDS, UNITS, random_machine, same, same_bits, unit_of
from numpy.testing import assert_allclose, assert_array_equal
from unit_cases import slope

import tapcore as tc

SIZES = (4, 3)
STEP = 1e-3
KINDS = list(UNITS)
# Every type on either side, with itself.
DIAGONAL = list(zip(KINDS, KINDS, strict=True))


def every_pair(*interpreted: pytest.MarkDecorator) -> pytest.MarkDecorator:
    params = []
    for pair in product(KINDS, KINDS):
        marks = interpreted if pair in DIAGONAL else ()
        params.append(pytest.param(*pair, id="-".join(pair), marks=marks))
    return pytest.mark.parametrize(("visible", "hidden"), params)


EVERY_PAIR = every_pair()
# The same, the diagonal also interpreted, which takes far longer.
EVERY_PAIR_NOJIT = every_pair(pytest.mark.nojit)
METHODS = pytest.mark.parametrize("method", ["tap", "nmf"])


def pair(visible: str, hidden: str, sigma: float = 0.2) -> tuple[list[naive.Layer], list[Any], tc.Machine]:
    """A random machine for the reference and for the library."""
    seed = zlib.crc32(f"{visible}-{hidden}".encode())
    layers, weights = random_machine(seed, *zip((visible, hidden), SIZES, strict=True), width=sigma)
    return layers, weights, tc.Machine(map(unit_of, layers), weights)


def samples(machine: tc.Machine, count: int, seed: int = 3) -> np.ndarray:
    layer = machine.layers[0].astype("float64")
    return layer.sample(np.zeros((count, layer.n)), 0.0, np.random.default_rng(seed))


def solved(machine: tc.Machine, init: Any, method: str = "tap") -> tc.Solutions:
    found = tc.solve(machine, init, method=method, tol=1e-13)
    assert found.converged.all()
    return found


def trained(layer: Any) -> list[str]:
    return [name for name in layer.names if name not in layer.fixed]


# Solutions


@EVERY_PAIR_NOJIT
@METHODS
def test_solutions_are_those_of_the_reference(visible: str, hidden: str, method: str) -> None:
    layers, weights, machine = pair(visible, hidden)
    x = samples(machine, 1)
    found = solved(machine, x, method)
    state = naive.solve(layers, weights, x[0], method)
    B, A = naive.all_fields(layers, weights, state, method)
    expected = {"mean": state.mean, "var": state.var, "B": B, "A": A}
    for name in FIELDS:
        for layer in (0, 1):
            assert_allclose(getattr(found, name)[layer][0], expected[name][layer], rtol=0, atol=1e-12)
    energy = naive.free_energy(layers, weights, state.mean, state.var, method)
    assert_allclose(found.free_energy, energy, rtol=1e-12, atol=1e-12)
    X = samples(machine, 3)
    expected_likelihood = naive.log_likelihood(layers, weights, X, energy)
    assert_allclose(tc.log_likelihood(machine, X, found.free_energy), expected_likelihood, rtol=1e-12, atol=1e-12)


@EVERY_PAIR_NOJIT
def test_small_weights_have_one_solution(visible: str, hidden: str) -> None:
    _, _, machine = pair(visible, hidden)
    found = solved(machine, machine.layers[0].random_means(5, np.random.default_rng(1)))
    for x in (*found.mean, *found.var):
        assert np.ptp(x, axis=0).max() < 1e-11
    for layer, mean in zip(machine.layers, found.mean, strict=True):
        lo, hi = layer.bounds()
        assert np.all((mean > lo) & (mean < hi))
    assert all(np.all(var > 0) for var in found.var)


@EVERY_PAIR
@METHODS
def test_free_energy_is_stationary_at_the_solution(visible: str, hidden: str, method: str) -> None:
    _, _, machine = pair(visible, hidden)
    found = solved(machine, samples(machine, 1), method)
    start = np.concatenate([x[0] for x in (*found.mean, *found.var)])
    cuts = np.cumsum((*SIZES, *SIZES))[:-1]

    def energies(way: np.ndarray, at: np.ndarray) -> Callable[[float], np.ndarray]:
        """F along `way`, one chain a row."""

        def moved(step: float) -> np.ndarray:
            parts = np.split(at + step * way, cuts, axis=1)
            return tc.free_energy(machine, parts[:2], parts[2:], method=method)

        return moved

    every = np.eye(start.size)
    at_solution = np.tile(start, (start.size, 1))
    assert np.abs(slope(energies(every, at_solution), STEP)).max() < 1e-10
    # Away from it, it is not: a mean moved by 0.01 is noticed.
    assert abs(slope(energies(every[:1], start + 0.01 * every[:1]), STEP)[0]) > 1e-6


# Gradients


def check_gradient(machine: tc.Machine, weights: list[tuple[int, int]], units: list[tuple[int, int]]) -> None:
    """The gradient is the derivative of the likelihood, solutions converging anew for every value."""
    X = samples(machine, 6)
    solutions = solved(machine, X[:2])
    gradient = tc.gradient(machine, X, solutions)

    def likelihood(moved: tc.Machine) -> np.ndarray:
        return tc.log_likelihood(moved, X, solved(moved, solutions).free_energy).mean()

    for i, j in weights:

        def with_weight(step: float, i: int = i, j: int = j) -> np.ndarray:
            W = machine.weights[0].copy()
            W[i, j] += step
            return likelihood(machine.replace(weights=(W,)))

        assert_allclose(gradient.weights[0][i, j], slope(with_weight, STEP), rtol=1e-9, atol=1e-10)
    for layer, i in units:
        assert list(gradient.layers[layer]) == trained(machine.layers[layer])
        for name in gradient.layers[layer]:

            def with_parameter(step: float, layer: int = layer, i: int = i, name: str = name) -> np.ndarray:
                layers = list(machine.layers)
                parameters = {key: value.copy() for key, value in layers[layer].parameters.items()}
                parameters[name][i] += step
                layers[layer] = type(layers[layer])(layers[layer].n, **parameters)
                return likelihood(machine.replace(layers=layers))

            found = gradient.layers[layer][name][i]
            assert_allclose(found, slope(with_parameter, STEP), rtol=1e-9, atol=1e-10, err_msg=f"{name} of {layer}")


@EVERY_PAIR
def test_gradient_is_the_derivative_of_the_likelihood(visible: str, hidden: str) -> None:
    _, _, machine = pair(visible, hidden)
    units = [(layer, i) for layer in (0, 1) for i in range(SIZES[layer])]
    check_gradient(machine, list(np.ndindex(*SIZES)), units)


# Precision of the machine


@pytest.mark.nojit
@pytest.mark.parametrize(("visible", "hidden"), DIAGONAL)
def test_float32_is_close_to_float64(visible: str, hidden: str) -> None:
    _, _, machine = pair(visible, hidden)
    narrow = machine.replace(dtype="float32")
    X = samples(narrow, 4).astype(np.float64)
    double, single = tc.solve(machine, X, tol=1e-9), tc.solve(narrow, X)
    assert single.converged.all()
    for name in FIELDS:
        for x, y in zip(getattr(single, name), getattr(double, name), strict=True):
            assert x.dtype == np.float32
            assert_allclose(x, y, rtol=1e-4, atol=1e-4)
    assert_allclose(single.free_energy, double.free_energy, rtol=1e-4)
    wide, rough = tc.gradient(machine, X, double), tc.gradient(narrow, X, single)
    assert_allclose(rough.weights[0], wide.weights[0], rtol=1e-4, atol=1e-4)
    for a, b in zip(rough.layers, wide.layers, strict=True):
        for name in b:
            assert_allclose(a[name], b[name], rtol=1e-4, atol=1e-4)


# Weights that cannot be normalised any more


def fragile(kind: str, on: str, dtype: str) -> tuple[tc.Machine, np.ndarray, np.ndarray]:
    """A machine of two solutions with unbounded units on one side, starts, and which of them are lost.

    At the solutions both binary units are nearly 0 or nearly 1. In between their variances make V - sum W^2 c negative.
    """
    options = {} if kind == "gaussian" else {"rho": 0.9}
    unbounded = UNITS[kind](2, U=[0.0, 0.1], V=[1.0, 30.0], **options)
    W = np.array([[5.0, 5.0], [0.5, 0.5]])
    lost = np.tile([False, True, False, True, False, False], 2)
    if on == "visible":
        first = np.tile([0.0, 5.0, 10.0, 5.0, -2.0, 12.0], 2)
        machine = tc.RBM(unbounded, tc.Binary(2, U=-25.0), weights=W, dtype=dtype)
        return machine, np.stack([first, 0 * first], axis=1), lost
    both_at = np.tile([0.0, 0.5, 1.0, 0.5, 0.1, 0.9], 2)
    machine = tc.RBM(tc.Binary(2, U=-25.0), unbounded, weights=W.T, dtype=dtype)
    return machine, np.stack([both_at, both_at], axis=1), lost


@pytest.mark.nojit
@pytest.mark.parametrize("damping", [None, 0.5])
@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("on", ["visible", "hidden"])
@pytest.mark.parametrize("kind", ["gaussian", "gaussbernoulli"])
def test_a_chain_that_is_lost_says_so_and_leaves_the_others_alone(
    kind: str, on: str, dtype: str, damping: float | None
) -> None:
    machine, X, lost = fragile(kind, on, dtype)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = tc.solve(machine, X, damping=damping)
    assert_array_equal(found.converged, ~lost)
    unbounded = 0 if on == "visible" else 1
    # The other unit of the layer has precision to spare: only the one concerned need be NaN.
    assert np.isnan(found.mean[unbounded][lost, 0]).all()
    assert np.isnan(found.var[unbounded][lost, 0]).all()
    for x in (found.free_energy, found.residual):
        assert np.isnan(x[lost]).all()
    assert np.isposinf(found.distance[lost]).all()
    for x in (*found.mean, *found.var, *found.B, *found.A, found.free_energy):
        assert np.isfinite(x[~lost]).all()
    tol = 1e-12 if dtype == "float64" else 1e-5
    same(found[~lost], tc.solve(machine, X[~lost], damping=damping), tol=tol)
    distinct = found.unique()
    assert len(distinct) == 2
    assert_array_equal(distinct.labels < 0, lost)


@pytest.mark.nojit
@pytest.mark.parametrize("kind", ["gaussian", "gaussbernoulli"])
def test_lost_chains_are_refused_by_name(kind: str) -> None:
    machine, X, lost = fragile(kind, "visible", "float64")
    found = tc.solve(machine, X)
    data = samples(machine, 3)
    assert np.isfinite(tc.gradient(machine, data, found[~lost]).weights[0]).all()
    with pytest.raises(ValueError, match=r"^solutions\.mean\[0\] must be finite: solutions\.mean\[0\]\[1, 0\] is nan"):
        tc.gradient(machine, data, found)
    with pytest.raises(ValueError, match=r"^free_energy must be finite: free_energy\[1\] is nan"):
        tc.log_likelihood(machine, data, found.free_energy)
    with pytest.raises(ValueError, match=r"^init\.mean\[0\] must be finite"):
        tc.solve(machine, found)


# Files


def unusual(kind: str) -> Any:
    """A layer whose parameters take all bits and the far ends of their ranges."""
    values = {
        "U": [-0.0, 5e-324, 1e300, 1 / 3],
        "V": [1e-300, np.nextafter(1.0, 2.0), 1e300, 0.1],
        "rho": [np.finfo(np.float64).tiny, np.nextafter(1.0, 0.0), 0.1, 0.5],
        "lo": [-1e-300, -1 / 3, -0.0, -1e300],
        "hi": [5e-324, 1 / 3, 1.0, np.pi],
    }
    # U and V of a side are those of any.
    return UNITS[kind](
        4, **{name: values[name.removesuffix("_pos").removesuffix("_neg")] for name in UNITS[kind].names}
    )


@pytest.mark.nojit
@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize(("visible", "hidden"), DIAGONAL)
def test_machines_are_saved_to_the_bit(visible: str, hidden: str, dtype: str, tmp_path: Path) -> None:
    machine = pair(visible, hidden)[2].replace(dtype=dtype)
    made = [machine]
    if dtype == "float64":
        made.append(tc.RBM(unusual(visible), unusual(hidden), sigma=1.0, seed=0))
    for number, saved in enumerate(made):
        path = tmp_path / f"{number}.safetensors"
        tc.save(path, saved)
        loaded = tc.load(path)
        assert loaded == saved
        assert loaded.dtype == saved.dtype
        assert loaded.weights[0].tobytes() == saved.weights[0].tobytes()
        for a, b in zip(loaded.layers, saved.layers, strict=True):
            assert type(a) is type(b)
            assert list(a.parameters) == list(b.parameters)
            for name in a.names:
                assert a.parameters[name].dtype == b.parameters[name].dtype
                assert a.parameters[name].tobytes() == b.parameters[name].tobytes()
        tc.save(tmp_path / "again.safetensors", loaded)
        assert (tmp_path / "again.safetensors").read_bytes() == path.read_bytes()
    X = samples(machine, 2)
    same_bits(tc.solve(tc.load(tmp_path / "0.safetensors"), X), tc.solve(machine, X))
