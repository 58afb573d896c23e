"""Deep machines: certified values, stationarity, gradients against differences, and the RBM as the shallow case."""

from __future__ import annotations

import json
import subprocess
import sys
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from cases import FIELDS, GOLDEN, KINDS, close, random_machine, unit_of
from numpy.testing import assert_allclose, assert_array_equal

import tapcore as tc

DEEP: dict[str, dict[str, Any]] = {
    m["name"]: m for m in json.loads((GOLDEN / "deep.json").read_text(encoding="utf-8"))["models"]
}
EVERY_DEEP = pytest.mark.parametrize("name", DEEP)


def certified(name: str) -> tuple[dict[str, Any], tc.Machine]:
    entry = DEEP[name]
    layers = [unit_of([{**unit, "kind": KINDS[unit["kind"]]} for unit in layer]) for layer in entry["layers"]]
    return entry, tc.Machine(layers, entry["weights"])


def solved(machine: tc.Machine) -> tc.Solutions:
    start = machine.layers[0].moments(0.0, 0.0)[1]
    found = tc.solve(machine, start[None], tol=1e-15)
    assert found.converged.all()
    return found


def test_the_file_can_be_remade() -> None:
    command = [sys.executable, str(GOLDEN / "generate_deep.py"), "--check"]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, "every value agrees\n"), done.stdout + done.stderr


@pytest.mark.nojit
@EVERY_DEEP
def test_free_solutions(name: str) -> None:
    entry, machine = certified(name)
    found = solved(machine)
    for key, values in zip("acBA", (found.mean, found.var, found.B, found.A), strict=True):
        for layer, x in enumerate(values):
            close(x[0], entry["tap"][key][layer], 1e-11)
    close(-found.free_energy[0], entry["tap"]["mF"], 1e-11)


@pytest.mark.nojit
@EVERY_DEEP
def test_clamped_solutions(name: str) -> None:
    entry, machine = certified(name)
    X = np.array(entry["data"])
    found = tc.solve(machine, X, fields=tc.Clamped(X), tol=1e-15)
    assert found.converged.all()
    for m, point in enumerate(entry["clamped"]):
        for key, values in zip("acBA", (found.mean, found.var, found.B, found.A), strict=True):
            for layer, x in enumerate(values[1:]):
                close(x[m], point[key][layer], 1e-11)
        close(-found.free_energy[m], float(point["mF"]) + float(point["log_weight_x"]), 1e-11)
    assert_array_equal(found.mean[0], X)
    assert not found.var[0].any()


@pytest.mark.nojit
@EVERY_DEEP
def test_log_likelihood_and_gradient(name: str) -> None:
    entry, machine = certified(name)
    X, found = np.array(entry["data"]), solved(machine)
    scores = tc.log_likelihood(machine, X, found.free_energy)
    for score, point in zip(scores, entry["clamped"], strict=True):
        close(score, point["tap_loglik"], 1e-11)
    close(scores.mean(), entry["tap_loglik_mean"], 1e-11)
    slopes = tc.gradient(machine, X, found)
    for i, W in enumerate(entry["grad"]["W"]):
        close(slopes.weights[i], W, 1e-11)
    for i, U in enumerate(entry["grad"]["U"]):
        close(slopes.layers[i]["U"], U, 1e-11)
    for parameter in ("V", "rho"):
        if entry["grad"][parameter]:
            close(slopes.layers[0][parameter], entry["grad"][parameter], 1e-11)


# Machines of three and four layers with all kinds of units.
MIXED = {
    "binary-spin-binary": (("binary", 4), ("spin", 3), ("binary", 3)),
    "truncatedgaussbernoulli-binary-gaussian": (("truncatedgaussbernoulli", 4), ("binary", 3), ("gaussian", 2)),
    "spin-truncatedgaussian-gaussbernoulli-binary": (
        ("spin", 3), ("truncatedgaussian", 3), ("gaussbernoulli", 2), ("binary", 2),
    ),
    "gaussian-binary-spin-truncatedgaussian": (("gaussian", 3), ("binary", 3), ("spin", 2), ("truncatedgaussian", 2)),
}  # fmt: skip
EVERY_MIX = pytest.mark.parametrize("mix", MIXED)


