"""Cached kernels follow every source, and damaged files are made anew."""

from __future__ import annotations

import os
import shutil
from concurrent.futures import ThreadPoolExecutor
from hashlib import sha256
from pathlib import Path

import numpy as np
import pytest
from cache_cases import MEAN, VARIANCE, compiled_only, copy_package, edit, edit_moments, files, moments, run

from tapcore._base import cache as _cache


@pytest.fixture(scope="module")
def filled_once(tmp_path_factory: pytest.TempPathFactory) -> Path:
    lib = copy_package(tmp_path_factory.mktemp("filled"))
    mean, variance, hits, misses, errors = moments(lib)
    np.testing.assert_allclose([mean, variance], [MEAN, VARIANCE])
    assert hits == 0
    assert misses > 5
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
@pytest.mark.parametrize("path", ["__init__.py", "cli/info.py", "special/elementary.py"])
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
from tapcore.units import rows
import helper

class Site(NamedTuple):
    U: Any

@rows.row_moments.register(Site)
def _row_moments(site, B, A, mean, var):
    for i in range(B.size):
        mean[i] = helper.mean(B[i])
        var[i] = 1.0

def compiled():
    from tapcore.units import sites as _sites
    made = _sites._compiled(_sites.MOMENTS, Site, "float64")
    values, size, out = np.zeros(1), np.ones(1, np.int64), np.zeros(2)
    from tapcore._base.intrinsics import _python_call_address
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
        "try:\n    cli.main(['--help'])\nexcept SystemExit:\n    print('tapcore._base.cache' in sys.modules)\n"
    )
    assert run(copy_package(tmp_path), code)[0].endswith("False\n")
