"""Every estimate of ln Z against enumeration: three standard errors hold the truth, or there are doubts."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import pytest
from cases import twenty_machines

import tapcore as tc
from tapcore.sampling.estimate import Estimate

MACHINES = twenty_machines()


def run_of(machine: tc.Machine, folder: Path) -> Path:
    """Checkpoints of a run that ends at the machine, of growing couplings."""
    for epoch, part in enumerate((0.0, 0.3, 0.6, 1.0)):
        weaker = machine.replace(weights=[part * W for W in machine.weights])
        tc.save(folder / f"epoch-{epoch:04d}.safetensors", weaker)
    return folder


def estimates(machine: tc.Machine, seed: int, folder: Path) -> tuple[dict[str, Estimate], bool]:
    """All of them, and whether ln Z counts as known."""
    X = tc.sample(machine, 50, sweeps=50, seed=seed, progress=False)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", ".*the estimate is not to be trusted", UserWarning)
        scored = tc.score(run_of(machine, folder), X, chains=100, temperatures=500, seed=1000 + seed)
        found: dict[str, Estimate] = {
            f"ais, {'reverse' if reverse else 'forward'}": tc.ais(machine, 100, 500, seed, reverse=reverse)
            for reverse in (False, True)
        }
        alone = tc.TrajectoryTempering(machine, 100, seed=seed)
        alone.sweep(200)
        found["ladder"] = alone.log_z()
    assert scored.ladder is not None
    of_score = {"forward": scored.forward, "reverse": scored.reverse, "ladder": scored.ladder}
    return found | {f"score, {name}": route for name, route in of_score.items()}, scored.known


@pytest.mark.slow
def test_three_errors_hold_the_truth_of_twenty_machines_by_every_route(tmp_path: Path) -> None:
    assert len(MACHINES) == 20
    off, doubted, known = [], 0, 0
    for n, machine in enumerate(MACHINES):
        exact = tc.exact.log_z(machine)
        (folder := tmp_path / str(n)).mkdir()
        found, is_known = estimates(machine, n, folder)
        known += is_known
        for name, route in found.items():
            doubted += not route.trusted
            # Of a score that contradicts itself nothing is to be trusted.
            trusted = route.trusted and (is_known or not name.startswith("score"))
            if trusted and not abs(route.log_z - exact) < 3 * route.standard_error + 1e-9:
                off.append((n, name, (route.log_z - exact) / route.standard_error))
            assert route.doubts or np.isfinite(route).all()
    print(f"{20 * 6} estimates: {doubted} with doubts; ln Z known of {known} machines; off: {off}")
    assert not off
    assert doubted <= 12
    assert known >= 16
