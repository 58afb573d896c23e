"""Fits of real-valued units to data: maximum likelihood on the data's own scale, whatever that is."""

from __future__ import annotations

import mpmath
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose
from sklearn.datasets import load_breast_cancer
from unit_cases import SEEDS, samples

import tapcore as tc
from tapcore.units import UNITS, Unit

REAL = pytest.mark.parametrize("kind", ["Gaussian", "GaussBernoulli", "TruncatedGaussian", "TruncatedGaussBernoulli"])
ON_THE_LINE = ("Gaussian", "GaussBernoulli")
# Those whose values may be moved as well as scaled: no atom stays at 0.
MOVABLE = ("Gaussian", "TruncatedGaussian")


def score(unit: Unit, X: np.ndarray) -> np.ndarray:
    """ln of the normalised weight of each entry."""
    return unit.log_weight(X) - unit.moments(0.0, 0.0)[0]


def fit(kind: str, X: np.ndarray, lo: np.ndarray, hi: np.ndarray) -> Unit:
    return UNITS[kind].from_data(X, **({} if kind in ON_THE_LINE else {"lo": lo, "hi": hi}))


def columns(kind: str, rng: np.random.Generator, count: int, n: int) -> np.ndarray:
    """Data of a unit type, zeros where it has an atom."""
    X = samples(kind, count, n, int(rng.integers(2**31)))
    return np.where(X == 0, 0.0, X * rng.uniform(0.5, 1.0, n))


@REAL
@given(seed=SEEDS, log_scale=st.floats(-6, 6), offset=st.floats(-1e4, 1e4))
def test_fits_follow_any_affine_map_of_the_columns(kind: str, seed: int, log_scale: float, offset: float) -> None:
    rng = np.random.default_rng(seed)
    X = columns(kind, rng, 30, 4)
    scale = 10.0 ** (log_scale * rng.choice([-1.0, 1.0], 4))
    spread = np.where(X.std(axis=0) > 0, X.std(axis=0), 1.0)
    move = offset * spread * scale if kind in MOVABLE else np.zeros(4)
    Y = np.where(X == 0, 0.0, X * scale) if kind not in MOVABLE else X * scale + move
    lo, hi = np.zeros(4), np.ones(4)
    ends = move, np.maximum(scale + move, Y.max(axis=0))
    before, after = fit(kind, X, lo, hi), fit(kind, Y, np.minimum(ends[0], Y.min(axis=0)), ends[1])
    # Rounding of data moved so far, in units of their spread, and of ln Z, which holds the square of the distance.
    eps = 1e-15 * (1 + abs(offset)) * 30
    varies = X.std(axis=0) > 1e-9 * spread
    (_, mean, var), (_, mean_after, var_after) = before.moments(0.0, 0.0), after.moments(0.0, 0.0)
    wanted = mean * scale + move
    assert (np.abs(mean_after - wanted) <= (eps + 1e-10) * spread * scale)[varies].all()
    assert_allclose(var_after[varies], (var * scale**2)[varies], rtol=20 * eps + 1e-8)
    density = (X != 0) | (kind in MOVABLE)
    jacobian = np.where(density, np.log(scale), 0.0)
    found, expected = score(after, Y), score(before, X) - jacobian
    assert_allclose(found[:, varies], expected[:, varies], rtol=1e-7, atol=1e-7 + 1e-15 * (10 + offset**2))


def test_maximum_likelihood_of_a_table_on_many_scales() -> None:
    X = load_breast_cancer().data
    best = -0.5 * np.log(2 * np.pi * X.var(axis=0)) - 0.5
    unit = tc.Gaussian.from_data(X)
    assert score(unit, X).sum(axis=1).mean() == pytest.approx(best.sum(), abs=1e-6)
    assert best.sum() == pytest.approx(-2.81, abs=0.01)
    far = np.random.default_rng(0).normal(100, 1, (500, 1))
    assert 1 / tc.Gaussian.from_data(far).V[0] == pytest.approx(far.var(), rel=1e-12)


