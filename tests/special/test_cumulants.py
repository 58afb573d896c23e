"""Third and fourth cumulants: certified values of truncated Gaussians, derivatives and bounds for every unit."""

from __future__ import annotations

import math

import numpy as np
import pytest
from cases import random_sites, unit_of
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal
from truncnorm_cases import exact, table
from unit_cases import PLAIN as UNITS

import tapcore as tc
from tapcore.special.truncnorm.cumulants import cumulants
from tapcore.units.rows import row_cumulants, row_slab
from tapcore.units.sites import sites_of


def of_unit(unit: tc.units.Unit, B: np.ndarray, A: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    third, fourth = np.empty(unit.n), np.empty(unit.n)
    row_cumulants(sites_of([unit]).site(0), B, A, third, fourth)
    return third, fourth


@pytest.mark.nojit
def test_certified_values_of_truncated_gaussians() -> None:
    rows = table("truncnorm_cumulants.csv")
    found = np.array([cumulants(*x) for x in zip(*(rows[k] for k in ("s", "b", "lo", "hi")), strict=True)]).T
    assert len(rows["s"]) == 262
    for name, values, power in (("third", found[0], 1.5), ("fourth", found[1], 2)):
        scale = np.maximum(rows["var"] ** power, np.abs(rows[name]))
        assert (np.abs(values - rows[name]) / scale).max() < 1e-14


def test_the_generator_against_a_uniform_and_an_exponential_law() -> None:
    assert_allclose([float(x) for x in exact.cumulants(0.0, 0.0, 0.0, 1.0)], [1 / 12, 0, -1 / 120], atol=1e-30)
    assert_allclose([float(x) for x in exact.cumulants(0.0, -2.0, 0.0, 1e3)], [1 / 4, 2 / 8, 6 / 16], rtol=1e-15)


@pytest.mark.parametrize("kind", sorted(UNITS))
def test_are_derivatives_of_the_variance(kind: str) -> None:
    rng = np.random.default_rng(1)
    unit = unit_of(random_sites(rng, kind.lower(), 30))
    B, A, step = rng.normal(0, 2, 30), rng.uniform(-0.5, 2, 30), 1e-3
    third, fourth = of_unit(unit, B, A)
    var = {n: unit.moments(B + n * step, A)[2] for n in range(-2, 3)}
    assert_allclose(third, (var[-2] - 8 * var[-1] + 8 * var[1] - var[2]) / (12 * step), atol=1e-11)
    second = -var[-2] + 16 * var[-1] - 30 * var[0] + 16 * var[1] - var[2]
    assert_allclose(fourth, second / (12 * step**2), atol=3e-8)


@pytest.mark.parametrize("kind", sorted(UNITS))
def test_keep_to_the_bound_of_any_law(kind: str) -> None:
    # Kurtosis is at least the square of skewness, and 1 more; of two states exactly that.
    rng = np.random.default_rng(2)
    unit = unit_of(random_sites(rng, kind.lower(), 200))
    B, A = 10 * rng.normal(0, 2, 200), rng.uniform(-0.5, 2, 200)
    third, fourth = of_unit(unit, B, A)
    var = unit.moments(B, A)[2]
    excess = fourth / var**2 - third**2 / var**3 + 2
    # Rounding errors are of the size of what cancels.
    scale = np.abs(fourth) / var**2 + third**2 / var**3 + 2
    assert (excess > -1e-13 * scale).all()
    if unit.levels is not None:
        assert (excess < 1e-10 * scale).all()


@settings(max_examples=200)
@given(*(st.floats(-1e4, 1e4) for _ in range(2)), st.floats(-10, 10), st.floats(1e-3, 20))
@pytest.mark.nojit
def test_truncated_gaussians_reflect(s: float, b: float, lo: float, width: float) -> None:
    third, fourth = cumulants(s, b, lo, lo + width)
    mirrored, same = cumulants(s, -b, -lo - width, -lo)
    # Of symmetric weights, either end may count as the dominating one.
    var = float(tc.truncnorm.moments(s, b, lo, lo + width)[2])
    assert abs(third + mirrored) <= 1e-14 * max(var**1.5, abs(third))
    assert abs(fourth - same) <= 1e-14 * max(var**2, abs(fourth))


@pytest.mark.nojit
def test_extreme_arguments() -> None:
    for x in ((0.0, 0.0, 0.0, np.inf), (1.0, 0.0, 1.0, 1.0), (np.nan, 0.0, 0.0, 1.0), (1.0, np.inf, 0.0, 1.0)):
        assert all(map(math.isnan, cumulants(*x)))
    # Of an exponential law 2/g^3 and 6/g^4, at either end; of a normal one nothing.
    assert_allclose(cumulants(0.0, 1e8, -1.0, 1.0), (-2e-24, 6e-32), rtol=1e-13)
    assert_allclose(cumulants(0.0, -1e8, -1.0, 1.0), (2e-24, 6e-32), rtol=1e-13)
    assert_allclose(cumulants(1e10, 3e9, -1.0, 1.0), (0.0, 0.0), atol=1e-30)
    # Both ends alone: the cumulants of two states.
    third, fourth = cumulants(-1e8, 0.0, -1.0, 1.0)
    assert_allclose((third, fourth), (0.0, -2.0), atol=1e-6)


def test_slabs_have_the_probability_that_the_unit_says() -> None:
    rng = np.random.default_rng(3)
    B, A = rng.normal(0, 2, 9), rng.uniform(-0.5, 2, 9)
    for kind in sorted(UNITS):
        unit = unit_of(random_sites(rng, kind.lower(), 9))
        found = np.empty(9)
        row_slab(sites_of([unit]).site(0), B, A, found)
        expected = unit.nonzero_probability(B, A) if hasattr(unit, "nonzero_probability") else np.ones(9)
        assert_array_equal(found, expected)
