"""Training by parallel trajectory tempering: chains that cross between modes, the ladder, resumed runs, threads."""

from __future__ import annotations

import contextlib
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cases import fit_as_paper, random_rbm
from numpy.testing import assert_allclose, assert_array_equal

import tapcore as tc
from tapcore._base.threads import thread_limit
from tapcore.equations.compiled import compiled
from tapcore.sampling.bennett import resampled
from tapcore.sampling.ladder import Pair
from tapcore.training import rungs
from tapcore.training.phases import phase_for
from tapcore.training.plan import Plan
from tapcore.training.rungs import TrainingLadder, _expected, _log_odds
from tapcore.training.sampled_phases import GibbsPhase, LadderPhase
from tapcore.units.sites import MOMENTS

# All units up, or all down, the former with two thirds of the law; chains of Gibbs sampling do not cross.
TWO_MODES = tc.RBM(tc.Spin(16, U=0.02), tc.Spin(4), weights=np.full((16, 4), 0.9))


def phase_of(machine: tc.Machine, gradient: str, chains: int) -> Any:
    return phase_for(machine, Plan.of(tc.Settings(epochs=1, gradient=gradient, chains=chains), machine, 100))


def run(phase: Any, machine: tc.Machine, batches: range) -> Any:
    """Chains of a machine that does not train, after each of these batches."""
    own = compiled(machine.layers, machine.weights, 1, MOMENTS)
    for batch in batches:
        phase.run(lambda: machine, own, (3, 0, batch))
        yield phase.model(machine.layers, slice(None)).moments.mean


def averages(phase: Any, machine: tc.Machine, batches: range) -> tuple[np.ndarray, np.ndarray]:
    """Of visible units, and of their products with hidden ones."""
    found = [(x.mean(axis=0), x.T @ h / len(x)) for x, h in run(phase, machine, batches)]
    return np.mean([m for m, _ in found], axis=0), np.mean([p for _, p in found], axis=0)


def test_chains_of_the_ladder_have_the_exact_means_where_others_are_stuck_in_a_mode() -> None:
    exact = tc.exact.moments(TWO_MODES)
    assert 0.2 < exact.mean[0].min() <= exact.mean[0].max() < 0.4
    found = {}
    for gradient in ("pcd", "ptt"):
        phase = phase_of(TWO_MODES, gradient, 400)
        phase.start(np.ones((400, 16)))
        list(run(phase, TWO_MODES, range(150)))
        found[gradient] = averages(phase, TWO_MODES, range(150, 450))
    assert found["pcd"][0].min() > 0.9
    # From 150 batches to the next, averages differ by a standard deviation of 0.025.
    assert_allclose(found["ptt"][0], exact.mean[0], atol=0.05)
    assert_allclose(found["ptt"][1], exact.pair[0], atol=0.01)


@pytest.mark.parametrize(
    ("kind", "dtype"),
    [
        ("Binary", "float32"), ("Spin", "float32"), ("Gaussian", "float64"), ("TruncatedGaussian", "float64"),
        ("GaussBernoulli", "float64"), ("TruncatedGaussBernoulli", "float32"),
    ],
)  # fmt: skip
def test_exchanges_leave_the_law_of_every_unit_as_it_is(kind: str, dtype: str) -> None:
    machine = random_rbm(11, kind, "Binary", sizes=(8, 4), sigma=2.0).replace(dtype=dtype)
    phase = phase_of(machine, "ptt", 400)
    phase.start(tc.sample(machine, 400, sweeps=1, seed=1))
    means, pairs = averages(phase, machine, range(200))
    exact = tc.exact.moments(machine.replace(dtype="float64"))
    assert len(phase.ladder.rungs) > 1
    # The largest of the pairs are from 0.8 to 3.2.
    assert_allclose(means, exact.mean[0], atol=0.03)
    assert_allclose(pairs, exact.pair[0], atol=0.03)


# --- The ladder ---


STRONG = tc.RBM(tc.Spin(30), tc.Spin(10), sigma=1.0, seed=0)


def grown(most: int, monkeypatch: pytest.MonkeyPatch) -> TrainingLadder:
    """Of a machine whose couplings grow in each of 300 batches."""
    monkeypatch.setattr(rungs, "MOST", most)
    phase = phase_of(STRONG, "ptt", 50)
    phase.start(np.ones((50, 30)))
    for batch in range(300):
        machine = STRONG.replace(weights=[STRONG.weights[0] * batch / 300])
        list(run(phase, machine, range(batch, batch + 1)))
    return phase.ladder  # type: ignore[no-any-return]


def strengths(ladder: TrainingLadder, machine: tc.Machine) -> list[float]:
    """Couplings of each rung, as a share of those of the machine."""
    return [float(rung.law.machine.weights[0][0, 0] / machine.weights[0][0, 0]) for rung in ladder.rungs]


