"""Block kernels: every block runs once, on all threads or, where the caller says so, in this one."""

from __future__ import annotations

from typing import Any, NamedTuple

import numba
import numpy as np
import pytest
from numpy.testing import assert_array_equal

import tapcore as tc
from tapcore._base import blocks
from tapcore._base.blocks import Job, block_kernel
from tapcore._base.threads import thread_limit
from tapcore.equations import compiled

needs_two_threads = pytest.mark.skipif(
    numba.config.NUMBA_NUM_THREADS < 2 or numba.config.DISABLE_JIT, reason="blocks run in one thread here"
)


class Counts(NamedTuple):
    times: Any
    by: int


@block_kernel
def add(b: int, job: Counts) -> None:
    job.times[b] += job.by


@pytest.fixture
def loops(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many blocks each parallel loop was given."""
    given: list[int] = []
    run = blocks.parallel_loop

    def loop(address: int, job: int, count: int, *rest: Any) -> None:
        given.append(count)
        run(address, job, count, *rest)

    monkeypatch.setattr(blocks, "parallel_loop", loop)
    return given


@pytest.mark.nojit
@pytest.mark.parametrize("brief", [True, False])
@pytest.mark.parametrize("threads", [1, None])
@pytest.mark.parametrize("count", [0, 1, 7])
def test_every_block_runs_once(count: int, threads: int | None, brief: bool) -> None:
    times = np.zeros(count, np.int64)
    with thread_limit(threads):
        Job(Counts(times, 3)).run(add, count, brief=brief)
    assert_array_equal(times, 3)


@pytest.mark.nojit
def test_kept_runs_are_of_the_values_that_are_given() -> None:
    runs, first, second = blocks.Kept(), np.zeros(3, np.int64), np.zeros(4, np.int64)
    for times, by in ((first, 3), (first, 3), (first, 5), (second, 5), (first, True)):
        runs.run(add, len(times), Counts(times, by))
    assert_array_equal(first, 12)
    assert_array_equal(second, 5)


def test_jobs_are_packed_anew_only_where_something_in_them_is_another(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[Any] = []

    class Counted(Job):
        def __init__(self, values: Any) -> None:
            made.append(values)
            super().__init__(values)

    monkeypatch.setattr(blocks, "Job", Counted)
    runs, first, second = blocks.Kept(), np.zeros(3, np.int64), np.zeros(3, np.int64)
    for times, by in ((first, 1), (first, 1), (second, 1), (second, 2), (second, 2)):
        runs.run(add, 3, Counts(times, by))
    assert len(made) == 3


@needs_two_threads
@pytest.mark.usefixtures("all_threads")
def test_brief_blocks_run_in_this_thread(loops: list[int]) -> None:
    job = Job(Counts(np.zeros(5, np.int64), 1))
    job.run(add, 5, brief=True)
    assert loops == []
    job.run(add, 5)
    assert loops == [5]


@needs_two_threads
@pytest.mark.usefixtures("all_threads")
def test_small_solves_sweep_in_this_thread_to_the_same_bits(loops: list[int], monkeypatch: pytest.MonkeyPatch) -> None:
    machine = tc.RBM(tc.Binary(20), tc.Binary(10), sigma=0.3, seed=0)
    X = np.random.default_rng(0).random((4, 20))
    here = tc.solve(machine, X)
    few = len(loops)
    monkeypatch.setattr(compiled, "BRIEF", 0)
    there = tc.solve(machine, X)
    assert len(loops) > 2 * few
    for name in ("mean", "var", "B", "A"):
        for x, y in zip(getattr(here, name), getattr(there, name), strict=True):
            assert_array_equal(x, y)
    assert_array_equal(here.free_energy, there.free_energy)


@needs_two_threads
@pytest.mark.usefixtures("all_threads")
def test_larger_solves_sweep_on_all_threads(loops: list[int]) -> None:
    machine = tc.RBM(tc.Binary(60), tc.Binary(30), sigma=0.1, seed=0)
    tc.solve(machine, np.random.default_rng(0).random((100, 60)))
    assert len(loops) > 1
