"""The command `tapcore score`: what it prints, and which data it takes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

import tapcore as tc
from tapcore.storage import datasets


def test_scores_as_text_and_as_json(run: Any, tmp_path: Path) -> None:
    X = datasets.load("digits")
    np.save(tmp_path / "some.npy", X[:300])
    np.save(tmp_path / "rest.npy", 16 * X[300:500])
    folder = tmp_path / "run"
    run("train", tmp_path / "some.npy", "--out", folder, "--epochs", "3", "--hidden", "5", "--threshold", "0.5")
    how = ("--chains", "20", "--temperatures", "30", "--seed", "3")
    status, out, err = run("score", folder, tmp_path / "rest.npy", *how, "--json")
    assert (status, err) == (0, "")
    expected = tc.score(tc.load(folder), X[300:500], data=X[:300], chains=20, temperatures=30, seed=3, progress=False)
    assert json.loads(out) == expected.to_dict()
    status, out, err = run("score", folder, tmp_path / "rest.npy", *how)
    assert status == 0
    assert f"forward, from independent units: {expected.log_likelihood:.3f}" in out
    assert f"free-energy gap, training data above these samples: {expected.free_energy_gap:.3f}" in out
    assert out.startswith("log-likelihood of 200 samples: ")
    assert ("ln Z is not known" in out) == (not expected.known)
    # Another threshold is that of these samples, and not of what the run was trained on.
    assert (
        json.loads(run("score", folder, tmp_path / "rest.npy", *how, "--json", "--threshold", "8")[1])
        == expected.to_dict()
    )
