"""The command `tapcore sample`: along a run, and of a machine alone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tapcore as tc

SHORT = ("--epochs", "3", "--hidden", "5", "--learning-rate", "0.1")


def test_sample(run: Any, tmp_path: Path) -> None:
    run("train", "digits", "--out", tmp_path, *SHORT, "--gradient", "pcd")
    status, out, _ = run("sample", tmp_path, "--count", "12", "--sweeps", "20", "--seed", "3", "--replicas", "1")
    assert status == 0
    assert out.startswith(f"12 samples of 64 units: {tmp_path / 'samples.npy'}\npicture: ")
    x = np.load(tmp_path / "samples.npy")
    np.testing.assert_array_equal(x, tc.sample(tc.load(tmp_path), 12, sweeps=20, seed=3))
    assert (tmp_path / "samples.png").stat().st_size > 500
    newest = sorted(tmp_path.glob("epoch*"))[-1]
    status, _, _ = run(
        "sample", newest, "--count", "2", "--sweeps", "5", "--replicas", "3", "--out", tmp_path / "a.npy"
    )
    assert status == 0
    assert np.load(tmp_path / "a.npy").shape == (2, 64)
    assert run("sample", tmp_path, "--count", "0")[0] == 2
    assert run("sample", tmp_path / "none")[0] == 2


def test_sample_along_a_run(run: Any, tmp_path: Path) -> None:
    run("train", "digits", "--out", tmp_path, *SHORT, "--gradient", "pcd")
    status, out, err = run("sample", tmp_path, "--count", "12", "--sweeps", "40", "--seed", "3")
    assert (status, err) == (0, "")
    x = tc.sample(tmp_path, 12, sweeps=40, seed=3, progress=False)
    np.testing.assert_array_equal(np.load(tmp_path / "samples.npy"), x)
    ladder = tc.TrajectoryTempering(tmp_path, 12, seed=3)
    ladder.sweep(40)
    lines = out.splitlines()
    assert lines[0] == f"12 samples of 64 units: {tmp_path / 'samples.npy'}"
    assert lines[1].startswith(f"{len(ladder.rungs)} rungs along 4 checkpoints; ")
    assert f"in {ladder.acceptance.min():.1%} or more of the tries" in lines[1]
    assert lines[2] == (
        f"{ladder.round_trips.sum()} round trips from independent units; autocorrelation time "
        f"{ladder.autocorrelation:.1f} sweeps; {ladder.effective_samples:.0f} effective samples in all chains"
    )
    assert lines[3].startswith("picture: ")
    # Where there was no time to come to equilibrium, one line says so.
    with pytest.warns(UserWarning, match="^sample: samples may not be at equilibrium: values went from inde") as warned:
        assert run("sample", tmp_path, "--count", "2", "--sweeps", "1")[0] == 0
    assert [Path(w.filename).parent.name for w in warned] == ["cli"]  # so that it is printed as a line of the command's
    # One machine alone, of a file or of a folder that has no other, is sampled as before.
    for place in (tmp_path / "epoch-0003.safetensors", tmp_path / "one"):
        if place.suffix == "":
            place.mkdir()
            (place / "epoch-0003.safetensors").write_bytes((tmp_path / "epoch-0003.safetensors").read_bytes())
        status, out, _ = run("sample", place, "--count", "3", "--sweeps", "5")
        assert (status, "rungs" in out) == (0, False)
        expected = tc.sample(tc.load(place), 3, sweeps=5)
        np.testing.assert_array_equal(np.load((place if place.is_dir() else tmp_path) / "samples.npy"), expected)
    for flags in (("--count", "10000000000000"), ("--sweeps", "-1"), ("--seed", "-1"), ("--replicas", "0")):
        status, _, err = run("sample", tmp_path, *flags)
        assert (status, flags[0] in err, err.count("\n")) == (2, True, 1)
