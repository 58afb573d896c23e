"""Machines the tests share: the certified ones and random ones, as the library's and as the readable reference's."""

from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path
from typing import Any

import naive
import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

import tapcore as tc

GOLDEN = Path(__file__).parent / "golden"
KINDS = {"bin": "binary", "pm": "spin"}
# Key of the fixed points in the file -> method; each machine lists the same starts under both.
POINTS = {"tap2": "tap", "nmf": "nmf"}

MACHINES: dict[str, dict[str, Any]] = {
    machine["name"]: machine for machine in json.loads((GOLDEN / "models.json").read_text(encoding="utf-8"))["models"]
}
CASES = [
    pytest.param(name, key, n, id=f"{name}-{POINTS[key]}-{point['init']}")
    for name, machine in MACHINES.items()
    for key in POINTS
    for n, point in enumerate(machine[key])
]


def close(actual: Any, certified: Any, tol: float = 1e-12) -> None:
    expected = np.array(certified, dtype=np.float64)
    assert np.shape(actual) == expected.shape
    assert_allclose(actual, expected, rtol=tol, atol=tol)


def layers_of(machine: dict[str, Any]) -> list[naive.Layer]:
    return [[{"kind": KINDS[unit["kind"]], "U": unit["U"]} for unit in machine[side]] for side in ("vis", "hid")]


def start_of(layers: list[naive.Layer], init: str) -> list[float]:
    if init == "prior":
        return [naive.mean(site, 0.0, 0.0) for site in layers[0]]
    return [float(init.removeprefix("x="))] * len(layers[0])


def random_machine(seed: int, *kinds: tuple[str, int], width: float = 0.3) -> tuple[list[naive.Layer], list[Any]]:
    rng = np.random.default_rng(seed)
    layers = [[{"kind": kind, "U": float(U)} for U in rng.normal(0.0, 0.5, n)] for kind, n in kinds]
    pairs = pairwise(kinds)
    return layers, [rng.normal(0.0, width, (below[1], above[1])) for below, above in pairs]


def library_machine(machine: dict[str, Any], scale: float = 1.0, dtype: str = "float64") -> tc.Machine:
    """The library's machine for an entry of the golden file, its weights times `scale`."""
    units = {"bin": tc.Binary, "pm": tc.Spin}
    layers = []
    for side in ("vis", "hid"):
        (kind,) = {unit["kind"] for unit in machine[side]}
        layers.append(units[kind](len(machine[side]), U=[unit["U"] for unit in machine[side]]))
    return tc.RBM(*layers, weights=scale * np.array(machine["W"]), dtype=dtype)


def random_rbm(
    seed: int, visible: str = "Binary", hidden: str = "Binary", sizes: tuple[int, int] = (7, 5), sigma: float = 0.3
) -> tc.Machine:
    rng = np.random.default_rng(seed)
    layers = [getattr(tc, kind)(n, U=rng.normal(0, 0.5, n)) for kind, n in zip((visible, hidden), sizes, strict=True)]
    return tc.RBM(*layers, weights=rng.normal(0, sigma, sizes))


UNITS = {"binary": tc.Binary, "spin": tc.Spin}
PAIRS = [("binary", "binary"), ("spin", "spin"), ("binary", "spin"), ("spin", "binary")]
SHAPES = {f"{a}-{b}": ((a, 6), (b, 4)) for a, b in PAIRS} | {
    "binary-spin-binary": (("binary", 5), ("spin", 4), ("binary", 3)),
    "spin-binary-spin-spin": (("spin", 3), ("binary", 4), ("spin", 3), ("spin", 2)),
}
FIELDS = ("mean", "var", "B", "A")
PLAIN: dict[str, Any] = {"tol": 0, "acceleration": None}


def both(shape: str, seed: int = 0, sigma: float = 0.4) -> tuple[list[naive.Layer], list[Any], tc.Machine]:
    """A random machine for the reference and for the library."""
    kinds = SHAPES[shape]
    layers, weights = random_machine(seed, *kinds, width=sigma)
    units = [UNITS[kind](n, U=[site["U"] for site in layer]) for (kind, n), layer in zip(kinds, layers, strict=True)]
    return layers, weights, tc.Machine(units, weights)


def starts(machine: tc.Machine, count: int, seed: int = 1) -> np.ndarray:
    return machine.layers[0].random_means(count, np.random.default_rng(seed))


def state_of(solutions: tc.Solutions, chain: int) -> naive.State:
    return naive.State([m[chain] for m in solutions.mean], [v[chain] for v in solutions.var])


def same(a: tc.Solutions, b: tc.Solutions, tol: float = 1e-12) -> None:
    for name in FIELDS:
        for x, y in zip(getattr(a, name), getattr(b, name), strict=True):
            assert_allclose(x, y, rtol=0, atol=tol)
    assert_allclose(a.free_energy, b.free_energy, rtol=tol, atol=tol)


def same_bits(a: tc.Solutions, b: tc.Solutions) -> None:
    for name in FIELDS:
        for x, y in zip(getattr(a, name), getattr(b, name), strict=True):
            assert_array_equal(x, y)
    for name in ("free_energy", "residual", "distance", "sweeps", "converged"):
        assert_array_equal(getattr(a, name), getattr(b, name))


def error(rough: tc.Solutions, fine: tc.Solutions) -> np.ndarray:
    """Largest difference in any mean or variance, one a chain."""
    pairs = zip((*rough.mean, *rough.var), (*fine.mean, *fine.var), strict=True)
    return np.max([np.abs(a - b).max(axis=1) for a, b in pairs], axis=0)
