"""The contract of every unit type: moments, support, and what training uses."""

from __future__ import annotations

import re
from collections.abc import Callable

import naive
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal
from unit_cases import EVERY_UNIT, ODD_VALUES, SEEDS, bounded, fields, make, rng_for, samples, slope, width
from unit_cases import PLAIN as UNITS

from tapcore.units import Unit

# Moments


@pytest.mark.nojit
@EVERY_UNIT
@settings(max_examples=12)
@given(seed=SEEDS, scale=st.sampled_from([0.5, 3.0, 30.0, 300.0]))
def test_moments_are_derivatives_of_log_z(kind: str, seed: int, scale: float) -> None:
    """mean = d ln Z/dB, var = d mean/dB and <x^2> = mean^2 + var = -2 d ln Z/dA."""
    unit = make(kind, seed=seed % 5)
    B, A = fields(unit, np.random.default_rng(seed), scale)
    _, mean, var = unit.moments(B, A)
    tol = 1e-9 + 1e-12 * scale
    assert_allclose(mean, slope(lambda h: unit.moments(B + h, A)[0]), rtol=1e-9, atol=tol)
    assert_allclose(var, slope(lambda h: unit.moments(B + h, A)[1]), rtol=1e-9, atol=tol)
    # A difference with A is taken on the scale of the precision.
    held = unit.tail_precision()
    step = 0.02 if held is None else 0.02 * min(1.0, float((held + A).min()))
    assert_allclose(
        mean**2 + var, -2 * slope(lambda h: unit.moments(B, A + h)[0], step), rtol=1e-9, atol=2 * tol / step * 0.02
    )


@pytest.mark.nojit
@EVERY_UNIT
@settings(max_examples=20)
@given(seed=SEEDS, scale=st.sampled_from([0.5, 5.0, 50.0, 500.0]))
def test_moments_agree_with_the_readable_reference(kind: str, seed: int, scale: float) -> None:
    assert kind.lower() in naive.KINDS, "the readable reference needs every unit type"
    unit = make(kind, seed=seed % 5)
    B, A = fields(unit, np.random.default_rng(seed), scale)
    found = unit.moments(B, A)
    for k, i in np.ndindex(B.shape):
        site = {"kind": kind.lower(), **{name: float(p[i]) for name, p in unit.parameters.items()}}
        expected = [f(site, float(B[k, i]), float(A[k, i])) for f in (naive.log_z, naive.mean, naive.var)]
        # A tail's relative accuracy is that of its exponent's rounding; what changes sign has none at 0.
        atol = 2e-15 * max(1.0, scale) if naive.KINDS[kind.lower()].support is None else 1e-300
        assert_allclose([x[k, i] for x in found], expected, rtol=1e-14 * max(1.0, scale), atol=atol)


@pytest.mark.nojit
@EVERY_UNIT
@settings(max_examples=20)
@given(seed=SEEDS, scale=st.sampled_from([1.0, 30.0, 1000.0, 1e6]))
def test_means_lie_in_their_bounds_and_variances_are_not_negative(kind: str, seed: int, scale: float) -> None:
    unit = make(kind)
    _, mean, var = unit.moments(*fields(unit, np.random.default_rng(seed), scale))
    lo, hi = unit.bounds()
    assert np.all((lo <= mean) & (mean <= hi))
    # No law on an interval varies more than one that sits at both ends.
    assert np.all((var >= 0) & (var <= (hi - lo) ** 2 / 4 * (1 + 1e-15)))


@EVERY_UNIT
@pytest.mark.parametrize("B", [-1e300, -1e3, 0.0, 1e3, 1e300])
@pytest.mark.parametrize("A", [-1e300, -1e3, 0.0, 1e3, 1e300])
def test_extreme_fields(kind: str, B: float, A: float) -> None:
    unit = make(kind)
    log_z, mean, var = unit.moments(B, A)
    if A < 0 and not bounded(unit):  # cannot be normalised
        assert np.isnan([log_z, mean, var]).all()
        return
    lo, hi = unit.bounds()
    assert not np.isnan(log_z).any()
    assert np.all((lo <= mean) & (mean <= hi))
    assert np.all((var >= 0) & np.isfinite(var))
    if bounded(unit) and B != 0 and A == 0:
        end = np.broadcast_to(hi if B > 0 else lo, 4)
        assert np.all(np.abs(mean - end) <= 0.01 * width(unit))
        assert np.all(var <= 0.01 * width(unit) ** 2)
        # In an interval the weight narrows as 1/B.
        assert_allclose(log_z, B * end, atol=20 + np.log(abs(B)))


@pytest.mark.nojit
@EVERY_UNIT
def test_nan_in_nan_out_and_nowhere_else(kind: str) -> None:
    unit = make(kind)
    B = np.array([[0.5, np.nan, -0.5, 1.0]] * 2)
    B[1, 1] = 0.0
    for x in unit.moments(B, 1.0):
        assert_array_equal(np.isnan(x), np.isnan(B))


