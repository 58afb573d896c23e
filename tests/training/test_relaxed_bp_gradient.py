"""Gradients of relaxed belief propagation: finite differences of its free energy, limits, and training with them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cases import fit_as_paper, random_rbm, starts
from numpy.testing import assert_allclose, assert_array_equal
from test_phases import slopes

import tapcore as tc
from tapcore._base.threads import thread_limit
from tapcore.inference.belief.gradient import CLOSELY, Backwards, Marginals, follow, found_again

TIGHT: dict[str, Any] = {"method": "rbp", "tol": 1e-15}
STEP = 1e-3
PAIRS = [
    ("Binary", "Spin"),
    ("Gaussian", "Binary"),
    ("TruncatedGaussian", "Binary"),
    ("GaussBernoulli", "TruncatedGaussBernoulli"),
]


def samples(machine: tc.Machine, count: int = 5) -> np.ndarray:
    rng = np.random.default_rng(0)
    layer = machine.layers[0]
    return layer.sample(rng.normal(size=(count, layer.n)), 0.0, rng)


def changed(machine: tc.Machine, layer: int, name: str, at: Any, step: float) -> tc.Machine:
    """With one weight (layer -1) or one parameter moved."""
    if layer < 0:
        weights = np.array(machine.weights[0])
        weights[at] += step
        return tc.RBM(*machine.layers, weights=weights)
    layers = list(machine.layers)
    parameters = {k: np.array(p) for k, p in layers[layer].parameters.items()}
    parameters[name][at] += step
    layers[layer] = type(layers[layer])(layers[layer].n, **parameters)
    return tc.RBM(*layers, weights=machine.weights[0])


@pytest.mark.parametrize("kinds", PAIRS, ids="-".join)
def test_are_finite_differences_of_the_likelihood(kinds: tuple[str, str]) -> None:
    machine = random_rbm(3, *kinds, sizes=(5, 4), sigma=0.4)
    X = samples(machine)
    found = tc.solve(machine, starts(machine, 2), **TIGHT)
    assert found.converged.all()
    gradient = tc.gradient(machine, X, found)

    def likelihood(*where: Any) -> float:
        other = changed(machine, *where)
        return float(tc.log_likelihood(other, X, tc.solve(other, found, **TIGHT).free_energy).mean())

    def slope(*where: Any) -> float:
        d = [likelihood(*where, n * STEP) for n in (-2, -1, 1, 2)]
        return (d[0] - 8 * d[1] + 8 * d[2] - d[3]) / (12 * STEP)

    for at in ((0, 0), (4, 1), (2, 3)):
        assert gradient.weights[0][at] == pytest.approx(slope(-1, "", at), abs=1e-10)
    for layer, unit in enumerate(machine.layers):
        assert gradient.layers[layer].keys() == set(unit.names) - set(unit.fixed)
        for name, values in gradient.layers[layer].items():
            assert values[1] == pytest.approx(slope(layer, name, 1), abs=1e-10)


def test_is_that_of_tap_but_for_third_order() -> None:
    differences = []
    for scale in (1 / 32, 1 / 64):
        machine = random_rbm(5, "Spin", "TruncatedGaussian", sigma=1.0)
        machine = tc.RBM(*machine.layers, weights=scale * machine.weights[0])
        X = samples(machine)
        at = starts(machine, 1)
        found = [tc.gradient(machine, X, tc.solve(machine, at, method=m, tol=1e-14)) for m in ("rbp", "tap")]
        differences.append(np.abs(found[0].layers[0]["U"] - found[1].layers[0]["U"]).max())
    assert 6.0 < differences[0] / differences[1] < 10.0


def test_without_couplings_is_that_of_independent_units() -> None:
    machine = random_rbm(6, "TruncatedGaussBernoulli", "Binary", sigma=0.0)
    X, at = samples(machine), starts(machine, 2)
    found, tap = (tc.gradient(machine, X, tc.solve(machine, at, method=m, tol=1e-14)) for m in ("rbp", "tap"))
    assert_allclose(found.weights[0], tap.weights[0], atol=1e-13)
    for mine, other in zip(found.layers, tap.layers, strict=True):
        for name, values in mine.items():
            assert_allclose(values, other[name], atol=1e-12)


def test_solutions_that_do_not_stay_are_refused() -> None:
    machine = random_rbm(7, sigma=0.5)
    X = samples(machine)
    early = tc.solve(machine, X, method="rbp", tol=0, max_sweeps=1)
    with pytest.raises(ValueError, match=r"solutions must have converged .* chain \d+.s messages"):
        tc.gradient(machine, X, early)
    # Where they stay, few digits are enough.
    rough, tight = (tc.gradient(machine, X, tc.solve(machine, X, method="rbp", tol=tol)) for tol in (1e-5, 1e-14))
    assert_allclose(rough.weights[0], tight.weights[0], atol=1e-12)


def test_training_takes_the_gradient_of_its_solutions() -> None:
    machine = random_rbm(6, "Binary", "Spin", sizes=(7, 5), sigma=0.4)
    X = samples(machine, 12)
    weights, fields = slopes(machine, X, gradient="rbp", chains=12, sweeps=400)
    expected = tc.gradient(machine, X, tc.solve(machine, X, **TIGHT))
    assert_allclose(weights, expected.weights[0], atol=3e-7)  # derivatives to 1e-8 of the sums
    for a, b in zip(fields, expected.layers, strict=True):
        assert_allclose(a["U"], b["U"], atol=3e-7)


@pytest.mark.usefixtures("all_threads")
def test_training_resumes_to_the_bit_and_does_not_depend_on_threads(tmp_path: Path) -> None:
    X = np.random.default_rng(0).random((40, 9)) < 0.4
    machine = tc.RBM(tc.Binary(9), tc.Binary(6), sigma=0.1, seed=1)
    options: dict[str, Any] = {"batch_size": 20, "chains": 20, "gradient": "rbp", "chain_init": "persistent"}
    options |= {"sweeps": 2, "learning_rate": 0.1}
    whole, history = fit_as_paper(machine, X, epochs=4, **options)
    assert sum(history.lost) == 0
    fit_as_paper(machine, X, epochs=2, checkpoint=tmp_path, **options)
    resumed = fit_as_paper(machine, X, epochs=4, checkpoint=tmp_path, resume=True, **options).machine
    assert_array_equal(resumed.weights[0], whole.weights[0])
    with thread_limit(1):
        alone = fit_as_paper(machine, X, epochs=4, **options).machine
    assert_allclose(alone.weights[0], whole.weights[0], atol=1e-14)


def test_lost_chains_are_left_out_of_the_average() -> None:
    machine = random_rbm(8, sigma=0.5)
    found = tc.solve(machine, starts(machine, 3), **TIGHT)
    chains = Marginals(*(tuple(x.copy() for x in getattr(found, name)) for name in Marginals._fields))
    chains.B[0][1] = np.nan
    followed = follow(machine, chains, np.zeros(3, np.bool_), CLOSELY, 0.0, Backwards(1e-14, 1000))
    assert followed.lost.tolist() == [False, True, False]
    assert np.isnan(chains.mean[1][1]).all()
    rest = found_again(machine, Marginals(*(tuple(x[[0, 2]] for x in layers) for layers in chains)))
    assert_allclose(followed.slopes.weights, rest.weights, atol=1e-13)
    assert_allclose(followed.slopes.visible, rest.visible, atol=1e-13)
    # Too few sweeps back: no derivatives, no chain.
    assert follow(machine, chains, np.zeros(3, np.bool_), CLOSELY, 0.0, Backwards(1e-14, 1)).lost.all()


def test_a_machine_that_loses_every_chain_is_refused() -> None:
    machine = tc.RBM(tc.Gaussian(3, V=0.1), tc.Binary(2), weights=np.ones((3, 2)))
    X = np.random.default_rng(0).normal(size=(20, 3))
    with pytest.raises(FloatingPointError, match="every chain was lost"):
        fit_as_paper(machine, X, epochs=1, gradient="rbp", progress=False)
