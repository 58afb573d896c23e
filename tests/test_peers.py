"""Peers side by side: what is trained is kept, what is kept is scored, and nothing twice. No peer is installed here."""

from __future__ import annotations

import subprocess
import sys
import typing
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tapcore as tc
from tapcore_bench.paper import data as images
from tapcore_bench.peers import equal_time, log_z, rbms_peer, scores
from tapcore_bench.peers.scores import Score, Task
from tapcore_bench.peers.trained import Trained, load, store
from tapcore_bench.peers.ways import Way

RNG = np.random.default_rng(0)
SCORES = [
    Score(Task("digits", 3, "a, b", 1.0, 2, 5), 1.25, 4.5, -7.25, 0.5, 1, -8.5, 0.25, 0),
    Score(Task("digits", 3, "c", 30.0, 2, 5), 30.5, 9.0, -5.0, 0.0, 1, -5.5, 0.125, 1),
]
# Stands for the script that trains by `rbms`: told by its first hidden field what it was asked for.
CHILD = """
import json, sys
import numpy as np
X, how = np.load(sys.argv[1]), json.loads(sys.argv[3])
if how["rate"] > 1:
    raise RuntimeError("the rate is too high")
hidden = np.full(how["hidden"], how["chains"] + how["batch"] / 1000)
np.savez(sys.argv[2], weights=np.zeros((X.shape[1], how["hidden"])), visible=X.mean(axis=0), hidden=hidden,
         epochs=how["rate"], seconds=how["seconds"])
"""


def small_machine(seed: int = 0, dtype: str = "float64") -> tc.Machine:
    rng = np.random.default_rng(seed)
    layers = tc.Binary(64, U=rng.normal(size=64)), tc.Binary(3, U=rng.normal(size=3))
    return tc.RBM(*layers, weights=rng.normal(0, 0.3, (64, 3)), dtype=dtype)


def test_machines_are_kept_and_read_in_float64(tmp_path: Path) -> None:
    path = tmp_path / "new" / "machine.npz"
    machine = small_machine(dtype="float32")
    store(path, Trained(machine, 2.5, 3.25))
    found = load(path)
    assert found[1:] == (2.5, 3.25)
    assert found.machine.dtype == np.float64
    np.testing.assert_array_equal(found.machine.weights[0], machine.weights[0])
    for layer, kept in zip(machine.layers, found.machine.layers, strict=True):
        np.testing.assert_array_equal(kept.U, layer.U)


def test_a_machine_that_is_damaged_or_none_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "machine.npz"
    store(path, Trained(small_machine(), 1.0, 1.0))
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(ValueError, match=r"machine\.npz is no trained machine"):
        load(path)
    np.savez(path, weights=np.zeros((2, 2)))
    with pytest.raises(ValueError, match=r"machine\.npz is no trained machine.*visible"):
        load(path)
    with pytest.raises(ValueError, match="must be binary"):
        store(path, Trained(tc.RBM(tc.Spin(2), tc.Binary(2)), 1.0, 1.0))


def test_scores_are_those_of_the_test_samples() -> None:
    machine, X = small_machine(), RNG.random((300, 64)) < 0.5
    test = RNG.random((50, 64)) < 0.3
    found = scores.score(Task("digits", 3, "x", 1.0, 50, 200), Trained(machine, 2.0, 3.0), X, test)
    exact = tc.exact.log_likelihood(machine, test).mean()
    assert (found.epochs, found.trained) == (2.0, 3.0)
    for value, error in ((found.forward, found.forward_error), (found.reverse, found.reverse_error)):
        assert abs(value - exact) < 4 * error < 0.5
    assert found.forward != found.reverse


