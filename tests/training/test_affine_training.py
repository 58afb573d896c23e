"""Real-valued data train alike whatever their scale and offset, column by column, those that do not vary included."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cases import fit_as_paper
from hypothesis import example, given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal
from unit_cases import PLAIN as UNITS
from unit_cases import SEEDS, samples

import tapcore as tc

# Those whose values may be moved as well as scaled: no atom stays at 0.
MOVABLE = ("Gaussian", "TruncatedGaussian")
REAL = ("Gaussian", "GaussBernoulli", "TruncatedGaussian", "TruncatedGaussBernoulli")
OPTIONS: dict[str, Any] = {
    "epochs": 3, "batch_size": 10, "chains": 10, "learning_rate": 0.05, "sweeps": 3, "center": True,
}  # fmt: skip


def visible(kind: str, X: np.ndarray, lo: np.ndarray, hi: np.ndarray, fitted: bool) -> tc.units.Unit:
    ends = {"lo": lo, "hi": hi} if "lo" in UNITS[kind].fixed else {}
    return UNITS[kind].from_data(X, **ends) if fitted else UNITS[kind](X.shape[1], **ends)


def data(kind: str, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Two pairs of correlated columns, one nearly constant and one constant; and how far each spreads."""
    X = samples(kind, 60, 6, seed)
    X[::2, 1] = X[::2, 0]
    X[1::2, 3] = X[1::2, 2]
    if kind in MOVABLE:
        X[:, 4] = 0.5 + 1e-4 * (X[:, 4] - X[:, 4].mean())
        X[:, 5] = 0.25
    spread = X.std(axis=0)
    spread[5] = 1.0
    return X, np.where(spread > 0, spread, 1.0)


@pytest.mark.parametrize("kind", REAL)
@settings(max_examples=12)
@given(
    seed=SEEDS, log_scale=st.floats(-6, 6), offset=st.floats(-1e4, 1e4), fitted=st.booleans(),
    gradient=st.sampled_from(["tap", "nmf", "pcd"]), center=st.sampled_from([None, True]),
)  # fmt: skip
@example(seed=1, log_scale=6.0, offset=1e4, fitted=True, gradient="tap", center=None)
@example(seed=2, log_scale=-6.0, offset=-1e4, fitted=False, gradient="tap", center=True)
def test_fits_follow_any_affine_map_of_the_columns(
    kind: str, seed: int, log_scale: float, offset: float, fitted: bool, gradient: str, center: bool | None
) -> None:
    X, spread = data(kind, seed)
    rng = np.random.default_rng(seed)
    scale = 10.0 ** (log_scale * rng.uniform(-1.0, 1.0, 6))
    shift = offset * spread * scale if kind in MOVABLE else np.zeros(6)
    Y = X * scale + shift
    lo, hi = np.zeros(6) + shift, scale + shift
    if kind in MOVABLE:  # rounding
        lo, hi = np.minimum(lo, Y.min(axis=0)), np.maximum(hi, Y.max(axis=0))
    results = []
    for Z, ends in ((X, (np.zeros(6), np.ones(6))), (Y, (lo, hi))):
        machine = tc.RBM(visible(kind, Z, *ends, fitted), tc.Binary(3), seed=seed, sigma=0.1)
        results.append(fit_as_paper(machine, Z, gradient=gradient, **OPTIONS | {"center": center}))
    before, after = results
    assert after.history.lost.sum() == 0
    # Data moved so far have lost as many digits, and training makes more of such differences.
    eps = 1e-15 * (10 + abs(offset)) * 1e4
    fields = [Z @ r.machine.weights[0] + r.machine.layers[1].U for Z, r in zip((X, Y), results, strict=True)]
    assert_allclose(fields[1], fields[0], atol=eps, rtol=eps)
    own = scale.copy()
    if kind == "Gaussian":  # a column that does not vary has no scale: it takes that of the others
        own[5] = np.sqrt(tc.Gaussian.from_data(X).V[5] / tc.Gaussian.from_data(Y).V[5])
    jacobian = (np.where((X != 0) | (kind in MOVABLE), np.log(own), 0.0)).sum(axis=1).mean()
    for name in ("log_likelihood", "free_energy"):
        assert np.isfinite(after.history[name]).all()
    gap = after.history.log_likelihood - before.history.log_likelihood
    assert_allclose(gap, -jacobian / 9, atol=eps + 1e-14 * offset**2, rtol=1e-9)


@pytest.mark.parametrize("kind", REAL)
def test_records_are_of_the_machine_in_the_data_s_own_coordinates(kind: str) -> None:
    X, _ = data(kind, 5)
    Y = X * 30.0 + (7.0 if kind in MOVABLE else 0.0)
    machine = tc.RBM(visible(kind, Y, np.full(6, Y.min()), np.full(6, Y.max()), True), tc.Binary(3), seed=0)
    machine, history = fit_as_paper(machine, Y, **OPTIONS)
    solutions = tc.solve(machine, Y[:10], tol=1e-10)
    assert history[-1].free_energy == pytest.approx(solutions.free_energy.mean(), rel=1e-6)
    scores = tc.log_likelihood(machine, Y, solutions.free_energy)
    assert history[-1].log_likelihood == pytest.approx(scores.mean() / 9, rel=1e-6)


