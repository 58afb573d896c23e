"""Checkpoint files appear whole or not at all, whatever dies when."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from tapcore.storage import format as file_format


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "machine.tap"


# Writing whole or not at all


@pytest.mark.parametrize("function", ["replace", "fsync"])
@pytest.mark.parametrize("error", [OSError("no space left"), KeyboardInterrupt()], ids=["OSError", "interrupt"])
def test_failed_write_leaves_the_old_content(
    path: Path, monkeypatch: pytest.MonkeyPatch, function: str, error: BaseException
) -> None:
    def fail(*_: object) -> None:
        raise error

    path.write_bytes(b"old")
    with monkeypatch.context() as patch:
        patch.setattr(os, function, fail)
        with pytest.raises(type(error)):
            file_format.write_whole(path, b"new")
    assert path.read_bytes() == b"old"
    assert list(path.parent.iterdir()) == [path]


def test_write_replaces_longer_content(path: Path) -> None:
    file_format.write_whole(path, b"long old content")
    file_format.write_whole(path, b"new")
    assert path.read_bytes() == b"new"
    assert list(path.parent.iterdir()) == [path]


def test_missing_folder(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="missing"):
        file_format.write_whole(tmp_path / "missing" / "machine.tap", b"new")
    assert not list(tmp_path.iterdir())


def test_folder_in_place_of_the_file(path: Path) -> None:
    path.mkdir()
    with pytest.raises(OSError, match=r"machine\.tap"):
        file_format.write_whole(path, b"new")
    assert list(path.parent.iterdir()) == [path]


def test_threads_writing_one_file_leave_one_of_their_contents(path: Path) -> None:
    contents = [bytes([n]) * 100_000 for n in range(4)]
    failures: list[BaseException] = []

    def write_often(data: bytes) -> None:
        try:
            for _ in range(20):
                file_format.write_whole(path, data)
                assert path.read_bytes() in contents
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=write_often, args=(data,)) for data in contents]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures
    assert list(path.parent.iterdir()) == [path]


# Processes that die

WRITE_FOREVER = """
import itertools, pathlib, sys
import numpy as np
from tapcore.storage import format as file_format

packed = [file_format.pack({"n": n}, {"A": np.full(500_000, n)}) for n in range(2)]
for n in itertools.count():
    file_format.write_whole(pathlib.Path(sys.argv[1]), packed[n % 2])
    if n == int(sys.argv[2]):
        print("written", flush=True)
"""

DIE_BEFORE = """
import os, pathlib, signal, sys
from tapcore.storage import format as file_format

setattr(os, sys.argv[2], lambda *_: os.kill(os.getpid(), signal.SIGKILL))
file_format.write_whole(pathlib.Path(sys.argv[1]), b"new" * 10_000)
"""


def started(code: str, *arguments: str) -> subprocess.Popen[str]:
    root = Path(file_format.__file__).parents[1]
    return subprocess.Popen(
        [sys.executable, "-c", code, *arguments], cwd=root, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )


@pytest.fixture
def live() -> Iterator[int]:
    """Id of another process that runs."""
    with started("input()") as process:
        yield process.pid
        process.kill()


@pytest.fixture
def dead() -> int:
    """Id of a process that ran."""
    process = started("")
    process.communicate()
    return process.pid


def leftover(folder: Path, process: int, token: str = "0123456789abcdef", suffix: str = "") -> Path:
    path = folder / f".tapcore-{process}-{token}-0.tmp{suffix}"
    path.write_bytes(b"partial")
    return path


def test_leftovers_of_dead_processes_are_removed(tmp_path: Path, dead: int) -> None:
    leftover(tmp_path, dead)
    leftover(tmp_path, dead, "f" * 16)
    leftover(tmp_path, os.getpid())  # of an earlier process with our id
    file_format.remove_leftovers(tmp_path)
    assert not list(tmp_path.iterdir())


def test_files_of_running_processes_are_kept(tmp_path: Path, live: int) -> None:
    kept = {leftover(tmp_path, live), leftover(tmp_path, os.getpid(), file_format._TOKEN)}
    file_format.remove_leftovers(tmp_path)
    assert set(tmp_path.iterdir()) == kept


def test_files_of_other_users_processes_are_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, live: int) -> None:
    def forbidden(*_: int) -> None:
        raise PermissionError

    kept = leftover(tmp_path, live)
    with monkeypatch.context() as patch:
        patch.setattr(os, "kill", forbidden)
        file_format.remove_leftovers(tmp_path)
    assert list(tmp_path.iterdir()) == [kept]


def test_files_of_other_names_are_kept(tmp_path: Path, dead: int) -> None:
    kept = {leftover(tmp_path, dead, suffix="x"), leftover(tmp_path, dead, "short"), tmp_path / f".tapcore-{dead}.tmp"}
    (tmp_path / f".tapcore-{dead}.tmp").touch()
    file_format.remove_leftovers(tmp_path)
    assert set(tmp_path.iterdir()) == kept


@pytest.mark.parametrize("function", ["fsync", "replace"])
def test_writer_killed_before_its_last_steps_leaves_the_old_content(path: Path, function: str) -> None:
    path.write_bytes(b"old")
    process = started(DIE_BEFORE, str(path), function)
    process.communicate()
    assert process.returncode == -signal.SIGKILL
    assert path.read_bytes() == b"old"
    assert len(list(path.parent.iterdir())) == 2
    file_format.remove_leftovers(path.parent)
    assert list(path.parent.iterdir()) == [path]


@pytest.mark.parametrize("writes", [0, 1, 3, 6, 10])
def test_killed_writer_leaves_a_readable_file(path: Path, writes: int) -> None:
    with started(WRITE_FOREVER, str(path), str(writes)) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "written\n"
        process.kill()
    assert process.returncode == -signal.SIGKILL
    header, tensors = file_format.read(path)
    np.testing.assert_array_equal(tensors["A"], np.full(500_000, header["n"]))
    file_format.remove_leftovers(path.parent)
    assert list(path.parent.iterdir()) == [path]
