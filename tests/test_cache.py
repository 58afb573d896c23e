"""Cached kernels follow every source, and whatever happens to the cache, everything works."""

from __future__ import annotations

import ctypes
import json
import os
import resource
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tapcore as tc
from tapcore import _cache
from tapcore._jit import JIT_DISABLED

PACKAGE = Path(tc.__file__).parent
MEAN, VARIANCE = 1 / (1 + np.exp(-1.0)), np.exp(-1.0) / (1 + np.exp(-1.0)) ** 2

compiled_only = pytest.mark.skipif(JIT_DISABLED, reason="nothing is compiled")

# Moments of binary units of field 1, and how often the process found compiled functions and how often not.
MOMENTS = """
import json, sys, numpy as np, tapcore as tc
values = [float(x[0]) for x in tc.Binary(3).moments(np.ones(3), np.zeros(3))]
{more}
from numba.core.dispatcher import Dispatcher
from tapcore.units import _sites
found = {{id(f): f for m in list(sys.modules.values()) if m.__name__.startswith("tapcore")
         for f in vars(m).values() if isinstance(f, Dispatcher)}}.values()
hits = sum(sum(f.stats.cache_hits.values()) for f in found)
misses = sum(sum(f.stats.cache_misses.values()) for f in found)
c = [_sites._compiled(n, tc.Binary(1).site_type, "float64") for n in (_sites.MOMENTS, _sites.LOG_Z)]
hits, misses = hits + sum(f.cache_hits for f in c), misses + sum(1 - f.cache_hits for f in c)
print(json.dumps([values[1], values[2], hits, misses]))
"""


