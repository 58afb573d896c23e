"""Training: Alg. 2 against a plain loop, the record of epochs, reproducibility, and what is refused."""

from __future__ import annotations

import itertools
import tracemalloc
from pathlib import Path
from typing import Any

import naive
import numpy as np
import pytest
from cases import fit_as_paper, random_rbm
from numpy.testing import assert_allclose, assert_array_equal

import tapcore as tc
from tapcore._base.threads import thread_limit
from tapcore.storage import datasets
from tapcore.training.history import SCORING_SWEEPS, SCORING_TOL, EpochRecord, History
from tapcore.training.plan import Plan
from tapcore.training.trainer import Trainer


def data(count: int = 40, width: int = 6, seed: int = 0) -> np.ndarray:
    """Correlated bits: noisy copies of a few patterns."""
    rng = np.random.default_rng(seed)
    patterns = rng.random((3, width)) < 0.5
    return patterns[rng.integers(3, size=count)] ^ (rng.random((count, width)) < 0.1)


def small(seed: int = 1, width: int = 6) -> tc.Machine:
    return random_rbm(seed, sizes=(width, 4))


# --- Alg. 2 ---


def plain_training(machine: tc.Machine, X: np.ndarray, epochs: int, **options: Any) -> tuple[np.ndarray, list]:
    """Full-batch Alg. 2, one formula at a time."""
    W = machine.weights[0].copy()
    fields = [layer.U.copy() for layer in machine.layers]
    step, states = np.zeros_like(W), None
    for _ in range(epochs):
        layers = [[{"kind": "binary", "U": u} for u in U] for U in fields]
        if states is None or not options["persistent"]:
            states = list(X)
        states = [naive.solve(layers, [W], s, options["method"], sweeps=options["sweeps"]) for s in states]
        gradient = naive.gradient(layers, [W], X, states, options["method"])
        slope = options["l1"] * np.sign(W) + options["l2"] * W
        step = options["rate"] * (gradient["W"][0] - slope) + options["momentum"] * step
        W = W + step
        for U, change in zip(fields, gradient["U"], strict=True):
            U += options["rate"] * change
    return W, fields


@pytest.mark.nojit
@pytest.mark.parametrize("persistent", [False, True])
@pytest.mark.parametrize(
    ("method", "penalty", "l1", "l2"),
    [("tap", tc.L2(0.05), 0, 0.05), ("tap", tc.L1(0.02), 0.02, 0), ("nmf", None, 0, 0), ("tap3", None, 0, 0)],
)
def test_is_algorithm_2(method: str, penalty: Any, l1: float, l2: float, persistent: bool) -> None:
    machine, X = small(), data(8).astype(float)
    found = fit_as_paper(
        machine, X, epochs=3, batch_size=8, chains=8, learning_rate=0.2, momentum=0.6, penalty=penalty, sweeps=2,
        gradient=method, chain_init="persistent" if persistent else "data", renew=0.0,
    ).machine  # fmt: skip
    W, fields = plain_training(
        machine, X, 3, method=method, persistent=persistent, rate=0.2, momentum=0.6, l1=l1, l2=l2, sweeps=2
    )
    assert_allclose(found.weights[0], W, atol=1e-13)
    for layer, U in zip(found.layers, fields, strict=True):
        assert_allclose(layer.U, U, atol=1e-13)


def test_learning_rate_is_a_function_of_the_epoch() -> None:
    asked: list[int] = []

    def rate(epoch: int) -> float:
        asked.append(epoch)
        return 0.1 / epoch

    X = data()
    falling = fit_as_paper(small(), X, epochs=3, learning_rate=rate)
    assert asked == [1, 2, 3]
    assert falling.history.learning_rate.tolist() == [0.1, 0.1 / 2, 0.1 / 3]
    assert falling.machine != fit_as_paper(small(), X, epochs=3, learning_rate=0.1).machine
    assert fit_as_paper(small(), X, epochs=1, learning_rate=0).machine == small()


@pytest.mark.parametrize("how", ["data", "persistent", "random"])
@pytest.mark.parametrize(("M", "K"), [(1, 7), (7, 1), (40, 100), (100, 3), (16, 16)])
def test_batch_size_and_chains_are_free_of_each_other(how: str, M: int, K: int) -> None:
    result = fit_as_paper(small(), data(), epochs=2, batch_size=M, chains=K, chain_init=how, learning_rate=0.05)
    assert np.isfinite(result.machine.weights[0]).all()
    assert result.machine != small()
    assert len(result.history) == 2


