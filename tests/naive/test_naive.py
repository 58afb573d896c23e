"""The readable reference agrees with the certified values, with brute force and with finite differences."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from types import ModuleType

import naive
import numpy as np
import pytest
from cases import CASES, GOLDEN, MACHINES, POINTS, close, layers_of, listed, random_machine, start_of


@pytest.fixture(scope="module")
def generator() -> Iterator[ModuleType]:
    spec = importlib.util.spec_from_file_location("generate_models", GOLDEN / "generate_models.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(GOLDEN)  # where it finds its own module
        spec.loader.exec_module(module)
        yield module


# --- One site ---

LISTED = [kind for kind, known in naive.KINDS.items() if known.support]


@pytest.mark.parametrize("kind", LISTED)
@pytest.mark.parametrize(("B", "A"), [(0.0, 0.0), (0.7, -0.4), (-2.5, 1.3), (30.0, -3.0), (-800.0, 2.0)])
def test_site_functions_sum_over_the_states(kind: str, B: float, A: float) -> None:
    site = {"kind": kind, "U": 0.3}
    states = np.array(naive.KINDS[kind].support)
    log_p = np.array([naive.log_weight(site, x) + B * x - A * x**2 / 2 for x in states])
    ln_z = np.logaddexp.reduce(log_p)
    p = np.exp(log_p - ln_z)
    close(naive.log_z(site, B, A), ln_z)
    close(naive.mean(site, B, A), p @ states)
    close(naive.var(site, B, A), p[0] * p[1] * (states[1] - states[0]) ** 2)


@pytest.mark.parametrize("kind", LISTED)
def test_values_outside_the_support_have_no_weight(kind: str) -> None:
    assert naive.log_weight({"kind": kind, "U": 0.3}, 0.5) == -np.inf


# --- Certified values ---


@pytest.mark.parametrize("name", [name for name, machine in MACHINES.items() if listed(layers_of(machine))])
def test_enumeration(name: str) -> None:
    machine = MACHINES[name]
    layers = layers_of(machine)
    exact = naive.enumerate_exact(layers, [np.array(machine["W"])])
    certified = machine["exact"]
    close(exact.log_z, certified["lnZ_unnormalised"])
    close(exact.mean[0], certified["mean_v"])
    close(exact.mean[1], certified["mean_h"])
    close(exact.second[0], certified["mean_vh"])


@pytest.mark.parametrize("name", MACHINES)
def test_units_on_their_own(name: str) -> None:
    priors = sum(naive.log_z(site, 0.0, 0.0) for layer in layers_of(MACHINES[name]) for site in layer)
    close(priors, MACHINES[name]["sum_lnZ_priors"])


@pytest.mark.parametrize(("name", "key", "n"), CASES)
def test_fixed_point(name: str, key: str, n: int) -> None:
    machine, method = MACHINES[name], POINTS[key]
    point = machine[key][n]
    layers, weights = layers_of(machine), [np.array(machine["W"])]
    x0, damping = start_of(layers, point["init"]), float(point["damping"])

    state = naive.solve(layers, weights, x0, method, damping)
    B, A = naive.all_fields(layers, weights, state, method)
    for layer, side in enumerate("vh"):
        close(state.mean[layer], point[f"a{side}"])
        close(state.var[layer], point[f"c{side}"])
        close(B[layer], point[f"B{side}"])
        close(A[layer], point[f"A{side}"])

    F = naive.free_energy(layers, weights, state.mean, state.var, method)
    close(-F, point["TAP_lnZ_unnormalised"])
    close(-F - float(machine["sum_lnZ_priors"]), point["mF"])
    close(np.mean(naive.log_likelihood(layers, weights, np.array(machine["X"]), F)), point["loglik_batch_mean"])
    gradient = naive.gradient(layers, weights, np.array(machine["X"]), [state], method)
    close(gradient["W"][0], point["grad"]["W"])
    close(gradient["U"][0], point["grad"]["vU"])
    close(gradient["U"][1], point["grad"]["hU"])


@pytest.mark.parametrize("name", [name for name, machine in MACHINES.items() if "scaling" in machine])
def test_errors_fall_with_the_order_of_the_expansion(name: str) -> None:
    machine = MACHINES[name]
    layers = layers_of(machine)
    # Above 1/16 signs of the error change, and any order can appear.
    entries = [entry for entry in machine["scaling"] if entry["scale"] <= 1 / 16]
    for key, order in (("tap_lnZ", 3), ("nmf_lnZ", 2), ("tap3_lnZ", 4)):
        if key not in entries[0]:
            continue
        errors = [abs(float(entry[key]) - float(entry["exact_lnZ"])) for entry in entries]
        for larger, smaller in pairwise(errors):
            assert np.log2(larger / smaller) > order - 0.15
    for entry in machine["scaling"]:
        weights = [entry["scale"] * np.array(machine["W"])]
        for method in naive.METHODS:
            if f"{method}_lnZ" not in entry:
                continue
            state = naive.solve(layers, weights, start_of(layers, "prior"), method)
            close(state.mean[0], entry[f"{method}_av"])
            close(state.mean[1], entry[f"{method}_ah"])
            close(-naive.free_energy(layers, weights, state.mean, state.var, method), entry[f"{method}_lnZ"])


# --- Algorithm 1 and chains of any length ---


@pytest.mark.parametrize("method", naive.METHODS)
def test_damping_does_not_move_the_fixed_point(method: str) -> None:
    layers, weights = random_machine(1, ("binary", 5), ("spin", 4), ("binary", 3))
    x0 = np.full(5, 0.5)
    plain = naive.solve(layers, weights, x0, method)
    damped = naive.solve(layers, weights, x0, method, damping=0.5)
    assert naive.change(plain, damped) < 1e-12


def test_first_sweep_leaves_the_first_hidden_update_undamped() -> None:
    layers, weights = random_machine(2, ("binary", 5), ("binary", 4))
    x0 = np.array([1.0, 0.0, 1.0, 1.0, 0.0])
    one = naive.solve(layers, weights, x0, damping=0.5, sweeps=1)
    for j, site in enumerate(layers[1]):  # cv = 0 makes A = 0, so the hidden means are those given x0
        close(one.mean[1][j], naive.mean(site, float(weights[0][:, j] @ x0), 0.0))
    undamped = naive.solve(layers, weights, x0, sweeps=1)
    close(one.mean[0], 0.5 * x0 + 0.5 * undamped.mean[0])
    close(one.var[0], 0.5 * undamped.var[0])


def test_sweeps_add_up() -> None:
    layers, weights = random_machine(3, ("spin", 4), ("binary", 3), ("binary", 3), ("spin", 2))
    x0 = np.ones(4)
    two = naive.solve(layers, weights, x0, damping=0.25, sweeps=2)
    five = naive.solve(layers, weights, two, damping=0.25, sweeps=3)
    assert naive.change(five, naive.solve(layers, weights, x0, damping=0.25, sweeps=5)) == 0.0


def test_a_chain_that_does_not_converge_is_an_error() -> None:
    layers, weights = random_machine(3, ("spin", 4), ("binary", 3))
    with pytest.raises(RuntimeError, match="no fixed point"):
        naive.solve(layers, weights, np.ones(4), max_sweeps=2)


@pytest.mark.parametrize("method", naive.METHODS)
def test_free_energy_is_stationary_at_a_fixed_point_of_a_deep_machine(method: str) -> None:
    layers, weights = random_machine(4, ("binary", 4), ("spin", 3), ("binary", 3))
    state = naive.solve(layers, weights, np.full(4, 0.5), method)

    def moved(layer: int, unit: int, step: float, what: str) -> float:
        means, variances = [a.copy() for a in state.mean], [c.copy() for c in state.var]
        (means if what == "mean" else variances)[layer][unit] += step
        return naive.free_energy(layers, weights, means, variances, method)

    for what in ("mean", "variance"):
        for layer, unit in ((0, 0), (0, 3), (1, 1), (2, 2)):
            slope = (moved(layer, unit, 1e-5, what) - moved(layer, unit, -1e-5, what)) / 2e-5
            assert abs(slope) < 1e-8


def test_second_order_is_closer_to_the_exact_deep_machine() -> None:
    layers, weights = random_machine(5, ("binary", 4), ("binary", 3), ("spin", 3), width=0.15)
    exact = naive.enumerate_exact(layers, weights)
    error = {}
    for method in naive.METHODS:
        state = naive.solve(layers, weights, np.full(4, 0.5), method)
        F = naive.free_energy(layers, weights, state.mean, state.var, method)
        error[method] = abs(-F - exact.log_z)
        assert max(np.max(np.abs(a - m)) for a, m in zip(state.mean, exact.mean, strict=True)) < 0.02
    assert error["tap"] < 0.1 * error["nmf"]


def test_a_machine_without_couplings_is_exact() -> None:
    layers, weights = random_machine(6, ("binary", 3), ("spin", 2), ("binary", 2), width=0.0)
    exact = naive.enumerate_exact(layers, weights)
    state = naive.solve(layers, weights, np.zeros(3))
    close(-naive.free_energy(layers, weights, state.mean, state.var), exact.log_z)
    close(exact.second[1], np.outer(state.mean[1], state.mean[2]))


# --- Gradient ---


@pytest.mark.parametrize("method", naive.METHODS)
@pytest.mark.parametrize("name", ["bin6x4_s0.6_0", "bin6x4_ferro", "binpm5x4_0"])
def test_gradient_against_finite_differences(name: str, method: str) -> None:
    machine = MACHINES[name]
    layers, weights = layers_of(machine), [np.array(machine["W"])]
    starts = [start_of(layers, point["init"]) for point in machine["tap2"]]
    solutions = [naive.solve(layers, weights, x0, method) for x0 in starts]
    gradient = naive.gradient(layers, weights, np.array(machine["X"]), solutions, method)
    for parameter, value in (
        (("W", 0, 1, 2), gradient["W"][0][1, 2]),
        (("W", 0, 4, 0), gradient["W"][0][4, 0]),
        (("U", 0, 3), gradient["U"][0][3]),
        (("U", 1, 2), gradient["U"][1][2]),
    ):
        difference = naive.finite_difference(layers, weights, machine["X"], solutions, parameter, method=method)
        close(difference, value, tol=1e-7)


def test_what_needs_an_rbm_refuses_a_deeper_machine() -> None:
    layers, weights = random_machine(7, ("binary", 3), ("binary", 2), ("binary", 2))
    with pytest.raises(ValueError, match="2 layers"):
        naive.log_likelihood(layers, weights, np.zeros((1, 3)), 0.0)
    with pytest.raises(ValueError, match="2 layers"):
        naive.gradient(layers, weights, np.zeros((1, 3)), [naive.start(layers, np.zeros(3))])


# --- The generator ---


@pytest.mark.parametrize("name", ["binpm5x4_0", "tg3x4_2", "tgb4x3_0", "gb-tgb3x2_0"])
def test_generator_remakes_a_small_machine(
    generator: ModuleType, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert generator.main(["--check", "--only", name]) == 0
    assert capsys.readouterr().out == "1 machines agree to 28 digits\n"


def test_generator_notices_a_wrong_digit(
    generator: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    machine = json.loads(json.dumps(MACHINES["bin6x4_s0.1_0"]))
    digits = machine["tap2"][0]["grad"]["W"][2][1]
    machine["tap2"][0]["grad"]["W"][2][1] = digits[:26] + str((int(digits[26]) + 5) % 10) + digits[27:]
    path = tmp_path / "models.json"
    path.write_text(json.dumps({"models": [machine]}), encoding="utf-8")
    assert generator.main(["--check", "--file", str(path)]) == 1
    assert "bin6x4_s0.1_0/tap2/0/grad/W/2/1" in capsys.readouterr().out


def test_parameters_of_machines_with_a_seed_are_those_of_it(generator: ModuleType) -> None:
    for seeded in generator.new_machines():
        stored = MACHINES[seeded["name"]]
        for key in ("W", "vis", "hid", "X"):
            assert stored[key] == seeded[key]


@pytest.mark.slow
def test_generator_check_of_every_machine() -> None:
    command = [sys.executable, str(GOLDEN / "generate_models.py"), "--check"]
    assert subprocess.run(command, check=False).returncode == 0
