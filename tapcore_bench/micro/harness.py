"""Timing of competitors in one process, and tables of the results.

Machines are shared and drift, so competitors take turns and their ratio is that of medians. A BLAS of several threads
keeps a core busy waiting for a while after each product; whatever runs next would pay for it, so every timed call waits
until the process is quiet.
"""

from __future__ import annotations

import os
import platform
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

# Longest wait for a quiet process, and the slices it is looked at in, seconds.
LONGEST_WAIT = 1.0
SLICE = 0.02


@dataclass(frozen=True)
class Row:
    """One line of the table: medians in seconds, and the target for their ratio, if there is one."""

    what: str
    ours: float
    reference: float
    against: str
    target: float | None = None

    @property
    def ratio(self) -> float:
        """Our time over the reference's."""
        return self.ours / self.reference


def settle() -> None:
    """Sleep until no thread of this process is busy, or `LONGEST_WAIT` has passed."""
    end = time.perf_counter() + LONGEST_WAIT
    quiet = 0
    while quiet < 2 and time.perf_counter() < end:
        before = time.process_time()
        time.sleep(SLICE)
        quiet = quiet + 1 if time.process_time() - before < 0.1 * SLICE else 0


def timed(call: Callable[[], object]) -> float:
    """Seconds of one call on a quiet process."""
    settle()
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def take_turns(competitors: Sequence[Callable[[], object]], repeats: int) -> list[float]:
    """Median seconds of each competitor over `repeats` rounds after one to warm up; every second one in reverse."""
    times: list[list[float]] = [[] for _ in competitors]
    for call in competitors:
        call()
    for turn in range(repeats):
        order = range(len(competitors)) if turn % 2 == 0 else reversed(range(len(competitors)))
        for i in order:
            times[i].append(timed(competitors[i]))
    return [statistics.median(t) for t in times]


def machine_name() -> str:
    """Processor, number of processors to use, and versions."""
    import numba
    import numpy
    import scipy

    versions = f"Python {platform.python_version()}, NumPy {numpy.__version__}, SciPy {scipy.__version__}"
    return f"{_processor()}, {len(os.sched_getaffinity(0))} processors; {versions}, Numba {numba.__version__}"


def _processor() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def _duration(seconds: float) -> str:
    for unit, size in (("s", 1.0), ("ms", 1e-3), ("us", 1e-6)):
        if seconds >= size:
            return f"{seconds / size:.3g} {unit}"
    return f"{seconds / 1e-9:.3g} ns"


def _number(x: float) -> str:
    return f"{x:.2f}" if x >= 0.1 else f"{x:.2g}"


def table(rows: Sequence[Row]) -> str:
    """Markdown table of `rows`."""
    lines = ["| what | tapcore | against | its time | ratio | target |", "| --- | --- | --- | --- | --- | --- |"]
    for row in rows:
        target = "" if row.target is None else _number(row.target)
        lines.append(
            f"| {row.what} | {_duration(row.ours)} | {row.against} | {_duration(row.reference)} | "
            f"{_number(row.ratio)} | {target} |"
        )
    return "\n".join(lines) + "\n"
