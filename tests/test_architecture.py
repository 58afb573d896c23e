"""The plan of the house: imports run down only, and some things live in one place."""

from __future__ import annotations

import ast
import functools
import inspect
from collections.abc import Iterator
from itertools import chain
from pathlib import Path

import pytest
from test_public import CALLABLES, METHODS

from tapcore.units import UNITS

PACKAGE = Path(__file__).resolve().parents[1] / "tapcore"

# From the roof to the ground: a room imports from lower floors only.
FLOORS = [
    ["__main__"],
    ["cli"],
    ["plotting"],
    ["training"],
    ["landscape", "priors"],
    ["evaluation"],
    ["inference"],
    ["sampling"],
    ["equations", "storage"],
    ["machine"],
    ["units"],
    ["grouping", "special"],
    ["_base"],
]
# The same within a room that has floors of its own. Rooms of one floor do not import each other: so engines of
# inference stay apart.
INNER = {
    "inference": [
        ["conditional"],
        ["solve"],
        ["sweeps", "adaptive", "belief"],
        ["outside", "solution", "free_energy"],
        ["records", "averages"],
        ["progress", "arithmetic", "methods"],
    ],
    "units": [
        ["contract", "shared", "mixed"],
        ["interface"],
        ["sites", "natural_fit", "definition", "steps", "codes"],
        ["parameters"],
        ["rows"],
    ],
}
ROOMS = 21
LINES = 400
PARAMETERS = 8

MODULES = sorted(
    ".".join(path.relative_to(PACKAGE).with_suffix("").parts).removesuffix(".__init__")
    for path in PACKAGE.rglob("*.py")
    if path != PACKAGE / "__init__.py"
)


def source(module: str) -> Path:
    path = PACKAGE.joinpath(*module.split("."))
    return path / "__init__.py" if path.is_dir() else path.with_suffix(".py")


@functools.cache  # not before a test asks: every worker, and every run of some tests, collects this file
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


def floor(plan: list[list[str]], room: str) -> int | None:
    return next((number for number, rooms in enumerate(plan) if room in rooms), None)


def check_downward(plan: list[list[str]], here: str, there: str, what: str) -> None:
    upper, lower = floor(plan, here), floor(plan, there)
    assert upper is not None, f"{here} has no floor: add it to the plan"
    assert lower is not None, f"{there} has no floor: add it to the plan"
    assert here == there or upper < lower, f"{what}: {there} is not below {here}"


@pytest.mark.parametrize("module", MODULES)
def test_imports_run_downward(module: str) -> None:
    room, _, within = module.partition(".")
    for other in imported(module):
        other_room, _, other_within = other.partition(".")
        check_downward(FLOORS, room, other_room, f"{module} imports {other}")
        if room == other_room and room in INNER and within:
            inner, other_inner = within.split(".")[0], other_within.split(".")[0]
            if floor(INNER[room], inner) is not None and floor(INNER[room], other_inner) is not None:
                check_downward(INNER[room], inner, other_inner, f"{module} imports {other}")


def test_nothing_imports_in_a_circle() -> None:
    above: list[str] = []
    done: set[str] = set()

    def walk(module: str) -> None:
        assert module not in above, " -> ".join([*above[above.index(module) :], module])
        if module not in done:
            above.append(module)
            for other in sorted(imported(module) if module in MODULES else ()):
                walk(other)
            above.pop()
            done.add(module)

    for module in MODULES:
        walk(module)


def test_the_plan_is_the_house() -> None:
    rooms = {module.split(".")[0] for module in MODULES}
    assert rooms == set(chain.from_iterable(FLOORS))
    assert len(rooms) < ROOMS  # and the package's face is one
    for room, plan in INNER.items():
        for inner in chain.from_iterable(plan):
            assert (PACKAGE / room / inner).is_dir() or (PACKAGE / room / f"{inner}.py").is_file(), f"{room}.{inner}"


def test_tests_sit_where_what_they_test_sits() -> None:
    folders = {path.parent.name for path in (PACKAGE.parent / "tests").glob("*/test_*.py")}
    assert folders <= {module.split(".")[0] for module in MODULES} | {"naive"}


@pytest.mark.parametrize("module", MODULES)
def test_a_module_with_an_underscore_is_seen_by_its_own_room_only(module: str) -> None:
    for other in imported(module):
        parts = other.split(".")
        for depth, part in enumerate(parts):
            if part.startswith("_") and depth:
                assert module.split(".")[:depth] == parts[:depth], f"{module} imports {other}"


@pytest.mark.parametrize("module", MODULES)
def test_numba_is_called_in_its_rooms_only(module: str) -> None:
    tree = ast.parse(source(module).read_text(encoding="utf-8"))
    names = {a.name for n in ast.walk(tree) if isinstance(n, ast.Import) for a in n.names}
    names |= {str(n.module) for n in ast.walk(tree) if isinstance(n, ast.ImportFrom)}
    uses = {n for n in names if n.split(".")[0] in ("numba", "llvmlite")}
    assert not uses or module.startswith("_base.")


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
def test_no_file_is_crowded(module: str) -> None:
    assert len(source(module).read_text(encoding="utf-8").splitlines()) <= LINES


def functions(tree: ast.AST, within: str = "") -> Iterator[tuple[str, int]]:
    """Names of all functions, those within others included, and how many parameters each has, `self` not counted."""
    for node in ast.iter_child_nodes(tree):
        name = within
        if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            name = f"{within}.{getattr(node, 'name', '<lambda>')}".lstrip(".")
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            given = node.args
            named = [a.arg for a in (*given.posonlyargs, *given.args, *given.kwonlyargs)]
            bound = bool(named) and named[0] in ("self", "cls")
            yield name, len(named) - bound + (given.vararg is not None) + (given.kwarg is not None)
        yield from functions(node, name)


def public() -> set[str]:
    """Functions, constructors and methods that are for users, by module and name."""
    constructors = [f"{x.__module__}.{x.__qualname__}.__init__" for x in CALLABLES.values() if inspect.isclass(x)]
    called = [*CALLABLES.values(), *(function for _, function in METHODS.values())]
    return {
        name.removeprefix("tapcore.") for name in (*constructors, *(f"{x.__module__}.{x.__qualname__}" for x in called))
    }


def test_parameters_are_counted() -> None:
    text = """
def f(a, b, /, c, *more, d, **named): return lambda x, y: x
class C:
    def m(self, a, b=1): ...
    @classmethod
    def k(cls, *, a): ...
"""
    assert dict(functions(ast.parse(text))) == {"f": 6, "f.<lambda>": 2, "C.m": 2, "C.k": 1}


def test_what_is_for_users_is_known() -> None:
    assert {"inference.solve.solve", "machine.Machine.__init__", "machine.Machine.replace"} <= public()
    assert not {"inference.solve.checked_rule", "special.truncnorm.batch.moments_of_chunk"} & public()


@pytest.mark.parametrize("module", MODULES)
def test_what_is_not_for_users_has_few_parameters(module: str) -> None:
    many = {f"{module}.{name}" for name, n in functions(ast.parse(source(module).read_text("utf-8"))) if n > PARAMETERS}
    assert many <= public()
