"""Spectral radius of the sweep's Jacobian against eigenvalues of a small one, and what it says of known solutions."""

from __future__ import annotations

import numpy as np
import pytest
from cases import random_rbm, starts
from numpy.testing import assert_allclose

import tapcore as tc


def jacobian(machine: tc.Machine, solutions: tc.Solutions, k: int) -> np.ndarray:
    """By central differences of single sweeps, of all means and variances."""
    sizes = [x.shape[1] for x in (*solutions.mean, *solutions.var)]
    at = np.concatenate([x[k] for x in (*solutions.mean, *solutions.var)])
    total, edges = len(at), np.cumsum(sizes)[:-1]

    def swept(points: np.ndarray) -> np.ndarray:
        parts = np.split(points, edges, axis=1)
        given = solutions[np.zeros(len(points), int)]
        for to, x in zip((*given.mean, *given.var), parts, strict=True):
            to[:] = x
        after = tc.solve(machine, given, tol=0, max_sweeps=1, damping=0.0, acceleration=None)
        return np.concatenate([*after.mean, *after.var], axis=1)

    step = 1e-6 * np.eye(total)
    return ((swept(at + step) - swept(at - step)) / 2e-6).T


@pytest.mark.parametrize("kinds", [("binary", "binary"), ("spin", "binary"), ("truncatedgaussian", "spin")])
def test_radius_is_the_largest_eigenvalue(kinds: tuple[str, str]) -> None:
    machine = random_rbm(2, *kinds, sizes=(6, 4), sigma=0.8)
    found = tc.solve(machine, starts(machine, 12), tol=1e-11).unique(1e-6)
    radius = tc.spectral_radius(machine, found, iterations=600)
    for k in range(len(found)):
        eigenvalues = np.abs(np.linalg.eigvals(jacobian(machine, found, k)))
        assert_allclose(radius[k], eigenvalues.max(), rtol=0.02)


def test_unstable_solutions_have_a_radius_above_one() -> None:
    machine = tc.RBM(tc.Spin(6), tc.Spin(4), weights=np.full((6, 4), 0.5))
    between = tc.solve(machine, np.zeros((1, 6)))
    beside = tc.solve(machine, np.full((1, 6), 0.5))
    assert between.converged.all()
    assert np.abs(between.mean[0]).max() == 0
    # By hand: W^T W has the one eigenvalue 6 with Onsager terms 3/2 and 1: (l + 1)(l + 3/2) = 6 l
    # has the roots 3 and 1/2.
    assert_allclose(tc.spectral_radius(machine, between), 3.0, rtol=1e-6)
    assert tc.spectral_radius(machine, beside)[0] < 1


def test_naive_mean_field_has_its_own() -> None:
    machine = tc.RBM(tc.Spin(6), tc.Spin(4), weights=np.full((6, 4), 0.3))
    found = tc.solve(machine, np.zeros((1, 6)), method="nmf")
    assert_allclose(tc.spectral_radius(machine, found), 6 * 4 * 0.3**2, rtol=1e-6)


def test_bad_input_is_refused() -> None:
    machine = random_rbm(0, sizes=(3, 2))
    found = tc.solve(machine, starts(machine, 2))
    for wrong in ({"iterations": 1}, {"seed": -1}):
        with pytest.raises(ValueError, match=next(iter(wrong))):
            tc.spectral_radius(machine, found, **wrong)
    with pytest.raises(ValueError, match="solutions"):
        tc.spectral_radius(random_rbm(0, sizes=(4, 2)), found)
