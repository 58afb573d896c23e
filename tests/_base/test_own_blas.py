"""The BLAS that is the package's own: nobody sees it, nobody's threads are touched, and others do without it."""

from __future__ import annotations

import ctypes
import importlib.util
import os
import subprocess
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numba
import numpy as np
import pytest
import scipy
from numpy.testing import assert_allclose, assert_array_equal
from threadpoolctl import ThreadpoolController, threadpool_info, threadpool_limits

from tapcore._base import intrinsics, own_blas
from tapcore._base.threads import blas_held, for_each

WHEEL = list((Path(scipy.__file__).parents[1] / "scipy.libs").glob("libscipy_openblas-*.so"))
pytestmark = pytest.mark.skipif(
    bool(numba.config.DISABLE_JIT) or not WHEEL,
    reason="kernels share SciPy's BLAS here",
)
PATIENCE = 120  # seconds until a deadlock is called one

SOLVED = """
import hashlib, os, sys, threading
import numpy as np

def solved():
    import tapcore as tc
    machine = tc.RBM(tc.Binary(30), tc.Binary(20), sigma=0.4, seed=0)
    X = np.random.default_rng(0).random((300, 30))
    digest = hashlib.sha256()
    for method, starts in (("tap", X), ("adatap", X[:20])):
        found = tc.solve(machine, starts, method=method)
        for x in (*found.mean, *found.var, found.free_energy):
            digest.update(x.tobytes())
    return digest.hexdigest()
"""


def solved() -> str:
    names: dict[str, Any] = {}
    exec(SOLVED, names)
    return str(names["solved"]())


def run(program: str, **environment: str) -> list[str]:
    """What a process prints, in which BLAS has two threads unless `environment` says otherwise."""
    return process(program, **environment).stdout.split()


def process(program: str, **environment: str) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        [sys.executable, "-W", "ignore::DeprecationWarning", "-c", SOLVED + program],
        capture_output=True, text=True, check=False, timeout=300,
        env={**os.environ, "OPENBLAS_NUM_THREADS": "2", **environment},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    return done


def test_it_is_there() -> None:
    assert own_blas.OWN is not None
    assert own_blas.OWN.scipy_openblas_get_num_threads() == 1


# Threads of others

ORDERS = {
    "begins during our run and ends after it": "hold begin release end",
    "begins before it and ends during it": "begin hold end release",
    "begins and ends during it": "hold begin end release",
    "lies around it": "begin hold release end",
    "begins and ends during nested runs": "hold begin hold end release release",
    "outlasts nested runs": "hold hold begin release release end",
    "is another one's in it": "hold begin begin release end end",
    "begins in one run and ends in the next": "hold begin release hold end release",
}


@pytest.mark.parametrize("order", ORDERS.values(), ids=ORDERS)
def test_limits_of_another_thread_are_its_own(order: str) -> None:
    """Whatever `threadpool_limits` finds is what it gives back: we must not have set it."""
    here = solved()
    with threadpool_limits(2, user_api="blas"), ThreadPoolExecutor(1) as other:
        before = threadpool_info()
        assert any(pool["user_api"] == "blas" and pool["num_threads"] == 2 for pool in before)
        holds: list[ExitStack] = []
        limits: list[threadpool_limits] = []
        try:
            for step in order.split():
                found = threadpool_info()
                if step == "hold":
                    holds.append(ExitStack())
                    holds[-1].enter_context(blas_held())
                elif step == "release":
                    holds.pop().close()
                elif step == "begin":
                    limits.append(other.submit(threadpool_limits, 1, user_api="blas").result(PATIENCE))
                else:
                    other.submit(limits.pop().restore_original_limits).result(PATIENCE)
                if step in ("hold", "release"):
                    assert threadpool_info() == found
                assert solved() == here
            assert threadpool_info() == before
        finally:
            while holds:
                holds.pop().close()


def test_blocks_see_the_threads_that_others_have_set() -> None:
    seen: list[Any] = []
    with threadpool_limits(2, user_api="blas"):
        before = threadpool_info()
        for_each(lambda b: seen.append(threadpool_info()), 3)
        assert threadpool_info() == before
    assert seen == [before] * 3


def test_threads_solve_to_the_same_bits_while_another_changes_the_threads_of_blas() -> None:
    here = solved()
    stop, controller = threading.Event(), ThreadpoolController()

    def change() -> None:
        while not stop.is_set():
            for threads in (1, 2, 3):
                with controller.limit(limits=threads, user_api="blas"):
                    pass

    before = threadpool_info()
    with ThreadPoolExecutor(4) as pool:
        changing = pool.submit(change)
        try:
            assert {w.result(PATIENCE) for w in [pool.submit(solved) for _ in range(6)]} == {here}
        finally:
            stop.set()
        changing.result(PATIENCE)
    assert threadpool_info() == before


# Loading


