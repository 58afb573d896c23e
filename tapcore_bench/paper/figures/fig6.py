"""Fig. 6: solutions along training in one plane, by Isomap fitted to the last ones; coloured by free energy."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import tapcore as tc
from tapcore.plotting.figure import figure_of, write
from tapcore_bench.paper.figures import cases, tables
from tapcore_bench.paper.figures.cases import Case, Sizes
from tapcore_bench.paper.figures.fig5 import HIDDEN, starts
from tapcore_bench.paper.figures.rules import MOST_SWEEPS

HEADER = ("case", "epoch", "x", "y", "free_energy", "starts")
EPOCHS, NEIGHBOURS = 6, 12


def compute(out: Path, sizes: Sizes, names: list[str]) -> None:
    """Train, find the solutions, and place them."""
    found = [cases.case(name, HIDDEN[name]) for name in names]
    tables.piecewise(out / "fig6.csv", HEADER, {one.folder: partial(_rows, out, one, sizes) for one in found})


def _rows(out: Path, case: Case, sizes: Sizes) -> Iterator[tables.Row]:
    folder, X = cases.trained(out, case, sizes), starts(case, sizes)
    epochs = case.epochs(sizes, EPOCHS)
    solutions = {}
    for epoch in epochs:
        print(f"fig6: {case.title}, epoch {epoch}", flush=True)
        found = tc.harvest(cases.after(folder, epoch), X, max_sweeps=MOST_SWEEPS, progress=False)
        solutions[epoch] = found
    for epoch, at in placed(solutions).items():
        counts = solutions[epoch].counts
        assert counts is not None
        for (x, y), F, count in zip(at, solutions[epoch].free_energy, counts, strict=True):
            yield case.title, epoch, float(x), float(y), float(F), int(count)


def placed(solutions: dict[int, tc.Solutions]) -> dict[int, NDArray[np.float64]]:
    """Coordinates (K, 2) of the visible and hidden means of each epoch's solutions."""
    from sklearn.manifold import Isomap

    means = {epoch: np.concatenate([np.asarray(m, float) for m in s.mean], axis=1) for epoch, s in solutions.items()}
    last = means[max(means)]
    if len(last) < 4:  # too few to fit a plane to: along the first two of them, about their centre
        return {epoch: (m - last.mean(axis=0))[:, :2] for epoch, m in means.items()}
    plane = Isomap(n_neighbors=min(NEIGHBOURS, len(last) - 1), n_components=2, eigen_solver="dense").fit(last)
    return {epoch: np.asarray(plane.transform(m)) for epoch, m in means.items()}


def plot(out: Path) -> list[Path]:
    """Draw what is in the table, a row for each data set."""
    rows = tables.read(out / "fig6.csv")
    titles = list(dict.fromkeys(row["case"] for row in rows))
    epochs = {t: list(dict.fromkeys(int(row["epoch"]) for row in rows if row["case"] == t)) for t in titles}
    columns = max(map(len, epochs.values()))
    figure = figure_of(1.6 * columns, 1.8 * len(titles))
    panels = figure.subplots(len(titles), columns, squeeze=False)
    for title, line in zip(titles, panels, strict=True):
        own = [row for row in rows if row["case"] == title]
        _row(line, own, epochs[title])
        line[0].set_ylabel(title.replace(", ", "\n"), fontsize="x-small")
    figure.supxlabel(
        "free energy from the lowest of a panel, dark, to the highest, light; solutions in brackets", fontsize=8
    )
    write(out / "fig6.png", figure)
    return [out / "fig6.png"]


def _row(panels: Any, rows: list[dict[str, str]], epochs: list[int]) -> None:
    every = np.array([[float(row["x"]), float(row["y"])] for row in rows])
    margin = 0.05 * np.ptp(every, axis=0)
    for panel, epoch in zip(panels, epochs, strict=False):
        own = [row for row in rows if int(row["epoch"]) == epoch]
        x, y, F = (np.array([float(row[name]) for row in own]) for name in ("x", "y", "free_energy"))
        panel.scatter(x, y, c=F, s=6, cmap="viridis", lw=0)
        panel.set_xlim(every[:, 0].min() - margin[0] - 1e-9, every[:, 0].max() + margin[0] + 1e-9)
        panel.set_ylim(every[:, 1].min() - margin[1] - 1e-9, every[:, 1].max() + margin[1] + 1e-9)
        panel.set(xticks=[], yticks=[])
        panel.set_title(f"epoch {epoch} ({len(own)})", fontsize="x-small")
