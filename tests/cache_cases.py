"""Processes that run a copy of the package, for tests of the cache."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tapcore as tc
from tapcore._base.intrinsics import JIT_DISABLED

PACKAGE = Path(tc.__file__).parent
MEAN, VARIANCE = 1 / (1 + np.exp(-1.0)), np.exp(-1.0) / (1 + np.exp(-1.0)) ** 2

compiled_only = pytest.mark.skipif(JIT_DISABLED, reason="nothing is compiled")

# Moments of binary units of field 1, and how often the process found compiled functions and how often not.
MOMENTS = """
import json, sys, numpy as np, tapcore as tc
values = [float(x[0]) for x in tc.Binary(3).moments(np.ones(3), np.zeros(3))]
{more}
from numba.core.dispatcher import Dispatcher
from tapcore.units import sites as _sites
found = {{id(f): f for m in list(sys.modules.values()) if m.__name__.startswith("tapcore")
         for f in vars(m).values() if isinstance(f, Dispatcher)}}.values()
hits = sum(sum(f.stats.cache_hits.values()) for f in found)
misses = sum(sum(f.stats.cache_misses.values()) for f in found)
c = [_sites._compiled(n, tc.Binary(1).site_type, "float64") for n in (_sites.MOMENTS, _sites.LOG_Z)]
hits, misses = hits + sum(f.cache_hits for f in c), misses + sum(1 - f.cache_hits for f in c)
print(json.dumps([values[1], values[2], hits, misses]))
"""


def run(lib: Path, code: str, prepare: Callable[[], Any] | None = None, **environment: str) -> tuple[str, str]:
    """Output and errors of a process that runs `code`, or a script, with the package in `lib`, its cache beside it."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("NUMBA", "PYTHON", "XDG"))}
    environment = {**kept, "PYTHONPATH": str(lib), "PYTHONDONTWRITEBYTECODE": "1", **environment}
    command = [sys.executable, code] if code.endswith(".py") else [sys.executable, "-c", code]
    done = subprocess.run(
        command, check=False, capture_output=True, text=True, cwd=lib, env=environment, preexec_fn=prepare
    )
    assert done.returncode == 0, done.stderr
    return done.stdout, done.stderr


def moments(lib: Path, prepare: Callable[[], Any] | None = None, more: str = "", **environment: str) -> Any:
    """Mean, variance, hits, misses, and errors."""
    out, errors = run(lib, MOMENTS.format(more=more), prepare, **environment)
    return *json.loads(out), errors


def copy_package(to: Path) -> Path:
    shutil.copytree(PACKAGE, to / "tapcore", ignore=shutil.ignore_patterns("__pycache__", "*.nb?", ".*"))
    return to


def edit(path: Path, old: str, new: str) -> None:
    text = path.read_text(encoding="utf-8")
    assert text.count(old) == 1
    path.write_text(text.replace(old, new), encoding="utf-8")


def edit_moments(lib: Path) -> None:
    """Twice the variance: the last line of a helper in another file than the kernels that call it."""
    edit(lib / "tapcore" / "special" / "exponential.py", "else low), low * r\n", "else low), c.two * low * r\n")


def files(lib: Path) -> list[Path]:
    """What the cache consists of, beside the sources."""
    return sorted(p for p in lib.rglob("*") if ".nb" in p.name)


def the_warning(errors: str) -> str:
    """The only one, on a line of its own beside that of the source, which Python adds."""
    lines = [line for line in errors.splitlines() if "compiled anew" in line]
    assert len(lines) == 1, errors
    assert "NUMBA_CACHE_DIR" in lines[0]
    assert "Traceback" not in errors
    assert errors.count("Warning") == lines[0].count("Warning")
    return lines[0]
