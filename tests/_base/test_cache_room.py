"""Where the cache cannot be written, or has no room, everything works, with one warning."""

from __future__ import annotations

import ctypes
import resource
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from cache_cases import MEAN, VARIANCE, compiled_only, copy_package, edit_moments, files, moments, run, the_warning

import tapcore as tc


def drop_the_right_to_write_anywhere() -> None:
    """Have permissions count for root, too, once the process has begun."""
    ctypes.CDLL(None).prctl(24, 1, 0, 0, 0)  # PR_CAPBSET_DROP, CAP_DAC_OVERRIDE


@pytest.fixture
def locked(tmp_path: Path) -> Iterator[Path]:
    """A copy of the package in which nothing can be written, nor in the folder above."""
    lib = copy_package(tmp_path / "locked")
    folders = [lib, *(p for p in lib.rglob("*") if p.is_dir())]
    for folder in folders:
        folder.chmod(0o555)
    yield lib
    for folder in folders:
        folder.chmod(0o755)


@compiled_only
def test_without_a_home_and_from_a_read_only_installation_everything_works(locked: Path) -> None:
    more = "tc.special.sigmoid(np.ones(3)); tc.truncnorm"
    for home in (str(locked / "nobody"), "/proc/nowhere"):
        mean, variance, hits, _, errors = moments(locked, drop_the_right_to_write_anywhere, more, HOME=home)
        np.testing.assert_allclose([mean, variance], [MEAN, VARIANCE])
        assert hits == 0
        the_warning(errors)
    assert files(locked) == []


@compiled_only
def test_a_home_that_is_no_place_makes_no_folder_in_the_current_one(locked: Path, tmp_path: Path) -> None:
    """As "~" is none where the user has no home at all."""
    here = tmp_path / "here"
    here.mkdir()
    code = (
        f"import os; os.chdir({str(here)!r})\nimport numpy as np, tapcore as tc; print(tc.special.sigmoid(np.zeros(1)))"
    )
    out, errors = run(locked, code, drop_the_right_to_write_anywhere, HOME="nobody")
    assert out == "[0.5]\n"
    the_warning(errors)
    assert list(here.iterdir()) == []


@compiled_only
def test_a_cache_folder_that_is_given_is_used_where_nothing_else_can_be_written(locked: Path, tmp_path: Path) -> None:
    given = {"HOME": str(locked / "nobody"), "NUMBA_CACHE_DIR": str(tmp_path / "cache")}
    assert moments(locked, drop_the_right_to_write_anywhere, **given)[4] == ""
    _, _, hits, misses, errors = moments(locked, drop_the_right_to_write_anywhere, **given)
    assert hits > 0
    assert (misses, errors) == (0, "")


@compiled_only
def test_a_given_folder_that_cannot_be_made_is_named(locked: Path) -> None:
    given = {"HOME": str(locked / "nobody"), "NUMBA_CACHE_DIR": str(locked / "cache")}
    assert str(locked / "cache") in the_warning(moments(locked, drop_the_right_to_write_anywhere, **given)[4])


@compiled_only
def test_the_command_warns_in_one_line(locked: Path, tmp_path: Path) -> None:
    machine = tmp_path / "machine.safetensors"
    tc.save(machine, tc.RBM(tc.Binary(3), tc.Binary(2), seed=0))
    command = ["sample", str(machine), "--count", "2", "--sweeps", "2", "--out", str(tmp_path / "x.npy")]
    out, errors = run(
        locked, f"from tapcore import cli; assert cli.main({command}) == 0",
        drop_the_right_to_write_anywhere, HOME=str(locked / "nobody"),
    )  # fmt: skip
    assert out.startswith("2 samples of 3 units")
    (line,) = errors.splitlines()
    assert line.startswith("tapcore: warning: kernels are compiled anew in each process: ")


def limit_files() -> None:
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))


@compiled_only
def test_where_files_may_not_grow_everything_works_and_the_next_process_is_not_misled(tmp_path: Path) -> None:
    filled = copy_package(tmp_path)
    moments(filled)
    edit_moments(filled)
    mean, variance, hits, _, errors = moments(filled, limit_files)
    np.testing.assert_allclose([mean, variance], [MEAN, 2 * VARIANCE])
    assert hits == 0
    assert "File too large" in the_warning(errors)
    assert not [p for p in files(filled) if p.suffix != ".nbc"]
    # The old files are still there, and nothing says that they are new.
    assert moments(filled)[:3] == (mean, variance, 0)
    assert moments(filled)[3:] == (0, "")


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    folder = tmp_path / "disk"
    folder.mkdir()
    if shutil.which("mount") is None:
        pytest.skip("a full disk is made by mounting a small one, and there is no command mount")
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", folder], check=False, capture_output=True, text=True
    )
    if done.returncode:
        pytest.skip(f"a full disk is made by mounting a small one, which is not allowed here: {done.stderr.strip()}")
    yield folder
    subprocess.run(["umount", folder], check=True)


@compiled_only
def test_with_a_full_disk_everything_works(tmp_path: Path, small_disk: Path) -> None:
    lib = copy_package(tmp_path / "lib")
    for attempt in range(2):
        mean, variance, hits, misses, errors = moments(lib, NUMBA_CACHE_DIR=str(small_disk))
        np.testing.assert_allclose([mean, variance], [MEAN, VARIANCE])
        assert misses > 0
        assert (hits > 0) == (attempt == 1)  # of what had room
        assert "No space left" in the_warning(errors)
        assert {p.suffix for p in files(small_disk)} == {".nbc"}
