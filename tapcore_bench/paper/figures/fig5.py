"""Fig. 5: free energies of all solutions along training, averages of them, and how many there are.

Counted twice: by the paper's stopping rule, a mean squared change below 1e-8 in a sweep, and by an estimated distance
to the solution below 1e-6 in every mean. Solutions merge at a difference of 1e-2, the loosest that distances warrant,
and of 1e-4.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import tapcore as tc
from tapcore.plotting import density
from tapcore.plotting.figure import figure_of, write
from tapcore_bench.paper.figures import cases, tables
from tapcore_bench.paper.figures.cases import Case, Sizes
from tapcore_bench.paper.figures.rules import MERGE, MOST_SWEEPS, PAPER, RULES, TIGHT

HEADER = ("case", "epoch", "rule", "free_energy", "starts", "of", "unconverged")
HIDDEN = {cases.BINARY: 100, cases.GREY: 100, cases.FACES: 256, cases.FEW: 100, cases.DIGITS: 64}
EPOCHS, SLICES = 12, 3


def compute(out: Path, sizes: Sizes, names: list[str]) -> None:
    """Train, and find the solutions after some epochs."""
    pieces = {}
    for name in names:
        one = cases.case(name, HIDDEN[name])
        for epoch in one.epochs(sizes, EPOCHS):
            for rule in RULES:
                short = "paper" if rule == PAPER else "tight"
                pieces[f"{one.folder}-{epoch:04d}-{short}"] = partial(_rows, out, one, sizes, epoch, rule)
    tables.piecewise(out / "fig5.csv", HEADER, pieces)


def starts(case: Case, sizes: Sizes) -> NDArray[Any]:
    """Samples that chains start from, the same for all epochs."""
    rows = np.sort(np.random.default_rng(0).permutation(len(case.X))[: sizes.starts])
    return np.asarray(case.X[rows])


def _rows(out: Path, case: Case, sizes: Sizes, epoch: int, rule: str) -> Iterator[tables.Row]:
    machine = cases.after(cases.trained(out, case, sizes), epoch)
    X = starts(case, sizes)
    found = tc.solve(machine, X, max_sweeps=MOST_SWEEPS, **RULES[rule])
    distinct, lost = found.unique(MERGE[rule]), int((~found.converged).sum())
    assert distinct.counts is not None
    for F, count in zip(distinct.free_energy, distinct.counts, strict=True):
        yield case.title, epoch, rule, float(F), int(count), len(X), lost


def plot(out: Path) -> list[Path]:
    """Draw what is in the table, a column for each data set."""
    rows = [row for row in tables.read(out / "fig5.csv") if row["rule"] == TIGHT]
    titles = list(dict.fromkeys(row["case"] for row in rows))
    figure = figure_of(3.4 * len(titles), 5.2)
    panels = figure.subplots(2, len(titles), squeeze=False)
    for k, title in enumerate(titles):
        own = [row for row in rows if row["case"] == title]
        _along(panels[0, k], own)
        _slices(panels[1, k], own)
        panels[0, k].set_title(title)
    panels[0, 0].set_ylabel("free energy (nats)")
    panels[1, 0].set_ylabel("density of solutions")
    write(out / "fig5.png", figure)
    return [out / "fig5.png"]


def by_epoch(rows: list[dict[str, str]]) -> dict[int, NDArray[np.float64]]:
    """Free energies of the solutions after each epoch."""
    epochs = sorted({int(row["epoch"]) for row in rows})
    return {e: np.array([float(row["free_energy"]) for row in rows if int(row["epoch"]) == e]) for e in epochs}


def _along(panel: Any, rows: list[dict[str, str]]) -> None:
    found = by_epoch(rows)
    for epoch, values in found.items():
        panel.scatter(np.full(len(values), epoch), values, s=4, color="C0", alpha=0.15, lw=0)
    epochs = list(found)
    panel.plot(epochs, [values.mean() for values in found.values()], color="C3", label="uniform average")
    weighted = [-np.logaddexp.reduce(-values) for values in found.values()]
    panel.plot(epochs, weighted, color="C1", ls="--", label="-ln sum exp(-F)")
    panel.set(xscale="log", xlabel="epoch")
    count = panel.twinx()
    count.plot(epochs, [len(values) for values in found.values()], color="C2", marker=".", ls=":", label="solutions")
    most = max(len(values) for values in found.values())
    count.set(yscale="log", ylim=(0.8, max(12.0, 1.5 * most)))  # two decades at least have a label
    count.set_ylabel("solutions", color="C2")
    count.tick_params(axis="y", colors="C2")
    for axis in (panel.xaxis, count.yaxis):  # a label at each decade, and none between
        axis.set_minor_formatter(lambda *_: "")
    lines = [*panel.get_lines(), *count.get_lines()]
    count.legend(lines, [line.get_label() for line in lines], fontsize="x-small", framealpha=0.95)


def _slices(panel: Any, rows: list[dict[str, str]]) -> None:
    found = {epoch: values for epoch, values in by_epoch(rows).items() if len(values) > 1}
    chosen = list(found)[:: max(1, len(found) // SLICES)][-SLICES:]
    for k, epoch in enumerate(chosen):
        values = found[epoch]
        spread = float(np.ptp(values)) or 1.0
        panel.hist(values, min(30, max(5, len(values) // 4)), density=True, alpha=0.35, color=f"C{k}",
                   label=f"epoch {epoch} ({len(values)})")  # fmt: skip
        grid = np.linspace(values.min() - 0.3 * spread, values.max() + 0.3 * spread, 300)
        curve = density(values, grid)
        if curve is not None:
            panel.plot(grid, curve, color=f"C{k}")
    if not chosen:
        panel.text(0.5, 0.5, "never more than\none solution", ha="center", va="center", transform=panel.transAxes)
        panel.set(xticks=[], yticks=[])
        return
    panel.set_xlabel("free energy (nats)")
    panel.legend(fontsize="x-small")
