"""Mistakes in unit types: said in one line when the class is defined or its first layer made, not where they show."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import pytest
from one_hot import OneHot

import tapcore as tc
from tapcore._base.intrinsics import JIT_DISABLED
from tapcore.units import UNITS, Unit, parameter
from tapcore.units.rows import row_log_z, row_moments

STATES = (0.0, 1.0)


class OneSite(NamedTuple):
    U: Any


class TwoSite(NamedTuple):
    U: Any
    trials: Any


def unit(**body: Any) -> type[Unit]:
    """A type named Odd, defined with this body and not kept."""
    given = {"names": ("U",), "site_type": OneSite, "levels": STATES, "log_weight": lambda self, x: x} | body
    try:
        return type("Odd", (Unit,), given)
    finally:
        UNITS.pop("Odd", None)


def one(self: Any, n: int, U: Any = 0.0) -> None:
    Unit.__init__(self, n, U=U)


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ({"names": ["U"]}, r"names must be a tuple of the parameters' names, got \['U'\]"),
        ({"names": "U"}, "names must be a tuple of the parameters' names, got 'U'"),
        ({"site_type": dict}, r"site_type must be a NamedTuple with the fields \('U',\) in this order"),
        ({"names": ("trials",), "site_type": NamedTuple("S", [("trials", Any)])}, "names must contain 'U'"),
        ({"names": ("U", "trials"), "site_type": TwoSite, "fixed": "trials"}, "fixed must be a tuple of some of"),
        ({"fixed": ("trials",)}, r"fixed must be a tuple of some of the names, got \('trials',\)"),
        ({"names": ("U", "trials"), "site_type": TwoSite}, "or to be named in fixed where they say .*: trials"),
        ({"names": ("U", "dtype"), "site_type": NamedTuple("S", [("U", Any), ("dtype", Any)])}, "called 'dtype'"),
        ({"names": ("U", "levels"), "site_type": NamedTuple("S", [("U", Any), ("levels", Any)])}, "called 'levels'"),
        ({"names": ("U", "n"), "site_type": NamedTuple("S", [("U", Any), ("n", Any)])}, "cannot be called 'n'"),
        ({"V": parameter("VV", "Precisions")}, "V shows a parameter 'VV', which is not in names"),
        ({"levels": None}, "bounds must be defined, or levels"),
        ({"levels": (-1, 0, 1)}, r"levels are the two of types that have no others, got \(-1, 0, 1\)"),
        ({"levels": None, "bounds": lambda self: (0, 1)}, "support must say for messages what values may be"),
        ({"widths": [3, 2]}, "widths must be a property"),
        ({"widths": property(lambda self: None)}, "need lengths of their own"),
        (
            {"widths": property(lambda self: None), "lengths": classmethod(lambda cls, n, given: {"U": n})},
            "need from_data of their own",
        ),
        ({"__init__": lambda self, U, n: None}, "__init__ must take n first"),
        ({"__init__": lambda self, n, field=0.0: None}, "__init__ must take U by name"),
        (
            {
                "names": ("U", "trials"), "site_type": TwoSite, "fixed": ("trials",),
                "from_data": classmethod(lambda cls, X: None),
            },
            "from_data must take trials by name",
        ),
    ],
)  # fmt: skip
def test_what_is_no_unit_type_is_refused_when_it_is_defined(body: dict[str, Any], message: str) -> None:
    with pytest.raises(TypeError, match=rf"^Odd: .*{message}") as caught:
        unit(**body)
    assert "\n" not in str(caught.value)
    assert "Odd" not in UNITS


def test_parameters_have_attributes_by_themselves() -> None:
    odd: Any = unit(__init__=one)(3, U=0.5)
    assert odd.U is odd.parameters["U"]


@pytest.mark.parametrize(
    ("widths", "message"),
    [
        ([3.0, 2.0], "widths must be an array of 2 integers"),
        ([3, 2, 1], "widths must be an array of 2 integers"),
        ([3, 0], "widths must be an array of 2 integers"),
        ([3, 1], "U must have a number for each of 4 columns, got 5: see lengths"),
    ],
)
def test_widths_that_are_none_are_refused_before_a_kernel_reads_beyond(widths: list[Any], message: str) -> None:
    class Odd(OneHot):
        widths = property(lambda self: np.array(widths))

    with pytest.raises(TypeError, match=f"^Odd: {message}"):
        Odd(2, [3, 2])


def test_lengths_are_of_all_parameters() -> None:
    class Odd(OneHot):
        @classmethod
        def lengths(cls, n: int, parameters: dict[str, Any]) -> dict[str, int]:
            return {"U": 5}

    with pytest.raises(TypeError, match=r"^Odd: lengths must be of \('states_of', 'U'\), got \('U',\)$"):
        Odd(2, [3, 2])


def test_functions_have_the_arguments_that_they_are_called_with() -> None:
    message = r"^row_log_z of OneSite must take \(site, B, A, log_z\), got \(site, B, A\)$"
    with pytest.raises(TypeError, match=message):
        row_log_z.register(OneSite)(lambda site, B, A: None)

    def raising(site: Any, B: Any, A: Any, log_z: Any) -> None:
        if B[0] > 1:
            raise ValueError

    with pytest.raises(TypeError, match=r"^row_log_z of OneSite must not raise: nobody can catch it, NaN is read"):
        row_log_z.register(OneSite)(raising)
    assert row_log_z.implementation(OneSite) is None


def _zeros(site: Any, B: Any, A: Any, log_z: Any) -> None:
    log_z[:] = 0


@pytest.mark.skipif(JIT_DISABLED, reason="nothing is compiled")
def test_what_does_not_compile_says_why_in_one_line() -> None:
    class Bad(NamedTuple):
        U: Any

    @row_moments.register(Bad)
    def _moments(site: Any, B: Any, A: Any, mean: Any, var: Any) -> None:
        mean[0] = site.W[0]

    row_log_z.register(Bad)(_zeros)
    odd = unit(__init__=one, site_type=Bad)(3)
    with pytest.raises(TypeError, match=r"^row_moments of Bad does not compile: Unknown attribute 'W' .*line \d+\)$"):
        odd.moments(0.0, 0.0)


@pytest.mark.skipif(JIT_DISABLED, reason="nothing is compiled")
def test_what_is_compiled_is_not_silently_kept() -> None:
    class Again(NamedTuple):
        U: Any

    @row_moments.register(Again)
    def _moments(site: Any, B: Any, A: Any, mean: Any, var: Any) -> None:
        mean[:] = 0.5
        var[:] = 0.25

    for _ in range(2):  # before the first use the last one counts
        row_log_z.register(Again)(_zeros)
    unit(__init__=one, site_type=Again)(3).moments(0.0, 0.0)
    with pytest.raises(TypeError, match=r"^row_log_z of Again is compiled and stays as it is: define Again, all "):
        row_log_z.register(Again)(_zeros)


def test_ends_of_means_may_have_different_shapes() -> None:
    """As `bounds` says: each of them broadcasts to the units."""

    class Counted(tc.Binary):
        levels = None

        def bounds(self) -> tuple[Any, Any]:
            return np.zeros(1), np.ones(self.n)

    machine = tc.RBM(Counted(3, U=0.2), Counted(2), sigma=0.5, seed=0)
    same = tc.RBM(tc.Binary(3, U=0.2), tc.Binary(2), weights=machine.weights[0])
    assert tc.ais(machine, 50, 20, seed=0).log_z == pytest.approx(tc.exact.log_z(same), abs=0.1)