def mixed(mix: str, width: float = 0.3) -> tc.Machine:
    layers, weights = random_machine(len(mix), *MIXED[mix], width=width)
    return tc.Machine(map(unit_of, layers), weights)


def samples(machine: tc.Machine, count: int, seed: int = 5) -> np.ndarray:
    layer = machine.layers[0]
    return layer.sample(np.zeros((count, layer.n)), 0.0, np.random.default_rng(seed))


def settled(machine: tc.Machine, method: str = "tap") -> tc.Solutions:
    start = machine.layers[0].moments(0.0, 0.0)[1]
    found = tc.solve(machine, start[None], method=method, tol=1e-15)
    assert found.converged.all()
    return found


def moved(machine: tc.Machine, kind: str, layer: int, name: str, index: Any, step: float) -> tc.Machine:
    """The machine with one weight or parameter changed."""
    if kind == "weight":
        weights = [W.copy() for W in machine.weights]
        weights[layer][index] += step
        return machine.replace(weights=weights)
    layers = list(machine.layers)
    parameters = {k: p.copy() for k, p in layers[layer].parameters.items()}
    parameters[name][index] += step
    layers[layer] = type(layers[layer])(layers[layer].n, **parameters)
    return machine.replace(layers=layers)


@EVERY_MIX
def test_solutions_are_stationary(mix: str) -> None:
    machine = mixed(mix)
    found = settled(machine)
    rng = np.random.default_rng(0)

    def energy(step: float, shift: Any) -> float:
        parts = iter(shift)
        means = [m + step * next(parts) for m in found.mean]
        return float(tc.free_energy(machine, means, [v + step * next(parts) for v in found.var])[0])

    for _ in range(3):
        shift = [rng.normal(size=x.shape) * x_scale for x_scale, x in ((0.1, x) for x in (*found.mean, *found.var))]
        h = 1e-4
        slope = (energy(h, shift) - energy(-h, shift)) / (2 * h)
        curvature = abs(energy(h, shift) + energy(-h, shift) - 2 * energy(0, shift)) / h**2
        assert abs(slope) < 1e-6 * max(1.0, curvature)


@EVERY_MIX
@pytest.mark.parametrize("method", ["tap", "nmf"])
def test_gradients_are_differences_of_the_log_likelihood(mix: str, method: str) -> None:
    machine = mixed(mix)
    X = samples(machine, 3)
    found = settled(machine, method)
    slopes = tc.gradient(machine, X, found)

    def score(at: tc.Machine) -> float:
        free = settled(at, method).free_energy
        clamped = tc.solve(at, X, fields=tc.Clamped(X), method=method, tol=1e-14).free_energy
        return float(free.mean() - clamped.mean())

    rng, h = np.random.default_rng(1), 1e-3
    targets: list[tuple[str, int, str, Any, float]] = []
    for i, W in enumerate(slopes.weights):
        index = tuple(int(rng.integers(n)) for n in W.shape)
        targets.append(("weight", i, "", index, W[index]))
    for i, layer in enumerate(slopes.layers):
        for name, slope in layer.items():
            index = int(rng.integers(len(slope)))
            targets.append(("parameter", i, name, index, slope[index]))
    for kind, i, name, index, slope in targets:
        s1, s2, s3, s4 = (score(moved(machine, kind, i, name, index, k * h)) for k in (-2, -1, 1, 2))
        found_slope = (s1 - 8 * s2 + 8 * s3 - s4) / (12 * h)
        assert_allclose(slope, found_slope, rtol=1e-9, atol=1e-10, err_msg=f"{kind} {i} {name} {index}")


