"""`check` refuses types whose row functions are broken, each with a line of its own.

Compiling a type takes seconds: all but two run in plain Python only.
"""

from __future__ import annotations

import inspect
import math
import re
from collections.abc import Callable, Iterator
from types import ModuleType
from typing import Any, NamedTuple

import numpy as np
import one_hot
import pytest
from contract_cases import one_hot_layer, refused, ternary, ternary_layer
from one_hot import OneHot

from tapcore._base.intrinsics import JIT_DISABLED
from tapcore.units import UNITS, Unit
from tapcore.units.rows import row_cumulants, row_draw, row_log_z, row_moments, row_slab, row_third, uniform

__all__ = ["ternary"]
ROWS = (row_moments, row_log_z, row_third, row_cumulants, row_slab, row_draw)
uncompiled = pytest.mark.skipif(not JIT_DISABLED, reason="too much to compile")


# --- Broken rows, compiled too ---


class PastTheEndSite(NamedTuple):
    U: Any
    V: Any


@row_moments.register(PastTheEndSite)
def _past_the_end(site: PastTheEndSite, B: Any, A: Any, mean: Any, var: Any) -> None:
    for i in range(B.size + 1):
        mean[i], var[i] = 0.0, 1.0


class NoDerivativeSite(NamedTuple):
    U: Any
    V: Any


@row_moments.register(NoDerivativeSite)
def _no_derivative(site: NoDerivativeSite, B: Any, A: Any, mean: Any, var: Any) -> None:
    for i in range(B.size):
        mean[i], var[i] = math.tanh(B[i]), 1.0


@row_log_z.register(NoDerivativeSite)
def _no_derivative_log_z(site: NoDerivativeSite, B: Any, A: Any, log_z: Any) -> None:
    for i in range(B.size):
        log_z[i] = math.log(1 + 2 * math.cosh(B[i] + site.U[i]) * math.exp(-(A[i] + site.V[i]) / 2))


@pytest.fixture
def registered() -> Iterator[None]:
    """Types defined meanwhile go again."""
    before = dict(UNITS)
    yield
    for name in set(UNITS) - set(before):
        del UNITS[name]


@pytest.mark.nojit
@pytest.mark.usefixtures("registered")
def test_broken_rows_are_refused_compiled_too(ternary: ModuleType) -> None:
    past = type("PastTheEnd", (ternary.Ternary,), {"site_type": PastTheEndSite})
    refused(ternary_layer(past), "row_moments (goes past the end of an array|writes outside of the row it is given)")
    other = type("NoDerivative", (ternary.Ternary,), {"site_type": NoDerivativeSite})
    refused(
        ternary_layer(other), r"mean must be d ln Z/dB: in column \d \S+ against \S+, off by \S+ where \S+ is allowed$"
    )


# --- Broken rows ---


def broken_rows(base: type[Unit], **changed: Callable[..., None]) -> Any:
    """A type like `base`, with a function of a row that runs after its own, or instead of one it has not."""
    site = NamedTuple("BrokenSite", [(name, Any) for name in base.names])  # type: ignore[misc]
    for function in ROWS:
        own, after = function.implementation(base.site_type), changed.get(function.__name__)

        def both(*args: Any, own: Any = own, after: Any = after) -> None:
            if own is not None:
                own(*args)
            if after is not None:
                after(*args)

        both.__signature__ = inspect.signature(function)  # type: ignore[attr-defined]
        if own is not None or after is not None:
            function.register(site)(both)
    return type("BrokenRows", (base,), {"site_type": site, "__module__": __name__})


def forgets_var(site: Any, B: Any, A: Any, mean: Any, var: Any) -> None:
    var[1] = np.nan


def has_the_square(site: Any, B: Any, A: Any, mean: Any, var: Any) -> None:
    var += mean**2


def negative(site: Any, B: Any, A: Any, mean: Any, var: Any) -> None:
    var *= -1


def swallows(site: Any, B: Any, A: Any, mean: Any, var: Any) -> None:
    mean[:], var[:] = np.nan_to_num(mean), np.nan_to_num(var)


def spreads(site: Any, B: Any, A: Any, mean: Any, var: Any) -> None:
    mean[0] += 0 * B[-1]


def writes_fields(site: Any, B: Any, A: Any, mean: Any, var: Any) -> None:
    B[0] = 0


def only_in_double(site: Any, B: Any, A: Any, mean: Any, var: Any) -> None:
    mean[0] = mean[0] if B.dtype == np.float64 else np.nan


def less_in_single(site: Any, B: Any, A: Any, mean: Any, var: Any) -> None:
    var *= 1 if B.dtype == np.float64 else 0.99


def tilts(site: Any, B: Any, A: Any, log_z: Any) -> None:
    log_z += A


def shifts(site: Any, B: Any, A: Any, log_z: Any) -> None:
    log_z[0] += 0.1


def repeats(site: Any, B: Any, A: Any, log_z: Any) -> None:
    first = 0
    for width in site.states_of.astype(int):
        log_z[first : first + width] = log_z[first]
        first += width


def adds_up_to_more(site: Any, B: Any, A: Any, mean: Any, var: Any) -> None:
    mean *= 1.01


def draws_two(site: Any, B: Any, A: Any, stream: Any, x: Any) -> None:
    x[x == 1] = 2


def draws_the_opposite(site: Any, B: Any, A: Any, stream: Any, x: Any) -> None:
    x *= -1


def draws_zero(site: Any, B: Any, A: Any, stream: Any, x: Any) -> None:
    x[:] = np.nan_to_num(x)


