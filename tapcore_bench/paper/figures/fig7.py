"""Fig. 7: data and the solutions that they lead to in one plane, by Isomap fitted to the data; some as images.

Of digits the classes 3, 6 and 7 among the first samples, as in the paper.
"""

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
from tapcore_bench.paper.figures.fig5 import HIDDEN
from tapcore_bench.paper.figures.rules import MOST_SWEEPS

# A row is a sample, with its class, or a solution, with its means where it is shown as an image.
HEADER = ("case", "epoch", "x", "y", "class", "means")
CLASSES = (3, 6, 7)
EPOCHS, NEIGHBOURS, SHOWN = 3, 12, 10
# Of an image, as a share of the panel.
SIZE = 0.09


def compute(out: Path, sizes: Sizes, names: list[str]) -> None:
    """Train, find the solutions, and place them among the data."""
    found = [cases.case(name, HIDDEN[name]) for name in names]
    tables.piecewise(out / "fig7.csv", HEADER, {one.folder: partial(_rows, out, one, sizes) for one in found})


def _rows(out: Path, case: Case, sizes: Sizes) -> Iterator[tables.Row]:
    from sklearn.manifold import Isomap

    folder = cases.trained(out, case, sizes)
    X, labels = _chosen(case, sizes)
    plane = Isomap(n_neighbors=min(NEIGHBOURS, len(X) - 1), n_components=2, eigen_solver="dense").fit(
        np.asarray(X, np.float64)
    )
    for (x, y), label in zip(plane.embedding_, labels, strict=True):
        yield case.title, 0, float(x), float(y), str(label), ""
    for epoch in case.epochs(sizes, EPOCHS):
        print(f"fig7: {case.title}, epoch {epoch}", flush=True)
        found = tc.harvest(cases.after(folder, epoch), X, max_sweeps=MOST_SWEEPS, progress=False)
        means = np.asarray(found.mean[0], np.float64)
        at = plane.transform(means)
        shown = set(spread(at, SHOWN))
        for k, (x, y) in enumerate(at):
            image = " ".join(f"{m:.3g}" for m in means[k]) if k in shown else ""
            yield case.title, epoch, float(x), float(y), "", image


def _chosen(case: Case, sizes: Sizes) -> tuple[NDArray[Any], NDArray[Any]]:
    """Samples that chains start from, and the class of each."""
    X, labels = case.X[: sizes.starts], cases.labels_of(case.name)[: sizes.starts]
    which = np.isin(labels, CLASSES) | (labels == cases.NO_CLASS)
    return np.asarray(X[which]), labels[which]


def spread(at: NDArray[np.float64], count: int) -> list[int]:
    """Rows of points (K, 2) that are far from each other: each the farthest from those before."""
    chosen = [int(at[:, 0].argmin())] if len(at) else []
    while len(chosen) < min(count, len(at)):
        apart = np.linalg.norm(at[:, None] - at[None, chosen], axis=2).min(axis=1)
        chosen.append(int(apart.argmax()))
    return chosen


def plot(out: Path) -> list[Path]:
    """Draw what is in the table, a row for each data set."""
    rows = tables.read(out / "fig7.csv")
    titles = list(dict.fromkeys(row["case"] for row in rows))
    epochs = {t: sorted({int(row["epoch"]) for row in rows if row["case"] == t} - {0}) for t in titles}
    columns = max(map(len, epochs.values()))
    figure = figure_of(3.2 * columns, 3.1 * len(titles))
    panels = figure.subplots(len(titles), columns, squeeze=False)
    for title, line in zip(titles, panels, strict=True):
        for panel, epoch in zip(line, epochs[title], strict=False):
            _panel(panel, [row for row in rows if row["case"] == title], epoch, cases.shape_of(title.split(", ")[0]))
        line[0].set_ylabel(title.replace(", ", "\n"), fontsize="small")
    write(out / "fig7.png", figure)
    return [out / "fig7.png"]


def _panel(panel: Any, rows: list[dict[str, str]], epoch: int, shape: tuple[int, int]) -> None:
    labels = sorted({row["class"] for row in rows} - {""})
    for k, label in enumerate(labels):
        x, y = _places([row for row in rows if row["class"] == label])
        panel.scatter(x, y, s=3, color=f"C{k}", alpha=0.5, lw=0, label=f"class {label}" if label != "-1" else "samples")
    own = [row for row in rows if int(row["epoch"]) == epoch]
    panel.scatter(*_places(own), s=7, color="k", lw=0, label="solutions")
    (left, right), (bottom, top) = panel.get_xlim(), panel.get_ylim()
    wide, high = SIZE * (right - left), SIZE * (top - bottom)
    for row in own:
        if row["means"]:
            at = float(row["x"]) - wide / 2, float(row["y"]) - high / 2
            inset = panel.inset_axes((*at, wide, high), transform=panel.transData)
            inset.imshow(np.array(row["means"].split(), float).reshape(shape), cmap="gray", vmin=0, vmax=1)
            inset.set(xticks=[], yticks=[])
    panel.set(xticks=[], yticks=[], xlim=(left, right), ylim=(bottom, top))
    panel.set_title(f"epoch {epoch}: {_counted(len(own))}", fontsize="small")
    if epoch == min(int(row["epoch"]) for row in rows if row["epoch"] != "0"):
        panel.legend(fontsize="x-small", markerscale=2)


def _counted(count: int) -> str:
    return "one solution" if count == 1 else f"{count} solutions"


def _places(rows: list[dict[str, str]]) -> tuple[list[float], list[float]]:
    return [float(row["x"]) for row in rows], [float(row["y"]) for row in rows]