def run(lib: Path, code: str, prepare: Callable[[], Any] | None = None, **environment: str) -> tuple[str, str]:
    """Output and errors of a process that runs `code`, or a script, with the package in `lib`, its cache beside it."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("NUMBA", "PYTHON", "XDG"))}
    environment = {**kept, "PYTHONPATH": str(lib), "PYTHONDONTWRITEBYTECODE": "1", **environment}
    command = [sys.executable, code] if code.endswith(".py") else [sys.executable, "-c", code]
    done = subprocess.run(
        command, check=False, capture_output=True, text=True, cwd=lib, env=environment, preexec_fn=prepare
    )
    assert done.returncode == 0, done.stderr
    return done.stdout, done.stderr


def moments(lib: Path, prepare: Callable[[], Any] | None = None, more: str = "", **environment: str) -> Any:
    """Mean, variance, hits, misses, and errors."""
    out, errors = run(lib, MOMENTS.format(more=more), prepare, **environment)
    return *json.loads(out), errors


def copy_package(to: Path) -> Path:
    shutil.copytree(PACKAGE, to / "tapcore", ignore=shutil.ignore_patterns("__pycache__", "*.nb?", ".*"))
    return to


def edit(path: Path, old: str, new: str) -> None:
    text = path.read_text(encoding="utf-8")
    assert text.count(old) == 1
    path.write_text(text.replace(old, new), encoding="utf-8")


def edit_moments(lib: Path) -> None:
    """Twice the variance: the last line of a helper in another file than the kernels that call it."""
    edit(lib / "tapcore" / "special" / "exponential.py", "else low), low * r\n", "else low), c.two * low * r\n")


def files(lib: Path) -> list[Path]:
    """What the cache consists of, beside the sources."""
    return sorted(p for p in lib.rglob("*") if ".nb" in p.name)


@pytest.fixture(scope="module")
def filled_once(tmp_path_factory: pytest.TempPathFactory) -> Path:
    lib = copy_package(tmp_path_factory.mktemp("filled"))
    mean, variance, hits, misses, errors = moments(lib)
    np.testing.assert_allclose([mean, variance], [MEAN, VARIANCE])
    assert hits == 0
    assert misses > 10
    assert errors == ""
    return lib


@pytest.fixture
def filled(filled_once: Path, tmp_path: Path) -> Path:
    """A copy of the package whose cache a first process has filled."""
    return Path(shutil.copytree(filled_once, tmp_path / "lib"))


# --- Edits ---


@compiled_only
def test_a_second_process_compiles_nothing(filled: Path) -> None:
    before = files(filled)
    mean, variance, hits, misses, errors = moments(filled)
    np.testing.assert_allclose([mean, variance], [MEAN, VARIANCE])
    assert hits > 0
    assert (misses, errors) == (0, "")
    assert files(filled) == before


@compiled_only
def test_an_edit_of_a_helper_in_another_file_changes_what_the_next_process_computes(filled: Path) -> None:
    edit_moments(filled)
    mean, variance, hits, _, errors = moments(filled)
    np.testing.assert_allclose([mean, variance], [MEAN, 2 * VARIANCE])
    assert (hits, errors) == (0, "")
    assert moments(filled)[:2] == (mean, variance)


@compiled_only
@pytest.mark.slow
def test_solve_follows_an_edit_of_a_helper(tmp_path: Path) -> None:
    lib = copy_package(tmp_path)
    code = (
        "import numpy as np, tapcore as tc\n"
        "machine = tc.RBM(tc.Binary(3), tc.Binary(2), sigma=1.0, seed=0)\n"
        "print(tc.solve(machine, np.full((1, 3), 0.5)).free_energy[0])\n"
    )
    before = float(run(lib, code)[0])
    edit_moments(lib)
    assert abs(float(run(lib, code)[0]) - before) > 1e-6


@compiled_only
@pytest.mark.parametrize("path", ["__init__.py", "cli/info.py", "special/_elementary.py"])
def test_an_edit_of_any_source_is_a_miss_and_old_files_go(filled: Path, path: str) -> None:
    before = files(filled)
    source = filled / "tapcore" / path
    times = source.stat()
    # As archives and rsync do, with the old times; of the same length.
    text = source.read_text(encoding="utf-8")
    source.write_text(text.replace("the", "teh", 1), encoding="utf-8")
    assert source.read_text(encoding="utf-8") != text
    os.utime(source, ns=(times.st_atime_ns, times.st_mtime_ns))
    assert moments(filled)[2] == 0
    assert len(files(filled)) == len(before)
    assert not set(files(filled)) & set(before)


@compiled_only
def test_new_times_of_the_same_sources_are_no_edit(filled: Path) -> None:
    for path in (filled / "tapcore").rglob("*.py"):
        os.utime(path, ns=(10**18, 10**18))
    assert moments(filled)[3] == 0


@compiled_only
def test_a_process_whose_sources_are_edited_meanwhile_keeps_nothing(tmp_path: Path) -> None:
    """It may hold old and new ones."""
    lib = copy_package(tmp_path)
    code = (
        "import numpy as np, tapcore as tc\n"
        "from pathlib import Path\n"
        "tc.Binary(3)\n"
        "path = Path(tc.__file__).parent / 'special' / 'exponential.py'\n"
        "text = path.read_text(encoding='utf-8')\n"
        "path.write_text(text.replace('else low), low * r', 'else low), c.two * low * r'), encoding='utf-8')\n"
        "print(float(tc.Binary(3).moments(np.ones(3), np.zeros(3))[2][0]))\n"
    )
    out, errors = run(lib, code)
    np.testing.assert_allclose(float(out), VARIANCE)
    assert errors == ""
    assert files(lib) == []
    np.testing.assert_allclose(moments(lib)[1], 2 * VARIANCE)


UNIT = """
from typing import Any, NamedTuple
import numpy as np
from tapcore.units import Unit
from tapcore.units.binary import Binary
from tapcore.units import _rows as rows
import helper

class Site(NamedTuple):
    U: Any

@rows.row_moments.register(Site)
def _row_moments(site, B, A, mean, var):
    for i in range(B.size):
        mean[i] = helper.mean(B[i])
        var[i] = 1.0

def compiled():
    from tapcore.units import _sites
    made = _sites._compiled(_sites.MOMENTS, Site, "float64")
    values, size, out = np.zeros(1), np.ones(1, np.int64), np.zeros(2)
    from tapcore._jit import _python_call_address
    at = [x.ctypes.data for x in (values, size, np.ones(1), np.ones(1), out, out[1:])]
    _python_call_address(made.address, at)
    return made.cache_hits, float(out[0])
