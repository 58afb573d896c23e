"""Moments of truncated Gaussians against certified values in every regime, and their faces."""

from __future__ import annotations

from pathlib import Path

import numba
import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from truncnorm_cases import ARGUMENTS, anywhere, errors, exact, exactly, log_uniform, moments, table

import tapcore as tc
from tapcore._base.intrinsics import JIT_DISABLED
from tapcore.special import truncnorm
from tapcore.special.one_ended import falling, far_tail, in_far_tail, rising

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
                assert not exact.wrong(row, remake(row)), row


def test_the_generator_finds_and_mends_what_is_wrong(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in exact.FILES:
        lines = (exact.HERE / name).read_text(encoding="utf-8").splitlines(keepends=True)
        (tmp_path / name).write_text("".join(lines[:4]), encoding="utf-8")
    monkeypatch.setattr(exact, "HERE", tmp_path)
    assert exact.main(["--check"]) == 0
    path = tmp_path / "truncnorm.csv"
    right = path.read_text(encoding="utf-8")
    path.write_text(right.replace("8724321.371277396", "8724321.371277398"), encoding="utf-8")
    assert exact.main(["--check"]) == 1
    assert exact.main([]) == 0
    assert path.read_text(encoding="utf-8") == right


@pytest.mark.slow
def test_the_generator_remakes_every_row() -> None:
    assert exact.main(["--check"]) == 0


def test_the_generator_agrees_with_closed_forms() -> None:
    """Differences of erf and erfi with 200 digits: another way than its quadrature."""
    mp = exact.mp
    for s, b, lo, hi in [
        (3.0, 1.0, -1.0, 2.0),
        (40.0, 90.0, -1.0, 2.0),
        (-3.0, 1.0, -1.0, 2.0),
        (-90.0, -40.0, 0, 1.0),
    ]:
        with mp.workdps(200):
            root, middle, sign = mp.sqrt(abs(mp.mpf(s)) / 2), mp.mpf(b) / s, 1 if s > 0 else -1
            near, far = root * (lo - middle), root * (hi - middle)
            mass = (mp.erf if s > 0 else mp.erfi)(far) - (mp.erf if s > 0 else mp.erfi)(near)
            e_near, e_far = mp.exp(-sign * near**2), mp.exp(-sign * far**2)
            shift = sign * (e_near - e_far) / (mp.sqrt(mp.pi) * root * mass)
            spread = 2 * (near * e_near - far * e_far) / (s * mp.sqrt(mp.pi) * mass)
            log_z = mp.log(mp.sqrt(mp.pi) / (2 * root) * mass) + mp.mpf(b) ** 2 / (2 * s)
            expected = log_z, middle + shift, mp.mpf(1) / s - shift**2 + spread
            for found, value in zip(exact.moments(s, b, lo, hi), expected, strict=True):
                assert abs(found - value) < 1e-28 * (abs(value) + 1)


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
        with pytest.raises(ValueError, match=r"numbers with lo < hi, got 1.0 and 1.0 at index \(2,\)"):
            function(1.0, 0.0, [0.0, 0.5, 1.0], 1.0)
        with pytest.raises(ValueError, match=r"lo and hi must be numbers with lo < hi, got 0.0 and nan"):
            function(1.0, 0.0, 0.0, np.nan)
    with pytest.raises(ValueError, match=r"must broadcast together, got shapes s \(3,\), b \(2,\)"):
        truncnorm.moments(np.ones(3), np.ones(2), 0.0, 1.0)
    with pytest.raises(ValueError, match="b must hold real numbers"):
        truncnorm.moments(1.0, "x", 0.0, 1.0)
    with pytest.raises(ValueError, match=r"rng must be a numpy.random.Generator such as default_rng\(seed\), got 3"):
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


@compiled_only
def test_float32_results_are_float64_ones_rounded() -> None:
    single = [x.astype(np.float32) for x in POINTS]
    single = [x[single[2] < single[3]] for x in single]
    double = truncnorm.moments(*(x.astype(np.float64) for x in single))
    with np.errstate(over="ignore", under="ignore"):
        for x, y in zip(truncnorm.moments(*single), double, strict=True):
            assert x.dtype == np.float32
            assert_array_equal(x, y.astype(np.float32))


@pytest.mark.nojit
def test_integers_lists_and_empty_arrays() -> None:
    expected = moments(1.0, 2.0, 0.0, 1.0)
    for one in (1, np.int8(1), np.float16(1), True, np.array(1, ">f8")):
        assert_array_equal(np.array(truncnorm.moments(one, 2, 0, 1)), expected)
    assert_array_equal(np.array(truncnorm.moments([1, 1], (2, 2), [0], 1))[:, 1], expected)
    assert all(x.shape == (0, 2) for x in truncnorm.moments(np.ones((0, 1)), [1.0, 2.0], 0.0, 1.0))
    assert truncnorm.moments(np.float32(1), 2.0, 0.0, 1.0)[0].dtype == np.float32
    assert truncnorm.moments(np.float32(1), np.float64(2), 0.0, 1.0)[0].dtype == np.float64


@compiled_only
def test_integers_in_compiled_code() -> None:
    @numba.njit
    def call():  # type: ignore[no-untyped-def]
        return truncnorm.moments(1, 2, 0, 1)

    assert_allclose(call(), moments(1.0, 2.0, 0.0, 1.0), rtol=1e-15)


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


@pytest.mark.nojit
def test_what_cannot_be_written_is_refused_before_anything_is() -> None:
    first, last = np.zeros(2), np.zeros(2)
    locked = np.zeros(2)
    locked.flags.writeable = False
    with pytest.raises(ValueError, match="written to"):
        truncnorm.moments([1.0, 2.0], 0.0, 0.0, 1.0, out=(first, locked, last))
    with pytest.raises(ValueError, match="apart"):
        truncnorm.moments([1.0, 2.0], 0.0, 0.0, 1.0, out=(first, last, first))
    with pytest.raises(ValueError, match="shape"):
        truncnorm.moments([1.0, 2.0], 0.0, 0.0, 1.0, out=(first, last, np.zeros(3)))
    assert not first.any()
    assert not last.any()
