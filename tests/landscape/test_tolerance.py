"""One rule for how far apart chains at one solution may be: unique, merge_solutions, harvest and the tracker agree."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from cases import random_rbm, starts

import tapcore as tc
from tapcore.grouping.merging import merging_distance, tolerance_for
from tapcore.inference import solution
from tapcore.landscape import harvest


@pytest.fixture
def tolerances(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The tolerances by which chains are merged."""
    all_used: list[float] = []
    merge, gathered = solution.merge, harvest.Gathered

    def merging(means: Any, distance: Any, tol: float) -> Any:
        all_used.append(tol)
        return merge(means, distance, tol)

    def gathering(sizes: Any, dtype: Any, tol: float) -> Any:
        all_used.append(tol)
        return gathered(sizes, dtype, tol)

    monkeypatch.setattr(solution, "merge", merging)
    monkeypatch.setattr(harvest, "Gathered", gathering)
    return all_used


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("near", [1e-3, 1e-5, 1e-9])
@pytest.mark.parametrize("given", [None, 0.02, 0])
def test_all_that_merge_agree(tolerances: list[float], dtype: str, near: float, given: float | None) -> None:
    machine = random_rbm(0).replace(dtype=dtype)
    x = starts(machine, 3)
    expected = merging_distance(np.full(1, near), dtype) if given is None else given
    assert tolerance_for("tol", given, near, dtype) == expected
    assert tolerance_for("tol", given, np.array([near / 2, np.inf, near]), dtype) == expected

    harvested = tc.harvest(machine, x, tol=near, merge=given)
    assert tolerances == [expected]
    tracker = tc.Tracker(x, tol=near, merge=given)
    for epoch in (0, 1):
        tracker.follow(machine, epoch)
    assert tolerances == [expected] * 4  # two harvests more, and the second with the solutions before it
    chains = replace(harvested[[0, 0]], distance=np.array([near, near / 2]), counts=np.ones(2, np.int64))
    chains.unique(given)
    tc.merge_solutions(chains[:1], chains[1:], given)
    assert tolerances == [expected] * 6


def test_chains_that_did_not_converge_do_not_count(tolerances: list[float]) -> None:
    chains = tc.solve(random_rbm(0), starts(random_rbm(0), 3), tol=1e-5)
    chains.distance[:] = [1e-5, 1e-3, 1e-5]
    chains.converged[1] = False
    chains.unique()
    counted = replace(chains, counts=np.ones(3, np.int64))
    tc.merge_solutions(counted[:1], counted[1:])
    assert tolerances == [tolerance_for("tol", None, 1e-5, np.float64)] * 2


@pytest.mark.parametrize("bad", [-1e-9, np.nan, np.inf, "wide"])
def test_bad_tolerances_are_refused_under_the_name_of_the_argument(bad: Any) -> None:
    machine = random_rbm(0)
    x = starts(machine, 2)
    chains = tc.solve(machine, x).unique()
    for name, call in (
        ("merge", lambda: tc.harvest(machine, x, merge=bad)),
        ("merge", lambda: tc.Tracker(x, merge=bad).follow(machine, 0)),
        ("tol", lambda: chains.unique(bad)),
        ("tol", lambda: tc.merge_solutions(chains, chains, bad)),
        ("merge", lambda: tolerance_for("merge", bad, 1e-6, np.float64)),
    ):
        with pytest.raises(ValueError, match=f"^{name} must be "):
            call()
