"""Ladders of a run's machines against enumeration: weights, laws, ln Z with its errors and doubts, journeys."""

from __future__ import annotations

import itertools
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cases import FIRST_ORDER, both, random_rbm, twenty_machines
from numpy.testing import assert_allclose, assert_array_equal
from unit_cases import EVERY_UNIT

import tapcore as tc
from tapcore._base.threads import thread_limit
from tapcore.sampling import sampler, trajectory
from tapcore.sampling.centres import Centres, centres_of
from tapcore.sampling.gibbs_chains import GibbsChains
from tapcore.sampling.laws import Law, LogWeights, Mixture
from tapcore.sampling.modes import Modes
from tapcore.sampling.paths import Shares, settled_centres
from tapcore.sampling.way import Machines, Way

DISTRUST = pytest.mark.filterwarnings("ignore:log_z. the estimate is not to be trusted")


@DISTRUST
def test_three_errors_hold_the_truth_of_twenty_machines_or_there_are_doubts() -> None:
    machines = twenty_machines()
    assert len(machines) == 20
    trusted = 0
    for n, machine in enumerate(machines):
        ladder = tc.TrajectoryTempering(machine, 100, seed=n)
        ladder.sweep(120)
        found = ladder.log_z()
        trusted += found.trusted
        assert found.doubts or abs(found.log_z - tc.exact.log_z(machine)) < 3 * found.standard_error, n
        assert found.standard_error < 0.1
    assert trusted >= 18


def without_modes(machine: tc.Machine, *_: Any) -> tuple[Centres, Shares]:
    """One centre, that of units without couplings."""
    means = tuple(layer.moments(0.0, 0.0)[1][None] for layer in machine.layers)
    modes = Modes(means, np.zeros(1), 0.0)
    centres = centres_of(
        machine.replace(weights=[0 * W for W in machine.weights]), modes, np.zeros(1), np.zeros(1, int)
    )
    return centres, Shares(np.zeros(1), np.zeros(1))


def from_the_first(machines: Machines, seed: int, rows: Any) -> Way:
    """As where later machines have more modes than are found."""
    return Way(machines, settled_centres(machines[0], seed, rows)[0])


@DISTRUST
@pytest.mark.parametrize("way", ["tempered", "run"])
def test_a_phase_that_no_chain_finds_is_doubted(way: str, monkeypatch: pytest.MonkeyPatch) -> None:
    # From units at 0 on, where those at 1 are all of the law in the end.
    if way == "tempered":
        monkeypatch.setattr(trajectory, "settled_centres", without_modes)
    else:
        monkeypatch.setattr(trajectory, "_way", from_the_first)
    part = [FIRST_ORDER.replace(weights=[t * W for W in FIRST_ORDER.weights]) for t in (0.0, 0.25, 0.5, 0.75, 1.0)]
    for seed in range(3):
        ladder = tc.TrajectoryTempering(FIRST_ORDER if way == "tempered" else part, 50, seed=seed)
        ladder.sweep(100)
        found = ladder.log_z()
        assert "modes without any chain" in found.doubts[-1]
        assert abs(found.log_z - tc.exact.log_z(FIRST_ORDER)) > 3 * found.standard_error  # nothing else would tell


def every_state(machine: tc.Machine, law: Law) -> np.ndarray:
    """Ln of the weights of all states of even layers."""
    even = machine.layers[::2]
    states = np.array(list(itertools.product(*[u.levels for u in even for _ in range(u.n)])))  # type: ignore[misc]
    chains = GibbsChains(machine, len(states))
    ends = np.cumsum([u.n for u in even])[:-1]
    for to, x in zip(chains.state.mean[::2], np.split(states, ends, axis=1), strict=True):
        to[:] = x
    return LogWeights(law, chains).find()


@pytest.mark.nojit
@pytest.mark.parametrize("shape", ["binary-spin", "spin-binary-spin-spin"])
def test_weights_add_up_to_z(shape: str) -> None:
    _, _, machine = both(shape, sigma=1.0)
    modes = Modes(tuple(np.linspace(0.1, 0.9, 2 * n).reshape(2, n) for n in machine.sizes), np.zeros(2), 0.0)
    centres = centres_of(machine, modes, np.log([0.3, 0.7]), np.arange(2))
    mixture = Mixture.of(machine, centres)
    logs = [np.logaddexp.reduce(every_state(machine, Law(machine, mixture, beta))) for beta in (0.0, 0.5, 1.0)]
    assert_allclose([logs[0], logs[2]], [0.0, tc.exact.log_z(machine)], atol=1e-11)
    # Between: both centres, each a machine with couplings half as large and fields.
    expected = -np.inf
    for c in range(2):
        layers = [
            u.with_parameters({"U": u.U + 0.5 * F[c]}) for u, F in zip(machine.layers, centres.fields, strict=True)
        ]
        half = machine.replace(layers=layers, weights=[0.5 * W for W in machine.weights])
        expected = np.logaddexp(expected, 0.5 * mixture.logs[c] + tc.exact.log_z(half))
    assert logs[1] == pytest.approx(expected, abs=1e-11)


