"""Optimisers and schedules: each against its formula, in kernels and in runs; runs of so many seconds."""

from __future__ import annotations

import math
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cases import fit_as_paper
from numpy.testing import assert_allclose, assert_array_equal

import tapcore as tc
from tapcore.training.moves import adapt, how
from tapcore.training.plan import MOST, Plan, default_epochs

RNG = np.random.default_rng(0)
X = (RNG.random((40, 1)) < 0.5) ^ (RNG.random((40, 6)) < 0.2)
RBM = tc.RBM(tc.Binary(6, U=0.1), tc.Binary(4), sigma=0.3, seed=1)
# One batch an epoch, whose chains go far: the gradient is that of all the data.
WHOLE: dict[str, Any] = {"batch_size": 40, "chains": 40, "sweeps": 300, "penalty": None, "momentum": 0.5}


def gradient(machine: tc.Machine) -> dict[str, np.ndarray]:
    own = tc.gradient(machine, X, tc.solve(machine, X, tol=1e-13))
    return {"W": own.weights[0], "v": own.layers[0]["U"], "h": own.layers[1]["U"]}


def arrays(machine: tc.Machine) -> dict[str, np.ndarray]:
    return {"W": machine.weights[0], "v": machine.layers[0].U, "h": machine.layers[1].U}  # type: ignore[attr-defined]


def assert_near(machine: tc.Machine, expected: dict[str, np.ndarray]) -> None:
    for name, value in arrays(machine).items():
        assert_allclose(value, expected[name], atol=1e-9)


def test_adam_is_adam_and_leaves_the_penalty_out() -> None:
    rate, b1, b2, decay, epochs = 0.01, 0.8, 0.95, 0.3, 4
    options = WHOLE | {"momentum": None, "penalty": tc.L2(decay), "optimizer": tc.Adam(b1, b2), "learning_rate": rate}
    now = arrays(RBM)
    mean = {name: np.zeros_like(x) for name, x in now.items()}
    square = {name: np.zeros_like(x) for name, x in now.items()}
    machine = RBM
    for t in range(1, epochs + 1):
        for name, g in gradient(machine).items():
            mean[name] = b1 * mean[name] + (1 - b1) * g
            square[name] = b2 * square[name] + (1 - b2) * g**2
            at = rate * math.sqrt(1 - b2**t) / (1 - b1**t)
            step = at * mean[name] / (np.sqrt(square[name]) + 1e-8)
            now[name] = now[name] + step - (at * decay * now[name] if name == "W" else 0)
        layers = [tc.Binary(6, U=now["v"]), tc.Binary(4, U=now["h"])]
        machine = tc.RBM(*layers, weights=now["W"])
    assert_near(fit_as_paper(RBM, X, epochs=epochs, **options).machine, now)


def test_momentum_is_the_optimizer_unless_another_is_given() -> None:
    options = {"epochs": 3, "learning_rate": 0.1, "batch_size": 10}
    assert (
        tc.fit(RBM, X, momentum=0.7, **options).machine == tc.fit(RBM, X, optimizer=tc.Momentum(0.7), **options).machine
    )
    default = tc.fit(RBM, X, **options).machine  # whose rate is given
    assert default == tc.fit(RBM, X, optimizer=tc.Momentum(), **options).machine
    assert default != tc.fit(RBM, X, optimizer=tc.Adam(), **options).machine


@pytest.mark.nojit
def test_adam_s_direction_does_not_depend_on_the_size_of_derivatives() -> None:
    for dtype in (np.float64, np.float32):
        mean, square, g = (np.zeros(5, dtype) for _ in range(3))
        g[:] = [1.0, -1.0, 1e-3, -1e-3, 0.0]
        adapt(mean, square, g, 0.9, 0.999)
        at = how(tc.Adam(0.9, 0.999), None, 1.0, 1).rate
        assert_allclose(at * g, [1, -1, 1, -1, 0], rtol=1e-3)


@pytest.mark.parametrize("kind", [tc.Momentum, tc.Adam])
@pytest.mark.parametrize("bad", [1.0, -0.1, math.nan, "much"])
def test_shares_that_are_none_are_refused(kind: Any, bad: Any) -> None:
    with pytest.raises(ValueError, match="share must be"):
        kind(bad)


