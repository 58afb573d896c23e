"""The heights at which valleys of the free energy become one: solutions, saddles between them, and their classes."""

from __future__ import annotations

import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np

import tapcore as tc
from tapcore import plotting
from tapcore_bench.paper.figures import cases, tables
from tapcore_bench.paper.figures.cases import Case, Sizes
from tapcore_bench.paper.figures.fig5 import HIDDEN
from tapcore_bench.paper.figures.tree import bare, means_of, none_for, solutions_of, words

# A minimum, with the class that most samples have which lead there; or a saddle, with the two minima that it is
# between, by their order here, and its curvature downwards.
HEADER = ("case", "kind", "free_energy", "first", "second", "curvature", "class", "means")
MINIMUM, SADDLE = "minimum", "saddle"
# How near a minimum is to the solution that it has its class from.
SAME = 1e-3


def compute(out: Path, sizes: Sizes, names: list[str]) -> None:
    """Train, and find the saddles between the solutions of the last machine."""
    found = [cases.case(name, HIDDEN[name]) for name in names]
    tables.piecewise(out / "valleys.csv", HEADER, {one.folder: partial(_rows, out, one, sizes) for one in found})


def _rows(out: Path, case: Case, sizes: Sizes) -> Iterator[tables.Row]:
    machine, found, classes = solutions_of(out, case, sizes)
    begun = time.perf_counter()
    graph = tc.barriers(machine, found, progress=False)
    joined = len(graph.merges()) + 1
    print(
        f"valleys: {case.title}, {len(found)} solutions, {graph}, {joined} of the minima joined, "
        f"{time.perf_counter() - begun:.0f} s", flush=True,
    )  # fmt: skip
    for F, mean in zip(graph.minima.free_energy, graph.minima.mean[0], strict=True):
        apart = np.abs(found.mean[0] - mean).max(axis=1)
        own = classes[int(apart.argmin())] if apart.min() <= SAME else ""
        yield case.title, MINIMUM, float(F), "", "", "", own, words(mean)
    for F, (a, b), lowest in zip(graph.saddles.free_energy, graph.ends, graph.curvature, strict=True):
        yield case.title, SADDLE, float(F), int(a), int(b), float(lowest), "", ""


def plot(out: Path) -> list[Path]:
    """Draw what is in the table, a picture for each data set; the first has the figure's own name."""
    rows = tables.read(out / "valleys.csv")
    drawn: list[Path] = []
    for title in dict.fromkeys(row["case"] for row in rows):
        minima, saddles = (
            [row for row in rows if (row["case"], row["kind"]) == (title, kind)] for kind in (MINIMUM, SADDLE)
        )
        low, high = (np.array([row["free_energy"] for row in own], np.float64) for own in (minima, saddles))
        ends = np.array([(row["first"], row["second"]) for row in saddles], np.int64).reshape(-1, 2)
        curvature = np.array([row["curvature"] for row in saddles], np.float64)
        means = means_of(minima)
        graph = tc.Barriers(bare(means, low), bare(np.zeros((len(high), 0)), high), ends, curvature)
        drawn.append(out / ("valleys.png" if not drawn else f"valleys-{cases.word(title.split(', ')[0])}.png"))
        labels, shape = none_for([row["class"] for row in minima]), cases.shape_of(title.split(", ")[0])
        plotting.disconnectivity(drawn[-1], graph, image_shape=shape, labels=labels if any(labels) else None)
    return drawn
