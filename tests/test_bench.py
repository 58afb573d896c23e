"""The benchmarks run and report; their figures are for people to read."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import tapcore as tc
from tapcore_bench.micro import __main__ as command
from tapcore_bench.micro import (
    acceleration,
    closed_forms,
    epoch,
    exponential,
    harness,
    methods,
    startup,
    sweep,
    truncnorm,
    turning,
    versions,
)
from tapcore_bench.micro.products import Products
from tapcore_bench.paper import accuracy, data, deep, denoising, iterations, restoring, tempered
from tapcore_bench.peers import bernoulli_rbm, recipes
from tapcore_bench.peers.ways import INGREDIENTS, ingredients, ways


def test_competitors_take_turns() -> None:
    calls: list[str] = []
    medians = harness.take_turns([lambda: calls.append("a"), lambda: calls.append("b")], 4)
    assert calls == ["a", "b", "a", "b", "b", "a", "a", "b", "b", "a"]
    assert len(medians) == 2
    assert min(medians) > 0


def test_table_shows_ratio_and_target() -> None:
    rows = [harness.Row("x", 2e-3, 1e-3, "y", 1.5), harness.Row("z", 3e-9, 2e-6, "w")]
    text = harness.table(rows)
    assert "| x | 2 ms | y | 1 ms | 2.00 | 1.50 |" in text
    assert "| z | 3 ns | w | 2 us | 0.0015 |  |" in text


def test_table_is_renewed_between_its_marks(tmp_path: Path) -> None:
    path = tmp_path / "page.md"
    path.write_text("before\n<!-- begin: micro -->\nold\n<!-- end: micro -->\nafter\n")
    command.write(path, "new\n")
    assert path.read_text() == "before\n<!-- begin: micro -->\nnew\n<!-- end: micro -->\nafter\n"
    command.write(tmp_path / "other.md", "new\n")
    assert (tmp_path / "other.md").read_text() == "new\n"


def test_machine_is_named() -> None:
    assert "Numba" in harness.machine_name()


def test_exponential_benchmark(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exponential, "CALLS", 1)
    rows = exponential.rows(1)
    assert len(rows) == 4
    assert all(row.ours > 0 and row.reference > 0 for row in rows)


@pytest.fixture
def tiny_first_calls(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """First calls of small machines, of which nothing is compiled; returns what they are."""
    monkeypatch.setenv("NUMBA_DISABLE_JIT", "1")
    monkeypatch.setattr(startup, "FILLED", 1)
    for name, value in (("SOLVE", (4, 3, 2)), ("DIGITS", (12, 2)), ("SLABS", (12, 3, 2))):
        monkeypatch.setattr(startup, name, value)
    return [
        "import and first solve, 4 x 3 Binary, 2 starts",
        "import and first fit, 3 x 2 truncated spikes and slabs",
        "import and first fit, digits, 64 x 2 Binary",
    ]


def test_startup_benchmark(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(startup, "first_call_rows", lambda repeats: [])
    monkeypatch.setattr(startup, "FILLED", 1)
    rows = startup.rows(1)
    assert len(rows) == 4
    assert all(row.ours > 0 and row.reference > 0 for row in rows)


def test_first_calls_run_with_an_empty_cache_and_a_filled_one(tiny_first_calls: list[str]) -> None:
    pytest.importorskip("sklearn", reason="the digits are scikit-learn's")
    rows = startup.first_call_rows(1)
    assert [row.what for row in rows] == [f"{what}: empty cache" for what in tiny_first_calls]
    assert all(row.ours > 0 and row.reference > 0 for row in rows)


def test_first_calls_of_two_checkouts_take_turns(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    called: list[tuple[bool, Path]] = []

    def first_call(program: str, checkout: Path, cache: Path, folder: Path) -> float:
        called.append((checkout == tmp_path, cache))
        return 6.0 if checkout == tmp_path else 2.0

    monkeypatch.setattr(startup, "_first_call", first_call)
    monkeypatch.setattr(startup, "DIGITS", (12, 2))
    rows = startup.rows(31, tmp_path)
    assert {row.what.rpartition(": ")[2] for row in rows} == {"empty cache", "filled cache"}
    assert {(row.ours, row.reference, row.against) for row in rows} == {(2.0, 6.0, str(tmp_path))}
    # One each for bytecode, then two turns of one with an empty cache and three with what it has filled.
    once = [False, True, *[False] * 4, *[True] * 8, *[False] * 4]
    assert [theirs for theirs, _ in called] == once * (len(rows) // 2)
    assert len({cache for _, cache in called[2:18]}) == 4


def test_first_calls_of_no_checkout_are_refused(tiny_first_calls: list[str], tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match=r"was imported, not what is in"):
        startup.first_call_rows(1, tmp_path)


def test_what_users_call_is_compared_with_another_checkout(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("NUMBA_DISABLE_JIT", "1")
    units = {"small": (8, 5), "large": (9, 4), "patterns": (8, 3)}
    monkeypatch.setattr(versions, "SIZES", {**units, "chains": (3,), "starts": (4,), "sweeps": (2,), "points": (10,)})
    rows = versions.rows(1, startup.HERE)
    assert [row.what for row in rows if "Binary, large" in row.what] == [
        "sweeps, Binary, large, float64", "sweeps, Binary, large, float32",
    ]  # fmt: skip
    assert {"moments of truncated normals", "harvest, Spin, patterns"} < {row.what for row in rows}
    assert all(row.ours > 0 and row.reference > 0 and row.against == str(startup.HERE) for row in rows)
    with pytest.raises(RuntimeError, match=r"was imported, not what is in"):
        versions.rows(1, tmp_path)


@pytest.mark.parametrize("words", [["versions"], ["versions", "sweep", "--against", "x"], ["sweep", "--against", "x"]])
def test_another_checkout_is_given_where_it_is_compared(words: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.argv", ["micro", *words])
    monkeypatch.setattr(command.importlib, "import_module", lambda name: pytest.fail(f"{name} was run"))
    with pytest.raises(SystemExit):
        command.main()


def test_sweep_benchmark(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sweep, "TARGETS", {("float64", 5): 9.0})
    monkeypatch.setattr(sweep, "DEEP", (5, 3))
    rows = sweep.rows(1)
    assert [row.target for row in rows] == [9.0, None, 1.15, 1.5, 1.8]
    assert "784-5-3" in rows[2].what
    assert all(row.ours > 0 for row in rows)


def test_acceleration_benchmark(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(acceleration, "CHAINS", 20)
    monkeypatch.setattr(acceleration, "SIZES", ((8, 5),))
    rows = acceleration.rows(1)
    assert len(rows) == 6
    assert all(row.target == 1.1 and row.ours > 0 and row.reference > 0 for row in rows)


def test_turning_counts_sweeps_and_what_is_beyond() -> None:
    row = turning.measure(1210, 0.8, 3000)
    assert 16 < row.default < 1.1 * row.plain + 160
    assert row.got_there == 32
    assert row.beyond == 0


def test_peers_train_on_the_same_data(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("sklearn", reason="the peer is scikit-learn's")
    for name, value in (("SAMPLES", 60), ("VISIBLE", 12), ("HIDDEN", 4), ("SIZE", 20)):
        monkeypatch.setattr(bernoulli_rbm, name, value)
    rows = bernoulli_rbm.rows(1)
    assert [row.what for row in rows] == [
        "CD-1 epoch", "CD-1 epoch, recorded", "PCD-1 epoch", "PCD-1 epoch, recorded",
    ]  # fmt: skip
    assert all(row.ours > 0 and row.reference > 0 for row in rows)


def test_recipes_and_peers_train_for_an_equal_time() -> None:
    pytest.importorskip("sklearn", reason="the peer is scikit-learn's")
    X = np.random.default_rng(0).random((1000, 12)) < 0.3
    for name, way in ways(X, 4).items():
        if name.startswith("rbms"):  # has an environment of its own: tests/test_peers.py
            continue
        machine, epochs, seconds = way.train(0.01)
        assert machine.sizes == (12, 4), name
        assert epochs > 0
        assert seconds > 0
        assert np.isfinite(tc.pseudo_log_likelihood(machine, X)).all()


def test_ingredients_differ_from_the_recipe_in_what_their_names_say() -> None:
    assert INGREDIENTS["fit()"] == {}
    for name, changed in INGREDIENTS.items():
        settings = tc.Settings(seconds=1.0, **changed)
        said = eval(name, {"fit": dict, "Adam": tc.Adam, "Linear": tc.Linear})
        assert {key: getattr(settings, key) for key in said} == said, name
        assert said == changed, name
    X = np.random.default_rng(0).random((1000, 12)) < 0.3
    machine, epochs, _ = ingredients(X, 4)["fit(pinning=10)"].train(0.01)
    assert machine.sizes == (12, 4)
    assert epochs > 0


def test_epochs_of_the_recipe_take_turns_with_those_without_measurements(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(epoch, "SIZE", 20)
    monkeypatch.setattr(epoch, "VISIBLE", 12)
    rows = epoch.without_measurements(2, 60, 3)
    assert [row.target for row in rows] == [1.1, 1.1, 1.05]
    assert all(row.ours > 0 and row.reference > 0 and "M = 20" in row.what for row in rows)


def test_epoch_benchmark_trains_a_whole_epoch_and_times_as_many_products(monkeypatch: pytest.MonkeyPatch) -> None:
    training = epoch.training_for(3, 2350)
    counted = {"sweeps": 0, "gradients": 0}
    products = Products(784, 3, 4, 4, "float64")
    monkeypatch.setattr(Products, "sweep", lambda self, n: counted.update(sweeps=counted["sweeps"] + n))
    monkeypatch.setattr(Products, "gradient", lambda self: counted.update(gradients=counted["gradients"] + 1))
    ours, _ = epoch.Turns(training, products).run()
    assert ours > 0
    assert training.epoch == 1
    assert counted == {"sweeps": 240, "gradients": 24}


def test_truncnorm_benchmark(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib", reason="draws a picture")
    monkeypatch.setattr(truncnorm, "POINTS", 200)
    monkeypatch.setattr(truncnorm, "SCIPY_POINTS", 5)
    rows = truncnorm.rows(1)
    assert [row.target for row in rows] == [40, 100, 1 / 1500]
    assert all(row.ours > 0 and row.reference > 0 for row in rows)
    methods = {name: m for name, m in closed_forms.METHODS.items() if "form" in name or name == "tapcore"}
    lines = truncnorm.table(methods, 1).splitlines()
    assert "| tapcore | 2000 | 0.0 % | 0.0 % | 0.0 % |" in lines[6]
    # The closed form fails on most of the certified points: the table would show if it compared with itself.
    assert all(float(line.split("|")[5].rstrip(" %")) > 5 for line in lines[7:])
    truncnorm.picture(tmp_path / "picture.png", methods, 3)
    assert (tmp_path / "picture.png").stat().st_size > 1000
    assert truncnorm.count_non_finite(1000) == 0


@pytest.mark.parametrize(("p", "q"), [(5.0, 2.0), (5.0, 80.0), (-30.0, 0.5), (1e-9, 3.0), (0.0, 0.0)])
def test_references_of_the_benchmark_agree_with_the_library(p: float, q: float) -> None:
    mean, var = closed_forms.exact(p, q)
    _, expected_mean, expected_var = tc.truncnorm.moments(p, q, -1.0, 1.0)
    assert float(mean) == pytest.approx(expected_mean, abs=1e-15)
    assert float(var) == pytest.approx(expected_var, rel=1e-14)


def test_methods_are_timed_on_the_same_chains(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in (("VISIBLE", 9), ("CHAINS", 4), ("TARGETS", {5: 60.0})):
        monkeypatch.setattr(methods, name, value)
    rows = methods.rows(1)
    assert [row.target for row in rows] == [60.0, None]
    assert all(row.ours > 0 and row.reference > 0 for row in rows)


def test_accuracy_finds_the_errors_of_each_method(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name, value in (("SIZES", (5, 4)), ("STARTS", 2), ("CHAINS", 200), ("TEMPERATURES", 50), ("SWEEPS", 10)):
        monkeypatch.setattr(accuracy, name, value)
    found = {
        scale: accuracy.medians([accuracy.errors(*m) for m in accuracy.random_machines(scale, 2)])
        for scale in (0.05, 0.2)
    }
    near = found[0.05]
    # First order leaves out W^2, third order W^4; 200 chains have an error of a thirtieth.
    assert near["nmf"].log_z > 10 * near["tap"].log_z > 10 * near["tap3"].log_z
    assert max(near[m].pair for m in ("tap", "tap3", "rbp", "adatap")) < 1e-4 < near["nmf"].pair
    assert 1e-4 < near[accuracy.SAMPLED].mean < 0.1
    text = accuracy.table({"small": near})
    assert text.count("| small |") == 7
    pytest.importorskip("matplotlib", reason="it draws the picture")
    accuracy.picture(tmp_path / "accuracy.png", found)
    assert (tmp_path / "accuracy.png").stat().st_size > 0


def test_iterations_record_until_their_time_is_over(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(iterations, "HIDDEN", 3)
    monkeypatch.setattr(iterations, "SIZE", 10)
    rng = np.random.default_rng(0)
    X = (rng.random((40, 1)) < 0.5) ^ (rng.random((40, 6)) < 0.1)
    curves = {}
    start = tc.RBM(tc.Binary.from_data(X), tc.Binary(3), sigma=0.3, seed=1)
    for gradient in ("tap", "adatap"):
        training = iterations.training_for(X, gradient, 3, start, 0.3, 10)
        curves[gradient] = iterations.train(training, X, np.inf, 10.5, 5)
        assert [epochs for epochs, _, _ in curves[gradient]] == [0.0, 2.25, 4.5, 6.75, 9.0, 10.5]
        assert curves[gradient][-1][2] > curves[gradient][0][2] + 0.05
    training = iterations.training_for(X, "tap", 3, None, 0.3, 10)
    assert len(iterations.train(training, X, 0.0, 10.0, 5)) == 1
    times = {10: (1e-3, 4e-2)}
    assert "| 10 | 1 | 40 | 40 |" in iterations.report(curves, times)
    pytest.importorskip("matplotlib", reason="it draws the picture")
    iterations.picture(tmp_path / "iterations.png", curves, times)
    assert (tmp_path / "iterations.png").stat().st_size > 0


def test_denoising_compares_machines_with_the_baselines(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib", reason="it draws the picture")
    rng = np.random.default_rng(0)
    X = (np.arange(9) % 2 == 0) ^ (rng.random((300, 1)) < 0.5) ^ (rng.random((300, 9)) < 0.05)
    settings = tc.paper_settings(epochs=40, learning_rate=0.2, batch_size=20)
    machine, _ = tc.fit(tc.RBM(tc.Binary(9), tc.Binary(4), seed=0), X, settings=settings)
    estimates = denoising.estimates_of({"4 hidden units": machine}, X[:200], 1, "best")
    rows, first = denoising.curves(estimates, X[200:], (0.0, 0.2))
    scores = {(row.method, row.p): row.matthews_correlation for row in rows}
    assert scores["4 hidden units", 0.0] == scores[denoising.POINTWISE, 0.0] == 1.0
    assert scores["4 hidden units", 0.2] > scores[denoising.POINTWISE, 0.2] + 0.2
    lit = {row.lit for row in rows if row.p == 0.0 and row.method != denoising.NEAREST}
    assert lit == {X[200:].mean()}
    assert set(first) == {"seen", denoising.POINTWISE, denoising.NEAREST, "4 hidden units"}
    assert first["seen"].shape == (2, 9)
    denoising.write(tmp_path / "curves.csv", rows)
    assert len((tmp_path / "curves.csv").read_text().splitlines()) == 7
    denoising.draw(tmp_path / "curves.png", rows)
    assert (tmp_path / "curves.png").stat().st_size > 0


def test_restoring_scores_what_is_restored(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    X = np.clip(rng.random((240, 1)) + rng.normal(0, 0.05, (240, 12)), 0, 1)
    visible = tc.TruncatedGaussian.from_data(X[:200])
    data = restoring.Data("small", X[:200], X[200:], (3, 4), visible, tc.Binary(5), 0.05, 0.01, {"batch_size": 20})
    machine = restoring.machine_for(data, 3, tmp_path)
    assert machine == restoring.machine_for(data, 3, tmp_path)  # kept
    for channel in (tc.Erasure(np.arange(12) >= 6), tc.GaussianNoise(0.01)):
        images = restoring.restore(data, machine, channel, 30, 1)
        assert {x.shape for x in images.values()} == {(30, 12)}
        assert images["pointwise"][0, 0] == pytest.approx(X[200, 0], abs=0.4)
    assert np.isfinite(images["TAP"]).all()


def test_deep_training_is_recorded(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib", reason="it draws the picture")
    rng = np.random.default_rng(0)
    X = (rng.random((60, 1)) < 0.5) ^ (rng.random((60, 8)) < 0.1)
    start = tc.DBM(tc.Binary(8), tc.Binary(4), tc.Binary(3), seed=0)
    machine, table = deep.train("8-4-3", start, X, X[:20], tmp_path, epochs=2, pretrain=1, learning_rate=0.1)
    assert table.shape == (4, 6)
    assert np.isnan(table[:2, 4]).all()
    assert table[-1, 4] == pytest.approx(deep.score(machine, X[:20]), abs=1e-12)
    stuck = machine.replace(layers=[*machine.layers[:2], tc.Binary(3, U=[9.0, -9.0, 0.0])])
    (_, first), (idle, second) = deep.idle(stuck, X)
    assert idle == 0.67
    assert all(0 <= share <= 1 for share in (first, second))
    assert table[-1, 5] == pytest.approx(table[-1, 4] * 15 / 8)
    names = {p.name for p in tmp_path.iterdir()}
    assert names == {"history_8-4-3.csv", "spectra_8-4-3_1.csv", "spectra_8-4-3_2.csv", "8-4-3.safetensors"}
    deep.draw(tmp_path / "deep.png", {"8-4-3": table}, {"8-4-3": machine})
    assert (tmp_path / "deep.png").stat().st_size > 0


def test_recipes_are_compared_on_data_held_out(tmp_path: Path) -> None:
    pytest.importorskip("sklearn", reason="the digits are scikit-learn's")
    pytest.importorskip("matplotlib", reason="draws pictures")
    name, make, X = next(recipes.small())
    lines = recipes.compare(name, make, X[:200], 0.2, rows=30, pictures=tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        f"digits-64x64-{kind}.png" for kind in ("data", "fields", "samples")
    ]
    assert [line.split(" | ")[1] for line in lines] == ["`fit`", "`paper_settings()`"]
    for line in lines:
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        assert cells[0] == "digits, 64x64"
        assert int(cells[2]) > 0
        assert all(-64 < float(cell.split()[0]) < 0 for cell in cells[3:])


def test_tempered_training_is_timed_and_scored(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture) -> None:
    pytest.importorskip("sklearn", reason="the digits are scikit-learn's")
    monkeypatch.setattr(tempered, "LADDER", (10, 5))
    monkeypatch.setattr(tempered, "TIMED", (300, 8, 4))
    tempered.digits(1, 0)
    cells = [line.strip("|").split("|") for line in capsys.readouterr().out.splitlines()]
    assert [row[0].strip() for row in cells] == ["pcd", "ptt"]
    assert all(-64 * np.log(2) < float(row[2]) < -20 for row in cells)
    tempered.batches(2)
    assert [line.split(":")[0] for line in capsys.readouterr().out.splitlines()] == ["pcd", "ptt"]


def test_certain_pixels_have_no_entropy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(data, "real_mnist_test", lambda: np.array([[0.0, 0.5, 1.0], [0.5, 0.5, 0.25]], np.float32))
    quarter = 0.25 * np.log(4) + 0.75 * np.log(4 / 3)
    assert data.drawn_entropy() == pytest.approx((3 * np.log(2) + quarter) / 2, rel=1e-14)
