"""How far each inference is from the truth: ``python -m tapcore_bench.paper.accuracy --out tapcore_bench/results.md``.

Errors of ln Z, of the means and of the products of pairs, all against enumeration, on random machines of growing
weights and on a machine trained on scikit-learn's digits; with the time of a solution. The table goes between its marks
in the page, the picture beside it.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import tapcore as tc
from tapcore_bench.micro.harness import machine_name
from tapcore_bench.pages import renew

Array = NDArray[np.float64]

METHODS = ("nmf", "tap", "tap3", "rbp", "adatap")
ALL, SAMPLED = "tap, all solutions", "AIS, Gibbs"
SCALES = (0.05, 0.1, 0.2, 0.5, 1.0, 2.0)
SIZES, MACHINES, STARTS = (20, 12), 20, 20
# Of annealed importance sampling, and of the Gibbs chains that give means and pairs.
CHAINS, TEMPERATURES, SWEEPS = 500, 1000, 200


@dataclass(frozen=True)
class Errors:
    """Of one method on one machine."""

    log_z: float  # |error|
    mean: float  # root mean square over all units
    pair: float  # root mean square over all pairs of a visible and a hidden unit
    seconds: float  # of a start; of all of the sampling
    converged: float  # share of the starts
    solutions: float  # distinct ones among them


def rms(x: Any) -> float:
    """Root mean square."""
    return float(np.sqrt(np.mean(np.square(x))))


def errors(machine: tc.Machine, starts: Array) -> dict[str, Errors]:
    """Of all methods: the solution of least free energy alone, and of TAP all of them by exp(-F)."""
    log_z, exact = tc.exact.log_z(machine), tc.exact.moments(machine)
    found = {}
    for method in METHODS:
        begun = time.perf_counter()
        solutions = tc.solve(machine, starts, method=method)
        seconds = (time.perf_counter() - begun) / len(starts)
        distinct = solutions.unique()
        of_all = seconds, float(solutions.converged.mean()), float(len(distinct))
        if len(distinct) == 0:
            found[method] = Errors(np.nan, np.nan, np.nan, *of_all)
            continue
        found[method] = Errors(*_errors(distinct[:1].averages(), log_z, exact), *of_all)
        if method == "tap":
            found[ALL] = Errors(*_errors(distinct.averages(), log_z, exact), *of_all)
    return found | {SAMPLED: sampled(machine, log_z, exact)}


def _errors(found: Any, log_z: float, exact: Any) -> tuple[float, float, float]:
    """Of ln Z, means and pairs."""
    means = np.concatenate([a - b for a, b in zip(found.mean, exact.mean, strict=True)])
    return abs(found.log_z - log_z), rms(means), rms(found.pair[0] - exact.pair[0])


def sampled(machine: tc.Machine, log_z: float, exact: Any) -> Errors:
    """Of annealed importance sampling, and of the averages over Gibbs chains."""
    begun = time.perf_counter()
    estimate = tc.ais(machine, CHAINS, TEMPERATURES, progress=False)
    x = tc.sample(machine, CHAINS, sweeps=SWEEPS).astype(np.float64)
    seconds = time.perf_counter() - begun
    hidden = machine.layers[1].moments(x @ machine.weights[0], 0.0)[1]
    means = np.concatenate([x.mean(axis=0) - exact.mean[0], hidden.mean(axis=0) - exact.mean[1]])
    return Errors(
        abs(estimate.log_z - log_z), rms(means), rms(x.T @ hidden / len(x) - exact.pair[0]), seconds, 1.0, np.nan
    )


def random_machines(scale: float, count: int) -> Iterator[tuple[tc.Machine, Array]]:
    """Binary machines with weights N(0, scale^2) and fields that leave units half on, on average; and starts."""
    for seed in range(count):
        rng = np.random.default_rng(seed)
        W = rng.normal(0, scale, SIZES)
        U = [rng.normal(0, 0.5, n) - 0.5 * W.sum(axis) for axis, n in ((1, SIZES[0]), (0, SIZES[1]))]
        machine = tc.RBM(tc.Binary(SIZES[0], U=U[0]), tc.Binary(SIZES[1], U=U[1]), weights=W)
        yield machine, rng.random((STARTS, SIZES[0]))


def digits_machine(epochs: int = 100) -> tuple[tc.Machine, Array]:
    """64x20, trained on the digits; and digits to start from."""
    X = tc.datasets.load("digits")
    machine = tc.RBM(tc.Binary(64), tc.Binary(20), seed=0)
    machine = tc.fit(machine, X, settings=tc.paper_settings(epochs=epochs, learning_rate=0.05), progress=False).machine
    return machine, X[:STARTS].astype(np.float64)


def medians(found: list[dict[str, Errors]]) -> dict[str, Errors]:
    """Over machines, of those that have a value."""
    return {
        method: Errors(*(_median([getattr(f[method], name) for f in found]) for name in Errors.__annotations__))
        for method in found[0]
    }


def _median(values: list[float]) -> float:
    kept = [x for x in values if np.isfinite(x)]
    return float(np.median(kept)) if kept else float("nan")


def table(columns: dict[str, dict[str, Errors]]) -> str:
    """A row a machine and method."""
    lines = [
        "| machine | inference | ln Z | means | pairs | ms a solution | starts converged | solutions |",
        "| --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    for name, found in columns.items():
        for method, e in found.items():
            share = " | " if method == SAMPLED else f"{100 * e.converged:.0f} % | {e.solutions:g}"
            values = " | ".join(f"{x:.1e}" for x in (e.log_z, e.mean, e.pair))
            lines.append(f"| {name} | {method} | {values} | {1e3 * e.seconds:.3g} | {share} |")
    return "\n".join(lines) + "\n"


def picture(path: Path, columns: dict[float, dict[str, Errors]]) -> None:
    """Errors against the scale of the weights."""
    import matplotlib as mpl

    mpl.use("Agg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(1, 3, figsize=(12, 4), layout="constrained")
    for axis, (name, title) in zip(axes, (("log_z", "ln Z"), ("mean", "means"), ("pair", "pairs")), strict=True):
        for method in (*METHODS, ALL, SAMPLED):
            values = [getattr(found[method], name) for found in columns.values()]
            style = {"ls": "--" if method == SAMPLED else "-", "marker": "o", "markersize": 3, "label": method}
            axis.loglog(list(columns), values, **style)
        axis.set(xlabel="standard deviation of the weights", title=f"error of {title}")
    axes[0].legend()
    figure.savefig(path, dpi=110)


def main() -> None:
    """Measure, print, and renew the page."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, help="Markdown page with marks; the picture goes beside it")
    parser.add_argument("--machines", type=int, default=MACHINES, help="of each scale")
    options = parser.parse_args()
    for warm_up, starts in random_machines(0.05, 1):
        errors(warm_up, starts)
    columns = {scale: medians([errors(*m) for m in random_machines(scale, options.machines)]) for scale in SCALES}
    named = {f"random, {scale:g}": found for scale, found in columns.items()}
    named["digits"] = errors(*digits_machine())
    text = f"{machine_name()}; medians over {options.machines} machines of each scale.\n\n{table(named)}"
    print(text)
    if options.out is not None:
        path = options.out.with_name("accuracy.png")
        picture(path, columns)
        renew(options.out, "accuracy", f"{text}\n![Errors against the scale of the weights]({path.name})\n")


if __name__ == "__main__":
    main()
