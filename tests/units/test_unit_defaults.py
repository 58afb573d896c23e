"""What a unit type need not bring: the defaults of `Unit`, on types that bring their own, and on what is not one."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from unit_cases import EVERY_UNIT, ODD_VALUES, fields, make, rng_for, samples

import tapcore as tc
from tapcore.units import UNITS, Unit

# Types whose parameters are all fitted by default.
NATURAL = ("Binary", "Spin", "Gaussian", "TruncatedGaussian")


def default_fit(kind: str, X: Any, *args: Any) -> Unit:
    return Unit.from_data.__func__(UNITS[kind], X, *args)


@pytest.mark.nojit
@pytest.mark.parametrize("kind", NATURAL)
@pytest.mark.parametrize("count", [1, 2, 300])
def test_the_fit_has_the_averages_of_the_data_and_an_imaginary_sample(kind: str, count: int) -> None:
    X = samples(kind, count, 4)
    X[:, 3] = X[0, 3]  # never changes
    _, mean0, var0 = UNITS[kind](4).moments(0.0, 0.0)
    _, mean, var = default_fit(kind, X).moments(0.0, 0.0)
    assert_allclose(mean, (X.sum(axis=0) + mean0) / (count + 1), rtol=1e-9, atol=1e-9)
    square = ((X * X).sum(axis=0) + mean0**2 + var0) / (count + 1)
    assert_allclose(mean**2 + var, square, rtol=1e-9, atol=1e-9)


@pytest.mark.nojit
@pytest.mark.parametrize("scale", [1e-4, 1.0, 1e4])
@pytest.mark.parametrize("offset", [0.0, 3.0, -30.0])
def test_the_fit_keeps_to_any_scale(scale: float, offset: float) -> None:
    X = scale * (offset + rng_for("scale").normal(size=(200, 3)))
    _, mean, var = default_fit("Gaussian", X).moments(0.0, 0.0)
    aim, square = X.sum(axis=0) / 201, ((X * X).sum(axis=0) + 1) / 201
    assert_allclose(mean, aim, rtol=1e-8, atol=1e-8 * scale)
    assert_allclose(var, square - aim**2, rtol=1e-6)


@pytest.mark.nojit
@pytest.mark.parametrize("kind", ["Binary", "Spin"])
def test_the_fit_of_two_states_is_their_own(kind: str) -> None:
    X = samples(kind, 23, 4)
    X[:, 0], X[:, 1] = UNITS[kind].levels
    assert_allclose(default_fit(kind, X).U, UNITS[kind].from_data(X).U, rtol=1e-10, atol=1e-12)


@pytest.mark.nojit
def test_the_fit_takes_the_support() -> None:
    X = rng_for("ends").uniform(-2.0, 3.0, (50, 2))
    unit = default_fit("TruncatedGaussian", X, -2.0, [3.0, 4.0])
    assert_array_equal(unit.lo, [-2.0, -2.0])
    assert_array_equal(unit.hi, [3.0, 4.0])
    with pytest.raises(ValueError, match="X must be between lo and hi"):
        default_fit("TruncatedGaussian", X)


@EVERY_UNIT
def test_draws_by_rows_have_the_moments_of_their_law(kind: str) -> None:
    unit, count = make(kind), 4000
    B, A = fields(unit, rng_for("rows", kind), 0.7, rows=1)
    _, mean, var = (x[0] for x in unit.moments(B, A))
    x = Unit.sample(unit, B, np.repeat(A, count, axis=0), rng_for("draw rows", kind))
    assert x.shape == (count, 4)
    assert unit.contains(x).all()
    assert np.all(np.abs(x.mean(axis=0) - mean) < 5 * np.sqrt(var / count))
    assert np.all(np.abs(np.corrcoef(x.T)[np.triu_indices(4, 1)]) < 5 / np.sqrt(count))
    assert_array_equal(x, Unit.sample(unit, B, np.repeat(A, count, axis=0), rng_for("draw rows", kind)))
    assert Unit.sample(unit.astype(np.float32), 0.0, np.ones((2, 3, 4)), rng_for()).dtype == np.float32
    with pytest.raises(ValueError, match="rng must be a numpy"):
        Unit.sample(unit, B, A, 3)


@pytest.mark.nojit
@pytest.mark.parametrize("kind", NATURAL)
def test_the_support_is_that_of_states_or_bounds(kind: str) -> None:
    unit = make(kind)
    for value in (*ODD_VALUES, np.nan, np.inf, -np.inf):
        x = np.full((2, 4), value)
        assert_array_equal(Unit.contains(unit, x), unit.contains(x))


class Site(NamedTuple):
    U: Any
    tilt: Any


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ({"names": ("U", "tilt"), "bounds": lambda self: (0, 1)}, "parameters other than U and V need statistics"),
        ({"names": ("U", "tilt"), "fixed": ("tilt",)}, "bounds must be defined, or levels"),
        ({"names": ("tilt", "U")}, "in this order"),
    ],
)
def test_what_is_no_unit_type_is_refused_when_it_is_defined(body: dict[str, Any], message: str) -> None:
    with pytest.raises(TypeError, match=f"^Odd: .*{message}"):
        type("Odd", (Unit,), {"site_type": Site, **body})
    assert "Odd" not in UNITS


def test_a_name_that_is_taken_is_refused() -> None:
    with pytest.raises(TypeError, match=r"^Binary: tapcore\.units\.binary has a unit type of this name"):
        type("Binary", (tc.Binary,), {"site_type": tc.Binary.site_type})
    assert UNITS["Binary"] is tc.Binary
