"""Memory that nobody has written may hold anything: no method reads it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import tapcore as tc
from tapcore.inference import solution
from tapcore.inference.methods import names

# A NaN that makes the processor complain when it is converted.
SIGNALLING = {4: np.uint32(0x7FA00000), 8: np.uint64(0x7FF4000000000000)}


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("method", names())
def test_what_is_in_unwritten_memory_does_not_matter(method: str, dtype: str, monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[tc.Solutions] = []
    plain = solution.empty_solutions

    def poisoned(*arguments: Any) -> tc.Solutions:
        found = plain(*arguments)
        for x in (*found.mean, *found.var, *found.B, *found.A):
            x.view(SIGNALLING[x.itemsize].dtype)[...] = SIGNALLING[x.itemsize]
        made.append(found)
        return found

    for module in ("solve", "belief.solver", "adaptive.solver"):
        monkeypatch.setattr(f"tapcore.inference.{module}.empty_solutions", poisoned)
    machine = tc.RBM(tc.Binary(6), tc.Binary(4), sigma=0.3, seed=0, dtype=dtype)
    with np.errstate(all="raise", under="ignore"):
        found = tc.solve(machine, np.full((3, 6), 0.5), method=method)
    assert made
    assert found.converged.all()
    for x in (*found.mean, *found.var, *found.B, *found.A):
        assert np.isfinite(x).all()