SHAPES: list[tuple[Any, list[float]]] = [
    (tc.Constant(), [1, 1, 1, 1, 1]),
    (tc.Linear(), [1, 0.75, 0.5, 0.25, 0]),
    (tc.Linear(hold=0.5), [1, 1, 1, 0.5, 0]),
    (tc.Cosine(), [1, (1 + math.sqrt(0.5)) / 2, 0.5, (1 - math.sqrt(0.5)) / 2, 0]),
    (tc.Steps(2, 0.1), [1, 1, 0.1, 0.1, 0.1]),
    (tc.Steps(4, 0.5), [1, 0.5, 0.25, 0.125, 0.125]),
]


@pytest.mark.parametrize(("schedule", "factors"), SHAPES, ids=lambda x: str(x)[:20])
def test_schedules_by_hand(schedule: Any, factors: list[float]) -> None:
    assert_allclose([schedule.at(done) for done in (0, 0.25, 0.5, 0.75, 1)], factors, atol=1e-15)
    history = tc.fit(RBM, X, epochs=4, learning_rate=0.1, schedule=schedule).history
    assert_allclose(history.learning_rate, 0.1 * np.array(factors[:4]), rtol=1e-14)


def test_rates_fall_within_an_epoch_too() -> None:
    plan = Plan.of(tc.Settings(epochs=1, learning_rate=0.1, schedule=tc.Linear()), RBM, len(X))
    assert [plan.rate(0, done) for done in (0.0, 0.5)] == [0.1, 0.05]
    falling = tc.fit(RBM, X, epochs=1, learning_rate=0.1, schedule=tc.Linear(), batch_size=10).machine
    assert falling != tc.fit(RBM, X, epochs=1, learning_rate=0.1, batch_size=10).machine


def test_what_is_not_given_suits_the_units() -> None:
    def plan(machine: tc.Machine, **how: Any) -> Plan:
        return Plan.of(tc.Settings(**how), machine, 100)

    spins = tc.RBM(tc.Spin(6), tc.Binary(4), seed=0)
    assert (plan(RBM).optimizer, plan(RBM).learning_rate, plan(RBM).dtype) == (tc.Momentum(), 0.2, "float32")
    assert plan(RBM, gradient="pcd").learning_rate == 0.2
    # Where nothing is drawn by chance, smaller steps.
    assert plan(RBM, pinning=0.0).learning_rate == plan(RBM, gradient="adatap").learning_rate == 0.05
    # The same steps of the law in spins, and half of them where chance keeps chains apart.
    assert plan(spins, pinning=0.0).learning_rate == 0.0125
    assert plan(spins).learning_rate == 0.025
    assert plan(tc.RBM(tc.Spin(6), tc.Spin(4), seed=0)).learning_rate == 0.1 / 16
    real = tc.RBM(tc.Gaussian(6), tc.Binary(4), seed=0)
    assert (plan(real).optimizer, plan(real).learning_rate, plan(real).dtype) == (tc.Adam(), 0.002, "float64")
    for given in ({"momentum": 0.5}, {"learning_rate": 0.1}, {"optimizer": tc.Momentum()}):
        assert plan(real, **given).optimizer == tc.Momentum()
    assert plan(real, gradient="adatap").chain_init == plan(real, gradient="rbp").chain_init == "data"


def test_weights_of_spins_move_as_those_of_bits() -> None:
    W = np.random.default_rng(0).normal(0, 0.3, (6, 4))
    bits = tc.RBM(tc.Binary(6), tc.Binary(4), weights=W)
    spins = tc.RBM(tc.Spin(6), tc.Binary(4, U=W.sum(axis=0) / 2), weights=W / 2)
    how: dict[str, Any] = {"epochs": 1, "dtype": "float64", "penalty": None, "batch_size": len(X), "pinning": 0.0}
    one, other = tc.fit(bits, X, **how).machine, tc.fit(spins, 2.0 * X - 1, **how).machine
    assert_allclose(2 * other.weights[0], one.weights[0], rtol=1e-12)