@EVERY_UNIT
def test_weights_of_every_unit(kind: str) -> None:
    machines = [random_rbm(seed, kind, "Binary", sizes=(5, 4)) for seed in (1, 2)]
    if machines[0].layers[0].fixed:
        ends = {name: machines[0].layers[0].parameters[name] for name in machines[0].layers[0].fixed}
        layer = machines[1].layers[0]
        machines[1] = machines[1].replace(
            layers=[layer.with_parameters(layer.parameters | ends), machines[1].layers[1]]
        )
    laws = [Law(m, Mixture.of(m, without_modes(m)[0])) for m in machines]
    chains = GibbsChains(machines[0], 6)
    chains.seed(3)
    chains.begin()
    x = chains.state.mean[0]
    own = [m.layers[0].log_weight(x).sum(1) + m.layers[1].moments(x @ m.weights[0], 0.0)[0].sum(1) for m in machines]
    first, second = (LogWeights(law, chains).find() for law in laws)
    assert_allclose(second - first, own[1] - own[0], atol=1e-11)


@pytest.mark.parametrize("shape", ["spin-binary", "binary-spin-binary"])
def test_chains_of_the_last_rung_have_its_law(shape: str, monkeypatch: pytest.MonkeyPatch) -> None:
    _, _, machine = both(shape, seed=5, sigma=1.5)
    weaker = [machine.replace(weights=[t * W for W in machine.weights]) for t in (0.0, 0.4)]
    monkeypatch.setattr(trajectory, "_way", from_the_first)
    ladder = tc.TrajectoryTempering([*weaker, machine], 4000, seed=1)
    ladder.sweep(12)
    exact = tc.exact.moments(machine)
    pairs = itertools.pairwise(ladder.layers)
    for x, mean, var in zip(ladder.layers, exact.mean, exact.var, strict=True):
        assert (np.abs(x.mean(axis=0) - mean) < 4 * np.sqrt(var / 4000)).all()
    for (x, h), pair in zip(pairs, exact.pair, strict=True):
        assert (np.abs(x.T @ h / 4000 - pair) < 4 / np.sqrt(4000)).all()


def test_journeys_are_counted() -> None:
    # Of independent units every exchange takes place: from the second on, each brings a value back.
    ladder = tc.TrajectoryTempering(random_rbm(1, sigma=0.0), 3)
    assert np.isnan(ladder.acceptance).all()
    ladder.sweep(20)
    assert_array_equal(ladder.rungs, [0.0, 1.0])
    assert_array_equal(ladder.acceptance, [1.0])
    assert_array_equal(ladder.round_trips, [9, 9, 9])
    found = ladder.log_z()
    assert found.log_z == pytest.approx(tc.exact.log_z(ladder.machines[0]), abs=1e-12)
    assert found.standard_error < 1e-12
    assert found.trusted


def trained(folder: Path) -> list[tc.Machine]:
    """Machines of a run whose checkpoints are in the folder."""
    machine = random_rbm(6, sizes=(10, 5), sigma=0.0)
    X = tc.sample(random_rbm(7, sizes=(10, 5), sigma=2.5), 300, sweeps=30, progress=False)
    settings: dict[str, Any] = {"epochs": 12, "gradient": "pcd", "learning_rate": 0.3, "batch_size": 30, "seed": 1}
    tc.fit(machine, X, checkpoint=folder, progress=False, **settings)
    return [tc.load(path) for path in sorted(folder.glob("*.safetensors"))]


