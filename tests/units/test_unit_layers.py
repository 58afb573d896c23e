"""Layers of every unit type: fitting to data, sampling, and parameters that never change."""

from __future__ import annotations

import copy
import pickle
import re
from pathlib import Path
from typing import Any

import naive
import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from unit_cases import EVERY_UNIT, ODD_VALUES, bounded, fields, make, rng_for, samples, width
from unit_cases import PLAIN as UNITS

import tapcore as tc
from tapcore.units.sites import sites_of

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
    with pytest.raises(ValueError, match=r"must be -1 or \+1 for a Spin layer: X\[0, 0\] is 0; for 0 and 1, give 2\.0"):
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
@pytest.mark.parametrize("rng", [3, None, np.random])
def test_what_is_no_generator_is_refused(kind: str, rng: Any) -> None:
    with pytest.raises(ValueError, match=r"rng must be a numpy\.random\.Generator"):
        make(kind).sample(0.0, 1.0, rng)


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
    for array in sites_of([unit]).site(0):
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
        moved[name][3] = np.nextafter(moved[name][3], 9)
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


@pytest.mark.nojit
def test_spin_hints_at_signs_for_zeros_and_ones() -> None:
    with pytest.raises(
        ValueError, match=r"must be -1 or \+1 for a Spin layer: X\[0, 1\] is 0; for 0 and 1, give 2\.0 \* X - 1$"
    ):
        tc.Spin(2).check_data("X", np.array([[1, 0]]))