def test_scores_are_kept_as_csv(tmp_path: Path) -> None:
    path = tmp_path / "scores.csv"
    assert scores.read(path) == []
    scores.write(path, SCORES)
    assert scores.read(path) == SCORES
    text = path.read_text(encoding="utf-8")
    for damaged in (text.replace("30.5", "soon"), text.rstrip("1\n")[:-1] + "\n"):  # the last lacks a column
        path.write_text(damaged, encoding="utf-8")
        with pytest.raises(ValueError, match=r"scores\.csv: line 3 is no score"):
            scores.read(path)
    path.write_text("a,b\n1,2\n", encoding="utf-8")
    with pytest.raises(ValueError, match=r"scores\.csv: line 1 must be data,hidden,method,seconds"):
        scores.read(path)


def test_table_and_picture_show_both_sides(tmp_path: Path) -> None:
    text = scores.table(SCORES)
    assert "| a, b | 1.2 | 4.5 | -7.2 +- 0.5 | -8.5 +- 0.2, not to be trusted |" in text
    assert "| c | 30.5 | 9.0 | -5.0 +- 0.0 | -5.5 +- 0.1 |" in text
    pytest.importorskip("matplotlib", reason="it draws the picture")
    scores.draw(tmp_path / "picture.png", SCORES)
    assert (tmp_path / "picture.png").stat().st_size > 5000