@pytest.mark.parametrize("kind", ["TruncatedGaussian", "TruncatedGaussBernoulli"])
@pytest.mark.parametrize(("centre", "spread", "width"), [(100.0, 1.0, 1e6), (0.5, 0.05, 1.0), (5e5, 0.1, 1e6)])
def test_wide_intervals_do_not_matter(kind: str, centre: float, spread: float, width: float) -> None:
    x = np.random.default_rng(1).normal(centre, spread, (400, 1))
    if kind == "TruncatedGaussBernoulli":
        x = np.abs(x - centre) + 2 * spread  # a narrow slab far from 0 has no weight rho
    unit = UNITS[kind].from_data(x, lo=0.0, hi=width)
    slab = tc.TruncatedGaussian(1, unit.U, unit.V, 0.0, width)
    _, mean, var = slab.moments(0.0, 0.0)
    assert_allclose(mean, x.mean(axis=0), rtol=1e-12)
    assert_allclose(var, x.var(axis=0), rtol=1e-8)


def test_a_spike_slab_is_fitted_to_what_is_not_zero() -> None:
    rng = np.random.default_rng(2)
    x = np.where(rng.random((1000, 3)) < 0.4, rng.normal([1e5, -2e-5, 0.0], [5e4, 1e-5, 1.0], (1000, 3)), 0.0)
    unit = tc.GaussBernoulli.from_data(x)
    for i in range(3):
        values = x[x[:, i] != 0, i]
        assert unit.U[i] / unit.V[i] == pytest.approx(values.mean(), rel=1e-10, abs=1e-12)
        assert 1 / unit.V[i] == pytest.approx(values.var(), rel=1e-10)
    assert_allclose(unit.nonzero_probability(0.0, 0.0), ((x != 0).sum(axis=0) + 0.5) / 1001, rtol=1e-9)


@pytest.mark.parametrize("kind", ["GaussBernoulli", "TruncatedGaussBernoulli"])
@pytest.mark.parametrize("count", [2, 3])
def test_a_few_values_do_not_narrow_a_slab_to_themselves(kind: str, count: int) -> None:
    x = np.zeros((5000, 2))
    x[:count, 0] = 0.5 + 1e-3 * np.arange(count)
    x[:4000, 1] = np.random.default_rng(0).uniform(0.3, 0.7, 4000)
    unit = UNITS[kind].from_data(x)
    other = np.array([[0.95, 0.5]])
    # What another such sample would score: as narrow as the first ones are, it would be impossible.
    assert (score(unit, other) - np.log((x != 0).mean(axis=0)) > -20).all()


CONSTANTS = (0.0, 1.0, -3.0, 1e-9, 1e9, 0.1)


@REAL
def test_columns_that_do_not_vary_stay_finite_and_leave_the_others_alone(kind: str) -> None:
    rng = np.random.default_rng(3)
    X = columns(kind, rng, 50, 4)
    alone = fit(kind, X, np.zeros(4), np.ones(4))
    values = np.array(CONSTANTS)
    nearly = values * (1 + 1e-13 * rng.normal(size=(50, len(values))))
    for block in (np.tile(values, (50, 1)), nearly):
        both = np.concatenate([X, block], axis=1)
        lo, hi = np.append(np.zeros(4), block.min(axis=0) - 1), np.append(np.ones(4), block.max(axis=0) + 1)
        unit = fit(kind, both, lo, hi)
        for name, p in unit.parameters.items():
            assert np.isfinite(p).all()
            assert_allclose(p[:4], alone.parameters[name], rtol=1e-12)
        log_z, mean, var = unit.moments(0.0, 0.0)
        assert np.isfinite(log_z).all()
        assert (var > 0).all()
        assert np.isfinite(score(unit, both)).all()
        # Where there is no atom the mean is the column's, in units of what the fit spreads.
        if kind in MOVABLE:
            assert (np.abs(mean - both.mean(axis=0)) <= 0.2 * np.sqrt(var))[4:].all()


@pytest.mark.parametrize("kind", ["TruncatedGaussian", "TruncatedGaussBernoulli"])
@pytest.mark.parametrize("count", [100, 10_000])
def test_constants_on_an_interval_are_told_from_what_varies_however_many_rows(kind: str, count: int) -> None:
    """Sums of many rows round; parameters of what these would seem to vary by are beyond 1e20."""
    values = np.random.default_rng(4).uniform(0.05, 0.95, 20)
    unit = UNITS[kind].from_data(np.tile(values, (count, 1)))
    assert (np.abs(unit.V) < 1e3 * count).all()