@pytest.mark.parametrize("start", [0, 12])
def test_every_machine_of_a_run_has_its_ln_z(start: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    machines = trained(tmp_path)
    if start == 0:
        monkeypatch.setattr(trajectory, "_way", from_the_first)
    ladder = tc.TrajectoryTempering(tmp_path, 200, seed=2)
    ladder.sweep(60)
    assert len(ladder.machines) == len(machines) == 13
    assert len(ladder.rungs) < 14  # some are no rungs
    assert (len(ladder._earlier), ladder._way.start) == (0, start)
    for n, machine in enumerate(machines):
        found = ladder.log_z(n)
        assert abs(found.log_z - tc.exact.log_z(machine)) < 3.5 * found.standard_error < 0.2
        assert found.trusted
        assert ladder.machines[n] == machine.replace(dtype="float64")
    assert ladder.log_z() == ladder.log_z(-1) == ladder.log_z(12)
    assert 0 < ladder.effective_samples <= 200 * 60
    assert 1 < ladder.autocorrelation < 20


def test_laws_between_machines() -> None:
    a, b = random_rbm(1), random_rbm(2)
    way = Way(Machines([a, b], "run"), settled_centres(a, 0)[0])
    law = way.law(1.25)
    assert law.beta == 1.0
    assert_allclose(law.machine.weights[0], 0.75 * a.weights[0] + 0.25 * b.weights[0])
    assert_allclose(law.machine.layers[0].parameters["U"], 0.75 * a.layers[0].U + 0.25 * b.layers[0].U)  # type: ignore[attr-defined]
    assert way.law(2.0).machine == b
    assert (way.law(1.0).machine, way.law(1.0).beta) == (a, 1.0)
    assert (way.law(0.5).machine, way.law(0.5).beta) == (a, 0.5)


@pytest.mark.usefixtures("all_threads")
def test_results_do_not_depend_on_threads() -> None:
    def run() -> tuple[Any, ...]:
        ladder = tc.TrajectoryTempering(random_rbm(4, sizes=(40, 20), sigma=0.5), 150, seed=5)
        ladder.sweep(30)
        return (*ladder.layers, np.array(ladder.log_z()), ladder.acceptance)

    several = run()
    with thread_limit(1):
        for one, other in zip(run(), several, strict=True):
            assert_allclose(one, other, rtol=1e-12)


@DISTRUST
def test_doubts_before_and_after_few_sweeps() -> None:
    ladder = tc.TrajectoryTempering(random_rbm(1), 5)
    assert "no sweeps" in ladder.log_z().doubts[0]
    assert np.isnan(ladder.autocorrelation)
    ladder.sweep(4)
    assert "few sweeps" in ladder.log_z().doubts[0]
    with pytest.warns(UserWarning, match="not to be trusted: there were few sweeps"):
        ladder.log_z()


@DISTRUST
@pytest.mark.parametrize(
    ("limit", "value", "doubt"),
    [
        ("_HARDLY", 1.1, "changed places in"),
        ("_OVERLAP", 0.6, "overlap by"),
        ("JOURNEYS", 10**9, "to the machine and back"),
        ("_TIMES", 1e9, "autocorrelation times"),
        ("_ERRORS", -1e9, "halves of the run"),
    ],
)
def test_each_limit_is_held(limit: str, value: float, doubt: str, monkeypatch: pytest.MonkeyPatch) -> None:
    ladder = tc.TrajectoryTempering(random_rbm(1, sigma=1.0), 40)
    ladder.sweep(60)
    assert ladder.log_z().trusted
    monkeypatch.setattr(trajectory, limit, value)
    (said,) = ladder.log_z().doubts
    assert doubt in said


def test_what_cannot_be_is_refused(tmp_path: Path) -> None:
    machine = random_rbm(1)
    for run, message in (
        ([], "run must be"),
        ([machine, 3], "run must be"),
        ([machine, random_rbm(1, sizes=(7, 4))], "run must all have the same layers and supports: number 1"),
        (tc.RBM(tc.Gaussian(2), tc.Gaussian(2), weights=2 * np.eye(2)), "machine must have a finite Z"),
    ):
        with pytest.raises(ValueError, match=message):
            tc.TrajectoryTempering(run)  # type: ignore[arg-type]
    intervals = [tc.RBM(tc.TruncatedGaussian(2, hi=hi), tc.Binary(2)) for hi in (1.0, 2.0)]
    with pytest.raises(ValueError, match="supports"):
        tc.TrajectoryTempering(intervals)
    with pytest.raises(FileNotFoundError, match="no checkpoints"):
        tc.TrajectoryTempering(tmp_path)
    for options in ({"chains": 1}, {"seed": -1}, {"data": np.zeros((2, 3))}, {"chains": 10**12}):
        with pytest.raises(ValueError, match=next(iter(options))):
            tc.TrajectoryTempering(machine, **options)  # type: ignore[arg-type]
    ladder = tc.TrajectoryTempering(machine, 2)
    with pytest.raises(ValueError, match="sweeps"):
        ladder.sweep(-1)
    for number in (1, -2):
        with pytest.raises(ValueError, match="machine must be"):
            ladder.log_z(number)


def test_trusted_estimates_do_not_warn() -> None:
    ladder = tc.TrajectoryTempering(random_rbm(2), 50)
    ladder.sweep(60)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert ladder.log_z().trusted


def test_samples_of_a_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    last = trained(tmp_path)[-1]
    monkeypatch.setattr(sampler, "_LADDERS", 40)
    x = tc.sample(tmp_path, 1010, sweeps=40, seed=3, progress=False)
    assert x.shape == (1010, 10)
    exact = tc.exact.moments(last)
    assert (np.abs(x.mean(axis=0) - exact.mean[0]) < 4.5 * np.sqrt(exact.var[0] / 1010)).all()
    # Samples of one ladder are two autocorrelation times apart: hardly alike.
    one = x[:1000].reshape(25, 40, 10) - exact.mean[0]
    assert abs((one[1:] * one[:-1]).mean() / exact.var[0].mean()) < 0.1
    assert_array_equal(x, tc.sample(str(tmp_path), 1010, sweeps=40, seed=3, progress=False))
    with pytest.warns(UserWarning, match="sample: samples may not .*: values went .* 0 times; .* sweeps, 0; take more"):
        assert tc.sample(tmp_path, 1, sweeps=0).shape == (1, 10)
    with pytest.warns(UserWarning, match=r"equilibrium: sweeps are \d.\d autocorrelation times; take more"):
        tc.sample(tmp_path, 40, sweeps=12, progress=False)


def test_a_run_leads_to_the_machine_that_stands_for_it(tmp_path: Path) -> None:
    machines = trained(tmp_path)
    assert len(tc.TrajectoryTempering(tmp_path, 2).machines) == 13
    # A checkpoint of the best epoch, which is not the newest: what came after it is no way there.
    best = tmp_path / "best.safetensors"
    best.write_bytes((tmp_path / "epoch-0007.safetensors").read_bytes())
    ladder = tc.TrajectoryTempering(tmp_path, 2)
    assert list(ladder.machines) == [m.replace(dtype="float64") for m in machines[:8]]
    assert ladder.machines[-1] == tc.load(tmp_path).replace(dtype="float64")
    # Of one that a user has put there nobody knows where it comes from.
    tc.save(best, machines[3])
    assert list(Machines(tmp_path, "run")) == [machines[3].replace(dtype="float64")]


def test_doubts_of_samples_are_few_round_trips_and_few_autocorrelation_times(monkeypatch: pytest.MonkeyPatch) -> None:
    ladder = tc.TrajectoryTempering(random_rbm(1, sigma=1.0), 40)
    assert len(ladder.doubts) == 2
    ladder.sweep(60)
    assert ladder.doubts == ()
    monkeypatch.setattr(trajectory, "JOURNEYS", 10**9)
    monkeypatch.setattr(trajectory, "_TIMES", 1e9)
    trips, times = ladder.doubts
    assert f"and back {ladder.round_trips.sum()} times" in trips
    assert times == f"sweeps are {60 / ladder.autocorrelation:.1f} autocorrelation times"


def test_what_is_for_a_machine_is_refused_of_a_run(tmp_path: Path) -> None:
    for name, value in (("init", np.zeros((2, 10))), ("replicas", 3)):
        with pytest.raises(ValueError, match=f"{name} is for a machine"):
            tc.sample(tmp_path, 2, **{name: value})  # type: ignore[arg-type]
    with pytest.raises(FileNotFoundError, match="no checkpoints"):
        tc.sample(tmp_path, 2)


def test_the_way_starts_where_all_modes_are_found(monkeypatch: pytest.MonkeyPatch) -> None:
    machines = Machines([random_rbm(1, sigma=0.1 * n) for n in range(9)], "run")
    assert trajectory._way(machines, 0, None).start == 8

    def few(machine: tc.Machine, seed: int, rows: Any) -> tuple[Centres, Shares]:
        centres, shares = settled_centres(machine, seed, rows)
        missed = 0.2 if machines[2] != machine else 0.0
        return centres._replace(modes=centres.modes._replace(missed=missed)), shares

    monkeypatch.setattr(trajectory, "settled_centres", few)
    assert trajectory._way(machines, 0, None).start == 2
