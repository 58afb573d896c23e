"""Threads: which run blocks of work, how many there are, and BLAS with one thread meanwhile.

Blocks run in Numba's parallel loop wherever its threading layer allows that. GNU OpenMP ends a process that was forked
after it had started, and `workqueue` one in which two threads are in parallel loops at once, of whom one may be the
user's: there blocks are dealt to an executor of the standard library instead.

A kernel takes one block of rows and calls BLAS for its products. Were BLAS to keep its own threads there, the two would
fight: a sweep then takes up to a hundred times as long. So the BLAS of kernels is one that has none (`own_blas.py`);
where that cannot be had, every BLAS is held to one thread meanwhile.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import contextmanager
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Any

import numba
import numpy as np
from numpy.typing import NDArray

from tapcore._base.intrinsics import JIT_DISABLED
from tapcore._base.own_blas import OWN

# A block's rows should stay in a core's cache, yet be enough for an efficient matrix product.
BLOCK_ROWS = 128

# --- Numba's threads ---

# For how long threads of GNU OpenMP look for work before they sleep is fixed when it is loaded. By default it is some
# milliseconds: where anything else runs, whoever waits for such a thread waits until it has used up its share of a
# processor, a hundred times as long as a small call takes. With none at all each call takes 50 microseconds longer.
_SPINS = "GOMP_SPINCOUNT", "2000"
_WAITS = ("OMP_WAIT_POLICY", _SPINS[0])


def thread_count() -> int:
    """Threads that blocks are dealt to: ``numba.set_num_threads``, ``NUMBA_NUM_THREADS``."""
    _layer()
    return int(numba.get_num_threads())


@cache
def _layer() -> str:
    """Numba's threading layer, started if it has not been yet, with threads that soon sleep while they wait."""
    name, count = _SPINS
    ours = not any(os.environ.get(name) for name in _WAITS)
    if ours:
        os.environ[name] = count
    try:
        numba.get_num_threads()
        return str(numba.threading_layer())
    finally:
        if ours:
            del os.environ[name]


def parallel_loops_allowed() -> bool:
    """Whether this process may enter Numba's parallel loops whatever its other threads do."""
    layer = _layer()
    return layer != "workqueue" and not (layer == "omp" and _lost_its_threads)


def _started() -> bool:
    try:
        numba.threading_layer()
    except ValueError:
        return False
    return True


def _is_alone() -> bool:
    """Whether this process has one thread only, as a forked one has at first."""
    try:
        return len(list(Path("/proc/self/task").iterdir())) == 1
    except OSError:
        return False


# Forked before this module was imported, after the layer had started.
_lost_its_threads = _started() and _is_alone() and int(numba.config.NUMBA_NUM_THREADS) > 1


@contextmanager
def thread_limit(threads: int | None) -> Iterator[None]:
    """Deal blocks in the body to `threads` threads (None: as many as now); restored on the way out.

    Raises
    ------
    ValueError
        Not between 1 and the number Numba started with, ``NUMBA_NUM_THREADS`` or the number of processors.
    """
    before = thread_count()
    if threads is not None:
        most = int(numba.config.NUMBA_NUM_THREADS)
        if not 1 <= threads <= most:
            raise ValueError(f"threads must be between 1 and {most}, got {threads}")
        numba.set_num_threads(threads)
    try:
        yield
    finally:
        numba.set_num_threads(before)


def split(rows: int, threads: int, most: int = BLOCK_ROWS) -> NDArray[np.int64]:
    """Deal `rows` rows to blocks of nearly equal size: (blocks, 2) array of first row and count."""
    blocks = max(1, min(rows, threads * -(-rows // (threads * most))))
    edges = [rows * b // blocks for b in range(blocks + 1)]
    return np.array([(lo, hi - lo) for lo, hi in pairwise(edges)], dtype=np.int64)


# --- Python's threads ---

_executor: ThreadPoolExecutor | None = None


def for_each(work: Callable[[int], None], count: int) -> None:
    """Call ``work(b)`` for b = 0..count-1 from `thread_count` Python threads, this one included, and wait for all.

    `work` should leave the GIL. An exception in it is raised here.
    """
    global _executor
    helpers = 0 if JIT_DISABLED else min(thread_count(), count) - 1
    numbers = iter(range(count))

    def share() -> None:
        # next() on a range iterator is atomic, so each number goes to one thread.
        for b in numbers:
            work(b)

    with blas_held():
        if helpers == 0:
            share()
            return
        if _executor is None:
            _executor = ThreadPoolExecutor(int(numba.config.NUMBA_NUM_THREADS), thread_name_prefix="tapcore")
        shares = [_executor.submit(share) for _ in range(helpers)]
        try:
            share()
        finally:
            # Who has not begun has nothing left to do.
            wait([s for s in shares if not s.cancel()])
    for s in shares:
        if not s.cancelled():
            s.result()


# --- BLAS ---


# Whether kernels call a BLAS that others use too.
_shared = OWN is None
_section = threading.RLock()


@contextmanager
def blas_held() -> Iterator[None]:
    """Let one Python thread at a time have the machine, with one thread in the BLAS of kernels."""
    with _section:
        if _shared:
            with _all_held():
                yield
        else:
            yield


@cache
def _blas() -> list[Any]:
    # SciPy's BLAS must be loaded before the controller looks for libraries.
    import scipy.linalg.cython_blas  # noqa: F401
    from threadpoolctl import ThreadpoolController

    return list(ThreadpoolController().select(user_api="blas").lib_controllers)


@contextmanager
def _all_held() -> Iterator[None]:
    """Hold every BLAS at one thread; given back as found.

    A limit of another thread that begins meanwhile and ends later finds the one thread, and leaves it behind: a library
    does not tell who has set it.
    """
    global _before
    outer, _before = _before, _before or [blas.get_num_threads() for blas in _blas()]
    for blas, threads in zip(_blas(), _before, strict=True):
        if threads != 1:
            blas.set_num_threads(1)
    try:
        yield
    finally:
        if not outer:
            _give_back()


# What there was before the outermost of the bodies that hold BLAS; nothing if there is none.
_before: list[int] = []


def _give_back() -> None:
    global _before
    for blas, threads in zip(_blas(), _before, strict=True):
        # What another thread has set meanwhile, as where its `threadpool_limits` ended, is its business.
        if threads != 1 and blas.get_num_threads() == 1:
            blas.set_num_threads(threads)
    _before = []


def _after_fork() -> None:
    """Start afresh in a forked child, which has neither the parent's threads nor whoever held BLAS."""
    global _executor, _lost_its_threads, _section
    _executor, _section = None, threading.RLock()
    if _before:
        _give_back()
    _lost_its_threads = _lost_its_threads or _started()


os.register_at_fork(after_in_child=_after_fork)
