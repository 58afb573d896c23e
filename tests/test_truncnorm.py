"""Moments of truncated Gaussians against certified values, in every regime and at every seam, and their faces."""

from __future__ import annotations

import numba
import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from truncnorm_cases import ARGUMENTS, anywhere, errors, exact, exactly, from_shape, log_uniform, moments, table

import tapcore as tc
from tapcore._jit import JIT_DISABLED
from tapcore.special import truncnorm
from tapcore.special._one_ended import falling, far_tail, in_far_tail, rising

CERTIFIED = table("truncnorm.csv")
POINTS = [CERTIFIED[name] for name in ARGUMENTS]
RESULTS = [CERTIFIED[name] for name in ("lnZ", "mean", "var")]
compiled_only = pytest.mark.skipif(JIT_DISABLED, reason="is about compiled code")


@numba.njit
def one_by_one(s, b, lo, hi):
    out = np.empty((3, s.size))
    for i in range(s.size):
        out[0, i], out[1, i], out[2, i] = truncnorm.moments(s[i], b[i], lo[i], hi[i])
    return out


# Certified values


@pytest.mark.nojit
def test_certified_points_in_a_batch() -> None:
    pick = slice(None, None, 40) if JIT_DISABLED else slice(None)
    found = moments(*(x[pick] for x in POINTS))
    # A point's results are within a few rounding errors: 1e-13 would do.
    assert errors(found, [x[pick] for x in RESULTS], (POINTS[3] - POINTS[2])[pick]).max() < 4e-15


@pytest.mark.nojit
def test_certified_points_one_by_one() -> None:
    pick = slice(7, None, 40) if JIT_DISABLED else slice(None)
    found = one_by_one(*(x[pick] for x in POINTS))
    assert errors(found, [x[pick] for x in RESULTS], (POINTS[3] - POINTS[2])[pick]).max() < 4e-15


def test_the_generator_remakes_the_tables() -> None:
    for name, remake in exact.FILES.items():
        for row in exact.read(name)[::60]:
            with exact.mp.workdps(exact.ARGUMENT_DIGITS):
                results = {key: x for key, x in remake(row).items() if abs(float(row[key])) > 1e-60}
                assert exact.difference(row, results) <= 1.001


@pytest.mark.nojit
def test_certified_spike_slab_points() -> None:
    g = {k: x[:: 25 if JIT_DISABLED else 1] for k, x in table("truncated_gauss_bernoulli.csv").items()}
    n = len(g["rho"])
    unit = tc.TruncatedGaussBernoulli(n, **{name: g[name] for name in ("rho", "U", "V", "lo", "hi")})
    log_z, mean, var = unit.moments(g["B"], g["A"])
    prior = unit.moments(0.0, 0.0)[0]
    tol = 5e-15 * (1 + np.abs(g["lnZ"]) + np.abs(g["lnZprior"]))
    assert np.all(np.abs(log_z - prior - g["lnZ"]) < tol)
    assert np.all(np.abs(prior - g["lnZprior"]) < tol)
    assert_allclose(mean, g["fa"], rtol=5e-14)
    assert_allclose(var, g["fc"], rtol=5e-14)
    assert_allclose(unit.nonzero_probability(g["B"], g["A"]), g["pnz"], rtol=1e-13)


def test_random_points_against_mpmath() -> None:
    arguments = anywhere(1, 150)
    assert errors(moments(*arguments), exactly(*arguments), arguments[3] - arguments[2]).max() < 5e-15


# Seams: of the rules, of q, of the mode's entry, of the sign of s, of the far tail

SIZES = (1, 4, 10, 16, 23, 32, 43)


def seams() -> list[tuple[float, float]]:
    """(p, q) on every seam."""
    shares = (0.0, 0.15, 0.5, 0.85, 1.0)
    found = [(sign * share * size, (1 - share) * size) for size in SIZES for share in shares for sign in (-1, 1)]
    found += [(p, 22.0) for p in (-1e4, -30.0, -20.9, -5.0, -1e-3, 1e-3, 5.0, 30.0)]
    found += [(p, 25.0) for p in (1e-3, 0.5, 1.4)]
    found += [(p, p) for p in (0.3, 2.0, 4.9, 8.0, 40.0, 1e4)]  # the mode enters at the end
    found += [(0.0, q) for q in (0.0, 0.5, 5.0, 9.9, 30.0, 1e5)]
    # The series of the far tail begins at (q - p)^2 = 420 |p|.
    found += [(p, p + np.sqrt(420 * abs(p))) for p in (-50.0, -3.0, -1.5, 1.5, 3.0, 50.0)]
    return found


