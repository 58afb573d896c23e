"""Training by TAP and adaptive TAP of few and many iterations, Fig. 10: ``python -m tapcore_bench.paper.iterations``.

The first 5,000 images of binary MNIST, 784x500, learning rate 0.001, batches of 100, damping 0.5. Each way trains for
the same number of seconds at most; its pseudo-likelihood is recorded on the way. Then the time of an iteration against
the number of chains. With as many chains as samples in a batch an epoch of adaptive TAP with 100 iterations takes more
than an hour: `--chains` makes do with fewer, and `--start` first trains by TAP until weights have left the
neighbourhood of 0, where all gradients vanish.
"""

from __future__ import annotations

import argparse
import json
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np

import tapcore as tc
from tapcore_bench.micro import methods
from tapcore_bench.micro.harness import machine_name, take_turns
from tapcore_bench.pages import renew
from tapcore_bench.paper.data import binary_mnist

IMAGES, HIDDEN, SIZE, SCORED = 5000, 500, 100, 1000
WAYS = [(gradient, iterations) for gradient in ("tap", "adatap") for iterations in (3, 10, 100)]
BATCHES = (10, 30, 100, 300)
Curve = list[tuple[float, float, float]]


class _Over(Exception):  # noqa: N818 - not an error
    """The budget is used up."""


def training_for(
    X: np.ndarray, gradient: str, iterations: int, start: tc.Machine | None, rate: float, chains: int
) -> tc.Training:
    """A training of epochs without end."""
    settings = tc.paper_settings(
        epochs=100_000, batch_size=SIZE, chains=chains, learning_rate=rate, momentum=0.5, penalty=tc.L2(0.001),
        sweeps=iterations, gradient=gradient, damping=0.5,
    )  # fmt: skip
    machine = tc.RBM(tc.Binary.from_data(X), tc.Binary(HIDDEN), seed=0) if start is None else start
    return tc.Training(machine, X, settings)


def score(machine: tc.Machine, X: np.ndarray) -> float:
    """Pseudo-log-likelihood, nats a unit."""
    return float(tc.pseudo_log_likelihood(machine, X[:SCORED]).mean() / X.shape[1])


def train(training: tc.Training, X: np.ndarray, seconds: float, epochs: float, points: int) -> Curve:
    """(epochs, seconds, pseudo-likelihood) at the beginning, then some `points` times at even shares of the budget."""
    curve = [(0.0, 0.0, score(training.machine, X))]
    spent, begun = 0.0, time.perf_counter()

    def over() -> bool:
        return spent >= seconds or training.epoch + training.batch / training.batches >= epochs

    def batch_done() -> None:
        nonlocal spent, begun
        spent += time.perf_counter() - begun
        done = training.epoch + training.batch / training.batches
        last = over()
        if last or spent - curve[-1][1] >= seconds / points or done - curve[-1][0] >= epochs / points:
            curve.append((done, spent, score(training.machine, X)))
        if last:
            raise _Over
        begun = time.perf_counter()

    with suppress(_Over):
        while not over():
            training.step(batch_done)
    return curve


def iteration_times(repeats: int) -> dict[int, tuple[float, float]]:
    """Chains: seconds of a TAP sweep and of an iteration of adaptive TAP."""
    found = {}
    machine = methods.machine_of(HIDDEN)
    for count in BATCHES:
        X = np.random.default_rng(1).random((count, methods.VISIBLE))
        tap, adaptive = take_turns([methods.tap(machine, X), methods.adaptive(machine, X)], repeats)
        found[count] = tap / methods.SWEEPS, adaptive
    return found


def picture(path: Path, curves: dict[str, Curve], times: dict[int, tuple[float, float]]) -> None:
    """The two halves of the figure."""
    import matplotlib as mpl

    mpl.use("Agg")
    import matplotlib.pyplot as plt

    figure, (left, middle, right) = plt.subplots(1, 3, figsize=(13, 4), layout="constrained")
    for name, curve in curves.items():
        epochs, seconds, values = np.array(curve).T
        style = {"ls": "--" if name.startswith("tap") else "-", "label": name}
        left.plot(epochs, values, **style)
        middle.plot(seconds[1:], values[1:], **style)
    left.set(xlabel="epochs", ylabel="pseudo-log-likelihood, nats a unit", xscale="symlog")
    middle.set(xlabel="seconds of training", xscale="log")
    left.legend()
    for n, name in enumerate(("TAP", "adaptive TAP")):
        right.loglog(list(times), [t[n] for t in times.values()], marker="o", label=name)
    right.set(xlabel="chains", ylabel="seconds an iteration")
    right.legend()
    figure.savefig(path, dpi=110)


def report(curves: dict[str, Curve], times: dict[int, tuple[float, float]]) -> str:
    """Tables of both halves."""
    lines = ["| gradient, iterations | epochs | seconds | seconds an epoch | pseudo-likelihood |", "| --- " * 5 + "|"]
    for name, curve in curves.items():
        epochs, seconds, value = curve[-1]
        lines.append(f"| {name} | {epochs:.3g} | {seconds:.0f} | {seconds / epochs:.3g} | {value:.4f} |")
    lines += ["", "| chains | TAP, ms an iteration | adaptive TAP | ratio |", "| --- " * 4 + "|"]
    lines += [f"| {k} | {1e3 * a:.3g} | {1e3 * b:.4g} | {b / a:.0f} |" for k, (a, b) in times.items()]
    return "\n".join(lines) + "\n"


def main() -> None:
    """Train, time, print, and renew the page."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=600.0, help="of training, at most, each")
    parser.add_argument("--epochs", type=float, default=100.0, help="at most, each")
    parser.add_argument("--start", type=float, default=0.0, help="epochs of TAP at --start-rate before all of them")
    parser.add_argument("--start-rate", type=float, default=0.005)
    parser.add_argument("--chains", type=int, default=SIZE)
    parser.add_argument("--points", type=int, default=40)
    parser.add_argument("--keep", type=Path, help="file of the curves; ways that it has are not trained again")
    parser.add_argument("--out", type=Path, help="Markdown page with marks; the picture goes beside it")
    options = parser.parse_args()
    X = binary_mnist()[:IMAGES]
    start = None
    if options.start:
        training = training_for(X, "tap", 10, None, options.start_rate, SIZE)
        train(training, X, np.inf, options.start, 1)
        start = training.machine
    curves: dict[str, Any] = {}
    if options.keep is not None and options.keep.exists():
        curves = json.loads(options.keep.read_text(encoding="utf-8"))
    for gradient, iterations in WAYS:
        name = f"{gradient}, {iterations}"
        if name in curves:
            continue
        training = training_for(X, gradient, iterations, start, 0.001, options.chains)
        curves[name] = train(training, X, options.seconds, options.epochs, options.points)
        print(f"{name}: {curves[name][-1]}", flush=True)
        if options.keep is not None:
            options.keep.write_text(json.dumps(curves), encoding="utf-8")
    times = iteration_times(5)
    text = f"{machine_name()}.\n\n{report(curves, times)}"
    print(text)
    if options.out is not None:
        path = options.out.with_name("iterations.png")
        picture(path, curves, times)
        renew(options.out, "iterations", f"{text}\n![Training and time of an iteration]({path.name})\n")


if __name__ == "__main__":
    main()
