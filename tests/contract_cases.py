"""Layers that `check` is tried on, and what it says of broken ones."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from one_hot import OneHot

from tapcore.units import UNITS, Unit, check

FILE = Path(__file__).resolve().parents[1] / "docs" / "examples" / "ternary.py"


@pytest.fixture(scope="module")
def ternary() -> Iterator[ModuleType]:
    """The module of the example, and its unit type among the others for one file's tests."""
    before = dict(UNITS)
    spec = importlib.util.spec_from_file_location("ternary", FILE)
    module = sys.modules["ternary"] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    yield module
    del UNITS["Ternary"], sys.modules["ternary"]
    assert before == UNITS


def ternary_layer(cls: Any, seed: int = 0, n: int = 3) -> Any:
    rng = np.random.default_rng(seed)
    return cls(n, rng.normal(size=n), 2 * rng.normal(size=n))


def one_hot_layer(cls: Any = OneHot, seed: int = 0) -> Any:
    widths = np.random.default_rng(seed).permutation([3, 4, 2, 1])
    return cls(4, widths, np.random.default_rng(seed + 1).normal(size=10))


def refused(layer: Unit, message: str) -> None:
    with pytest.raises(ValueError, match=rf"^{type(layer).__name__}: {message}") as found:
        check(layer)
    assert "\n" not in str(found.value)
