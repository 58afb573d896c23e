"""Start-up times in fresh processes: imports, --help, and first calls with an empty and with a filled cache of kernels.

With ``--against PATH``, the folder of another checkout, first calls of both take turns.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
import time
from importlib.util import find_spec
from pathlib import Path

import numpy as np

import tapcore as tc
from tapcore_bench.micro.harness import Row

HERE = Path(tc.__file__).resolve().parents[1]

# Visible and hidden units, and starts; digits and hidden units; samples of spikes and slabs, visible and hidden units.
SOLVE = (20, 10, 4)
DIGITS = (1797, 32)
SLABS = (500, 20, 10)

# Processes with a filled cache that a median is taken of.
FILLED = 3

# What a user waits for: from before the imports to the end of the first call.
FIRST_CALL = """
import time
start = time.perf_counter()
import numpy as np
import tapcore as tc
X = np.load({data!r})
{call}
print(time.perf_counter() - start, tc.__file__)
"""

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


def first_calls(folder: Path) -> dict[str, str]:
    """Programs that print the seconds of import and first call, and where the package is; their data go to `folder`."""
    rng = np.random.default_rng(0)
    n, m, starts = SOLVE
    samples, units, hidden = SLABS
    slabs = np.where(rng.random((samples, units)) < 0.4, rng.uniform(0.1, 0.9, (samples, units)), 0.0)
    data = {
        f"import and first solve, {n} x {m} Binary, {starts} starts": (
            rng.random((starts, n)), f"tc.solve(tc.RBM(tc.Binary({n}), tc.Binary({m}), seed=0), X)"
        ),
        f"import and first fit, {units} x {hidden} truncated spikes and slabs": (
            slabs, _fit("TruncatedGaussBernoulli", hidden)
        ),
    }  # fmt: skip
    if find_spec("sklearn") is not None:
        digits = tc.datasets.load("digits")[: DIGITS[0]]
        data[f"import and first fit, digits, 64 x {DIGITS[1]} Binary"] = digits, _fit("Binary", DIGITS[1])
    programs = {}
    for i, (name, (X, call)) in enumerate(data.items()):
        path = folder / f"{i}.npy"
        np.save(path, np.asarray(X, np.float64))
        programs[name] = FIRST_CALL.format(data=str(path), call=call)
    return programs


def _fit(visible: str, hidden: int) -> str:
    return f"tc.fit(tc.RBM(tc.{visible}.from_data(X), tc.Binary({hidden}), seed=0), X, epochs=1, seed=0)"


def _first_call(program: str, checkout: Path, cache: Path, folder: Path) -> float:
    environment = {
        **os.environ, "PYTHONPATH": str(checkout), "NUMBA_CACHE_DIR": str(cache),
        "PYTHONPYCACHEPREFIX": str(folder / "bytecode"),
    }  # fmt: skip
    environment.pop("PYTHONDONTWRITEBYTECODE", None)
    # Not from the current folder, which would be imported from first.
    done = subprocess.run(
        [sys.executable, "-c", program], check=True, stdout=subprocess.PIPE, text=True, env=environment, cwd=folder
    )
    seconds, _, package = done.stdout.splitlines()[-1].partition(" ")
    if not Path(package).is_relative_to(checkout):
        raise RuntimeError(f"{package} was imported, not what is in {checkout}")
    return float(seconds)


def first_call_rows(repeats: int, against: Path | None = None) -> list[Row]:
    """First calls with an empty cache and with a filled one, of this checkout and of another one in turn.

    Without another one the filled cache is the reference of the empty one.
    """
    checkouts = [HERE] if against is None else [HERE, against.resolve()]
    rows = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for what, program in first_calls(folder).items():
            empty: list[list[float]] = [[] for _ in checkouts]
            filled: list[list[float]] = [[] for _ in checkouts]
            for checkout in checkouts:  # whose bytecode is made
                _first_call(
                    program.partition("X =")[0] + "tc.solve, tc.fit\nprint(0, tc.__file__)", checkout, folder, folder
                )
            for turn in range(max(1, repeats // 15)):
                for i in range(len(checkouts)) if turn % 2 == 0 else reversed(range(len(checkouts))):
                    with tempfile.TemporaryDirectory(dir=folder) as cache:
                        empty[i].append(_first_call(program, checkouts[i], Path(cache), folder))
                        filled[i] += [_first_call(program, checkouts[i], Path(cache), folder) for _ in range(FILLED)]
            of = [[statistics.median(times) for times in kind] for kind in (empty, filled)]
            if against is None:
                rows.append(Row(f"{what}: empty cache", of[0][0], of[1][0], "filled cache"))
            else:
                for kind, (ours, theirs) in zip(("empty", "filled"), of, strict=True):
                    rows.append(Row(f"{what}: {kind} cache", ours, theirs, str(against)))
    return rows


def rows(repeats: int, against: Path | None = None) -> list[Row]:
    """Whole processes, the interpreter's own start included; first calls are timed inside theirs.

    `against` is the folder of another checkout, of which first calls are timed in turn; nothing else is then.
    """
    if against is not None:
        return first_call_rows(repeats, against)
    commands = {
        "numba": ("-c", "import numba"),
        "tapcore": ("-c", "import tapcore"),
        "all of tapcore": ("-c", "import tapcore as tc; tc.fit, tc.solve, tc.special, tc.save, tc.datasets"),
        "help": ("-m", "tapcore", "--help"),
    }
    times: dict[str, list[float]] = {name: [] for name in commands}
    for turn in range(max(2, repeats // 3)):
        for name, command in commands.items():
            seconds = _process(*command)
            if turn > 0:
                times[name].append(seconds)
    median = {name: statistics.median(t) for name, t in times.items()}
    with tempfile.TemporaryDirectory() as cache:
        compiling = _first_solve(cache)
        cached = statistics.median(_first_solve(cache) for _ in range(FILLED))
    return [
        Row("process that imports tapcore", median["tapcore"], median["numba"], "one that imports numba"),
        Row("process that imports all of tapcore", median["all of tapcore"], median["numba"], "one that imports numba"),
        Row("tapcore --help", median["help"], 0.3, "0.3 s", 1.0),
        Row("first solve of a second process, after import", cached, compiling, "of the first one, which compiles"),
        *first_call_rows(repeats),
    ]
