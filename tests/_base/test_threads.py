"""Threads: every block is done once, BLAS is given back, and forks and other threads do not disturb."""

from __future__ import annotations

import multiprocessing
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numba
import numpy as np
import pytest
from cases import random_rbm
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_array_equal
from threadpoolctl import threadpool_info, threadpool_limits

import tapcore as tc
from tapcore._base.threads import BLOCK_ROWS, blas_held, for_each, split, thread_count, thread_limit

MOST = numba.config.NUMBA_NUM_THREADS
pytestmark = pytest.mark.usefixtures("all_threads")
needs_two_threads = pytest.mark.skipif(MOST < 2 or numba.config.DISABLE_JIT, reason="blocks run in one thread here")
needs_fork = pytest.mark.skipif(
    "fork" not in multiprocessing.get_all_start_methods(), reason="the platform has no fork"
)
PATIENCE = 120  # seconds until a deadlock is called one


def blas_threads() -> list[int]:
    return [pool["num_threads"] for pool in threadpool_info() if pool["user_api"] == "blas"]


def some_chains() -> tuple[tc.Machine, np.ndarray]:
    machine = random_rbm(1, "Binary", "Spin", sizes=(30, 20), sigma=0.4)
    return machine, np.random.default_rng(2).integers(0, 2, (2 * BLOCK_ROWS + 9, 30)).astype(float)


def solved() -> list[np.ndarray]:
    machine, X = some_chains()
    found = tc.solve(machine, X)
    return [*found.mean, *found.var, found.free_energy, found.sweeps, tc.log_likelihood(machine, X, found.free_energy)]


@pytest.fixture
def two_blas_threads() -> Iterator[list[int]]:
    """BLAS with two threads where it has them, whatever the surroundings have set."""
    solved()  # what calls BLAS is loaded
    with threadpool_limits(limits=2, user_api="blas"):
        before = blas_threads()
        assert before
        yield before


# Dealing rows to blocks


@pytest.mark.nojit
@given(rows=st.integers(1, 5000), threads=st.integers(1, 64), most=st.integers(1, 300))
def test_blocks_cover_all_rows_in_nearly_equal_parts(rows: int, threads: int, most: int) -> None:
    blocks = split(rows, threads, most)
    first, count = blocks.T
    assert blocks.dtype == np.int64
    assert first[0] == 0
    assert_array_equal(first[1:], (first + count)[:-1])
    assert first[-1] + count[-1] == rows
    assert 1 <= count.min() <= count.max() <= most
    assert count.max() - count.min() <= 1
    # A round number of blocks for each thread, where there are rows enough.
    assert len(blocks) % threads == 0 or len(blocks) == rows


@pytest.mark.nojit
def test_blocks_are_no_more_than_needed() -> None:
    assert_array_equal(split(BLOCK_ROWS, 1), [[0, BLOCK_ROWS]])
    assert len(split(BLOCK_ROWS + 1, 1)) == 2
    assert_array_equal(split(100, 2), [[0, 50], [50, 50]])
    assert_array_equal(split(3, 8), [[0, 1], [1, 1], [2, 1]])


# Blocks


@pytest.mark.nojit
@pytest.mark.parametrize("count", [0, 1, 2, 257])
def test_every_block_is_done_once(count: int) -> None:
    done: list[int] = []
    for_each(done.append, count)
    assert sorted(done) == list(range(count))


@needs_two_threads
@pytest.mark.parametrize("threads", [1, 2])
def test_blocks_are_dealt_to_as_many_threads_as_allowed(threads: int) -> None:
    """Blocks that wait for one another get done only if that many threads are at it."""
    gate = threading.Barrier(threads, timeout=PATIENCE)
    workers: list[int] = []

    def block(b: int) -> None:
        gate.wait()
        workers.append(threading.get_ident())

    with thread_limit(threads):
        for_each(block, 2 * threads)
    assert len(Counter(workers)) == threads
    assert threading.get_ident() in workers


@pytest.mark.nojit
@pytest.mark.parametrize("bad", [0, 1, 6])
def test_an_exception_in_a_block_is_raised_here(bad: int) -> None:
    def block(b: int) -> None:
        if b == bad:
            raise ArithmeticError(f"block {b}")

    with pytest.raises(ArithmeticError, match=f"^block {bad}$"):
        for_each(block, 7)


