"""Fig. 9: what each estimate makes of one image, against the noise; the same noise for all."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np

import tapcore as tc
from tapcore.plotting.figure import figure_of, write
from tapcore_bench.paper.denoising import NEAREST, POINTWISE
from tapcore_bench.paper.figures import cases, tables
from tapcore_bench.paper.figures.cases import Case, Sizes
from tapcore_bench.paper.figures.fig3 import HIDDEN
from tapcore_bench.paper.figures.fig8 import ALL, NONE, ONE, estimate_of, noisy

HEADER = ("case", "row", "p", "means")
SEEN = "seen"


def compute(out: Path, sizes: Sizes, names: list[str]) -> None:
    """Train, and denoise one image."""
    pieces = {}
    for name in names:
        first = cases.case(name, HIDDEN[name][0])
        kinds = [(first, SEEN, NONE), (first, NEAREST, NONE), (first, POINTWISE, NONE)]
        for kind in (ONE, ALL):
            kinds += [(cases.case(name, n), f"{n} hidden units", kind) for n in sizes.of(HIDDEN[name])]
        for case, method, kind in kinds:
            piece = f"{cases.word(name)}-{method.split()[0]}-{kind.split()[0]}"
            pieces[piece] = partial(_rows, out, case, sizes, method, kind)
    tables.piecewise(out / "fig9.csv", HEADER, pieces)


def _rows(out: Path, case: Case, sizes: Sizes, method: str, kind: str) -> Iterator[tables.Row]:
    estimate = None if method == SEEN else estimate_of(out, case, sizes, method, kind)
    label = method if kind == NONE else f"{method},\n{kind}"
    for p, seen in noisy(cases.held_out(case.name)[:1]):
        found = seen if estimate is None else estimate(seen, tc.BinarySymmetric(p))
        yield case.name, label, p, " ".join(f"{m:.3g}" for m in np.asarray(found[0], np.float64))


def plot(out: Path) -> list[Path]:
    """Draw what is in the table: a row for each estimate, a column for each noise."""
    rows = tables.read(out / "fig9.csv")
    lines = list(dict.fromkeys((row["case"], row["row"]) for row in rows))
    noise = list(dict.fromkeys(row["p"] for row in rows))
    figure = figure_of(0.72 * len(noise) + 1.2, 0.72 * len(lines) + 0.3)
    panels = figure.subplots(len(lines), len(noise), squeeze=False)
    for (name, label), line in zip(lines, panels, strict=True):
        own = [row for row in rows if (row["case"], row["row"]) == (name, label)]
        for panel, row in zip(line, own, strict=True):
            image = np.array(row["means"].split(), float).reshape(cases.shape_of(name))
            panel.imshow(image, cmap="gray", vmin=0, vmax=1)
            panel.set(xticks=[], yticks=[])
        line[0].set_ylabel(label, rotation=0, ha="right", va="center", fontsize="x-small")
    for panel, p in zip(panels[0], noise, strict=True):
        panel.set_title(f"p = {float(p):g}", fontsize="x-small")
    write(out / "fig9.png", figure, bbox_inches="tight")
    return [out / "fig9.png"]
