"""The average that early stopping scores and returns: what it is, where it stays, and what it is for."""

from __future__ import annotations

from math import comb
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

import tapcore as tc
from tapcore.equations.compiled import compiled
from tapcore.storage import datasets
from tapcore.storage import format as file_format
from tapcore.training.average import Average
from tapcore.units.sites import MOMENTS

RNG = np.random.default_rng(5)
X, V = (RNG.random((2, 30, 1)) < 0.5) ^ (RNG.random((2, 30, 6)) < 0.2)
GREY = RNG.normal(5.0, 1.0, (2, 30, 6)) + RNG.normal(0.0, 1.0, (2, 30, 1))
SLABS = np.where(RNG.random((2, 30, 6)) < 0.3, 0.0, np.clip(GREY, 0.1, 11.0))
BINARY = tc.RBM(tc.Binary(6), tc.Binary(4), sigma=0.3, seed=1)
CASES: dict[str, tuple[tc.Machine, np.ndarray, np.ndarray, dict[str, Any]]] = {
    "float32": (BINARY, X, V, {}),
    "float64": (BINARY, X, V, {"dtype": "float64"}),
    "cd": (BINARY, X, V, {"gradient": "cd"}),
    "deep": (tc.DBM(tc.Binary(6), tc.Binary(8), tc.Binary(3), sigma=0.3, seed=1), X, V, {"pretrain": 1}),
    "standard": (tc.RBM(tc.Gaussian(6), tc.Binary(4), sigma=0.1, seed=1), *GREY, {"learning_rate": 0.1}),
    "slabs": (
        tc.RBM(tc.TruncatedGaussBernoulli(6, lo=0.0, hi=12.0), tc.Binary(4), sigma=0.1, seed=1),
        *SLABS,
        {"learning_rate": 0.05},
    ),
}
HOW: dict[str, Any] = {"epochs": 6, "batch_size": 7, "chains": 5, "learning_rate": 0.3, "patience": 6}


def training(case: str, **more: Any) -> tc.Training:
    machine, samples, held, how = CASES[case]
    options = {name: more.pop(name) for name in ("checkpoint", "resume") if name in more}
    return tc.Training(machine, samples, tc.Settings(**HOW | how | more), validation=held, **options)


def inner(steps: tc.Training) -> Any:
    """The course that takes the steps, in the coordinates that it takes them in."""
    return getattr(steps._course, "course", steps._course)


def arrays(machine: tc.Machine) -> list[np.ndarray]:
    """Weights and parameters, in float64."""
    return [
        np.asarray(x, np.float64)
        for x in (*machine.weights, *(p for layer in machine.layers for p in layer.parameters.values()))
    ]


def moving(steps: tc.Training) -> tc.Machine:
    """The machine that takes the steps."""
    machine: tc.Machine = inner(steps).trainer.snapshot()
    return machine


def path_of(steps: tc.Training) -> list[list[np.ndarray]]:
    """The machine after each batch of what is left, in the stage that is averaged."""
    seen: list[list[np.ndarray]] = []
    while not steps.finished:
        last_stage = steps.epoch >= inner(steps).settings.pretrain * 2
        if last_stage:
            steps.step(lambda: seen.append(arrays(moving(steps))))
        else:
            steps.step()
    return seen


@pytest.mark.parametrize("case", CASES)
def test_it_is_over_about_the_last_tenth_of_the_batches(case: str) -> None:
    steps = training(case)
    seen = path_of(steps)
    n = len(seen)
    assert n == 30
    # 1/(1 + (k - 1)/10) for the k-th batch's share: written out, its weight is the number of ways to choose 9 of k + 8.
    weights = np.array([comb(k + 8, 9) for k in range(1, n + 1)]) / comb(n + 9, 10)
    assert weights.sum() == pytest.approx(1)
    for i, found in enumerate(arrays(inner(steps).snapshot())):
        expected = sum(w * machine[i] for w, machine in zip(weights, seen, strict=True))
        assert_allclose(found, expected, rtol=1e-5, atol=1e-6)


def test_it_reaches_back_two_hundred_batches_later() -> None:
    own = compiled(BINARY.layers, BINARY.weights, 2, MOMENTS)
    average = Average(own)
    before, parameters = own.W.copy(), own.values.copy()
    average.count = 5000
    np.add(own.W, 1, out=own.W)
    np.add(own.values, 2, out=own.values)
    average.follow()
    assert_allclose(average.of.W, before + 0.005, rtol=1e-12)
    assert_allclose(average.of.values, parameters + 0.01, rtol=1e-12)
    assert average.count == 5001


