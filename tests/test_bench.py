"""The benchmarks run and report; their figures are for people to read."""

from __future__ import annotations

from pathlib import Path

import pytest

import tapcore as tc
from tapcore_bench.micro import __main__ as command
from tapcore_bench.micro import acceleration, closed_forms, epoch, exponential, harness, startup, sweep, truncnorm
from tapcore_bench.micro.products import Products
from tapcore_bench.peers import bernoulli_rbm


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


@pytest.mark.parametrize("module", [exponential, startup])
def test_small_benchmarks_give_rows(module: object, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exponential, "CALLS", 1)
    rows = module.rows(1)  # type: ignore[attr-defined]
    assert len(rows) == 4
    assert all(row.ours > 0 and row.reference > 0 for row in rows)


def test_sweep_benchmark(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sweep, "TARGETS", {("float64", 5): 9.0})
    rows = sweep.rows(1)
    assert [row.target for row in rows] == [9.0, None, 1.5, 1.8]
    assert all(row.ours > 0 for row in rows)


def test_acceleration_benchmark(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(acceleration, "CHAINS", 20)
    monkeypatch.setattr(acceleration, "SIZES", ((8, 5),))
    rows = acceleration.rows(1)
    assert len(rows) == 6
    assert all(row.target == 1.1 and row.ours > 0 and row.reference > 0 for row in rows)


def test_peers_train_on_the_same_data(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("sklearn", reason="the peer is scikit-learn's")
    for name, value in (("SAMPLES", 60), ("VISIBLE", 12), ("HIDDEN", 4), ("SIZE", 20)):
        monkeypatch.setattr(bernoulli_rbm, name, value)
    rows = bernoulli_rbm.rows(1)
    assert [row.what for row in rows] == [
        "CD-1 epoch", "CD-1 epoch, recorded", "PCD-1 epoch", "PCD-1 epoch, recorded",
    ]  # fmt: skip
    assert all(row.ours > 0 and row.reference > 0 for row in rows)


def test_epoch_benchmark_trains_a_whole_epoch_and_times_as_many_products(monkeypatch: pytest.MonkeyPatch) -> None:
    trainer = epoch._trainer(3, 2350)
    counted = {"sweeps": 0, "gradients": 0}
    products = Products(784, 3, 4, 4, "float64")
    monkeypatch.setattr(Products, "sweep", lambda self, n: counted.update(sweeps=counted["sweeps"] + n))
    monkeypatch.setattr(Products, "gradient", lambda self: counted.update(gradients=counted["gradients"] + 1))
    ours, _ = epoch.Turns(trainer, products).run()
    assert ours > 0
    assert trainer.epoch == 1
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
