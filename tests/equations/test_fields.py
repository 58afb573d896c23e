"""Fields from outside and clamped units."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from cases import FIELDS, both, random_rbm, same, starts
from numpy.testing import assert_allclose, assert_array_equal

import tapcore as tc

METHODS = pytest.mark.parametrize("method", ["tap", "nmf"])


@pytest.mark.nojit
@METHODS
@pytest.mark.parametrize("shape", ["binary-binary", "truncatedgaussbernoulli-spin-gaussian"])
def test_fields_are_those_of_another_machine(shape: str, method: str) -> None:
    """U and V from outside are as good as the layers' own."""
    _, _, machine = both(shape)
    X, rng = starts(machine, 3), np.random.default_rng(0)
    shifts, layers = [], []
    for layer in machine.layers:
        U, V = rng.normal(0, 0.5, layer.n), rng.uniform(0, 1, layer.n)
        if "V" not in layer.names:
            V[:] = 0
        shifts.append((U, V))
        own = {k: p + {"U": U, "V": V}.get(k, 0) for k, p in layer.parameters.items()}
        layers.append(type(layer)(layer.n, **own))
    found = tc.solve(machine, X, method=method, fields=shifts, tol=1e-14)
    other = tc.solve(machine.replace(layers=layers), X, method=method, tol=1e-14)
    same(found, other, 1e-11)


@pytest.mark.nojit
def test_a_row_of_fields_is_for_its_chain_whatever_the_order_in_which_chains_stop() -> None:
    machine = random_rbm(3, sizes=(9, 5), sigma=1.0)
    X, rng = starts(machine, 40), np.random.default_rng(1)
    U, V = rng.normal(0, 3, (40, 9)), np.zeros((40, 1))
    at_once = tc.solve(machine, X, fields=[(U, V), None], tol=1e-12)
    for k in (0, 7, 23, 39):
        alone = tc.solve(machine, X[k : k + 1], fields=[(U[k], 0.0), None], tol=1e-12)
        same(alone, at_once[k], 1e-10)


@pytest.mark.nojit
@METHODS
def test_clamping_all_visible_units_leaves_what_is_exact(method: str) -> None:
    machine = random_rbm(4, "TruncatedGaussBernoulli", "Binary", sigma=1.0)
    X = machine.layers[0].sample(np.zeros((5, 7)), 0.0, np.random.default_rng(0))
    found = tc.solve(machine, np.zeros((5, 7)) + machine.layers[0].bounds()[1], method=method, fields=tc.Clamped(X))
    assert found.converged.all()
    log_z, mean, var = machine.layers[1].moments(X @ machine.weights[0], 0.0)
    assert_array_equal(found.mean[0], X)
    assert_allclose(found.mean[1], mean, rtol=1e-13)
    assert_allclose(found.var[1], var, rtol=1e-13)
    total = log_z.sum(axis=1) + machine.layers[0].log_weight(X).sum(axis=1)
    assert_allclose(-found.free_energy, total, rtol=1e-12)


@pytest.mark.nojit
@pytest.mark.parametrize("shape", ["binary-spin", "spin-binary-spin-spin", "truncatedgaussian-gaussbernoulli"])
def test_clamped_units_are_those_of_a_smaller_machine(shape: str) -> None:
    """What clamped units send to their neighbours is a field on these."""
    _, _, machine = both(shape)
    visible = machine.layers[0]
    x = visible.sample(np.zeros(visible.n), 0.0, np.random.default_rng(3))
    held = np.arange(visible.n) % 2 == 0
    X = starts(machine, 4)
    found = tc.solve(machine, X, fields=tc.Clamped(x, where=held), tol=1e-14)
    rest = type(visible)(int((~held).sum()), **{k: p[~held] for k, p in visible.parameters.items()})
    smaller = tc.Machine((rest, *machine.layers[1:]), (machine.weights[0][~held], *machine.weights[1:]))
    push = x[held] @ machine.weights[0][held]
    others = [None] * (len(machine.layers) - 2)
    expected = tc.solve(smaller, X[:, ~held], fields=[None, (push, 0.0), *others], tol=1e-14)
    assert_array_equal(found.mean[0][:, held], np.broadcast_to(x[held], (4, held.sum())))
    assert not found.var[0][:, held].any()
    assert_allclose(found.mean[0][:, ~held], expected.mean[0], atol=1e-12)
    for a, b in zip(found.mean[1:], expected.mean[1:], strict=True):
        assert_allclose(a, b, atol=1e-12)
    own = visible.log_weight(x)[held].sum()
    assert_allclose(-found.free_energy, -expected.free_energy + own, rtol=1e-12)


