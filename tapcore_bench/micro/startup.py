"""Start-up times in fresh processes: imports, --help, and the first solve of a second process."""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
import time

from tapcore_bench.micro.harness import Row

FIRST_SOLVE = """
import time
import numpy as np
import tapcore as tc
tc.solve, tc.Binary
start = time.perf_counter()
machine = tc.RBM(tc.Binary(784), tc.Binary(100), seed=0)
tc.solve(machine, np.zeros((100, 784)))
print(time.perf_counter() - start)
"""


def _process(*arguments: str) -> float:
    start = time.perf_counter()
    subprocess.run([sys.executable, *arguments], check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - start


def _first_solve(cache: str) -> float:
    environment = {**os.environ, "NUMBA_CACHE_DIR": cache}
    command = [sys.executable, "-c", FIRST_SOLVE]
    return float(subprocess.run(command, check=True, capture_output=True, text=True, env=environment).stdout)


def rows(repeats: int) -> list[Row]:
    """Whole processes, the interpreter's own start included; the first solve is timed inside its process."""
    commands = {
        "numba": ("-c", "import numba"),
        "tapcore": ("-c", "import tapcore"),
        "all of tapcore": ("-c", "import tapcore as tc; tc.fit, tc.solve, tc.special, tc.save, tc.datasets"),
        "help": ("-m", "tapcore", "--help"),
    }
    times: dict[str, list[float]] = {name: [] for name in commands}
    for turn in range(max(3, repeats // 3)):
        for name, command in commands.items():
            seconds = _process(*command)
            if turn > 0:
                times[name].append(seconds)
    median = {name: statistics.median(t) for name, t in times.items()}
    with tempfile.TemporaryDirectory() as cache:
        compiling = _first_solve(cache)
        cached = statistics.median(_first_solve(cache) for _ in range(3))
    return [
        Row("process that imports tapcore", median["tapcore"], median["numba"], "one that imports numba"),
        Row("process that imports all of tapcore", median["all of tapcore"], median["numba"], "one that imports numba"),
        Row("tapcore --help", median["help"], 0.3, "0.3 s", 1.0),
        Row("first solve of a second process, after import", cached, compiling, "of the first one, which compiles"),
    ]
