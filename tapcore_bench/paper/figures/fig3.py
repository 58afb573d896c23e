"""Fig. 3: the TAP log-likelihood per unit along training, for machines of several sizes, with its standard error."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np

import tapcore as tc
from tapcore.plotting.figure import figure_of, write
from tapcore_bench.paper.figures import cases, tables
from tapcore_bench.paper.figures.cases import Case, Sizes

HEADER = ("case", "epoch", "log_likelihood", "standard_error", "solutions", "unconverged")
HIDDEN = {cases.BINARY: (25, 50, 100, 500), cases.GREY: (100,), cases.FACES: (256,), cases.FEW: (25, 50, 100),
          cases.DIGITS: (16, 32, 64)}  # fmt: skip
EPOCHS = 20


def compute(out: Path, sizes: Sizes, names: list[str]) -> None:
    """Train, and score after some epochs."""
    pieces = {}
    for name in names:
        for hidden in HIDDEN[name]:
            one = cases.case(name, hidden)
            pieces[one.folder] = partial(_rows, out, one, sizes)
    tables.piecewise(out / "fig3.csv", HEADER, pieces)


def _rows(out: Path, case: Case, sizes: Sizes) -> Iterator[tables.Row]:
    folder = cases.trained(out, case, sizes)
    rows = np.sort(np.random.default_rng(0).permutation(len(case.X))[: sizes.scored])
    X = np.asarray(case.X[rows])
    for epoch in case.epochs(sizes, EPOCHS):
        machine = cases.after(folder, epoch)
        # As the caption says: to a mean squared change of 1e-8, and an average over the solutions that are reached.
        found = tc.solve(machine, X, criterion="mse", tol=1e-8, max_sweeps=1000)
        distinct = found.unique()
        units = sum(machine.sizes)
        values = tc.log_likelihood(machine, X, distinct.free_energy.mean()) / units
        error = values.std(ddof=1) / np.sqrt(len(values))
        yield case.title, epoch, float(values.mean()), float(error), len(distinct), int((~found.converged).sum())


def plot(out: Path) -> list[Path]:
    """Draw what is in the table."""
    rows = tables.read(out / "fig3.csv")
    titles = list(dict.fromkeys(row["case"] for row in rows))
    # Likelihoods of binary images and densities of grey ones do not go on one axis.
    groups = [[t for t in titles if t.startswith(name)] for name in dict.fromkeys(t.split(",")[0] for t in titles)]
    figure = figure_of(3.4 * len(groups), 2.8)
    for panel, group in zip(figure.subplots(1, len(groups), squeeze=False)[0], groups, strict=True):
        for k, title in enumerate(group):
            own = [row for row in rows if row["case"] == title]
            x, y, error = (
                np.array([float(row[column]) for row in own])
                for column in ("epoch", "log_likelihood", "standard_error")
            )
            panel.plot(x, y, marker=".", color=f"C{k}", label=title.split(", ")[1])
            panel.fill_between(x, y - error, y + error, color=f"C{k}", alpha=0.3, lw=0)
        panel.set(title=group[0].split(",")[0], xlabel="epoch")
        panel.legend(fontsize="small")
        panel.grid(alpha=0.3)
    figure.axes[0].set_ylabel("TAP log-likelihood\nper unit (nats)")
    write(out / "fig3.png", figure)
    return [out / "fig3.png"]