def test_hidden_units_can_be_clamped_too() -> None:
    machine = random_rbm(5)
    h = np.array([1.0, 0, 1, 1, 0])
    found = tc.solve(machine, starts(machine, 2), fields=[None, tc.Clamped(h)])
    _, mean, _ = machine.layers[0].moments(machine.weights[0] @ h, 0.0)
    assert_allclose(found.mean[0], np.broadcast_to(mean, (2, 7)), rtol=1e-13)
    assert_array_equal(found.mean[1], np.broadcast_to(h, (2, 5)))


def test_nothing_given_is_what_it_was() -> None:
    machine = random_rbm(6, sigma=1.0)
    X = starts(machine, 6)
    plain = tc.solve(machine, X)
    for fields in ([None, None], [(0.0, 0.0), (np.zeros(5), np.zeros((6, 5)))]):
        found = tc.solve(machine, X, fields=fields)
        for name in FIELDS:
            for a, b in zip(getattr(plain, name), getattr(found, name), strict=True):
                assert_array_equal(a, b)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ([None], "sequence of 2 entries"),
        (np.zeros((2, 7)), "sequence of 2 entries"),
        ([None, 3.0], r"fields\[1\] must be None, a pair"),
        ([(0.0,), None], r"fields\[0\] must be None, a pair"),
        ([(np.zeros(6), 0.0), None], r"fields\[0\]\[0\] must broadcast to \(3, 7\), got shape \(6,\)"),
        ([(np.zeros((2, 7)), 0.0), None], r"must broadcast to \(3, 7\), got shape \(2, 7\)"),
        ([(np.nan, 0.0), None], r"fields\[0\]\[0\]"),
        ([(0.0, np.inf), None], r"fields\[0\]\[1\]"),
        ([tc.Clamped(np.full(7, 0.5)), None], r"must be 0 or 1 for a Binary layer: fields\[0\].values\[0, 0\] is 0.5"),
        (tc.Clamped(np.array([[0, 0, 0, 0, 0, 0, np.nan]])), r"values\[0, 6\] is nan"),
        (tc.Clamped(np.zeros((2, 7))), r"must broadcast to \(3, 7\)"),
    ],
)
def test_fields_that_do_not_fit_are_refused(fields: Any, message: str) -> None:
    machine = random_rbm(7)
    with pytest.raises(ValueError, match=message):
        tc.solve(machine, starts(machine, 3), fields=fields)


def test_what_is_not_clamped_is_not_looked_at() -> None:
    machine = random_rbm(7)
    x = np.full(7, np.nan)
    x[2] = 1
    found = tc.solve(machine, starts(machine, 3), fields=tc.Clamped(x, where=~np.isnan(x)))
    assert found.converged.all()
    assert_array_equal(found.mean[0][:, 2], 1)


def test_clamped_refuses_what_it_cannot_be() -> None:
    for values, where, message in (
        (np.zeros(3), np.ones(4, bool), "broadcast"),
        (np.zeros((2, 2, 2)), None, "broadcast"),
        (np.zeros(3), np.ones(3), "where must be boolean"),
        (["a"], None, "real numbers"),
    ):
        with pytest.raises(ValueError, match=message):
            tc.Clamped(values, where)
    assert "values (3,)" in repr(tc.Clamped(np.zeros(3)))


def test_other_methods_refuse_fields() -> None:
    machine = random_rbm(8)
    for method in ("rbp", "adatap"):
        with pytest.raises(ValueError, match="fields are for methods"):
            tc.solve(machine, starts(machine, 2), method=method, fields=[(0.0, 0.0), None])


@pytest.mark.nojit
def test_solutions_go_on_with_other_units_clamped() -> None:
    machine = random_rbm(9, sigma=0.5)
    x = np.array([1.0, 0, 1, 1, 0, 0, 1])
    free = tc.solve(machine, starts(machine, 3))
    held = np.arange(7) < 3
    found = tc.solve(machine, free, fields=tc.Clamped(x, where=held), tol=1e-12)
    assert_array_equal(found.mean[0][:, held], np.broadcast_to(x[held], (3, 3)))
    assert not found.var[0][:, held].any()
    again = tc.solve(machine, starts(machine, 3), fields=tc.Clamped(x, where=held), tol=1e-12)
    assert_allclose(found.mean[1], again.mean[1], atol=1e-10)