@pytest.mark.parametrize(("lo", "hi"), [(-1.0, 1.0), (0.0, 1.0), (3.0, 3.5), (-1e5, 2e4)])
def test_nothing_jumps_at_a_seam(lo: float, hi: float) -> None:
    p, q = np.array(seams()).T
    steps = np.array([-4e-16, -2e-16, 0.0, 2e-16, 4e-16])
    args = from_shape(p[:, None] * (1 + steps) + steps * (p == 0)[:, None], q[:, None] * (1 + steps[::-1]), lo, hi)
    found, expected = moments(*(x.ravel() for x in args)), exactly(*(x.ravel() for x in args))
    assert errors(found, expected, hi - lo).max() < 5e-15


def test_one_ended_pieces_against_mpmath() -> None:
    rng = np.random.default_rng(0)
    for s in np.exp(rng.uniform(-9, 9, 60)):
        for g in (0.0, np.sqrt(s) * 10 ** rng.uniform(-3, 4)):
            log_mass, mean, var = (float(x) for x in exact.moments(s, -g, 0.0, np.inf))
            assert_allclose(falling(s, g), (np.exp(log_mass), mean, var), rtol=2e-15 + 1e-16 * abs(log_mass))
            if in_far_tail(s, g):
                assert_allclose(far_tail(s, g), falling(s, g), rtol=3e-15)
        g = np.sqrt(s) * np.sqrt(42 * 10 ** rng.uniform(0, 4))
        log_mass, mean, var = (float(x) for x in exact.moments(-s, -g, 0.0, g / s))
        assert_allclose(rising(-s, g), (np.exp(log_mass), mean, var), rtol=2e-15 + 1e-16 * abs(log_mass))


# Infinite ends, and what cannot be


@pytest.mark.nojit
def test_infinite_ends() -> None:
    inf = np.inf
    s, b = np.array([2.0, 0.3, 50.0, 4.0]), np.array([1.0, -7.0, 30.0, 0.0])
    assert_allclose(moments(s, b, -inf, inf), [np.log(2 * np.pi / s) / 2 + b * b / (2 * s), b / s, 1 / s], rtol=4e-16)
    arguments = np.broadcast_arrays(s, b, [-1.0, 3.0, 0.5, -2.0], inf)
    assert errors(moments(*arguments), exactly(*arguments), inf).max() < 4e-15
    mirrored = moments(s, -b, -inf, -arguments[2])
    assert_array_equal(mirrored * [[1], [-1], [1]], moments(*arguments))
    assert_allclose(moments(0.0, -4.0, 1.0, inf), [-4 - np.log(4), 1.25, 1 / 16], rtol=1e-15)


@pytest.mark.nojit
@pytest.mark.parametrize(
    ("s", "b", "lo", "hi"),
    [
        (-1.0, 0.0, -np.inf, np.inf), (0.0, 0.0, -np.inf, np.inf), (0.0, 1.0, 0.0, np.inf), (-1e-9, -5.0, 0.0, np.inf),
        (0.0, -1.0, -np.inf, 0.0), (0.0, 0.0, 2.0, np.inf), (np.nan, 0.0, 0.0, 1.0), (1.0, np.nan, 0.0, 1.0),
        (np.inf, 0.0, 0.0, 1.0), (1.0, -np.inf, 0.0, 1.0), (np.nan, 0.0, -np.inf, np.inf),
    ],
)  # fmt: skip
def test_what_cannot_be_normalised_is_nan(s: float, b: float, lo: float, hi: float) -> None:
    assert np.isnan(moments(s, b, lo, hi)).all()
    neighbours = moments([s, 1.0], [b, 0.5], [lo, 0.0], [hi, 1.0])
    assert np.isnan(neighbours[:, 0]).all()
    assert_array_equal(neighbours[:, 1], moments(1.0, 0.5, 0.0, 1.0))


