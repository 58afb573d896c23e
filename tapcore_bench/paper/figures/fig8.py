"""Fig. 8: how close estimates come to images that went through a binary symmetric channel, against its noise.

By one solution for each image, as in the paper, and by `denoise` as it is.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import tapcore as tc
from tapcore.plotting.figure import figure_of, write
from tapcore_bench.paper.denoising import NEAREST, NOISE, POINTWISE
from tapcore_bench.paper.figures import cases, tables
from tapcore_bench.paper.figures.cases import Case, Sizes
from tapcore_bench.paper.figures.fig3 import HIDDEN

HEADER = ("case", "method", "estimate", "p", "matthews_correlation", "standard_error", "squared_error", "lit")
ONE, ALL, NONE = "one solution", "average", "baseline"
# Images; a tenth of them for `denoise` as it is, of which one may take a tenth of a second.
MOST = 1000
Estimate = Callable[[NDArray[Any], tc.BinarySymmetric], NDArray[Any]]


def compute(out: Path, sizes: Sizes, names: list[str]) -> None:
    """Train, and denoise."""
    pieces = {}
    for name in names:
        for method in (POINTWISE, NEAREST):
            one = cases.case(name, HIDDEN[name][0])
            pieces[f"{cases.word(name)}-{method.split()[0]}"] = partial(_rows, out, one, sizes, method, NONE)
        for hidden in sizes.of(HIDDEN[name]):
            one = cases.case(name, hidden)
            for kind in (ONE, ALL):
                piece = f"{one.folder}-{kind.split()[0]}"
                pieces[piece] = partial(_rows, out, one, sizes, f"{hidden} hidden units", kind)
    tables.piecewise(out / "fig8.csv", HEADER, pieces)


def _rows(out: Path, case: Case, sizes: Sizes, method: str, kind: str) -> Iterator[tables.Row]:
    estimate = estimate_of(out, case, sizes, method, kind)
    clean = cases.held_out(case.name)[: min(sizes.scored, MOST) // (10 if kind == ALL else 1)]
    for p, seen in noisy(clean):
        found = estimate(seen, tc.BinarySymmetric(p))
        scores = np.asarray(tc.matthews_correlation(clean, found))
        error, lit = float(((found - clean) ** 2).mean()), float((found > 0.5).mean())
        spread = float(scores.std(ddof=1) / np.sqrt(len(scores)))
        yield case.name, method, kind, p, float(scores.mean()), spread, error, lit


def noisy(clean: NDArray[Any]) -> Iterator[tuple[float, NDArray[Any]]]:
    """What is seen of images at each noise, the same for all methods."""
    for p in NOISE:
        yield p, tc.BinarySymmetric(p).corrupt(tc.Binary(clean.shape[1]), clean, np.random.default_rng(0))


def estimate_of(out: Path, case: Case, sizes: Sizes, method: str, kind: str) -> Estimate:
    """Posterior means by a baseline or by the case's machine."""
    prior = tc.Binary.from_data(case.X)
    if method == POINTWISE:
        return lambda Y, channel: tc.pointwise(prior, Y, channel)
    if method == NEAREST:
        return lambda Y, channel: tc.nearest_neighbours(case.X, Y, channel)
    machine = cases.after(cases.trained(out, case, sizes), case.unit * sizes.epochs)
    how: dict[str, Any] = {"combine": "best", "starts": 1} if kind == ONE else {}
    return lambda Y, channel: tc.denoise(machine, Y, channel, prior=prior, **how)


def plot(out: Path) -> list[Path]:
    """Draw what is in the table: a column for each data set, correlations above and squared errors below."""
    rows = tables.read(out / "fig8.csv")
    names = list(dict.fromkeys(row["case"] for row in rows))
    figure = figure_of(3.6 * len(names) + 1.6, 5.4)
    panels = figure.subplots(2, len(names), squeeze=False, sharex=True)
    for column, name in enumerate(names):
        own = [row for row in rows if row["case"] == name]
        for panel, score in zip(panels[:, column], ("matthews_correlation", "squared_error"), strict=True):
            _curves(panel, own, score)
        panels[0, column].set_title(name)
        panels[1, column].set_xlabel("probability of a flip")
    panels[0, 0].set_ylabel("Matthews correlation")
    panels[1, 0].set_ylabel("mean squared error")
    panels[0, -1].legend(fontsize="x-small", loc="center left", bbox_to_anchor=(1, 0.4))
    write(out / "fig8.png", figure)
    return [out / "fig8.png"]


def _curves(panel: Any, rows: list[dict[str, str]], score: str) -> None:
    methods = list(dict.fromkeys((row["method"], row["estimate"]) for row in rows))
    hidden = list(dict.fromkeys(m for m, kind in methods if kind != NONE))
    for method, kind in methods:
        own = [
            (float(row["p"]), float(row[score])) for row in rows if (row["method"], row["estimate"]) == (method, kind)
        ]
        style: dict[str, Any] = {"color": "k", "ls": "--" if method == POINTWISE else ":", "label": method}
        if kind != NONE:
            color = f"C{hidden.index(method)}"
            style = {"color": color, "ls": "-" if kind == ONE else "-.", "label": f"{method}, {kind}"}
        panel.plot(*zip(*own, strict=True), lw=1.2, **style)
    panel.grid(alpha=0.3)
