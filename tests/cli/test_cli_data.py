"""What commands make of data files, of notes about a run's data, and of where they are to write."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tapcore import cli
from tapcore.cli.data import load_as_trained

RAW = np.random.default_rng(0).integers(0, 17, (40, 9))


@pytest.fixture
def run_of_raw(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Path:
    """A run whose data were made binary by a threshold."""
    np.save(tmp_path / "raw.npy", RAW)
    arguments = ["--threshold", "7.5", "--hidden", "3", "--epochs", "1", "--out", str(tmp_path / "run")]
    assert cli.main(["train", str(tmp_path / "raw.npy"), *arguments]) == 0
    capsys.readouterr()
    return tmp_path / "run"


def test_a_run_s_threshold_is_for_data_like_its_own(tmp_path: Path) -> None:
    np.save(tmp_path / "raw.npy", RAW)
    np.save(tmp_path / "binary.npy", (RAW > 7.5).astype(np.uint8))
    said = {"threshold": 7.5}
    for name in ("raw", "binary"):
        found = load_as_trained(str(tmp_path / f"{name}.npy"), None, None, said)
        np.testing.assert_array_equal(found.X, RAW > 7.5)
    assert load_as_trained("digits", None, None, {"threshold": 11.0}).X.mean() < 0.3


def test_a_run_can_score_its_own_samples(run: Any, run_of_raw: Path) -> None:
    assert run("sample", run_of_raw, "--count", "30", "--sweeps", "20")[0] == 0
    quick = ["--chains", "5", "--temperatures", "10", "--json"]
    status, out, _ = run("score", run_of_raw, run_of_raw / "samples.npy", *quick)
    assert status == 0
    assert abs(json.loads(out)["free_energy_gap"]) < 3  # of zeros it would be far more


def test_a_threshold_that_leaves_all_alike_is_refused(run: Any, tmp_path: Path) -> None:
    status, _, err = run("train", "digits", "--threshold", "100", "--hidden", "3", "--out", tmp_path / "run")
    assert status == 2
    assert "all of the data are at most the threshold 100" in err
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("command", ["sample", "denoise"])
def test_where_to_write_is_looked_at_first(run: Any, run_of_raw: Path, tmp_path: Path, command: str) -> None:
    given = [command, run_of_raw, *([tmp_path / "raw.npy"] if command == "denoise" else [])]
    for out, message in (
        (tmp_path / "x.png", "must not end in .png"),
        (tmp_path, "is a folder"),
        (tmp_path / "none" / "x", "there is no"),
    ):
        status, said, err = run(*given, "--out", out)
        assert (status, said) == (2, "")
        assert message in err


@pytest.mark.parametrize(("note", "message"), [("{", "is no JSON"), ("{}", "must name source"), ("[]", "must name")])
def test_a_note_that_is_none_is_told_by_its_name(run: Any, run_of_raw: Path, note: str, message: str) -> None:
    (run_of_raw / "data.json").write_text(note)
    for command in ("score", "denoise"):
        status, _, err = run(command, run_of_raw, run_of_raw.parent / "raw.npy")
        assert status == 2
        assert "data.json" in err
        assert message in err


def test_scores_do_without_the_data_of_a_run(run: Any, run_of_raw: Path) -> None:
    raw = run_of_raw.parent / "raw.npy"
    other = raw.rename(raw.with_name("moved.npy"))
    status, out, err = run("score", run_of_raw, other, "--chains", "5", "--temperatures", "10")
    assert status == 0
    assert "the run's data are gone" in err
    assert "free-energy gap" not in out