def test_columns_without_zeros_need_no_room_for_the_atom() -> None:
    x = np.random.default_rng(5).normal(size=(400, 1))
    for X in (x - 30, x + 100, 1e-3 * x + 1e4):
        unit = tc.GaussBernoulli.from_data(X)
        assert 1 / unit.V[0] == pytest.approx(X.var(), rel=1e-9)
        assert score(unit, X).mean() == pytest.approx(-0.5 * np.log(2 * np.pi * X.var()) - 0.5, abs=1e-2)
        tc.RBM(unit, tc.Binary(2), dtype="float32")
    narrow = tc.TruncatedGaussBernoulli.from_data(0.5 + 1e-3 * x)
    assert 1 / narrow.V[0] == pytest.approx(1e-6 * x.var(), rel=1e-6)


@pytest.mark.parametrize("kind", ["Gaussian", "GaussBernoulli"])
def test_values_whose_squares_overflow_are_refused(kind: str) -> None:
    X = np.random.default_rng(6).normal(size=(20, 2)) * [1.0, 1e160]
    with pytest.raises(ValueError, match=r"^X must have columns whose squares are finite: those of X\[:, 1\]"):
        UNITS[kind].from_data(X)


@REAL
def test_one_sample_and_columns_all_of_one_value(kind: str) -> None:
    for X in (np.array([[0.0, 1.0, 0.25]]), np.zeros((5, 3)), np.ones((5, 3))):
        unit = fit(kind, X, np.zeros(3), np.ones(3))
        assert np.isfinite(score(unit, X)).all()


@pytest.mark.parametrize("count", [5, 500, 50_000])
def test_values_at_the_ends_only_stay_finite(count: int) -> None:
    x = np.repeat([[0.0], [1.0]], [3, count], axis=0)
    unit = tc.TruncatedGaussian.from_data(x)
    _, mean, var = unit.moments(0.0, 0.0)
    # One sample more, with the moments of an even spread.
    wanted = (count + 0.5) / (count + 4)
    assert mean[0] == pytest.approx(wanted, rel=1e-9)
    assert var[0] == pytest.approx((count + 1 / 3) / (count + 4) - wanted**2, rel=1e-6)


def test_a_slab_whose_weight_no_number_holds_is_refused_by_name() -> None:
    x = np.array([[0.0, 1.0], [1e-30, 2.0], [-2e-30, 0.0], [1.5e-30, 1.0]])
    with pytest.raises(ValueError, match=r"X must have columns of moderate size.*X\[:, 0\].*rescale"):
        tc.GaussBernoulli.from_data(x)


@pytest.mark.nojit
@pytest.mark.parametrize("mean", [0.01, 0.3, 0.9])
@pytest.mark.parametrize("var", [1e-12, 1e-3, 0.3, 0.9])
def test_parameters_of_given_moments(mean: float, var: float) -> None:
    """Against quadrature with 40 digits; `var` is a share of what the mean allows."""
    from tapcore.units.shared.fitting import fit_distances

    wanted = var * mean * (2 - mean)
    slope, p = (float(x[0]) for x in fit_distances(np.array([mean]), np.array([wanted])))
    with mpmath.workdps(40):
        s, q = mpmath.mpf(slope), mpmath.mpf(p)
        around = (mean + k * mpmath.sqrt(wanted) for k in range(-12, 13))
        points = sorted({0, 2, *(max(0, min(2, t)) for t in around)})
        top = max(-s * t - q * t * t / 2 for t in points)
        total, first = (
            mpmath.quad(lambda t, k=k: t**k * mpmath.exp(-s * t - q * t * t / 2 - top), points) for k in range(2)
        )
        about = first / total
        second = mpmath.quad(lambda t: (t - about) ** 2 * mpmath.exp(-s * t - q * t * t / 2 - top), points) / total
    assert float(about) == pytest.approx(mean, rel=1e-9)
    assert float(second) == pytest.approx(wanted, rel=1e-7)