def draws_too_widely(site: Any, B: Any, A: Any, stream: Any, x: Any) -> None:
    for i in range(x.size):
        x[i] = x[i] if x[i] != x[i] or uniform(stream) < 0.8 else (1 if uniform(stream) < 0.5 + 0.5 * x[i] else -1)


def third_of_a_spin(site: Any, mean: Any, third: Any, slope: Any) -> None:
    third[:], slope[:] = -2 * mean * (1 - mean**2), 6 * mean**2 - 2


def flat_third(site: Any, mean: Any, third: Any, slope: Any) -> None:
    third[:], slope[:] = mean * (1 - mean) * (1 - 2 * mean), 0


def cumulants(third_times: float, fourth_times: float) -> Callable[..., None]:
    def of_a_bit(site: Any, B: Any, A: Any, third: Any, fourth: Any) -> None:
        mean, var = np.empty_like(B), np.empty_like(B)
        one_hot._row_moments(site, B, A, mean, var)
        third[:], fourth[:] = third_times * var * (1 - 2 * mean), fourth_times * var * (1 - 6 * var)

    return of_a_bit


def slab_of_more(site: Any, B: Any, A: Any, probability: Any) -> None:
    probability[:] = 1.5


ROW_FUNCTIONS: dict[str, tuple[str, Callable[..., None], str]] = {
    "row_moments": ("Ternary", forgets_var, "var at B = A = 0 must be finite and written for every column: in"),
    "square": ("Ternary", has_the_square, "var must be d mean/dB"),
    "negative": ("Ternary", negative, "var must not be negative"),
    "swallows": ("Ternary", swallows, "mean must be NaN in column 0 where B is NaN in column 0"),
    "spreads": ("Ternary", spreads, "mean must not be NaN in column 0 where B is NaN in column 2"),
    "writes": ("Ternary", writes_fields, "row_moments changes what it is given to read"),
    "single": ("Ternary", only_in_double, "mean in float32 must be finite"),
    "less": ("Ternary", less_in_single, "var in float32 must be near that in float64"),
    "tilts": ("Ternary", tilts, r"d ln Z/dA must be -\(var \+ mean\^2\)/2"),
    "shifts": ("OneHot", shifts, "ln Z must be that of the sum of exp"),
    "repeats": ("OneHot", repeats, "ln Z of a site must stand in its first column, with 0 in the others"),
    "more": ("OneHot", adds_up_to_more, "means of a site must add up to at most 1"),
    "exclusive": ("OneHot", negative, r"var of columns that exclude each other must be p \(1 - p\)"),
    "two": ("Ternary", draws_two, "row_draw must draw from the support, -1, 0 or 1: in column . it drew 2"),
    "opposite": ("Ternary", draws_the_opposite, "row_draw: the mean of 3000 draws must be that of the law"),
    "widely": ("Ternary", draws_too_widely, "row_draw: the (variance|mean) of 3000 draws must be that of the law"),
    "zero": ("Ternary", draws_zero, "a draw must be NaN in column 0 where B is NaN in column 0"),
    "spin": ("Ternary", third_of_a_spin, "row_third must write the third cumulant, d var/dB"),
    "flat": ("OneHot", flat_third, "row_third must write the third cumulant's derivative with the mean"),
    "third": ("OneHot", cumulants(-1, 1), "row_cumulants: the third must be d var/dB"),
    "fourth": ("OneHot", cumulants(1, 2), "row_cumulants: the fourth must be the derivative of the third"),
    "slab": ("Ternary", slab_of_more, "row_slab must write probabilities"),
}  # fmt: skip
# Which function of a row each one is, by its arguments.
KIND = {
    ("B", "A", "mean", "var"): "row_moments", ("B", "A", "log_z"): "row_log_z", ("mean", "third", "slope"): "row_third",
    ("B", "A", "third", "fourth"): "row_cumulants", ("B", "A", "probability"): "row_slab",
    ("B", "A", "stream", "x"): "row_draw",
}  # fmt: skip


@uncompiled
@pytest.mark.nojit
@pytest.mark.usefixtures("registered")
@pytest.mark.parametrize("name", ROW_FUNCTIONS)
def test_a_broken_row_is_refused(ternary: ModuleType, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    base, function, message = ROW_FUNCTIONS[name]
    arguments = function.__code__.co_varnames[1 : function.__code__.co_argcount]
    cls = broken_rows(OneHot if base == "OneHot" else ternary.Ternary, **{KIND[arguments]: function})
    monkeypatch.setitem(globals(), "BrokenRows", cls)  # where pickle finds it
    refused(one_hot_layer(cls) if base == "OneHot" else ternary_layer(cls), message)


@uncompiled
@pytest.mark.nojit
@pytest.mark.usefixtures("registered")
@pytest.mark.parametrize(
    ("which", "message"), [("B", "mean must be d ln Z/dB"), ("U", r"statistics must be .*: of U\[0\]")]
)
def test_the_neighbours_numbers_are_not_a_units_own(ternary: ModuleType, which: str, message: str) -> None:
    """Both functions agree with each other, on the field or the parameter of the unit beside."""
    own = {f: f.implementation(ternary.Ternary.site_type) for f in (row_moments, row_log_z)}
    cls = broken_rows(ternary.Ternary)
    for function, of in own.items():

        def beside(site: Any, B: Any, A: Any, *out: Any, of: Any = of) -> None:
            site = site._replace(U=np.roll(site.U, which == "U"))
            of(site, np.roll(B, which == "B"), A, *out)

        beside.__signature__ = inspect.signature(function)  # type: ignore[attr-defined]
        function.register(cls.site_type)(beside)
    refused(ternary_layer(cls), message)


def test_nothing_is_left_among_the_types() -> None:
    assert not [name for name in UNITS if re.match("Broken|PastTheEnd|NoDerivative", name)]
