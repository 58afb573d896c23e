"""The plan of the house: imports run downward only, and some things live in one place."""

from __future__ import annotations

import ast
from itertools import chain
from pathlib import Path

import pytest

from tapcore.units import UNITS

PACKAGE = Path(__file__).resolve().parents[1] / "tapcore"

# From the roof to the cellar. A module imports from lower floors only, and inside its own room (a folder) or module.
FLOORS = [
    ["__main__"],
    ["cli"],
    ["plotting"],
    ["landscape", "denoising"],
    ["channels"],
    ["tracking"],
    ["training", "exact"],
    ["sampling"],
    ["inference.harvest", "inference.stability", "likelihood"],
    ["inference.clamped"],
    ["inference.solve", "starts"],
    ["inference.adaptive_tap", "inference.bethe_gradient", "inference.given"],
    ["inference.relaxed_bp"],
    ["inference.chains", "inference.solution", "inference.adaptive_sides", "inference.messages"],
    ["inference.tap", "inference.merging"],
    ["inference.acceleration"],
    ["inference.progress"],
    ["energy", "pseudo_likelihood"],
    ["checkpoint", "inference.nearest"],
    ["fields"],
    ["machine"],
    ["units"],
    ["datasets"],
    ["special"],
    ["_threads", "_blas", "_random", "_neighbours"],
    ["_jit", "_checks", "_files", "_interrupts", "_memory"],
    ["_cache"],
]
MODULES = sorted(
    ".".join(path.relative_to(PACKAGE).with_suffix("").parts).removesuffix(".__init__")
    for path in PACKAGE.rglob("*.py")
    if path != PACKAGE / "__init__.py"
)


def floor(module: str) -> tuple[int, str] | None:
    """Floor and room of a module."""
    for number, rooms in enumerate(FLOORS):
        for room in rooms:
            if module == room or module.startswith(room + "."):
                return number, room
    return None


def source(module: str) -> Path:
    path = PACKAGE.joinpath(*module.split("."))
    return path / "__init__.py" if path.is_dir() else path.with_suffix(".py")


def imported(module: str) -> set[str]:
    """Modules of the package that `module` imports anywhere, types included."""
    found = set()
    for node in ast.walk(ast.parse(source(module).read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {a.name for a in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{module} imports relatively"
            names = {f"{node.module}.{a.name}" for a in node.names}
            found |= {n if n.removeprefix("tapcore.") in MODULES else str(node.module) for n in names}
    return {n.removeprefix("tapcore.") for n in found if n.startswith("tapcore.")}


@pytest.mark.parametrize("module", MODULES)
def test_imports_run_downward(module: str) -> None:
    here = floor(module)
    assert here is not None or module == "inference", f"{module} has no floor: add it to the plan"
    for other in imported(module):
        there = floor(other)
        assert there is not None
        assert here is not None
        assert here[0] < there[0] or here[1] == there[1], f"{module} imports {other}, which is not below it"


def test_the_plan_names_rooms_that_exist() -> None:
    for room in chain.from_iterable(FLOORS):
        assert any(m == room or m.startswith(room + ".") for m in MODULES), room


@pytest.mark.parametrize("module", MODULES)
def test_numba_is_called_in_its_rooms_only(module: str) -> None:
    tree = ast.parse(source(module).read_text(encoding="utf-8"))
    names = {a.name for n in ast.walk(tree) if isinstance(n, ast.Import) for a in n.names}
    names |= {str(n.module) for n in ast.walk(tree) if isinstance(n, ast.ImportFrom)}
    uses = {n for n in names if n.split(".")[0] in ("numba", "llvmlite")}
    assert not uses or module in ("_cache", "_jit", "_threads")


@pytest.mark.parametrize("module", MODULES)
def test_units_are_told_apart_in_their_own_files_only(module: str) -> None:
    if module.startswith("units"):
        return
    text = source(module).read_text(encoding="utf-8")
    tree = ast.parse(text)
    names = {n.id for n in ast.walk(tree) if isinstance(n, ast.Name)}
    # The command line trains binary machines; nothing else names a unit type.
    assert not names & set(UNITS) or module == "cli.train"


@pytest.mark.parametrize("module", MODULES)
def test_no_room_is_crowded(module: str) -> None:
    assert len(source(module).read_text(encoding="utf-8").splitlines()) <= 400
