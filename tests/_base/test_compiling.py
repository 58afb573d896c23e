"""Time that compiling takes is known, so that what has so many seconds can leave it out."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest

import tapcore as tc
from tapcore._base.compiling import compiled_seconds, compiling
from tapcore._base.intrinsics import JIT_DISABLED
from tapcore._base.jit import kernel
from tapcore.training import trainer


@pytest.mark.skipif(JIT_DISABLED, reason="nothing is compiled")
def test_a_kernel_that_compiles_is_counted_once() -> None:
    @kernel()
    def add(x: Any, y: Any) -> Any:
        return x + y

    before, begun = compiled_seconds(), time.perf_counter()
    assert add(np.ones(2), np.ones(2))[0] == 2
    first = compiled_seconds() - before
    assert 0 < first <= time.perf_counter() - begun
    add(np.ones(2), np.ones(2))
    assert compiled_seconds() - before == first


def test_what_is_inside_of_each_other_counts_once_and_threads_for_themselves() -> None:
    before, begun = compiled_seconds(), time.perf_counter()
    with compiling(), compiling():
        time.sleep(0.01)
    assert 0.01 <= compiled_seconds() - before <= time.perf_counter() - begun
    with ThreadPoolExecutor(1) as pool:
        assert pool.submit(compiled_seconds).result() == 0.0


def test_a_run_of_so_many_seconds_does_not_pay_for_what_compiles(monkeypatch: pytest.MonkeyPatch) -> None:
    # In each batch an hour of compiling, by a clock that says so.
    spent, now = [0.0], [0.0]
    train = trainer.Trainer._train_batch

    def compile_and_train(self: Any, *arguments: Any) -> None:
        spent[0] += 3600.0
        now[0] += 3600.0 + 0.25
        train(self, *arguments)

    monkeypatch.setattr(trainer.Trainer, "_train_batch", compile_and_train)
    monkeypatch.setattr(trainer, "compiled_seconds", lambda: spent[0])
    monkeypatch.setattr(trainer.time, "perf_counter", lambda: now[0])
    X = np.random.default_rng(0).integers(0, 2, (40, 5))
    found = tc.fit(tc.RBM(tc.Binary(5), tc.Binary(2)), X, seconds=3.0, batch_size=10, progress=False)
    assert spent[0] == 12 * 3600.0
    assert found.history.seconds.sum() == 3.0
