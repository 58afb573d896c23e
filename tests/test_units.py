"""What every unit type promises, for all types the library knows; a new type is tested as soon as it exists."""

from __future__ import annotations

import copy
import pickle
import re
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import naive
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal

import tapcore as tc
from tapcore.units import UNITS, Unit

EVERY_UNIT = pytest.mark.parametrize("kind", UNITS)
SEEDS = st.integers(0, 2**32 - 1)
# Values that may lie outside a support; which of them do, each unit says itself.
ODD_VALUES = (-7.25, -1.0, -0.5, 0.0, 0.5, 1.5, 2.0, 7.25)


def rng_for(*key: object) -> np.random.Generator:
    return np.random.default_rng(zlib.crc32(repr(key).encode()))


def samples(kind: str, count: int, n: int, seed: int = 0) -> np.ndarray:
    """Data in the support, columns of different means, made without knowing what the parameters are."""
    rng = rng_for(kind, count, n, seed)
    return UNITS[kind](n).sample(rng.normal(0.0, 0.7, n), np.zeros((count, n)), rng)


def make(kind: str, n: int = 4, seed: int = 0) -> Unit:
    """A unit with unlike, reasonable parameters."""
    return UNITS[kind].from_data(samples(kind, 40, n, seed))


def bounded(unit: Unit) -> bool:
    return bool(np.isfinite(unit.bounds()).all())


def width(unit: Unit) -> np.ndarray:
    lo, hi = unit.bounds()
    return np.minimum(hi - lo, 1e300)


def fields(unit: Unit, rng: np.random.Generator, scale: float, rows: int = 3) -> tuple[np.ndarray, np.ndarray]:
    """B and A of either sign; the weight of an unbounded unit is normalisable with A > 0 only."""
    B = rng.normal(0.0, scale, (rows, unit.n))
    A = rng.normal(0.0, scale, (rows, unit.n))
    return B, A if bounded(unit) else np.abs(A) + 0.1


def slope(f: Callable[[float], np.ndarray], h: float = 0.02) -> np.ndarray:
    """Derivative at 0 by central differences, error O(h^6)."""
    return (45 * (f(h) - f(-h)) - 9 * (f(2 * h) - f(-2 * h)) + (f(3 * h) - f(-3 * h))) / (60 * h)


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
    assert_allclose(mean**2 + var, -2 * slope(lambda h: unit.moments(B, A + h)[0]), rtol=1e-9, atol=2 * tol)


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
        # A tail's relative accuracy is that of its exponent's rounding.
        assert_allclose([x[k, i] for x in found], expected, rtol=1e-14 * max(1.0, scale), atol=1e-300)


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
    if A <= 0 and not bounded(unit):
        pytest.skip("an unbounded unit is normalisable with A > 0 only")
    log_z, mean, var = unit.moments(B, A)
    lo, hi = unit.bounds()
    assert not np.isnan(log_z).any()
    assert np.all((lo <= mean) & (mean <= hi))
    assert np.all((var >= 0) & np.isfinite(var))
    if bounded(unit) and B != 0 and A == 0:
        end = np.broadcast_to(hi if B > 0 else lo, 4)
        assert np.all(np.abs(mean - end) <= 0.01 * width(unit))
        assert np.all(var <= 0.01 * width(unit) ** 2)
        assert_allclose(log_z, B * end, atol=20)


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
    assert not unit.contains(np.array([np.nan, np.inf, -np.inf])).any()


@EVERY_UNIT
def test_log_weight_agrees_with_the_readable_reference(kind: str) -> None:
    unit = make(kind)
    X = samples(kind, 5, 4)
    for k, i in np.ndindex(X.shape):
        site = {"kind": kind.lower(), **{name: float(p[i]) for name, p in unit.parameters.items()}}
        assert_allclose(unit.log_weight(X)[k, i], naive.log_weight(site, float(X[k, i])), rtol=1e-15)
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


# Fitting to data


def usable_dtypes(X: np.ndarray) -> list[Any]:
    candidates = (np.bool_, np.uint8, np.int8, np.int64, np.float32, np.float64)
    return [d for d in candidates if np.array_equal(X.astype(d).astype(np.float64), X)]


