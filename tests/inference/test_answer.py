"""Chains that answer new fields from outside before they sweep, against the same steps unit by unit."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import naive
import numpy as np
import pytest
from cases import random_rbm
from numpy.testing import assert_allclose, assert_array_equal

import tapcore as tc
from tapcore.equations.compiled import compiled
from tapcore.equations.outside import Given, outside_of
from tapcore.inference.solve import rule_for
from tapcore.inference.sweeps.chains import Chains

DEEP = [(tc.Binary, "binary", 5), (tc.Spin, "spin", 4), (tc.Binary, "binary", 3)]


def machines() -> list[Any]:
    """A machine, and its layers for the reference."""
    rng = np.random.default_rng(5)
    layers = [kind(n, U=rng.normal(size=n)) for kind, _, n in DEEP]
    weights = [rng.normal(0, 0.4, (a, b)) for (_, _, a), (_, _, b) in pairwise(DEEP)]
    sites = [[{"kind": name, "U": U} for U in layer.U] for (_, name, _), layer in zip(DEEP, layers, strict=True)]
    deep = tc.DBM(*layers, weights=weights), sites
    shallow = tc.RBM(*layers[:2], weights=weights[0]), sites[:2]
    return [deep, shallow]


def answered(
    sites: Any, weights: Any, state: naive.State, B: Any, A: Any, outside: Any, sweeps: int, method: str
) -> naive.State:
    """Odd layers from the fields B and A, then sweeps of even and odd ones, each with the fields from outside."""
    state = state.copy()

    def update(layer: int, fields: Any) -> None:
        for i, site in enumerate(sites[layer]):
            b, a = fields(i)
            U, V = outside[layer][0][i], outside[layer][1]
            state.mean[layer][i], state.var[layer][i] = naive.mean(site, b + U, a + V), naive.var(site, b + U, a + V)

    for layer in range(1, len(sites), 2):
        update(layer, lambda i, layer=layer: (B[layer][i], A[layer][i]))
    for _ in range(sweeps):
        for parity in (0, 1):
            for layer in range(parity, len(sites), 2):
                update(layer, lambda i, layer=layer: naive.field(sites, weights, state, layer, i, method))
    return state


@pytest.mark.nojit
@pytest.mark.parametrize("which", [0, 1], ids=["deep", "shallow"])
@pytest.mark.parametrize("method", ["nmf", "tap", "tap3"])
@pytest.mark.parametrize("sweeps", [1, 3])
def test_chains_answer_as_the_reference_does(which: int, method: str, sweeps: int) -> None:
    machine, sites = machines()[which]
    rule, rng, count = rule_for(machine, method), np.random.default_rng(0), 3
    own = compiled(machine.layers, machine.weights, rule.order)
    chains = Chains(machine.sizes, count, machine.dtype, order=rule.order)
    state, expected = chains.state, []
    U = [rng.normal(size=(count, n)) for n in machine.sizes]
    V = [np.array([[0.3 * (layer + 1)]]) for layer in range(len(machine.sizes))]
    none = tuple(np.empty((0, n)) for n in machine.sizes)
    given = Given(tuple(U), tuple(np.broadcast_to(v, (1, n)) for v, n in zip(V, machine.sizes, strict=True)), none)
    for k in range(count):
        before = naive.start(sites, rng.random(machine.sizes[0]))
        for _ in range(2):
            before = naive.sweep(sites, machine.weights, before, method)
        B, A = naive.all_fields(sites, machine.weights, before, method)
        for layer in range(len(sites)):
            state.mean[layer][k], state.var[layer][k] = before.mean[layer], before.var[layer]
            if layer % 2:
                state.B[layer][k], state.A[layer][k] = B[layer], A[layer]
        outside = [(u[k], v[0, 0]) for u, v in zip(U, V, strict=True)]
        expected.append(answered(sites, machine.weights, before, B, A, outside, sweeps, method))
    chains.answer(own, rule, sweeps, 0.0, outside_of(given, machine.dtype))
    for k, answer in enumerate(expected):
        for layer in range(len(sites)):
            assert_allclose(state.mean[layer][k], answer.mean[layer], rtol=1e-12, atol=1e-14)
            assert_allclose(state.var[layer][k], answer.var[layer], rtol=1e-12, atol=1e-14)


def test_a_solution_answers_what_it_knows_by_staying() -> None:
    machine = random_rbm(3, "Binary", "Spin", sizes=(8, 5), sigma=0.5)
    found = tc.solve(machine, np.random.default_rng(0).random((4, 8)), tol=1e-13)
    rule = rule_for(machine, "tap")
    chains = Chains(machine.sizes, 4, machine.dtype)
    for to, x in zip((*chains.state.mean, *chains.state.var), (*found.mean, *found.var), strict=True):
        to[:] = x
    chains.state.B[1][:], chains.state.A[1][:] = found.B[1], found.A[1]
    own = compiled(machine.layers, machine.weights, rule.order)
    chains.answer(own, rule, 2, 0.0, chains.nothing)
    for to, x in zip(chains.state.mean, found.mean, strict=True):
        assert_allclose(to, x, atol=1e-12)


def test_a_chain_that_is_lost_is_known_to_be() -> None:
    machine = random_rbm(3, "Gaussian", "Gaussian", sizes=(4, 3), sigma=0.1)
    own, rule = compiled(machine.layers, machine.weights, 2), rule_for(machine, "tap")
    chains = Chains(machine.sizes, 3, machine.dtype)
    chains.state.A[1][1] = -10.0  # more than its precision
    chains.answer(own, rule, 1, 0.0, chains.nothing)
    assert_array_equal(chains.lost(), [False, True, False])