def test_chains_start_where_asked() -> None:
    runs = [fit_as_paper(small(), data(), epochs=2, batch_size=10, chains=10, chain_init=how) for how in
            ("data", "persistent", "random")]  # fmt: skip
    for a, b in itertools.combinations(runs, 2):
        assert a.machine != b.machine


def test_more_chains_than_samples_in_a_batch_start_from_the_samples_that_follow() -> None:
    """With one epoch of one full batch and twice as many chains, every sample starts two chains."""
    X = data(8).astype(float)
    options: dict[str, Any] = {"epochs": 1, "batch_size": 8, "learning_rate": 0.1, "sweeps": 3}
    once = fit_as_paper(small(), X, chains=8, **options).machine
    twice = fit_as_paper(small(), X, chains=16, **options).machine
    assert_allclose(once.weights[0], twice.weights[0], atol=1e-15)


def test_theta_0_is_fitted_to_the_data_if_the_visible_layer_is_untouched() -> None:
    X = data()
    untouched = tc.RBM(tc.Binary(6), tc.Binary(4), seed=3)
    fitted = tc.RBM(tc.Binary.from_data(X), tc.Binary(4), seed=3)
    assert fit_as_paper(untouched, X, epochs=2).machine == fit_as_paper(fitted, X, epochs=2).machine
    assert fit_as_paper(untouched, X, epochs=0).machine.layers[0] == tc.Binary.from_data(X)
    assert fit_as_paper(small(), X, epochs=0).machine == small()


def test_the_machine_given_is_not_changed() -> None:
    machine = small()
    before = small()
    fit_as_paper(machine, data(), epochs=1, learning_rate=0.5)
    assert machine == before


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_learns_the_digits(dtype: str) -> None:
    X = datasets.load("digits")
    machine = tc.RBM(tc.Binary(64), tc.Binary(32), seed=0, dtype=dtype)
    history = fit_as_paper(machine, X, epochs=20, learning_rate=0.1).history
    # The first epoch is still that of independent pixels.
    assert history.log_likelihood[-1] > history.log_likelihood[0] + 0.05


# --- Data ---


@pytest.mark.parametrize("dtype", [np.uint8, np.int64, np.float32, np.float64])
def test_dtype_of_the_data_makes_no_difference(dtype: Any) -> None:
    X = data()
    assert fit_as_paper(small(), X.astype(dtype), epochs=2).machine == fit_as_paper(small(), X, epochs=2).machine


def test_memory_mapped_data(tmp_path: Path) -> None:
    X = data()
    np.save(tmp_path / "x.npy", X)
    mapped = np.load(tmp_path / "x.npy", mmap_mode="r")
    assert fit_as_paper(small(), mapped, epochs=2).machine == fit_as_paper(small(), X, epochs=2).machine


def test_data_are_never_copied_whole_into_floats() -> None:
    X = np.zeros((50_000, 400), dtype=np.uint8)
    X[::2, ::3] = 1
    machine = tc.RBM(tc.Binary(400), tc.Binary(2), seed=0)
    options = {"epochs": 1, "batch_size": 5000, "sweeps": 1, "chains": 10}
    # What compiling takes, or reading the compiled from disk, is not asked for.
    fit_as_paper(machine, X[:5000], **options)
    tracemalloc.start()
    fit_as_paper(machine, X, **options)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    # In float64 they would take 160 MB, in float32 80.
    assert peak < 72e6


# --- The record ---


def test_record_is_what_history_says() -> None:
    X = data(30)
    result = fit_as_paper(small(), X, epochs=2, chains=30, learning_rate=0.1)
    record = result.history[-1]
    solutions = tc.solve(result.machine, X, tol=SCORING_TOL, max_sweeps=SCORING_SWEEPS)
    likelihood = tc.log_likelihood(result.machine, X, solutions.free_energy).mean() / 10
    assert record.epoch == 2
    assert record.learning_rate == 0.1
    assert record.log_likelihood == pytest.approx(likelihood, abs=1e-13)
    assert record.free_energy == pytest.approx(solutions.free_energy.mean(), abs=1e-12)
    assert record.residual == pytest.approx(solutions.residual.max(), abs=1e-13)
    assert record.unconverged == 0
    assert record.seconds > 0


