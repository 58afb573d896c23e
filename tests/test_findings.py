"""Findings are scripts that run by hand; here only that each is what `findings/README.md` says."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

import pytest

FOLDER = Path(__file__).resolve().parents[1] / "findings"
README = (FOLDER / "README.md").read_text(encoding="utf-8")
SCRIPTS = sorted(path.name for path in FOLDER.iterdir() if path.name != "README.md")


@pytest.mark.parametrize("name", SCRIPTS)
def test_a_finding_is_a_script_of_pinned_packages_without_this_one(name: str) -> None:
    path = FOLDER / name
    text = path.read_text(encoding="utf-8")
    assert path.suffix == ".sh"
    assert text.startswith("#!")
    assert os.access(path, os.X_OK), "is not executable"
    installed = re.findall(r"pip\S* install (.*)", text)
    assert installed
    for word in " ".join(installed).replace("'", "").replace('"', "").split():
        assert word.startswith("-") or re.fullmatch(r"[\w.\[\]-]+==[\w.]+", word), f"{word} is not pinned"
    assert "mktemp -d" in text
    assert "exit 1" in text, "does not fail when what it shows has changed"
    assert "tapcore" not in text
    subprocess.run(["bash", "-n", path], check=True)


def test_the_list_is_what_is_there() -> None:
    assert sorted(set(re.findall(r"\]\(([\w.-]+\.sh)\)", README))) == SCRIPTS
