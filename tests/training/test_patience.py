"""Early stopping: when a run ends, which machine it returns and keeps, and the same bits when it is resumed."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tapcore as tc
from tapcore.storage import format as file_format
from tapcore.storage.machines import RunFolder
from tapcore.training import trainer as trainer_module
from tapcore.training.history import Score
from tapcore.training.trainer import Trainer

RNG = np.random.default_rng(3)
X, V = (RNG.random((2, 30, 1)) < 0.5) ^ (RNG.random((2, 30, 6)) < 0.2)
GREY = RNG.normal(5.0, 1.0, (2, 30, 6)) + RNG.normal(0.0, 1.0, (2, 30, 1))
CASES: dict[str, tuple[tc.Machine, np.ndarray, np.ndarray, dict[str, Any]]] = {
    "rbm": (tc.RBM(tc.Binary(6), tc.Binary(8), sigma=0.3, seed=1), X, V, {"pinning": 3.0}),
    "deep": (
        tc.DBM(tc.Binary(6), tc.Binary(8), tc.Binary(3), sigma=0.3, seed=1),
        X,
        V,
        {"pretrain": 1},
    ),
    "real": (tc.RBM(tc.Gaussian(6), tc.Binary(4), sigma=0.1, seed=1), *GREY, {"learning_rate": 0.1}),
}
HOW: dict[str, Any] = {"epochs": 40, "batch_size": 10, "chains": 5, "learning_rate": 0.3, "patience": 3}


def training(case: str = "rbm", **more: Any) -> tc.Training:
    machine, samples, held, how = CASES[case]
    options = {name: more.pop(name) for name in ("checkpoint", "checkpoint_every", "resume") if name in more}
    return tc.Training(machine, samples, tc.Settings(**HOW | how | more), validation=held, **options)


class Stop(Exception):
    pass


def train_batches(steps: tc.Training, batches: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Train, and be killed after so many batches."""
    train, left = Trainer._train_batch, [batches]

    def counted(self: Trainer, *args: Any) -> None:
        if left[0] == 0:
            raise Stop
        left[0] -= 1
        train(self, *args)

    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "_train_batch", counted)
        with pytest.raises(Stop):
            list(steps)


@pytest.mark.parametrize("case", CASES)
def test_the_run_ends_and_returns_the_best_machine(case: str) -> None:
    steps, seen = training(case), []
    past = len(steps.history)
    for record in steps:
        seen.append(steps.machine)
        best = steps.best_epoch
        assert steps.result().machine == (seen[-1] if best is None else seen[best - 1])
        assert record.epoch == len(seen)
    # Of two layers of two-state units, few of them hidden, what sites say of each other tells the best.
    pseudo = steps.history.pseudo
    scores = steps.history.validation if np.isnan(pseudo).all() else pseudo
    assert np.isfinite(pseudo).all() == (case == "rbm")
    assert steps.best_epoch == np.nanargmax(scores) + 1
    assert past < len(seen) == steps.best_epoch + 3 < 40
    assert steps.finished
    machine, history = steps.result()
    assert machine == seen[steps.best_epoch - 1] != steps.machine
    assert len(history) == len(seen)


def scripted(monkeypatch: pytest.MonkeyPatch, scores: list[float]) -> None:
    left = iter(scores)
    monkeypatch.setattr(trainer_module, "score", lambda *args: Score(-1.0, -3.0, 0.0, 0, 0, next(left), np.nan))