def test_rungs_are_earlier_machines_and_their_neighbours_change_places(monkeypatch: pytest.MonkeyPatch) -> None:
    ladder = grown(24, monkeypatch)
    parts = np.array(strengths(ladder, STRONG))
    assert 4 <= len(parts) <= 8
    assert parts[0] == 0.0
    assert (np.diff(parts) > 0).all()
    assert_allclose(300 * parts, np.round(300 * parts), atol=1e-4)  # copies, nothing in between
    accepted = [_expected(_log_odds(pair)) for pair in ladder._pairs]
    assert min(accepted) > 0.12
    assert max(accepted) < 0.6
    for r, pair in enumerate(ladder._pairs):
        assert (pair.low, pair.high) == (ladder.rungs[r], ladder.rungs[r + 1])


def test_rungs_are_bounded_and_the_one_needed_least_goes(monkeypatch: pytest.MonkeyPatch) -> None:
    gone: list[int] = []
    thin = TrainingLadder._thin

    def seen(ladder: TrainingLadder) -> None:
        rows = list(ladder.rungs)
        assert len(rows) == 4
        spared = [_expected(_log_odds(Pair(rows[r - 1], rows[r + 1]))) for r in (1, 2)]
        thin(ladder)
        (lacking,) = (r for r in range(4) if rows[r] not in ladder.rungs)
        assert spared[lacking - 1] == max(spared)
        gone.append(lacking)

    monkeypatch.setattr(TrainingLadder, "_thin", seen)
    ladder = grown(3, monkeypatch)
    assert gone
    assert len(ladder.rungs) == 3
    assert strengths(ladder, STRONG)[0] == 0.0
    assert 0 <= ladder.turn < 3
    for r, pair in enumerate(ladder._pairs):
        assert (pair.low, pair.high) == (ladder.rungs[r], ladder.rungs[r + 1])


def test_a_machine_that_is_far_away_is_reached_in_steps() -> None:
    phase = phase_of(TWO_MODES, "ptt", 200)
    phase.start(np.ones((200, 16)))
    list(run(phase, TWO_MODES, range(60)))
    parts = np.array(strengths(phase.ladder, TWO_MODES))
    assert len(parts) > 2
    assert 0.3 < parts[-1] <= 1.0
    halves = np.log2((1 - parts[:-1]) / np.diff(parts))  # each a half, a quarter, ... of the way that is left
    assert_allclose(halves, np.round(halves), atol=1e-9)
    assert (halves > -0.5).all()


def test_a_rung_in_between_takes_chains_by_their_weights() -> None:
    ladder = TrainingLadder(TWO_MODES, 200, 0)
    rung = ladder.rungs[0]
    rung.moves.sweep()
    machine, rows = ladder._halfway(TWO_MODES, np.random.default_rng(0))
    # Ln of the sum over hidden units of the weights, less that without couplings.
    u = np.log(np.cosh(rung.even[0] @ machine.weights[0])).sum(axis=1)
    assert_array_equal(rows, resampled(u, np.random.default_rng(0).random()))
    assert machine.weights[0][0, 0] in (0.45, 0.225, 0.1125)


def test_no_rung_is_of_a_machine_without_a_law() -> None:
    machine = tc.RBM(tc.Gaussian(3, V=1.0), tc.Gaussian(2, V=1.0), weights=np.full((3, 2), 0.6))
    phase = phase_of(machine, "ptt", 20)
    phase.start(np.zeros((20, 3)))
    list(run(phase, machine, range(20)))
    assert len(phase.ladder.rungs) == 1
    assert phase.ladder.acceptance < 0.3


def test_lost_chains_stay_where_they_are() -> None:
    phase = phase_of(TWO_MODES, "ptt", 10)
    start = np.ones((10, 16))
    start[3] = np.nan
    phase.start(start)
    for _ in run(phase, TWO_MODES, range(5)):
        assert_array_equal(phase.lost(), np.arange(10) == 3)
        assert all(np.isfinite(rung.even[0]).all() for rung in phase.ladder.rungs)
        assert math.isnan(phase.ladder.acceptance) or 0 <= phase.ladder.acceptance <= 1


# --- Training ---


def patterns(count: int = 200) -> np.ndarray:
    rng = np.random.default_rng(1)
    some = rng.random((4, 14)) < 0.5
    return some[rng.integers(4, size=count)] ^ (rng.random((count, 14)) < 0.02)


HOW: dict[str, Any] = {
    "epochs": 8, "batch_size": 20, "chains": 20, "learning_rate": 1.0, "gradient": "ptt", "progress": False,
}  # fmt: skip


def test_likelihood_is_no_less_than_by_pcd() -> None:
    X = patterns()
    found = {}
    for gradient in ("pcd", "ptt"):
        machine, history = tc.fit(
            tc.RBM(tc.Binary(14), tc.Binary(6), seed=0), X,
            **HOW | {"epochs": 30, "learning_rate": 0.3, "gradient": gradient},
        )  # fmt: skip
        found[gradient] = tc.exact.log_likelihood(machine, X).mean()
    assert history.rungs[-1] > 2
    assert found["ptt"] > found["pcd"]


