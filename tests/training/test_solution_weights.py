"""Gradients that weigh distinct solutions by exp(-F/T): those of each solution, weighted, whatever chains are there."""

from __future__ import annotations

import math
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cases import fit_as_paper, random_rbm
from numpy.testing import assert_allclose, assert_array_equal
from one_hot import OneHot

import tapcore as tc
from tapcore._base.threads import thread_limit
from tapcore.equations.compiled import compiled
from tapcore.storage import format as file_format
from tapcore.training.phase import ALIKE
from tapcore.training.phases import SweepPhase, phase_for
from tapcore.training.plan import Plan
from tapcore.training.shares import shares_of
from tapcore.units.sites import MOMENTS

RATE = 1e-3
SWEEPS = 3000


def two_valleys(*sizes: int, strength: float = 0.3) -> tc.Machine:
    """Spins with solutions on either side of zero, unlike ones."""
    rng = np.random.default_rng(3)
    layers = [tc.Spin(n, U=0.02 + 0.02 * rng.standard_normal(n)) for n in sizes]
    return tc.Machine(layers, [strength * (1 + 0.2 * rng.standard_normal(pair)) for pair in pairwise(sizes)])


def slab() -> tc.Machine:
    visible = tc.TruncatedGaussBernoulli(6, rho=0.5, U=0.05, V=1.0, lo=-1.0, hi=1.0)
    return tc.RBM(visible, tc.Spin(4, U=0.03), weights=2 + 0.3 * np.random.default_rng(0).standard_normal((6, 4)))


def categories() -> tc.Machine:
    W = np.array([[1.0], [-1.0], [0.3], [1.0], [-1.0], [1.0], [-1.0], [-0.5], [0.2]]) * np.full(4, 0.8)
    return tc.RBM(OneHot(3, [3, 2, 4], U=0.1), tc.Spin(4, U=0.02), weights=W)


# Machines with at least two solutions; starts of chains on either side.
CASES: dict[str, tuple[Any, str]] = {
    "tap": (lambda: two_valleys(7, 5), "tap"),
    "nmf": (lambda: two_valleys(7, 5), "nmf"),
    "tap3": (lambda: two_valleys(7, 5), "tap3"),
    "deep": (lambda: two_valleys(5, 4, 3, 4, strength=0.5), "tap"),
    "deep, tap3": (lambda: two_valleys(5, 4, 3, strength=0.5), "tap3"),
    "slabs": (slab, "tap"),
    "sites of several columns": (categories, "tap"),
}


def data(machine: tc.Machine) -> np.ndarray:
    """Samples on either side of zero in numbers that say nothing of the weights of solutions: five, two and two."""
    layer = machine.layers[0]
    if isinstance(layer, OneHot):
        up, down = np.array([1.0, 0, 0, 1, 0, 1, 0, 0, 0]), np.array([0.0, 1, 0, 0, 1, 0, 1, 0, 0])
    else:
        low, high = (np.broadcast_to(end, layer.n) for end in layer.bounds())
        up, down = np.array(high, float), np.array(low, float)
    other = down.copy()
    other[:2] = up[:2] if not isinstance(layer, OneHot) else down[:2]
    return np.stack([up] * 5 + [down] * 2 + [other] * 2)


def slopes(machine: tc.Machine, X: np.ndarray, **options: Any) -> tuple[list[np.ndarray], list[dict[str, np.ndarray]]]:
    """The gradient that one step on all of the data takes, with as many chains, which start from them."""
    how: dict[str, Any] = {
        "epochs": 1, "batch_size": len(X), "chains": len(X), "sweeps": SWEEPS, "damping": 0.2, "learning_rate": RATE,
        "momentum": 0.0, "penalty": None, "center": False, "progress": False,
    }  # fmt: skip
    if len(machine.layers) > 2:
        how["pretrain"] = 0
    trained = fit_as_paper(machine, X, **how | options).machine
    weights = [(b - a) / RATE for a, b in zip(machine.weights, trained.weights, strict=True)]
    layers = [
        {name: (b.parameters[name] - p) / RATE for name, p in a.parameters.items() if name not in a.fixed}
        for a, b in zip(machine.layers, trained.layers, strict=True)
    ]
    return weights, layers


def solutions_of(machine: tc.Machine, X: np.ndarray, method: str) -> tc.Solutions:
    found = tc.solve(machine, X, method=method, tol=1e-13, max_sweeps=100_000, damping=0.2).unique()
    assert len(found) > 1
    assert np.ptp(found.free_energy) > 0.05
    return found


# --- The gradient ---


