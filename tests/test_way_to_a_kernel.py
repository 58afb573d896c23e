"""How many files one opens to follow a machine from `solve` to the kernel that sweeps it."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
MOST = 10

# Prints the files of the package in which a function or method is given the machine, or what is made of it, in the
# order in which they are entered; as Python, so that the kernel is a function like others.
WAY = """
import sys
from pathlib import Path
import numpy as np
import tapcore as tc
from tapcore._base.blocks import Job
from tapcore.equations.compiled import Compiled
from tapcore.inference.sweeps.kernels import sweep_block
from tapcore.units.sites import Sites

root, files = Path(tc.__file__).parents[1], []

def holds(value):
    if isinstance(value, Job):
        value = getattr(value, "values", None)
    if isinstance(value, tc.Machine | Compiled | Sites):
        return True
    return isinstance(value, tuple) and any(map(holds, value))

def look(frame, event, _):
    code = frame.f_code
    path = Path(code.co_filename)
    if event == "call" and path.is_relative_to(root / "tapcore"):
        given = code.co_varnames[: code.co_argcount + code.co_kwonlyargcount]
        name = path.relative_to(root).as_posix()
        if name not in files and any(holds(frame.f_locals[x]) for x in given if x in frame.f_locals):
            files.append(name)
    if event == "call" and code is sweep_block.function.__code__:
        sys.setprofile(None)
        print(*files)

machine = tc.RBM(tc.Binary(5), tc.Binary(3), seed=0)
tc.solve  # imported before
sys.setprofile(look)
tc.solve(machine, np.full((2, 5), 0.5))
"""


@cache
def way() -> tuple[str, ...]:
    done = subprocess.run(
        [sys.executable, "-c", WAY],
        check=True,
        capture_output=True,
        text=True,
        cwd=ROOT,
        env={**os.environ, "NUMBA_DISABLE_JIT": "1"},
    )
    return tuple(done.stdout.split())


def test_a_machine_goes_through_few_files_from_solve_to_the_kernel() -> None:
    assert way()[0] == "tapcore/inference/solve.py"
    assert way()[-1] == "tapcore/inference/sweeps/kernels.py"
    assert len(way()) <= MOST


def test_the_page_on_architecture_lists_them() -> None:
    text = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    listed = text.split("Who follows the machine from `solve` to `sweep_block`")[1].split("\n\n")[0]
    assert sorted(re.findall(r"`(tapcore/[\w/]+\.py)`", listed)) == sorted(way())
