"""Chains that have stopped: one way from what is known of them to the rows of solutions."""

from __future__ import annotations

import numpy as np
from cases import random_rbm
from numpy.testing import assert_array_equal

from tapcore.inference.adaptive.solver import AdaptiveTap
from tapcore.inference.progress import ACTIVE, CONVERGED, FAILED, empty_progress
from tapcore.inference.records import LAYERS, NUMBERS, joined, stopped_chains
from tapcore.inference.solution import empty_solutions, record


def test_each_chain_comes_to_its_row() -> None:
    machine, rng = random_rbm(0, sizes=(3, 2)), np.random.default_rng(0)
    layers = {name: tuple(rng.random((4, n)) for n in machine.sizes) for name in LAYERS}
    progress = empty_progress(4)
    progress.chain[:], progress.status[:] = [2, 0, 3, 1], [CONVERGED, FAILED, ACTIVE, CONVERGED]
    for x in (progress.residual, progress.distance, progress.square, progress.sweeps):
        x[:] = rng.integers(1, 100, 4)
    solutions = empty_solutions(machine, 4, "tap")
    parts = [stopped_chains(progress, rows, 5, **layers) for rows in (slice(3, 4), np.array([2, 0]), slice(1, 2))]
    assert_array_equal(joined(parts).chain, [1, 3, 2, 0])
    record(solutions, joined(parts))
    at = progress.chain
    for name in LAYERS:
        for to, x in zip(getattr(solutions, name), layers[name], strict=True):
            assert_array_equal(to[at], x)
    expected = {
        "residual": progress.residual, "distance": progress.distance, "mse": progress.square / 5,
        "sweeps": progress.sweeps, "converged": [True, False, False, True],
    }  # fmt: skip
    assert set(expected) == set(NUMBERS)
    for name, values in expected.items():
        assert_array_equal(getattr(solutions, name)[at], values)


def test_layers_that_are_not_known_stay_and_rows_are_copies() -> None:
    machine, progress = random_rbm(0, sizes=(3, 2)), empty_progress(2)
    progress.chain[:] = [0, 1]
    solutions = empty_solutions(machine, 2, "tap")
    for x in (*solutions.mean, *solutions.var):
        x[:] = 7
    stopped = stopped_chains(progress, slice(None), 5)
    progress.residual[:], progress.sweeps[:] = 1, 1
    record(solutions, stopped)
    assert all((x == 7).all() for x in (*solutions.mean, *solutions.var))
    assert not solutions.residual.any()
    assert not solutions.sweeps.any()


def test_fields_of_lost_chains_are_nan() -> None:
    engine = AdaptiveTap(random_rbm(0, sizes=(3, 2)), 2)
    engine.progress.status[:] = [FAILED, CONVERGED]
    stopped = engine.stopped(np.arange(2))
    for x in (*stopped.B, *stopped.A):
        assert np.isnan(x[0]).all()
        assert np.isfinite(x[1]).all()
    assert_array_equal(stopped.converged, [False, True])
