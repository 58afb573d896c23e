"""Annealed importance sampling and replica exchange against exact values."""

from __future__ import annotations

import numpy as np
import pytest
from cases import both, random_rbm
from numpy.testing import assert_allclose, assert_array_equal
from unit_cases import EVERY_UNIT
from unit_cases import PLAIN as UNITS

import tapcore as tc
from tapcore._base.threads import thread_limit


def ferromagnet(coupling: float = 0.25) -> tc.Machine:
    """Two states, all up and all down, that a Gibbs chain hardly ever changes between."""
    return tc.RBM(tc.Spin(12, U=0.02), tc.Spin(8), weights=np.full((12, 8), coupling))


@EVERY_UNIT
def test_brackets_exact_values(kind: str) -> None:
    # Four machines of each unit type, forward and reverse: of 48 estimates 3 standard errors miss fewer than one.
    for seed in range(4):
        machine = random_rbm(seed, kind, "Binary", sizes=(12, 6), sigma=0.3 + 0.2 * seed)
        exact = tc.exact.log_z(machine)
        for reverse in (False, True):
            found = tc.ais(machine, 200, 200, seed, reverse=reverse)
            assert abs(found.log_z - exact) < 3.5 * found.standard_error + 1e-9
            assert 0 < found.standard_error < 0.2


def test_twenty_machines_lie_within_three_standard_errors() -> None:
    inside = []
    for n in range(20):
        kind = list(UNITS)[n % len(UNITS)]
        machine = random_rbm(100 + n, kind, "Binary", sizes=(15, 8), sigma=0.1 + 0.05 * n)
        found = tc.ais(machine, 100, 300, n)
        inside.append(abs(found.log_z - tc.exact.log_z(machine)) < 3 * found.standard_error)
    assert sum(inside) >= 19


def test_deep_machines() -> None:
    _, _, machine = both("spin-binary-spin-spin", sigma=0.8)
    for reverse in (False, True):
        found = tc.ais(machine, 200, 200, reverse=reverse)
        assert abs(found.log_z - tc.exact.log_z(machine)) < 3.5 * found.standard_error


def test_independent_units_are_exact() -> None:
    machine = random_rbm(1, sigma=0.0)
    found = tc.ais(machine, 3, 2)
    assert found.log_z == pytest.approx(tc.exact.log_z(machine), abs=1e-12)
    assert found.standard_error < 1e-12


@pytest.mark.filterwarnings("ignore:ais. the estimate is not to be trusted")
def test_forward_is_low_and_reverse_is_high_where_steps_are_few() -> None:
    machine = random_rbm(2, "Spin", "Spin", sizes=(14, 10), sigma=1.2)
    exact = tc.exact.log_z(machine)
    X = tc.sample(machine, 600, sweeps=300, replicas=12)  # it has many modes
    low = np.mean([tc.ais(machine, 20, 3, seed).log_z for seed in range(30)])
    high = np.mean([tc.ais(machine, 20, 3, n, reverse=True, init=X[20 * n :][:20]).log_z for n in range(30)])
    assert low < exact < high


def test_the_centre_of_data_and_uneven_temperatures_are_as_good() -> None:
    machine = random_rbm(3, sizes=(12, 6), sigma=0.8)
    exact = tc.exact.log_z(machine)
    X = tc.sample(machine, 50, sweeps=50)
    for options in ({"data": X}, {"temperatures": np.linspace(0, 1, 201)[1:] ** 2}):
        found = tc.ais(machine, 200, **{"temperatures": 200} | options)  # type: ignore[arg-type]
        assert abs(found.log_z - exact) < 3.5 * found.standard_error


@pytest.mark.usefixtures("all_threads")
def test_results_do_not_depend_on_threads() -> None:
    machine = random_rbm(4)
    found = tc.ais(machine, 150, 20, 5), tc.ais(machine, 150, 20, 5, reverse=True)
    with thread_limit(1):
        assert_allclose(tc.ais(machine, 150, 20, 5), found[0], rtol=1e-13)
        assert_allclose(tc.ais(machine, 150, 20, 5, reverse=True), found[1], rtol=1e-13)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"chains": 1}, "chains must be"),
        ({"temperatures": 0}, "temperatures must be"),
        ({"temperatures": [0.5, 0.4, 1.0]}, "temperatures must be"),
        ({"temperatures": [0.0, 1.0]}, "temperatures must be"),
        ({"temperatures": [0.5, 0.9]}, "temperatures must be"),
        ({"seed": -1}, "seed must be"),
        ({"data": np.zeros((2, 3))}, "data must have 7 columns"),
        ({"init": np.zeros((100, 7))}, "init is where reverse chains start"),
        ({"init": np.zeros((3, 7)), "reverse": True}, "init must have 100 rows"),
    ],
)
def test_refusals(options: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        tc.ais(random_rbm(5), **options)  # type: ignore[arg-type]


def test_visible_samples_do_not_start_deep_machines() -> None:
    _, _, machine = both("binary-spin-binary")
    with pytest.raises(ValueError, match="says too little"):
        tc.ais(machine, 2, 2, reverse=True, init=np.zeros((2, machine.sizes[0])))


def test_replicas_cross_between_states_that_gibbs_chains_do_not_leave() -> None:
    machine = ferromagnet()
    up = np.ones((400, 12))
    exact = tc.exact.moments(machine).mean[0]
    stuck = tc.sample(machine, 400, init=up, sweeps=200)
    assert stuck.mean() > 0.95
    moved = tc.sample(machine, 400, init=up, sweeps=500, replicas=12)
    assert (np.abs(moved.mean(axis=0) - exact) < 4 / np.sqrt(400)).all()


def test_replicas_have_the_right_law_and_report_exchanges() -> None:
    machine = random_rbm(9, "TruncatedGaussBernoulli", "Binary", sizes=(5, 4), sigma=1.0)
    replicas = tc.ReplicaExchange(machine, 3000, [0.0, 0.3, 0.6, 1.0], seed=1)
    assert np.isnan(replicas.acceptance).all()
    replicas.sweep(60)
    assert ((replicas.acceptance > 0.3) & (replicas.acceptance <= 1)).all()
    exact = tc.exact.moments(machine)
    for x, mean, var in zip(replicas.layers, exact.mean, exact.var, strict=True):
        assert (np.abs(x.mean(axis=0) - mean) < 4 * np.sqrt(var / 3000)).all()
        assert (np.abs(x.var(axis=0) / var - 1) < 0.15).all()
    machine.layers[0].check_data("x", replicas.layers[0])


@pytest.mark.usefixtures("all_threads")
def test_replicas_do_not_depend_on_threads() -> None:
    machine = random_rbm(10)
    x = tc.sample(machine, 150, sweeps=20, replicas=4)
    with thread_limit(1):
        assert_array_equal(tc.sample(machine, 150, sweeps=20, replicas=4), x)


@pytest.mark.parametrize("betas", [1, [0.0, 0.5], [-0.1, 1.0], [1.0], [0.5, 0.2, 1.0]])
def test_refused_ladders(betas: object) -> None:
    with pytest.raises(ValueError, match="betas must be"):
        tc.ReplicaExchange(random_rbm(11), 2, betas)  # type: ignore[arg-type]
