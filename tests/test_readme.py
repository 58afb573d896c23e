"""Every command and every snippet of the README is run, or is part of one that is; so with CONTRIBUTING.md."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import numpy as np
import pytest

from tapcore._base.threads import thread_count

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
CONTRIBUTING = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
CI = (ROOT / ".ci" / "run").read_text(encoding="utf-8")


def blocks(language: str, text: str = README) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", text, re.MULTILINE | re.DOTALL)


def files_named(text: str) -> list[str]:
    found = re.findall(r"\]\(([\w./]+)\)|`(\w[\w/]*\.(?:cff|md|py))`", text)
    return sorted({link or name for link, name in found})


COMMANDS = [line for block in blocks("sh") for line in block.splitlines()]
TRAIN, TEST = COMMANDS[0], COMMANDS[1]
# Commands that need the environment only.
USES = [line.replace(".venv/bin/", "") for line in (TRAIN.split(" && ")[-1], *COMMANDS[2:])]
MODULES = sorted(set(re.findall(r"`python -m (tapcore_bench\.[\w.]+)", README)))


def shared() -> dict[str, str]:
    """The environment of a process that has as many threads as this one."""
    return {**os.environ, "NUMBA_NUM_THREADS": str(thread_count())}


def call(command: str, folder: Path) -> str:
    """Run a `tapcore` command in `folder` and return what it prints."""
    words = shlex.split(command)
    assert words[0] == "tapcore"
    done = subprocess.run(
        [sys.executable, "-m", "tapcore", *words[1:]],
        cwd=folder, env=shared(), check=False, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_two_lines_start_from_nothing() -> None:
    for line in (TRAIN, TEST):
        assert line.startswith("python3 -m venv .venv && .venv/bin/pip install -e '.[")
    assert TEST.endswith("'.[test]' && .venv/bin/pytest")
    # What guards the project installs it the same way.
    assert "-m venv" in CI
    assert "-e '.[test]'" in CI
    assert "\npytest\n" in CI


@pytest.mark.parametrize("line", [line for block in blocks("sh", CONTRIBUTING) for line in block.splitlines()])
def test_commands_for_contributors_are_those_of_others(line: str) -> None:
    command = line.replace(".venv/bin/", "")
    if line == ".ci/run":
        assert os.access(ROOT / line, os.X_OK)
    elif line != TEST and command not in CI.splitlines():
        # Tests of one folder or of one kind, of which there are some.
        pytest_, *words = shlex.split(command)
        assert pytest_ == "pytest"
        if words[0] == "-m":
            settings = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["pytest"]
            assert words[1] in [marker.split(":")[0] for marker in settings["ini_options"]["markers"]]
        else:
            assert list((ROOT / words[0]).glob("test_*.py"))


def test_commands_work_in_the_order_of_the_readme(tmp_path: Path) -> None:
    pytest.importorskip("sklearn", reason="the digits come with scikit-learn")
    train, solve, info, score, sample, denoise, mnist, deep = USES
    assert "TAP log-likelihood per unit after epoch 100: -0." in call(train, tmp_path)
    assert {"receptive_fields.png", "history.png"} <= {p.name for p in (tmp_path / "runs" / "digits").iterdir()}
    assert "distinct solutions" in call(solve, tmp_path)
    assert "trained for 100 epochs" in call(info, tmp_path)
    assert "log-likelihood of 1797 samples: " in call(score, tmp_path)
    assert "100 samples of 64 units" in call(sample, tmp_path)
    assert (tmp_path / "runs" / "digits" / "samples.png").exists()
    assert "100 images, Erasure(50% of the units): 100 converged" in call(denoise, tmp_path)
    assert (tmp_path / "runs" / "digits" / "denoised.png").exists()
    assert "64 x 64 x 32 units trained on 1797 samples" in call(deep, tmp_path)
    # A small file in the format of MNIST's stands for it.
    import gzip
    import struct

    images = np.random.default_rng(0).integers(0, 256, (200, 28, 28), dtype=np.uint8)
    with gzip.open(tmp_path / "train-images-idx3-ubyte.gz", "wb") as file:
        file.write(struct.pack(">HBBIII", 0, 8, 3, *images.shape) + images.tobytes())
    mnist += " --epochs 5"
    assert "784 x 100 units trained on 200 samples" in call(mnist, tmp_path)
    assert "after epoch 5:" in call(mnist + " --resume", tmp_path)


@pytest.mark.parametrize("number", range(len(blocks("python"))))
def test_snippets_run(number: int, tmp_path: Path) -> None:
    pytest.importorskip("sklearn", reason="the digits come with scikit-learn")
    snippet = blocks("python")[number]
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", snippet],
        cwd=tmp_path, env=shared(), check=False, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout


def test_modules_named_exist() -> None:
    assert MODULES
    for module in MODULES:
        path = ROOT.joinpath(*module.split("."))
        assert path.with_suffix(".py").exists() or (path / "__main__.py").exists(), module


@pytest.mark.parametrize("path", files_named(README))
def test_files_named_exist(path: str) -> None:
    assert (ROOT / path).exists()


@pytest.mark.parametrize("path", files_named(CONTRIBUTING))
def test_files_named_for_contributors_exist(path: str) -> None:
    assert (ROOT / path).exists()


@pytest.mark.slow
@pytest.mark.parametrize("line", [TRAIN])
def test_whole_line_on_a_fresh_copy(line: str, tmp_path: Path) -> None:
    """Needs a package index."""
    copy = tmp_path / "copy"
    shutil.copytree(ROOT, copy, ignore=shutil.ignore_patterns(".git", ".venv*", "runs", "__pycache__", "*.nb?"))
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("NUMBA", "PYTHON", "VIRTUAL_ENV"))}
    done = subprocess.run(["bash", "-c", line], cwd=copy, env=environment, check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "TAP log-likelihood per unit" in done.stdout
