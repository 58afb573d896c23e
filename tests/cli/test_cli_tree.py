"""The command `tapcore tree`: the files that it leaves, and what it refuses."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tapcore as tc
from tapcore.storage import datasets


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run with several solutions; on data of its own, as those of a package may not be there."""
    rng = np.random.default_rng(0)
    folder = tmp_path_factory.mktemp("tree")
    kinds = rng.integers(3, size=200)
    np.save(folder / "X.npy", (rng.random((3, 12)) < 0.5)[kinds] ^ (rng.random((200, 12)) < 0.05))
    rows = "".join(f"{k},kind {kind}\n" for k, kind in enumerate(kinds))
    (folder / "labels.csv").write_text(f"Name,kind\n{rows}", encoding="utf-8")
    return folder


def test_a_tree_of_a_run_and_of_temperatures(run: Any, trained: Path) -> None:
    folder = trained / "run"
    how = ("--epochs", "40", "--hidden", "6", "--learning-rate", "0.1", "--pinning", "0")
    assert run("train", trained / "X.npy", "--out", folder, *how)[0] == 0
    status, out, err = run("tree", folder, "--annotations", trained / "labels.csv", "--starts", "150")
    assert (status, err) == (0, "")
    X = datasets.load(str(trained / "X.npy"))
    rows = np.sort(np.random.default_rng(0).permutation(200)[:150])
    tree = tc.solution_tree(folder, tc.harvest(tc.load(folder), X[rows], progress=False))
    assert (folder / "tree" / "tree.nwk").read_text() == tree.newick() + "\n"
    assert out.startswith(
        f"{len(tree.solutions)} solutions, joined at {len(tree) - len(tree.solutions)} nodes along epoch"
    )
    assert f"kind: {len(tree.solutions)} of {len(tree.solutions)} leaves have a label" in out
    assert (folder / "tree" / "tree.png").read_bytes().startswith(b"\x89PNG")
    with (folder / "tree" / "nodes.csv").open() as file:
        kinds = {row["kind"] for row in csv.DictReader(file)} - {""}
    assert kinds == {"kind 0", "kind 1", "kind 2"}

    other = trained / "hot"
    status, out, _ = run("tree", folder, "--temperature", "--out", other, "--method", "nmf")
    assert status == 0
    assert " nodes along beta" in out
    assert sorted(path.name for path in other.iterdir()) == [
        "features.csv", "features.safetensors", "nodes.csv", "tree.nwk", "tree.png",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--colors", "c.csv"), "--colors needs --annotations"),
        (("--annotations", "missing.csv"), "missing.csv: No such file"),
        (("--starts", "0"), "--starts must be"),
        (("--out", "X.npy"), "--out must be a folder"),
    ],
)
def test_what_it_refuses(
    run: Any, trained: Path, monkeypatch: pytest.MonkeyPatch, words: tuple[str, ...], said: str
) -> None:
    monkeypatch.chdir(trained)
    status, _, err = run("tree", "run", *words)
    assert status == 2
    assert said in err
    assert err.count("\n") == 1
