"""Layers of several blocks: they are what the blocks are, side by side, in everything that machines are used for."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cases import fit_as_paper
from numpy.testing import assert_allclose, assert_array_equal
from unit_cases import PLAIN as UNITS
from unit_cases import make, samples

import tapcore as tc
from tapcore.units.sites import CUMULANTS, THIRD, can, sites_of


def halves(kind: str) -> tuple[tc.Mixed, Any]:
    """A layer of two blocks of one type, and the layer of that type that it stands for."""
    whole = make(kind)
    parts = [type(whole)(stop - start, **{k: p[start:stop] for k, p in whole.parameters.items()})
             for start, stop in ((0, 2), (2, whole.n))]  # fmt: skip
    return tc.Mixed(*parts), whole


def machine_pair(kind: str, where: int, dtype: str = "float64") -> tuple[tc.Machine, tc.Machine]:
    mixed, whole = halves(kind)
    W = 0.1 * np.random.default_rng(0).normal(size=(whole.n, 4))
    other = tc.Binary(4, 0.3)
    pair = [((layer, other), W) if where == 0 else ((other, layer), W.T) for layer in (mixed, whole)]
    return tuple(tc.RBM(*layers, weights=w, dtype=dtype) for layers, w in pair)  # type: ignore[return-value]


EVERY_KIND = pytest.mark.parametrize("kind", UNITS)
BOTH_ENDS = pytest.mark.parametrize("where", [0, 1])


@pytest.mark.nojit
@EVERY_KIND
@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_moments_and_weights_are_those_of_the_blocks(kind: str, dtype: str) -> None:
    mixed, whole = (layer.astype(np.dtype(dtype)) for layer in halves(kind))
    rng = np.random.default_rng(1)
    B, A = rng.normal(size=(3, whole.n)), rng.random((3, whole.n))
    for ours, theirs in zip(mixed.moments(B, A), whole.moments(B, A), strict=True):
        assert_array_equal(ours, theirs)
    x = whole.sample(B, A, rng)
    assert_array_equal(mixed.log_weight(x), whole.log_weight(x))
    assert_array_equal(mixed.contains(x + 0.5), whole.contains(x + 0.5))
    assert_array_equal(mixed.has_density(x), whole.has_density(x))
    assert mixed.contains(mixed.sample(B, A, rng)).all()
    for ours, theirs in zip(mixed.bounds(), whole.bounds(), strict=True):
        assert_array_equal(ours, np.broadcast_to(theirs, whole.n))
    for function in (THIRD, CUMULANTS):
        assert can(mixed, function) == can(whole, function)


@EVERY_KIND
@BOTH_ENDS
@pytest.mark.parametrize("method", ["tap", "nmf", "rbp", "adatap"])
def test_solutions_are_those_of_one_block(kind: str, where: int, method: str) -> None:
    ours, theirs = machine_pair(kind, where)
    x = ours.layers[0].random_means(3, np.random.default_rng(2))
    found, wanted = (tc.solve(machine, x, method=method, max_sweeps=40) for machine in (ours, theirs))
    for a, b in zip(
        (*found.mean, *found.var, found.free_energy), (*wanted.mean, *wanted.var, wanted.free_energy), strict=True
    ):
        assert_allclose(a, b, rtol=1e-13, atol=1e-15)  # the same but for the rounding of short rows


@EVERY_KIND
@BOTH_ENDS
@pytest.mark.parametrize("gradient", ["tap", "pcd", "ptt", "rbp"])
@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_training_is_that_of_one_block(kind: str, where: int, gradient: str, dtype: str) -> None:
    ours, theirs = machine_pair(kind, where, dtype)
    X = samples(kind, 40, 4) if where == 0 else np.random.default_rng(3).integers(0, 2, (40, 4))
    options: dict[str, Any] = {"epochs": 2, "gradient": gradient, "chains": 8, "seed": 1, "progress": False}
    if (kind, gradient) == ("DoubleReLU", "rbp"):
        with pytest.raises(ValueError, match="gradient 'rbp' does not know the parameters of DoubleReLU layers"):
            fit_as_paper(ours, X, **options)
        return
    found, wanted = (fit_as_paper(machine, X, learning_rate=0.02, **options).machine for machine in (ours, theirs))
    close = {"rtol": 1e-12, "atol": 1e-14} if dtype == "float64" else {"rtol": 1e-4, "atol": 1e-6}
    assert_allclose(found.weights[0], wanted.weights[0], **close)
    layer, one = found.layers[where], wanted.layers[where]
    for name, p in one.parameters.items():
        assert_allclose(np.concatenate([layer.parameters[f"{i}.{name}"] for i in range(2)]), p, **close)
    assert found != ours


@EVERY_KIND
def test_fits_to_data_are_those_of_the_blocks(kind: str) -> None:
    mixed, whole = halves(kind)
    X = samples(kind, 30, 4)
    found = tc.Mixed.from_data(X, *mixed.blocks)
    wanted = whole.fitted(X)
    for i, (block, rows) in enumerate(zip(mixed.blocks, (X[:, :2], X[:, 2:]), strict=True)):
        assert found.blocks[i] == block.fitted(rows)
    if kind in ("Binary", "Spin"):
        assert_array_equal(found.moments(0, 0)[1], wanted.moments(0, 0)[1])
    with pytest.raises(ValueError, match=r"^X must "):
        mixed.check_data("X", np.full((2, whole.n), np.nan))


def test_kinds_side_by_side_are_exact_where_states_can_be_listed() -> None:
    visible = tc.Mixed(tc.Binary(2, [0.3, -0.2]), tc.Gaussian(1, V=2.0), tc.TruncatedGaussian(2, V=1.0, lo=-1, hi=1))
    W = 0.03 * np.random.default_rng(4).normal(size=(5, 4))
    machine = tc.RBM(visible, tc.Spin(4, 0.1), weights=W)
    found = tc.solve(machine, np.zeros((1, 5)), tol=1e-12)
    assert -found.free_energy[0] == pytest.approx(tc.exact.log_z(machine), abs=1e-5)
    assert tc.ais(machine, 200, 100, seed=0).log_z == pytest.approx(tc.exact.log_z(machine), abs=0.01)
    x = tc.sample(machine, 400, sweeps=20, seed=0, progress=False)
    assert visible.contains(x).all()
    assert_allclose(x.mean(0), tc.exact.moments(machine).mean[0], atol=0.15)


def table(rows: int) -> np.ndarray:
    """A bit, a value far off and wide, a value in [0, 1], which follow each other."""
    rng = np.random.default_rng(5)
    z = rng.normal(size=rows)
    return np.stack([z > 0, 1e5 + 3e4 * (z + 0.3 * rng.normal(size=rows)), 1 / (1 + np.exp(-z))], axis=1)


@pytest.mark.parametrize("gradient", ["tap", "pcd"])
def test_columns_of_any_scale_train_alike(gradient: str) -> None:
    X = table(300)
    unscaled = np.stack([X[:, 0], (X[:, 1] - 1e5) / 3e4, X[:, 2]], axis=1)

    def trained(x: np.ndarray) -> tc.Machine:
        visible = tc.Mixed(tc.Binary(1), tc.Gaussian(1), tc.TruncatedGaussian(1, lo=0, hi=1))
        machine = tc.RBM(visible, tc.Binary(3), sigma=0.1, seed=0)
        how: dict[str, Any] = {"epochs": 20, "batch_size": 20, "learning_rate": 0.05, "center": True}
        return fit_as_paper(machine, x, gradient=gradient, progress=False, **how).machine

    ours, theirs = trained(X), trained(unscaled)
    scale = np.array([1, 3e4, 1])
    assert_allclose(ours.weights[0] * scale[:, None], theirs.weights[0], rtol=1e-6, atol=1e-9)
    assert abs(theirs.weights[0]).max() > 0.05


def test_checkpoints_hold_them(tmp_path: Path) -> None:
    visible = tc.Mixed(tc.Binary(1), tc.Gaussian(1), tc.TruncatedGaussian(1, lo=0, hi=1))
    machine = tc.RBM(visible, tc.Binary(3), seed=0)
    tc.save(tmp_path / "machine.safetensors", machine)
    assert tc.load(tmp_path / "machine.safetensors") == machine
    run = tmp_path / "run"
    options: dict[str, Any] = {"gradient": "pcd", "seed": 0, "progress": False, "chains": 10, "center": True}
    fit_as_paper(machine, table(50), epochs=1, checkpoint=run, **options)
    resumed = fit_as_paper(machine, table(50), epochs=3, checkpoint=run, resume=True, **options)
    assert resumed.machine == fit_as_paper(machine, table(50), epochs=3, **options).machine == tc.load(run)


def test_it_is_a_layer_like_others() -> None:
    mixed = tc.Mixed(tc.Binary(2), tc.Mixed(tc.Spin(1), tc.Gaussian(2)))
    assert [type(block) for block in mixed.blocks] == [tc.Binary, tc.Spin, tc.Gaussian]
    assert (mixed.n, mixed.columns, mixed.widths) == (5, 5, None)
    assert repr(mixed) == "Mixed(Binary(2, U=0), Spin(1, U=0), Gaussian(2, U=0, V=1))"
    assert pickle.loads(pickle.dumps(mixed)) == mixed
    assert mixed != tc.Mixed(tc.Binary(2), tc.Spin(1, 0.1), tc.Gaussian(2))
    assert mixed != tc.Binary(5)
    assert list(mixed.parameters) == ["0.U", "1.U", "2.U", "2.V"]
    assert list(sites_of([mixed]).parameters(0)) == list(mixed.parameters)
    with pytest.raises(AttributeError, match="immutable"):
        mixed.n = 3
    message = r"^X must be 0 or 1 in columns of Binary units, -1 or \+1 in .* for a Mixed layer: X\[0, 1\] is 2\.0$"
    with pytest.raises(ValueError, match=message):
        mixed.check_data("X", np.array([[0, 2, 1, 0.3, 0.4]]))


@pytest.mark.parametrize("call", [lambda: tc.Mixed(), lambda: tc.Mixed(tc.Binary(2), 3)])
def test_what_is_no_block_is_refused(call: Callable[[], Any]) -> None:
    with pytest.raises(ValueError, match=r"^blocks must be layers of units"):
        call()


def test_a_block_that_cannot_is_named() -> None:
    machine = tc.RBM(tc.Mixed(tc.Binary(2), tc.GaussBernoulli(1)), tc.Binary(2), sigma=0.1, seed=0)
    with pytest.raises(ValueError, match=r"^method 'tap3' needs the third cumulant.*layers\[0\] \(Mixed\)"):
        tc.solve(machine, np.zeros((1, 3)), method="tap3")
    with pytest.raises(ValueError, match=r"^GaussBernoulli layers have no third order"):
        sites_of(machine.layers, THIRD)
