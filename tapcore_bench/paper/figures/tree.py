"""Solutions joined to a tree as training goes back, with the class of the data that lead to each.

The files of `tapcore tree` are left beside the table. Leaves are the solutions that a thousand samples lead to.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import tapcore as tc
from tapcore import plotting
from tapcore.inference.solution import Solutions
from tapcore.landscape.itol import leaf_labels, write_tree
from tapcore_bench.paper.figures import cases, tables
from tapcore_bench.paper.figures.cases import Case, Sizes
from tapcore_bench.paper.figures.fig5 import HIDDEN
from tapcore_bench.paper.figures.rules import MOST_SWEEPS

# A node; of the class that most samples have which lead there, if it is a leaf.
HEADER = ("case", "parent", "epoch", "free_energy", "leaf", "class", "means")
STARTS = 1000


def compute(out: Path, sizes: Sizes, names: list[str]) -> None:
    """Train, and join the solutions of the last machine."""
    found = [cases.case(name, HIDDEN[name]) for name in names]
    tables.piecewise(out / "tree.csv", HEADER, {one.folder: partial(_rows, out, one, sizes) for one in found})


def solutions_of(out: Path, case: Case, sizes: Sizes) -> tuple[tc.Machine, Solutions, list[str]]:
    """The machine at the end of a run, its solutions from the first samples, and the class that leads to each."""
    machine = cases.after(cases.trained(out, case, sizes), case.unit * sizes.epochs)
    count = min(STARTS, sizes.starts)
    found = tc.harvest(machine, np.asarray(case.X[:count]), max_sweeps=MOST_SWEEPS, progress=False)
    classes = {str(k): str(c) for k, c in enumerate(cases.labels_of(case.name)[:count]) if c != cases.NO_CLASS}
    assert found.labels is not None
    labels = leaf_labels(classes, [str(k) for k in range(len(found.labels))], found.labels, len(found))
    return machine, found, ["" if label is None else label for label in labels]


def _rows(out: Path, case: Case, sizes: Sizes) -> Iterator[tables.Row]:
    _, found, classes = solutions_of(out, case, sizes)
    tree = tc.solution_tree(cases.trained(out, case, sizes), found)
    write_tree(out / f"tree-{case.folder}", tree, {"class": none_for(classes)})
    for k, (above, epoch, F) in enumerate(zip(tree.parent, tree.position, tree.free_energy, strict=True)):
        leaf = k < len(found)
        yield case.title, int(above), int(epoch), float(F), int(leaf), classes[k] if leaf else "", words(tree.mean[k])


def none_for(classes: Sequence[str]) -> list[str | None]:
    """Classes as pictures have them."""
    return [label or None for label in classes]


def words(means: NDArray[Any]) -> str:
    """Means as a table has them: as digits that pictures show."""
    return " ".join(f"{m:.3g}" for m in means)


def means_of(rows: list[dict[str, str]]) -> NDArray[np.float64]:
    """Those of rows of a table."""
    return np.array([row["means"].split() for row in rows], np.float64)


def bare(means: NDArray[np.float64], free_energy: NDArray[np.float64]) -> Solutions:
    """Solutions of which a table has no more than this."""
    none = np.full(len(means), np.nan)
    return Solutions(
        (means,), (), (), (), free_energy, none, none, none, np.zeros(len(means), np.int64), np.ones(len(means), bool)
    )


def plot(out: Path) -> list[Path]:
    """Draw what is in the table, a picture for each data set; the first has the figure's own name."""
    rows = tables.read(out / "tree.csv")
    drawn: list[Path] = []
    for title in dict.fromkeys(row["case"] for row in rows):
        own = [row for row in rows if row["case"] == title]
        leaves = [row for row in own if row["leaf"] == "1"]
        F = np.array([row["free_energy"] for row in own], np.float64)
        means = means_of(own)
        tree = tc.SolutionTree(
            "epoch", np.array([row["epoch"] for row in own], np.float64), np.array([row["parent"] for row in own], int),
            F, means, bare(means[: len(leaves)], F[: len(leaves)]), not np.isnan(F[-1]),
        )  # fmt: skip
        drawn.append(out / ("tree.png" if not drawn else f"tree-{cases.word(title.split(', ')[0])}.png"))
        labels, shape = none_for([row["class"] for row in leaves]), cases.shape_of(title.split(", ")[0])
        plotting.tree(drawn[-1], tree, image_shape=shape, labels=labels if any(labels) else None)
    return drawn