@pytest.mark.nojit
@EVERY_UNIT
@pytest.mark.parametrize(
    ("B", "A", "shape"),
    [
        ((), (), (4,)),
        ((4,), (), (4,)),
        ((1,), (4,), (4,)),
        ((3, 4), (4,), (3, 4)),
        ((3, 1), (1, 4), (3, 4)),
        ((2, 1, 4), (3, 1), (2, 3, 4)),
        ((0, 4), (), (0, 4)),
    ],
)
def test_fields_broadcast(kind: str, B: tuple[int, ...], A: tuple[int, ...], shape: tuple[int, ...]) -> None:
    unit, rng = make(kind), rng_for(B, A)
    b, a = rng.normal(size=B), rng.uniform(0.5, 1.5, A)
    whole = unit.moments(np.broadcast_to(b, shape).copy(), np.broadcast_to(a, shape).copy())
    for found, expected in zip(unit.moments(b, a), whole, strict=True):
        assert found.shape == shape
        assert_array_equal(found, expected)


@EVERY_UNIT
def test_memory_layout_does_not_matter(kind: str) -> None:
    unit = make(kind)
    B = rng_for("layout").normal(size=(6, 8))[::2, ::2]
    for found, expected in zip(unit.moments(np.asfortranarray(B), 1), unit.moments(B.copy(), 1.0), strict=True):
        assert_array_equal(found, expected)


@EVERY_UNIT
@pytest.mark.parametrize(("B", "A"), [((5,), ()), ((), (5,)), ((4, 3), ()), ((2, 4), (3, 4))])
def test_fields_that_do_not_fit_are_refused(kind: str, B: tuple[int, ...], A: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=re.escape("B and A must broadcast to (..., 4)")):
        make(kind).moments(np.ones(B), np.ones(A))


@EVERY_UNIT
def test_a_layer_of_one_unit_does_not_grow(kind: str) -> None:
    with pytest.raises(ValueError, match=re.escape("(..., 1)")):
        make(kind, n=1).moments(np.zeros(3), 1.0)


@EVERY_UNIT
def test_float32_stays_float32(kind: str) -> None:
    unit = make(kind)
    single = unit.astype(np.float32)
    assert single.dtype == np.float32
    B, A = fields(unit, rng_for("single"), 2.0)
    for found, expected in zip(single.moments(B, A), unit.moments(B, A), strict=True):
        assert found.dtype == np.float32
        assert_allclose(found, expected, rtol=1e-5, atol=1e-6)
    assert single.sample(B, A, rng_for("draw")).dtype == np.float32
    assert unit.dtype == np.float64


# Support and log-weight


@pytest.mark.nojit
@EVERY_UNIT
def test_log_weight_is_minus_inf_outside_the_support_only(kind: str) -> None:
    unit = make(kind)
    inside = samples(kind, 20, 4)
    assert unit.contains(inside).all()
    assert np.isfinite(unit.log_weight(inside)).all()
    for value in (*ODD_VALUES, np.nan):
        x = np.full((2, 4), value)
        assert_array_equal(np.isneginf(unit.log_weight(x)), ~unit.contains(x))
    assert not unit.contains(np.repeat([[np.nan], [np.inf], [-np.inf]], 4, axis=1)).any()


@EVERY_UNIT
def test_log_weight_agrees_with_the_readable_reference(kind: str) -> None:
    unit = make(kind)
    X = samples(kind, 5, 4)
    for k, i in np.ndindex(X.shape):
        site = {"kind": kind.lower(), **{name: float(p[i]) for name, p in unit.parameters.items()}}
        assert_allclose(unit.log_weight(X)[k, i], naive.log_weight(site, float(X[k, i])), rtol=1e-14, atol=1e-15)
    assert unit.log_weight(X[0]).shape == (4,)
    assert unit.log_weight(X[None]).shape == (1, 5, 4)


@EVERY_UNIT
def test_random_means_fill_the_range_of_means(kind: str) -> None:
    unit = make(kind)
    means = unit.random_means(500, rng_for("means"))
    assert means.shape == (500, 4)
    unit.check_means("init", means)
    if bounded(unit):
        lo, hi = unit.bounds()
        assert_allclose(means.mean(axis=0), np.broadcast_to((lo + hi) / 2, 4), atol=0.1 * float(width(unit).max()))


# What training uses


def moved_by(unit: Unit, name: str, step: float) -> Unit:
    return unit.with_parameters({k: p + step if k == name else p for k, p in unit.parameters.items()})


