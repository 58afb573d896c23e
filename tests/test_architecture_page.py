"""The page on architecture: its paths and names are there, its rooms and equations are those of the sources."""

from __future__ import annotations

import ast
import builtins
import functools
import re
import textwrap
from itertools import chain
from pathlib import Path

import pytest
from test_architecture import FLOORS

ROOT = Path(__file__).resolve().parents[1]
TEXT = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
EXAMPLE = (ROOT / "docs" / "examples" / "ternary.py").read_text(encoding="utf-8")
SOURCES = {path.relative_to(ROOT).as_posix(): path.read_text(encoding="utf-8") for path in ROOT.glob("tapcore/**/*.py")}

_BLOCK = re.compile(r"^ *```python\n(.*?)^ *```", re.MULTILINE | re.DOTALL)
QUOTED = sorted(set(re.findall(r"`([^`\n]+)`", _BLOCK.sub("", TEXT))))
PATHS = [q for q in QUOTED if re.fullmatch(r"[\w./]+", q) and ("/" in q or q.endswith((".py", ".md", ".toml")))]
NAMES = [q for q in QUOTED if q not in PATHS and re.fullmatch(r"[A-Za-z_][\w.]*", q)]
# What else is quoted: commands, formulas, values.
REST = {
    "python -m tapcore", "tapcore train", "NUMBA_DISABLE_JIT=1", "phi(x) exp(B x - A x^2/2)", "-x^2/2", "X[:, i]",
    '"rbp"', '"adatap"', '"nmf"', '"tap3"', "sys.unraisablehook",
}  # fmt: skip


@functools.cache
def defined() -> set[str]:
    """Rooms, and all that is defined in the package: modules, functions, classes, fields, parameters, attributes."""
    names = {"tapcore", *chain.from_iterable(FLOORS), *(Path(path).stem for path in SOURCES), *dir(builtins)}
    for text in SOURCES.values():
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.FunctionDef | ast.ClassDef):
                names.add(node.name)
            elif isinstance(node, ast.Name | ast.Attribute) and isinstance(node.ctx, ast.Store):
                names.add(node.id if isinstance(node, ast.Name) else node.attr)
    return names


EQUATIONS = re.compile(r"Eqs?\. ((?:[A-Z]?\d+(?:-[A-Z]?\d+)?)(?:, [A-Z]?\d+(?:-[A-Z]?\d+)?)*)")


def numbers(text: str) -> set[str]:
    """Equations that a text cites."""
    cited = set()
    for part in chain.from_iterable(group.split(", ") for group in EQUATIONS.findall(text)):
        first, _, last = part.partition("-")
        letter = first.rstrip("0123456789")
        ends = [int(x.removeprefix(letter)) for x in (first, last or first)]
        cited |= {f"{letter}{i}" for i in range(ends[0], ends[1] + 1)}
    return cited


def section(title: str) -> str:
    return TEXT.split(f"\n## {title}\n")[1].split("\n## ")[0]


@pytest.mark.parametrize("path", PATHS)
def test_paths_exist(path: str) -> None:
    assert (ROOT / path).exists()


@pytest.mark.parametrize("name", NAMES)
def test_names_are_defined(name: str) -> None:
    assert name in REST or all(part in defined() for part in name.split("."))


def test_nothing_else_is_quoted() -> None:
    assert set(QUOTED) - {*PATHS, *NAMES} <= REST
    assert set(QUOTED) >= REST


def test_links_lead_somewhere() -> None:
    for link in re.findall(r"\]\(([^)]+)\)", TEXT):
        assert (ROOT / "docs" / link).resolve().exists(), link


def test_rooms_are_those_of_the_plan_in_its_order() -> None:
    rooms = re.findall(r"^\| `(\w+)` \|", section("Rooms"), re.MULTILINE)
    assert rooms == list(chain.from_iterable(FLOORS))


def test_equations_are_where_the_page_says_and_nowhere_else() -> None:
    listed = {
        (number, path)
        for line in section("Equations").splitlines()
        if line.startswith("| Eq")
        for number in numbers(line)
        for path in re.findall(r"`(tapcore/[\w/]+\.py)`", line)
    }
    cited = {(number, path) for path, text in SOURCES.items() for number in numbers(text)}
    assert listed == cited


def test_code_is_that_of_the_example() -> None:
    blocks = [textwrap.dedent(block) for block in _BLOCK.findall(TEXT)]
    assert len(blocks) >= 3
    for block in blocks:
        assert block in EXAMPLE


def test_it_is_linked() -> None:
    for page in ("README.md", "CONTRIBUTING.md"):
        assert "(docs/architecture.md)" in (ROOT / page).read_text(encoding="utf-8")
