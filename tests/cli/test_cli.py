"""The command line: what it prints and leaves, how it stops, and what it refuses in one line."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tapcore as tc
from tapcore.storage import datasets
from tapcore.storage import format as file_format
from tapcore.storage.machines import RunFolder

SHORT = ("--epochs", "3", "--hidden", "5", "--learning-rate", "0.1")


def test_train_then_solve_then_info(run: Any, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    status, out, err = run("train", "digits", "--out", folder, *SHORT)
    assert (status, err) == (0, "")
    lines = out.splitlines()
    assert lines[0] == "64 x 5 units trained on 1797 samples"
    assert lines[1].startswith("TAP log-likelihood per unit after epoch 3: -0.")
    assert (
        lines[2]
        == "  (an estimate, no bound: with training it drifts from the exact one, to either side: see tapcore score)"
    )
    for name in ("receptive_fields.png", "history.png"):
        assert (folder / name).read_bytes().startswith(b"\x89PNG")
    expected = tc.fit(tc.RBM(tc.Binary(64), tc.Binary(5), seed=0), datasets.load("digits"), epochs=3, learning_rate=0.1)
    assert tc.load(folder) == expected.machine
    assert lines[1].endswith(f"{expected.history[-1].log_likelihood:.4f} nats (by 69 units, visible and hidden)")

    status, out, err = run("solve", folder, "--starts", "50")
    assert (status, err) == (0, "")
    assert out.startswith("50 chains: 50 converged, 0 did not\n")
    assert "distinct solutions (means alike within 0.0001)" in out
    solutions = tc.solve(expected.machine, datasets.load("digits"))
    assert f"{solutions.free_energy.min():13.6f}" in out

    status, out, err = run("info", folder)
    assert (status, err) == (0, "")
    assert out.startswith("4 checkpoints, newest epoch-0003.safetensors\n")
    assert "weights 64 x 5 float64" in out
    assert "trained for 3 epochs" in out
    assert "penalty=L2(0.001)" in out
    assert f"{expected.history[-1].log_likelihood:.5f}" in out


def test_options_reach_training(run: Any, tmp_path: Path) -> None:
    status, _, _ = run(
        "train", "digits", "--out", tmp_path, *SHORT, "--batch-size", "300", "--chains", "20", "--momentum", "0.1",
        "--l1", "0.01", "--sweeps", "2", "--chain-init", "random", "--gradient", "nmf", "--dtype", "float32",
        "--seed", "7", "--checkpoint-every", "2", "--threshold", "3", "--threads", "1",
    )  # fmt: skip
    assert status == 0
    expected = tc.fit(
        tc.RBM(tc.Binary(64), tc.Binary(5), seed=7, dtype="float32"), datasets.load("digits", threshold=3), epochs=3,
        learning_rate=0.1, batch_size=300, chains=20, momentum=0.1, penalty=tc.L1(0.01), sweeps=2, chain_init="random",
        gradient="nmf", seed=7,
    )  # fmt: skip
    assert tc.load(tmp_path).dtype == np.float32
    np.testing.assert_allclose(tc.load(tmp_path).weights[0], expected.machine.weights[0], atol=1e-5)
    assert sorted(p.name for p in tmp_path.glob("epoch*")) == [f"epoch-000{e}.safetensors" for e in (0, 2, 3)]


def test_renew_reaches_persistent_chains(run: Any, tmp_path: Path) -> None:
    status, _, _ = run(
        "train", "digits", "--out", tmp_path, *SHORT, "--chain-init", "persistent", "--renew", "0.5", "--sweeps", "2"
    )
    assert status == 0
    expected = tc.fit(
        tc.RBM(tc.Binary(64), tc.Binary(5), seed=0), datasets.load("digits"), epochs=3, learning_rate=0.1,
        chain_init="persistent", renew=0.5, sweeps=2,
    )  # fmt: skip
    assert tc.load(tmp_path) == expected.machine
    assert run("train", "digits", "--out", tmp_path / "no", *SHORT, "--renew", "2")[0] == 2


@pytest.mark.parametrize("gradient", ["pcd", "ptt"])
def test_training_by_sampling(run: Any, tmp_path: Path, gradient: str) -> None:
    run("train", "digits", "--out", tmp_path, *SHORT, "--gradient", gradient)
    machine = tc.RBM(tc.Binary(64), tc.Binary(5), seed=0)
    found = tc.fit(machine, datasets.load("digits"), epochs=3, learning_rate=0.1, gradient=gradient)
    assert tc.load(tmp_path) == found.machine
    assert run("train", "digits", "--out", tmp_path, *SHORT, "--gradient", "cd", "--resume")[0] == 2


def test_resume(run: Any, tmp_path: Path) -> None:
    run("train", "digits", "--out", tmp_path / "a", *SHORT)
    run("train", "digits", "--out", tmp_path / "b", *SHORT, "--epochs", "1")
    status, out, _ = run("train", "digits", "--out", tmp_path / "b", *SHORT, "--resume")
    assert status == 0
    assert "after epoch 3" in out
    assert tc.load(tmp_path / "a") == tc.load(tmp_path / "b")


def test_held_out_data_and_patience(run: Any, tmp_path: Path) -> None:
    folder, how = tmp_path / "run", ("--epochs", "60", "--hidden", "30", "--learning-rate", "0.3", "--threshold", "7")
    rows = datasets.load("digits", threshold=7)
    np.save(tmp_path / "few.npy", datasets.load("digits", threshold=7)[:60].astype(float) * 16)
    np.save(tmp_path / "others.npy", rows[60:200].astype(float) * 16)
    given = ("train", tmp_path / "few.npy", "--validation", tmp_path / "others.npy", *how, "--patience", "3")
    status, out, err = run(*given, "--checkpoint-every", "log", "--out", folder)
    assert (status, err) == (0, "")
    steps = tc.Training(
        tc.RBM(tc.Binary(64), tc.Binary(30), seed=0), rows[:60], tc.Settings(epochs=60, learning_rate=0.3, patience=3),
        validation=rows[60:200],
    )  # fmt: skip
    list(steps)
    best, history = steps.best_epoch, steps.history
    assert best is not None
    assert steps.epoch < 60
    lines = out.splitlines()
    assert lines[1] == (
        f"ended after epoch {steps.epoch}; the best by data held out is epoch {best}, in best.safetensors"
    )
    assert lines[2].startswith(
        f"TAP log-likelihood per unit after epoch {best}: {history[best - 1].log_likelihood:.4f}"
    )
    assert lines[3] == f"  of data held out: {history[best - 1].validation:.4f} nats"
    assert tc.load(folder) == steps.result().machine
    assert tc.load(sorted(folder.glob("epoch*"))[-1]) == steps.machine

    status, out, _ = run("info", folder)
    assert status == 0
    assert f"newest epoch-{steps.epoch:04d}.safetensors" in out
    assert f"best.safetensors, which the other commands use: epoch {best}, {history[best - 1].validation:.5f}" in out
    assert "held out" in out
    assert "patience=3" in out
    assert f"{history[-1].validation:8.5f}" in out
    assert "validation=" not in out

    status, _, err = run(*given, "--out", folder, "--resume", "--validation", "0.5")
    assert (status, err.count("\n")) == (2, 1)
    assert "validation contradicts" in err
    assert run(*given, "--out", folder, "--resume")[0] == 0


def test_a_share_of_the_data_is_held_out(run: Any, tmp_path: Path) -> None:
    status, out, _ = run("train", "digits", "--out", tmp_path / "run", *SHORT, "--validation", "0.2")
    assert status == 0
    found = tc.fit(
        tc.RBM(tc.Binary(64), tc.Binary(5), seed=0),
        datasets.load("digits"),
        epochs=3,
        learning_rate=0.1,
        validation=0.2,
    )
    assert f"  of data held out: {found.history.validation[-1]:.4f} nats" in out
    assert out.startswith("64 x 5 units trained on 1438 samples")
    assert tc.load(tmp_path / "run") == found.machine
    assert not (tmp_path / "run" / "best.safetensors").exists()
    for text, message in {
        "1.5": "validation must be samples, or a share",
        "none.npy": "none.npy: No such file",
    }.items():
        status, _, err = run("train", "digits", "--out", tmp_path / "no", *SHORT, "--validation", text)
        assert (status, err.count("\n")) == (2, 1)
        assert message in err
    assert not (tmp_path / "no").exists()


def test_grey_files_need_a_threshold(run: Any, tmp_path: Path) -> None:
    grey = np.random.default_rng(0).integers(0, 256, (30, 4, 5), dtype=np.uint8)
    np.save(tmp_path / "grey.npy", grey)
    status, out, err = run("train", tmp_path / "grey.npy", "--out", tmp_path / "run", *SHORT)
    assert (status, out) == (2, "")
    assert "binarise" in err
    assert "--threshold" in err
    assert not (tmp_path / "run").exists()
    assert run("train", tmp_path / "grey.npy", "--threshold", "127", "--out", tmp_path / "run", *SHORT)[0] == 0
    # What was trained on is remembered, wherever solve is called from.
    note = json.loads((tmp_path / "run" / "data.json").read_text())
    source = {"source": str(tmp_path / "grey.npy"), "threshold": 127.0, "key": None}
    assert note == source | {"image_shape": [4, 5], "held_out": None}
    assert run("solve", tmp_path / "run")[0] == 0


def test_solve_a_saved_machine_from_given_data(run: Any, tmp_path: Path) -> None:
    tc.save(tmp_path / "m.safetensors", tc.RBM(tc.Binary(64), tc.Binary(3), seed=0))
    status, _, err = run("solve", tmp_path / "m.safetensors")
    assert status == 2
    assert "give --data" in err
    status, out, _ = run("solve", tmp_path / "m.safetensors", "--data", "digits", "--show", "0", "--method", "nmf")
    assert status == 0
    assert "1 distinct solutions" in out
    assert run("info", tmp_path / "m.safetensors")[1].startswith("Binary(64, U=0)\n")


def test_without_matplotlib_training_still_ends_well(run: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    status, out, err = run("train", "digits", "--out", tmp_path, *SHORT)
    assert status == 0
    assert "log-likelihood" in out
    assert err == "no pictures: figures need matplotlib: pip install 'tapcore[plot]'\n"


def wrong() -> list[Any]:
    cases = {
        "no such file": (["train", "missing.npy"], "missing.npy: No such file or directory"),
        "not data": (["train", __file__], "unknown format"),
        "patience": (["train", "digits", "--patience", "3"], "patience needs validation, held-out data to go by"),
        "every": (
            ["train", "digits", "--checkpoint-every", "now"],
            "checkpoint_every must be an integer of at least 1, or",
        ),
        "epochs": (["train", "digits", "--epochs", "-1"], "epochs must be an integer of at least 0, got -1"),
        "batch": (["train", "digits", "--batch-size", "0"], "batch_size must be"),
        "chains": (["train", "digits", "--chains", "0"], "chains must be"),
        "hidden": (["train", "digits", "--hidden", "0"], "--hidden must be"),
        "rate": (["train", "digits", "--learning-rate", "-1"], "learning_rate must be at least 0"),
        "nan": (["train", "digits", "--learning-rate", "nan"], "learning_rate must be a finite number"),
        "penalty": (["train", "digits", "--l2", "-1"], "strength must be at least 0"),
        "momentum": (["train", "digits", "--momentum", "1"], "momentum must be"),
        "seed": (["train", "digits", "--seed", "-1"], "--seed must be"),
        "threads": (["train", "digits", "--threads", "100000"], "threads must be between 1 and"),
        "word": (["train", "digits", "--epochs", "many"], "argument --epochs: invalid int value: 'many'"),
        "choice": (["train", "digits", "--gradient", "exact"], "argument --gradient: invalid choice: 'exact'"),
        "nothing": (["train"], "the following arguments are required: DATA"),
        "no command": ([], "the following arguments are required: COMMAND"),
        "no run": (["solve", "nowhere"], "nowhere: No such file or directory"),
        "no info": (["info", "nowhere"], "nowhere: No such file or directory"),
    }
    return [pytest.param(*case, id=name) for name, case in cases.items()]


@pytest.mark.parametrize(("arguments", "message"), wrong())
def test_what_is_wrong_is_said_in_one_line(
    run: Any, arguments: list[str], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    if len(arguments) > 1 and arguments[0] == "train":
        arguments = [*arguments, "--out", "run"]
    status, out, err = run(*arguments)
    assert (status, out) == (2, "")
    assert err.startswith("tapcore: ")
    assert err.count("\n") == 1
    assert message in err
    assert not Path("run").exists()


def test_a_damaged_or_contradicting_checkpoint_is_said_in_one_line(run: Any, tmp_path: Path) -> None:
    run("train", "digits", "--out", tmp_path, *SHORT)
    status, _, err = run("train", "digits", "--out", tmp_path, *SHORT)
    assert (status, err.count("\n")) == (2, 1)
    assert "holds a run already" in err
    status, _, err = run("train", "digits", "--out", tmp_path, *SHORT, "--resume", "--chains", "3")
    assert (status, err.count("\n")) == (2, 1)
    assert "chains contradicts" in err
    newest = tmp_path / "epoch-0003.safetensors"
    newest.write_bytes(newest.read_bytes()[:-1])
    for command in (["info"], ["solve"], ["train", "digits", *SHORT, "--resume", "--out"]):
        status, _, err = run(*command, tmp_path)
        assert (status, err.count("\n")) == (2, 1)
        assert "epoch-0003.safetensors: damaged checkpoint" in err


def test_divergence_exits_1_in_one_line(run: Any, tmp_path: Path) -> None:
    status, _, err = run("train", "digits", "--out", tmp_path, "--learning-rate", "1e300", "--epochs", "2")
    assert status == 1
    assert err.startswith("tapcore: training diverged in epoch 1")
    assert err.count("\n") == 1


def process(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "tapcore", *arguments]


def test_help_loads_nothing_heavy() -> None:
    code = (
        "import sys, tapcore.cli\n"
        "try: tapcore.cli.main(['train', '--help'])\n"
        "except SystemExit: pass\n"
        "print(*sorted({m.partition('.')[0] for m in sys.modules}))"
    )
    out = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout
    assert "--learning-rate" in out
    loaded = out.splitlines()[-1].split()
    assert "tapcore" in loaded
    assert not {"numba", "numpy", "scipy", "matplotlib", "tqdm"} & set(loaded)


def test_importing_tapcore_compiles_and_loads_nothing() -> None:
    code = "import sys, tapcore; print(*sorted(m for m in sys.modules if m.startswith(('numba', 'numpy'))))"
    assert subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout == "\n"


def test_runs_as_a_module() -> None:
    found = subprocess.run(process("--version"), check=True, capture_output=True, text=True).stdout
    assert found == f"tapcore {tc.__version__}\n"


def test_a_reader_that_leaves_early_is_no_error(tmp_path: Path) -> None:
    tc.save(tmp_path / "m.safetensors", tc.RBM(tc.Binary(64), tc.Binary(3), seed=0))
    reader, writer = os.pipe()
    os.close(reader)
    command = process("info", str(tmp_path / "m.safetensors"))
    ended = subprocess.run(command, stdout=writer, stderr=subprocess.PIPE, check=False)
    os.close(writer)
    assert (ended.returncode, ended.stderr) == (0, b"")


def test_ctrl_c_exits_130_after_saving_and_resumes(tmp_path: Path) -> None:
    arguments = ["digits", "--epochs", "400", "--hidden", "20", "--learning-rate", "0.01", "--out"]
    child = subprocess.Popen(process("train", *arguments, str(tmp_path / "a")), stderr=subprocess.PIPE, text=True)
    while not (tmp_path / "a" / "epoch-0002.safetensors").exists():
        assert child.poll() is None
        time.sleep(0.001)
    child.send_signal(signal.SIGINT)
    assert child.communicate()[1].splitlines()[-1] == "tapcore: interrupted; go on with --resume"
    assert child.returncode == 130
    newest = RunFolder(tmp_path / "a").newest()
    assert newest is not None
    assert (2, 0) <= newest[:2] < (400, 0)
    # What was trained on is known from the start.
    solved = subprocess.run(process("solve", str(tmp_path / "a"), "--starts", "5"), check=True, capture_output=True)
    assert solved.stdout.startswith(b"5 chains: ")
    # To its end it would take a while: compare where the interrupted epoch is complete.
    epochs = str(newest.epoch + 1)
    for name in ("a", "b"):
        subprocess.run(process("train", *arguments, str(tmp_path / name), "--epochs", epochs, "--resume"), check=True)
    a, b = (file_format.read(tmp_path / name / f"epoch-{int(epochs):04d}.safetensors")[1] for name in ("a", "b"))
    assert a["weights.0"].tobytes() == b["weights.0"].tobytes()
    assert a["momentum.0"].tobytes() == b["momentum.0"].tobytes()


def test_a_refused_run_leaves_the_note_of_the_run_before(run: Any, tmp_path: Path) -> None:
    run("train", "digits", "--out", tmp_path, *SHORT)
    note = (tmp_path / "data.json").read_text()
    assert run("train", "digits", "--threshold", "2", "--out", tmp_path, *SHORT)[0] == 2
    assert run("train", "digits", "--threshold", "2", "--out", tmp_path, *SHORT, "--resume")[0] == 2
    assert (tmp_path / "data.json").read_text() == note


def test_out_may_not_be_a_file(run: Any, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    status, _, err = run("train", "digits", "--out", tmp_path / "file", *SHORT)
    assert (status, err) == (2, f"tapcore: checkpoint: {tmp_path / 'file'} is not a folder\n")
    assert (tmp_path / "file").read_text() == "mine"


def test_a_deep_machine_trains_resumes_and_is_described(run: Any, tmp_path: Path) -> None:
    arguments = ("digits", "--hidden", "8, 4", "--epochs", "2", "--pretrain", "1", "--learning-rate", "0.1", "--out")
    status, out, err = run("train", *arguments, tmp_path / "run")
    assert (status, err) == (0, "")
    assert out.startswith("64 x 8 x 4 units trained on 1797 samples\nTAP log-likelihood per unit after epoch 4: -0.")
    machine = tc.DBM(tc.Binary(64), tc.Binary(8), tc.Binary(4), seed=0)
    expected = tc.fit(machine, datasets.load("digits"), epochs=2, pretrain=1, learning_rate=0.1)
    assert tc.load(tmp_path / "run") == expected.machine
    status, out, err = run("train", *arguments, tmp_path / "run", "--epochs", "3", "--resume")
    assert (status, err) == (0, "")
    assert "after epoch 5:" in out
    status, out, err = run("info", tmp_path / "run")
    assert (status, err) == (0, "")
    assert "weights 8 x 4 float64" in out
    assert "pretrain=1" in out
    assert "center=True" in out
    status, _, err = run("train", *arguments, tmp_path / "run", "--epochs", "3", "--resume", "--no-center")
    assert (status, err.count("\n")) == (2, 1)
    assert "center contradicts" in err
    for hidden, message in (("8,", "--hidden must be a number"), ("a", "--hidden must be a number"), ("0", "--hidden")):
        status, _, err = run("train", "digits", "--hidden", hidden, "--out", tmp_path / "other")
        assert (status, err.count("\n")) == (2, 1)
        assert message in err


def test_a_deep_run_goes_on_for_more_epochs(run: Any, tmp_path: Path) -> None:
    arguments = ("train", "digits", "--hidden", "8,4", "--out", tmp_path / "run", "--learning-rate", "0.1", "--epochs")
    assert run(*arguments, "2")[0] == 0
    status, out, err = run(*arguments, "4", "--resume")
    assert (status, err) == (0, "")
    assert "after epoch 8:" in out  # two for each pair of layers, four for all
