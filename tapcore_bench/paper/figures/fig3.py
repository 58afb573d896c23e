"""Fig. 3: the TAP log-likelihood per unit along training, for machines of several sizes, with its standard error.

Its free energy is the average over the distinct solutions that the samples lead to, by both stopping rules of Fig. 5.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np

import tapcore as tc
from tapcore.plotting.figure import figure_of, write
from tapcore_bench.paper.figures import cases, tables
from tapcore_bench.paper.figures.cases import Case, Sizes
from tapcore_bench.paper.figures.rules import MERGE, MOST_SWEEPS, PAPER, RULES

HEADER = ("case", "epoch", "rule", "log_likelihood", "standard_error", "solutions", "unconverged")
HIDDEN = {cases.BINARY: (25, 50, 100, 500), cases.GREY: (100,), cases.FACES: (256,), cases.FEW: (25, 50, 100),
          cases.DIGITS: (16, 32, 64)}  # fmt: skip
EPOCHS = 20


def compute(out: Path, sizes: Sizes, names: list[str]) -> None:
    """Train, and score after some epochs."""
    pieces = {}
    for name in names:
        for hidden in sizes.of(HIDDEN[name]):
            one = cases.case(name, hidden)
            pieces[one.folder] = partial(_rows, out, one, sizes)
    tables.piecewise(out / "fig3.csv", HEADER, pieces)


def _rows(out: Path, case: Case, sizes: Sizes) -> Iterator[tables.Row]:
    folder = cases.trained(out, case, sizes)
    rows = np.sort(np.random.default_rng(0).permutation(len(case.X))[: sizes.scored])
    X = np.asarray(case.X[rows])
    for epoch in case.epochs(sizes, EPOCHS):
        machine = cases.after(folder, epoch)
        for rule, how in RULES.items():
            found = tc.solve(machine, X, max_sweeps=MOST_SWEEPS, **how)
            distinct = found.unique(MERGE[rule])
            values = tc.log_likelihood(machine, X, distinct.free_energy.mean()) / sum(machine.sizes)
            error, lost = values.std(ddof=1) / np.sqrt(len(values)), int((~found.converged).sum())
            yield case.title, epoch, rule, float(values.mean()), float(error), len(distinct), lost


def plot(out: Path) -> list[Path]:
    """Draw what is in the table."""
    rows = [row for row in tables.read(out / "fig3.csv") if row["rule"] == PAPER]
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
        # Curves end at the top: room for the names below them.
        panel.margins(y=0.25)
        panel.legend(fontsize="x-small", loc="lower right", ncols=2)
        panel.grid(alpha=0.3)
    figure.axes[0].set_ylabel("TAP log-likelihood\nper unit (nats)")
    write(out / "fig3.png", figure)
    return [out / "fig3.png"]
