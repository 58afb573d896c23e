"""What tight convergence costs, optimisation by optimisation: ``python -m tapcore_bench.paper.convergence``.

Chains start from images of binary MNIST and go on until every mean is within 1e-6 of its solution. Lock-step sweeps all
chains until the last one is there, as Alg. 1 does; its time is the number of sweeps times that of one. The others are
timed whole. Competitors take turns; medians.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit

import tapcore as tc
from tapcore._base.threads import thread_limit
from tapcore.equations.compiled import compiled
from tapcore.inference.solve import rule_for
from tapcore.inference.sweeps.chains import Chains
from tapcore_bench.micro.harness import machine_name, take_turns
from tapcore_bench.paper.data import binary_mnist
from tapcore_bench.paper.machines import trained

TOL = 1e-6
# Chains of one solution differ by less, those of different ones by more.
SAME = 1e-4
SWEEPS = 20
Array = NDArray[Any]


class Way(NamedTuple):
    """A way to the solutions: what a run returns, and what is timed."""

    name: str
    run: Callable[[], tc.Solutions]
    lock_step: float | None  # damping, if its time is that of all chains until the last has arrived


class LockStep:
    """All chains sweeping together."""

    def __init__(self, machine: tc.Machine, X: Array, damping: float) -> None:
        self.chains = Chains(machine.sizes, len(X), machine.dtype)
        self.chains.start_from_visible(X)
        self.rule, self.own = rule_for(machine, "tap"), compiled(machine.layers, machine.weights, 2)
        self.damping = damping

    def sweep(self) -> None:
        """Take some sweeps."""
        self.chains.run(self.own, self.rule, SWEEPS, self.damping)


def mixed(machine: tc.Machine, single: tc.Machine, X: Array) -> tc.Solutions:
    """Single precision until the paper's measure of convergence is 1e-7, then double."""
    rough = tc.solve(single, X, tol=1e-7, criterion="mse")
    found = tc.solve(machine, rough, tol=TOL)
    return replace(found, sweeps=rough.sweeps + found.sweeps)


def ways(machine: tc.Machine, X: Array) -> list[Way]:
    """Everything that is compared."""
    plain = partial(tc.solve, machine, X, tol=TOL, acceleration=None, max_sweeps=200_000)
    single = machine.replace(dtype="float32")
    return [
        Way("lock-step, damping 0.5 (Alg. 1)", partial(plain, damping=0.5), 0.5),
        Way("lock-step, undamped", partial(plain, damping=0.0), 0.0),
        Way("retiring, damping 0.5", partial(plain, damping=0.5), None),
        Way("retiring, undamped", partial(plain, damping=0.0), None),
        Way("retiring, adaptive damping", plain, None),
        Way("retiring, adaptive damping, acceleration (default)", partial(tc.solve, machine, X, tol=TOL), None),
        Way("the same after sweeps in float32", partial(mixed, machine, single, X), None),
    ]


def table(machine: tc.Machine, X: Array, repeats: int) -> str:
    """Markdown table of all ways."""
    compared = ways(machine, X)
    found = [way.run() for way in compared]
    timed = [way.run if way.lock_step is None else LockStep(machine, X, way.lock_step).sweep for way in compared]
    seconds = take_turns(timed, repeats)
    for i, way in enumerate(compared):
        if way.lock_step is not None:
            seconds[i] *= found[i].sweeps.max() / SWEEPS
    lines = [
        "| way | sweeps, mean | most | seconds | faster than Alg. 1 | than undamped | same solution | unconverged |",
        "| --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    target = found[1].mean[0]
    for way, solutions, s in zip(compared, found, seconds, strict=True):
        same = (np.abs(solutions.mean[0] - target).max(axis=1) < SAME).mean()
        lines.append(
            f"| {way.name} | {solutions.sweeps.mean():.0f} | {solutions.sweeps.max()} | {s:.3g} | {seconds[0] / s:.1f} "
            f"| {seconds[1] / s:.1f} | {100 * same:.1f} % | {(~solutions.converged).sum()} |"
        )
    return "\n".join(lines)


def lagging(machine: tc.Machine, X: Array, target: Array, every: int) -> tuple[float, float]:
    """Mean sweeps and products of undamped chains that renew W^2 c in every few sweeps only; sweeps end within TOL."""
    W, (a, b) = machine.weights[0], (layer.parameters["U"] for layer in machine.layers)
    W2 = W * W
    v, h = X.astype(float), np.zeros((len(X), W.shape[1]))
    A_h, A_v = np.zeros_like(h), np.zeros_like(v)
    sweeps = np.full(len(X), -1)
    for sweep in range(1, 5001):
        if (sweep - 1) % every == 0:
            A_h = -(v * (1 - v)) @ W2 if sweep > 1 else A_h
        h = expit(v @ W + A_h * (h - 0.5) + b)
        if (sweep - 1) % every == 0:
            A_v = -(h * (1 - h)) @ W2.T
        v = expit(h @ W.T + A_v * (v - 0.5) + a)
        there = np.abs(v - target).max(axis=1) < TOL
        sweeps[there & (sweeps < 0)] = sweep
        if (sweeps > 0).all():
            break
    mean = float(sweeps[sweeps > 0].mean())
    return mean, mean * (2 + 2 / every)


def counts(machine: tc.Machine, X: Array) -> list[str]:
    """How many solutions there are, against the merging distance, threads and the order of the starts."""
    found = tc.solve(machine, X, tol=TOL)
    decades = ", ".join(f"{tol:.0e}: {len(found.unique(tol))}" for tol in 10.0 ** np.arange(-6, 0))
    shuffled = tc.solve(machine, X[np.random.default_rng(1).permutation(len(X))], tol=TOL)
    with thread_limit(1):
        alone = tc.solve(machine, X, tol=TOL)
    numbers = " / ".join(str(len(s.unique())) for s in (found, shuffled, alone))
    return [
        f"solutions by merging distance: {decades}",
        f"by default {numbers} (as given, shuffled, on one thread); largest spectral radius "
        f"{tc.spectral_radius(machine, found.unique()).max():.4f}",
    ]


def main() -> None:
    """Print the tables, and write them to a file."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--hidden", type=int, default=100)
    parser.add_argument("--epochs", type=lambda s: [int(e) for e in s.split(",")], default=[2, 5, 10])
    parser.add_argument("--starts", type=int, default=1000)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--out", type=Path, default=Path("runs") / "convergence")
    options = parser.parse_args()
    X = binary_mnist()
    X = X[np.sort(np.random.default_rng(0).permutation(len(X))[: options.starts])].astype(float)
    lines = [
        f"{machine_name()}. {options.starts} starts from data, to {TOL:g} in every mean; {options.repeats} rounds."
    ]
    print(lines[0], flush=True)
    for epoch, machine in zip(options.epochs, trained(options.out, options.hidden, options.epochs), strict=True):
        part = ["", f"784x{options.hidden} after {epoch} epochs", "", table(machine, X, options.repeats), ""]
        few = X[:300]
        target = tc.solve(machine, few, tol=1e-9, damping=0.0, acceleration=None).mean[0]
        for every in (1, 2, 4):
            sweeps, products = lagging(machine, few, target, every)
            part.append(f"W^2 c renewed in every {every} sweeps: {sweeps:.0f} sweeps, {products:.0f} products a chain")
        part += ["", *counts(machine, X)]
        print("\n".join(part), flush=True)
        lines += part
    (options.out / f"convergence_{options.hidden}.md").write_text("\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
