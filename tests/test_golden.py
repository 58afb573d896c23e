"""The library agrees with the certified values of small machines to 1e-12, and with exact enumeration in its order."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from cases import CASES, MACHINES, POINTS, close, layers_of, library_machine, start_of

import tapcore as tc


def solved(name: str, key: str, n: int) -> tuple[dict, dict, tc.Machine, tc.Solutions]:
    entry = MACHINES[name]
    point = entry[key][n]
    machine = library_machine(entry)
    start = [start_of(layers_of(entry), point["init"])]
    damping = float(point["damping"])
    return entry, point, machine, tc.solve(machine, start, method=POINTS[key], damping=damping, tol=1e-15)


@pytest.mark.nojit
@pytest.mark.parametrize(("name", "key", "n"), CASES)
def test_fixed_points_free_energy_and_likelihood(name: str, key: str, n: int) -> None:
    entry, point, machine, solutions = solved(name, key, n)
    assert solutions.converged.all()
    for layer, side in enumerate("vh"):
        close(solutions.mean[layer][0], point[f"a{side}"])
        close(solutions.var[layer][0], point[f"c{side}"])
        close(solutions.B[layer][0], point[f"B{side}"])
        close(solutions.A[layer][0], point[f"A{side}"])
    close(-solutions.free_energy[0], point["TAP_lnZ_unnormalised"])
    close(-tc.free_energy(machine, solutions.mean, solutions.var, method=POINTS[key])[0], point["TAP_lnZ_unnormalised"])
    close(tc.log_likelihood(machine, entry["X"], solutions.free_energy).mean(), point["loglik_batch_mean"])


@pytest.mark.nojit
@pytest.mark.parametrize(("name", "key", "n"), CASES)
def test_gradient(name: str, key: str, n: int) -> None:
    entry, point, machine, solutions = solved(name, key, n)
    gradient = tc.gradient(machine, entry["X"], solutions)
    found = {"W": gradient.weights[0]}
    for side, layer in zip("vh", gradient.layers, strict=True):
        found |= {side + parameter: slope for parameter, slope in layer.items()}
    assert found.keys() == point["grad"].keys()
    for parameter, slope in point["grad"].items():
        close(found[parameter], slope)


@pytest.mark.parametrize("name", MACHINES)
def test_default_tolerance_keeps_its_promise(name: str) -> None:
    """tol bounds the distance to the solution, also where the iteration is slow."""
    machine = library_machine(MACHINES[name])
    start = np.clip(np.random.default_rng(3).choice([0.0, 1.0], (20, machine.sizes[0])), *machine.layers[0].bounds())
    for tol in (1e-3, 1e-6, 1e-9):
        rough = tc.solve(machine, start, tol=tol)
        fine = tc.solve(machine, rough, tol=1e-15)
        assert rough.converged.all()
        for a, b in zip(rough.mean, fine.mean, strict=True):
            assert np.max(np.abs(a - b)) <= tol


@pytest.mark.parametrize("name", [name for name, entry in MACHINES.items() if "scaling" in entry])
def test_error_of_log_z_falls_with_the_order_of_the_expansion(name: str) -> None:
    entry = MACHINES[name]
    start = [start_of(layers_of(entry), "prior")]
    for method, order in (("tap", 3), ("nmf", 2), ("tap3", 4)):
        if f"{method}_lnZ" not in entry["scaling"][0]:
            continue
        errors = []
        for row in entry["scaling"]:
            solutions = tc.solve(library_machine(entry, row["scale"]), start, method=method, tol=1e-15)
            errors.append(abs(-solutions.free_energy[0] - float(row["exact_lnZ"])))
        scales = [row["scale"] for row in entry["scaling"]]
        # Above 1/16 signs of the error change, and any order can appear.
        small = [error for error, scale in zip(errors, scales, strict=True) if scale <= 1 / 16]
        for larger, smaller in pairwise(small):
            assert np.log2(larger / smaller) > order - 0.15


def test_a_harvest_of_the_ferromagnet_finds_its_two_solutions() -> None:
    entry = MACHINES["bin6x4_ferro"]
    machine = library_machine(entry)
    found = tc.harvest(machine, tc.random_starts(machine, 2000), tol=1e-13)
    certified = np.array([[float(x) for x in point["av"]] for point in entry["tap2"]])
    assert len(certified) == 2
    assert len(found) == 2
    assert found.counts is not None
    assert found.counts.sum() == 2000
    gaps = np.abs(found.mean[0][:, None] - certified[None]).max(axis=2)
    assert sorted(gaps.argmin(axis=1)) == [0, 1]
    assert gaps.min(axis=1).max() < 1e-12
