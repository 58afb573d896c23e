"""Ctrl-C that waits until work can be put down."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


@contextmanager
def interrupts_wait(wanted: bool = True) -> Iterator[threading.Event]:
    """Turn the first Ctrl-C in the body into the event; a second one acts at once.

    Only in the main thread, where Python lets signals be handled, and only in place of Python's own handler.
    """
    asked = threading.Event()
    ours = wanted and threading.current_thread() is threading.main_thread()
    before = signal.getsignal(signal.SIGINT)
    if not ours or before is not signal.default_int_handler:
        yield asked
        return

    def wait(number: int, frame: Any) -> None:
        asked.set()
        signal.signal(signal.SIGINT, signal.default_int_handler)

    signal.signal(signal.SIGINT, wait)
    try:
        yield asked
    finally:
        signal.signal(signal.SIGINT, before)