@pytest.mark.nojit
@EVERY_UNIT
def test_a_fitted_unit_has_the_mean_of_its_data(kind: str) -> None:
    X = samples(kind, 37, 4)
    unit = UNITS[kind].from_data(X)
    _, mean, _ = unit.moments(0.0, 0.0)
    spread = width(unit) if bounded(unit) else np.ptp(X, axis=0)
    # At most one imaginary sample takes part.
    assert np.all(np.abs(mean - X.mean(axis=0)) <= spread / (len(X) + 1))


@pytest.mark.nojit
@pytest.mark.parametrize("kind", [kind for kind, known in naive.KINDS.items() if known.support is not None])
def test_two_states_are_fitted_with_one_imaginary_sample(kind: str) -> None:
    """Half of it in each state: the mean is (sum of samples + midpoint)/(samples + 1), exactly."""
    unit_type = {name.lower(): unit for name, unit in UNITS.items()}[kind]
    states = naive.KINDS[kind].support
    X = rng_for("fit", kind).choice(states, (23, 5), p=[0.2, 0.8])
    X[:, 3], X[:, 4] = states
    _, mean, _ = unit_type.from_data(X).moments(0.0, 0.0)
    assert_allclose(mean, (X.sum(axis=0) + np.mean(states)) / 24, rtol=1e-13, atol=1e-15)


@EVERY_UNIT
def test_any_dtype_and_memory_mapped_data_are_fitted_alike(kind: str, tmp_path: Path) -> None:
    X = samples(kind, 5000, 3)  # more rows than are read at a time
    expected = UNITS[kind].from_data(X.astype(np.float64))
    _, mean, _ = expected.moments(0.0, 0.0)
    assert_allclose(mean, X.mean(axis=0), atol=np.ptp(X) / len(X))
    for dtype in usable_dtypes(X):
        np.save(tmp_path / "X.npy", X.astype(dtype))
        assert UNITS[kind].from_data(np.load(tmp_path / "X.npy", mmap_mode="r")) == expected
    if len(usable_dtypes(X)) > 2:
        assert UNITS[kind].from_data(X.astype(int).tolist()) == expected


@EVERY_UNIT
def test_constant_columns_give_finite_parameters(kind: str) -> None:
    row = samples(kind, 1, 6)
    for count in (1, 300):
        unit = UNITS[kind].from_data(np.repeat(row, count, axis=0))
        assert all(np.isfinite(p).all() for p in unit.parameters.values())
        assert all(np.isfinite(x).all() for x in unit.moments(0.0, 0.0))


@EVERY_UNIT
@pytest.mark.parametrize("row", [1, 4500])
def test_bad_data_are_refused_at_the_first_bad_entry(kind: str, row: int) -> None:
    unit = make(kind)
    X = samples(kind, row + 3, 4)
    bad = [value for value in ODD_VALUES if not unit.contains(np.array([value]))[0]]
    for value in (*bad, np.nan, np.inf, -np.inf):
        X[row, 2] = X[row + 1, 0] = value
        rule = unit.support if np.isfinite(value) else "finite"
        pattern = f"^X must be .*{re.escape(rule)}.*" + re.escape(f": X[{row}, 2] is {np.float64(value)!s}")
        with pytest.raises(ValueError, match=pattern):
            UNITS[kind].from_data(X)
        with pytest.raises(ValueError, match=pattern):
            unit.check_data("X", X)


@EVERY_UNIT
@pytest.mark.parametrize(
    ("X", "message"),
    [
        (np.ones(4), "two axes"),
        (np.ones((2, 2, 2)), "two axes"),
        (np.ones((0, 4)), "at least one row"),
        (np.ones((2, 2)) * 1j, "real numbers"),
        ([["a", "b"]], "real numbers"),
        ([[1, 1], [1]], "rectangular"),
    ],
)
def test_what_is_no_data_is_refused(kind: str, X: Any, message: str) -> None:
    with pytest.raises(ValueError, match=f"^X must .*{message}"):
        UNITS[kind].from_data(X)