@pytest.mark.parametrize("count", ["1", "4", ""])
def test_it_is_loaded_without_threads_and_leaves_no_trace(count: str) -> None:
    program = """
import scipy.linalg.cython_blas, numba
from threadpoolctl import threadpool_info
def state():
    return threadpool_info(), len(os.listdir("/proc/self/task")), dict(os.environ), os.listdir("/proc/self/fd")
before = state()
from tapcore._base.own_blas import OWN
assert OWN is not None and OWN.scipy_openblas_get_num_threads() == 1
assert state() == before
"""
    run(program, OPENBLAS_NUM_THREADS=count)


@pytest.mark.parametrize("scipy_first", [True, False])
@pytest.mark.parametrize("everything_global", [True, False])
def test_scipy_has_another_one(scipy_first: bool, everything_global: bool) -> None:
    """Whichever is loaded first, and where libraries are loaded so that all others see what they define."""
    both = ["import scipy.linalg.cython_blas", "from tapcore._base.own_blas import OWN, blas_address"]
    imports = "\n".join(both if scipy_first else both[::-1])
    flags = "sys.setdlopenflags(os.RTLD_NOW | os.RTLD_GLOBAL)" if everything_global else ""
    program = f"""
{flags}
{imports}
from threadpoolctl import threadpool_info, threadpool_limits
from tapcore._base.intrinsics import cython_address
def scipys():
    return [p["num_threads"] for p in threadpool_info() if "scipy.libs" in p["filepath"]]
assert blas_address("dgemm") != cython_address("scipy.linalg.cython_blas", "dgemm")
with threadpool_limits(3, user_api="blas"):
    assert scipys() == [3]
    assert OWN.scipy_openblas_get_num_threads() == 1
    OWN.scipy_openblas_set_num_threads(1)  # the copy's: SciPy's has what it had
    assert scipys() == [3]
"""
    run(program)


def test_it_is_bound_to_itself_where_other_libraries_are_global() -> None:
    """They have functions of the same names; as the loader itself reports."""
    program = """
sys.setdlopenflags(os.RTLD_NOW | os.RTLD_GLOBAL)
import scipy.linalg.cython_blas
from tapcore._base.own_blas import OWN
assert OWN is not None
"""
    report = process(program, LD_DEBUG="bindings").stderr.splitlines()
    if not any("binding file" in line for line in report):
        pytest.skip("the loader of this system has no LD_DEBUG=bindings, by which glibc's says what it binds")
    ours = [line.partition(" to ")[2] for line in report if "binding file /proc/self/fd/" in line]
    assert ours
    assert not [line for line in ours if "openblas" in line.rpartition(":")[0]]


def test_it_needs_no_import_of_scipys_linear_algebra() -> None:
    """Which takes ten times as long, and which Numba waits with until a kernel runs."""
    run("""
import tapcore
tapcore.solve
from tapcore._base.blas import blas
blas()
assert not {"scipy.linalg", "threadpoolctl"} & set(sys.modules)
""")


def test_threads_that_import_at_once_and_children_forked_before_have_it() -> None:
    program = """
from concurrent.futures import ThreadPoolExecutor
child = os.fork()
with ThreadPoolExecutor(4) as pool:
    found = set(pool.map(lambda _: solved(), range(4)))
from tapcore._base.own_blas import OWN
assert OWN is not None
assert len(found) == 1
if child:
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    print(*found)
else:
    os._exit(0)
"""
    assert run(program) == [solved()]


def test_a_forked_child_goes_on_with_it() -> None:
    run("""
here = solved()
child = os.fork()
if child == 0:
    os._exit(0 if solved() == here else 1)
assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
assert solved() == here
""")


# Without it


def test_without_it_kernels_share_scipys_and_make_the_same_bits() -> None:
    program = """
del os.RTLD_DEEPBIND
here = solved()
from tapcore._base import own_blas, threads
from tapcore._base.intrinsics import cython_address
from threadpoolctl import threadpool_info, threadpool_limits
def blas():
    return [p["num_threads"] for p in threadpool_info() if p["user_api"] == "blas"]
assert own_blas.OWN is None
assert own_blas.blas_address("dpotrf") == cython_address("scipy.linalg.cython_lapack", "dpotrf")
assert own_blas.blas_address("dtrsm") == cython_address("scipy.linalg.cython_blas", "dtrsm")
with threadpool_limits(2, user_api="blas"):
    before = blas()
    assert 2 in before
    with threads.blas_held():
        assert set(blas()) == {1}
    assert blas() == before
print(here)
"""
    assert run(program) == [solved()]


def no_memory_files(patch: pytest.MonkeyPatch, _: Path) -> None:
    patch.setattr(ctypes, "CDLL", lambda *given, **named: SimpleNamespace())


def no_scope_of_its_own(patch: pytest.MonkeyPatch, _: Path) -> None:
    patch.delattr(os, "RTLD_DEEPBIND")


def no_scipy(patch: pytest.MonkeyPatch, _: Path) -> None:
    patch.setattr(importlib.util, "find_spec", lambda name: None)