@pytest.mark.nojit
@EVERY_UNIT
@pytest.mark.parametrize("count", [1, 6])
def test_statistics_are_the_derivatives_of_log_z(kind: str, count: int) -> None:
    """d ln Z(B, A)/d parameter = <d ln phi/d parameter>, averaged over the rows."""
    unit = make(kind)
    B, A = fields(unit, rng_for("statistics", kind), 1.0, count)
    _, mean, var = unit.moments(B, A)
    found = unit.statistics(mean, var, B, A)
    assert set(found) <= set(unit.names)
    for name, value in found.items():
        expected = slope(lambda h, name=name: moved_by(unit, name, h).moments(B, A)[0].mean(axis=0))
        assert_allclose(value, expected, rtol=1e-8, atol=1e-9)


@pytest.mark.nojit
@EVERY_UNIT
def test_data_statistics_are_the_derivatives_of_the_log_weight(kind: str) -> None:
    unit = make(kind)
    X = samples(kind, 9, 4)
    found = unit.data_statistics(X)
    assert set(found) <= set(unit.names)
    for name, value in found.items():
        # A logarithm bends most where its argument is small.
        h = 0.005 * min(1.0, float(np.abs(unit.parameters[name]).min()))
        expected = slope(lambda h, name=name: moved_by(unit, name, h).log_weight(X).mean(axis=0), h)
        assert_allclose(value, expected, rtol=1e-8, atol=1e-9)


def climbing(kind: str) -> tuple[Unit, dict[str, np.ndarray], Callable[[Unit], float]]:
    """A unit, the gradient of the log-likelihood of some data, and that likelihood."""
    unit, nothing = make(kind), np.zeros((1, 4))
    X = samples(kind, 30, 4, seed=3)
    _, mean, var = unit.moments(nothing, nothing)
    model = unit.statistics(mean, var, nothing, nothing)
    gradient = {name: s - model[name] for name, s in unit.data_statistics(X).items()}
    return unit, gradient, lambda u: float((u.log_weight(X) - u.moments(0.0, 0.0)[0]).sum(axis=1).mean())


@EVERY_UNIT
def test_ascend_climbs_in_place(kind: str) -> None:
    unit, gradient, likelihood = climbing(kind)
    parameters = {name: p.copy() for name, p in unit.parameters.items()}
    arrays = dict(parameters)
    unit.ascend(parameters, gradient, 1e-3)
    steps = {name: parameters[name] - p for name, p in unit.parameters.items()}
    assert all(parameters[name] is arrays[name] for name in unit.names)
    assert all(np.any(step != 0) == (name not in unit.fixed) for name, step in steps.items())
    # Uphill in every parameter, and what is gained is what the gradient promises.
    assert all(np.all(step * gradient[name] >= 0) for name, step in steps.items() if name in gradient)
    expected = sum(float((gradient[name] * steps[name]).sum()) for name in gradient)
    assert_allclose(likelihood(unit.with_parameters(parameters)) - likelihood(unit), expected, rtol=0.02)


@EVERY_UNIT
def test_parameters_stay_where_they_make_sense_whatever_the_step(kind: str) -> None:
    unit, gradient, _ = climbing(kind)
    for dtype in (np.float64, np.float32):
        for rate in (-1e6, 1e6):
            parameters = {name: p.copy() for name, p in unit.astype(dtype).parameters.items()}
            slopes = {name: g.astype(dtype) for name, g in gradient.items()}
            for _ in range(3):
                unit.ascend(parameters, slopes, rate)
            UNITS[kind].check_parameters(parameters)
            assert all(p.dtype == dtype for p in parameters.values())


@pytest.mark.nojit
@pytest.mark.parametrize("kind", UNITS)
def test_nan_in_a_precision_reaches_all_moments(kind: str) -> None:
    assert np.isnan(UNITS[kind](2).moments(0.0, np.nan)).all()


@pytest.mark.parametrize("kind", UNITS)
def test_log_weight_of_infinity(kind: str) -> None:
    with np.errstate(all="raise"):
        assert_array_equal(UNITS[kind](1).log_weight([[np.inf], [-np.inf]]), [[-np.inf], [-np.inf]])


@pytest.mark.parametrize("kind", UNITS)
def test_samples_of_the_wrong_shape_are_named(kind: str) -> None:
    with pytest.raises(ValueError, match=r"X must have two axes \(samples, units\), got shape \(3,\)"):
        UNITS[kind].from_data(np.ones(3))
    with pytest.raises(ValueError, match=r"X must have at least one column, got shape \(3, 0\)"):
        UNITS[kind].from_data(np.ones((3, 0)))
    with pytest.raises(ValueError, match="B must hold real numbers"):
        UNITS[kind](2).moments("a", 0)


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("unit", ["Binary", "Gaussian", "TruncatedGaussian"])
def test_one_unit_takes_numbers_without_a_warning(unit: str) -> None:
    for x in UNITS[unit](1).moments(0.5, 1.0):
        assert x.shape == (1,)
