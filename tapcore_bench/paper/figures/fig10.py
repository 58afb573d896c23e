"""Fig. 10: training by TAP and adaptive TAP of few and many iterations, and the time of an iteration of both.

On the first 5,000 samples. The pseudo-likelihood along training is a table like any other; times are another one,
which differs from run to run.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np

import tapcore as tc
from tapcore.plotting.figure import figure_of, write
from tapcore_bench.micro.harness import take_turns
from tapcore_bench.paper.figures import cases, tables
from tapcore_bench.paper.figures.cases import Case, Sizes

HEADER = ("case", "gradient", "iterations", "epoch", "pseudo_log_likelihood", "standard_error")
TIMES = ("case", "chains", "tap", "adatap")
WAYS = [(gradient, iterations) for gradient in ("tap", "adatap") for iterations in (3, 10)]
SAMPLES, SCORED, RATE, DAMPING = 5000, 1000, 0.001, 0.5
# As in the paper, but for 100 iterations, of which an epoch by adaptive TAP takes an hour. Weights must have left the
# neighbourhood of 0, where all gradients vanish: epochs at Table I's rate before.
HIDDEN, EPOCHS, BEFORE = 500, 20, 20
QUICK_HIDDEN, QUICK_EPOCHS = 64, 3
CHAINS = (10, 30, 100)
# Iterations that are timed together.
TIMED = 10


def compute(out: Path, sizes: Sizes, names: list[str]) -> None:
    """Train each way, and time."""
    quick = sizes.epochs < cases.PAPER[0]
    hidden, epochs = (QUICK_HIDDEN, QUICK_EPOCHS) if quick else (HIDDEN, EPOCHS)
    found = [cases.case(name, hidden) for name in names]
    pieces = {
        f"{one.folder}-{gradient}-{iterations}": partial(_rows, out, one, gradient, iterations, epochs)
        for one in found
        for gradient, iterations in WAYS
    }
    tables.piecewise(out / "fig10.csv", HEADER, pieces)
    tables.piecewise(out / "fig10_times.csv", TIMES, {one.folder: partial(_times, one) for one in found})


def _begun(out: Path, case: Case) -> tc.Machine:
    """The machine that all ways begin with."""
    path = out / "runs" / f"{case.folder}-begun.safetensors"
    if not path.is_file():
        settings = tc.paper_settings(epochs=BEFORE, batch_size=min(100, len(case.X)))
        path.parent.mkdir(parents=True, exist_ok=True)
        tc.save(path, tc.fit(case.machine(), case.X[:SAMPLES], settings=settings, progress=False).machine)
    return tc.load(path)


def _rows(out: Path, case: Case, gradient: str, iterations: int, epochs: int) -> Iterator[tables.Row]:
    X = case.X[:SAMPLES]
    settings = tc.paper_settings(
        epochs=epochs, learning_rate=RATE, sweeps=iterations, gradient=gradient, damping=DAMPING, chain_init="data"
    )
    training = tc.Training(_begun(out, case), X, settings)
    for epoch in range(epochs + 1):
        if epoch:
            training.step()
        scores = tc.pseudo_log_likelihood(training.machine, X[:SCORED])
        yield (
            case.title, gradient, iterations, epoch, float(scores.mean() / X.shape[1]),
            float(scores.std(ddof=1) / np.sqrt(len(scores)) / X.shape[1]),
        )  # fmt: skip


def _times(case: Case) -> Iterator[tables.Row]:
    machine = tc.RBM(tc.Binary.from_data(case.X), tc.Binary(case.hidden), sigma=0.1, seed=0)
    for count in CHAINS:
        X = np.asarray(case.X[:count], np.float64)
        solve = partial(tc.solve, machine, X, tol=0.0, max_sweeps=TIMED, damping=DAMPING, acceleration=None)
        tap, adaptive = take_turns([solve, partial(solve, method="adatap")], 5)
        yield case.title, count, tap / TIMED, adaptive / TIMED


def plot(out: Path) -> list[Path]:
    """Draw what is in the tables: training on the left, times on the right, a row for each data set."""
    rows, times = tables.read(out / "fig10.csv"), tables.read(out / "fig10_times.csv")
    titles = list(dict.fromkeys(row["case"] for row in rows))
    figure = figure_of(7.0, 2.8 * len(titles))
    for title, (left, right) in zip(titles, figure.subplots(len(titles), 2, squeeze=False), strict=True):
        own = [row for row in rows if row["case"] == title]
        for k, (gradient, iterations) in enumerate(dict.fromkeys((row["gradient"], row["iterations"]) for row in own)):
            way = [row for row in own if (row["gradient"], row["iterations"]) == (gradient, iterations)]
            name = "TAP" if gradient == "tap" else "adaptive TAP"
            left.plot(
                [int(row["epoch"]) for row in way], [float(row["pseudo_log_likelihood"]) for row in way],
                color=f"C{k}", ls="--" if gradient == "tap" else "-", label=f"{name}, {iterations} iterations",
            )  # fmt: skip
        left.set(xlabel="epoch", ylabel="pseudo-log-likelihood\nper unit (nats)", title=title)
        left.legend(fontsize="x-small")
        own = [row for row in times if row["case"] == title]
        for column, name in (("tap", "TAP"), ("adatap", "adaptive TAP")):
            right.loglog(
                [int(row["chains"]) for row in own], [float(row[column]) for row in own], marker="o", label=name
            )
        right.set(xlabel="chains", ylabel="seconds an iteration")
        right.legend(fontsize="x-small")
    write(out / "fig10.png", figure)
    return [out / "fig10.png"]
