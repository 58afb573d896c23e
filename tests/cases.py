"""Machines the tests share: the certified ones and random ones, as the library's and as the readable reference's."""

from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path
from typing import Any

import naive
import naive_third
import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from unit_cases import PLAIN

import tapcore as tc
from tapcore.units import Unit

GOLDEN = Path(__file__).parent / "golden"
# Kind in the certified file -> kind of the reference, which is the class name in small letters.
KINDS = {
    "bin": "binary",
    "pm": "spin",
    "g": "gaussian",
    "tg": "truncatedgaussian",
    "gb": "gaussbernoulli",
    "tgb": "truncatedgaussbernoulli",
}
UNITS: dict[str, type[Unit]] = {name.lower(): unit for name, unit in PLAIN.items()}
# Key of the fixed points in the file -> method; each machine lists the same starts under all that it has.
POINTS = {"tap2": "tap", "nmf": "nmf", "tap3": "tap3"}

MACHINES: dict[str, dict[str, Any]] = {
    machine["name"]: machine for machine in json.loads((GOLDEN / "models.json").read_text(encoding="utf-8"))["models"]
}
CASES = [
    pytest.param(name, key, n, id=f"{name}-{POINTS[key]}-{point['init']}")
    for name, machine in MACHINES.items()
    for key in POINTS
    for n, point in enumerate(machine.get(key, ()))
]


def close(actual: Any, certified: Any, tol: float = 1e-12) -> None:
    expected = np.array(certified, dtype=np.float64)
    assert np.shape(actual) == expected.shape
    assert_allclose(actual, expected, rtol=tol, atol=tol)


def layers_of(machine: dict[str, Any]) -> list[naive.Layer]:
    return [[{**unit, "kind": KINDS[unit["kind"]]} for unit in machine[side]] for side in ("vis", "hid")]


def start_of(layers: list[naive.Layer], init: str) -> list[float]:
    if init == "prior":
        return [naive.mean(site, 0.0, 0.0) for site in layers[0]]
    return [float(init.removeprefix("x="))] * len(layers[0])


def listed(layers: list[naive.Layer]) -> bool:
    """Whether all states can be added up."""
    return all(naive.KINDS[site["kind"]].support is not None for layer in layers for site in layer)


def random_sites(rng: np.random.Generator, kind: str, n: int) -> naive.Layer:
    """Sites of unlike parameters, with precisions of either sign where the support is bounded."""
    names = UNITS[kind].names
    if kind == "doublerelu":
        sides = [(f"{name}_{side}", name) for side in ("pos", "neg") for name in "UV"]
        drawn = {name: rng.normal(0.0, 0.5, n) if of == "U" else rng.uniform(1.5, 4.0, n) for name, of in sides}
        return [{"kind": kind} | {name: float(x[i]) for name, x in drawn.items()} for i in range(n)]
    values = {"U": rng.normal(0.0, 0.5, n)}
    if "lo" in names:
        values |= {"V": rng.uniform(-3.0, 4.0, n), "lo": rng.uniform(-1.5, 0.0, n), "hi": rng.uniform(0.5, 2.0, n)}
    elif "V" in names:
        values["V"] = rng.uniform(1.5, 4.0, n)
    if "rho" in names:
        values["rho"] = rng.uniform(0.2, 0.8, n)
    return [{"kind": kind} | {name: float(x[i]) for name, x in values.items()} for i in range(n)]


def unit_of(sites: naive.Layer) -> Unit:
    """The library's layer for sites of one kind."""
    (kind,) = {site["kind"] for site in sites}
    return UNITS[kind](len(sites), **{name: [site[name] for site in sites] for name in UNITS[kind].names})


def random_machine(seed: int, *kinds: tuple[str, int], width: float = 0.3) -> tuple[list[naive.Layer], list[Any]]:
    rng = np.random.default_rng(seed)
    layers = [random_sites(rng, kind, n) for kind, n in kinds]
    pairs = pairwise(kinds)
    return layers, [rng.normal(0.0, width, (below[1], above[1])) for below, above in pairs]


def library_machine(machine: dict[str, Any], scale: float = 1.0, dtype: str = "float64") -> tc.Machine:
    """The library's machine for an entry of the golden file, its weights times `scale`."""
    return tc.RBM(*map(unit_of, layers_of(machine)), weights=scale * np.array(machine["W"]), dtype=dtype)