def test_history_is_a_sequence_with_columns() -> None:
    records = [EpochRecord(e, 0.1, -0.5 / e, -3.0, 1e-5, e - 1, e - 1, 0.25) for e in (1, 2, 3)]
    history = History(records)
    assert list(history) == records
    assert history[1] == records[1]
    assert list(history[1:]) == records[1:]
    assert history.unconverged.dtype == np.int64
    assert_array_equal(history["log_likelihood"], [-0.5, -0.25, -0.5 / 3])
    assert History.from_array(history.to_array()) == history
    assert History.from_array(History().to_array()) == History()
    assert History.from_array(history.to_array()[:, :-2]) == history  # of a run begun before there were stages
    assert History.from_array(history.to_array()[:, :-1]) == history  # and before data were held out
    with pytest.raises(AttributeError, match="nothing"):
        _ = history.nothing
    with pytest.raises(KeyError):
        history["nothing"]


def test_callbacks_see_the_machine_of_each_epoch() -> None:
    seen: list[tuple[tc.Machine, EpochRecord]] = []
    result = fit_as_paper(small(), data(), epochs=3, callbacks=[lambda machine, record: seen.append((machine, record))])
    assert [record for _, record in seen] == list(result.history)
    assert seen[-1][0] == result.machine
    assert seen[0][0] == fit_as_paper(small(), data(), epochs=1).machine


def test_progress_bar_only_where_wanted(capsys: pytest.CaptureFixture[str]) -> None:
    fit_as_paper(small(), data(), epochs=1)
    assert capsys.readouterr().err == ""
    fit_as_paper(small(), data(), epochs=1, progress=True)
    assert "epoch 1/1" in capsys.readouterr().err


# --- Reproducibility ---


@pytest.mark.parametrize("how", ["data", "persistent", "random"])
def test_same_seed_same_bits(how: str) -> None:
    options: dict[str, Any] = {"epochs": 2, "batch_size": 7, "chains": 9, "chain_init": how, "learning_rate": 0.1}
    first = fit_as_paper(small(), data(), seed=4, **options)
    again = fit_as_paper(small(), data(), seed=4, **options)
    other = fit_as_paper(small(), data(), seed=5, **options)
    assert first.machine == again.machine
    assert first.history.log_likelihood.tolist() == again.history.log_likelihood.tolist()
    assert first.machine != other.machine


@pytest.mark.usefixtures("all_threads")
def test_threads_change_rounding_only() -> None:
    X = data(200, 30)
    machine = random_rbm(2, sizes=(30, 20))
    with thread_limit(1):
        one = fit_as_paper(machine, X, epochs=2, learning_rate=0.05)
    two = fit_as_paper(machine, X, epochs=2, learning_rate=0.05)
    assert_allclose(one.machine.weights[0], two.machine.weights[0], atol=1e-12)


# --- What is refused ---


@pytest.mark.parametrize(
    ("argument", "value", "message"),
    [
        ("epochs", -1, "epochs must be an integer of at least 0"),
        ("epochs", 1.5, "epochs must be an integer"),
        ("batch_size", 0, "batch_size must be an integer of at least 1"),
        ("chains", 0, "chains must be an integer of at least 1"),
        ("sweeps", 0, "sweeps must be an integer of at least 1"),
        ("learning_rate", -0.1, "learning_rate must be at least 0"),
        ("learning_rate", float("nan"), "learning_rate must be a finite number"),
        ("learning_rate", lambda epoch: 1 - epoch, r"learning_rate\(2\) must be at least 0"),
        ("learning_rate", "fast", "learning_rate must be a finite number"),
        ("momentum", -0.1, "momentum must be at least 0"),
        ("momentum", 1.0, "momentum must be at least 0 and below 1"),
        ("penalty", 0.001, r"penalty must be tapcore\.L1"),
        ("chain_init", "noise", "chain_init must be one of 'data', 'persistent', 'random'"),
        ("damping", 1.0, "damping must be at least 0 and below 1"),
        ("renew", 1.5, "renew must be at least 0 and at most 1"),
        ("gradient", "tap9", "gradient must be one of 'tap', 'nmf', 'tap3'"),
        ("seed", -1, "seed must be an integer of at least 0"),
        ("checkpoint_every", 0, "checkpoint_every must be an integer of at least 1"),
        ("resume", True, "resume needs checkpoint"),
        ("callbacks", [1], "callbacks must be a sequence of functions"),
        ("callbacks", print, "callbacks must be a sequence of functions"),
    ],
)
def test_refuses_bad_arguments(argument: str, value: Any, message: str) -> None:
    options: dict[str, Any] = {"epochs": 2, argument: value}
    with pytest.raises(ValueError, match=message):
        fit_as_paper(small(), data(), **options)


