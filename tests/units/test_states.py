"""Units of several states, one column or several: the contract, what they are the same as, codes, and bad input."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from mpmath import mp, mpf
from numpy.testing import assert_allclose, assert_array_equal

import tapcore as tc
from tapcore.units import Unit, check

RNG = np.random.default_rng(5)
ONE_HOT = np.eye(3)[RNG.integers(0, 3, (40, 4))].reshape(40, 12)
CODES = ONE_HOT.reshape(40, 4, 3).argmax(axis=-1)


@pytest.mark.nojit
@pytest.mark.parametrize("seed", [0, 1])
@pytest.mark.parametrize(
    "make",
    [
        lambda rng: tc.Ordinal(3, [0, 1], rng.normal(size=(3, 2))),
        lambda rng: tc.Ordinal(3, [2.5, -1.0, 0.0], rng.normal(size=(3, 3))),
        lambda rng: tc.Ordinal(2, np.arange(6), rng.normal(size=(2, 6))),
        lambda rng: tc.Categorical(4, 2, rng.normal(size=(4, 2))),
        lambda rng: tc.Categorical(2, 5, 2 * rng.normal(size=(2, 5))),
        lambda rng: tc.Mixed(
            tc.Categorical(2, 3, rng.normal(size=(2, 3))), tc.Ordinal(2, [0, 1, 2]), tc.Binary(2, 0.3)
        ),
        lambda rng: tc.ReLU(3, 2 * rng.normal(size=3), rng.uniform(0.3, 2, 3)),
        lambda rng: tc.DoubleReLU(3, rng.normal(size=3), rng.uniform(0.3, 2, 3), rng.normal(size=3), [0.4, 1, 2]),
    ],
)
def test_the_contract_holds(make: Any, seed: int) -> None:
    check(make(np.random.default_rng(seed)), seed=seed)


@pytest.mark.nojit
def test_two_states_are_those_of_binary_units() -> None:
    rng = np.random.default_rng(0)
    binary = tc.Binary(5, 3 * rng.normal(size=5))
    pairs = np.stack([np.zeros(5), binary.U], axis=1) + rng.normal(size=(5, 1))
    ordinal, categorical = tc.Ordinal(5, [0, 1], pairs), tc.Categorical(5, 2, pairs)
    B, A = 20 * rng.normal(size=(50, 5)), 20 * rng.normal(size=(50, 5))
    _, mean, var = binary.moments(B, A)
    for found, wanted in zip(ordinal.moments(B, A)[1:], (mean, var), strict=True):
        assert_allclose(found, wanted, rtol=1e-13)
    b, a = (np.stack([np.zeros_like(x), x], axis=-1).reshape(50, 10) for x in (B, A))
    for found, wanted in zip(categorical.moments(b, a)[1:], (mean, var), strict=True):
        assert_allclose(found[:, 1::2], wanted, rtol=1e-13)


@pytest.mark.nojit
def test_equal_sides_are_gaussian() -> None:
    rng = np.random.default_rng(1)
    U, V = rng.normal(size=6), rng.uniform(0.3, 3, 6)
    B, A = 5 * rng.normal(size=(40, 6)), rng.uniform(0, 2, (40, 6))
    log_z, mean, var = tc.Gaussian(6, U, V).moments(B, A)
    found = tc.DoubleReLU(6, U, V, U, V).moments(B, A)
    assert_allclose(found[0], log_z, rtol=1e-13, atol=1e-13)
    assert_allclose(found[1], mean, rtol=1e-13, atol=1e-13)
    assert_allclose(found[2], var, rtol=1e-13)


@pytest.mark.nojit
def test_a_half_line_is_a_truncated_gaussian() -> None:
    rng = np.random.default_rng(2)
    unit = tc.ReLU(6, rng.normal(size=6), rng.uniform(0.3, 3, 6))
    B, A = 9 * rng.normal(size=(40, 6)), rng.uniform(0, 2, (40, 6))
    wanted = tc.truncnorm.moments(A + unit.V, B + unit.U, 0.0, np.inf)
    for found, expected in zip(unit.moments(B, A), wanted, strict=True):
        assert_allclose(found, expected, rtol=1e-13, atol=1e-14)


def machines() -> tuple[tc.Machine, tc.Machine]:
    """A categorical machine of two states, and the binary one that it is."""
    rng = np.random.default_rng(3)
    W, U, V = rng.normal(size=(12, 4)), rng.normal(size=(6, 2)), rng.normal(size=4)
    binary = tc.RBM(tc.Binary(6, U[:, 1] - U[:, 0]), tc.Binary(4, V + W[::2].sum(axis=0)), weights=W[1::2] - W[::2])
    return tc.RBM(tc.Categorical(6, 2, U), tc.Binary(4, V), weights=W), binary


@pytest.mark.parametrize("method", ["tap", "nmf"])
def test_machines_of_two_states_are_binary_ones(method: str) -> None:
    ours, binary = machines()
    x = np.random.default_rng(4).integers(0, 2, (5, 6))
    found, wanted = (tc.solve(machine, x, method=method, tol=1e-14) for machine in (ours, binary))
    assert_allclose(found.mean[0][:, 1::2], wanted.mean[0], rtol=1e-12, atol=1e-13)
    gap = found.free_energy - wanted.free_energy
    assert_allclose(gap, -ours.layers[0].U[:, 0].sum(), rtol=1e-12)  # type: ignore[attr-defined]


@pytest.mark.parametrize("method", ["tap", "nmf"])
def test_permuted_states_and_another_gauge_change_nothing(method: str) -> None:
    rng = np.random.default_rng(6)
    U, V, W = rng.normal(size=(4, 3)), rng.normal(size=5), 0.6 * rng.normal(size=(4, 3, 5))
    machine = tc.RBM(tc.Categorical(4, 3, U), tc.Binary(5, V), weights=W.reshape(12, 5))
    x = CODES[:6]
    wanted = tc.solve(machine, x, method=method, tol=1e-13)
    order = np.array([2, 0, 1])
    permuted = tc.RBM(tc.Categorical(4, 3, U[:, order]), tc.Binary(5, V), weights=W[:, order].reshape(12, 5))
    found = tc.solve(permuted, np.argsort(order)[x], method=method, tol=1e-13)
    assert_allclose(found.mean[0].reshape(6, 4, 3), wanted.mean[0].reshape(6, 4, 3)[..., order], atol=1e-11)
    gauge = rng.normal(size=(4, 1, 5))
    moved = tc.RBM(
        tc.Categorical(4, 3, U), tc.Binary(5, V - gauge.sum(axis=(0, 1))), weights=(W + gauge).reshape(12, 5)
    )
    found = tc.solve(moved, x, method=method, tol=1e-13)
    assert_allclose(found.mean[0], wanted.mean[0], atol=1e-11)
    assert_allclose(found.free_energy, wanted.free_energy, rtol=1e-12)


def test_codes_are_taken_where_columns_are(tmp_path: Any) -> None:
    layer = tc.Categorical.from_data(CODES, 3)
    assert layer == tc.Categorical.from_data(ONE_HOT, 3) == tc.Categorical.from_data(ONE_HOT.astype(bool), 3)
    machine = tc.RBM(layer, tc.Binary(3), sigma=0.3, seed=0)
    for function in (
        lambda X: tc.log_likelihood(machine, X, -1.0),
        lambda X: tc.exact.log_likelihood(machine, X),
        lambda X: tc.solve(machine, X).free_energy,
        lambda X: tc.harvest(machine, X, progress=False).free_energy,
        lambda X: tc.sample(machine, 5, data=X, sweeps=3, progress=False),
        lambda X: tc.fit(machine, X, epochs=2, batch_size=10, progress=False).machine.weights[0],
        lambda X: tc.gradient(machine, X, tc.solve(machine, X[:3])).weights[0],
    ):
        assert_array_equal(function(CODES), function(ONE_HOT))
    tc.save(tmp_path / "m.safetensors", machine)
    assert tc.load(tmp_path / "m.safetensors") == machine


@pytest.mark.parametrize(
    ("X", "said"),
    [
        (np.array([[0, 1, 3, 0]]), r"X must hold states as codes, integers from 0 to 2: X\[0, 2\] is 3"),
        (np.array([[0, 1, -1, 0]]), r"integers from 0 to 2: X\[0, 2\] is -1"),
        (np.array([[0, 1, 0.5, 0]]), r"integers from 0 to 2: X\[0, 2\] is 0.5"),
        (np.zeros((2, 12)), r"X must be one column a unit that is 1, .*: X\[0, 0\] is 0.0"),
        (np.ones((2, 12)), r"X must be one column a unit that is 1"),
        (np.zeros((2, 7)), r"X must have shape \(samples, 12\), or \(samples, 4\) of codes, got \(2, 7\)"),
    ],
)
def test_what_are_no_states_is_refused(X: Any, said: str) -> None:
    machine = tc.RBM(tc.Categorical(4, 3), tc.Binary(2), seed=0)
    with pytest.raises(ValueError, match=said):
        tc.log_likelihood(machine, X, 0.0)


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: tc.Categorical(2, 1), "states must be an integer of at least 2, got 1"),
        (lambda: tc.Categorical(2, 2.5), "states must be an integer of at least 2, got 2.5"),
        (lambda: tc.Categorical(2, 3, np.zeros((2, 4))), r"U must be a number or an array of shape \(2, 3\)"),
        (lambda: tc.Categorical(2, 3, np.nan), "U must be finite"),
        (lambda: tc.Ordinal(2, [1]), "values must be at least two different numbers"),
        (lambda: tc.Ordinal(2, [1, 1]), "values must be at least two different numbers"),
        (lambda: tc.Ordinal(2, [0, np.inf]), "values must be finite"),
        (lambda: tc.Ordinal.from_data([[0, 1], [2, 5]], [0, 1, 2]), r"among the values .*: X\[1, 1\] is 5"),
        (lambda: tc.ReLU(2, V=0.0), "V must be positive"),
        (lambda: tc.ReLU.from_data([[-1.0]]), r"not negative .*: X\[0, 0\] is -1.0"),
        (lambda: tc.DoubleReLU(2, V_neg=-1.0), "V_neg must be positive"),
    ],
)
def test_parameters_that_make_no_law_are_refused(make: Any, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        make()


@pytest.mark.parametrize("method", ["rbp", "adatap", "tap3"])
def test_methods_that_do_not_know_such_sites_refuse_them(method: str) -> None:
    machine = tc.RBM(tc.Categorical(2, 3), tc.Binary(2), seed=0)
    with pytest.raises(
        ValueError, match=rf"method '{method}' is for sites of one column each|needs the third cumulant"
    ):
        tc.solve(machine, CODES[:1, :2], method=method)


@pytest.mark.parametrize("layer", [tc.Ordinal(2, [0, 1]), tc.DoubleReLU(2)], ids=["ordinal", "double"])
def test_relaxed_belief_propagation_does_not_train_them(layer: Unit) -> None:
    with pytest.raises(ValueError, match="gradient 'rbp' does not know the parameters of"):
        tc.fit(tc.RBM(tc.Binary(3), layer, seed=0), np.eye(3), epochs=1, gradient="rbp", progress=False)


@pytest.mark.parametrize("gradient", ["tap", "nmf", "cd", "pcd", "ptt"])
@pytest.mark.parametrize(
    "visible",
    [tc.Categorical(4, 3), tc.Ordinal(4, [0, 1, 2]), tc.ReLU(4), tc.DoubleReLU(4)],
    ids=["cat", "ord", "relu", "double"],
)
def test_training_learns_what_independent_sites_do_not_know(visible: Unit, gradient: str) -> None:
    rng = np.random.default_rng(7)
    codes = np.repeat(rng.integers(0, 3, (400, 1)), 4, axis=1)
    codes = np.where(rng.random((400, 4)) < 0.1, rng.integers(0, 3, (400, 4)), codes)
    real = codes + rng.gamma(2.0, 0.1, codes.shape)
    X = real if isinstance(visible, tc.ReLU | tc.DoubleReLU) else codes
    X = X - 1 if isinstance(visible, tc.DoubleReLU) else X
    machine = tc.RBM(visible, tc.Binary(6), seed=0)
    found = tc.fit(machine, X, epochs=30, gradient=gradient, progress=False).machine
    alone = tc.fit(machine, X, epochs=0, progress=False).machine
    score = [float(tc.exact.log_likelihood(one, X).mean()) for one in (found, alone)]
    assert score[0] > score[1] + 0.3


def test_the_zero_sum_gauge_changes_no_law() -> None:
    rng = np.random.default_rng(8)
    visible = tc.Mixed(tc.Binary(2, rng.normal(size=2)), tc.Categorical(3, 4, rng.normal(size=(3, 4))))
    hidden = tc.Binary(5, rng.normal(size=5))
    machine = tc.DBM(visible, hidden, tc.Categorical(2, 3, rng.normal(size=(2, 3))), sigma=0.5, seed=1)
    moved = machine.in_gauge("zero-sum")
    assert_allclose(moved.weights[0][2:].reshape(3, 4, 5).sum(axis=1), 0, atol=1e-14)
    assert_allclose(moved.weights[1].reshape(5, 2, 3).sum(axis=2), 0, atol=1e-14)
    assert_array_equal(moved.weights[0][:2], machine.weights[0][:2])
    x = machine.layers[0].random_means(4, rng)
    for method in ("tap", "nmf"):
        found, wanted = (tc.solve(one, x, method=method, tol=1e-13) for one in (moved, machine))
        assert_allclose(found.free_energy, wanted.free_energy, rtol=1e-12)
        for ours, theirs in zip(found.mean, wanted.mean, strict=True):
            assert_allclose(ours, theirs, atol=1e-11)
    plain = tc.RBM(tc.Binary(3), hidden, seed=0)
    assert plain.in_gauge("zero-sum") is plain
    with pytest.raises(ValueError, match="gauge must be one of 'zero-sum'"):
        machine.in_gauge("wild-type")


def law_of(values: Any, logs: Any) -> Any:
    """Ln Z, mean, variance and probabilities of weights exp(logs), in 40 digits."""
    weights = [mp.exp(x) for x in logs]
    Z = mp.fsum(weights)
    mean = mp.fsum(w * x for w, x in zip(weights, values, strict=True)) / Z
    return (
        mp.log(Z),
        mean,
        mp.fsum(w * (x - mean) ** 2 for w, x in zip(weights, values, strict=True)) / Z,
        [w / Z for w in weights],
    )


@pytest.mark.parametrize("seed", range(25))
def test_digits_are_those_that_the_documentation_gives(seed: int) -> None:
    rng = np.random.default_rng(seed)
    with mp.workdps(40):
        values = np.arange(17.0) if seed % 2 else np.sort(rng.normal(size=17))
        U, size = 5 * rng.normal(size=(1, 17)), np.abs(values).max()
        B, A = 30 * rng.normal() / size, 30 * rng.normal() / size**2
        x = [mpf(v) for v in values]
        log_z, mean, var, _ = law_of(
            x, [mpf(u) + mpf(B) * v - mpf(A) * v * v / 2 for u, v in zip(U[0], x, strict=True)]
        )
        found = [float(y[0]) for y in tc.Ordinal(1, values, U).moments(B, A)]
        assert abs(found[0] - log_z) <= 5e-16 * max(1, abs(log_z))
        assert abs(found[1] - mean) <= 3e-16 * size
        assert abs(found[2] - var) <= 5e-15 * var
        U, B, A = 5 * rng.normal(size=(1, 21)), 10 * rng.normal(size=21), 10 * rng.normal(size=21)
        logs = [mpf(u) + mpf(b) - mpf(a) / 2 for u, b, a in zip(U[0], B, A, strict=True)]
        log_z, _, _, p = law_of([mpf(0)] * 21, logs)
        found = list(tc.Categorical(1, 21, U).moments(B, A)[:2])
        assert abs(found[0][0] - log_z) <= 3e-16 * max(1, abs(log_z))
        assert all(abs(ours - theirs) <= 1.1e-14 * theirs for ours, theirs in zip(found[1], p, strict=True))
