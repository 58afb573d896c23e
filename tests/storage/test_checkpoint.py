"""Saved machines and runs: equal when loaded, refused when damaged, the same bits when resumed."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cases import fit_as_paper, random_rbm
from hypothesis import given
from hypothesis import strategies as st

import tapcore as tc
from tapcore.storage import format as file_format
from tapcore.storage.machines import RunFolder
from tapcore.training.trainer import Trainer


def data(seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).random((50, 6)) < 0.4


def small(seed: int = 1) -> tc.Machine:
    return random_rbm(seed, sizes=(6, 4))


OPTIONS: dict[str, Any] = {"epochs": 4, "batch_size": 9, "chains": 5, "learning_rate": 0.1}


class Stop(Exception):
    pass


def stop_after(batches: int, monkeypatch: pytest.MonkeyPatch, error: type[BaseException] = Stop) -> None:
    """Make training fail after so many batches, counted over epochs."""
    train, left = Trainer._train_batch, [batches]

    def counted(self: Trainer, *args: Any) -> None:
        if left[0] == 0:
            raise error
        left[0] -= 1
        train(self, *args)

    monkeypatch.setattr(Trainer, "_train_batch", counted)


def interrupt_after(batches: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Send Ctrl-C to this process in the middle of a batch."""
    train, left = Trainer._train_batch, [batches]

    def counted(self: Trainer, *args: Any) -> None:
        left[0] -= 1
        if left[0] == 0:
            os.kill(os.getpid(), signal.SIGINT)
        train(self, *args)

    monkeypatch.setattr(Trainer, "_train_batch", counted)


def tensors(folder: Path) -> dict[str, np.ndarray]:
    newest = RunFolder(folder).newest()
    assert newest is not None
    found = file_format.read(newest.path)[1]
    found["history"] = np.delete(found["history"], tc.EpochRecord._fields.index("seconds"), axis=1)
    return found


def assert_same_run(a: Path, b: Path) -> None:
    one, other = tensors(a), tensors(b)
    assert one.keys() == other.keys()
    for name in one:
        assert one[name].tobytes() == other[name].tobytes(), name


# --- Machines ---


@given(
    st.integers(0, 2**32), st.sampled_from(["Binary", "Spin"]), st.sampled_from(["Binary", "Spin"]),
    st.sampled_from(["float64", "float32"]), st.tuples(st.integers(1, 9), st.integers(1, 9)),
)  # fmt: skip
def test_a_saved_machine_loads_equal(seed: int, visible: str, hidden: str, dtype: str, sizes: tuple[int, int]) -> None:
    machine = random_rbm(seed, visible, hidden, sizes).replace(dtype=dtype)
    path = Path(os.environ["NUMBA_CACHE_DIR"]).parent / f"tapcore-test-{os.getpid()}.safetensors"
    try:
        tc.save(path, machine)
        loaded = tc.load(path)
    finally:
        path.unlink(missing_ok=True)
    assert loaded == machine
    assert loaded.dtype == machine.dtype
    assert not loaded.weights[0].flags.writeable


def test_deep_machines_are_saved_too(tmp_path: Path) -> None:
    machine = tc.Machine((tc.Binary(3), tc.Spin(2, U=0.5), tc.Binary(4)), (np.ones((3, 2)), np.full((2, 4), -2.0)))
    tc.save(tmp_path / "deep.safetensors", machine)
    assert tc.load(tmp_path / "deep.safetensors") == machine


def test_save_replaces_and_refuses(tmp_path: Path) -> None:
    path = tmp_path / "machine.safetensors"
    tc.save(path, small(1))
    tc.save(str(path), small(2))
    assert tc.load(path) == small(2)
    with pytest.raises(ValueError, match=r"tapcore\.Machine"):
        tc.save(path, "machine")
    assert tc.load(path) == small(2)
    assert [p.name for p in tmp_path.iterdir()] == [path.name]
    with pytest.raises(FileNotFoundError, match=r"No such folder: .*missing'$"):
        tc.save(tmp_path / "missing" / "machine.safetensors", small())


