"""Relaxed belief propagation: certified fixed points, the reference message by message, trees, small weights."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import naive_relaxed_bp
import numpy as np
import pytest
from cases import GOLDEN, KINDS, close, error, random_machine, random_rbm, same, same_bits, starts, unit_of
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose

import tapcore as tc
from tapcore._base.threads import thread_limit

MODELS: dict[str, dict[str, Any]] = {
    model["name"]: model for model in json.loads((GOLDEN / "relaxed_bp.json").read_text(encoding="utf-8"))["models"]
}
TREES = [name for name in MODELS if name.startswith("tree")]
TIGHT: dict[str, Any] = {"method": "rbp", "tol": 1e-15}
PAIRS = [("binary", "binary"), ("spin", "binary"), ("truncatedgaussian", "binary"), ("gaussbernoulli", "spin")]


def machine_of(model: dict[str, Any], scale: float = 1.0) -> tc.Machine:
    layers = [unit_of([{**u, "kind": KINDS[u["kind"]]} for u in side]) for side in model["layers"]]
    return tc.RBM(*layers, weights=scale * np.array(model["weights"][0]))


def alone(machine: tc.Machine) -> np.ndarray:
    return machine.layers[0].moments(np.zeros((1, machine.sizes[0])), 0.0)[1]


@pytest.mark.nojit
@pytest.mark.parametrize("name", MODELS)
def test_certified_fixed_points(name: str) -> None:
    machine, point = machine_of(MODELS[name]), MODELS[name]["rbp"]
    found = tc.solve(machine, alone(machine), **TIGHT)
    assert found.converged.all()
    assert found.method == "rbp"
    for layer in range(2):
        for key, arrays in (("mean", found.mean), ("var", found.var), ("B", found.B), ("A", found.A)):
            close(arrays[layer][0], point[key][layer], 1e-13)
    close(-found.free_energy[0], point["bethe_lnZ_B13"], 1e-13)


def test_certified_values_are_remade() -> None:
    command = [sys.executable, str(GOLDEN / "generate_relaxed_bp.py"), "--check"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"{len(MODELS)} machines agree" in done.stdout


@pytest.mark.nojit
@pytest.mark.parametrize("damping", [0.0, 0.3])
@pytest.mark.parametrize("kinds", PAIRS, ids="-".join)
def test_sweeps_are_those_of_the_reference(kinds: tuple[str, str], damping: float) -> None:
    layers, (W,) = random_machine(2, (kinds[0], 5), (kinds[1], 3), width=0.5)
    machine = tc.Machine(map(unit_of, layers), [W])
    X = starts(machine, 2)
    found = tc.solve(machine, X, method="rbp", tol=0, max_sweeps=3, damping=damping)
    for k, x in enumerate(X):
        messages = naive_relaxed_bp.Messages(layers, W, x)
        change = [messages.sweep(damping, first=sweep == 0) for sweep in range(3)][-1]
        assert found.residual[k] == pytest.approx(change, rel=1e-9)
        for i in range(3):
            assert (found.B[1][k, i], found.A[1][k, i]) == pytest.approx(messages.fields(1, i), rel=1e-12)
        assert -found.free_energy[k] == pytest.approx(messages.log_z(), rel=1e-12)


@pytest.mark.parametrize("name", TREES)
def test_orders_in_the_weights_on_trees(name: str) -> None:
    # At least third order, from 1/64 of the tree's weights down to where differences of ln Z are lost in rounding.
    model = MODELS[name]
    unit = {"w0.5": 2.0, "w0.25": 4.0}.get(name.rsplit("_", 1)[1], 1.0)
    scales = unit / 2.0 ** np.arange(6, 9)
    log_z, distance = [], []
    for scale in scales:
        machine = machine_of(model, scale)
        found = tc.solve(machine, alone(machine), **TIGHT)
        tap = tc.solve(machine, alone(machine), tol=1e-15)
        log_z.append(abs(-found.free_energy[0] - tc.exact.log_z(machine)))
        distance.append(error(found, tap)[0])
    for values in (log_z, distance):
        # Rounding errors of ln Z, some units of magnitude 1, are 1e-15.
        assert values[0] < 3e-5 * (64 * scales[0]) ** 3
        assert values[1] < values[0] / 6.5 + 4e-15
        assert values[2] < values[1] / 6.5 + 4e-15


@pytest.mark.parametrize("kinds", PAIRS, ids="-".join)
def test_is_tap_but_for_third_order(kinds: tuple[str, str]) -> None:
    layers, (W,) = random_machine(5, (kinds[0], 6), (kinds[1], 4), width=1.0)
    distances = []
    for scale in (1 / 64, 1 / 128):
        machine = tc.Machine(map(unit_of, layers), [scale * W])
        X = starts(machine, 1)
        distances.append(error(tc.solve(machine, X, **TIGHT), tc.solve(machine, X, tol=1e-15))[0])
    assert 6.0 < distances[0] / distances[1] < 10.0


def test_without_couplings_units_are_independent() -> None:
    machine = random_rbm(1, "TruncatedGaussian", "Spin", sigma=0.0)
    found = tc.solve(machine, starts(machine, 2), **TIGHT)
    log_z = sum(layer.moments(np.zeros(layer.n), 0.0)[0].sum() for layer in machine.layers)
    assert_allclose(-found.free_energy, log_z, rtol=1e-14)
    for layer, mean in zip(machine.layers, found.mean, strict=True):
        assert_allclose(mean, np.tile(layer.moments(np.zeros(layer.n), 0.0)[1], (2, 1)), atol=1e-15)


@settings(max_examples=20)
@given(st.integers(0, 2**32 - 1), st.sampled_from([0.1, 0.5, 2.0]))
def test_spins_reflect_and_means_stay_in_bounds(seed: int, sigma: float) -> None:
    machine = random_rbm(seed, "Spin", "Spin", sizes=(5, 4), sigma=sigma)
    flipped = tc.RBM(*(tc.Spin(u.n, U=-u.parameters["U"]) for u in machine.layers), weights=machine.weights[0])
    X = starts(machine, 3)
    options: dict[str, Any] = {"method": "rbp", "tol": 0, "max_sweeps": 15}
    found, mirrored = tc.solve(machine, X, **options), tc.solve(flipped, -X, **options)
    for mean, other in zip(found.mean, mirrored.mean, strict=True):
        assert_allclose(mean, -other, atol=1e-12)
        assert (np.abs(mean) <= 1).all()
    assert_allclose(found.free_energy, mirrored.free_energy, atol=1e-10)


@pytest.mark.usefixtures("all_threads")
def test_chains_depend_neither_on_others_nor_on_threads() -> None:
    machine = random_rbm(3, sizes=(20, 11), sigma=0.5)
    X = starts(machine, 9)
    found = tc.solve(machine, X, method="rbp")
    assert found.converged.all()
    with thread_limit(1):
        same_bits(tc.solve(machine, X, method="rbp"), found)
    same_bits(tc.solve(machine, X[:4], method="rbp"), found[:4])
    # Threads share what is one chain.
    same_bits(tc.solve(machine, X[:1], method="rbp"), found[:1])
    one_layer = random_rbm(3, sizes=(20, 1), sigma=0.5)
    alone = tc.solve(one_layer, X[:1], method="rbp")
    same_bits(alone, tc.solve(one_layer, X, method="rbp")[:1])
    # On from where it was: nothing moves far.
    again = tc.solve(machine, found, method="rbp", tol=1e-13)
    same(again, tc.solve(machine, X, method="rbp", tol=1e-13), tol=1e-10)


def test_units_may_be_renumbered() -> None:
    machine = random_rbm(4, "Binary", "TruncatedGaussian", sizes=(9, 5))
    rng = np.random.default_rng(0)
    orders = [rng.permutation(n) for n in machine.sizes]
    moved = tc.RBM(
        *(
            type(u)(u.n, **{k: p[o] for k, p in u.parameters.items()})
            for u, o in zip(machine.layers, orders, strict=True)
        ),
        weights=machine.weights[0][orders[0]][:, orders[1]],
    )
    X = starts(machine, 2)
    found, other = tc.solve(machine, X, **TIGHT), tc.solve(moved, X[:, orders[0]], **TIGHT)
    for mean, mine, order in zip(other.mean, found.mean, orders, strict=True):
        assert_allclose(mean, mine[:, order], atol=1e-13)
    assert_allclose(found.free_energy, other.free_energy, rtol=1e-13)


def test_lost_chains_are_reported() -> None:
    machine = tc.RBM(tc.Gaussian(3, V=0.1), tc.Gaussian(2, V=0.1), weights=np.ones((3, 2)))
    found = tc.solve(machine, np.zeros((2, 3)), method="rbp")
    assert not found.converged.any()
    assert np.isnan(found.free_energy).all()
    assert np.isnan(found.mean[0]).all()


def test_single_precision_machines_are_solved_in_double() -> None:
    machine = random_rbm(6).replace(dtype="float32")
    found = tc.solve(machine, starts(machine, 2), method="rbp", tol=1e-12)
    wide = tc.solve(machine.replace(dtype="float64"), starts(machine, 2), method="rbp", tol=1e-12)
    assert found.converged.all()
    assert found.mean[0].dtype == np.float32
    assert_allclose(found.mean[0], wide.mean[0], atol=1e-7)
    assert_allclose(found.free_energy, wide.free_energy, rtol=1e-12)


def test_refusals() -> None:
    deep = tc.Machine([tc.Binary(2)] * 3, [np.ones((2, 2))] * 2)
    with pytest.raises(ValueError, match="two layers"):
        tc.solve(deep, np.zeros((1, 2)), method="rbp")
    machine = random_rbm(7)
    with pytest.raises(ValueError, match="method must be one of"):
        tc.harvest(machine, np.zeros((1, 7)), method="rbp")
    with pytest.raises(ValueError, match="method must be one of"):
        tc.free_energy(machine, [np.zeros(7), np.zeros(5)], [np.zeros(7), np.zeros(5)], method="rbp")


def test_it_depends_on_whether_a_law_is_written_in_bits_or_in_spins() -> None:
    """The figures of its docstring: TAP and the exact ln Z do not."""
    rng = np.random.default_rng(3)
    W, b, c = 2 * rng.normal(size=(4, 3)), rng.normal(size=4), rng.normal(size=3)
    bits = tc.RBM(tc.Binary(4, U=b), tc.Binary(3, U=c), weights=W)
    # With x = (s + 1)/2 in its place.
    U, V = b / 2 + W.sum(axis=1) / 4, c / 2 + W.sum(axis=0) / 4
    spins = tc.RBM(tc.Spin(4, U=U), tc.Spin(3, U=V), weights=W / 4)
    constant = b.sum() / 2 + c.sum() / 2 + W.sum() / 4
    exact = tc.exact.log_z(bits)
    assert_allclose(exact, 12.0715, atol=1e-4)
    assert_allclose(tc.exact.log_z(spins) + constant, exact, rtol=1e-13)
    X = np.random.default_rng(1).random((20, 4))
    found = {}
    for method in ("tap", "rbp"):
        for name, machine, init in (("bits", bits, X), ("spins", spins, 2 * X - 1)):
            solutions = tc.solve(machine, init, method=method, damping=0.5)
            assert solutions.converged.all()
            found[method, name] = -solutions.free_energy.min() + (constant if name == "spins" else 0.0)
    assert_allclose(found["tap", "bits"], 12.0586, atol=1e-4)
    assert_allclose(found["tap", "spins"], found["tap", "bits"], atol=1e-9)
    assert_allclose(found["rbp", "bits"], 13.8818, atol=1e-4)
    assert_allclose(found["rbp", "spins"], 12.3846, atol=1e-4)
