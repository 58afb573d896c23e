"""`check` passes every unit type that there is, and refuses broken methods, each with a line of its own.

Types that only break a method share the compiled functions of the type below.
"""

from __future__ import annotations

from collections.abc import Callable
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from contract_cases import one_hot_layer, refused, ternary, ternary_layer
from hypothesis import given, settings
from one_hot import OneHot
from unit_cases import EVERY_UNIT, SEEDS, make

import tapcore as tc
from tapcore.units import Unit, check

__all__ = ["ternary"]


# --- What is right ---


@EVERY_UNIT
@settings(max_examples=5)
@given(seed=SEEDS)
def test_every_type_of_the_package_holds(kind: str, seed: int) -> None:
    check(make(kind, 3, seed % 1000), seed=seed)


@pytest.mark.nojit
@settings(max_examples=10)
@given(seed=SEEDS)
def test_types_from_outside_hold(ternary: ModuleType, seed: int) -> None:
    check(ternary_layer(ternary.Ternary, seed), seed=seed)
    check(one_hot_layer(seed=seed), seed=seed)


@settings(max_examples=5)
@given(seed=SEEDS)
def test_layers_of_several_blocks_hold(ternary: ModuleType, seed: int) -> None:
    blocks = [make(kind, 2, seed % 1000) for kind in ("TruncatedGaussBernoulli", "Binary", "Gaussian")]
    check(tc.Mixed(blocks[0], one_hot_layer(seed=seed), ternary_layer(ternary.Ternary, seed), *blocks[1:]), seed=seed)


@pytest.mark.nojit
@pytest.mark.parametrize("kind", ["Binary", "Spin", "Gaussian", "TruncatedGaussian"])
def test_types_of_the_package_hold_in_python(kind: str) -> None:
    check(make(kind, 2))


EXTREME = {
    "saturated": lambda: tc.Binary(2, [30, -30]),
    "far and narrow": lambda: tc.Gaussian(2, [1e5, 0], [1e-4, 1e6]),
    "at an end, and a wide interval": lambda: tc.TruncatedGaussian(2, [1e4, 0], 1.0, [0, -1000], [1, 1000]),
    "rare slabs, and far ones": lambda: tc.GaussBernoulli(3, [1e-6, 1 - 1e-6, 0.5], [0, 30, 5], 1.0),
    "at both ends": lambda: tc.TruncatedGaussBernoulli(2, [0.1, 0.5], 1.0, -1.0, lo=-10, hi=10),
}


@pytest.mark.parametrize("name", EXTREME)
def test_parameters_may_be_large(name: str) -> None:
    check(EXTREME[name]())


def test_one_unit_and_a_float32_layer_hold() -> None:
    check(tc.Binary(1))
    check(make("Gaussian", 2).astype(np.float32))


def test_what_is_no_layer_is_refused() -> None:
    with pytest.raises(ValueError, match=r"^layer must be a layer of units such as tapcore\.Binary\(3\), got 3"):
        check(3)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"^seed must be an integer of at least 0"):
        check(tc.Binary(3), seed=-1)


# --- Broken methods: the row functions are those of the type below ---


def with_ascend(change: Callable[[dict[str, Any]], None]) -> dict[str, Any]:
    def ascend(self: Unit, parameters: dict[str, Any], gradient: dict[str, Any], rate: float) -> None:
        change(parameters)

    return {"ascend": ascend}


def with_result(name: str, change: Callable[..., Any]) -> dict[str, Any]:
    """A method whose result is changed, for a class of one base."""

    def method(self: Any, *args: Any) -> Any:
        return change(getattr(type(self).__base__, name)(self, *args), *args)

    return {name: method}


def taken_by_the_constructor(self: Any, n: int, U: Any = 0.0, V: Any = 0.0) -> None:
    Unit.__init__(self, n, U=2 * np.asarray(U), V=V)