def test_load_says_what_is_wrong(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        tc.load(tmp_path / "missing.safetensors")
    with pytest.raises(FileNotFoundError, match="no checkpoints"):
        tc.load(tmp_path)
    (tmp_path / "text").write_text(
        "not a checkpoint at all, but long enough to have room for one's header and digest" * 3
    )
    with pytest.raises(tc.CheckpointError, match="not a tapcore checkpoint"):
        tc.load(tmp_path / "text")
    header = {
        "kind": "machine",
        "layers": [{"type": "Quantum", "n": 2}, {"type": "Binary", "n": 2}],
        "dtype": "float64",
    }
    file_format.write(tmp_path / "newer", header, {"weights.0": np.zeros((2, 2))})
    with pytest.raises(tc.CheckpointError, match="unknown unit type 'Quantum'"):
        tc.load(tmp_path / "newer")
    header["layers"] = [{"type": "Binary", "n": 2}] * 2
    file_format.write(tmp_path / "incomplete", header, {"weights.0": np.zeros((2, 2))})
    with pytest.raises(tc.CheckpointError, match=r"holds no machine: .*layers\.0\.U"):
        tc.load(tmp_path / "incomplete")


def test_every_byte_of_a_checkpoint_counts(tmp_path: Path) -> None:
    fit_as_paper(tc.RBM(tc.Binary(6), tc.Binary(2)), data(), epochs=1, chains=3, batch_size=25, checkpoint=tmp_path)
    good = (tmp_path / "epoch-0001.safetensors").read_bytes()
    path = tmp_path / "epoch-0002.safetensors"
    for i in range(len(good)):
        path.write_bytes(good[:i] + bytes([good[i] ^ (1 << i % 8)]) + good[i + 1 :])
        with pytest.raises(tc.CheckpointError, match="epoch-0002"):
            tc.load(path)
    for length in range(0, len(good), 7):
        path.write_bytes(good[:length])
        with pytest.raises(tc.CheckpointError, match="epoch-0002"):
            tc.load(path)
    with pytest.raises(tc.CheckpointError, match=r"epoch-0002.*; delete it to resume from the checkpoint before it"):
        fit_as_paper(tc.RBM(tc.Binary(6), tc.Binary(2)), data(), epochs=3, chains=3, batch_size=25, checkpoint=tmp_path,
               resume=True)  # fmt: skip


# --- Runs ---


def test_a_run_leaves_a_series_of_checkpoints(tmp_path: Path) -> None:
    seen: list[tc.Machine] = []
    result = fit_as_paper(
        small(), data(), checkpoint=tmp_path / "a" / "run", checkpoint_every=3, **OPTIONS | {"epochs": 7},
        callbacks=[lambda machine, record: seen.append(machine)],
    )  # fmt: skip
    folder = tmp_path / "a" / "run"
    assert sorted(p.name for p in folder.iterdir()) == [f"epoch-000{e}.safetensors" for e in (0, 3, 6, 7)]
    assert tc.load(folder) == result.machine
    assert tc.load(folder / "epoch-0003.safetensors") == seen[2]
    assert tc.load(folder / "epoch-0000.safetensors") == small()
    header, arrays = file_format.read(folder / "epoch-0007.safetensors")
    assert header["settings"]["batch_size"] == 9
    assert header["random"] == {"seed": 0, "epoch": 7, "batch": 0}
    assert {"weights.0", "momentum.0", "layers.0.U", "layers.1.U", "chains.mean.0", "chains.var.1", "history"} <= set(
        arrays
    )


@pytest.mark.parametrize("how", ["data", "persistent", "random"])
@pytest.mark.parametrize("batches", [0, 1, 6, 7, 12, 20])
def test_resuming_gives_the_same_bits(how: str, batches: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    options = {**OPTIONS, "chain_init": how, "seed": 3}
    whole = fit_as_paper(small(), data(), checkpoint=tmp_path / "whole", **options)
    with monkeypatch.context() as patch:
        stop_after(batches, patch)
        with pytest.raises(Stop):
            fit_as_paper(small(), data(), checkpoint=tmp_path / "parts", **options)
    resumed = fit_as_paper(small(), data(), checkpoint=tmp_path / "parts", resume=True, **options)
    assert resumed.machine == whole.machine
    assert_same_run(tmp_path / "whole", tmp_path / "parts")


@pytest.mark.parametrize("how", [("pcd", "persistent"), ("cd", "data"), ("adatap", "persistent")], ids=str)
def test_resuming_other_kinds_of_chains(how: tuple[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    options = {**OPTIONS, "gradient": how[0], "chain_init": how[1], "sweeps": 2, "seed": 3}
    whole = fit_as_paper(small(), data(), checkpoint=tmp_path / "whole", **options)
    with monkeypatch.context() as patch:
        interrupt_after(9, patch)  # in the middle of an epoch
        with pytest.raises(KeyboardInterrupt):
            fit_as_paper(small(), data(), checkpoint=tmp_path / "parts", **options)
    resumed = fit_as_paper(small(), data(), checkpoint=tmp_path / "parts", resume=True, **options)
    assert resumed.machine == whole.machine


@pytest.mark.parametrize("batches", [1, 4, 6, 11, 24])
def test_ctrl_c_saves_between_two_batches_and_resumes(
    batches: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = {**OPTIONS, "chain_init": "persistent"}
    whole = fit_as_paper(small(), data(), checkpoint=tmp_path / "whole", **options)
    handler = signal.getsignal(signal.SIGINT)
    with monkeypatch.context() as patch:
        interrupt_after(batches, patch)
        if batches < 24:
            with pytest.raises(KeyboardInterrupt):
                fit_as_paper(small(), data(), checkpoint=tmp_path / "parts", **options)
        else:  # the last batch of the run: there is nothing left to interrupt
            fit_as_paper(small(), data(), checkpoint=tmp_path / "parts", **options)
    assert signal.getsignal(signal.SIGINT) is handler
    newest = RunFolder(tmp_path / "parts").newest()
    assert newest is not None
    assert 6 * newest.epoch + newest.batch == batches
    resumed = fit_as_paper(small(), data(), checkpoint=tmp_path / "parts", resume=True, **options)
    assert resumed.machine == whole.machine
    assert_same_run(tmp_path / "whole", tmp_path / "parts")
    assert not [p for p in (tmp_path / "parts").iterdir() if "batch" in p.name]


def test_ctrl_c_without_a_folder_is_pythons_own(monkeypatch: pytest.MonkeyPatch) -> None:
    interrupt_after(3, monkeypatch)
    with pytest.raises(KeyboardInterrupt):
        fit_as_paper(small(), data(), **OPTIONS)


def test_trains_in_other_threads_too(tmp_path: Path) -> None:
    found: list[tc.Machine] = []
    thread = threading.Thread(
        target=lambda: found.append(fit_as_paper(small(), data(), checkpoint=tmp_path / "run", **OPTIONS).machine)
    )
    thread.start()
    thread.join()
    assert found == [fit_as_paper(small(), data(), **OPTIONS).machine]


def test_a_longer_run_goes_on_from_a_shorter_one(tmp_path: Path) -> None:
    fit_as_paper(small(), data(), checkpoint=tmp_path, **{**OPTIONS, "epochs": 2})
    longer = fit_as_paper(small(), data(), checkpoint=tmp_path, resume=True, **OPTIONS)
    whole = fit_as_paper(small(), data(), **OPTIONS)
    assert longer.machine == whole.machine
    assert len(longer.history) == 4
    assert longer.history.log_likelihood.tolist() == whole.history.log_likelihood.tolist()
    assert fit_as_paper(small(), data(), checkpoint=tmp_path, resume=True, **OPTIONS).machine == whole.machine


def test_resuming_in_an_empty_folder_starts_a_run(tmp_path: Path) -> None:
    result = fit_as_paper(small(), data(), checkpoint=tmp_path, resume=True, **OPTIONS)
    assert result.machine == fit_as_paper(small(), data(), **OPTIONS).machine


def test_the_weights_of_the_machine_given_do_not_matter_when_resuming(tmp_path: Path) -> None:
    whole = fit_as_paper(small(), data(), checkpoint=tmp_path, **OPTIONS)
    assert fit_as_paper(small(seed=9), data(), checkpoint=tmp_path, resume=True, **OPTIONS).machine == whole.machine


def test_a_folder_with_a_run_is_not_overwritten(tmp_path: Path) -> None:
    fit_as_paper(small(), data(), checkpoint=tmp_path, **OPTIONS)
    before = {p: p.read_bytes() for p in tmp_path.iterdir()}
    with pytest.raises(ValueError, match="holds a run already"):
        fit_as_paper(small(), data(), checkpoint=tmp_path, **OPTIONS)
    assert {p: p.read_bytes() for p in tmp_path.iterdir()} == before


@pytest.mark.parametrize(
    ("argument", "value"),
    [
        ("batch_size", 8), ("chains", 6), ("momentum", 0.4), ("penalty", tc.L2(0.002)), ("penalty", tc.L1(0.001)),
        ("penalty", None), ("sweeps", 9), ("chain_init", "random"), ("gradient", "nmf"), ("seed", 1),
        ("learning_rate", 0.2), ("learning_rate", lambda epoch: 0.1 if epoch < 3 else 0.05), ("epochs", 3),
    ],
)  # fmt: skip
def test_settings_that_contradict_the_checkpoint_are_refused(argument: str, value: Any, tmp_path: Path) -> None:
    fit_as_paper(small(), data(), checkpoint=tmp_path, **OPTIONS)
    with pytest.raises(ValueError, match=rf"resume: {argument} contradicts .*epoch-0004"):
        fit_as_paper(small(), data(), checkpoint=tmp_path, resume=True, **{**OPTIONS, argument: value})


def test_a_schedule_may_change_in_what_is_to_come_only(tmp_path: Path) -> None:
    fit_as_paper(small(), data(), checkpoint=tmp_path, **{**OPTIONS, "epochs": 2})
    options = {**OPTIONS, "learning_rate": lambda epoch: 0.1 if epoch <= 2 else 0.01}
    resumed = fit_as_paper(small(), data(), checkpoint=tmp_path, resume=True, **options)
    assert resumed.machine == fit_as_paper(small(), data(), **options).machine


def test_other_data_or_machines_are_refused(tmp_path: Path) -> None:
    fit_as_paper(small(), data(), checkpoint=tmp_path, **OPTIONS)
    with pytest.raises(ValueError, match="resume: X contradicts"):
        fit_as_paper(small(), data(seed=1), checkpoint=tmp_path, resume=True, **OPTIONS)
    for other in (
        random_rbm(1, sizes=(6, 5)),
        random_rbm(1, "Binary", "Spin", (6, 4)),
        small().replace(dtype="float32"),
    ):
        with pytest.raises(ValueError, match="resume: machine contradicts"):
            fit_as_paper(other, data(), checkpoint=tmp_path, resume=True, **OPTIONS)


def test_a_saved_machine_is_no_run_to_resume(tmp_path: Path) -> None:
    tc.save(tmp_path / "epoch-0001.safetensors", small())
    with pytest.raises(tc.CheckpointError, match="no training run"):
        fit_as_paper(small(), data(), checkpoint=tmp_path, resume=True, **OPTIONS)


KILLED: dict[str, Any] = {**OPTIONS, "epochs": 10, "chain_init": "persistent", "resume": True}
# What a run does in turn: half-done batches, files written but not yet in place, in place but not yet on the disk.
MOMENTS = (
    (Trainer, "_train_batch"),
    (Trainer, "_update"),
    (os, "fsync"),
    (os, "replace"),
    (file_format, "_sync_folder"),
)


def _train_until(moment: int, folder: Path, count: Any) -> None:
    """Train, and be killed from inside before so many of `MOMENTS`."""

    def counting(call: Any) -> Any:
        def counted(*args: Any) -> Any:
            if count.value == moment:
                os.kill(os.getpid(), signal.SIGKILL)
            count.value += 1
            return call(*args)

        return counted

    for owner, name in MOMENTS:
        setattr(owner, name, counting(getattr(owner, name)))
    fit_as_paper(small(), data(), checkpoint=folder, **KILLED)


@pytest.mark.skipif(sys.platform == "win32", reason="needs fork and SIGKILL")
def test_killed_at_random_moments_and_resumed(tmp_path: Path) -> None:
    """SIGKILL at 20 random moments, each in a run of its own; resumed, the result is always that of a whole run."""
    context = multiprocessing.get_context("fork")

    def child(moment: int, folder: Path) -> tuple[int, int | None]:
        count = context.Value("q", 0)
        process = context.Process(target=_train_until, args=(moment, folder, count))
        process.start()
        process.join()
        return count.value, process.exitcode

    moments, exitcode = child(-1, tmp_path / "whole")
    assert exitcode == 0
    for moment in np.random.default_rng(11).choice(moments, 20, replace=False):
        folder = tmp_path / f"killed-{moment}"
        assert child(int(moment), folder) == (moment, -signal.SIGKILL)
        fit_as_paper(small(), data(), checkpoint=folder, **KILLED)
        assert_same_run(tmp_path / "whole", folder)
        assert not [p for p in folder.iterdir() if p.suffix == ".tmp"]
