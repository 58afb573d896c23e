"""Certified values of categorical, ordinal and half-line units: exact ones, fixed points, gradients, moments."""

from __future__ import annotations

import json
from itertools import groupby
from typing import Any

import numpy as np
import pytest
from cases import GOLDEN
from numpy.testing import assert_allclose

import tapcore as tc
from tapcore.units import Unit

SAID = json.loads((GOLDEN / "units2.json").read_text(encoding="utf-8"))
MODELS = {model["name"]: model for model in SAID["models"]}


def numbers(x: Any) -> np.ndarray:
    return np.array(x, dtype=object).astype(np.float64)


def layer(sites: list[dict[str, Any]]) -> Unit:
    """Sites of the file, those of one kind and as many states together."""
    made: list[Unit] = []
    for (kind, *_), group in groupby(sites, key=lambda s: (s["kind"], np.shape(s.get("U")), s.get("values"))):
        own = list(group)
        n, values = len(own), {key: np.array([s[key] for s in own], float) for key in own[0] if key != "kind"}
        if kind == "cat":
            made.append(tc.Categorical(n, values["U"].shape[1], values["U"]))
        elif kind == "ord":
            made.append(tc.Ordinal(n, values["values"][0], values["U"]))
        elif kind == "drelu":
            made.append(tc.DoubleReLU(n, values["Up"], values["Vp"], values["Un"], values["Vn"]))
        else:
            units = {"bin": tc.Binary, "pm": tc.Spin, "relu": tc.ReLU, "tg": tc.TruncatedGaussian}
            made.append(units[kind](n, **values))
    return made[0] if len(made) == 1 else tc.Mixed(*made)


def machine(name: str) -> tc.Machine:
    said = MODELS[name]
    return tc.RBM(layer(said["visible"]), layer(said["hidden"]), weights=np.array(said["weights"]))


@pytest.mark.nojit
@pytest.mark.parametrize("method", ["nmf", "tap"])
@pytest.mark.parametrize("name", MODELS)
def test_fixed_points_and_what_follows_from_them(name: str, method: str) -> None:
    said, own = MODELS[name][method], machine(name)
    X = np.array(MODELS[name]["data"], float)
    found = tc.solve(own, X[:1], method=method, tol=1e-15, damping=0.5, max_sweeps=5000)
    exact = {"rtol": 1e-12, "atol": 1e-12}
    assert_allclose(found.mean[0][0], numbers(said["mean_visible"]), **exact)
    assert_allclose(found.mean[1][0], numbers(said["mean_hidden"]), **exact)
    assert_allclose(found.var[1][0], numbers(said["var_hidden"]), **exact)
    if "var_visible" in said:
        assert_allclose(found.var[0][0], numbers(said["var_visible"]), **exact)
    assert_allclose(found.free_energy[0], float(said["free_energy"]), **exact)
    assert_allclose(tc.log_likelihood(own, X, found.free_energy), numbers(said["log_likelihood"]), **exact)
    assert_allclose(tc.gradient(own, X, found).weights[0], numbers(said["gradient_W"]), **exact)


@pytest.mark.nojit
def test_double_rectified_units_are_certified_to_the_last_digits() -> None:
    for point in SAID["double_relu_points"]:
        unit = point["unit"]
        one = tc.DoubleReLU(1, unit["Up"], unit["Vp"], unit["Un"], unit["Vn"])
        log_z, mean, var = (float(x[0]) for x in one.moments(point["B"], point["A"]))
        wanted = {key: float(point[key]) for key in ("lnZ", "mean", "var")}
        assert_allclose(log_z, wanted["lnZ"], rtol=4e-15, atol=4e-15)
        assert_allclose(mean, wanted["mean"], rtol=4e-15, atol=4e-15 * np.sqrt(wanted["var"]))
        assert_allclose(var, wanted["var"], rtol=4e-15)


@pytest.mark.parametrize("name", [name for name in MODELS if name.endswith(("bin3", "pm3", "strong"))])
def test_enumeration_gives_the_certified_ln_z(name: str) -> None:
    said, own = MODELS[name]["exact"], machine(name)
    assert_allclose(tc.exact.log_z(own), float(said["lnZ"]), rtol=1e-12)
    found = tc.exact.moments(own)
    assert_allclose(found.mean[0], numbers(said["mean_visible"]), rtol=1e-11, atol=1e-13)
    assert_allclose(found.mean[1], numbers(said["mean_hidden"]), rtol=1e-11, atol=1e-13)
