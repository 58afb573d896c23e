"""Fixtures shared by every test; sets Numba's cache before anything imports it."""

from __future__ import annotations

import os
import signal
import tempfile
from collections.abc import Callable
from pathlib import Path

# One for all runs: kernels of edited sources are compiled anew there, and each checkout has a folder of its own in it.
os.environ["NUMBA_CACHE_DIR"] = str(Path(tempfile.gettempdir()) / f"tapcore-numba-{os.getuid()}")

# A shell that starts a run in the background has it ignore Ctrl-C, and all that it starts: tests send themselves one.
signal.signal(signal.SIGINT, signal.default_int_handler)

import pytest  # noqa: E402
from hypothesis import settings  # noqa: E402

settings.register_profile("tapcore", deadline=None, derandomize=True, print_blob=True)
settings.load_profile("tapcore")

if os.environ.get("NUMBA_DISABLE_JIT", "0") != "0":
    import numpy as np

    # Compiled code does not warn of overflow, which kernels use on purpose; run in Python it should not either.
    np.seterr(all="ignore")


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str, str]]:
    """Run a command of `tapcore` in this process: its status, what it printed, and its errors."""
    from tapcore import cli

    def call(*arguments: object) -> tuple[int, str, str]:
        try:
            status = cli.main([str(a) for a in arguments])
        except SystemExit as end:
            status = int(end.code or 0)
        out, err = capsys.readouterr()
        return status, out, err

    return call
