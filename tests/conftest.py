"""Fixtures shared by every test; sets Numba's cache before anything imports it."""

from __future__ import annotations

import os
import signal
import tempfile
from collections.abc import Callable, Iterator
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


# Files that take longest come first, so that no worker of xdist is left with one at the end. The second keeps its cache
# to itself: what the first one compiles, which most others use, is not compiled twice meanwhile.
FIRST = (
    "sampling/test_modes.py", "_base/test_cache.py", "_base/test_cache_room.py", "test_readme.py",
    "units/test_unit_pairs.py", "grouping/test_merging.py", "units/test_units.py", "landscape/test_harvest.py",
    "test_bench.py", "evaluation/test_annealed.py", "special/test_truncnorm_seams.py", "_base/test_layers.py",
    "landscape/test_tracking.py", "cli/test_cli.py", "training/test_float32_data.py", "storage/test_checkpoint.py",
    "inference/test_acceleration.py", "inference/test_solve.py", "special/test_truncnorm.py",
)  # fmt: skip


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Of a run of what is also run uncompiled: files without such tests, which every worker would read."""
    if config.getoption("-m") != "nojit" or not collection_path.match("test_*.py"):
        return None
    return True if "nojit" not in collection_path.read_text(encoding="utf-8") else None


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Long files first; others, and the tests of each file, as they are."""
    tests = Path(__file__).parent
    places = {tests / name: place for place, name in enumerate(FIRST)}
    items.sort(key=lambda item: places.get(item.path, len(places)))


@pytest.fixture(scope="session", autouse=True)
def share_of_the_processors() -> Iterator[None]:
    """As many threads as this worker of xdist has processors: workers whose threads wait for one another crawl."""
    workers = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
    if workers == 1:
        yield
        return
    import numba
    from threadpoolctl import threadpool_limits

    from tapcore._base.threads import _blas, thread_limit

    share = max(1, int(numba.config.NUMBA_NUM_THREADS) // workers)
    _blas()  # loads all that is limited
    with thread_limit(share), threadpool_limits(share, user_api="blas"):
        yield


@pytest.fixture
def all_threads() -> Iterator[None]:
    """As many threads as a process has by itself, for tests of what does not depend on their number."""
    import numba

    from tapcore._base.threads import thread_limit

    with thread_limit(int(numba.config.NUMBA_NUM_THREADS)):
        yield


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
