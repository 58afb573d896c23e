"""Threads: blocks of work dealt to a pool, with BLAS held to one thread meanwhile.

A kernel takes one block of rows, releases the GIL and calls BLAS for its products. Were BLAS to keep its own threads
there, the pools would fight: a sweep then takes up to a hundred times as long. Both are held in one place,
`for_each_block`.

The pool is Python's own rather than Numba's: kernels then take nested tuples of layers, which `prange` cannot; blocks
go to whichever thread is free; and there is no threading layer that aborts when two Python threads enter it or after a
fork. The number of threads is Numba's (``numba.set_num_threads``, ``NUMBA_NUM_THREADS``).
"""

from __future__ import annotations

import ctypes
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import cache
from itertools import pairwise
from queue import SimpleQueue
from typing import Any

import numba
import numpy as np
from numpy.typing import NDArray
from threadpoolctl import ThreadpoolController

from tapcore._base.jit import JIT_DISABLED

# A block's rows should stay in a core's cache, yet be enough for an efficient matrix product.
BLOCK_ROWS = 128

_section = threading.RLock()


@cache
def _blas_pools() -> ThreadpoolController:
    # Numba's np.dot calls SciPy's BLAS, which must be loaded before the controller looks for pools.
    import scipy.linalg.cython_blas  # noqa: F401

    return ThreadpoolController().select(user_api="blas")


def thread_count() -> int:
    """Threads that blocks are dealt to."""
    return int(numba.get_num_threads())


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


@contextmanager
def blas_held() -> Iterator[None]:
    """Hold BLAS at one thread, one Python thread at a time; restored on the way out."""
    with _section, _blas_pools().limit(limits=1):
        yield


def split(rows: int, threads: int, most: int = BLOCK_ROWS) -> NDArray[np.int64]:
    """Deal `rows` rows to blocks of nearly equal size: (blocks, 2) array of first row and count."""
    blocks = max(1, min(rows, threads * -(-rows // (threads * most))))
    edges = [rows * b // blocks for b in range(blocks + 1)]
    return np.array([(lo, hi - lo) for lo, hi in pairwise(edges)], dtype=np.int64)


def for_each_block(kernel: Callable[..., None], count: int, *args: Any) -> None:
    """Call ``kernel(b, *args)`` for b = 0..count-1 from `thread_count` threads, this one included, and wait for all.

    Several Python threads may call at once: each call has the machine to itself. An exception in a block is raised
    here.
    """
    helpers = 0 if JIT_DISABLED else min(thread_count(), count) - 1
    blocks = iter(range(count))

    def work() -> None:
        # next() on a range iterator is atomic, so each block goes to one thread.
        for b in blocks:
            kernel(b, *args)

    with blas_held():
        if helpers == 0:
            work()
            return
        shared = _Shared(work)
        pool = _pool(helpers)
        pool.steer()
        for _ in range(helpers):
            pool.inbox.put(shared.help)
        try:
            work()
        finally:
            shared.wait()
    if shared.errors:
        raise shared.errors[0]


class _Shared:
    """Work that threads may join until its owner waits for those that did."""

    def __init__(self, work: Callable[[], None]) -> None:
        self.work = work
        self.lock = threading.Lock()
        self.over = False
        self.joined = 0
        self.left = threading.Semaphore(0)
        self.errors: list[BaseException] = []

    def help(self) -> None:
        """Join, unless it is over."""
        with self.lock:
            if self.over:
                return
            self.joined += 1
        try:
            self.work()
        except BaseException as error:  # raised again in the owner's thread
            self.errors.append(error)
        finally:
            self.left.release()

    def wait(self) -> None:
        """Let nobody join any more, and wait for those who have; a thread that has not woken yet is not waited for."""
        with self.lock:
            self.over = True
        for _ in range(self.joined):
            self.left.acquire()


class _Pool:
    """Threads that wait for work, kept off the processor of the thread that shares it.

    The scheduler tends to wake a sleeping thread on the processor of its waker, and to part the two only after some 5
    ms: as long as several sweeps. Where the platform allows, each call therefore excludes the caller's processor from
    the threads' choice.
    """

    def __init__(self, workers: int) -> None:
        # Lighter than an executor and its futures, which take as long to wake a thread as a small block takes.
        self.inbox: SimpleQueue[Callable[[], None] | None] = SimpleQueue()
        self.workers = workers
        self.threads = [threading.Thread(target=self._serve, name="tapcore", daemon=True) for _ in range(workers)]
        for thread in self.threads:
            thread.start()
        self.avoided = -1
        self.processors = set() if _current_processor is None else os.sched_getaffinity(0)

    def _serve(self) -> None:
        while (work := self.inbox.get()) is not None:
            work()
            del work  # and the arrays that it holds

    def dismiss(self) -> None:
        """Let the threads end."""
        for _ in self.threads:
            self.inbox.put(None)

    def steer(self) -> None:
        """Keep the threads off the caller's processor."""
        if _current_processor is None or len(self.processors) < 2:
            return
        here = _current_processor()
        if here == self.avoided:
            return
        self.avoided = here
        elsewhere = self.processors - {here}
        with suppress(OSError):  # forbidden in some sandboxes: nothing is lost but time
            for thread in self.threads:
                os.sched_setaffinity(thread.native_id or 0, elsewhere)


def _find_current_processor() -> Callable[[], int] | None:
    if not hasattr(os, "sched_setaffinity"):
        return None
    try:
        call: Callable[[], int] = ctypes.CDLL(None).sched_getcpu
        return call if call() >= 0 else None
    except (OSError, AttributeError):  # a C library without it
        return None


_current_processor = _find_current_processor()
_threads: _Pool | None = None


def _pool(workers: int) -> _Pool:
    global _threads
    if _threads is None or _threads.workers < workers:
        if _threads is not None:
            _threads.dismiss()
        _threads = _Pool(workers)
    return _threads


def _forget_threads() -> None:
    """Start afresh in a forked child, which has neither the parent's threads nor whoever held its lock."""
    global _threads, _section
    _threads, _section = None, threading.RLock()


os.register_at_fork(after_in_child=_forget_threads)