@pytest.fixture
def trained(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[tuple[str, float]]:
    """What is trained, in order; one of three ways lacks something."""
    calls: list[tuple[str, float]] = []

    def train(name: str) -> Callable[[float], Trained]:
        def called(seconds: float) -> Trained:
            calls.append((name, seconds))
            return Trained(small_machine(len(calls)), 1.0, seconds)

        return called

    ways = {"first": Way(train("first")), "second, 0.1": Way(train("second, 0.1")), "third": Way(train("third"), "no")}
    monkeypatch.setattr(equal_time, "ways", lambda X, hidden: ways)
    X = RNG.random((60, 64)) < 0.5
    monkeypatch.setattr(equal_time, "samples", lambda name: (X[:40], X[40:]))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return calls


def words(folder: Path, *more: str) -> list[str]:
    return [
        "--data", "digits", "--hidden", "3", "--times", "2,0.5", "--chains", "5", "--temperatures", "10",
        "--csv", str(folder / "new" / "s.csv"), *more,
    ]  # fmt: skip


def test_all_is_trained_first_then_scored_and_nothing_twice(
    trained: list[tuple[str, float]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("matplotlib", reason="it draws the picture")
    equal_time.main(words(tmp_path, "--only", "train"))
    assert trained == [("first", 0.5), ("second, 0.1", 0.5), ("first", 2.0), ("second, 0.1", 2.0)]
    assert "left out: no\n" in capsys.readouterr().err
    assert not (tmp_path / "new" / "s.csv").exists()
    equal_time.main(words(tmp_path, "--picture", str(tmp_path / "p" / "x.png")))
    assert len(trained) == 4
    found = scores.read(tmp_path / "new" / "s.csv")
    assert [(s.task.method, s.task.seconds) for s in found] == trained
    assert (tmp_path / "p" / "x.png").exists()
    out = capsys.readouterr()
    assert out.out.count("\n| first |") == out.out.count("\n| second, 0.1 |") == 2
    assert "train:" not in out.err
    # A score that is there is taken as it is; one of other settings is none.
    scores.write(tmp_path / "new" / "s.csv", [found[0]._replace(forward=-123.25), *found[1:]])
    equal_time.main(words(tmp_path, "--only", "score"))
    assert "| -123.2 +- " in capsys.readouterr().out
    equal_time.main([*words(tmp_path, "--only", "score"), "--temperatures", "11"])
    assert "-123.2" not in capsys.readouterr().out
    assert len(scores.read(tmp_path / "new" / "s.csv")) == 8


def test_only_what_is_named_is_trained(trained: list[tuple[str, float]], tmp_path: Path) -> None:
    equal_time.main(words(tmp_path, "--only", "train", "--way", "second, 0.1"))
    assert trained == [("second, 0.1", 0.5), ("second, 0.1", 2.0)]
    with pytest.raises(SystemExit, match=r"^--way 'fourth' is none of 'first', 'second, 0.1', 'third'$"):
        equal_time.main(words(tmp_path, "--way", "fourth"))


def test_ingredients_are_compared_in_place_of_peers(
    trained: list[tuple[str, float]], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(equal_time, "ingredients", lambda X, hidden: {"salt": equal_time.ways(X, hidden)["first"]})
    equal_time.main(words(tmp_path, "--only", "train", "--ingredients"))
    assert [seconds for _, seconds in trained] == [0.5, 2.0]
    assert {path.name for path in (tmp_path / "new" / "s").iterdir()} == {
        "digits-3-salt-0.5s.npz",
        "digits-3-salt-2s.npz",
    }


def test_a_run_that_was_stopped_goes_on(
    trained: list[tuple[str, float]], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def stopped(path: Path, found: Trained) -> None:
        if len(trained) == 2:
            raise KeyboardInterrupt
        store(path, found)

    monkeypatch.setattr(equal_time, "store", stopped)
    with pytest.raises(KeyboardInterrupt):
        equal_time.main(words(tmp_path))
    monkeypatch.setattr(equal_time, "store", store)
    equal_time.main(words(tmp_path, "--only", "train"))
    assert trained[:2] == [("first", 0.5), ("second, 0.1", 0.5)]
    assert trained[2:] == [("second, 0.1", 0.5), ("first", 2.0), ("second, 0.1", 2.0)]


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--times", "0,3"], "must be seconds above 0"),
        (["--times", "soon"], "must be seconds above 0"),
        (["--times", "inf"], "must be seconds above 0"),
        (["--hidden", "0"], "--hidden must be at least 1"),
        (["--chains", "1"], "--chains must be at least 2"),
        (["--csv", "name"], "--csv must have an ending"),
    ],
)
def test_bad_options_are_refused_before_any_work(
    trained: list[tuple[str, float]], tmp_path: Path, more: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        equal_time.main(words(tmp_path, *more))
    assert message in capsys.readouterr().err
    assert not trained


def test_without_mnist_one_line_says_so(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(images, "FOLDER", tmp_path)
    with pytest.raises(SystemExit, match=r"^\S+ is missing: .* or take --data digits$"):
        equal_time.samples("mnist")
    pytest.importorskip("sklearn", reason="the digits are scikit-learn's")
    X, test = equal_time.samples("digits")
    assert len(X) + len(test) == 1797


def test_settings_are_chosen_without_test_images(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(images, "binary_mnist", lambda: np.arange(60_000)[:, None])
    monkeypatch.setattr(images, "binary_mnist_test", lambda: pytest.fail("test images were read"))
    X, held_out = equal_time.samples("mnist-held-out")
    np.testing.assert_array_equal(np.concatenate([X, held_out])[:, 0], np.arange(60_000))
    assert len(held_out) == 5000


def test_rbms_trains_in_a_process_of_its_own(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    script = tmp_path / "child.py"
    script.write_text(CHILD, encoding="utf-8")
    monkeypatch.setattr(rbms_peer, "CHILD", script)
    monkeypatch.setattr(rbms_peer, "_python", lambda: sys.executable)
    X = RNG.random((20, 6)) < 0.5
    found = rbms_peer.train(X, 4, rbms_peer.Setting(0.25, 7, 5), 1.5)
    assert found.machine.sizes == (6, 4)
    assert found[1:] == (0.25, 1.5)
    np.testing.assert_array_equal(found.machine.layers[0].U, X.mean(axis=0))
    np.testing.assert_array_equal(found.machine.layers[1].U, 7.005)
    with pytest.raises(SystemExit, match=r"^rbms: training failed: RuntimeError: the rate is too high$"):
        rbms_peer.train(X, 4, rbms_peer.Setting(2.0, 7, 5), 1.5)


def test_the_environment_is_complete_only_when_all_is_installed(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    commands: list[list[str]] = []
    fails = "rbms==0.6.*"

    def called(command: list[str], **_: Any) -> subprocess.CompletedProcess[str]:
        commands.append(command)
        site = Path(rbms_peer.folder(), "lib", f"python3.{sys.version_info.minor}", "site-packages")
        site.mkdir(parents=True, exist_ok=True)
        return subprocess.CompletedProcess(command, int(fails in command), "rbms 1, torch 2\n")

    monkeypatch.setattr(subprocess, "run", called)
    assert "python -m tapcore_bench.peers.rbms_peer" in rbms_peer.lacks()
    with pytest.raises(SystemExit, match=r"this failed: .*rbms==0\.6"):
        rbms_peer.make()
    assert rbms_peer.lacks()
    fails = "nothing"
    commands.clear()
    rbms_peer.make()
    assert rbms_peer.lacks() == ""
    assert rbms_peer.versions() == "rbms 1, torch 2"
    assert "--clear" in commands[0]
    # Otherwise the second would fetch another PyTorch, and the last refuse Python 3.11.
    assert [c[4] for c in commands[1:4:2]] == ["torch==2.13.0", "--no-deps"]
    assert len(list(rbms_peer.folder().rglob("*.pth"))) == (sys.version_info < (3, 12))


def test_old_python_is_given_what_rbms_imports(monkeypatch: pytest.MonkeyPatch) -> None:
    extensions = pytest.importorskip("typing_extensions", reason="the environment of rbms has it")
    monkeypatch.setattr(typing, "override", None, raising=False)
    assert rbms_peer.SHIM.startswith("import ")  # other lines of a .pth file are folders
    exec(rbms_peer.SHIM, {})
    assert typing.override is extensions.override


@pytest.mark.slow
@pytest.mark.skipif(bool(rbms_peer.lacks()), reason="python -m tapcore_bench.peers.rbms_peer has not been run")
def test_rbms_learns() -> None:
    X = np.repeat(RNG.random((2000, 1)) < 0.5, 8, axis=1) ^ (RNG.random((2000, 8)) < 0.05)
    found = rbms_peer.train(X, 4, rbms_peer.Setting(0.15, 100, 100), 2.0)
    assert 2.0 <= found.seconds < 10
    independent = tc.RBM(tc.Binary.from_data(X), tc.Binary(4), sigma=0)
    gain = tc.exact.log_likelihood(found.machine, X).mean() - tc.exact.log_likelihood(independent, X).mean()
    assert gain > 1


def test_costs_of_ln_z_are_of_the_last_machine_of_a_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    X = np.random.default_rng(0).random((200, 12)) < 0.3
    np.save(tmp_path / "data.npy", X)
    machine = tc.RBM(tc.Binary.from_data(X), tc.Binary(4), seed=0)
    found = tc.fit(machine, X, epochs=3, progress=False, checkpoint=tmp_path / "run").machine
    words = ["--chains", "40", "--sweeps", "200", "--temperatures", "50", "200", "--back", "100", "--error", "0.01"]
    words += ["--one-law", "100"]
    log_z.main([str(tmp_path / "run"), str(tmp_path / "data.npy"), *words])
    lines = capsys.readouterr().out.splitlines()[4:]
    assert [line.split("|")[1].split(",")[0].strip() for line in lines] == [
        "ladder", "annealing", "annealing", "annealing from one law", "annealing back",
    ]  # fmt: skip
    for line in lines:
        value, error = line.split("|")[2].split(",")[0].split("+-")
        assert float(value) == pytest.approx(tc.exact.log_z(found), abs=4 * float(error) + 0.03)


def test_seconds_for_an_error_grow_as_its_inverse_square() -> None:
    route = log_z.Route("any", 1.0, 0.2, True, 3.0)
    assert route.seconds_for(0.1) == pytest.approx(12.0)
    assert "| any | 1.00 +- 0.20 | 3.0 | 12.0 |" in log_z.table([route], 0.1)
    assert "not to be trusted" in log_z.table([route._replace(trusted=False)], 0.1)
