"""Scores: each number is what its own function says, and a machine of unknown ln Z is reported as such."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cases import random_rbm
from numpy.testing import assert_allclose

import tapcore as tc
from tapcore.evaluation import annealed, score
from tapcore.evaluation.equilibrium import equilibrium
from tapcore.evaluation.routes import verdict


def samples_of(machine: tc.Machine, n: int, seed: int = 0) -> np.ndarray:
    return tc.sample(machine, n, sweeps=200, seed=seed, progress=False)


@pytest.fixture(scope="module")
def machine() -> tc.Machine:
    return random_rbm(3, "Binary", "Binary", sizes=(12, 6), sigma=0.8)


@pytest.fixture(scope="module")
def found(machine: tc.Machine) -> tc.Score:
    data = samples_of(machine, 400)
    return tc.score(machine, data[:150], data=data[150:], chains=100, temperatures=300)


def test_both_routes_bracket_the_exact_log_likelihood(machine: tc.Machine, found: tc.Score) -> None:
    exact = tc.exact.log_likelihood(machine, samples_of(machine, 400)[:150]).mean()
    assert found.known
    assert found.doubts == ()
    for ours, route in ((found.log_likelihood, found.forward), (found.other_log_likelihood, found.reverse)):
        assert abs(ours - exact) < 4 * route.standard_error + 1e-9
        assert 10 < route.effective_chains <= 100


def test_tap_scores_are_those_of_solutions(machine: tc.Machine, found: tc.Score) -> None:
    X = samples_of(machine, 400)[:150]
    solutions = tc.solve(machine, X, tol=1e-6, max_sweeps=2000)
    assert_allclose(found.tap, tc.log_likelihood(machine, X, solutions.free_energy).mean(), rtol=1e-9)
    distinct = solutions.unique()
    assert found.solutions == len(distinct)
    weighted = tc.log_likelihood(machine, X, -distinct.averages().log_z).mean()
    assert_allclose(found.tap_weighted, weighted, rtol=1e-9)


def test_what_needs_no_ln_z(machine: tc.Machine, found: tc.Score) -> None:
    data = samples_of(machine, 400)
    X, rest = data[:150], data[150:]
    assert_allclose(found.pseudo_log_likelihood, tc.pseudo_log_likelihood(machine, X).mean(), rtol=1e-12)
    gap = tc.exact.log_likelihood(machine, rest).mean() - tc.exact.log_likelihood(machine, X).mean()
    assert_allclose(found.free_energy_gap, gap, atol=1e-9)
    assert found.samples == 150


def test_samples_from_scratch_are_as_the_data_of_a_machine_that_mixes(found: tc.Score) -> None:
    made = found.equilibrium
    assert made.samples == 500
    assert abs(made.mean_slope - 1) < 0.2
    assert made.mean_correlation > 0.9


def test_a_machine_that_did_not_learn_makes_other_samples() -> None:
    data = samples_of(random_rbm(3, "Binary", "Binary", sizes=(12, 6), sigma=2.0), 400)
    apart = tc.RBM(tc.Binary.from_data(data), tc.Binary(6))
    made = tc.score(apart, data, chains=10, temperatures=10).equilibrium
    assert abs(made.mean_slope - 1) < 0.2
    assert abs(made.pair_slope) < 0.2


def test_where_few_chains_carry_the_weight_ln_z_is_not_known() -> None:
    machine = random_rbm(2, "Spin", "Spin", sizes=(60, 40), sigma=0.4)
    found = tc.score(machine, samples_of(machine, 50), chains=50, temperatures=3)
    assert not found.known
    assert found.doubts
    assert all("of 50 chains carry all of the weight" in doubt for doubt in found.doubts)


def test_routes_that_do_not_meet_are_said_once_and_so_are_the_doubts_of_each() -> None:
    low = tc.AnnealedEstimate(10.0, 0.01, ("few chains",))
    high = tc.AnnealedEstimate(11.0, 0.02, ("odd ends",))
    apart = "forward and reverse do not meet: 10.000 and 11.000; try more temperatures"
    assert verdict({"forward": low, "reverse": high}) == (
        False, ("forward: few chains", "reverse: odd ends", apart),
    )  # fmt: skip
    assert annealed._doubted(high, low).doubts == ("odd ends", "forward, few chains", apart)
    low, lost = tc.AnnealedEstimate(10.0, 0.1), tc.AnnealedEstimate(float("nan"), 0.1)
    assert verdict({"forward": low, "reverse": tc.AnnealedEstimate(10.1, 0.1)}) == (True, ())
    assert not verdict({"forward": lost, "reverse": low})[0]
    assert "modes may be missing" in verdict({"forward": tc.AnnealedEstimate(11.0, 0.1), "reverse": low})[1][0]


@pytest.mark.parametrize(
    ("reverse", "ladder", "doubted", "known"),
    [
        (10.0, 10.0, "", True),
        (10.0, 11.0, "", False),  # the ladder contradicts
        (11.0, 10.0, "", False),
        (11.0, 10.0, "reverse", True),  # what has a doubt contradicts nothing
        (10.0, 11.0, "ladder", True),
        (10.0, 10.0, "forward", False),
        (10.0, 10.0, "reverse ladder", False),
        (9.65, 10.35, "", False),  # each meets forward, and not the other
    ],
)
def test_when_ln_z_is_known(reverse: float, ladder: float, doubted: str, known: bool) -> None:
    values = {"forward": 10.0, "reverse": reverse, "ladder": ladder}
    routes = {
        name: tc.AnnealedEstimate(value, 0.1, ("some doubt",) if name in doubted.split() else ())
        for name, value in values.items()
    }
    found, doubts = verdict(routes)
    assert found == known
    assert [d for d in doubts if "some" in d] == [f"{name}: some doubt" for name in values if name in doubted.split()]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of a machine that can be enumerated."""
    folder = tmp_path_factory.mktemp("run")
    X = samples_of(random_rbm(7, "Binary", "Binary", sizes=(12, 6), sigma=2.0), 400)
    settings: dict[str, Any] = {"epochs": 8, "gradient": "pcd", "learning_rate": 0.3, "batch_size": 40, "seed": 1}
    tc.fit(tc.RBM(tc.Binary(12), tc.Binary(6), seed=0), X, checkpoint=folder, progress=False, **settings)
    return folder