@pytest.mark.parametrize("temperature", [1.0, 5.0, math.inf])
@pytest.mark.parametrize("case", CASES)
def test_the_gradient_is_that_of_distinct_solutions_by_their_weights(case: str, temperature: float) -> None:
    machine, method = CASES[case][0](), CASES[case][1]
    X = data(machine)
    distinct = solutions_of(machine, X, method)
    together = distinct.averages(temperature)
    each = [tc.gradient(machine, X, distinct[k : k + 1]) for k in range(len(distinct))]
    weights, layers = slopes(machine, X, gradient=method, solution_weights=temperature)
    for i, found in enumerate(weights):
        expected = sum(w * g.weights[i] for w, g in zip(together.weights, each, strict=True))
        assert_allclose(found, expected, rtol=0, atol=1e-10)
    for i, layer in enumerate(machine.layers):
        gradient = {
            name: sum(w * g.layers[i][name] for w, g in zip(together.weights, each, strict=True)) for name in layers[i]
        }
        after = {name: np.array(p) for name, p in layer.parameters.items()}
        layer.ascend(after, gradient, RATE)
        for name, found in layers[i].items():
            assert_allclose(found, (after[name] - layer.parameters[name]) / RATE, rtol=0, atol=1e-10)
    assert_allclose(layers[0]["U"], X.mean(axis=0) - together.mean[0], rtol=0, atol=1e-10)
    if len(weights) == 1:
        hidden = machine.layers[1].moments(X @ machine.weights[0], 0.0)[1]
        assert_allclose(weights[0], X.T @ hidden / len(X) - together.pair[0], rtol=0, atol=1e-10)


@pytest.mark.parametrize("case", ["tap", "deep", "tap3"])
def test_in_float32_too(case: str) -> None:
    machine, method = CASES[case][0](), CASES[case][1]
    X = data(machine)
    wide, narrow = (slopes(machine, X, gradient=method, solution_weights=1.0, dtype=d) for d in ("float64", "float32"))
    for a, b in zip(wide[0], narrow[0], strict=True):
        assert_allclose(a, b, atol=1e-3)  # steps of 1e-3 in float32


def test_numbers_of_chains_do_not_count() -> None:
    machine = two_valleys(7, 5)
    X = data(machine)

    def trained(times: list[int], weights: float | None) -> np.ndarray:
        rows = np.repeat(X, times, axis=0)
        phase, own = phase_of(machine, len(rows), solution_weights=weights, sweeps=SWEEPS)
        model = run(phase, own, machine, rows)
        return np.asarray(model.statistics[0]["U"])

    few, many = [1] * 9, [1, 1, 1, 1, 1, 4, 3, 2, 9]
    assert_allclose(trained(few, 2.0), trained(many, 2.0), rtol=0, atol=1e-12)
    assert np.abs(trained(few, None) - trained(many, None)).max() > 0.1


# --- Free energies of chains on their way ---


def phase_of(machine: tc.Machine, count: int, **options: Any) -> tuple[SweepPhase, Any]:
    settings = tc.Settings(epochs=1, chains=count, **{"dtype": str(machine.dtype), "pinning": 0.0} | options)
    phase = phase_for(machine, Plan.of(settings, machine, 100))
    assert isinstance(phase, SweepPhase)
    order = {"nmf": 1, "tap": 2, "tap3": 3}[settings.gradient]
    return phase, compiled(machine.layers, machine.weights, order, MOMENTS)


def run(phase: SweepPhase, own: Any, machine: tc.Machine, X: np.ndarray, kept: Any = slice(None)) -> Any:
    phase.start(X)
    phase.run(lambda: machine, own, (0, 0))
    return phase.model(machine.layers, kept)


@pytest.mark.nojit
@pytest.mark.parametrize("case", ["tap", "nmf", "deep"])
@pytest.mark.parametrize("damping", [0.0, 0.3])
def test_free_energies_are_off_in_second_order(case: str, damping: float) -> None:
    machine, method = CASES[case][0](), CASES[case][1]
    found = tc.solve(machine, data(machine)[-3:], method=method, tol=1e-14, max_sweeps=100_000)
    phase, own = phase_of(machine, 3, gradient=method, solution_weights=1.0, sweeps=1, damping=damping)
    assert phase.shares is not None
    rng = np.random.default_rng(0)
    way = [rng.standard_normal(x.shape) for x in (*found.mean, *found.var)]
    errors = []
    for step in (1e-3, 1e-4, 0.0):
        state = phase.chains.state
        for to, x, d in zip((*state.mean, *state.var), (*found.mean, *found.var), way, strict=True):
            to[:] = x + step * d
        phase.chains.cold = False
        phase.run(lambda: machine, own, (0, 0))
        errors.append(np.abs(phase.shares.energies - found.free_energy).max())
    assert errors[0] < 1e-4  # in first order it would be some 1e-3
    assert errors[1] < 0.02 * errors[0]
    assert errors[2] < 1e-12