@pytest.mark.nojit
def test_binary_hints_at_a_threshold_for_grey_values_only() -> None:
    grey = np.array([[0, 1], [1, 17]], dtype=np.uint8)
    with pytest.raises(ValueError, match=r"must be 0 or 1 for a Binary layer: X\[1, 1\] is 17; .*--threshold"):
        tc.Binary(2).check_data("X", grey)
    with pytest.raises(ValueError, match=r"must be finite: pixels\[0, 1\] is nan$"):
        tc.Binary(2).check_data("pixels", np.array([[0.0, np.nan]]))
    with pytest.raises(ValueError, match=r"must be -1 or \+1 for a Spin layer: X\[0, 0\] is 0$"):
        tc.Spin(2).check_data("X", grey)


@EVERY_UNIT
def test_check_means_names_the_first_bad_entry(kind: str) -> None:
    unit = make(kind)
    lo, hi = (np.broadcast_to(end, 4) for end in unit.bounds())
    if bounded(unit):
        unit.check_means("init", np.stack([lo, hi, (lo + hi) / 2]))
        for value in (lo[1] - 0.01, hi[1] + 0.01):
            means = np.stack([lo, hi])
            means[1, 1] = value
            with pytest.raises(ValueError, match=rf"^init must lie in the range of means of a {kind}.*init\[1, 1\]"):
                unit.check_means("init", means)
    with pytest.raises(ValueError, match=r"^init must be finite: init\[0, 3\] is nan"):
        unit.check_means("init", np.array([[1.0, 1.0, 1.0, np.nan]]))


# Samples


@EVERY_UNIT
def test_samples_have_the_moments_of_their_law(kind: str) -> None:
    unit, count = make(kind), 4000
    B, A = fields(unit, rng_for("sample", kind), 0.7, rows=1)
    _, mean, var = (x[0] for x in unit.moments(B, A))
    x = unit.sample(B, np.repeat(A, count, axis=0), rng_for("draw", kind))
    assert x.shape == (count, 4)
    assert unit.contains(x).all()
    assert np.all(np.abs(x.mean(axis=0) - mean) < 5 * np.sqrt(var / count))
    squares = x**2
    margin = 5 * squares.std(axis=0) / np.sqrt(count) + 1e-12
    assert np.all(np.abs(squares.mean(axis=0) - (mean**2 + var)) < margin)
    # Units and samples are drawn apart from one another.
    assert np.all(np.abs(np.corrcoef(x.T)[np.triu_indices(4, 1)]) < 5 / np.sqrt(count))


@EVERY_UNIT
def test_equal_seeds_draw_equal_samples(kind: str) -> None:
    unit = make(kind)
    first, again, other = (unit.sample(0.0, np.ones((50, 4)), np.random.default_rng(seed)) for seed in (1, 1, 2))
    assert_array_equal(first, again)
    assert (first != other).any()


# Parameters


@pytest.mark.nojit
@EVERY_UNIT
def test_parameters_cannot_be_changed(kind: str) -> None:
    unit = make(kind)
    for name in unit.names:
        with pytest.raises(ValueError, match="read-only"):
            unit.parameters[name][0] = 0.25
        with pytest.raises(AttributeError):
            setattr(unit, name, 0.25)
        assert_array_equal(getattr(unit, name), unit.parameters[name])
        assert unit.parameters[name].shape == (4,)


@EVERY_UNIT
def test_arrays_passed_in_or_handed_out_are_copies(kind: str) -> None:
    given_ = {name: p.copy() for name, p in make(kind).parameters.items()}
    unit = UNITS[kind](4, **given_)
    moved = unit.with_parameters(given_)
    before = make(kind)
    for array in given_.values():
        array += 0.125
    for array in unit.site():
        array += 0.125
    assert unit == before
    assert moved == before


@EVERY_UNIT
def test_a_scalar_parameter_holds_for_all_units(kind: str) -> None:
    unit = make(kind)
    scalars = {name: float(p[0]) for name, p in unit.parameters.items()}
    assert UNITS[kind](3, **scalars) == UNITS[kind](3, **{name: [p] * 3 for name, p in scalars.items()})