def test_history_tells_of_the_ladder() -> None:
    X, machine = patterns(), tc.RBM(tc.Binary(14), tc.Binary(6), seed=0)
    history = tc.fit(machine, X, **HOW).history
    assert history.rungs.dtype == np.int64
    assert history.rungs[0] >= 1
    assert history.rungs[-1] > 2
    assert (np.diff(history.rungs) >= 0).all()
    known = history.acceptance[~np.isnan(history.acceptance)]
    assert len(known)
    assert ((known > 0) & (known <= 1)).all()
    assert tc.History.from_array(history.to_array()) == history
    other = tc.fit(machine, X, **HOW | {"gradient": "pcd", "epochs": 1}).history
    assert np.isnan(other.acceptance[0])
    assert other.rungs[0] == 0


class Enough(Exception):
    pass


def train_for(batches: int, training: tc.Training) -> None:
    """So many batches, the last of which may be within an epoch."""
    left = [batches]

    def done() -> None:
        left[0] -= 1
        if left[0] == 0:
            raise Enough

    with contextlib.suppress(Enough):
        while left[0]:
            training.step(done)


@pytest.mark.parametrize("visible", ["Binary", "Gaussian", "Mixed"])
@pytest.mark.parametrize("batches", [1, 31, 63])
def test_resuming_gives_the_same_bits(visible: str, batches: int, tmp_path: Path) -> None:
    X = patterns().astype(float)
    layers = {
        "Binary": tc.Binary(14), "Gaussian": tc.Gaussian(14),
        "Mixed": tc.Mixed(tc.Binary(5), tc.TruncatedGaussian(9)),
    }  # fmt: skip
    if visible != "Binary":
        X[:, 5:] = 0.5 + 0.4 * (X[:, 5:] - 0.5) + np.random.default_rng(2).normal(0, 0.02, (200, 9))
    machine = tc.RBM(layers[visible], tc.Binary(6), sigma=0.3, seed=0)
    how = HOW | ({} if visible == "Binary" else {"optimizer": tc.Adam(), "learning_rate": 0.06})
    whole, history = tc.fit(machine, X, **how)
    assert history.rungs[-1] > 2
    assert batches == 1 or history.rungs[(batches - 1) // 10] > 1
    settings = tc.Settings(**{name: value for name, value in how.items() if name != "progress"})
    training = tc.Training(machine, X, settings, checkpoint=tmp_path)
    train_for(batches, training)
    training.save()
    # Whatever machine is given: that of the checkpoint is taken, rung 0 included.
    again = machine.replace(weights=[1.5 * machine.weights[0]])
    if visible == "Binary":
        again = again.replace(layers=(tc.Binary(14, U=0.5), tc.Binary(6, U=0.2)))
    resumed = tc.fit(again, X, checkpoint=tmp_path, resume=True, **how)
    assert resumed.machine == whole
    assert [r._replace(seconds=0.0) for r in resumed.history] == [r._replace(seconds=0.0) for r in history]


@pytest.mark.usefixtures("all_threads")
def test_does_not_depend_on_threads() -> None:
    X, machine = patterns(), tc.RBM(tc.Binary(14), tc.Binary(6), seed=0)
    how = HOW | {"chains": 200, "learning_rate": 2.0}
    first = fit_as_paper(machine, X, **how)
    with thread_limit(1):
        again = fit_as_paper(machine, X, **how)
    assert first.history.rungs[-1] > 2
    assert_array_equal(first.history.rungs, again.history.rungs)
    assert_allclose(first.machine.weights[0], again.machine.weights[0], atol=1e-12)
    assert fit_as_paper(machine, X, **how).machine == first.machine
    assert (first.machine.weights[0] != fit_as_paper(machine, X, **how | {"seed": 1}).machine.weights[0]).all()


@pytest.mark.filterwarnings("ignore:overflow", "ignore:invalid value")
def test_divergence_is_said_as_of_other_gradients() -> None:
    machine = tc.RBM(tc.Binary(14), tc.Binary(6), seed=0)
    for gradient in ("pcd", "ptt"):
        with pytest.raises(FloatingPointError, match="training diverged in epoch 1: "):
            tc.fit(machine, patterns(), **HOW | {"gradient": gradient, "learning_rate": 1e38})


def test_who_trains_by_what() -> None:
    assert type(phase_of(TWO_MODES, "pcd", 2)) is GibbsPhase
    assert type(phase_of(TWO_MODES, "ptt", 2)) is LadderPhase
    with pytest.raises(ValueError, match="chain_init must be 'persistent' for gradient 'ptt', got 'data'"):
        tc.Settings(gradient="ptt", chain_init="data")
    deep = tc.DBM(tc.Binary(14), tc.Binary(4), tc.Binary(3), seed=0)
    with pytest.raises(ValueError, match="for a machine of more than two layers, got 'ptt'"):
        tc.fit(deep, patterns(), **HOW)
