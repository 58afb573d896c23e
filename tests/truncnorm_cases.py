"""Arguments and references for tests of truncated-Gaussian moments."""

from __future__ import annotations

import csv
import importlib.util
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from tapcore.special import truncnorm

GOLDEN = Path(__file__).parent / "golden"
ARGUMENTS = ("s", "b", "lo", "hi")


def _load(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, GOLDEN / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


#: The generator of the certified tables, with `moments` in arbitrary precision.
exact = _load("make_truncnorm")


def table(name: str) -> dict[str, np.ndarray]:
    with (GOLDEN / name).open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    return {key: np.array([float(row[key]) for row in rows]) for key in rows[0] if key != "tag"}


def errors(found: Any, expected: Any, width: Any) -> np.ndarray:
    """(3, n): |d ln Z|/max(1, |ln Z|), |d mean|/max(|mean|, width), |d var|/var."""
    log_z, mean, var = (np.asarray(x, np.float64) for x in expected)
    # Of half-infinite intervals the spread is the scale.
    scale = np.maximum(np.abs(mean), np.where(np.isfinite(width), width, np.sqrt(var)))
    return np.array(
        [
            np.abs(found[0] - log_z) / np.maximum(1.0, np.abs(log_z)),
            np.abs(found[1] - mean) / scale,
            np.abs(found[2] - var) / var,
        ]
    )


def from_shape(p: Any, q: Any, lo: Any, hi: Any) -> tuple[np.ndarray, ...]:
    """s and b that give p = s w^2 and q = w (b - s m), with the interval."""
    lo, hi = np.asarray(lo, np.float64), np.asarray(hi, np.float64)
    half, middle = (hi - lo) / 2, (hi + lo) / 2
    s = p / half**2
    return tuple(np.broadcast_arrays(s, q / half + s * middle, lo, hi))


def log_uniform(rng: np.random.Generator, least: float, most: float, count: int) -> np.ndarray:
    """Of either sign."""
    return np.exp(rng.uniform(np.log(least), np.log(most), count)) * rng.choice([-1.0, 1.0], count)


def anywhere(seed: int, count: int) -> tuple[np.ndarray, ...]:
    """Half with s and b to +-1e8, half with p and q to +-1e4; intervals of width 1e-7 to 1e6 within +-1e6."""
    rng = np.random.default_rng(seed)
    width = np.exp(rng.uniform(np.log(1e-7), np.log(1e6), count))
    lo = rng.uniform(-1e6, 1e6 - width)
    hi = lo + width
    s, b = log_uniform(rng, 1e-8, 1e8, count), log_uniform(rng, 1e-8, 1e8, count)
    shaped = from_shape(log_uniform(rng, 1e-3, 1e4, count), log_uniform(rng, 1e-3, 1e4, count), lo, hi)
    half = np.arange(count) % 2 == 0
    s, b = np.where(half, shaped[0], s), np.where(half, shaped[1], b)
    return np.clip(s, -1e8, 1e8), np.clip(b, -1e8, 1e8), lo, hi


def exactly(s: Any, b: Any, lo: Any, hi: Any) -> np.ndarray:
    """(3, n) of the reference, rounded to floats."""
    rows = zip(*(np.ravel(x) for x in np.broadcast_arrays(s, b, lo, hi)), strict=True)
    return np.array([[float(x) for x in exact.moments(*row)] for row in rows]).T


def moments(s: Any, b: Any, lo: Any, hi: Any) -> np.ndarray:
    """(3, n) of the library."""
    return np.array(truncnorm.moments(s, b, lo, hi))
