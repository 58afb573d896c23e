"""A thread that finds itself on the processor of its waker moves to another, and keeps what it is allowed."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable

import numba
import numpy as np
import pytest
from numpy.typing import NDArray

from tapcore._base.jit import kernel
from tapcore._base.placement import _processor, move_apart, note_caller

pytestmark = pytest.mark.skipif(
    bool(numba.config.DISABLE_JIT) or sys.platform != "linux" or len(os.sched_getaffinity(0)) < 2,
    reason="needs compiled code, and Linux with two processors",
)


@kernel()
def noted(caller: NDArray[np.int64]) -> None:
    """What a caller leaves for others."""
    note_caller(caller)


@kernel()
def moved(caller: NDArray[np.int64], at_caller: bool) -> tuple[int, int]:
    """Processors of this thread before and after, as if its caller were there where it is."""
    before = _processor()
    if at_caller:
        caller[0] = before
    move_apart(caller)
    return before, _processor()


def in_thread(work: Callable[[], object]) -> object:
    """What `work` gives in another thread, whose processors are nobody else's business."""
    results: list[object] = []
    thread = threading.Thread(target=lambda: results.append(work()))
    thread.start()
    thread.join()
    return results[0]


def test_a_thread_leaves_its_callers_processor_and_may_return_to_it() -> None:
    caller = np.zeros(2, np.int64)
    noted(caller)

    def work() -> list[tuple[int, int, bool]]:
        allowed = os.sched_getaffinity(0)
        made = []
        for _ in range(20):
            before, after = moved(caller, True)
            made.append((before, after, os.sched_getaffinity(0) == allowed))
        return made

    made = in_thread(work)
    assert isinstance(made, list)
    assert all(kept for _, _, kept in made)
    # The system may move it back at once; but not often.
    assert sum(before != after for before, after, _ in made) > 10


def test_a_thread_stays_that_may_be_nowhere_else() -> None:
    caller = np.zeros(2, np.int64)
    noted(caller)

    def work() -> tuple[tuple[int, int], bool]:
        (only, *_) = os.sched_getaffinity(0)
        os.sched_setaffinity(0, {only})
        return moved(caller, True), os.sched_getaffinity(0) == {only}

    (before, after), kept = in_thread(work)  # type: ignore[misc]
    assert before == after
    assert kept


def test_the_caller_stays() -> None:
    caller = np.zeros(2, np.int64)
    noted(caller)
    allowed = os.sched_getaffinity(0)
    assert caller[0] in allowed
    # The system may move it, but seldom; one that moves by itself does each time.
    changes = sum(before != after for before, after in (moved(caller, True) for _ in range(200)))
    assert changes < 100
    assert os.sched_getaffinity(0) == allowed
