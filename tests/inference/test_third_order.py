"""Third order: cumulants as functions of the mean, what it gains over TAP, and where it is refused."""

from __future__ import annotations

from pathlib import Path

import naive_third
import numpy as np
import pytest
from cases import fit_as_paper, random_rbm, starts
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose
from unit_cases import PLAIN as UNITS

import tapcore as tc
from tapcore.equations.compiled import compiled
from tapcore.equations.fields import third_cumulants
from tapcore.units.rows import row_third
from tapcore.units.sites import sites_of

RANGE = {"binary": (0.0, 1.0), "spin": (-1.0, 1.0)}
BY_NAME = {"binary": tc.Binary, "spin": tc.Spin}


def third(kind: str, mean: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    made, slope = np.empty_like(mean), np.empty_like(mean)
    row_third(sites_of([BY_NAME[kind](mean.size)]).site(0), mean, made, slope)
    return made, slope


@pytest.mark.nojit
@pytest.mark.parametrize("kind", RANGE)
@given(share=st.lists(st.floats(0, 1), min_size=1, max_size=20))
def test_cumulants_are_those_of_two_states(kind: str, share: list[float]) -> None:
    low, high = RANGE[kind]
    mean = low + (high - low) * np.array(share)
    found, slope = third(kind, mean)
    site = {"kind": kind}
    assert_allclose(found, [naive_third.kappa3(site, a) for a in mean], atol=1e-15)
    assert_allclose(slope, [naive_third.slope(site, a) for a in mean], atol=1e-14)
    # Turned round, the distribution is as skewed the other way.
    mirrored, same = third(kind, low + high - mean)
    assert_allclose(mirrored, -found, atol=1e-15)
    assert_allclose(same, slope, atol=1e-14)


@pytest.mark.nojit
def test_the_third_cumulant_is_the_derivative_of_the_variance() -> None:
    for kind, unit in BY_NAME.items():
        layer = unit(9, U=np.linspace(-2, 2, 9))
        step = 1e-5
        (_, _, up), (_, mean, _), (_, _, down) = (layer.moments(B, 0.0) for B in (step, 0.0, -step))
        assert_allclose(third(kind, mean)[0], (up - down) / (2 * step), atol=1e-9)


@pytest.mark.nojit
def test_gaussian_units_have_none() -> None:
    machine = random_rbm(3, "Gaussian", "Binary", sigma=0.4)
    tap, three = (tc.solve(machine, np.full((1, 7), 0.3), method=m, tol=1e-14) for m in ("tap", "tap3"))
    for a, b in zip(tap.mean + tap.var, three.mean + three.var, strict=True):
        assert_allclose(a, b, atol=1e-13)
    assert_allclose(tap.free_energy, three.free_energy, rtol=1e-14)
    means = (np.full((2, 7), 0.3), np.full((2, 5), 0.3))
    cumulants = third_cumulants(compiled(machine.layers, machine.weights, 1), means, 3)
    assert not cumulants[0].any()
    assert_allclose(cumulants[1], 0.3 * 0.7 * 0.4)


@pytest.mark.parametrize(("visible", "hidden"), [("Spin", "Spin"), ("Binary", "Spin")])
def test_harvest_and_stability_know_it(visible: str, hidden: str) -> None:
    machine = random_rbm(8, visible, hidden, sizes=(20, 12), sigma=0.15)
    X = starts(machine, 50)
    found = tc.harvest(machine, X, method="tap3")
    solved = tc.solve(machine, X, method="tap3").unique()
    assert_allclose(found.free_energy, solved.free_energy, rtol=1e-10)
    assert found.method == "tap3"
    assert (tc.spectral_radius(machine, found) < 1).all()
    assert np.abs(found.mean[0] - tc.harvest(machine, X).mean[0][: len(found)]).max() > 1e-6


@pytest.mark.parametrize("name", sorted(set(UNITS) - {"Binary", "Spin", "Gaussian"}))
def test_units_without_it_are_refused_before_work(name: str, tmp_path: Path) -> None:
    machine = tc.RBM(tc.Binary(3), UNITS[name](2), seed=0)
    X = np.zeros((4, 3))
    message = rf"method 'tap3' needs the third cumulant .* layers\[1\] \({name}\)"
    solutions = tc.solve(machine, X)
    for refused in (
        lambda: tc.solve(machine, X, method="tap3"),
        lambda: tc.harvest(machine, X, method="tap3"),
        lambda: tc.free_energy(machine, solutions.mean, solutions.var, method="tap3"),
        lambda: fit_as_paper(machine, X, epochs=1, gradient="tap3", checkpoint=tmp_path / "run"),
    ):
        with pytest.raises(ValueError, match=message):
            refused()
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("how", ["data", "persistent"])
def test_training_resumes_with_cubes_of_the_weights(how: str, tmp_path: Path) -> None:
    X = (np.random.default_rng(0).random((40, 6)) < 0.4).astype(float)
    machine = tc.RBM(tc.Binary(6), tc.Spin(4), sigma=0.3, seed=1)
    options = {"learning_rate": 0.3, "batch_size": 10, "gradient": "tap3", "chain_init": how, "sweeps": 2}
    whole = fit_as_paper(machine, X, epochs=4, **options)
    fit_as_paper(machine, X, epochs=2, checkpoint=tmp_path, **options)
    resumed = fit_as_paper(machine, X, epochs=4, checkpoint=tmp_path, resume=True, **options)
    assert resumed.machine == whole.machine
    assert whole.machine != fit_as_paper(machine, X, epochs=4, **{**options, "gradient": "tap"}).machine
