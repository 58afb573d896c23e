"""Functions that stand apart: called by kernels through a cell, ready or not."""

from __future__ import annotations

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from tapcore._base.apart import apart
from tapcore._base.intrinsics import JIT_DISABLED, address_of, numbers_at, stack_array
from tapcore._base.jit import kernel

N = 5


def make():
    """A function apart that adds two arrays, and a kernel that calls it; new ones each time."""

    @apart(3)
    def add(words):
        like = stack_array(1, np.float64(0.0))
        x, y = numbers_at(words[0], 0, N, like), numbers_at(words[1], 0, N, like)
        out = numbers_at(words[2], 0, N, like)
        for i in range(N):
            out[i] = x[i] + y[i]

    call = add.call

    @kernel()
    def run(x, y, out):
        words = np.array([address_of(x), address_of(y), address_of(out)])
        call(words)

    return add, run


def added(run) -> np.ndarray:
    x, y, out = np.arange(N) + 0.5, np.ones(N), np.zeros(N)
    run(x, y, out)
    return out - x - y


@pytest.mark.parametrize("first", [True, False], ids=["ready", "late"])
def test_a_kernel_calls_it_whether_it_was_made_ready_or_not(first: bool) -> None:
    add, run = make()
    if first:
        add.ready()
    assert not added(run).any()
    assert not added(run).any()


def test_many_threads_may_be_the_first_to_call_it() -> None:
    _, run = make()
    with ThreadPoolExecutor(4) as pool:
        assert not np.any(list(pool.map(lambda _: added(run), range(8))))


@pytest.mark.skipif(JIT_DISABLED, reason="only compiled code is interrupted while it waits for more of it")
def test_an_interruption_while_it_is_made_leaves_no_result_out(monkeypatch: pytest.MonkeyPatch) -> None:
    add, run = make()
    ready, calls, unraisable = add.ready, [], []

    def interrupted() -> None:
        calls.append(1)
        if len(calls) == 1:
            raise KeyboardInterrupt
        ready()

    monkeypatch.setattr(add, "ready", interrupted)
    monkeypatch.setattr(sys, "unraisablehook", lambda info: unraisable.append(info.exc_type))
    assert not added(run).any()
    assert len(calls) == 2
    assert unraisable == [KeyboardInterrupt]


CALLER = """
import numpy as np, tapcore as tc
print(*np.ravel(tc.truncnorm.moments(-40.0, -19.0, 0.0, 1.0)))
layer = tc.TruncatedGaussian(3, U=-19.0, V=-40.0)
print(*(x[0] for x in layer.moments(0.0, 0.0)))
"""


@pytest.mark.skipif(JIT_DISABLED, reason="nothing is kept on disk")
def test_kernels_from_the_disk_find_it_in_another_process(tmp_path: Path) -> None:
    environment = {**os.environ, "NUMBA_CACHE_DIR": str(tmp_path)}
    said = [
        subprocess.run([sys.executable, "-c", CALLER], env=environment, check=True, capture_output=True, text=True)
        for _ in range(2)
    ]
    assert said[0].stdout == said[1].stdout
    assert [x.stderr for x in said] == ["", ""]
    one, other = said[0].stdout.splitlines()
    np.testing.assert_allclose([float(x) for x in one.split()], [float(x) for x in other.split()], rtol=1e-14)