METHODS: dict[str, tuple[dict[str, Any], str]] = {
    "narrow bounds": ({"bounds": lambda self: (0.0, 1.0)}, "bounds must hold every mean: in column"),
    "turned bounds": ({"bounds": lambda self: (1.0, -1.0)}, "bounds must be a lower and an upper end"),
    "bounds of another shape": ({"bounds": lambda self: (np.zeros(2), np.ones(7))}, "bounds must be two ends that"),
    "statistics of the wrong sign": (
        with_result("statistics", lambda found, *_: {"U": found["U"], "V": -found["V"]}),
        r"statistics must be the averages of d ln phi/d parameter, .*: of V\[0\]",
    ),
    "statistics left out": (with_result("statistics", lambda found, *_: {"U": found["U"]}), "statistics must have the"),
    "statistics of rows": (
        with_result("statistics", lambda found, mean, *_: found | {"U": mean}), "statistics of U must have the shape",
    ),
    "statistics that look at no weights": (
        {"statistics": lambda self, *rows: type(self).__base__.statistics(self, *rows[:4])},
        r"statistics must be the averages of those of rows by their weights: of U\[0\]",
    ),
    "statistics that take no weights": (
        {"statistics": lambda self, mean, var, B, A: type(self).__base__.statistics(self, mean, var, B, A)},
        "statistics must take weights of rows after A, or None: ",
    ),
    "data statistics without a half": (
        with_result("data_statistics", lambda found, *_: found | {"V": 2 * found["V"]}),
        r"data_statistics must be the averages of .* over the samples: of V\[0\]",
    ),
    "NaN inside": (with_result("contains", lambda found, x: found | np.isnan(x)), "contains must be False at nan"),
    "weight outside": (
        with_result("log_weight", lambda found, x: np.where(np.isneginf(found), 0.0, found)),
        "log_weight must be -inf at 1.125 in column 0, which contains has outside",
    ),
    "no weight inside": (
        with_result("log_weight", lambda found, x: np.where(np.asarray(x) == 1, -np.inf, found)),
        r"log_weight must be finite at 1 in column \d, which contains has inside",
    ),
    "weight of a row": (with_result("log_weight", lambda found, x: found.sum(axis=-1)), "log_weight must keep"),
    "samples outside": (with_result("sample", lambda found, *_: found + 1), "sample must draw from the support"),
    "samples of another law": (with_result("sample", lambda found, *_: -found), "sample: the mean of 3000 draws"),
    "a fit that looks at nothing": ({"from_data": classmethod(lambda cls, X: cls(X.shape[1]))}, "from_data: the mean"),
    "a fit that takes NaN": (
        {"from_data": classmethod(lambda cls, X: cls.__base__.from_data(np.nan_to_num(X)).astype(float))},
        "fitted must give such a layer",
    ),
    "a step that shrinks": (with_ascend(lambda p: p["U"].__imul__(0.9)), "ascend with a rate of 0 must change"),
    "a step elsewhere": (with_ascend(lambda p: p.update(U=p["U"] + 0)), "ascend must change U in place"),
    "a constructor that changes": ({"__init__": taken_by_the_constructor}, "a .* layer made of its own n"),
    "a copy without parameters": ({"__reduce__": lambda self: (type(self), (self.n,))}, "pickle must keep the layer"),
    "widths that do not add up": ({"widths": np.array([1, 1, 0])}, "widths must be 3 positive numbers that add up"),
}  # fmt: skip


@pytest.mark.nojit
@pytest.mark.parametrize("name", METHODS)
def test_a_broken_method_is_refused(ternary: ModuleType, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    body, message = METHODS[name]
    layer = ternary_layer(ternary.Ternary)
    broken = type("Broken", (ternary.Ternary,), {**body, "__module__": __name__})
    monkeypatch.setitem(globals(), "Broken", broken)  # where pickle finds it
    refused(made(broken, layer), message)


def made(cls: Any, layer: Any) -> Any:
    """A layer of `cls` with these parameters, whatever its constructor does."""
    new = object.__new__(cls)
    new._set(layer.n, {name: p.copy() for name, p in layer.parameters.items()})
    return new


@pytest.mark.nojit
def test_columns_of_a_site_are_in_the_support_together(monkeypatch: pytest.MonkeyPatch) -> None:
    # Each entry by itself, as `Unit.contains` has it.
    contains = {"contains": lambda self, x: (np.asarray(x) == 0) | (np.asarray(x) == 1), "__module__": __name__}
    monkeypatch.setitem(globals(), "Entries", type("Entries", (OneHot,), contains))
    refused(
        one_hot_layer(globals()["Entries"]), r"contains must be False where 0 of the columns \d to \d, which are one"
    )
    double = type("Double", (OneHot,), {"log_weight": lambda self, x: 2 * OneHot.log_weight(self, x)})
    refused(one_hot_layer(double), "ln Z must be that of the sum of exp")