def of_run(folder: Path | str, **options: Any) -> tc.Score:
    return tc.score(folder, samples_of(tc.load(folder), 100), **{"chains": 60, "temperatures": 300} | options)


def test_a_run_has_a_third_route(folder: Path) -> None:
    machine = tc.load(folder)
    found = of_run(folder)
    assert found.ladder is not None
    assert found.ladder.trusted
    assert found.known
    assert found.reverse_starts == "replica exchange"
    assert abs(found.ladder.log_z - tc.exact.log_z(machine)) < 4 * found.ladder.standard_error < 0.3
    exact = tc.exact.log_likelihood(machine, samples_of(machine, 100)).mean()
    assert abs(found.ladder_log_likelihood - exact) < 4 * found.ladder.standard_error
    said = json.loads(json.dumps(found.to_dict(), allow_nan=False))
    assert said["ladder"] == {
        "log_z": found.ladder.log_z, "standard_error": found.ladder.standard_error, "doubts": [],
    }  # fmt: skip
    assert said["ladder_log_likelihood"] == found.ladder_log_likelihood
    # The other routes are those of the machine alone; of one checkpoint there is no ladder.
    for alone in (machine, folder / "epoch-0008.safetensors"):
        other = tc.score(alone, samples_of(machine, 100), chains=60, temperatures=300)
        assert (other.forward, other.reverse, other.ladder) == (found.forward, found.reverse, None)
        assert np.isnan(other.ladder_log_likelihood)
        assert other.to_dict()["ladder"] is None


