"""Sites of several columns: against the equations written out, enumeration, differences, and equal machines."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from cases import fit_as_paper, random_rbm
from numpy.testing import assert_allclose, assert_array_equal
from one_hot import OneHot, rows
from scipy.special import logsumexp

import tapcore as tc
from tapcore.inference.methods import TABLE

QS = (3, 4, 2, 1)
LAYERS = {
    "below": lambda rng: (one_hot(rng), tc.Binary(3, rng.normal(size=3))),
    "above": lambda rng: (tc.Spin(3, rng.normal(size=3)), one_hot(rng)),
    "truncated": lambda rng: (one_hot(rng), tc.TruncatedGaussian(2, U=rng.normal(size=2), V=1.5, lo=-1.0, hi=2.0)),
    "beside": lambda rng: (tc.Mixed(tc.Binary(2, rng.normal(size=2)), one_hot(rng), tc.Spin(1)), tc.Binary(3)),
    "deep": lambda rng: (tc.Binary(4, rng.normal(size=4)), one_hot(rng), tc.Spin(3), one_hot(rng, (3, 2))),
}
EVERY_SHAPE = pytest.mark.parametrize("shape", LAYERS)
METHODS = pytest.mark.parametrize("method", ["tap", "nmf"])


def one_hot(rng: np.random.Generator, qs: tuple[int, ...] = QS) -> OneHot:
    return OneHot(len(qs), qs, rng.normal(size=sum(qs)))


def machine_of(shape: str, scale: float = 0.4, seed: int = 0) -> tc.Machine:
    rng = np.random.default_rng(seed)
    layers = LAYERS[shape](rng)
    sizes = [layer.columns for layer in layers]
    return tc.Machine(layers, [scale * rng.normal(size=pair) for pair in pairwise(sizes)])


def starts(machine: tc.Machine, count: int = 2) -> np.ndarray:
    layer, rng = machine.layers[0], np.random.default_rng(1)
    return layer.sample(np.zeros((count, layer.columns)), 0.0, rng)


def solved(machine: tc.Machine, method: str, **options: Any) -> tc.Solutions:
    found = tc.solve(machine, starts(machine), method=method, tol=1e-13, **options)
    assert found.converged.all()
    return found


def sites(layer: Any) -> list[slice]:
    """Columns of each site."""
    ends = np.cumsum([0, *(layer.widths if layer.widths is not None else np.ones(layer.n, int))])
    return [slice(a, z) for a, z in pairwise(ends)]


def covariance(layer: Any, mean: np.ndarray, var: np.ndarray) -> np.ndarray:
    """Of all columns of a layer, those of one site excluding each other."""
    C = np.diag(var)
    for s in sites(layer):
        if s.stop - s.start > 1:
            C[s, s] = np.diag(mean[s]) - np.outer(mean[s], mean[s])
    return C


def log_z(layer: Any, B: np.ndarray, A: np.ndarray) -> float:
    return float(layer.moments(B, A)[0].sum())


def written_out(machine: tc.Machine, mean: list[np.ndarray], var: list[np.ndarray], order: int) -> Any:
    """Fields, precision matrices site by site, and -F: as for units that are vectors, with matrices for precisions."""
    size = len(machine.layers)
    C = [covariance(layer, m, v) for layer, m, v in zip(machine.layers, mean, var, strict=True)]
    B, minus_F = [], 0.0
    for i, layer in enumerate(machine.layers):
        near = [(machine.weights[i - 1], i - 1)] if i else []
        near += [(machine.weights[i].T, i + 1)] if i + 1 < size else []
        J = -sum(W.T @ C[o] @ W for W, o in near) if order > 1 else np.zeros_like(C[i])
        A = np.zeros_like(J)
        for s in sites(layer):
            A[s, s] = J[s, s]
        plain = sum(W.T @ mean[o] for W, o in near)
        B.append((A @ mean[i] + plain, np.diag(A)))
        minus_F += log_z(layer, *B[i]) - B[i][0] @ mean[i] + 0.5 * (mean[i] @ A @ mean[i] + (A * C[i]).sum())
    for i, W in enumerate(machine.weights):
        minus_F += mean[i] @ W @ mean[i + 1]
        if order > 1:
            minus_F += 0.5 * np.trace(W.T @ C[i] @ W @ C[i + 1])
    return B, minus_F


@pytest.mark.nojit
@METHODS
@EVERY_SHAPE
def test_solutions_solve_the_equations_written_out(shape: str, method: str) -> None:
    machine = machine_of(shape)
    found = solved(machine, method)
    for k in range(len(found)):
        mean, var = [m[k] for m in found.mean], [v[k] for v in found.var]
        fields, minus_F = written_out(machine, mean, var, TABLE[method].order)
        for i, layer in enumerate(machine.layers):
            assert_allclose(found.B[i][k], fields[i][0], atol=1e-12)
            assert_allclose(found.A[i][k], fields[i][1], atol=1e-12)
            assert_allclose(layer.moments(*fields[i])[1], mean[i], atol=1e-11)
        assert found.free_energy[k] == pytest.approx(-minus_F, abs=1e-12)


@METHODS
@EVERY_SHAPE
def test_free_energy_is_stationary_in_means(shape: str, method: str) -> None:
    """Along changes of the means of a site that keep their sum, variances following."""
    machine = machine_of(shape)
    found = solved(machine, method)[:1]
    rng = np.random.default_rng(0)

    def free_energy(h: float) -> float:
        mean = [x.copy() for x in found.mean]
        var = [x.copy() for x in found.var]
        for i, layer in enumerate(machine.layers):
            for s in sites(layer):
                if s.stop - s.start > 1:
                    shift = rng.normal(size=s.stop - s.start)
                    mean[i][0, s] += h * (shift - shift.mean())
                    var[i][0, s] = mean[i][0, s] * (1 - mean[i][0, s])
        return float(tc.free_energy(machine, mean, var, method=method)[0])

    state = rng.bit_generator.state
    up = free_energy(1e-5)
    rng.bit_generator.state = state
    assert abs(up - free_energy(-1e-5)) / 2e-5 < 1e-8


@pytest.mark.parametrize(
    ("shape", "method"), [(s, m) for s in LAYERS for m in ("tap", "nmf") if (s, m) != ("deep", "nmf")]
)  # the log-likelihood of deep machines is that of TAP
def test_gradient_is_that_of_the_log_likelihood(shape: str, method: str) -> None:
    machine = machine_of(shape)
    X = starts(machine, 5)
    found = solved(machine, method)[:1]
    gradient = tc.gradient(machine, X, found)

    def score(layer: int, i: int, j: int, h: float) -> float:
        weights = [W.copy() for W in machine.weights]
        weights[layer][i, j] += h
        moved = machine.replace(weights=weights)
        near = tc.solve(moved, found, method=method, tol=1e-14)
        return float(tc.log_likelihood(moved, X, near.free_energy).mean())

    rng = np.random.default_rng(2)
    for layer, W in enumerate(machine.weights):
        for _ in range(4):
            i, j = (int(rng.integers(n)) for n in W.shape)
            slope = (score(layer, i, j, 1e-4) - score(layer, i, j, -1e-4)) / 2e-4
            assert gradient.weights[layer][i, j] == pytest.approx(slope, abs=2e-7)


@pytest.mark.parametrize("shape", ["below", "above", "beside"])
@pytest.mark.parametrize("scale", [0.01, 0.02, 0.04])
def test_errors_of_log_z_fall_with_the_order(shape: str, scale: float) -> None:
    machine = machine_of(shape, scale)
    x, h = (np.array(list(rows(layer))) for layer in machine.layers)
    weights = [layer.log_weight(z).sum(1) for layer, z in zip(machine.layers, (x, h), strict=True)]
    exact = logsumexp(weights[0][:, None] + weights[1] + x @ machine.weights[0] @ h.T)
    if shape == "below":  # whose hidden states can be listed
        assert tc.exact.log_z(machine) == pytest.approx(exact, abs=1e-12)
    error = {method: abs(-solved(machine, method).free_energy[0] - exact) for method in ("nmf", "tap")}
    assert error["nmf"] > 0.15 * scale**2
    assert error["tap"] < 0.2 * scale**3


@pytest.mark.nojit
@METHODS
def test_sites_of_two_states_are_binary_units(method: str) -> None:
    rng = np.random.default_rng(3)
    U, W = rng.normal(size=(4, 2)), rng.normal(size=(4, 2, 3))
    machine = tc.RBM(OneHot(4, 2, U.ravel()), tc.Spin(3), weights=W.reshape(8, 3))
    # x_1 is 1 - x_0: what that adds is a constant, and fields of the hidden units.
    binary = tc.RBM(tc.Binary(4, U[:, 1] - U[:, 0]), tc.Spin(3, W[:, 0].sum(0)), weights=W[:, 1] - W[:, 0])
    x = np.random.default_rng(4).integers(0, 2, (3, 4)).astype(float)
    ours = tc.solve(machine, np.stack([1 - x, x], 2).reshape(3, 8), method=method, tol=1e-13)
    theirs = tc.solve(binary, x, method=method, tol=1e-13)
    assert_allclose(ours.mean[0][:, 1::2], theirs.mean[0], atol=1e-12)
    assert_allclose(ours.var[1], theirs.var[1], atol=1e-12)
    assert_allclose(ours.free_energy, theirs.free_energy - U[:, 0].sum(), atol=1e-12)


def test_what_a_site_sends_for_certain_changes_nothing() -> None:
    """The gauge: g added to the weights of all states of a site, and taken off the fields above."""
    machine, rng = machine_of("below"), np.random.default_rng(5)
    W, hidden = machine.weights[0].copy(), machine.layers[1]
    for s in sites(machine.layers[0]):
        g = rng.normal(size=3)
        W[s] += g
        hidden = tc.Binary(3, hidden.U - g)
    other = solved(machine.replace(layers=(machine.layers[0], hidden), weights=[W]), "tap")
    found = solved(machine, "tap")
    assert_allclose(other.mean[0], found.mean[0], atol=1e-11)
    assert_allclose(other.free_energy, found.free_energy, atol=1e-11)


def test_layers_may_be_read_from_either_end() -> None:
    machine = machine_of("below")
    turned = machine.replace(layers=machine.layers[::-1], weights=[machine.weights[0].T])
    found, other = solved(machine, "tap"), solved(turned, "tap")
    assert_allclose(found.mean[0][0], other.mean[1][0], atol=1e-11)
    assert_allclose(found.free_energy[0], other.free_energy[0], atol=1e-11)


@pytest.mark.parametrize("gradient", ["tap", "nmf", "cd", "pcd", "ptt"])
def test_it_trains(gradient: str) -> None:
    rng = np.random.default_rng(6)
    which = rng.integers(0, 3, 60)
    X = np.concatenate([np.eye(3)[which], np.eye(4)[which], np.eye(2)[which % 2], np.ones((60, 1))], axis=1)
    machine = tc.RBM(OneHot(4, QS), tc.Binary(4), sigma=0.1, seed=0)
    trained = fit_as_paper(
        machine, X, epochs=60, gradient=gradient, learning_rate=0.1, batch_size=20, chains=20, seed=1, progress=False
    ).machine
    exact = [tc.exact.log_likelihood(m, X).mean() for m in (machine, trained)]
    assert exact[1] > exact[0] + 1
    draws = tc.sample(trained, 50, sweeps=50, seed=2, progress=False)
    assert all((draws[:, s].sum(1) == 1).all() for s in sites(machine.layers[0]))


@EVERY_SHAPE
def test_a_step_of_training_is_the_gradient(shape: str) -> None:
    machine = machine_of(shape)
    X, rate = starts(machine, 4), 1e-6
    options = {"chains": 4, "sweeps": 400, "momentum": 0.0, "center": False, "penalty": None}
    options |= {"pretrain": 0} if len(machine.layers) > 2 else {}
    trained = fit_as_paper(machine, X, epochs=1, batch_size=4, learning_rate=rate, progress=False, **options).machine
    wanted = tc.gradient(machine, X, tc.solve(machine, X, tol=1e-14))
    for before, after, slope in zip(machine.weights, trained.weights, wanted.weights, strict=True):
        assert_allclose((after - before) / rate, slope, atol=1e-8)


# --- Refusals ---


@pytest.mark.parametrize("method", [name for name, row in TABLE.items() if not row.exclusive])
def test_methods_that_do_not_know_them_say_so(method: str) -> None:
    machine = machine_of("below")
    message = rf"^method '{method}' is for sites of one column each, got those of layers\[0\] \(OneHot\): use 'tap'$"
    with pytest.raises(ValueError, match=message):
        tc.solve(machine, starts(machine), method=method)
    with pytest.raises(ValueError, match=message):
        fit_as_paper(machine, starts(machine), epochs=1, gradient=method)


def test_two_layers_of_them_side_by_side_are_refused_beyond_first_order() -> None:
    rng = np.random.default_rng(7)
    machine = tc.RBM(one_hot(rng), one_hot(rng, (2, 3)), sigma=0.3, seed=0)
    with pytest.raises(
        ValueError, match=r"^method 'tap' does not know .* layers\[0\] \(OneHot\) and above it: use 'nmf'$"
    ):
        tc.solve(machine, starts(machine))
    assert solved(machine, "nmf").converged.all()
    found = solved(machine, "nmf")
    fields, minus_F = written_out(machine, [m[0] for m in found.mean], [v[0] for v in found.var], 1)
    assert_allclose(found.B[0][0], fields[0][0], atol=1e-12)
    assert found.free_energy[0] == pytest.approx(-minus_F, abs=1e-12)


@pytest.mark.parametrize("where", [[True] + 9 * [False], [False, True, True] + 7 * [False]])
def test_parts_of_a_site_are_not_held(where: list[bool]) -> None:
    machine = machine_of("below")
    clamped = tc.Clamped(starts(machine, 1)[0], np.array(where))
    message = r"^fields\[0\]\.where must hold all or none of the columns of a site, got [12] of site 0$"
    with pytest.raises(ValueError, match=message):
        tc.solve(machine, starts(machine, 1), fields=clamped)
    whole = tc.Clamped(starts(machine, 1)[0], np.arange(10) < 3)
    found = tc.solve(machine, starts(machine, 1), fields=whole, tol=1e-12)
    assert_array_equal(found.mean[0][0, :3], starts(machine, 1)[0, :3])
    # As a machine of the other sites, with the field that the held one sends.
    held, W = starts(machine, 1)[0, :3], machine.weights[0]
    rest = OneHot(3, QS[1:], machine.layers[0].U[3:])
    other = tc.RBM(rest, tc.Binary(3, machine.layers[1].U + held @ W[:3]), weights=W[3:])
    alone = tc.solve(other, starts(machine, 1)[:, 3:], tol=1e-12)
    assert_allclose(found.mean[0][0, 3:], alone.mean[0][0], atol=1e-11)
    assert found.free_energy[0] == pytest.approx(alone.free_energy[0] - held @ machine.layers[0].U[:3], abs=1e-11)


@pytest.mark.nojit
@EVERY_SHAPE
def test_sites_without_variances_send_none(shape: str) -> None:
    """As chains start: whatever the means, nothing is left of the second order."""
    machine = machine_of(shape)
    mean = [layer.moments(0.0, 0.0)[1][None] for layer in machine.layers]
    var = [np.zeros_like(x) for x in mean]
    second, first = (tc.free_energy(machine, mean, var, method=method) for method in ("tap", "nmf"))
    assert_allclose(second, first, rtol=1e-14)


def test_machines_without_them_link_nothing() -> None:
    from tapcore.equations.compiled import compiled
    from tapcore.equations.exclusive import exclusive_slopes

    machine = random_rbm(0)
    own = compiled(machine.layers, machine.weights, 2)
    assert not own.has_exclusive
    assert [len(x) for x in exclusive_slopes(own, (np.ones((1, 7)),) * 2, (np.ones((1, 7)),) * 2, 2)] == [0]
    of = machine_of("deep")
    assert compiled(of.layers, of.weights, 2).has_exclusive
    assert_array_equal(compiled(of.layers, of.weights, 2).wide, [0, 0, 3, 3, 5])
