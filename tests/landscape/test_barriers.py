"""Saddles between solutions: against a scan, against the Hessian written out, and what graphs are made of them."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import naive_hessian
import numpy as np
import pytest
from cases import all_solutions, memories, random_rbm, starts
from numpy.testing import assert_allclose, assert_array_equal
from scipy.optimize import minimize_scalar

import tapcore as tc
from tapcore.landscape import newton
from tapcore.landscape.barriers import FLOWING, SAME, _minima, _Search, barriers
from tapcore.landscape.curvature import Space
from tapcore.landscape.states import NOWHERE, Basins, State

KINDS = ("Spin", "Spin")


@pytest.mark.nojit
@pytest.mark.parametrize(("sizes", "weight"), [((6, 5), 0.25), ((10, 4), 0.3)])
def test_the_barrier_of_a_ferromagnet_is_that_of_a_scan(sizes: tuple[int, int], weight: float) -> None:
    W = np.full(sizes, weight)
    machine = tc.RBM(tc.Spin(sizes[0]), tc.Spin(sizes[1]), weights=W)
    found = tc.solve(machine, np.array([[0.5], [-0.5]]) * np.ones(sizes[0]), tol=1e-12)
    graph = tc.barriers(machine, found)

    def lowest(m: float) -> float:
        def at(h: float) -> float:
            means = [m] * sizes[0], [h] * sizes[1]
            return naive_hessian.free_energy(W, KINDS, ([0.0] * sizes[0], [0.0] * sizes[1]), means, 2)

        return float(minimize_scalar(at, bounds=(-1 + 1e-9, 1 - 1e-9), options={"xatol": 1e-10}).fun)

    scan = [lowest(m) for m in np.linspace(found.mean[0][0, 0], found.mean[0][1, 0], 101)]
    assert len(graph.minima) == 2
    assert len(graph.saddles) == 1
    heights = graph.heights()
    assert_allclose(heights[0, 1] - heights[0, 0], max(scan) - scan[0], atol=1e-6)
    assert_allclose(graph.saddles.mean[0], 0, atol=1e-9)
    assert_array_equal(graph.ends, [[0, 1]])


@pytest.mark.parametrize("seed", range(10))
def test_saddles_are_stationary_and_fall_in_one_direction(seed: int) -> None:
    machine = memories(seed)
    found = all_solutions(machine)
    assert len(found) > 1
    graph = tc.barriers(machine, found)
    assert len(graph.saddles)
    after = tc.solve(machine, graph.saddles, tol=0, max_sweeps=1, damping=0.0, acceleration=None)
    for x, y in zip(after.mean + after.var, graph.saddles.mean + graph.saddles.var, strict=True):
        assert_allclose(x, y, atol=1e-8)
    for k in range(len(graph.saddles)):
        a = tuple(x[k] for x in graph.saddles.mean)
        values = naive_hessian.curvatures(machine.weights[0], KINDS, a, 2)
        assert values[0] < 0 < values[1]
        assert_allclose(graph.curvature[k], values[0], rtol=1e-6)
        U = ([0.0] * 24, [0.0] * 24)
        F = naive_hessian.free_energy(machine.weights[0], KINDS, U, a, 2)
        # ln Z of a spin in no field is ln 2, which the entropies count.
        assert_allclose(graph.saddles.free_energy[k], F, rtol=1e-10)
        assert (graph.minima.free_energy[graph.ends[k]] < graph.saddles.free_energy[k]).all()
    assert len(graph.merges()) == len(graph.minima) - 1


def test_symmetric_minima_are_seen_from_equally_high_barriers() -> None:
    # Turning all spins changes nothing: barriers come in pairs.
    machine = memories()
    graph = tc.barriers(machine, all_solutions(machine))
    turned = [int(np.abs(graph.minima.mean[0] + m).max(axis=1).argmin()) for m in graph.minima.mean[0]]
    heights = graph.heights()
    assert_allclose(heights, heights[np.ix_(turned, turned)], atol=1e-8)
    assert_allclose(heights, heights.T)


def test_heights_are_the_lowest_of_the_highest_on_the_way() -> None:
    machine = memories(6)
    graph = tc.barriers(machine, all_solutions(machine))
    count = len(graph.minima)
    direct = np.full((count, count), np.inf)
    for (a, b), height in zip(graph.ends, graph.saddles.free_energy, strict=True):
        direct[a, b] = direct[b, a] = min(direct[a, b], height)
    for k in range(count):  # as Floyd and Warshall do
        direct = np.minimum(direct, np.maximum(direct[:, [k]], direct[[k], :]))
    np.fill_diagonal(direct, graph.minima.free_energy)
    assert_array_equal(graph.heights(), direct)
    heights = [merge.height for merge in graph.merges()]
    assert heights == sorted(heights)


def test_binary_and_real_units_have_saddles_too() -> None:
    # Units 0 and 1 in a field that makes both sides of a ferromagnet alike.
    W = np.full((8, 6), 0.9)
    machine = tc.RBM(tc.Binary(8, U=-2.7), tc.Binary(6, U=-3.6), weights=W)
    found = tc.solve(machine, np.array([[0.02], [0.98]]) * np.ones(8), tol=1e-10)
    graph = tc.barriers(machine, found.unique())
    assert (len(graph.minima), len(graph.saddles)) == (2, 1)
    between = graph.saddles.mean[0][0, 0]
    assert graph.minima.mean[0][:, 0].min() < between < graph.minima.mean[0][:, 0].max()
    real = tc.RBM(tc.Gaussian(8, V=1.0), tc.Spin(5), weights=np.full((8, 5), 0.35))
    found = tc.solve(real, np.array([[1.0], [-1.0]]) * np.ones(8), tol=1e-10).unique()
    graph = tc.barriers(real, found)
    assert (len(graph.minima), len(graph.saddles)) == (2, 1)
    assert_allclose(graph.saddles.mean[0], 0, atol=1e-9)


def test_newtons_method_doubles_digits(monkeypatch: pytest.MonkeyPatch) -> None:
    # Means far from 0, about which fields and precisions are to change together.
    machine = random_rbm(3, "truncatedgaussian", "binary", sizes=(6, 5), sigma=0.4)
    found = tc.solve(machine, starts(machine, 3), tol=1e-13)[:1]
    space = Space.of(machine, "tap")
    B, A = space.wide(found)
    near = [b + 0.05 for b in B], [a + 0.05 for a in A]
    residuals = []
    for steps in range(4):
        monkeypatch.setattr(newton, "STEPS", steps)
        residuals.append(newton.stationary(space, *near, 0.0)[1])
    assert residuals[0] > 1e-4
    for before, after in pairwise(residuals):
        assert after < max(20 * before**2, 1e-14)


def test_a_float32_machine_is_taken_in_float64() -> None:
    machine = memories()
    narrow = machine.replace(dtype="float32")
    wide, taken = (tc.barriers(m, tc.solve(m, all_solutions(machine).mean[0], tol=1e-5).unique(1e-3)) for m in (
        narrow.replace(dtype="float64"), narrow,
    ))  # fmt: skip
    assert_allclose(taken.saddles.free_energy, wide.saddles.free_energy, rtol=1e-9)


def test_one_solution_has_no_barrier() -> None:
    machine = random_rbm(0, "binary", "binary", sizes=(5, 4), sigma=0.1)
    graph = tc.barriers(machine, tc.solve(machine, starts(machine, 4)))
    assert (len(graph.minima), len(graph.saddles), graph.merges()) == (1, 0, [])
    assert_array_equal(graph.heights(), graph.minima.free_energy[:, None])


def test_pairs_alone_are_searched_where_they_are_given() -> None:
    machine = memories()
    found = all_solutions(machine)
    some = tc.barriers(machine, found, pairs=[[0, 1]])
    assert 1 <= len(some.saddles) <= 2  # one more if the way leads through another minimum
    with pytest.raises(ValueError, match="pairs must be of two different"):
        tc.barriers(machine, found, pairs=[[1, 1]])
    with pytest.raises(ValueError, match="pairs must be of the"):
        tc.barriers(machine, found, pairs=[[0, 999]])
    with pytest.raises(ValueError, match=r"pairs must be integers of shape \(P, 2\)"):
        tc.barriers(machine, found, pairs=[0.5, 1.0])


@pytest.mark.parametrize(
    ("changed", "said"),
    [({"neighbours": 0}, "neighbours must be"), ({"max_sweeps": 0}, "max_sweeps must be"), ({"seed": -1}, "seed must")],
)
def test_bad_arguments_are_refused(changed: dict[str, Any], said: str) -> None:
    machine = memories()
    with pytest.raises(ValueError, match=said):
        barriers(machine, all_solutions(machine), **changed)


def test_solutions_must_have_converged() -> None:
    machine = memories()
    found = tc.solve(machine, np.ones((1, 24)), tol=1e-12, max_sweeps=1)
    with pytest.raises(ValueError, match="at least one that has converged"):
        tc.barriers(machine, found)


def test_chains_that_have_not_arrived_are_taken_to_the_minimum_that_they_are_near() -> None:
    machine = memories()
    space = Space.of(machine, "tap")
    minima = _minima(space, all_solutions(machine))
    basins = Basins(space, minima, FLOWING, SAME, max_sweeps=2)
    here, rng = State.of(minima), np.random.default_rng(0)
    near, far = here.nudged(1e-2, rng), here.times(np.full(len(here), 0.8))
    labels, ended = basins.flow(near)
    assert_array_equal(labels, np.arange(len(minima)))
    assert_allclose(ended.distance(here), 0, atol=1e-9)
    assert_array_equal(basins.flow(far)[0], NOWHERE)


def test_minima_that_nothing_joins_are_tried_from_others_each_time() -> None:
    machine = memories()
    found = all_solutions(machine)
    space = Space.of(machine, "tap")
    minima = _minima(space, found)
    search = _Search(space, Basins(space, minima, FLOWING, SAME, 1000), np.random.default_rng(0))
    seen: set[tuple[int, ...]] = set()
    for _ in range(len(minima)):  # no saddles are found meanwhile
        pairs = {tuple(pair) for pair in search._across().tolist()}
        assert not pairs & seen
        seen |= pairs
        search.tried.append(np.array(sorted(pairs), np.int64).reshape(-1, 2))
    assert {(a, b) for a in range(len(minima)) for b in range(len(minima)) if a != b} == seen


def test_solutions_of_another_machine_are_refused() -> None:
    machine = tc.RBM(tc.Binary(6), tc.Binary(4), sigma=1.0, seed=0)
    found = tc.harvest(machine, np.eye(6), progress=False)
    message = "solutions must be of this machine, got those of another one of the same size"
    for other in (machine.at(0.9), tc.RBM(tc.Binary(6), tc.Binary(4), sigma=1.0, seed=1)):
        for made in (tc.barriers, tc.curvatures, tc.solution_tree):
            with pytest.raises(ValueError, match=message):
                made(other, found)
    # In another dtype it is the same one.
    assert len(tc.barriers(machine.replace(dtype="float32"), found, progress=False).minima) == len(found)


def test_ways_down_along_a_symmetric_ridge_come_to_a_minimum() -> None:
    # Two of the minima's overlaps are alike: the way down from the high saddles ends at one between other minima.
    rng = np.random.default_rng(0)
    xi = rng.choice([-1.0, 1.0], (100, 3))
    machine = tc.RBM(tc.Spin(100), tc.Gaussian(3), weights=xi * np.sqrt(1.5 / 100))
    found = tc.harvest(machine, np.concatenate([xi.T, -xi.T]), method="nmf", progress=False)
    graph = tc.barriers(machine, found, progress=False)
    assert len(graph.merges()) == len(graph.minima) - 1
    np.testing.assert_allclose(graph.saddles.free_energy, np.repeat([-87.711, -84.502, -76.571], 2), atol=1e-3)
