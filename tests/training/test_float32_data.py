"""What a float64 layer holds, the float32 layer made of it holds too: ends are rounded, and so are data."""

from dataclasses import replace
from functools import partial

import numpy as np
import pytest
from cases import fit_as_paper
from hypothesis import given, settings
from hypothesis import strategies as st

import tapcore as tc
from tapcore._base import checks

KINDS = {"TruncatedGaussian": tc.TruncatedGaussian, "TruncatedGaussBernoulli": tc.TruncatedGaussBernoulli}
N = 12


def case(kind, seed):
    """A float32 machine whose ends float32 cannot hold, float64 data with every end among them, the float64 machine."""
    rng = np.random.default_rng(seed)
    lo = rng.normal(size=N)
    hi = lo + rng.uniform(0.1, 2, N)
    X = lo + rng.random((40, N)) * (hi - lo)
    X[:2] = lo, hi
    if kind == "TruncatedGaussBernoulli":
        X[rng.random(X.shape) < 0.2] = 0.0
        X[:2] = lo, hi
    visible = KINDS[kind](N, lo=lo, hi=hi)
    assert (visible.lo.astype(np.float32) > lo).any()
    assert (visible.hi.astype(np.float32) < hi).any()
    wide = tc.RBM(visible, tc.Spin(3), sigma=0.1, seed=seed)
    return wide.replace(dtype="float32"), X, wide


