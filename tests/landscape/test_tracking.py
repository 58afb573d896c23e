"""Tracking: lineage by hand, and over a real training, as a callback and from checkpoints."""

from __future__ import annotations

import csv
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_array_equal

import tapcore as tc
from tapcore import cli
from tapcore.landscape import tracking
from tapcore.landscape.tracking import Tracker


def made(
    positions: list[float], energies: list[float], counts: list[int] | None, converged: Any = True
) -> tc.Solutions:
    """Chains of one visible unit at the given means."""
    n = len(positions)
    column = np.array(positions).reshape(n, 1)
    return tc.Solutions(
        *[(column, np.zeros((n, 1)))] * 4,
        free_energy=np.array(energies, float),
        residual=np.zeros(n),
        distance=np.full(n, 1e-9),
        mse=np.zeros(n),
        sweeps=np.ones(n, np.int64),
        converged=np.broadcast_to(converged, n).copy(),
        counts=None if counts is None else np.array(counts),
        labels=None if counts is None else np.repeat(np.arange(n), counts),
    )


def test_lineage_by_hand(monkeypatch: pytest.MonkeyPatch) -> None:
    machine = tc.RBM(tc.Binary(1), tc.Binary(1))
    epochs = [
        (made([0.1, 0.5, 0.9], [-3.0, -2.0, -1.0], [5, 2, 2]), None),
        # 0.1 moves to 0.2; 0.5 and 0.9, of equal basins, come together: that of lower free energy goes on; 0.7 is new.
        (made([0.2, 0.6, 0.7], [-3.0, -2.5, -2.0], [4, 4, 1]), made([0.2, 0.6, 0.6], [-3.0, -2.5, -2.5], None)),
        # 0.2 is lost; 0.6 is reached by its own chain only, no longer from the data; 0.7 stays.
        (made([0.7], [-2.0], [9]), made([0.3, 0.65, 0.7], [-1.0, -4.0, -2.0], None, [False, True, True])),
    ]
    tracker = Tracker(np.zeros((9, 1)), starts=None)
    for epoch, (found, after) in enumerate(epochs):
        monkeypatch.setattr(tracking, "harvest", lambda *a, found=found, **k: found)
        monkeypatch.setattr(tracking, "solve", lambda *a, after=after, **k: after)
        tracker.follow(machine, epoch)
    shown = [e[:6] for e in tracker.events]
    nan = math.nan
    expected = [
        (0, 0, "born", -1, -3.0, 5), (0, 1, "born", -1, -2.0, 2), (0, 2, "born", -1, -1.0, 2),
        (1, 0, "kept", -1, -3.0, 4), (1, 1, "kept", -1, -2.5, 4), (1, 3, "born", -1, -2.0, 1),
        (1, 2, "merged", 1, nan, 0),
        (2, 1, "kept", -1, -4.0, 0), (2, 3, "kept", -1, -2.0, 9), (2, 0, "lost", -1, nan, 0),
    ]  # fmt: skip
    np.testing.assert_equal(shown, expected)
    moved = [e.moved for e in tracker.events]
    np.testing.assert_allclose(moved, [nan, nan, nan, 0.1, 0.1, nan, nan, 0.05, 0.0, nan], atol=1e-12)
    assert [s[:6] for s in tracker.summaries] == [(0, 3, 3, 0, 0, 0), (1, 3, 1, 1, 0, 0), (2, 2, 0, 0, 1, 0)]
    assert tracker.summaries[1][6:] == (-3.0, -2.5, -2.0)
    assert_array_equal(tracker.ids, [1, 3])


@pytest.fixture(scope="module")
def followed(tmp_path_factory: pytest.TempPathFactory) -> tuple[Tracker, Path]:
    """Digits trained for some epochs with a tracker, which has read what the command reads too."""
    pytest.importorskip("sklearn", reason="the digits come with scikit-learn")
    folder = tmp_path_factory.mktemp("run") / "digits"
    arguments = ["--paper", "--hidden", "16", "--epochs", "40", "--learning-rate", "0.1", "--out", str(folder)]
    assert cli.main(["train", "digits", *arguments]) == 0
    tracker = Tracker(tc.datasets.load("digits"), starts=200)
    tracker.follow(tc.load(folder / "epoch-0000.safetensors"), 0)
    machine = tc.RBM(tc.Binary(64), tc.Binary(16), seed=0)
    settings = tc.paper_settings(epochs=40, learning_rate=0.1)
    tc.fit(machine, tc.datasets.load("digits"), settings=settings, callbacks=(tracker,), progress=False)
    return tracker, folder


def test_solutions_grow_from_one(followed: tuple[Tracker, Path]) -> None:
    tracker, _ = followed
    numbers = [s.solutions for s in tracker.summaries]
    assert numbers[0] == 1
    assert numbers[-1] > 3
    for s in tracker.summaries:
        living = [e for e in tracker.events if e.epoch == s.epoch and e.event in ("born", "kept")]
        assert len(living) == s.solutions
        assert sum(e.basin for e in living) + s.unconverged == 200
        assert s.lowest <= s.mean <= s.highest
    # Nothing dies twice or lives on after its death.
    ended = {e.id: e.epoch for e in tracker.events if e.event in ("merged", "lost")}
    assert all(e.epoch <= ended.get(e.id, 99) for e in tracker.events)
    assert tracker.solutions is not None
    assert len(tracker.ids) == len(set(tracker.ids)) == len(tracker.solutions)


def test_the_command_follows_the_checkpoints(
    followed: tuple[Tracker, Path], capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    tracker, folder = followed
    assert cli.main(["solve", str(folder), "--all", "--starts", "200"]) == 0
    printed = capsys.readouterr().out
    tracker.write(tmp_path / "solutions.csv", tmp_path / "solutions_summary.csv")
    for name in ("solutions.csv", "solutions_summary.csv"):
        assert (folder / name).read_text() == (tmp_path / name).read_text()
        assert name in printed
    with (folder / "solutions.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == len(tracker.events)
    assert float(rows[0]["free_energy"]) == tracker.events[0].free_energy
    assert len(printed.splitlines()) >= 41


def test_bad_input_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for options in ({"starts": 0}, {"seed": -1}):
        with pytest.raises(ValueError, match=next(iter(options))):
            Tracker(np.zeros((3, 2)), **options)
    tracker = Tracker(np.zeros((3, 2)))
    with pytest.raises(ValueError, match="init"):
        tracker.follow(tc.RBM(tc.Binary(3), tc.Binary(2)), 0)
    for options in ({"tol": 0}, {"method": "x"}, {"max_sweeps": 0}):
        with pytest.raises(ValueError, match=next(iter(options))):
            Tracker(np.zeros((3, 2)), **options).follow(tc.RBM(tc.Binary(2), tc.Binary(2)), 0)
    assert cli.main(["solve", str(tmp_path), "--all", "--data", "digits"]) == 2
    assert "no checkpoints" in capsys.readouterr().err