"""
HELPER = "import numba\nFACTOR = 2.0\n@numba.njit\ndef mean(b):\n    return FACTOR * b\n"


@compiled_only
def test_sources_of_a_unit_outside_of_the_package_count(tmp_path: Path) -> None:
    lib = copy_package(tmp_path)
    (lib / "unit.py").write_text(UNIT)
    (lib / "helper.py").write_text(HELPER)
    code = "import unit\nprint(*unit.compiled())"
    assert [run(lib, code)[0] for _ in range(2)] == ["0 2.0\n", "1 2.0\n"]
    edit(lib / "helper.py", "return FACTOR", "return 2 * FACTOR")
    assert [run(lib, code)[0] for _ in range(2)] == ["0 4.0\n", "1 4.0\n"]
    edit(lib / "unit.py", "helper.mean(B[i])", "-helper.mean(B[i])")
    assert [run(lib, code)[0] for _ in range(2)] == ["0 -4.0\n", "1 -4.0\n"]
    # A process whose file is edited after the import keeps what it compiles apart from what the new file gives.
    meanwhile = (
        "import unit\nfrom pathlib import Path\npath = Path('helper.py')\n"
        "path.write_text(path.read_text().replace('FACTOR = 2.0', 'FACTOR = 3.0'))\nprint(*unit.compiled())"
    )
    assert run(lib, meanwhile)[0] == "0 -4.0\n"
    assert run(lib, code)[0] == "0 -6.0\n"


@compiled_only
def test_a_unit_of_the_main_script_is_compiled_each_time_and_leaves_nothing(tmp_path: Path) -> None:
    """No name tells it from that of another script."""
    lib = copy_package(tmp_path)
    (lib / "helper.py").write_text(HELPER)
    (lib / "script.py").write_text(UNIT + "\nprint(*compiled())")
    assert [run(lib, "script.py")[0] for _ in range(2)] == ["0 2.0\n"] * 2
    assert not [p for p in files(lib) if "_of_four" in p.name]


# --- Nowhere to write to, no room ---


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


def the_warning(errors: str) -> str:
    """The only one, on a line of its own beside that of the source, which Python adds."""
    lines = [line for line in errors.splitlines() if "compiled anew" in line]
    assert len(lines) == 1, errors
    assert "NUMBA_CACHE_DIR" in lines[0]
    assert "Traceback" not in errors
    assert errors.count("Warning") == lines[0].count("Warning")
    return lines[0]


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
def test_where_files_may_not_grow_everything_works_and_the_next_process_is_not_misled(filled: Path) -> None:
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
        pytest.skip("no command mount")
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", folder], check=False, capture_output=True, text=True
    )
    if done.returncode:
        pytest.skip(f"cannot mount: {done.stderr.strip()}")
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


# --- Files that are not what they were ---


def damage(path: Path, kind: int) -> None:
    whole = path.read_bytes()
    flipped = bytearray(whole)
    flipped[len(whole) // 2] ^= 1
    no_pickle = whole[32:-1]
    kinds = [
        b"",
        whole[: len(whole) // 2],
        b"\x80" * len(whole),
        bytes(flipped),
        sha256(no_pickle).digest() + no_pickle,
    ]
    path.write_bytes(kinds[kind % len(kinds)])


@compiled_only
def test_damaged_files_are_made_anew(filled: Path) -> None:
    """Empty, cut, garbage, with one bit changed; and whole, but not what unpickles."""
    for kind, path in enumerate(files(filled)):
        damage(path, kind)
    mean, variance, hits, _, errors = moments(filled)
    np.testing.assert_allclose([mean, variance], [MEAN, VARIANCE])
    assert (hits, errors) == (0, "")
    assert moments(filled)[3] == 0


@compiled_only
def test_processes_that_compile_at_once_do_not_disturb_one_another(tmp_path: Path) -> None:
    lib = copy_package(tmp_path)
    with ThreadPoolExecutor() as pool:
        for mean, variance, _, _, errors in pool.map(moments, [lib] * 3):
            np.testing.assert_allclose([mean, variance], [MEAN, VARIANCE])
            assert errors == ""
    assert {p.suffix for p in files(lib)} == {".nbc"}
    assert moments(lib)[3:] == (0, "")


def test_files_are_written_whole_or_not_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "file"
    _cache._write(str(path), b"old")

    def interrupted(*names: str) -> None:
        assert path.read_bytes() == b"old"
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "replace", interrupted)
    with pytest.raises(KeyboardInterrupt):
        _cache._write(str(path), b"new")
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_nothing_is_cached_where_nothing_is_compiled(tmp_path: Path) -> None:
    lib = copy_package(tmp_path)
    code = "import numpy as np, tapcore as tc; print(float(tc.Binary(3).moments(np.ones(3), np.zeros(3))[2][0]))"
    out, _ = run(lib, code, NUMBA_DISABLE_JIT="1")
    np.testing.assert_allclose(float(out), VARIANCE)
    assert files(lib) == []


def test_neither_the_import_nor_the_command_s_help_looks_at_sources(tmp_path: Path) -> None:
    code = (
        "import sys, tapcore\nfrom tapcore import cli\n"
        "try:\n    cli.main(['--help'])\nexcept SystemExit:\n    print('tapcore._cache' in sys.modules)\n"
    )
    assert run(copy_package(tmp_path), code)[0].endswith("False\n")