def random_rbm(
    seed: int, visible: str = "Binary", hidden: str = "Binary", sizes: tuple[int, int] = (7, 5), sigma: float = 0.3
) -> tc.Machine:
    kinds = zip((visible.lower(), hidden.lower()), sizes, strict=True)
    layers, weights = random_machine(seed, *kinds, width=sigma)
    return tc.Machine(map(unit_of, layers), weights)


PAIRS = [("binary", "binary"), ("spin", "spin"), ("binary", "spin"), ("spin", "binary")]
SHAPES = {f"{a}-{b}": ((a, 6), (b, 4)) for a, b in PAIRS} | {
    "binary-spin-binary": (("binary", 5), ("spin", 4), ("binary", 3)),
    "spin-binary-spin-spin": (("spin", 3), ("binary", 4), ("spin", 3), ("spin", 2)),
}
LISTED_SHAPES = tuple(SHAPES)  # all states of these can be added up
SHAPES |= {
    "gaussian-binary": (("gaussian", 6), ("binary", 4)),
    "truncatedgaussian-gaussbernoulli": (("truncatedgaussian", 4), ("gaussbernoulli", 3)),
    "truncatedgaussbernoulli-spin-gaussian": (("truncatedgaussbernoulli", 3), ("spin", 3), ("gaussian", 2)),
}
# Shapes with the methods that their units have.
SHAPE_METHODS = [(shape, method) for shape in SHAPES for method in naive.METHODS if method != "tap3" or (
    all(kind in (*naive_third.STATES, "gaussian") for kind, _ in SHAPES[shape]))]  # fmt: skip
FIELDS = ("mean", "var", "B", "A")
PLAIN: dict[str, Any] = {"tol": 0, "acceleration": None}


def both(shape: str, seed: int = 0, sigma: float = 0.4) -> tuple[list[naive.Layer], list[Any], tc.Machine]:
    """A random machine for the reference and for the library."""
    layers, weights = random_machine(seed, *SHAPES[shape], width=sigma)
    return layers, weights, tc.Machine(map(unit_of, layers), weights)


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


def fit_as_paper(machine: tc.Machine, X: Any, **options: Any) -> tc.FitResult:
    """Train by Alg. 2 but for what is given: RBMs without centring, in the machine's own dtype."""
    own: dict[str, Any] = {"learning_rate": 0.005, "penalty": tc.L2(0.001), "batch_size": 100}
    if isinstance(machine, tc.Machine):
        own |= {"center": len(machine.layers) > 2, "dtype": str(machine.dtype)}
    if options.get("gradient") not in ("cd", "pcd", "ptt"):
        own |= {"sweeps": 10, "chain_init": "data", "pinning": 0.0}
    return tc.fit(machine, X, **own | options)


# A law with two phases of which a path of growing couplings knows one.
FIRST_ORDER = tc.RBM(tc.Binary(20, U=-5.5), tc.Binary(4, U=-30.0), weights=np.full((20, 4), 3.0))


def twenty_machines() -> list[tc.Machine]:
    """Machines with up to 20 visible and 8 hidden units, which can be enumerated; some have phases far apart."""
    ferromagnet = tc.RBM(tc.Spin(20), tc.Spin(4), weights=np.full((20, 4), 0.75))
    kinds = ["Binary", "Spin", "TruncatedGaussian", "TruncatedGaussBernoulli", "Gaussian", "GaussBernoulli"]
    some = [
        random_rbm(100 + n, kinds[n % 6], ["Binary", "Spin"][n % 2], sizes=(15, 8), sigma=0.2 + 0.1 * n)
        for n in range(12)
    ]
    strong = [random_rbm(200 + n, ["Binary", "Spin"][n % 2], sizes=(20, 8), sigma=1.0 + 0.5 * n) for n in range(4)]
    spins = [random_rbm(300 + n, "Spin", "Spin", sizes=(14, 8), sigma=1.0 + n) for n in range(2)]
    return [ferromagnet, FIRST_ORDER, *some, *strong, *spins]


def memories(seed: int = 5, strength: float = 0.18) -> tc.Machine:
    """24x24 spins that store three random patterns, each by eight hidden spins; by default in eight solutions."""
    rng = np.random.default_rng(seed)
    patterns = rng.choice([-1.0, 1.0], (24, 3))
    return tc.RBM(tc.Spin(24), tc.Spin(24), weights=strength * np.repeat(patterns, 8, axis=1))


def all_solutions(machine: tc.Machine, count: int = 60) -> tc.Solutions:
    """Those that random states of spins lead to."""
    rng = np.random.default_rng(0)
    return tc.solve(machine, rng.choice([-1.0, 1.0], (count, machine.sizes[0])), tol=1e-9).unique()