def libraries(patch: pytest.MonkeyPatch, folder: Path, *names: str) -> None:
    origin = str(folder / "scipy" / "__init__.py")
    patch.setattr(importlib.util, "find_spec", lambda name: SimpleNamespace(origin=origin))
    (folder / "scipy.libs").mkdir()
    for name in names:
        (folder / "scipy.libs" / f"libscipy_openblas-{name}.so").symlink_to(WHEEL[0])


def no_wheel(patch: pytest.MonkeyPatch, folder: Path) -> None:
    libraries(patch, folder)


def two_libraries(patch: pytest.MonkeyPatch, folder: Path) -> None:
    libraries(patch, folder, "a", "b")


def a_library_of_another_name(patch: pytest.MonkeyPatch, folder: Path) -> None:
    libraries(patch, folder, "other")


def full_memory(patch: pytest.MonkeyPatch, _: Path) -> None:
    patch.setattr(ctypes, "CDLL", lambda *given, **named: SimpleNamespace(memfd_create=lambda *given: -1))


def a_loader_that_refuses(patch: pytest.MonkeyPatch, _: Path) -> None:
    load = ctypes.CDLL

    def refuse(path: str | None, *mode: int, **named: Any) -> Any:
        if path is None:
            return load(None, *mode, **named)
        raise OSError("failed to map segment from shared object")

    patch.setattr(ctypes, "CDLL", refuse)


class Library:
    """A library with so many threads, whatever they are set to, and integers of another width if `wide`."""

    def __init__(self, threads: int, wide: bool) -> None:
        self.scipy_openblas_set_num_threads = lambda count: None
        self.scipy_openblas_get_num_threads = lambda: threads
        self.scipy_openblas_get_config = lambda: b"OpenBLAS USE64BITINT" if wide else b"OpenBLAS"

    def __getitem__(self, name: str) -> Any:
        return ctypes.c_void_p(1)


def a_library_with_threads(patch: pytest.MonkeyPatch, _: Path) -> None:
    patch.setattr(own_blas, "_loaded_copy", lambda library: Library(2, wide=False))


def a_library_of_wide_integers(patch: pytest.MonkeyPatch, _: Path) -> None:
    patch.setattr(own_blas, "_loaded_copy", lambda library: Library(1, wide=True))


@pytest.mark.parametrize(
    "lack",
    [
        no_memory_files, full_memory, no_scope_of_its_own, no_scipy, no_wheel, two_libraries, a_library_of_another_name,
        a_loader_that_refuses, a_library_with_threads, a_library_of_wide_integers,
    ],
)  # fmt: skip
def test_where_it_cannot_be_there_is_none(
    lack: Callable[[pytest.MonkeyPatch, Path], None], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    environment = dict(os.environ)
    lack(monkeypatch, tmp_path)
    assert own_blas._load() is None
    assert dict(os.environ) == environment


def test_what_the_library_needs_is_found_beside_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where nobody has loaded it before: NumPy mostly has."""
    loaded: list[str] = []

    real = ctypes.CDLL

    def load(path: str | None, *mode: int, **named: Any) -> Any:
        if path is None:
            return real(None, *mode, **named)
        loaded.append(Path(path).name)
        if "/proc" in path and len(loaded) == 1:
            raise OSError("libgfortran.so.5: cannot open shared object file")
        return path

    monkeypatch.setattr(ctypes, "CDLL", load)
    assert "/proc" in str(own_blas._loaded_copy(WHEEL[0]))
    beside = {path.name for path in WHEEL[0].parent.glob("lib[gq]*")}
    assert set(loaded[1:-1]) == beside


@pytest.mark.parametrize(("letter", "dtype"), [("d", np.float64), ("s", np.float32)])
@pytest.mark.parametrize(("k", "n", "m"), [(100, 784, 500), (128, 500, 784), (1, 37, 5), (3, 4, 200)])
def test_products_are_those_of_scipys_library_with_one_thread(letter: str, dtype: type, k: int, n: int, m: int) -> None:
    rng = np.random.default_rng(k)
    x, W = rng.normal(size=(k, n)).astype(dtype), rng.normal(size=(n, m)).astype(dtype)
    letters, sizes = np.frombuffer(b"N", np.uint8), np.array([m, k, n], np.int32)
    numbers = np.array([1.0, 0.0], dtype)
    made, name = [], f"{letter}gemm"
    for address in (own_blas.blas_address(name), intrinsics.cython_address("scipy.linalg.cython_blas", name)):
        out = np.empty((k, m), dtype)
        plain, columns, one, zero = letters.ctypes.data, sizes.ctypes.data, numbers.ctypes.data, numbers[1:].ctypes.data
        rows, inner = columns + 4, columns + 8
        arguments = (
            plain, plain, columns, rows, inner, one, W.ctypes.data, columns, x.ctypes.data, inner, zero,
            out.ctypes.data, columns,
        )  # fmt: skip
        with threadpool_limits(1, user_api="blas"):
            intrinsics._python_call_address(address, arguments)
        made.append(out)
    assert_array_equal(*made)
    assert_allclose(made[0], x @ W, atol=1e3 * np.finfo(dtype).eps)
