"""The command `tapcore score`: what it prints, and which data it takes."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tapcore as tc
from tapcore.cli import score
from tapcore.cli.data import data_of_run
from tapcore.storage import datasets
from tapcore.training.held_out import held_out


def test_scores_as_text_and_as_json(run: Any, tmp_path: Path) -> None:
    X = datasets.load("digits")
    np.save(tmp_path / "some.npy", X[:300])
    np.save(tmp_path / "rest.npy", 16 * X[300:500])
    folder = tmp_path / "run"
    run("train", tmp_path / "some.npy", "--out", folder, "--epochs", "3", "--hidden", "5", "--threshold", "0.5")
    how = ("--chains", "20", "--temperatures", "30", "--seed", "3")
    status, out, err = run("score", folder, tmp_path / "rest.npy", *how, "--json")
    assert (status, err) == (0, "")
    expected = tc.score(folder, X[300:500], data=X[:300], chains=20, temperatures=30, seed=3, progress=False)
    assert json.loads(out) == expected.to_dict()
    status, out, err = run("score", folder, tmp_path / "rest.npy", *how)
    assert status == 0
    assert f"forward, from independent units: {expected.log_likelihood:.3f}" in out
    assert f"free-energy gap, training data above these samples: {expected.free_energy_gap:.3f}" in out
    assert out.startswith("log-likelihood of 200 samples: ")
    assert ("ln Z is not known" in out) == (not expected.known)
    assert all(f"\n  {doubt}\n" in out for doubt in expected.doubts)
    assert f"reverse, from samples by replica exchange: {expected.other_log_likelihood:.3f}" in out
    assert expected.ladder is not None
    along = f"ladder, along the run: {expected.ladder_log_likelihood:.3f}, ln Z = {expected.ladder.log_z:.3f} +- "
    assert f"{along}{expected.ladder.standard_error:.3f}\n" in out
    # Another threshold is that of these samples, and not of what the run was trained on.
    assert (
        json.loads(run("score", folder, tmp_path / "rest.npy", *how, "--json", "--threshold", "8")[1])
        == expected.to_dict()
    )
    # A checkpoint by itself has no ladder.
    said = json.loads(run("score", folder / "epoch-0003.safetensors", tmp_path / "rest.npy", *how, "--json")[1])
    assert (said["ladder"], said["forward"]["log_z"]) == (None, expected.forward.log_z)


def test_the_range_of_a_known_score_leaves_routes_with_doubts_aside(capsys: pytest.CaptureFixture[str]) -> None:
    found = tc.score(tc.RBM(tc.Binary(6), tc.Binary(3), seed=0), np.zeros((20, 6)), chains=20, temperatures=20)
    assert found.known
    doubted = tc.AnnealedEstimate(99.0, 0.1, ("few chains",))
    ladder = tc.TrajectoryEstimate(found.forward.log_z, 0.1)
    routes: dict[str, Any] = {"reverse": doubted, "other_log_likelihood": -99.0, "reverse_starts": "ladder"}
    one = replace(
        found, **routes, ladder=ladder, ladder_log_likelihood=found.log_likelihood, doubts=("reverse: few chains",)
    )
    score._print(one, 9)
    lines = capsys.readouterr().out.splitlines()
    low = f"{found.log_likelihood:.3f}"
    assert lines[0].startswith(f"log-likelihood of 20 samples: {low} to {low} nats each (+- ")
    assert lines[1] == "  reverse: few chains"
    assert lines[3].startswith("  reverse, from samples by ladder: -99.000")


def test_samples_that_training_held_out_are_no_training_data(run: Any, tmp_path: Path) -> None:
    X = datasets.load("digits")
    np.save(tmp_path / "rows.npy", X[:400])
    how = ("--epochs", "2", "--hidden", "5", "--validation", "0.4", "--seed", "7")
    run("train", tmp_path / "rows.npy", "--out", tmp_path / "run", *how)
    seen, _ = held_out(X[:400], 0.4, tc.Binary(64), 7)
    assert len(seen) == 240
    np.testing.assert_array_equal(data_of_run(tmp_path / "run"), seen)
    # Another file is not.
    np.save(tmp_path / "other.npy", X[400:500])
    run("train", tmp_path / "rows.npy", "--out", tmp_path / "two", *how[:4], "--validation", tmp_path / "other.npy")
    np.testing.assert_array_equal(data_of_run(tmp_path / "two"), X[:400])


def test_what_was_held_out_is_scored_alone(run: Any, tmp_path: Path) -> None:
    X = datasets.load("digits")[:400]
    np.save(tmp_path / "rows.npy", X)
    run(
        "train",
        tmp_path / "rows.npy",
        "--out",
        tmp_path / "run",
        "--epochs",
        "2",
        "--hidden",
        "5",
        "--validation",
        "0.4",
    )
    how = ("--chains", "10", "--temperatures", "20")
    status, out, err = run("score", tmp_path / "run", tmp_path / "rows.npy", *how, "--held-out")
    assert (status, err) == (0, "")
    assert out.startswith("log-likelihood of 160 samples")
    status, out, err = run("score", tmp_path / "run", tmp_path / "rows.npy", *how)
    assert out.startswith("log-likelihood of 400 samples")
    assert err == "tapcore: of these samples some were held out: --held-out scores them alone\n"
    np.save(tmp_path / "other.npy", X[:50])
    status, out, err = run("score", tmp_path / "run", tmp_path / "other.npy", *how, "--held-out")
    assert (status, out) == (2, "")
    assert "--held-out is for the data that a run was trained on" in err