USES = {
    "fit": lambda m, X, w: fit_as_paper(m, X, epochs=1, batch_size=10, chains=4, progress=False).history.log_likelihood,
    "solve": lambda m, X, w: tc.solve(m, X).free_energy,
    "solve rbp": lambda m, X, w: tc.solve(m, X[:2], method="rbp").free_energy,
    "solve adatap": lambda m, X, w: tc.solve(m, X[:2], method="adatap").free_energy,
    "harvest": lambda m, X, w: tc.harvest(m, X).free_energy,
    "log_likelihood": lambda m, X, w: tc.log_likelihood(m, X, 0.0),
    "exact": lambda m, X, w: tc.exact.log_likelihood(m.replace(layers=(m.layers[0], tc.Spin(3))), X),
    "gradient": lambda m, X, w: tc.gradient(m, X, tc.solve(m, X)).weights[0],
    "sample": lambda m, X, w: tc.sample(m, len(X), init=X, sweeps=2, progress=False),
    "GibbsSampler": lambda m, X, w: tc.GibbsSampler(m, len(X), init=X).layers[0],
    "ReplicaExchange": lambda m, X, w: tc.ReplicaExchange(m, len(X), 3, init=X).layers[0],
    "noisy_starts": lambda m, X, w: tc.solve(m, next(tc.noisy_starts(m, X, 0.1))).free_energy,
    "Erasure": lambda m, X, w: tc.denoise(m, X, tc.Erasure(np.arange(N) % 3 == 0)),
    "GaussianNoise": lambda m, X, w: tc.denoise(m, X, tc.GaussianNoise(0.1)),
    "prior": lambda m, X, w: tc.denoise(m, X, tc.GaussianNoise(0.1), prior=m.layers[0].fitted(X)),
    "pointwise": lambda m, X, w: tc.pointwise(m.layers[0], X, tc.Erasure(np.arange(N) % 3 == 0)),
    "Clamped": lambda m, X, w: tc.solve(m, X, fields=tc.Clamped(X)).free_energy,
    "log_weight": lambda m, X, w: m.layers[0].log_weight(X),
    "fitted": lambda m, X, w: m.layers[0].fitted(X).astype(m.dtype).log_weight(X),
    "Tracker": lambda m, X, w: tc.Tracker(X, starts=None).follow(m, 0).lowest,
    "means": lambda m, X, w: tc.solve(m, tc.solve(w, X).mean[0]).free_energy,
    "solutions": lambda m, X, w: tc.solve(m, tc.solve(w, X)).free_energy,
    "harvest solutions": lambda m, X, w: tc.harvest(m, tc.solve(w, X)).free_energy,
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("use", USES)
def test_a_float32_machine_takes_the_data_of_its_units(use, kind):
    for seed in range(3):
        machine, X, wide = case(kind, seed)
        with np.errstate(all="raise", under="ignore"):
            assert np.isfinite(USES[use](machine, X, wide)).all()


@given(st.sampled_from(sorted(KINDS)), st.integers(0, 10**6), st.floats(-1e4, 1e4), st.floats(1e-2, 1e4))
@settings(max_examples=60, deadline=None)
def test_rounded_data_stay_in_the_support(kind, seed, shift, scale):
    rng = np.random.default_rng(seed)
    lo = shift + scale * rng.normal(size=N)
    hi = lo + scale * rng.uniform(0.5, 2, N)
    machine = tc.RBM(KINDS[kind](N, lo=lo, hi=hi), tc.Spin(2), sigma=0, dtype="float32")
    X = np.clip(lo + rng.uniform(-0.5, 1.5, (20, N)) * (hi - lo), lo, hi)
    machine.layers[0].check_data("X", X)
    machine.layers[0].check_means("X", X)
    assert np.isfinite(machine.layers[0].log_weight(X)).all()
    assert np.isfinite(tc.log_likelihood(machine, X, 0.0)).all()


@pytest.mark.parametrize("hidden", [tc.Spin(8), tc.Gaussian(8)])
def test_the_recipe_for_data_less_their_means(hidden):
    X = np.random.default_rng(0).beta(0.3, 0.3, (60, N)).round(2)
    mean = X.mean(axis=0)
    visible = tc.TruncatedGaussian.from_data(X - mean, lo=-mean, hi=1 - mean)
    machine = tc.RBM(visible, hidden, dtype="float32")
    result = fit_as_paper(machine, X - mean, epochs=1, batch_size=20, chains=5, progress=False)
    assert np.isfinite(result.history.log_likelihood).all()
    assert np.isfinite(tc.log_likelihood(result.machine, X - mean, 0.0)).all()


def test_an_untouched_layer_is_fitted_to_rounded_data_without_copying_them():
    machine, X, _ = case("TruncatedGaussBernoulli", 0)
    X[0, 0] = 1e-60  # 0 in float32
    fitted = machine.layers[0].fitted(X)
    assert fitted == machine.layers[0].fitted(X.astype(np.float32))
    assert np.shares_memory(checks.rounded_rows(X, np.float32), X)


def test_log_likelihood_is_that_of_rounded_data():
    machine, X, _ = case("TruncatedGaussian", 1)
    assert (tc.log_likelihood(machine, X, 0.0) == tc.log_likelihood(machine, X.astype(np.float32), 0.0)).all()


def test_marginals_at_the_ends():
    machine, X, _ = case("TruncatedGaussian", 1)
    density = tc.exact.marginals(machine, 0, X[1])
    assert (np.diag(density) > 0).all()


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_further_out_is_refused(kind):
    machine, X, _ = case(kind, 2)
    X[3, 4] = X[1, 4] + 1e-5
    with pytest.raises(ValueError, match=r"^X must be .* in float32 for a .*: X\[3, 4\] is "):
        tc.log_likelihood(machine, X, 0.0)
    with pytest.raises(ValueError, match=r"^init must lie in .* in float32: init\[3, 4\] is "):
        tc.solve(machine, X)


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize(
    "use",
    [
        partial(tc.log_likelihood, free_energy=0.0),
        partial(tc.fit, epochs=1, progress=False),
        tc.solve,
        tc.harvest,
        lambda m, X: tc.sample(m, len(X), init=X, progress=False),
        lambda m, X: tc.denoise(m, X, tc.GaussianNoise(0.1)),
        lambda m, X: tc.denoise(m, X, tc.Erasure(np.arange(2) == 0)),
        lambda m, X: tc.solve(m, X[:, :2] * 0, fields=tc.Clamped(X)),
        lambda m, X: tc.solve(m, X[:, :2] * 0, fields=((X, 1.0), None)),
        lambda m, X: tc.solve(m, replace(tc.solve(m, 0 * X), mean=(X, 0 * X))),
        lambda m, X: tc.harvest(m, replace(tc.solve(m, 0 * X), var=(X, 0 * X))),
    ],
)
def test_what_float32_cannot_hold_is_refused_without_warning(use):
    machine = tc.RBM(tc.Gaussian(2), tc.Spin(2), sigma=0.0, dtype="float32")
    X = np.array([[0.0, 1.0], [0.0, 1e300]])
    with pytest.raises(ValueError, match=r"float32"):
        use(machine, X)


@pytest.mark.filterwarnings("error")
def test_parameters_that_rounding_makes_wrong_are_refused():
    wide = tc.TruncatedGaussian(2, lo=1.0, hi=[2.0, 1.0 + 1e-12])
    with pytest.raises(ValueError, match=r"^layers\[0\] in float32: lo must be below hi: lo\[1\] is 1\.0, hi\[1\] is "):
        tc.RBM(wide, tc.Spin(2), dtype="float32")
    with pytest.raises(ValueError, match=r"^layers\[1\] in float32: V must be positive: V\[0\] is 0\.0"):
        tc.RBM(tc.Spin(2), tc.Gaussian(2, V=1e-60), dtype="float32")