def test_a_lost_chain_has_no_share_and_moves_no_other() -> None:
    machine = two_valleys(7, 5)
    X = np.random.default_rng(1).uniform(-1, 1, (9, 7))
    phase, own = phase_of(machine, 9, solution_weights=1.0, sweeps=2)
    whole = run(phase, own, machine, X)
    assert phase.shares is not None
    energies = phase.shares.energies.copy()
    assert np.ptp(energies) > 0.01
    bad = X.copy()
    bad[[0, 4]] = np.nan
    phase, own = phase_of(machine, 9, solution_weights=1.0, sweeps=2)  # nothing is left of the run before
    assert phase.shares is not None
    model = run(phase, own, machine, bad, ~np.isnan(bad[:, 0]))
    assert_array_equal(phase.lost(), np.isnan(bad[:, 0]))
    rest = ~phase.lost()
    assert_allclose(phase.shares.energies[rest], energies[rest], rtol=0, atol=1e-12)
    assert_allclose(model.shares, whole.shares[rest] / whole.shares[rest].sum(), rtol=1e-9)
    expected = model.shares @ phase.chains.state.mean[1][rest]
    assert_allclose(model.statistics[1]["U"], expected, atol=1e-14)


def test_training_goes_on_where_chains_are_lost() -> None:
    machine = two_valleys(7, 5)
    X = np.random.default_rng(1).choice([-1.0, 1.0], (30, 7))
    run_of = tc.Training(machine, X, tc.Settings(epochs=2, chains=9, solution_weights=1.0))

    def lose() -> None:
        phase = run_of._course.trainer.phase  # type: ignore[union-attr]
        assert isinstance(phase, SweepPhase)
        phase.chains.state.mean[0][3] = np.nan

    record = run_of.step(lose)
    assert record.lost > 0
    assert all(np.isfinite(W).all() for W in run_of.machine.weights)


# --- Shares ---


def test_chains_at_one_solution_share_its_weight() -> None:
    # The first two solutions are each other's mirror images, of one F: in the order of F their chains would alternate.
    F = np.array([-3.0, -3.0, -3.0, -3.0, -1.0, -3.0])
    marks = np.array([[1.0, 2.0], [-1.0, -2.0], [1.0, 2.0], [-1.0, -2.0], [0.3, 0.1], [1.0, 2.0]])
    expected = np.array([1 / 3, 1 / 2, 1 / 3, 1 / 2, np.exp(-2 / 0.7), 1 / 3])
    assert_allclose(shares_of(F, marks, 0.7), expected / expected.sum(), rtol=1e-14)
    for alike in (F + 1e4, F[[4, 4, 4]] * np.nan):
        assert shares_of(alike, marks[: len(alike)], 0.7).sum() == pytest.approx(1)
    assert_allclose(shares_of(F, marks, math.inf) * 3, [1 / 3, 1 / 2, 1 / 3, 1 / 2, 1, 1 / 3], rtol=1e-14)


@pytest.mark.parametrize("column", [0, 1, 2])
def test_chains_are_told_apart_by_each_of_what_is_compared(column: int) -> None:
    table = np.array([[0.5, 0.5, -2.0]] * 2 + [[-3.0, 4.0, -2.0], [3.0, -4.0, -2.0]])
    F, marks = table[:, 2], table[:, :2]
    assert_allclose(shares_of(F, marks, 1.0), [1 / 6, 1 / 6, 1 / 3, 1 / 3])
    table[1, column] += 1e-4 * (6, 8, 1)[column]  # less than counts
    assert_allclose(shares_of(F, marks, math.inf), [1 / 6, 1 / 6, 1 / 3, 1 / 3])
    table[1, column] += 0.05
    assert shares_of(F, marks, math.inf) == pytest.approx(0.25)


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_of_one_solution_all_chains_count_alike(dtype: str) -> None:
    machine = random_rbm(4, "Spin", "Spin", sizes=(7, 5), sigma=0.1).replace(dtype=dtype)
    X = np.random.default_rng(0).uniform(-1, 1, (20, 7))
    phase, own = phase_of(machine, 20, solution_weights=0.5, sweeps=SWEEPS)
    model = run(phase, own, machine, X)
    assert_array_equal(model.shares, np.full(20, 1 / 20, dtype))
    without, _ = phase_of(machine, 20, sweeps=SWEEPS)
    alike = run(without, own, machine, X)
    for name, x in alike.statistics[0].items():
        assert_allclose(model.statistics[0][name], x, rtol=10 * np.finfo(dtype).eps)


def test_a_chain_without_a_finite_energy_has_no_share() -> None:
    marks = np.random.default_rng(0).standard_normal((4, 2))
    for bad in (np.nan, np.inf, -np.inf):
        shares = shares_of(np.array([1.0, bad, 1.0, 1.0]), marks, 1.0)
        assert_allclose(shares, [1 / 3, 0, 1 / 3, 1 / 3])
    assert_array_equal(shares_of(np.full(4, np.nan), marks, 1.0), np.full(4, 0.25))


