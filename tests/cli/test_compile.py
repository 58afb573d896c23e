"""`tapcore compile`: what it refuses, and that nothing is left to compile after it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from numba import config

needs_compiler = pytest.mark.skipif(bool(config.DISABLE_JIT), reason="nothing is compiled here")

# What a first user does.
USE = """
import numpy as np, tapcore as tc
X = (np.random.default_rng(0).random((50, 9)) < 0.3) * 1.0
machine, _ = tc.fit(tc.RBM(tc.Binary(9), tc.Binary(4), seed=0), X, epochs=2, progress=False)
solutions = tc.harvest(machine, X, progress=False)
tc.log_likelihood(machine, X, solutions.free_energy)
tc.ais(machine, 10, 20, seed=0)
tc.sample(machine, 10, sweeps=5, progress=False)
tc.TrajectoryTempering(machine, 3).sweep(5)
tc.fit(tc.RBM(tc.Binary(9), tc.Binary(4), seed=0), X, epochs=1, gradient="pcd", progress=False)
tc.fit(tc.RBM(tc.Binary(9), tc.Binary(4), seed=0), X, epochs=1, gradient="ptt", progress=False)
tc.solve(tc.DBM(tc.Binary(9), tc.Binary(4), tc.Binary(3), seed=0), X)
"""


@needs_compiler
def test_unknown_units_are_refused(run: Any) -> None:
    status, _, err = run("compile", "--units", "Binary,Ternary")
    assert status == 2
    assert err.startswith("tapcore: --units must be of Binary, ")
    assert err.rstrip().endswith("got 'Ternary'")


@needs_compiler
@pytest.mark.slow
def test_nothing_is_left_to_compile(tmp_path: Path) -> None:
    def call(*arguments: str) -> str:
        environment = {**os.environ, "NUMBA_CACHE_DIR": str(tmp_path)}
        return subprocess.run(
            [sys.executable, *arguments], check=True, capture_output=True, text=True, env=environment
        ).stdout

    out = call("-m", "tapcore", "compile", "--units", "Binary", "--dtype", "float64")
    files = sorted(path.name for path in tmp_path.rglob("*.nbc"))
    assert out.splitlines()[-1].startswith(f"{len(files)} compiled functions under {tmp_path}")
    call("-c", USE)
    assert sorted(path.name for path in tmp_path.rglob("*.nbc")) == files