def test_ends_that_enclose_nothing_are_refused() -> None:
    for function in (truncnorm.moments, lambda *a: truncnorm.sample(*a, np.random.default_rng(0))):
        with pytest.raises(ValueError, match=r"lo must be below hi, got 1.0 and 1.0 at index \(2,\)"):
            function(1.0, 0.0, [0.0, 0.5, 1.0], 1.0)
        with pytest.raises(ValueError, match=r"lo must be below hi, got 0.0 and nan"):
            function(1.0, 0.0, 0.0, np.nan)
    with pytest.raises(ValueError, match="must broadcast together"):
        truncnorm.moments(np.ones(3), np.ones(2), 0.0, 1.0)
    with pytest.raises(ValueError, match="b must hold real numbers"):
        truncnorm.moments(1.0, "x", 0.0, 1.0)
    with pytest.raises(TypeError, match=r"rng must be a numpy.random.Generator, got int"):
        truncnorm.sample(1.0, 0.0, 0.0, 1.0, 3)  # type: ignore[arg-type]


# Faces


@compiled_only
@pytest.mark.parametrize("count", [0, 1, 7, 511, 512, 513, 2000])
def test_a_batch_of_any_size_agrees_with_single_points(count: int) -> None:
    pick = np.random.default_rng(count).permutation(2000)[:count]
    batch, single = moments(*(x[pick] for x in POINTS)), one_by_one(*(x[pick] for x in POINTS))
    if count:
        assert errors(batch, single, (POINTS[3] - POINTS[2])[pick]).max() < 8e-15


def test_a_point_does_not_depend_on_its_neighbours() -> None:
    order = np.random.default_rng(0).permutation(2000)
    whole = moments(*POINTS)
    assert_array_equal(moments(*(x[order] for x in POINTS)), whole[:, order])
    assert_array_equal(np.array([moments(*(x[i] for x in POINTS)) for i in range(0, 2000, 97)]).T, whole[:, ::97])


@pytest.mark.nojit
def test_broadcasting_scalars_and_dtypes() -> None:
    grid = truncnorm.moments(np.linspace(-5, 5, 3)[:, None], [1, 2], 0, 1)
    assert all(x.shape == (3, 2) and x.dtype == np.float64 for x in grid)
    assert all(isinstance(x, np.float64) for x in truncnorm.moments(1, 2, 0, 1))
    single = truncnorm.moments(np.float32([-5, 0.1, 5]), np.float32(1.5), 0.0, 1.0)
    double = truncnorm.moments(np.float64(np.float32([-5, 0.1, 5])), 1.5, 0.0, 1.0)
    for x, y in zip(single, double, strict=True):
        assert x.dtype == np.float32
        assert_array_equal(x, y.astype(np.float32))


@pytest.mark.nojit
def test_out() -> None:
    out = tuple(np.empty(3) for _ in range(3))
    assert truncnorm.moments([1.0, -2.0, 0.0], 0.5, 0.0, 1.0, out=out) is out
    assert_array_equal(out, moments([1.0, -2.0, 0.0], 0.5, 0.0, 1.0))
    with pytest.raises(ValueError, match=r"out must hold arrays of shape \(2,\), got \(3,\)"):
        truncnorm.moments([1.0, 2.0], 0.0, 0.0, 1.0, out=out)
    with pytest.raises(TypeError, match="out must hold float64 arrays, got float32"):
        truncnorm.moments(1.0, 0.0, 0.0, 1.0, out=tuple(np.empty((), np.float32) for _ in range(3)))
    with pytest.raises(TypeError, match="out must be a tuple of three arrays"):
        truncnorm.moments(1.0, 0.0, 0.0, 1.0, out=np.empty(3))  # type: ignore[arg-type]


@compiled_only
def test_float32_layers_agree_with_float64_ones() -> None:
    """Their moments are computed in float64 from float32 arguments, and rounded."""
    rng = np.random.default_rng(2)
    U, V = log_uniform(rng, 1e-2, 100, 400).astype(np.float32), log_uniform(rng, 1e-2, 100, 400).astype(np.float32)
    layer = tc.TruncatedGaussian(400, U=U, V=V)
    B, A = rng.normal(0, 30, (5, 400)).astype(np.float32), rng.normal(0, 30, (5, 400)).astype(np.float32)
    for single, double in zip(layer.astype(np.float32).moments(B, A), layer.moments(B, A), strict=True):
        assert_allclose(single, double, rtol=2e-6)