def test_without_weights_nothing_is_shared_out() -> None:
    machine = two_valleys(7, 5)
    phase, own = phase_of(machine, 9)
    assert phase.shares is None
    assert run(phase, own, machine, data(machine)).shares is ALIKE


# --- Runs ---


def noisy_patterns(n: int = 60) -> np.ndarray:
    rng = np.random.default_rng(0)
    return (rng.random((3, 10)) < 0.5)[rng.integers(3, size=n)] ^ (rng.random((n, 10)) < 0.1)


@pytest.mark.parametrize("temperature", [2.0, math.inf])
@pytest.mark.parametrize("layers", [(10, 4), (10, 5, 3)])
def test_runs_resume_to_the_bit(layers: tuple[int, ...], temperature: float, tmp_path: Path) -> None:
    make: Any = tc.RBM if len(layers) == 2 else tc.DBM
    machine, X = make(*map(tc.Binary, layers), sigma=2.0, seed=0), noisy_patterns()
    how: dict[str, Any] = {"chains": 20, "progress": False, "solution_weights": temperature, "learning_rate": 0.05}
    whole = tc.fit(machine, X, epochs=4, **how).machine
    tc.fit(machine, X, epochs=2, pretrain=None if len(layers) == 2 else 4, **how, checkpoint=tmp_path)
    with pytest.raises(ValueError, match="resume: solution_weights contradicts"):
        tc.fit(machine, X, epochs=4, **how | {"solution_weights": 3.0}, checkpoint=tmp_path, resume=True)
    assert tc.fit(machine, X, epochs=4, **how, checkpoint=tmp_path, resume=True).machine == whole
    alike = tc.fit(machine, X, epochs=4, **how | {"solution_weights": None, "pinning": 0.0}).machine
    assert np.abs(alike.weights[0] - whole.weights[0]).max() > 1e-3


def test_threads_change_rounding_only() -> None:
    machine, X = tc.RBM(tc.Binary(10), tc.Binary(4), seed=0, sigma=0.3), noisy_patterns()
    how: dict[str, Any] = {"epochs": 1, "chains": 40, "solution_weights": 1.0, "dtype": "float64", "progress": False}
    many = [tc.fit(machine, X, **how).machine for _ in range(2)]
    assert many[0] == many[1]
    with thread_limit(1):
        one = tc.fit(machine, X, **how).machine
    assert_allclose(one.weights[0], many[0].weights[0], rtol=0, atol=1e-12)


def test_checkpoints_hold_a_temperature_that_was_given(tmp_path: Path) -> None:
    machine, X = tc.RBM(tc.Binary(10), tc.Binary(4), seed=0), noisy_patterns()
    for name, value, expected in [("none", None, None), ("two", 2, 2.0), ("inf", math.inf, "inf")]:
        tc.fit(machine, X, epochs=1, solution_weights=value, checkpoint=tmp_path / name, progress=False)
        header, _ = file_format.read(tmp_path / name / "epoch-0001.safetensors")
        assert header["settings"].get("solution_weights") == expected
        assert ("solution_weights" in header["settings"]) == (value is not None)


def test_chains_that_weigh_are_not_measured() -> None:
    machine = tc.RBM(tc.Binary(10), tc.Binary(4))
    plan = Plan.of(tc.Settings(solution_weights=2.0), machine, 100)
    assert (plan.solution_weights, plan.pinning, plan.renew) == (2.0, 0.0, 0.2)
    assert Plan.of(tc.Settings(), machine, 100).pinning == 20.0


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"solution_weights": 0}, "solution_weights must be above 0, got 0"),
        ({"solution_weights": -1.0}, "solution_weights must be above 0, got -1.0"),
        ({"solution_weights": math.nan}, "solution_weights must be a finite number, got nan"),
        ({"solution_weights": "cold"}, "solution_weights must be a finite number, got 'cold'"),
        ({"solution_weights": 1.0, "pinning": 1.0}, "solution_weights are of equations that all chains share"),
        *(
            ({"solution_weights": 1.0, "gradient": name}, f"gradient must be one of 'tap', 'nmf', 'tap3', got '{name}'")
            for name in ("cd", "pcd", "ptt", "adatap", "rbp")
        ),
    ],
)
def test_what_cannot_be_weighed_is_refused(options: dict[str, Any], message: str) -> None:
    machine, X = tc.RBM(tc.Binary(10), tc.Binary(4)), noisy_patterns()
    with pytest.raises(ValueError, match=message):
        tc.fit(machine, X, epochs=1, **options)
    with pytest.raises(ValueError, match=message):
        tc.Settings(**options)