def test_a_rate_that_is_given_stays_and_the_default_falls_to_nothing() -> None:
    assert_array_equal(tc.fit(RBM, X, epochs=4, learning_rate=0.1).history.learning_rate, 0.1)
    assert_allclose(tc.fit(RBM, X, epochs=4).history.learning_rate, [0.2, 0.15, 0.1, 0.05])


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda: tc.Linear(hold=1), "hold must be at least 0 and below 1"),
        (lambda: tc.Steps(0), "count must be an integer of at least 1"),
        (lambda: tc.Steps(2, 1.5), "factor must be at least 0 and at most 1"),
    ],
)
def test_schedules_that_are_none_are_refused(call: Any, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        call()


# --- How long ---


def test_as_many_epochs_as_the_data_need() -> None:
    assert [default_epochs(n, 100) for n in (60_000, 10**8, 10, 20_000)] == [33, 1, MOST, 100]
    for samples, batch, epochs in ((60_000, 100, 33), (1797, 17, MOST), (40, 10, MOST)):
        plan = Plan.of(tc.Settings(), RBM, samples)
        assert (plan.batch_size, plan.epochs) == (batch, epochs)


def test_a_run_of_so_many_seconds_ends_when_they_are_over() -> None:
    history = tc.fit(RBM, X, seconds=0.2, batch_size=10).history
    spent = history.seconds.sum()
    assert spent >= 0.2
    assert spent - history.seconds[-1] < 0.2  # no epoch begins after that
    rates = history.learning_rate
    assert (np.diff(rates) < 0).all()
    assert rates[0] == pytest.approx(0.2)


def test_no_time_is_one_batch() -> None:
    training = tc.Training(RBM, X, tc.Settings(seconds=0.0, batch_size=10))
    assert training.epochs is None
    assert not training.finished
    assert len(list(training)) == 1
    assert training.finished
    assert repr(training) == "<Training: 1 epochs done>"
    with pytest.raises(ValueError, match="step needs an epoch that is left: all 1 are done"):
        training.step()


def test_time_is_cut_short_within_an_epoch_and_the_deep_share_it(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]

    def clock() -> float:
        now[0] += 0.25
        return now[0]

    monkeypatch.setattr("tapcore.training.trainer.time.perf_counter", clock)
    batches: list[int] = []
    training = tc.Training(RBM, X, tc.Settings(seconds=5.0, batch_size=1))
    training.step(lambda: batches.append(training.batch))
    assert 0 < len(batches) < 40
    assert training.finished
    deep = tc.DBM(tc.Binary(6), tc.Binary(4), tc.Binary(3), sigma=0.3, seed=1)
    history = tc.fit(deep, X, seconds=9.0, batch_size=10).history
    assert set(history.stage) == {1, 2, 0}
    assert set(tc.fit(deep, X, seconds=9.0, batch_size=10, pretrain=0).history.stage) == {0}


@pytest.mark.parametrize("more", [{}, {"optimizer": tc.Adam()}, {"gradient": "pcd"}], ids=["tap", "adam", "pcd"])
def test_the_recipe_resumes_to_the_bit(more: dict[str, Any], tmp_path: Path) -> None:
    options = {"epochs": 6, "batch_size": 7, "chains": 9, **more}
    whole = tc.fit(RBM, X, **options)
    calls: list[int] = []

    def done() -> None:
        calls.append(1)
        if len(calls) == 20:
            raise InterruptedError

    training = tc.Training(RBM, X, tc.Settings(**options), checkpoint=tmp_path)
    while len(calls) < 20:
        with suppress(InterruptedError):
            training.step(done)
    training.save()
    rest = tc.fit(RBM, X, **options, checkpoint=tmp_path, resume=True)
    assert rest.machine == whole.machine == tc.load(tmp_path)
    assert rest.machine.dtype == "float64"
    assert_array_equal(rest.history.log_likelihood, whole.history.log_likelihood)


def test_digits_are_learned_by_default() -> None:
    pytest.importorskip("sklearn", reason="the digits come with scikit-learn")
    digits = tc.datasets.load("digits", threshold=7.5)
    machine = tc.fit(tc.RBM(tc.Binary(64), tc.Binary(16), seed=0), digits, epochs=25).machine
    independent = tc.fit(tc.RBM(tc.Binary(64), tc.Binary(16), seed=0), digits, epochs=0).machine
    start = tc.log_likelihood(independent, digits, tc.solve(independent, digits[:1]).free_energy).mean()
    assert tc.exact.log_likelihood(machine, digits).mean() > start + 4  # nats; independent pixels have -25


def test_paper_settings_are_those_of_table_one() -> None:
    paper = tc.paper_settings()
    assert (paper.epochs, paper.batch_size, paper.chains, paper.sweeps) == (100, 100, 100, 10)
    assert (paper.learning_rate, paper.momentum, paper.penalty) == (0.005, 0.5, tc.L2(0.001))
    assert (paper.chain_init, paper.center, paper.gradient, paper.dtype) == ("data", False, "tap", "float64")
    assert tc.paper_settings(epochs=3).epochs == 3
    assert tc.paper_settings(seconds=3).epochs is None
