"""What the package offers: every public name, its annotations and its docstring."""

from __future__ import annotations

import ast
import inspect
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

import tapcore as tc
from tapcore import plotting
from tapcore.units import UNITS, Unit

FACE = Path(tc.__file__)
# Not those that a test has defined.
OWN_UNITS = {name: unit for name, unit in UNITS.items() if unit.__module__.startswith("tapcore.")}


def imports_for_type_checkers() -> dict[str, str]:
    """Where type checkers find each name."""
    tree = ast.parse(FACE.read_text(encoding="utf-8"))
    block = next(n for n in tree.body if isinstance(n, ast.If) and ast.unparse(n.test) == "TYPE_CHECKING")
    found = {}
    for node in block.body:
        assert isinstance(node, ast.ImportFrom)
        for name in node.names:
            assert name.asname == name.name, f"{name.name} needs `as {name.name}`, or type checkers take it for private"
            found[name.name] = str(node.module)
    return found


def homes() -> dict[str, str]:
    """Where the package finds each name when it runs."""
    found = {name: f"tapcore.{home}" for name, home in tc._HOMES.items()}
    # A module is imported from the package that it is in.
    found |= {
        name: home.rpartition(".")[0] for name, home in found.items() if isinstance(getattr(tc, name), ModuleType)
    }
    return found | {name: unit.__module__ for name, unit in OWN_UNITS.items()}


def public_functions(module: ModuleType) -> Iterator[tuple[str, Any]]:
    names = getattr(module, "__all__", [name for name in vars(module) if not name.startswith("_")])
    for name in names:
        if inspect.isfunction(value := getattr(module, name)) and value.__module__.startswith(module.__name__):
            yield f"{module.__name__.removeprefix('tapcore.')}.{name}", value


def public_callables() -> Iterator[tuple[str, Any]]:
    """Functions and classes, those of public modules too."""
    for name in [*tc._HOMES, *OWN_UNITS]:
        value = getattr(tc, name)
        if isinstance(value, ModuleType):
            yield from public_functions(value)
        else:
            yield name, value
    yield from (found for found in public_functions(plotting) if "path" in inspect.signature(found[1]).parameters)
    yield "units.Unit", Unit


def public_methods() -> Iterator[tuple[str, type, Any]]:
    for of, cls in CALLABLES.items():
        if inspect.isclass(cls):
            for name, member in inspect.getmembers_static(cls):
                function = getattr(member, "__func__", member)
                ours = str(getattr(function, "__module__", "")).startswith("tapcore.")
                if not name.startswith("_") and inspect.isfunction(function) and ours:
                    yield f"{of}.{name}", cls, function


CALLABLES: dict[str, Any] = dict(public_callables())
METHODS = {name: (cls, function) for name, cls, function in public_methods()}


def parameters(function: Callable[..., Any]) -> list[inspect.Parameter]:
    return [p for p in inspect.signature(function).parameters.values() if p.name not in ("self", "cls")]


def listed(text: str | None) -> set[str]:
    """Names listed in the sections Parameters and Attributes of a docstring in NumPy's style."""
    found = set()
    sections = re.split(r"^(\w[\w ]*)\n-{3,}$", inspect.cleandoc(text or ""), flags=re.MULTILINE)
    for title, body in zip(sections[1::2], sections[2::2], strict=True):
        if title in ("Parameters", "Attributes"):
            for line in body.splitlines():
                if line and not line.startswith(" "):
                    found |= {name.strip().lstrip("*") for name in line.split(" : ")[0].split(",")}
    return found


def test_type_checkers_find_every_name_where_the_package_does() -> None:
    assert imports_for_type_checkers() == homes()


def test_every_name_is_listed_and_loads() -> None:
    assert set(dir(tc)) >= {"__version__", *imports_for_type_checkers()}
    assert dir(tc) == sorted(dir(tc))
    for name in dir(tc):
        assert getattr(tc, name) is getattr(tc, name)
    with pytest.raises(AttributeError, match="'tapcore' has no attribute 'Binarry'"):
        tc.Binarry  # noqa: B018


def test_a_star_takes_every_name_and_no_other() -> None:
    names: dict[str, Any] = {}
    exec("from tapcore import *", names)
    assert set(names) - {"__builtins__"} == set(dir(tc))


def test_importing_the_package_loads_nothing() -> None:
    code = "import sys; before = set(sys.modules); import tapcore; print(*sorted(set(sys.modules) - before))"
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True, cwd=FACE.parents[1])
    loaded = done.stdout.split()
    assert [name for name in loaded if name.startswith("tapcore")] == ["tapcore"]
    assert not {"numba", "numpy", "scipy"} & set(loaded)


def test_what_most_calls_need_loads_no_part_of_scipy() -> None:
    calls = "tc.solve, tc.fit, tc.ais, tc.harvest, tc.sample, tc.score"
    code = f"import sys, tapcore as tc; {calls}; print(*sorted(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True, cwd=FACE.parents[1])
    loaded = done.stdout.split()
    assert {"tapcore.inference.solve", "tapcore.sampling.trajectory"} <= set(loaded)
    parts = {name.split(".")[1] for name in loaded if name.startswith("scipy.")}
    assert not {"linalg", "optimize", "sparse", "special", "stats"} & parts


@pytest.mark.parametrize("name", [*CALLABLES, *METHODS])
def test_everything_is_annotated(name: str) -> None:
    function = CALLABLES.get(name) or METHODS[name][1]
    if inspect.isclass(function):
        if "__init__" not in vars(function):
            return  # made from annotated fields, or by a class above
        function = function.__init__
    signature = inspect.signature(function)
    assert signature.return_annotation is not inspect.Signature.empty, "what it returns"
    for parameter in parameters(function):
        assert parameter.annotation is not inspect.Parameter.empty, parameter.name


@pytest.mark.parametrize("name", [n for n, v in CALLABLES.items() if n != "CheckpointError" and v is not Unit])
def test_docstrings_list_every_parameter(name: str) -> None:
    text = CALLABLES[name].__doc__
    missing = [p.name for p in parameters(CALLABLES[name]) if p.name not in listed(text)]
    assert not missing, f"{name}: {missing} are not under Parameters or Attributes"


@pytest.mark.parametrize("name", METHODS)
def test_docstrings_of_methods_name_every_parameter(name: str) -> None:
    # In a list or a sentence; where it says less, what it overrides says it.
    cls, function = METHODS[name]
    texts = [getattr(base, function.__name__).__doc__ or "" for base in cls.__mro__ if hasattr(base, function.__name__)]
    assert texts[0], f"{name} has no docstring"
    for parameter in parameters(function):
        said = rf"`[^`]*\b{parameter.name}\b[^`]*`"
        assert any(parameter.name in listed(text) or re.search(said, text) for text in texts), parameter.name