@pytest.mark.nojit
@EVERY_UNIT
@pytest.mark.parametrize(
    ("value", "message"),
    [
        (np.zeros(3), r"shape \(4,\), got shape \(3,\)"),
        (np.zeros(1), r"shape \(4,\), got shape \(1,\)"),
        (np.zeros((1, 4)), r"shape \(4,\), got shape \(1, 4\)"),
        ([0.5, 0.5, np.nan, np.inf], r"finite: {name}\[2\] is nan"),
        (np.inf, "finite: {name} is inf"),
        ("x", "real numbers"),
        (None, "real numbers"),
        (1j, "real numbers"),
        ([[1], [1, 2]], "rectangular"),
    ],
)
def test_bad_parameters_are_refused(kind: str, value: Any, message: str) -> None:
    for name in UNITS[kind].names:
        with pytest.raises(ValueError, match=f"^{name} must.*{message.format(name=name)}"):
            UNITS[kind](4, **{name: value})


@EVERY_UNIT
@pytest.mark.parametrize("n", [0, -1, 2.0, True, "3", None])
def test_the_number_of_units_is_a_positive_integer(kind: str, n: Any) -> None:
    with pytest.raises(ValueError, match=r"^n must be an integer of at least 1"):
        UNITS[kind](n)
    assert UNITS[kind](np.int64(2)).n == 2


@EVERY_UNIT
def test_equality(kind: str) -> None:
    unit = make(kind)
    assert unit == UNITS[kind](4, **unit.parameters)
    assert unit != make(kind, n=3)
    assert UNITS[kind](4) != UNITS[kind](4).astype(np.float32)
    assert unit != kind
    for name in unit.names:
        moved = {name: p.copy() for name, p in unit.parameters.items()}
        moved[name][3] *= 1 + 1e-15
        assert unit != unit.with_parameters(moved)
    assert all(unit != other(4) for other in UNITS.values() if other is not UNITS[kind])
    with pytest.raises(TypeError, match="unhashable"):
        hash(unit)


@EVERY_UNIT
def test_repr_shows_size_and_parameters(kind: str) -> None:
    unit = make(kind)
    shown = repr(unit)
    assert shown.startswith(f"{kind}(4, ")
    for name, p in unit.parameters.items():
        text = f"{p[0]:g}" if np.ptp(p) == 0 else f"<{p.min():.3g} to {p.max():.3g}>"
        assert f"{name}={text}" in shown


@pytest.mark.nojit
@EVERY_UNIT
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_copies_and_pickles_are_equal(kind: str, dtype: Any) -> None:
    unit = make(kind).astype(dtype)
    for other in (copy.deepcopy(unit), copy.copy(unit), pickle.loads(pickle.dumps(unit))):
        assert other == unit
        assert other.dtype == dtype
        for found, expected in zip(other.moments(0.3, 0.2), unit.moments(0.3, 0.2), strict=True):
            assert_array_equal(found, expected)


@EVERY_UNIT
def test_public_under_its_own_name(kind: str) -> None:
    assert getattr(tc, kind) is UNITS[kind]
    assert kind in dir(tc)
    assert UNITS[kind].__name__ == kind


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
        expected = slope(lambda h, name=name: moved_by(unit, name, h).log_weight(X).mean(axis=0))
        assert_allclose(value, expected, rtol=1e-8, atol=1e-9)


@EVERY_UNIT
def test_ascend_steps_along_the_gradient_in_place(kind: str) -> None:
    unit = make(kind)
    parameters = {name: p.copy() for name, p in unit.parameters.items()}
    arrays = dict(parameters)
    X = samples(kind, 30, 4, seed=3)
    _, mean, var = unit.moments(np.zeros((1, 4)), 0.0)
    model = unit.statistics(mean, var, np.zeros((1, 4)), np.zeros((1, 4)))
    gradient = {name: s - model[name] for name, s in unit.data_statistics(X).items()}

    def likelihood(unit: Unit) -> float:
        return float((unit.log_weight(X) - unit.moments(0.0, 0.0)[0]).sum(axis=1).mean())

    unit.ascend(parameters, gradient, 1e-3)
    gain = likelihood(unit.with_parameters(parameters)) - likelihood(unit)
    expected = 1e-3 * sum(float((g**2).sum()) for g in gradient.values())
    assert 0.99 * expected < gain <= expected
    assert all(parameters[name] is arrays[name] for name in unit.names)


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
