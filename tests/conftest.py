"""Fixtures shared by every test; sets Numba's cache before anything imports it."""

from __future__ import annotations

import hashlib
import os
import signal
import tempfile
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def _sources_digest() -> str:
    digest = hashlib.sha256()
    for path in sorted((ROOT / "tapcore").rglob("*.py")):
        digest.update(path.read_bytes())
    return digest.hexdigest()[:16]


# A cached kernel keeps returning old numbers after a function it calls, in another file, was edited.
os.environ["NUMBA_CACHE_DIR"] = str(Path(tempfile.gettempdir()) / f"tapcore-numba-{os.getuid()}-{_sources_digest()}")

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
