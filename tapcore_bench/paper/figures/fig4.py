"""Fig. 4: receptive fields, ranked by how widely they spread and by how active their hidden units are."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.special import logsumexp

import tapcore as tc
from tapcore.plotting import mosaic
from tapcore.plotting.figure import figure_of, write
from tapcore_bench.paper.figures import cases, tables
from tapcore_bench.paper.figures.cases import Case, Sizes
from tapcore_bench.paper.figures.fig3 import HIDDEN

HEADER = ("case", "hidden_unit", "spread", "activation")
# Of the norm; and receptive fields shown of each kind.
P, SHOWN = 0.1, 8


def compute(out: Path, sizes: Sizes, names: list[str]) -> None:
    """Train, and rank."""
    found = [cases.case(name, hidden) for name in names for hidden in sizes.of(HIDDEN[name])]
    tables.piecewise(out / "fig4.csv", HEADER, {one.folder: partial(_rows, out, one, sizes) for one in found})


def _rows(out: Path, case: Case, sizes: Sizes) -> Iterator[tables.Row]:
    machine = cases.after(cases.trained(out, case, sizes), case.unit * sizes.epochs)
    spread = log_norm(machine.weights[0]) - np.log(np.abs(machine.weights[0]).max(axis=0))
    X = np.asarray(case.X[: sizes.scored], np.float64)
    active = machine.layers[1].moments(X @ machine.weights[0], 0.0)[1]
    for j in range(case.hidden):
        yield case.title, j, float(spread[j]), float(active[:, j].mean())


def log_norm(W: NDArray[np.float64]) -> NDArray[np.float64]:
    """Logarithm of the l_p norm of each column: for p = 0.1 the norm itself is a number of 20 digits and more."""
    with np.errstate(divide="ignore"):
        return np.asarray(logsumexp(P * np.log(np.abs(W)), axis=0) / P)


def plot(out: Path) -> list[Path]:
    """Draw the extremes of both rankings, a row for each machine."""
    rows = tables.read(out / "fig4.csv")
    titles = list(dict.fromkeys(row["case"] for row in rows))
    kinds = {"most local": ("spread", 1), "most spread": ("spread", -1), "least active": ("activation", 1),
             "most active": ("activation", -1)}  # fmt: skip
    figure = figure_of(10.0, 1.5 * len(titles))
    panels = figure.subplots(len(titles), len(kinds), squeeze=False)
    for title, line in zip(titles, panels, strict=True):
        own = [row for row in rows if row["case"] == title]
        W, shape = _weights(out, title)
        for panel, (kind, (column, sign)) in zip(line, kinds.items(), strict=True):
            order = np.argsort([sign * float(row[column]) for row in own], kind="stable")[:SHOWN]
            scale = np.abs(W[:, order]).max(axis=0, keepdims=True)
            panel.imshow(mosaic(W[:, order] / scale, shape, SHOWN // 2), cmap="RdBu_r", vmin=-1, vmax=1)
            panel.set(xticks=[], yticks=[])
            if title == titles[0]:
                panel.set_title(kind, fontsize="small")
        line[0].set_ylabel(title.replace(", ", "\n"), rotation=0, ha="right", va="center", fontsize="small")
    write(out / "fig4.png", figure, bbox_inches="tight")
    return [out / "fig4.png"]


def _weights(out: Path, title: str) -> tuple[NDArray[np.float64], tuple[int, int]]:
    name, hidden = title.split(", ")
    one = cases.Case(name, int(hidden.split()[0]), np.empty(0), (0, 0))
    machine = tc.load(out / "runs" / one.folder)
    return machine.weights[0], cases.shape_of(name)
