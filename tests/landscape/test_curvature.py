"""Curvatures of the free energy against its second derivatives written out, and against the Jacobian of a sweep."""

from __future__ import annotations

import naive_hessian
import numpy as np
import pytest
from cases import random_rbm, starts
from numpy.testing import assert_allclose

import tapcore as tc
from tapcore.landscape.curvature import Space


@pytest.mark.nojit
@pytest.mark.parametrize("method", ["tap", "nmf"])
@pytest.mark.parametrize("kinds", [("Binary", "Binary"), ("Spin", "Spin"), ("Binary", "Spin"), ("Spin", "Binary")])
def test_two_state_units_have_the_eigenvalues_of_the_hessian(kinds: tuple[str, str], method: str) -> None:
    machine = random_rbm(1, *(kind.lower() for kind in kinds), sizes=(7, 5), sigma=0.7)
    found = tc.solve(machine, starts(machine, 20), method=method, tol=1e-12).unique(1e-6)
    assert len(found)
    of_spins = tc.curvatures(machine, found, count=12)
    for k in range(len(found)):
        a = tuple(x[k] for x in found.mean)
        expected = naive_hessian.curvatures(machine.weights[0], kinds, a, 2 if method == "tap" else 1)
        # The twelve others have no second coordinate, in which nothing couples: there it is 1.
        with_ones = np.sort(np.concatenate([expected, np.ones(12)]))
        assert_allclose(of_spins[k], with_ones[:12], rtol=1e-10, atol=1e-10)


def test_the_written_out_hessian_is_that_of_the_free_energy() -> None:
    rng = np.random.default_rng(0)
    W, kinds = rng.normal(size=(3, 2)), ("Binary", "Spin")
    U, a = ([0.3, -0.1, 0.2], [0.1, 0.4]), ([0.2, 0.6, 0.9], [-0.3, 0.5])
    x = np.array([*a[0], *a[1]])

    def F(x: np.ndarray) -> float:
        return naive_hessian.free_energy(W, kinds, U, (list(x[:3]), list(x[3:])), 2)

    step = 1e-4 * np.eye(5)
    numeric = [[(F(x + s + t) - F(x + s - t) - F(x - s + t) + F(x - s - t)) / 4e-8 for t in step] for s in step]
    assert_allclose(naive_hessian.hessian(W, kinds, a, 2), numeric, atol=2e-5)


@pytest.mark.parametrize(
    "kinds",
    [("gaussian", "binary"), ("truncatedgaussian", "spin"), ("gaussbernoulli", "gaussian"),
     ("truncatedgaussbernoulli", "binary")],
)  # fmt: skip
def test_real_units_have_the_eigenvalues_of_a_sweep_of_all_layers(kinds: tuple[str, str]) -> None:
    machine = random_rbm(3, *kinds, sizes=(4, 3), sigma=0.4)
    found = tc.solve(machine, starts(machine, 5), tol=1e-12).unique(1e-6)
    space = Space.of(machine, "tap")
    B, A = space.wide(found[:1])

    def swept(fields: np.ndarray) -> np.ndarray:
        parts = np.split(fields, np.cumsum([4, 3, 4]))
        moments = [layer.moments(*p) for layer, *p in zip(machine.layers, parts[:2], parts[2:], strict=True)]
        after = space.fields([m[None] for _, m, _ in moments], [v[None] for _, _, v in moments])
        return np.concatenate([x[0] for layers in after for x in layers])

    at = np.concatenate([x[0] for x in (*B, *A)])
    steps = np.diag(1e-5 * np.maximum(1, np.abs(at)))
    jacobian = np.array([(swept(at + s) - swept(at - s)) / (2 * s.max()) for s in steps]).T
    expected = np.sort(1 - np.linalg.eigvals(jacobian).real)
    assert_allclose(tc.curvatures(machine, found[:1], count=14)[0], expected, rtol=1e-5, atol=2e-6)


def test_many_units_have_the_same_by_lanczos(monkeypatch: pytest.MonkeyPatch) -> None:
    machine = random_rbm(4, "binary", "spin", sizes=(30, 20), sigma=0.4)
    found = tc.solve(machine, starts(machine, 5), tol=1e-12).unique(1e-6)
    lanczos = tc.curvatures(machine, found, count=3, tol=1e-12)
    monkeypatch.setattr("tapcore.landscape.curvature.DENSE", 1000)
    assert_allclose(lanczos, tc.curvatures(machine, found, count=3), rtol=1e-9)


def test_a_ferromagnet_has_one_falling_direction_between_its_solutions() -> None:
    machine = tc.RBM(tc.Spin(6), tc.Spin(5), weights=np.full((6, 5), 0.25))
    at_zero = tc.solve(machine, np.zeros((1, 6)), tol=1e-12)
    values = tc.curvatures(machine, at_zero, count=2)[0]
    # At means of 0 the couplings are W between layers, and minus the sum of W^2 in each: a 2 x 2 problem.
    inner = np.array([[-5 * 0.25**2, np.sqrt(30) * 0.25], [np.sqrt(30) * 0.25, -6 * 0.25**2]])
    assert_allclose(values[0], 1 - np.linalg.eigvalsh(inner)[1], rtol=1e-10)
    assert values[0] < 0 < values[1]


def test_rows_that_are_not_finite_have_no_curvature() -> None:
    machine = random_rbm(0, "binary", "binary", sizes=(4, 3))
    found = tc.solve(machine, starts(machine, 2))
    found.var[1][1, 0] = np.inf
    with pytest.raises(ValueError, match=r"solutions.var\[1\]"):
        tc.curvatures(machine, found)


@pytest.mark.parametrize(
    ("changed", "said"),
    [({"count": 0}, "count must be"), ({"count": 15}, "count must be at most 14"), ({"tol": -1.0}, "tol must be")],
)
def test_bad_arguments_are_refused(changed: dict[str, float], said: str) -> None:
    machine = random_rbm(0, "binary", "binary", sizes=(4, 3))
    with pytest.raises(ValueError, match=said):
        tc.curvatures(machine, tc.solve(machine, starts(machine, 2)), **changed)  # type: ignore[arg-type]
    third = tc.solve(machine, starts(machine, 2), method="tap3")
    with pytest.raises(ValueError, match="method must be one of"):
        tc.curvatures(machine, third)