@pytest.mark.parametrize("case", CASES)
def test_steps_are_those_of_a_run_without(case: str) -> None:
    steps, plain = training(case), training(case, patience=None)
    list(steps)
    list(plain)
    assert moving(steps) == moving(plain)
    assert inner(plain).snapshot() == moving(plain)
    assert steps.machine != plain.machine
    for record, other in zip(steps.history, plain.history, strict=True):
        same = record._replace(seconds=0) == pytest.approx(other._replace(seconds=0), nan_ok=True)
        assert same == (record.stage > 0)


@pytest.mark.parametrize("case", ["float64", "deep", "standard"])
def test_what_is_scored_is_the_average(case: str) -> None:
    steps = training(case)
    list(steps)
    record, sizes = steps.history[-1], sum(steps.machine.sizes)
    for rows, found in ((CASES[case][1], record.log_likelihood), (CASES[case][2], record.validation)):
        expected = tc.log_likelihood(steps.machine, rows, record.free_energy).mean() / sizes
        assert_allclose(found, expected, rtol=1e-5)


def test_no_parameter_leaves_its_domain_and_supports_stay_to_the_bit() -> None:
    steps = training("slabs", learning_rate=0.3, epochs=12)
    first = steps.machine.layers[0].parameters
    for _ in steps:
        found = steps.machine.layers[0].parameters
        assert (found["rho"] > 0).all()
        assert (found["rho"] < 1).all()
        assert np.isfinite(found["V"]).all()
        for end in ("lo", "hi"):
            assert_array_equal(found[end], first[end])
    gauss = training("standard", learning_rate=0.3)
    for _ in gauss:
        assert (gauss.machine.layers[0].parameters["V"] > 0).all()


class Stop(Exception):
    pass


def stop() -> None:
    raise Stop


@pytest.mark.parametrize("case", CASES)
def test_resumed_amid_an_epoch_it_is_the_same_to_the_bit(case: str, tmp_path: Path) -> None:
    whole = training(case)
    list(whole)
    parts = training(case, checkpoint=tmp_path)
    for _ in range(4):
        next(parts)
    for _ in range(2):
        with pytest.raises(Stop):
            parts.step(stop)
    parts.save()
    assert parts.batch == 2
    (newest,) = tmp_path.glob("*batch*")
    assert tc.load(newest) == parts.machine
    assert inner(parts).snapshot() != moving(parts)
    again = training(case, checkpoint=tmp_path, resume=True)
    assert again.machine == parts.machine
    list(again)
    assert moving(again) == moving(whole)
    assert again.machine == whole.machine
    assert again.result().machine == whole.result().machine
    assert again.history.validation.tobytes() == whole.history.validation.tobytes()


@pytest.mark.parametrize("case", ["float32", "standard"])
def test_runs_begun_before_there_were_averages_are_gone_on_with(case: str, tmp_path: Path) -> None:
    next(training(case, patience=None, checkpoint=tmp_path))
    next(steps := training(case, checkpoint=tmp_path / "new"))
    for path in (tmp_path / "epoch-0001.safetensors", tmp_path / "best.safetensors"):
        header, tensors = file_format.read(tmp_path / "epoch-0001.safetensors")
        assert "averaged" not in header
        assert not any("moving." in name for name in tensors)
        file_format.write(path, header | {"settings": header["settings"] | {"patience": 6}}, tensors)
    again = training(case, checkpoint=tmp_path, resume=True)
    assert moving(again) == moving(steps) == inner(again).snapshot()
    list(again)
    list(steps)
    assert moving(again) == moving(steps)
    assert inner(again).snapshot() != moving(again)


def test_few_digits_are_left_near_the_best_machine() -> None:
    digits = np.random.default_rng(0).permutation(datasets.load("digits"))
    train, held = digits[:100], digits[100:500]
    start = tc.RBM(tc.Binary.from_data(train), tc.Binary(12), seed=0)
    settings = tc.Settings(epochs=150, learning_rate=0.3, batch_size=5, chains=20, patience=5, pinning=3.0)
    steps, own = tc.Training(start, train, settings, validation=held), []
    machines = []
    for _ in steps:
        machines.append(steps.machine)
        own.append(float(tc.exact.log_likelihood(moving(steps), held).mean()))
    scores = steps.history.pseudo * 64
    assert steps.epoch == steps.best_epoch + 5 < 60
    assert steps.result().machine == machines[int(np.argmax(scores))]
    # By what tells the best epoch and exactly it falls by less than a nat; the machine that takes the steps by more.
    exact = [float(tc.exact.log_likelihood(machine, held).mean()) for machine in machines]
    assert largest_fall(scores) < 1
    assert largest_fall(exact) < 0.5
    assert largest_fall(own) > 1
    assert exact[steps.best_epoch - 1] > max(own)


def largest_fall(scores: Any) -> float:
    """From the best so far."""
    return float((np.maximum.accumulate(scores) - scores).max())
