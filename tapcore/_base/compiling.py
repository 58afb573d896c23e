"""How long the calling thread has been compiling kernels, or loading them: who measures time can leave that out."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from numba.core import event


class _State(threading.local):
    depth = 0  # of what is compiled inside what else is compiled
    begun = 0.0
    seconds = 0.0

    def enter(self) -> None:
        if self.depth == 0:
            self.begun = time.perf_counter()
        self.depth += 1

    def leave(self) -> None:
        self.depth -= 1
        if self.depth == 0:
            self.seconds += time.perf_counter() - self.begun


_state = _State()


@contextmanager
def compiling() -> Iterator[None]:
    """Count what is done inside."""
    _state.enter()
    try:
        yield
    finally:
        _state.leave()


def compiled_seconds() -> float:
    """Seconds that this thread has spent so far on what compiles."""
    return _state.seconds


class _Listener(event.Listener):  # type: ignore[misc]
    """Of Numba's own calls of its compiler, as from Python to kernels."""

    def on_start(self, event: Any) -> None:
        _state.enter()

    def on_end(self, event: Any) -> None:
        _state.leave()


event.register("numba:compile", _Listener())
