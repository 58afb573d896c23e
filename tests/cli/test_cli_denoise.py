"""`tapcore denoise`: noise, missing pixels, observations as they are, and what it refuses."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_array_equal

import tapcore as tc
from tapcore import cli
from tapcore.storage import datasets


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("trained") / "run"
    arguments = ["--hidden", "20", "--epochs", "20", "--learning-rate", "0.1"]
    assert cli.main(["train", "digits", "--out", str(folder), *arguments]) == 0
    return folder


def scores(out: str) -> dict[str, list[float]]:
    lines = [line.split() for line in out.splitlines() if line.startswith(("TAP ", "pointwise", "1-NN"))]
    return {words[0]: [float(word) for word in words[1:]] for words in lines if len(words) > 1}


def test_denoise_flips(run: Any, trained: Path, tmp_path: Path) -> None:
    out = tmp_path / "found.npz"
    status, said, err = run("denoise", trained, "digits", "--p", "0.1", "--count", "50", "--out", out)
    assert (status, err) == (0, "")
    assert said.startswith("50 images, BinarySymmetric(p=0.1): 50 converged")
    assert "the nearest neighbour (1-NN) has seen them" in said
    table = scores(said)
    assert table["TAP"][0] < table["pointwise"][0]
    assert table["TAP"][1] > table["pointwise"][1]
    with np.load(out) as found:
        assert set(found) == {"clean", "observed", "mean", "var"}
        clean, seen, mean = found["clean"], found["observed"], found["mean"]
    X = datasets.load("digits")
    assert_array_equal(clean, X[:50])
    prior = tc.Binary.from_data(X)
    assert_array_equal(mean, tc.denoise(tc.load(trained), seen, tc.BinarySymmetric(0.1), prior=prior))
    assert out.with_suffix(".png").read_bytes().startswith(b"\x89PNG")
    assert f"{tc.matthews_correlation(clean, mean).mean():.4f}" in said


@pytest.mark.parametrize("erase", ["lower", "upper", "left", "right"])
def test_denoise_fills_in_what_is_erased(run: Any, trained: Path, tmp_path: Path, erase: str) -> None:
    out = tmp_path / "found.npz"
    arguments = ["--channel", "erasure", "--erase", erase, "--count", "9", "--out", out]
    assert run("denoise", trained, "digits", *arguments)[0] == 0
    with np.load(out) as found:
        missing = np.isnan(found["observed"]).reshape(9, 8, 8)
        assert_array_equal(found["mean"][~np.isnan(found["observed"])], found["clean"][~np.isnan(found["observed"])])
    half = {"lower": missing[:, 4:], "upper": missing[:, :4], "left": missing[:, :, :4], "right": missing[:, :, 4:]}
    assert half[erase].all()
    assert missing.sum() == 9 * 32


def test_denoise_takes_observations_as_they_are(run: Any, trained: Path, tmp_path: Path) -> None:
    X = datasets.load("digits")[:5].astype(float)
    X[:, 10:20] = np.nan
    np.save(tmp_path / "seen.npy", X)
    status, said, err = run("denoise", trained, tmp_path / "seen.npy", "--noisy", "--channel", "erasure")
    assert (status, err) == (0, "")
    assert "Erasure(16% of the units)" in said
    assert "Matthews" not in said
    with np.load(trained / "denoised.npz") as found:
        assert set(found) == {"observed", "mean", "var"}


def test_denoise_refuses_in_one_line(run: Any, trained: Path, tmp_path: Path) -> None:
    np.save(tmp_path / "narrow.npy", np.zeros((3, 9)))
    np.save(tmp_path / "holes.npy", np.full((3, 64), np.nan))
    for arguments, message in (
        (["digits", "--p", "0.7"], "p must be at least 0 and at most 0.5"),
        (["digits", "--count", "0"], "--count"),
        (["digits", "--channel", "gaussian", "--sd", "0"], "--sd must be positive, got 0"),
        (["digits", "--channel", "gaussian", "--sd", "-1"], "--sd must be positive, got -1"),
        (["digits", "--erase", "upper"], "--erase is for --channel erasure, not bsc"),
        (["digits", "--channel", "erasure", "--p", "0.2"], "--p is for --channel bsc, not erasure"),
        (["digits", "--channel", "erasure", "--noisy", "--erase", "left"], "--erase is for clean images"),
        ([tmp_path / "holes.npy", "--noisy"], "--noisy --channel erasure fills in missing pixels"),
        ([tmp_path / "holes.npy", "--channel", "erasure"], "--noisy --channel erasure fills in missing pixels"),
        ([tmp_path / "narrow.npy"], "9 pixels an image, the machine 64 visible units"),
        ([tmp_path / "none.npy"], "none.npy"),
    ):
        status, _, err = run("denoise", trained, *arguments)
        assert (status, err.count("\n")) == (2, 1)
        assert message in err
