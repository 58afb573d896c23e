"""Training epoch by epoch: the same bits as `fit`, however it is left and gone on with."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tapcore as tc
from tapcore.storage import format as file_format
from tapcore.storage.machines import RunFolder
from tapcore.training import trainer as module
from tapcore.training.saver import is_due
from tapcore.training.trainer import Trainer

RNG = np.random.default_rng(0)
X = (RNG.random((50, 1)) < 0.5) ^ (RNG.random((50, 6)) < 0.2)
GREY = RNG.normal(3.0, 0.2, (50, 6))
CASES: dict[str, tuple[tc.Machine, np.ndarray, dict[str, Any]]] = {
    "rbm": (tc.RBM(tc.Binary(6), tc.Binary(4), sigma=0.3, seed=1), X, {"chain_init": "persistent"}),
    "pcd": (tc.RBM(tc.Binary(6), tc.Binary(4), sigma=0.3, seed=1), X, {"gradient": "pcd"}),
    "ptt": (tc.RBM(tc.Binary(6), tc.Binary(4), sigma=2.0, seed=1), X, {"gradient": "ptt"}),
    "deep": (tc.DBM(tc.Binary(6), tc.Binary(4), tc.Binary(3), sigma=0.3, seed=1), X, {"pretrain": 1}),
    "real": (tc.RBM(tc.Gaussian(6), tc.Binary(4), sigma=0.1, seed=1), GREY, {}),
}
BATCHES = 6


def settings(case: str = "rbm", **more: Any) -> tc.Settings:
    how = {"epochs": 3, "batch_size": 9, "chains": 5, "learning_rate": 0.05, "sweeps": 3, **CASES[case][2]}
    return tc.Settings(**how | more)


def training(case: str = "rbm", **options: Any) -> tc.Training:
    return tc.Training(*CASES[case][:2], settings(case), **options)


def fitted(case: str = "rbm", **options: Any) -> tc.FitResult:
    return tc.fit(*CASES[case][:2], settings=settings(case), **options)


def untimed(history: tc.History) -> list[tc.EpochRecord]:
    return [record._replace(seconds=0.0) for record in history]


def assert_same(found: tc.FitResult, expected: tc.FitResult) -> None:
    assert found.machine == expected.machine
    assert untimed(found.history) == untimed(expected.history)


def assert_same_files(a: Path, b: Path) -> None:
    assert sorted(p.name for p in a.iterdir()) == sorted(p.name for p in b.iterdir())
    for path in a.iterdir():
        one, other = file_format.read(path)[1], file_format.read(b / path.name)[1]
        assert one.keys() == other.keys()
        for name in one.keys() - {"history", "standard.history"}:
            assert one[name].tobytes() == other[name].tobytes(), name


@pytest.mark.parametrize("case", CASES)
def test_iterating_is_fitting(case: str, tmp_path: Path) -> None:
    seen: list[tuple[tc.Machine, tc.EpochRecord]] = []
    expected = fitted(case, checkpoint=tmp_path / "fit", callbacks=[lambda m, r: seen.append((m, r))])
    steps = training(case, checkpoint=tmp_path / "steps")
    assert (steps.epoch, steps.epochs, len(steps.history)) == (0, len(seen), 0)
    for number, (record, (machine, its)) in enumerate(zip(steps, seen, strict=True), 1):
        assert untimed(tc.History([record])) == untimed(tc.History([its]))
        assert steps.machine == machine == tc.load(tmp_path / "steps")
        assert (steps.epoch, len(steps.history), steps.history[-1]) == (number, number, record)
    assert_same(steps.result(), expected)
    assert_same_files(tmp_path / "fit", tmp_path / "steps")
    assert list(steps) == []
    assert repr(steps) == f"<Training: {len(seen)} of {len(seen)} epochs done>"


@pytest.mark.parametrize("case", CASES)
def test_a_loop_that_was_left_can_be_gone_on_with(case: str) -> None:
    expected, steps = fitted(case), training(case)
    for record in steps:
        if record.epoch == 2:
            break
    half = steps.result()
    before = half.machine, untimed(half.history)
    assert len(half.history) == 2
    assert [record.epoch for record in steps] == list(expected.history.epoch[2:])
    assert_same(steps.result(), expected)
    assert (half.machine, untimed(half.history)) == before  # later steps do not change it


@pytest.mark.parametrize("case", CASES)
def test_another_training_goes_on_from_the_checkpoints(case: str, tmp_path: Path) -> None:
    expected = fitted(case, checkpoint=tmp_path / "fit")
    next(training(case, checkpoint=tmp_path / "steps"))
    again = training(case, checkpoint=tmp_path / "steps", resume=True)
    assert (again.epoch, again.history[0].epoch) == (1, 1)
    for _ in again:
        pass
    assert_same(again.result(), expected)
    assert_same_files(tmp_path / "fit", tmp_path / "steps")


def test_checkpoints_are_written_when_due_or_asked_for(tmp_path: Path) -> None:
    def names() -> list[str]:
        return sorted(p.name for p in tmp_path.glob("*/*"))

    steps = training(checkpoint=tmp_path / "run", checkpoint_every=2)
    assert names() == []
    next(steps)
    assert names() == ["epoch-0000.safetensors"]
    steps.save()
    assert tc.load(tmp_path / "run") == steps.machine
    list(steps)
    assert names() == [f"epoch-000{e}.safetensors" for e in range(4)]
    with pytest.raises(ValueError, match="save needs checkpoint, the folder of the run"):
        training().save()
    empty = tc.Training(*CASES["rbm"][:2], settings(epochs=0), checkpoint=tmp_path / "empty")
    assert list(empty) == []
    assert [p.name for p in (tmp_path / "empty").iterdir()] == ["epoch-0000.safetensors"]


def test_checkpoints_can_be_spaced_by_the_logarithm_of_the_epoch(tmp_path: Path) -> None:
    due = [epoch for epoch in range(1, 2049) if is_due(epoch, "log")]
    assert due[:25] == [*range(1, 17), 18, 20, 21, 23, 25, 27, 30, 32, 35]
    for octave in range(4, 11):  # eight from one power of two to the next
        assert len([e for e in due if 2**octave <= e < 2 ** (octave + 1)]) == 8
        assert 2**octave in due
    late = np.array([e for e in due if e >= 128])
    assert np.abs(np.diff(np.log2(late)) - 1 / 8).max() < 0.02
    steps = tc.Training(*CASES["rbm"][:2], settings(epochs=22), checkpoint=tmp_path, checkpoint_every="log")
    list(steps)
    assert [p.epoch for p in RunFolder(tmp_path).positions()] == [*range(17), 18, 20, 21, 22]


class Enough(Exception):
    pass


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("batches", [2, BATCHES])
def test_a_step_tells_of_its_batches_and_can_be_left_after_any(case: str, batches: int) -> None:
    steps, seen = training(case), []
    next(steps)

    def done() -> None:
        seen.append((steps.epoch, steps.batch))
        if len(seen) == batches:
            raise Enough

    with pytest.raises(Enough):
        steps.step(done)
    assert seen == [(1, b) for b in range(1, batches + 1)]
    assert (steps.epoch, steps.batch, steps.batches) == (1, batches, BATCHES)
    steps.step(done)
    assert seen == [(1, b) for b in range(1, BATCHES + 1)]
    list(steps)
    assert_same(steps.result(), fitted(case))


def test_there_is_no_step_after_the_last() -> None:
    steps = training()
    list(steps)
    with pytest.raises(ValueError, match="step needs an epoch that is left: all 3 are done"):
        steps.step()


def interrupt(monkeypatch: pytest.MonkeyPatch, owner: Any, name: str, call: int) -> None:
    """Send Ctrl-C to this process in the middle of a call."""
    function, left = getattr(owner, name), [call]

    def counted(*args: Any) -> Any:
        left[0] -= 1
        if left[0] == 0:
            os.kill(os.getpid(), signal.SIGINT)
        return function(*args)

    monkeypatch.setattr(owner, name, counted)


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("folder", [False, True])
@pytest.mark.parametrize("batch", [1, 9, 2 * BATCHES])
def test_ctrl_c_waits_for_the_batch_and_the_loop_can_be_gone_on_with(
    case: str, folder: bool, batch: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    handler, steps = signal.getsignal(signal.SIGINT), training(case, checkpoint=tmp_path / "run" if folder else None)
    with monkeypatch.context() as patch:
        interrupt(patch, Trainer, "_train_batch", batch)
        with pytest.raises(KeyboardInterrupt):
            list(steps)
    assert signal.getsignal(signal.SIGINT) is handler
    assert steps.epoch * BATCHES + steps.batch == batch
    if folder:
        newest = RunFolder(tmp_path / "run").newest()
        assert newest is not None
        assert (newest.epoch, newest.batch) == (steps.epoch, steps.batch)
        resumed = training(case, checkpoint=tmp_path / "run", resume=True)
        assert (resumed.epoch, resumed.batch) == (steps.epoch, steps.batch)
    list(steps)
    assert_same(steps.result(), fitted(case))


@pytest.mark.parametrize("epoch", [1, 3])
def test_ctrl_c_while_an_epoch_is_scored_leaves_its_record(
    epoch: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps = training(checkpoint=tmp_path / "run", checkpoint_every=5)
    with monkeypatch.context() as patch:
        interrupt(patch, module, "score", epoch)
        with pytest.raises(KeyboardInterrupt):
            list(steps)
    assert (steps.epoch, steps.batch, len(steps.history)) == (epoch, 0, epoch)
    assert tc.load(tmp_path / "run") == steps.machine
    list(steps)
    assert_same(steps.result(), fitted())


def test_ctrl_c_at_the_end_of_a_stage_of_fit_begins_no_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        interrupt(patch, module, "score", 1)
        with pytest.raises(KeyboardInterrupt):
            fitted("deep", checkpoint=tmp_path)
    newest = RunFolder(tmp_path).newest()
    assert newest is not None
    header = file_format.read(newest.path)[0]
    assert (newest.epoch, newest.batch, header["stage"]) == (1, 0, 0)
    assert_same(fitted("deep", checkpoint=tmp_path, resume=True), fitted("deep"))


def test_ctrl_c_between_steps_is_pythons_own() -> None:
    steps = training()
    next(steps)
    with pytest.raises(KeyboardInterrupt):
        os.kill(os.getpid(), signal.SIGINT)
    assert steps.epoch == 1


def test_divergence_is_said_by_each_step() -> None:
    steps = tc.Training(*CASES["rbm"][:2], settings(learning_rate=1e300))
    for _ in range(2):
        with pytest.raises(FloatingPointError, match="diverged in epoch 1"):
            next(steps)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"machine": "machine"}, r"tapcore\.Machine"),
        ({"X": X[:, :5]}, "X must have 6 columns"),
        ({"settings": None}, r"settings must be tapcore\.Settings\(\.\.\.\), got None"),
        ({"settings": tc.Settings(epochs=1, pretrain=1)}, "pretrain is for machines of more than two layers"),
        ({"checkpoint_every": 0}, "checkpoint_every must be an integer of at least 1"),
        ({"checkpoint_every": "sqrt"}, "checkpoint_every must be an integer of at least 1, or 'log', got 'sqrt'"),
        ({"resume": True}, "resume needs checkpoint"),
    ],
)
def test_what_makes_no_sense_is_refused_before_any_work(change: dict[str, Any], message: str) -> None:
    machine, samples, _ = CASES["rbm"]
    with pytest.raises(ValueError, match=message):
        tc.Training(**{"machine": machine, "X": samples, "settings": settings()} | change)


def test_a_folder_with_a_run_is_not_overwritten(tmp_path: Path) -> None:
    next(training(checkpoint=tmp_path))
    with pytest.raises(ValueError, match="holds a run already"):
        training(checkpoint=tmp_path)