@pytest.mark.parametrize(
    "X",
    [
        np.c_[np.random.default_rng(0).normal(size=(2000, 8)), np.ones(2000)],
        np.random.default_rng(1).integers(0, 256, (600, 12)).astype(float),
        np.random.default_rng(2).normal(10.0, 1.0, (600, 6)),
        np.random.default_rng(3).normal(1e6, 1e-3, (600, 6)),
    ],
    ids=["a constant column", "pixels", "far from 0", "very far from 0"],
)
@pytest.mark.parametrize("fitted", [True, False])
def test_tables_as_they_come_lose_no_chain(X: np.ndarray, fitted: bool) -> None:
    layer = tc.Gaussian.from_data(X) if fitted else tc.Gaussian(X.shape[1])
    _, history = fit_as_paper(tc.RBM(layer, tc.Binary(8), seed=0), X, epochs=3, center=True)
    assert history.lost.sum() == 0
    assert (np.diff(history.log_likelihood) > -1e-4).all()


@pytest.mark.parametrize("kind", REAL)
@pytest.mark.parametrize("layers", [1, 2])
def test_interrupted_runs_resume_to_the_bit_in_these_coordinates_too(kind: str, layers: int, tmp_path: Path) -> None:
    X, _ = data(kind, 6)
    Y = X * 30.0
    hidden = [tc.Binary(3), tc.Binary(2)][:layers]
    make = tc.RBM if layers == 1 else tc.DBM
    machine = make(visible(kind, Y, np.zeros(6), np.full(6, Y.max()), False), *hidden, seed=0)
    options = OPTIONS | {"chain_init": "persistent"} | ({"pretrain": 2} if layers == 2 else {})
    whole = fit_as_paper(machine, Y, **options)
    calls = []

    def stop(now: tc.Machine, record: object) -> None:
        calls.append(now)
        raise KeyboardInterrupt

    for _ in range(2):
        with pytest.raises(KeyboardInterrupt):
            fit_as_paper(machine, Y, checkpoint=tmp_path, resume=True, callbacks=[stop], **options)
        assert tc.load(tmp_path) == calls[-1]
    rest = fit_as_paper(machine, Y, checkpoint=tmp_path, resume=True, **options)
    assert rest.machine == whole.machine
    assert_array_equal(rest.history.log_likelihood, whole.history.log_likelihood)
    assert_array_equal(rest.history.free_energy, whole.history.free_energy)
    assert rest.machine.layers[0].check_data("Y", Y) is None


def test_a_run_to_the_letter_is_not_resumed_in_other_coordinates(tmp_path: Path) -> None:
    X = np.random.default_rng(4).normal(3.0, 2.0, (60, 4))
    machine = tc.RBM(tc.Gaussian.from_data(X), tc.Binary(3), seed=0)
    fit_as_paper(machine, X, checkpoint=tmp_path / "letter", **OPTIONS | {"center": False})
    fit_as_paper(machine, X, checkpoint=tmp_path / "standard", **OPTIONS)
    for folder, center in (("letter", None), ("standard", False)):
        with pytest.raises(ValueError, match=r"resume: (standard|center|offset_rate) contradicts"):
            fit_as_paper(machine, X, checkpoint=tmp_path / folder, resume=True, **OPTIONS | {"center": center})


@pytest.mark.parametrize("kind", REAL)
def test_no_training_leaves_weights_and_support_to_the_bit(kind: str) -> None:
    X, _ = data(kind, 7)
    Y = X * 3.7
    layer = visible(kind, Y, np.zeros(6), np.full(6, Y.max()), True)
    machine = tc.RBM(layer, tc.Binary(3, U=0.5), seed=0)
    assert fit_as_paper(machine, Y, epochs=0, center=True).machine == machine
    trained = fit_as_paper(machine, Y, **OPTIONS).machine
    for name in layer.fixed:
        assert_array_equal(trained.layers[0].parameters[name], layer.parameters[name])


def test_memory_maps_are_read_row_by_row(tmp_path: Path) -> None:
    X = np.random.default_rng(8).normal(5.0, 2.0, (300, 4)).astype(np.float32)
    np.save(tmp_path / "X.npy", X)
    machine = tc.RBM(tc.Gaussian(4), tc.Binary(3), seed=0)
    mapped = fit_as_paper(machine, np.load(tmp_path / "X.npy", mmap_mode="r"), **OPTIONS)
    assert mapped.machine == fit_as_paper(machine, X.astype(np.float64), **OPTIONS).machine


def test_single_precision_trains_far_from_zero() -> None:
    X = np.random.default_rng(9).normal(1e4, 1.0, (400, 4))
    X[:, 1] += X[:, 0] - 1e4
    wide, narrow = (
        fit_as_paper(tc.RBM(tc.Gaussian(4), tc.Binary(3), seed=0, dtype=d), X, **OPTIONS)
        for d in ("float64", "float32")
    )
    assert_allclose(narrow.history.log_likelihood, wide.history.log_likelihood, rtol=2e-3)


@pytest.mark.parametrize("kind", sorted(UNITS))
def test_units_have_other_coordinates_or_say_that_they_have_none(kind: str) -> None:
    layer = UNITS[kind](3)
    real = kind in (*REAL, "ReLU", "DoubleReLU")
    assert (layer.standard() is not None) == real
    if real:
        shift = np.full(3, 2.0 if kind in MOVABLE else 0.0)
        back = layer.moved(shift, np.full(3, 4.0)).moved(-shift / 4.0, np.full(3, 0.25))
        for name, p in layer.parameters.items():
            assert_allclose(back.parameters[name], p, rtol=1e-14, atol=1e-14)
    else:
        with pytest.raises(TypeError, match=f"a {kind} layer has no other coordinates"):
            layer.moved(np.zeros(3), np.ones(3))
