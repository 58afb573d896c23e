"""Units, fields and data for tests that hold for every unit type."""

from __future__ import annotations

import zlib
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import strategies as st

from tapcore.units import UNITS, Unit

# Types that a number of units alone makes a layer of. Those of states that must be named have tests of their own.
PLAIN = {name: unit for name, unit in UNITS.items() if not unit.fixed or unit.fixed == ("lo", "hi")}
EVERY_UNIT = pytest.mark.parametrize("kind", PLAIN)
SEEDS = st.integers(0, 2**32 - 1)
# Values that may lie outside a support; which of them do, each unit says itself.
ODD_VALUES = (-7.25, -1.0, -0.5, 0.0, 0.5, 1.5, 2.0, 7.25)


def rng_for(*key: object) -> np.random.Generator:
    return np.random.default_rng(zlib.crc32(repr(key).encode()))


def samples(kind: str, count: int, n: int, seed: int = 0) -> np.ndarray:
    """Data in the support, columns of different means, made without knowing what the parameters are."""
    rng = rng_for(kind, count, n, seed)
    return UNITS[kind](n).sample(rng.normal(0.0, 0.7, n), np.zeros((count, n)), rng)


def make(kind: str, n: int = 4, seed: int = 0) -> Unit:
    """A unit with unlike, reasonable parameters."""
    return UNITS[kind].from_data(samples(kind, 40, n, seed))


def bounded(unit: Unit) -> bool:
    return bool(np.isfinite(unit.bounds()).all())


def width(unit: Unit) -> np.ndarray:
    lo, hi = unit.bounds()
    return np.minimum(hi - lo, 1e300)


def fields(unit: Unit, rng: np.random.Generator, scale: float, rows: int = 3) -> tuple[np.ndarray, np.ndarray]:
    """B and A of either sign; the weight of an unbounded unit is normalisable with A > 0 only."""
    B = rng.normal(0.0, scale, (rows, unit.n))
    A = rng.normal(0.0, scale, (rows, unit.n))
    return B, A if bounded(unit) else np.abs(A) + 0.1


def slope(f: Callable[[float], np.ndarray], h: float = 0.02) -> np.ndarray:
    """Derivative at 0 by central differences, error O(h^6)."""
    return (45 * (f(h) - f(-h)) - 9 * (f(2 * h) - f(-2 * h)) + (f(3 * h) - f(-3 * h))) / (60 * h)
