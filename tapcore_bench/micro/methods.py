"""An iteration of adaptive TAP, and one of relaxed belief propagation, against a TAP sweep of as many chains."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np

import tapcore as tc
from tapcore.equations.compiled import compiled
from tapcore.inference.adaptive.solver import AdaptiveTap
from tapcore.inference.belief.solver import solve_relaxed
from tapcore.inference.methods import TABLE
from tapcore.inference.records import Starts
from tapcore.inference.solve import rule_for
from tapcore.inference.sweeps.chains import Chains
from tapcore_bench.micro.harness import Row, take_turns

VISIBLE, CHAINS = 784, 100
# Hidden units: most that an iteration of adaptive TAP may take, in sweeps of TAP.
TARGETS = {100: 60.0, 500: 350.0}
SWEEPS = 10


def machine_of(hidden: int) -> tc.Machine:
    """Weights in between those at the beginning and at the end of training."""
    rng = np.random.default_rng(0)
    return tc.RBM(tc.Binary(VISIBLE), tc.Binary(hidden), weights=rng.normal(0, 0.03, (VISIBLE, hidden)))


def tap(machine: tc.Machine, X: np.ndarray) -> Callable[[], object]:
    """Ten sweeps of TAP."""
    chains = Chains(machine.sizes, len(X), machine.dtype)
    chains.start_from_visible(X)
    own = compiled(machine.layers, machine.weights, 2)
    return partial(chains.run, own, rule_for(machine, "tap"), SWEEPS, 0.0)


def adaptive(machine: tc.Machine, X: np.ndarray) -> Callable[[], object]:
    """One iteration of adaptive TAP."""
    first = tc.solve(machine, X, method="nmf", max_sweeps=1)
    engine = AdaptiveTap(machine, len(X))
    engine.put(first.B, first.A, np.arange(len(X)), TABLE["adatap"].damping)
    return partial(engine.sweep, len(X), rule_for(machine, "adatap"))


def relaxed(machine: tc.Machine, X: np.ndarray) -> Callable[[], object]:
    """Ten sweeps of relaxed belief propagation from the beginning, as chains leave no messages behind, and F."""
    return partial(solve_relaxed, machine, Starts((X,), ()), "rbp", rule_for(machine, "rbp", most=SWEEPS), 0.0)


def rows(repeats: int) -> list[Row]:
    """Medians of calls that take turns."""
    made = []
    for hidden, target in TARGETS.items():
        machine = machine_of(hidden)
        X = np.random.default_rng(1).random((CHAINS, VISIBLE))
        reference, adatap, rbp = take_turns([f(machine, X) for f in (tap, adaptive, relaxed)], repeats)
        where, sweep = f"K = {CHAINS}, {VISIBLE}x{hidden}", "a TAP sweep"
        made.append(Row(f"adaTAP, an iteration, {where}", adatap, reference / SWEEPS, sweep, target))
        made.append(Row(f"relaxed BP, a sweep, {where}", rbp / SWEEPS, reference / SWEEPS, sweep))
    return made
