"""Counts that memory cannot hold are refused in one line, before anything is allocated."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tapcore as tc
from tapcore._base import footprint
from tapcore.cli import main

HUGE = 10**12
MACHINE = tc.RBM(tc.Binary(4), tc.Spin(3), sigma=0.1, seed=0)
DEEP = tc.DBM(tc.Binary(4), tc.Spin(3), tc.Binary(2), sigma=0.1, seed=0)
X = np.eye(4)


def fit(machine: tc.Machine, **options: Any) -> Any:
    return tc.fit(machine, X, epochs=1, chains=HUGE, progress=False, **options)


CALLS = {
    "fit": (lambda: fit(MACHINE), "chains"),
    "fit float32": (lambda: fit(MACHINE.replace(dtype="float32")), "chains"),
    "fit tap3": (lambda: fit(MACHINE, gradient="tap3"), "chains"),
    "fit nmf persistent": (lambda: fit(MACHINE, gradient="nmf", chain_init="persistent"), "chains"),
    "fit cd": (lambda: fit(MACHINE, gradient="cd"), "chains"),
    "fit pcd": (lambda: fit(MACHINE, gradient="pcd"), "chains"),
    "fit ptt": (lambda: fit(MACHINE, gradient="ptt"), "chains"),
    "fit deep": (lambda: fit(DEEP), "chains"),
    "ais": (lambda: tc.ais(MACHINE, chains=HUGE, progress=False), "chains"),
    "GibbsSampler": (lambda: tc.GibbsSampler(MACHINE, HUGE), "chains"),
    "ReplicaExchange": (lambda: tc.ReplicaExchange(MACHINE, HUGE // 100, 100), "chains"),
    "TrajectoryTempering": (lambda: tc.TrajectoryTempering(MACHINE, HUGE), "chains"),
    "sample": (lambda: tc.sample(MACHINE, HUGE, progress=False), "n"),
    "sample replicas": (lambda: tc.sample(MACHINE, 10**6, replicas=10**6, progress=False), "n"),
    "denoise": (lambda: tc.denoise(MACHINE, X, tc.BinarySymmetric(0.1), starts=HUGE), "starts"),
    "spectral_radius": (lambda: tc.spectral_radius(MACHINE, tc.solve(MACHINE, X), iterations=HUGE), "iterations"),
    "Binary": (lambda: tc.Binary(HUGE), "n"),
    "RBM": (lambda: tc.RBM(tc.Binary(10**6), tc.Binary(10**6)), "weights"),
    "DBM": (lambda: tc.DBM(tc.Binary(2), tc.Binary(10**6), tc.Binary(10**6)), "weights"),
}


@pytest.mark.parametrize("call", CALLS)
def test_counts_beyond_memory_are_refused(call: str) -> None:
    run, name = CALLS[call]
    with pytest.raises(ValueError, match=rf"^{name} must fit in memory: .* would take [\d.e+]+ TB, of .* in all$"):
        run()


def test_nothing_is_written_before_the_refusal(tmp_path: Path) -> None:
    for machine in (MACHINE, DEEP):
        with pytest.raises(ValueError, match="chains must fit in memory"):
            fit(machine, checkpoint=tmp_path / "run")
        assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("--chains", "100000000000"), ("--hidden", "99999999999"), ("--hidden", "9999999,9999999"),
        ("--epochs", "100000000000"), ("--chains", "99999999999 --gradient rbp"),
        ("--chains", "99999999999 --gradient adatap"),
    ],
)  # fmt: skip
def test_the_command_train_refuses_them(
    option: str, value: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    np.save(tmp_path / "X.npy", X)
    run = tmp_path / "run"
    assert main(["train", str(tmp_path / "X.npy"), "--out", str(run), option, *value.split()]) == 2
    assert capsys.readouterr().err.startswith(f"tapcore: {option} must fit in memory: {value.split()[0]} would take ")
    assert not run.exists()


def test_other_commands_refuse_them(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    machine, data = tmp_path / "m.safetensors", tmp_path / "X.npy"
    tc.save(machine, MACHINE)
    np.save(data, X)
    assert main(["sample", str(machine), "--count", str(HUGE)]) == 2
    assert capsys.readouterr().err.startswith("tapcore: --count must fit in memory: ")
    assert main(["denoise", str(machine), str(data), "--starts", str(HUGE)]) == 2
    assert capsys.readouterr().err.startswith("tapcore: starts must fit in memory: ")


def test_memory_running_out_all_the_same_is_said_in_a_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    tc.save(tmp_path / "m.safetensors", MACHINE)

    def fail(*_: Any, **__: Any) -> None:
        raise MemoryError

    monkeypatch.setattr("tapcore.sampling.sampler.sample", fail)
    assert main(["sample", str(tmp_path / "m.safetensors")]) == 2
    assert capsys.readouterr().err == "tapcore: not enough memory\n"


def test_a_limit_of_the_control_group_counts(tmp_path: Path) -> None:
    root, own = tmp_path / "cgroup", tmp_path / "own"
    (root / "a" / "b").mkdir(parents=True)
    (root / "memory" / "c").mkdir(parents=True)
    own.write_text("0::/a/b\n5:cpu:/elsewhere\n4:memory:/c\n")
    assert footprint.limits(root, own) == []
    (root / "a" / "b" / "memory.max").write_text("max\n")
    (root / "a" / "memory.max").write_text("3000\n")
    (root / "memory" / "c" / "memory.limit_in_bytes").write_text("2000\n")
    assert sorted(footprint.limits(root, own)) == [2000.0, 3000.0]
    assert footprint.limits(tmp_path / "none", tmp_path / "none") == []


def test_what_fits_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(footprint, "most", lambda: 1e5)
    assert tc.sample(MACHINE, 100, sweeps=1, progress=False).shape == (100, 4)
    with pytest.raises(ValueError, match=r"n must fit in memory: 1000 would take \d+ kB, of 100 kB in all"):
        tc.sample(MACHINE, 1000, sweeps=1, progress=False)
