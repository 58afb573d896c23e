"""Training deep machines: layer by layer, then jointly; the same bits when stopped and resumed anywhere."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cases import fit_as_paper
from numpy.testing import assert_allclose, assert_array_equal

import tapcore as tc
from tapcore.training.course import passed_up
from tapcore.training.plan import Plan
from tapcore.training.trainer import Trainer

HOW: dict[str, Any] = {
    "epochs": 3, "pretrain": 2, "batch_size": 20, "chains": 10, "learning_rate": 0.1, "sweeps": 4, "seed": 3,
}  # fmt: skip


def data(count: int = 100, n: int = 9) -> np.ndarray:
    rng = np.random.default_rng(0)
    prototypes = rng.random((3, n)) < 0.5
    return prototypes[rng.integers(3, size=count)] ^ (rng.random((count, n)) < 0.1)


def machine(*hidden: int, seed: int = 1, **options: Any) -> tc.Machine:
    return tc.DBM(tc.Binary(9), *map(tc.Binary, hidden), seed=seed, sigma=0.05, **options)


def test_stages_follow_each_other() -> None:
    seen: list[tuple[tc.Machine, tc.EpochRecord]] = []
    start = machine(6, 4, 3)
    result = fit_as_paper(start, data(), **HOW, callbacks=[lambda m, r: seen.append((m, r))])
    assert_array_equal(result.history.epoch, np.arange(1, 10))
    assert_array_equal(result.history.stage, [1, 1, 2, 2, 3, 3, 0, 0, 0])
    assert [r for _, r in seen] == list(result.history)
    changes = [
        [not np.array_equal(a, b) for a, b in zip(m.weights, before.weights, strict=True)]
        for (m, _), before in zip(seen, [start, *(m for m, _ in seen)], strict=False)
    ]
    for stage, moved in zip(result.history.stage, changes, strict=True):
        assert moved == ([True] * 3 if stage == 0 else [i == stage - 1 for i in range(3)])
    # The visible layer is fitted to the data and trained with the first hidden layer, then left alone.
    assert seen[1][0].layers[0] == seen[5][0].layers[0] != seen[0][0].layers[0]
    assert seen[2][0].layers[1] == seen[1][0].layers[1]
    assert np.isfinite(result.history.to_array()[:, :-4]).all()  # the last columns are of held-out data and ladders


def test_the_first_stage_is_an_rbm_and_scored_as_one() -> None:
    seen: list[tc.Machine] = []
    X = data()
    history = fit_as_paper(machine(6, 4), X, **HOW, callbacks=[lambda m, _: seen.append(m)]).history
    rbm = tc.Machine(seen[1].layers[:2], seen[1].weights[:1])
    found = tc.solve(rbm, X)
    expected = tc.log_likelihood(rbm, X, found.free_energy).mean() / 15
    assert abs(history[1].log_likelihood - expected) < 2e-3
    whole = tc.solve(seen[-1], X, tol=1e-8)
    expected = tc.log_likelihood(seen[-1], X, whole.free_energy).mean() / 19
    assert abs(history[-1].log_likelihood - expected) < 2e-3


@pytest.mark.parametrize("method", ["tap", "nmf", "tap3"])
def test_a_step_is_along_the_gradient(method: str) -> None:
    """With many sweeps a batch of all samples moves the machine along what `gradient` says."""
    start = machine(6, 4, 3)
    start = start.replace(weights=[6 * W for W in start.weights])
    X = data(12)
    rate = 1e-3
    settings = tc.Settings(
        epochs=1, batch_size=12, chains=12, learning_rate=rate, momentum=0, penalty=None, sweeps=400,
        chain_init="data", gradient=method, seed=0, center=False,
    )  # fmt: skip
    trainer = Trainer(start, X, Plan.of(settings, start, 100))
    trainer._train_batch(np.arange(12), rate)
    slopes = tc.gradient(start, X, tc.solve(start, X, method=method, tol=1e-13))
    now = trainer.snapshot()
    for before, after, slope in zip(start.weights, now.weights, slopes.weights, strict=True):
        assert_allclose((after - before) / rate, slope, atol=1e-9)
    for before, after, slope in zip(start.layers, now.layers, slopes.layers, strict=True):
        assert_allclose((after.U - before.U) / rate, slope["U"], atol=1e-9)  # type: ignore[attr-defined]


def test_training_raises_the_likelihood_and_upper_weights_come_alive() -> None:
    X = data(200)
    how = HOW | {"epochs": 40, "pretrain": 40, "learning_rate": 0.2}
    start = machine(6, 4)
    result = fit_as_paper(start, X, **how)
    joint = result.history.log_likelihood[result.history.stage == 0]
    alone = tc.Binary.from_data(X).log_weight(X).sum(axis=1).mean()
    alone -= np.log1p(np.exp(tc.Binary.from_data(X).U)).sum()
    assert joint[-1] > alone / 19 + 0.02
    for W, before in zip(result.machine.weights, start.weights, strict=True):
        assert np.linalg.norm(W, 2) > 3 * np.linalg.norm(before, 2)


@pytest.mark.parametrize("pass_up", ["samples", "means"])
def test_what_layers_hand_up(pass_up: str) -> None:
    made = machine(6, 4, 3)
    X = data(4000)
    settings = tc.Settings(
        epochs=1, batch_size=12, chains=12, learning_rate=0.1, momentum=0, penalty=None, sweeps=4, chain_init="data",
        gradient="tap", seed=0, pretrain=1, pass_up=pass_up,
    )  # fmt: skip
    plan = Plan.of(settings, made, 100)
    first = passed_up(made, X, 1, plan)
    mean = made.layers[1].moments(X @ made.weights[0], 0.0)[1]
    if pass_up == "means":
        assert_allclose(first, mean, rtol=1e-13)
        second = made.layers[2].moments(first @ made.weights[1], 0.0)[1]
        assert_allclose(passed_up(made, X, 2, plan), second, rtol=1e-13)
        result = fit_as_paper(made, data(), **HOW, pass_up="means")
        assert np.isfinite(result.history.to_array()[:, :-4]).all()  # the last columns are of held-out data and ladders
        return
    assert first.dtype == np.int8
    assert set(np.unique(first)) == {0, 1}
    assert_allclose(first.mean(axis=0), mean.mean(axis=0), atol=0.04)
    assert_array_equal(first, passed_up(made, X, 1, plan))
    assert set(np.unique(passed_up(made, X, 2, plan))) == {0, 1}


def test_layers_of_all_kinds_train() -> None:
    rng = np.random.default_rng(0)
    X = rng.random((60, 5))
    deep = tc.DBM(tc.TruncatedGaussian(5), tc.Spin(4), tc.GaussBernoulli(3), tc.Gaussian(2, V=3.0), sigma=0.05, seed=0)
    result = fit_as_paper(deep, X, **(HOW | {"learning_rate": 0.01}))
    assert np.isfinite(result.history.to_array()[:, :-4]).all()  # the last columns are of held-out data and ladders
    assert result.machine.sizes == deep.sizes


class Stopped(Exception):
    pass


@pytest.mark.parametrize(("pass_up", "dtype"), [("samples", "float64"), ("means", "float64"), ("samples", "float32")])
@pytest.mark.parametrize("batches", [3, 10, 13, 20, 24])
def test_a_run_stopped_anywhere_resumes_to_the_bit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, batches: int, pass_up: str, dtype: str
) -> None:
    """5 batches an epoch: stopped in the first stage, at its end, in the second, at its end, and in the last."""
    X, start = data(), machine(6, 4)
    how = HOW | {"pass_up": pass_up, "dtype": dtype}
    whole = fit_as_paper(start, X, **how)
    train, left = Trainer._train_batch, [batches]

    def counted(self: Trainer, *args: Any) -> None:
        if left[0] == 0:
            raise Stopped
        left[0] -= 1
        train(self, *args)

    monkeypatch.setattr(Trainer, "_train_batch", counted)
    with pytest.raises(Stopped):
        fit_as_paper(start, X, **how, checkpoint=tmp_path / "run")
    monkeypatch.undo()
    half = tc.load(tmp_path / "run")
    assert half.sizes == start.sizes
    again = fit_as_paper(start, X, **how, checkpoint=tmp_path / "run", resume=True)
    assert again.machine == whole.machine
    keep = [i for i, name in enumerate(tc.EpochRecord._fields) if name != "seconds"]
    assert_array_equal(again.history.to_array()[:, keep], whole.history.to_array()[:, keep])
    assert tc.load(tmp_path / "run") == whole.machine


def test_a_finished_run_goes_on_for_more_epochs(tmp_path: Path) -> None:
    X, start = data(), machine(6, 4)
    fit_as_paper(start, X, **HOW, checkpoint=tmp_path / "run")
    more = fit_as_paper(start, X, **(HOW | {"epochs": 5}), checkpoint=tmp_path / "run", resume=True)
    assert more.machine == fit_as_paper(start, X, **(HOW | {"epochs": 5})).machine
    for change, message in (
        ({"pretrain": 3}, "pretrain contradicts"),
        ({"pass_up": "means"}, "pass_up contradicts"),
        ({"epochs": 2}, "epochs contradicts"),
        ({"learning_rate": 0.2}, "contradicts"),
    ):
        with pytest.raises(ValueError, match=message):
            fit_as_paper(start, X, **(HOW | {"epochs": 5} | change), checkpoint=tmp_path / "run", resume=True)


@pytest.mark.parametrize("pretrain", [None, 1, 0])
def test_a_resumed_run_keeps_its_pre_training(tmp_path: Path, pretrain: int | None) -> None:
    X, start = data(), machine(6, 4)
    how = {k: v for k, v in HOW.items() if k not in ("pretrain", "epochs")}
    fit_as_paper(start, X, **how, epochs=2, pretrain=pretrain, checkpoint=tmp_path / "run")
    more = fit_as_paper(start, X, **how, epochs=3, checkpoint=tmp_path / "run", resume=True)
    begun = 2 if pretrain is None else pretrain
    assert more.machine == fit_as_paper(start, X, **how, epochs=3, pretrain=begun).machine
    with pytest.raises(ValueError, match="pretrain contradicts"):
        fit_as_paper(start, X, **how, epochs=4, pretrain=3, checkpoint=tmp_path / "run", resume=True)
    # Where there is nothing to resume, it is `epochs`, as of a new run.
    fresh = fit_as_paper(start, X, **how, epochs=1, checkpoint=tmp_path / "fresh", resume=True)
    assert fresh.machine == fit_as_paper(start, X, **how, epochs=1).machine


def test_pre_training_can_be_left_out() -> None:
    X, start = data(), machine(6, 4)
    result = fit_as_paper(start, X, **(HOW | {"pretrain": 0}))
    assert_array_equal(result.history.stage, 0)
    assert len(result.history) == 3
    as_many = fit_as_paper(start, X, **{k: v for k, v in HOW.items() if k != "pretrain"})
    assert_array_equal(as_many.history.stage, [1] * 3 + [2] * 3 + [0] * 3)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"pretrain": -1}, "pretrain"),
        ({"pass_up": "hands"}, "pass_up"),
        ({"gradient": "pcd"}, "for a machine of more than two layers, got 'pcd'"),
        ({"gradient": "adatap"}, "for a machine of more than two layers, got 'adatap'"),
        ({"noisy": 1.5}, "noisy"),
        ({"noisy": 0.5, "gradient": "cd"}, "noisy starts are means, not values: gradient 'cd'"),
    ],
)
def test_settings_that_make_no_sense_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        fit_as_paper(machine(6, 4), data(), **(HOW | options))


def test_pre_training_is_not_for_two_layers() -> None:
    with pytest.raises(ValueError, match="pretrain is for machines of more than two layers"):
        fit_as_paper(tc.RBM(tc.Binary(9), tc.Binary(4), seed=0), data(), **HOW)


def test_noisy_chains_start_from_noise() -> None:
    rbm, X = tc.RBM(tc.Binary(9), tc.Binary(4), seed=0), data()
    how = {k: v for k, v in HOW.items() if k != "pretrain"}
    settings = tc.Settings(momentum=0.5, penalty=None, renew=0.1, gradient="tap", **how, noisy=0.5)
    trainer = Trainer(rbm, X, Plan.of(settings, rbm, 100))
    starts = X[:10].astype(float)
    noisy = trainer._with_noise(starts)
    changed = (noisy != starts).any(axis=1)
    assert 3 <= changed.sum() <= 5
    assert ((noisy >= 0) & (noisy <= 1)).all()
    assert_array_equal(noisy, trainer._with_noise(starts))
    plain, other = fit_as_paper(rbm, X, **how), fit_as_paper(rbm, X, **how, noisy=0.5)
    assert not np.array_equal(plain.machine.weights[0], other.machine.weights[0])
    assert plain.machine == fit_as_paper(rbm, X, **how, noisy=0.0).machine