@pytest.mark.parametrize("kind", [tc.L1, tc.L2])
def test_refuses_a_negative_penalty(kind: Any) -> None:
    with pytest.raises(ValueError, match="strength must be at least 0"):
        kind(-0.1)


def bad_data() -> list[Any]:
    grey, missing, infinite = (data().astype(float) for _ in range(3))
    grey[5, 2], missing[7, 1], infinite[0, 3] = 0.5, np.nan, np.inf
    return [
        pytest.param(grey, r"X must be 0 or 1 for a Binary layer: X\[5, 2\] is 0\.5; binarise", id="grey"),
        pytest.param(missing, r"X must be finite: X\[7, 1\] is nan", id="nan"),
        pytest.param(infinite, r"X must be finite: X\[0, 3\] is inf", id="inf"),
        pytest.param(data(width=5), "X must have 6 columns, one per unit, got 5", id="width"),
        pytest.param(data()[:0], "X must have at least one row", id="empty"),
        pytest.param(data()[0], "X must have two axes", id="one axis"),
        pytest.param(data().astype(complex), "X must hold real numbers", id="complex"),
        pytest.param([[0, 1], [1]], "X must be a rectangular array", id="ragged"),
        pytest.param(np.ma.masked_array(data(), data()), "X must not be a masked array", id="masked"),
        pytest.param(data().reshape(-1, 2, 3), r"flatten each sample, e\.g\. X\.reshape", id="images"),
    ]


@pytest.mark.parametrize(("X", "message"), bad_data())
def test_refuses_bad_data(X: Any, message: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=message):
        fit_as_paper(small(), X, epochs=1, checkpoint=tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_bad_data_far_down_is_found_before_any_work() -> None:
    X = np.zeros((10_000, 6))
    X[9_876, 5] = 2
    with pytest.raises(ValueError, match=r"X\[9876, 5\] is 2\.0"):
        fit_as_paper(small(), X, epochs=1)


def test_refuses_what_is_no_machine() -> None:
    with pytest.raises(ValueError, match=r"tapcore\.Machine"):
        fit_as_paper("machine", data(), epochs=1)


def test_divergence_is_said() -> None:
    with pytest.raises(FloatingPointError, match="diverged in epoch 1"):
        fit_as_paper(small(), data(), epochs=3, learning_rate=1e300, batch_size=5)


def test_persistent_chains_all_renewed_are_those_from_the_data() -> None:
    machine, X = tc.RBM(tc.Binary(12), tc.Binary(6), seed=3), np.random.default_rng(0).random((120, 12)) < 0.3
    how = {"epochs": 3, "batch_size": 20, "chains": 20, "learning_rate": 0.05, "sweeps": 3}
    data = fit_as_paper(machine, X, **how)
    persistent = fit_as_paper(machine, X, **how, chain_init="persistent", renew=1.0)
    assert_array_equal(data.machine.weights[0], persistent.machine.weights[0])
    other = fit_as_paper(machine, X, **how, chain_init="persistent", renew=0.3)
    assert not np.array_equal(data.machine.weights[0], other.machine.weights[0])


def test_renewal_takes_each_chain_in_its_turn() -> None:
    machine, X = tc.RBM(tc.Binary(12), tc.Binary(6), seed=3), np.zeros((100, 12), bool)
    settings = tc.Settings(
        epochs=1, batch_size=10, chains=8, learning_rate=0.1, momentum=0.5, penalty=None, sweeps=1,
        chain_init="persistent", gradient="tap", seed=0, renew=0.3,
    )  # fmt: skip
    trainer = Trainer(machine, X, Plan.of(settings, machine, len(X)))
    due = []
    for trainer.batch in range(10):
        due.append(trainer._due())
    assert_array_equal(np.sum(due, axis=1), [2, 2, 3, 2, 3, 2, 2, 3, 2, 3])
    assert_array_equal(np.sum(due, axis=0), 3)