@pytest.mark.parametrize("mix", ["binary-spin-binary", "truncatedgaussbernoulli-binary-gaussian"])
def test_error_of_log_z_falls_as_the_cube_of_the_weights(mix: str) -> None:
    machine, errors = mixed(mix, 1.0), []
    for scale in (1 / 64, 1 / 128, 1 / 256):  # above, terms of other orders cancel some of it
        small = machine.replace(weights=[scale * W for W in machine.weights])
        errors.append(abs(settled(small).free_energy[0] + tc.exact.log_z(small)))
    for larger, smaller in pairwise(errors):
        assert np.log2(larger / smaller) > 2.85


@pytest.mark.nojit
@pytest.mark.parametrize("mix", ["binary-spin-binary", "truncatedgaussbernoulli-binary-gaussian"])
def test_upper_weights_of_zero_leave_the_rbm_to_the_last_bit(mix: str) -> None:
    deep = mixed(mix)
    deep = deep.replace(weights=[deep.weights[0], 0 * deep.weights[1]])
    rbm = tc.Machine(deep.layers[:2], deep.weights[:1])
    X = samples(rbm, 4)
    for options in ({}, {"tol": 1e-12}, {"damping": 0.5}, {"tol": 0, "acceleration": None, "max_sweeps": 7}):
        two, three = tc.solve(rbm, X, **options), tc.solve(deep, X, **options)
        for name in FIELDS:
            for layer in range(2):
                assert_array_equal(getattr(two, name)[layer], getattr(three, name)[layer])
    short, long = tc.gradient(rbm, X, two), tc.gradient(deep, X, three)
    assert_array_equal(short.weights[0], long.weights[0])
    for below, with_more in zip(short.layers, long.layers, strict=False):
        for name, slope in below.items():
            assert_array_equal(slope, with_more[name])
    own = deep.layers[2].moments(0.0, 0.0)[0].sum()
    assert_allclose(three.free_energy, two.free_energy - own, rtol=1e-15, atol=1e-14)
    scores = tc.log_likelihood(deep, X, three.free_energy)
    assert_allclose(scores, tc.log_likelihood(rbm, X, two.free_energy), rtol=1e-14)


def test_a_deep_machine_is_a_machine() -> None:
    made = tc.DBM(tc.Binary(6), tc.Binary(4), tc.Spin(3), sigma=0.5, seed=2, dtype="float32")
    assert made.sizes == (6, 4, 3)
    assert made.dtype == np.float32
    assert made == tc.Machine(made.layers, made.weights, "float32")
    assert made == tc.DBM(tc.Binary(6), tc.Binary(4), tc.Spin(3), sigma=0.5, seed=2, dtype="float32")
    given = tc.DBM(tc.Binary(2), tc.Binary(1), tc.Binary(1), weights=[[[1.0], [2.0]], [[3.0]]])
    assert_array_equal(given.weights[1], [[3.0]])
    for layers, options, message in (
        ((tc.Binary(2), tc.Binary(2)), {}, "at least two hidden layers, got 1: use tapcore.RBM"),
        ((tc.Binary(2), 3, tc.Binary(2)), {}, "hidden layer 1 must be a layer of units"),
        ((tc.Binary(2),) * 3, {"sigma": -1}, "sigma"),
        ((tc.Binary(2),) * 3, {"seed": -1}, "seed"),
        ((tc.Binary(1),) * 3, {"seed": -1, "weights": [np.zeros((1, 1))] * 2}, "seed"),
        ((tc.Binary(2),) * 3, {"weights": [np.zeros((2, 2))]}, "weights must hold 2 matrices"),
    ):
        with pytest.raises(ValueError, match=message):
            tc.DBM(*layers, **options)  # type: ignore[arg-type]


def test_deep_solutions_of_other_methods_have_no_gradient() -> None:
    machine = mixed("binary-spin-binary")
    X = samples(machine, 2)
    with pytest.raises(ValueError, match="of method 'nmf', 'tap', 'tap3', got 'adatap'"):
        tc.gradient(machine, X, tc.solve(machine, X, method="adatap"))