def test_a_ladder_at_equilibrium_gives_samples_where_replicas_do_not_exchange(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    starts = []

    def stuck(machine: tc.Machine, count: int, *_: Any) -> annealed.Exchanged:
        return annealed.Exchanged(tuple(np.zeros((count, n)) for n in machine.sizes), False)

    def seen(*arguments: Any) -> Any:
        starts.append(arguments[-1])
        return annealed.annealed(*arguments)

    monkeypatch.setattr(score, "exchanged", stuck)
    monkeypatch.setattr(score, "annealed", seen)
    found = of_run(folder)
    assert found.reverse_starts == "ladder"
    assert [x.shape for x in starts[0]] == [(60, 12), (60, 6)]
    assert found.known
    assert abs(found.reverse.log_z - tc.exact.log_z(tc.load(folder))) < 4 * found.reverse.standard_error
    # A ladder that did not come to rest, or none, leaves the samples as they are.
    for given, steps in ((folder, 5), (folder / "epoch-0008.safetensors", 50)):
        assert of_run(given, temperatures=steps).reverse_starts == "replica exchange"
        assert not starts[-1][0].any()


def test_whether_replicas_exchange() -> None:
    with annealed.tqdm(disable=True) as bar:
        for machine, steps, crossed in (
            (random_rbm(1), 200, True),
            (random_rbm(1), 100, False),  # too few sweeps to tell
            (tc.RBM(tc.Spin(60), tc.Spin(60), sigma=1.0, seed=0), 200, False),
        ):
            found = annealed.exchanged(machine, 4, steps, 0, None, bar)
            assert found.crossed == crossed
            assert [x.shape for x in found.layers] == [(4, n) for n in machine.sizes]


def test_what_is_no_run_is_refused(tmp_path: Path) -> None:
    for other in (3, [tc.RBM(tc.Binary(12), tc.Binary(3))]):
        with pytest.raises(ValueError, match="machine must be a tapcore"):
            tc.score(other, np.zeros((3, 12)))  # type: ignore[arg-type]
    with pytest.raises(FileNotFoundError, match="no checkpoints"):
        tc.score(tmp_path, np.zeros((3, 12)))
    for name, n in (("epoch-0000", 12), ("epoch-0001", 13)):
        tc.save(tmp_path / f"{name}.safetensors", tc.RBM(tc.Binary(12), tc.Binary(n)))
    with pytest.raises(ValueError, match="machine must all have the same layers"):
        tc.score(tmp_path, np.zeros((3, 12)), chains=2, temperatures=2)


def test_deep_machines_and_real_values_have_no_pseudo_log_likelihood() -> None:
    rng = np.random.default_rng(0)
    deep = tc.DBM(tc.Binary(6), tc.Binary(4), tc.Binary(3), sigma=0.3, seed=0)
    real = tc.RBM(tc.Gaussian(4), tc.Binary(3), sigma=0.1, seed=0)
    for machine, X in ((deep, rng.integers(0, 2, (20, 6))), (real, rng.normal(size=(20, 4)))):
        found = tc.score(machine, X, chains=20, temperatures=20)
        assert np.isnan(found.pseudo_log_likelihood)
        assert np.isfinite([found.log_likelihood, found.other_log_likelihood, found.tap, found.tap_weighted]).all()
        assert np.isnan(found.free_energy_gap)


def test_as_json(found: tc.Score) -> None:
    said = json.loads(json.dumps(found.to_dict(), allow_nan=False))
    assert said["log_likelihood"] == found.log_likelihood
    assert said["forward"]["log_z"] == found.forward.log_z
    assert said["equilibrium"]["pair_slope"] == found.equilibrium.pair_slope
    assert set(said) == {*vars(found)}


def test_does_not_depend_on_threads(machine: tc.Machine, found: tc.Score) -> None:
    from tapcore._base.threads import thread_limit

    data = samples_of(machine, 400)
    with thread_limit(1):
        again = tc.score(machine, data[:150], data=data[150:], chains=100, temperatures=300)
    assert again.to_dict() == found.to_dict()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"X": np.zeros((3, 5))}, "X must have 12 columns"),
        ({"X": np.full((3, 12), 2.0)}, "X"),
        ({"data": np.zeros((3, 5))}, "data must have 12 columns"),
        ({"chains": 1}, "chains must be an integer of at least 2"),
        ({"temperatures": 0}, "temperatures must be an integer of at least 1"),
        ({"seed": -1}, "seed must be an integer of at least 0"),
    ],
)
def test_what_is_wrong_is_said_first(machine: tc.Machine, options: dict, message: str) -> None:
    arguments = {"X": np.zeros((3, 12))} | options
    with pytest.raises(ValueError, match=message):
        tc.score(machine, **arguments)


# --- Samples beside data ---


def test_equilibrium_of_data_with_themselves_is_one() -> None:
    rng = np.random.default_rng(1)
    data = rng.normal(size=(200, 1)) * rng.normal(size=5) + rng.normal(size=(200, 5)) + np.arange(5)
    assert_allclose(equilibrium(data, data)[:4], 1.0, rtol=1e-12)


def test_flatter_samples_have_lower_slopes() -> None:
    rng = np.random.default_rng(1)
    data = rng.normal(size=(2000, 1)) * rng.normal(size=5) + np.arange(5)
    middle = data.mean()
    made = equilibrium(middle + 0.5 * (data - middle), data)
    assert_allclose([made.mean_slope, made.pair_slope], [0.5, 0.25], rtol=1e-9)
    assert_allclose([made.mean_correlation, made.pair_correlation], 1.0, rtol=1e-9)


def test_rows_that_are_lost_and_columns_that_do_not_vary() -> None:
    data = np.tile([0.0, 1.0, 1.0], (10, 1))
    lost = np.vstack([data, np.full(3, np.nan)])
    made = equilibrium(lost, data)
    assert made.samples == 10
    assert_allclose(made.mean_slope, 1.0)
    assert np.isnan([made.pair_slope, made.pair_correlation]).all()
    assert np.isnan(equilibrium(np.full((4, 3), np.nan), data)[:4]).all()


def test_standardised_columns_have_no_slope_of_averages() -> None:
    rng = np.random.default_rng(0)
    data = rng.normal(size=(300, 5)) @ rng.normal(size=(5, 5)) + 7
    data = (data - data.mean(axis=0)) / data.std(axis=0)
    assert np.ptp(data.mean(axis=0)) > 0  # but by rounding
    found = equilibrium(rng.permutation(data), data)
    assert np.isnan([found.mean_slope, found.mean_correlation]).all()
    np.testing.assert_allclose([found.pair_slope, found.pair_correlation], 1, rtol=1e-9)