@pytest.mark.parametrize(
    ("scores", "patience", "best", "last"),
    [
        ([3, 2, 1, 0], 2, 1, 3),
        ([1, 2, 2, 2, 3], 2, 2, 4),  # equal is no better
        ([1, 0, 2, 1, 3, 2], 2, 5, 6),
        ([1, np.nan, np.nan], 2, 1, 3),
        ([np.nan] * 6, 2, None, 2),
        ([0, 1, 0, 2, 0, 3], 6, 6, 6),
    ],
)
def test_patience_counts_epochs_since_the_best(
    scores: list[float], patience: int, best: int | None, last: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    scripted(monkeypatch, scores)
    steps = training(patience=patience, epochs=6)
    seen = [steps.machine for _ in steps]
    assert (steps.best_epoch, steps.epoch) == (best, last)
    assert steps.result().machine == seen[-1 if best is None else best - 1]


def test_without_patience_the_run_goes_on_to_its_end(tmp_path: Path) -> None:
    steps = training(patience=None, epochs=20, checkpoint=tmp_path)
    list(steps)
    assert steps.best_epoch is not None
    assert steps.best_epoch < steps.epoch == 20
    assert steps.result().machine == steps.machine == tc.load(tmp_path)
    assert not RunFolder(tmp_path).best_path.exists()


@pytest.mark.parametrize(("case", "every"), [("rbm", 1), ("rbm", 100), ("deep", 100), ("real", 100)])
def test_a_resumed_run_still_knows_its_best(
    case: str, every: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = training(case, checkpoint=tmp_path / "whole", checkpoint_every=every)
    list(whole)
    best, folder = whole.best_epoch, RunFolder(tmp_path / "whole")
    assert best is not None
    assert tc.load(folder.path) == tc.load(folder.best_path) == whole.result().machine
    assert file_format.read(folder.best_path)[0]["epoch"] == best
    assert {p.epoch for p in folder.positions()} == ({*range(whole.epoch + 1)} if every == 1 else {0, whole.epoch})
    for batches in (1, whole.batches * best, whole.batches * best + 1, whole.batches * (best + 2) + 1):
        parts = tmp_path / f"{batches}"
        train_batches(training(case, checkpoint=parts, checkpoint_every=every), batches, monkeypatch)
        # Where checkpoints are rare, that of the best epoch is the one to go on from.
        again = training(case, checkpoint=parts, checkpoint_every=every, resume=True)
        known = again.best_epoch
        if every == 100 and batches > whole.batches * best:
            assert again.epoch == best
        if known is not None:
            assert again.result().machine == tc.load(parts)
        list(again)
        assert again.result().machine == whole.result().machine
        assert again.machine == whole.machine
        assert again.history.validation.tobytes() == whole.history.validation.tobytes()
        assert sorted(p.name for p in parts.iterdir()) == sorted(p.name for p in folder.path.iterdir())
    finished = training(case, checkpoint=folder.path, checkpoint_every=every, resume=True)
    assert finished.finished
    assert finished.result().machine == whole.result().machine


def killed_at_best(folder: Path) -> int:
    """A run that ends with its best epoch, whose checkpoint was written but not that of the best epoch."""
    steps = training(checkpoint=folder)
    before = folder.parent / "before.safetensors"
    for _ in steps:
        if steps.best_epoch == steps.epoch > 2:
            break
        shutil.copy(folder / "best.safetensors", before)
    assert steps.best_epoch == steps.epoch
    shutil.copy(before, folder / "best.safetensors")
    return steps.epoch


def test_a_run_killed_before_its_best_was_written_writes_it(tmp_path: Path) -> None:
    best = killed_at_best(tmp_path / "run")
    again = training(checkpoint=tmp_path / "run", resume=True)
    assert again.result().machine == again.machine == tc.load(tmp_path / "run" / f"epoch-{best:04d}.safetensors")
    again.save()
    assert tc.load(tmp_path / "run") == again.machine
    whole = training()
    list(whole)
    list(again)
    assert again.result().machine == whole.result().machine


def test_a_run_without_its_best_is_refused(tmp_path: Path) -> None:
    steps = training(checkpoint=tmp_path)
    list(steps)
    (tmp_path / "best.safetensors").unlink()
    said = rf"best\.safetensors: resume needs .* epoch {steps.best_epoch} there, the best so far; copy (.*) there"
    with pytest.raises(tc.CheckpointError, match=said) as caught:
        training(checkpoint=tmp_path, resume=True)
    shutil.copy(tmp_path / "epoch-0001.safetensors", tmp_path / "best.safetensors")
    with pytest.raises(tc.CheckpointError, match=said):
        training(checkpoint=tmp_path, resume=True)
    name = str(caught.value).split("copy ")[1].split()[0]
    shutil.copy(tmp_path / name, tmp_path / "best.safetensors")
    assert training(checkpoint=tmp_path, resume=True).result().machine == steps.result().machine


def test_a_folder_with_nothing_but_the_best_holds_a_run(tmp_path: Path) -> None:
    steps = training(checkpoint=tmp_path)
    next(steps)
    for position in RunFolder(tmp_path).positions():
        position.path.unlink()
    assert RunFolder(tmp_path).newest() is None
    with pytest.raises(ValueError, match="holds a run already"):
        training(checkpoint=tmp_path)
    assert training(checkpoint=tmp_path, resume=True).machine == steps.machine


def test_a_machine_saved_under_the_name_of_the_best_is_no_checkpoint(tmp_path: Path, run: Any) -> None:
    next(training(patience=None, checkpoint=tmp_path))
    tc.save(tmp_path / "best.safetensors", CASES["rbm"][0])
    assert training(patience=None, checkpoint=tmp_path, resume=True).epoch == 1
    status, out, _ = run("info", tmp_path)
    assert (status, out.splitlines()[1]) == (0, "best.safetensors, which the other commands use")


def test_other_patience_is_refused(tmp_path: Path) -> None:
    next(training(checkpoint=tmp_path))
    with pytest.raises(ValueError, match=r"resume: patience contradicts .*: it has 3, got 4"):
        training(checkpoint=tmp_path, resume=True, patience=4)
    with pytest.raises(ValueError, match="patience must be an integer of at least 1, got 0"):
        tc.Settings(patience=0)
    with pytest.raises(ValueError, match="patience needs validation, held-out data to go by"):
        tc.fit(CASES["rbm"][0], X, patience=3)


def test_few_hidden_units_are_not_stopped_long_before_their_best() -> None:
    # TAP's held-out score of this run is best at epoch 7, where the exact one is a nat below what comes.
    digits = np.random.default_rng(0).permutation(tc.datasets.load("digits"))
    train, held = digits[:1438], digits[1438:]
    machine = tc.RBM(tc.Binary(64), tc.Binary(12), seed=0)
    found = tc.fit(machine, train, validation=held, patience=5, epochs=60, progress=False)
    whole = tc.fit(machine, train, validation=held, epochs=60, progress=False)
    exact, best = (float(tc.exact.log_likelihood(one.machine, held).mean()) for one in (found, whole))
    assert exact > best - 0.5
    at = int(np.argmax(found.history.validation)) + 1
    assert at < int(np.argmax(found.history.pseudo)) + 1