@needs_two_threads
@pytest.mark.parametrize("here", [True, False])
def test_an_exception_is_raised_whichever_thread_met_it_after_all_have_ended(here: bool) -> None:
    caller = threading.get_ident()
    gate = threading.Barrier(2, timeout=PATIENCE)
    ended = []

    def block(b: int) -> None:
        gate.wait()  # one block in each thread
        if (threading.get_ident() == caller) is here:
            raise ArithmeticError("met")
        ended.append(b)

    with thread_limit(2), pytest.raises(ArithmeticError, match="met"):
        for_each(block, 2)
    assert len(ended) == 1
    done: list[int] = []
    for_each(done.append, 9)
    assert sorted(done) == list(range(9))  # the threads are as good as new


# BLAS


def test_blas_is_held_in_blocks_and_given_back(two_blas_threads: list[int]) -> None:
    seen: list[list[int]] = []
    for_each(lambda b: seen.append(blas_threads()), 4)
    assert seen == [[1] * len(two_blas_threads)] * 4
    assert blas_threads() == two_blas_threads


@pytest.mark.parametrize("bad", [0, 3])
def test_blas_is_given_back_when_a_block_raises(two_blas_threads: list[int], bad: int) -> None:
    def block(b: int) -> None:
        assert b != bad, "as it should"

    with pytest.raises(AssertionError, match="as it should"):
        for_each(block, 4)
    assert blas_threads() == two_blas_threads


def test_blas_is_given_back_after_nested_holds(two_blas_threads: list[int]) -> None:
    with blas_held():
        with blas_held():
            assert set(blas_threads()) == {1}
        assert set(blas_threads()) == {1}
        for_each(lambda b: None, 3)
        assert set(blas_threads()) == {1}
    assert blas_threads() == two_blas_threads


def test_solving_leaves_blas_as_it_was(two_blas_threads: list[int]) -> None:
    solved()
    assert blas_threads() == two_blas_threads


# Several threads and processes


def test_several_python_threads_solve_at_once() -> None:
    alone = solved()
    gate = threading.Barrier(4, timeout=PATIENCE)

    def work(_: int) -> list[list[np.ndarray]]:
        gate.wait()
        return [solved() for _ in range(3)]

    with ThreadPoolExecutor(4) as pool:
        for results in pool.map(work, range(4), timeout=PATIENCE):
            for together in results:
                for x, y in zip(together, alone, strict=True):
                    assert_array_equal(x, y)


def test_one_caller_at_a_time_has_the_machine() -> None:
    inside = 0
    most = 0
    lock = threading.Lock()

    def caller(name: int) -> None:
        nonlocal inside, most
        with blas_held():
            with lock:
                inside += 1
                most = max(most, inside)
            for_each(lambda b: None, 5)
            with lock:
                inside -= 1

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(caller, range(40), timeout=PATIENCE))
    assert most == 1


def in_forked_child(work: Callable[[], Any]) -> Any:
    context = multiprocessing.get_context("fork")
    receiver, sender = context.Pipe(duplex=False)

    def run() -> None:
        sender.send(work())

    child = context.Process(target=run)
    child.start()
    try:
        assert receiver.poll(PATIENCE), "the forked child is stuck"
        return receiver.recv()
    finally:
        child.kill()
        child.join()


@needs_fork
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_forked_child_solves_too() -> None:
    here = solved()  # the parent's threads are running
    for x, y in zip(in_forked_child(solved), here, strict=True):
        assert_array_equal(x, y)
    for x, y in zip(solved(), here, strict=True):
        assert_array_equal(x, y)


@needs_fork
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_child_forked_while_another_thread_is_at_work_solves_too() -> None:
    here = solved()
    held, release = threading.Event(), threading.Event()

    def hold() -> None:
        with blas_held():
            held.set()
            release.wait(PATIENCE)

    holder = threading.Thread(target=hold)
    holder.start()
    try:
        assert held.wait(PATIENCE)
        for x, y in zip(in_forked_child(solved), here, strict=True):
            assert_array_equal(x, y)
    finally:
        release.set()
        holder.join()


# The number of threads


@pytest.mark.nojit
def test_thread_limit_holds_inside_only() -> None:
    before = thread_count()
    with thread_limit(1):
        assert thread_count() == 1
        with thread_limit(None):
            assert thread_count() == 1
        with thread_limit(MOST):
            assert thread_count() == MOST
        assert thread_count() == 1
    assert thread_count() == before


@pytest.mark.nojit
def test_thread_limit_is_lifted_after_an_exception() -> None:
    before = thread_count()
    with pytest.raises(KeyError), thread_limit(1):
        raise KeyError
    assert thread_count() == before


@pytest.mark.nojit
@pytest.mark.parametrize("threads", [0, -1, MOST + 1])
def test_thread_limit_refuses(threads: int) -> None:
    before = thread_count()
    with (
        pytest.raises(ValueError, match=f"^threads must be between 1 and {MOST}, got {threads}"),
        thread_limit(threads),
    ):
        pass
    assert thread_count() == before
