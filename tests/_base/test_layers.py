"""Numba's threading layers: several threads, forks, and a user's own parallel loop beside ours, under each of them."""

from __future__ import annotations

import os
import subprocess
import sys
import threading

import numba
import pytest
from threadpoolctl import threadpool_limits

from tapcore._base import threads

pytestmark = pytest.mark.skipif(
    bool(numba.config.DISABLE_JIT) or int(numba.config.NUMBA_NUM_THREADS) < 2 or not hasattr(os, "fork"),
    reason="needs two threads, and processes that fork",
)

START = """
import os, sys, threading
import numpy as np, numba

@numba.njit(parallel=True)
def own(x):
    total = 0.0
    for i in numba.prange(x.size):
        total += np.sin(x[i])
    return total

def wait_for(child):
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0

def in_child(work):
    child = os.fork()
    if child == 0:
        try:
            work()
        except BaseException as error:
            print(repr(error), file=sys.stderr)
            os._exit(1)
        os._exit(0)
    wait_for(child)
"""

SOLVE = """
import tapcore as tc
machine = tc.RBM(tc.Binary(30), tc.Binary(20), sigma=0.1, seed=0)
X = np.random.default_rng(0).random((300, 30))
def solved():
    return tc.solve(machine, X).free_energy.tobytes()
"""

CASES = {
    "a forked child solves": SOLVE
    + """
here = solved()
def work():
    assert solved() == here
in_child(work)
assert solved() == here
""",
    "a child of a child solves": SOLVE
    + """
here = solved()
def deeper():
    assert solved() == here
def work():
    assert solved() == here
    in_child(deeper)
in_child(work)
""",
    "a child forked before the library is imported solves": """
own(np.zeros(100))
def work():
    exec(SOLVE, globals())
    solved()
in_child(work)
""",
    "a child forked before any loop has both": SOLVE
    + """
def work():
    here = solved()
    own(np.zeros(100))
    assert solved() == here
in_child(work)
""",
    "a user's loop runs beside": SOLVE
    + """
here, x = solved(), np.random.default_rng(0).random(3_000_000)
total = own(x)
stop = threading.Event()
def loops():
    while not stop.is_set():
        assert abs(own(x) - total) < 1e-6 * abs(total)
beside = threading.Thread(target=loops)
beside.start()
for _ in range(30):
    assert solved() == here
stop.set()
beside.join()
""",
    "limits on BLAS that begin while it solves and end later are no limits then": SOLVE
    + """
from threadpoolctl import threadpool_info, threadpool_limits
from tapcore._base.threads import blas_held
here = solved()
outer = threadpool_limits(2, user_api="blas")
before = threadpool_info()
with blas_held():
    limits = threadpool_limits(1, user_api="blas")
    assert solved() == here
assert solved() == here
limits.restore_original_limits()
assert threadpool_info() == before
""",
    "several threads solve": SOLVE
    + """
from concurrent.futures import ThreadPoolExecutor
here = solved()
with ThreadPoolExecutor(4) as pool:
    assert set(pool.map(lambda _: solved(), range(40))) == {here}
""",
}


def layers() -> list[str]:
    modules = {"workqueue": "workqueue", "omp": "omppool", "tbb": "tbbpool"}
    return [layer for layer, name in modules.items() if importable(f"numba.np.ufunc.{name}")]


def importable(name: str) -> bool:
    try:
        __import__(name)
    except ImportError:
        return False
    return True


@pytest.mark.parametrize("layer", layers())
@pytest.mark.parametrize("case", CASES)
def test_nothing_is_ended(layer: str, case: str) -> None:
    environment = {**os.environ, "NUMBA_THREADING_LAYER": layer, "NUMBA_NUM_THREADS": "2"}
    program = f"SOLVE = {SOLVE!r}\n{START}{CASES[case]}"
    done = subprocess.run(
        [sys.executable, "-W", "ignore::DeprecationWarning", "-c", program],
        capture_output=True, text=True, env=environment, timeout=300, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]


LOOK = """
import os, numba
import tapcore._base.threads as threads
start = numba.get_num_threads
def look():
    print(os.environ.get("GOMP_SPINCOUNT"))
    return start()
numba.get_num_threads = look
threads.thread_count()
"""


@pytest.mark.parametrize(
    ("given", "seen"),
    [({}, ["2000", "None"]), ({"GOMP_SPINCOUNT": "7"}, ["7", "7"]), ({"OMP_WAIT_POLICY": "active"}, ["None", "None"])],
)
def test_idle_threads_soon_sleep_unless_the_user_says_how_they_wait(given: dict[str, str], seen: list[str]) -> None:
    """When OpenMP is loaded, and afterwards."""
    environment = {k: v for k, v in os.environ.items() if k not in ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY")} | given
    done = subprocess.run([sys.executable, "-c", LOOK], capture_output=True, text=True, check=True, env=environment)
    assert done.stdout.split() == seen


@pytest.fixture
def shared(monkeypatch: pytest.MonkeyPatch) -> None:
    """Kernels share BLAS with others."""
    monkeypatch.setattr(threads, "_shared", True)
    threads._blas()  # loaded before a limit is set


def blas() -> list[int]:
    return [library.get_num_threads() for library in threads._blas()]


@pytest.mark.usefixtures("shared")
def test_limits_of_another_thread_that_end_meanwhile_are_not_undone() -> None:
    """They end with what they found, which our end must not take for what we have set."""
    with threadpool_limits(2, user_api="blas"):
        before = blas()
        if set(before) != {2}:
            pytest.skip("this BLAS was built without threads: there is no number to give back")
        begun, end = threading.Event(), threading.Event()

        def other() -> None:
            with threadpool_limits(1, user_api="blas"):
                begun.set()
                end.wait(60)

        thread = threading.Thread(target=other)
        thread.start()
        assert begun.wait(60)
        with threads.blas_held():
            end.set()
            thread.join()
        assert blas() == before


@pytest.mark.usefixtures("shared")
def test_what_another_thread_sets_meanwhile_stays() -> None:
    with threadpool_limits(2, user_api="blas"):
        with threads.blas_held():
            for library in threads._blas():
                library.set_num_threads(3)
            as_set = blas()
        assert blas() == as_set
