"""Averages over distinct solutions: derivatives of ln sum exp(-F), and against enumeration."""

from __future__ import annotations

import math

import numpy as np
import pytest
from cases import random_machine, unit_of
from numpy.testing import assert_allclose

import tapcore as tc

H = 1e-4
METHODS = ("nmf", "tap", "tap3", "rbp", "adatap")


def two_valleys(strength: float = 0.3) -> tc.Machine:
    """Spins with solutions on either side of zero."""
    rng = np.random.default_rng(3)
    W = strength * (1 + 0.2 * rng.standard_normal((7, 5)))
    return tc.RBM(tc.Spin(7, U=0.02 * rng.standard_normal(7)), tc.Spin(5, U=0.01), weights=W)


def solved(machine: tc.Machine, method: str, starts: np.ndarray | None = None) -> tc.Solutions:
    if starts is None:
        starts = np.random.default_rng(0).uniform(-1, 1, (12, machine.sizes[0]))
    return tc.solve(machine, starts, method=method, tol=1e-12, max_sweeps=100_000)


def log_sum(machine: tc.Machine, method: str) -> float:
    return float(np.logaddexp.reduce(-solved(machine, method).unique(1e-4).free_energy))


def moved(machine: tc.Machine, by: tuple[np.ndarray, np.ndarray, np.ndarray]) -> tc.Machine:
    layers = [
        layer.with_parameters({**layer.parameters, "U": layer.parameters["U"] + u})
        for layer, u in zip(machine.layers, by[:2], strict=True)
    ]
    return machine.replace(layers=layers, weights=[machine.weights[0] + by[2]])


@pytest.mark.parametrize("method", METHODS)
def test_they_are_derivatives_of_the_log_sum(method: str) -> None:
    machine = two_valleys()
    together = solved(machine, method).unique(1e-4).averages()
    assert len(together.weights) == (3 if method == "adatap" else 2)
    assert_allclose(together.log_z, log_sum(machine, method), rtol=1e-14)
    rng = np.random.default_rng(1)
    for _ in range(3):
        by = rng.standard_normal(7), rng.standard_normal(5), rng.standard_normal((7, 5))
        if method == "rbp":  # whose marginals are not derivatives of its F, which is not stationary in messages
            by = 0 * by[0], 0 * by[1], by[2]
        up, down = (log_sum(moved(machine, (s * by[0], s * by[1], s * by[2])), method) for s in (H, -H))
        told = by[0] @ together.mean[0] + by[1] @ together.mean[1] + (by[2] * together.pair[0]).sum()
        assert_allclose(told, (up - down) / (2 * H), rtol=1e-6)


@pytest.mark.parametrize("method", ["nmf", "tap", "tap3"])
def test_pairs_of_deep_machines_are_derivatives_too(method: str) -> None:
    machine = tc.DBM(tc.Binary(5), tc.Binary(4), tc.Binary(3), sigma=0.6, seed=4)
    together = solved(machine, method, np.random.default_rng(0).random((5, 5))).averages()
    for i, W in enumerate(machine.weights):
        D = np.random.default_rng(i).standard_normal(W.shape)

        def at(h: float, i: int = i, D: np.ndarray = D) -> float:
            weights = [w + h * D if j == i else w for j, w in enumerate(machine.weights)]
            found = solved(machine.replace(weights=weights), method, np.full((1, 5), 0.5))
            return -float(found.free_energy[0])

        assert_allclose((together.pair[i] * D).sum(), (at(H) - at(-H)) / (2 * H), rtol=1e-6)


def test_together_they_are_near_enumeration_where_one_alone_is_not() -> None:
    machine = two_valleys(0.45)
    exact, found = tc.exact.moments(machine), solved(machine, "tap").unique()
    together, alone = found.averages(), found[:1].averages()
    assert abs(together.log_z - exact.log_z) < 0.1 * abs(alone.log_z - exact.log_z)
    for i in range(2):
        assert np.abs(together.mean[i] - exact.mean[i]).max() < 0.05
        assert np.abs(together.var[i] - exact.var[i]).max() < 0.05
        assert np.abs(alone.mean[i] - exact.mean[i]).max() > 0.2


def test_a_mixture_by_hand() -> None:
    machine = two_valleys()
    found = solved(machine, "tap").unique()
    F, (a, b), (c, d) = found.free_energy, found.mean, found.var
    for temperature in (0.5, 1.0, 3.0):
        together = found.averages(temperature)
        w = np.exp(-F / temperature) / np.exp(-F / temperature).sum()
        assert_allclose(together.weights, w, rtol=1e-13)
        assert_allclose(together.log_z, (w * (-F - np.log(w))).sum(), rtol=1e-13)
        assert_allclose(together.mean[0], w @ a, atol=1e-15)
        assert_allclose(together.var[1], w @ (d + b**2) - (w @ b) ** 2, rtol=1e-10)
        W = machine.weights[0]
        pair = sum(w[k] * (np.outer(a[k], b[k]) + W * np.outer(c[k], d[k])) for k in range(2))
        assert_allclose(together.pair[0], pair, rtol=1e-12)
    alike = found.averages(math.inf)
    assert_allclose(alike.weights, 0.5)
    assert found.averages(1e-9).log_z == pytest.approx(-F.min())


def test_chains_are_merged_first_and_those_merged_already_are_not() -> None:
    machine = two_valleys()
    found = solved(machine, "tap")
    assert len(found.averages().weights) == 2
    assert found.averages().log_z == found.unique().averages().log_z
    assert len(found.unique()[:1].averages().weights) == 1
    assert "2 solutions of 7-5 units" in repr(found.averages())


def test_every_kind_of_unit() -> None:
    for kinds in (("spin", "binary"), ("truncatedgaussian", "binary"), ("truncatedgaussbernoulli", "spin")):
        layers, weights = random_machine(5, *((kind, 4) for kind in kinds))
        machine = tc.Machine(map(unit_of, layers), weights)
        found = tc.solve(machine, np.full((1, 4), 0.2), tol=1e-12)
        together = found.averages()
        assert_allclose(together.mean[0], found.mean[0][0], rtol=1e-13)
        assert_allclose(together.var[1], found.var[1][0], rtol=1e-12)


@pytest.mark.parametrize("temperature", [0, -1.0, math.nan, "warm"])
def test_a_temperature_that_is_none_is_refused(temperature: object) -> None:
    found = solved(two_valleys(), "tap")
    with pytest.raises(ValueError, match=r"^temperature must be"):
        found.averages(temperature)  # type: ignore[arg-type]


def test_nothing_to_average_is_refused() -> None:
    lost = tc.solve(two_valleys(0.8), np.ones((3, 7)), max_sweeps=1, tol=1e-15)
    with pytest.raises(ValueError, match="no chain has converged"):
        lost.averages()
    made = tc.Solutions(
        *[(np.zeros((1, 1)), np.zeros((1, 1)))] * 4, *[np.zeros(1)] * 4, np.ones(1, int), np.ones(1, bool)
    )
    with pytest.raises(ValueError, match="these have no machine"):
        made.averages()
