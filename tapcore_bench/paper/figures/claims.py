"""Claims of the paper's Sec. VII beside what the tables of the figures say of them: ``claims.md``.

Counts and free energies are by the paper's stopping rule and by one that can be relied on (`rules`), side by side. What
a figure of this size cannot tell is said to be so.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.signal import find_peaks

import tapcore as tc
from tapcore.plotting import density
from tapcore_bench.paper.denoising import POINTWISE
from tapcore_bench.paper.figures import cases, fig3, tables
from tapcore_bench.paper.figures.cases import Case, Sizes
from tapcore_bench.paper.figures.fig5 import by_epoch, starts
from tapcore_bench.paper.figures.fig8 import ONE
from tapcore_bench.paper.figures.rules import MERGE, MOST_SWEEPS, PAPER, RULES, TIGHT

Rows = list[dict[str, str]]
HELD, REFUTED, UNTOLD = "held", "refuted", "cannot be told"
AVERAGES = ("case", "rule", "log_z", "standard_error", "trusted", "uniform", "weighted")
# Annealing that tells which average of free energies is nearer to ln Z.
CHAINS, TEMPERATURES = 100, 1000
# Least number of solutions with bands, and how far a peak of the density rises above the valleys, of the highest peak.
FEW, RISES = 10, 0.1


class Claim(NamedTuple):
    """A claim, and the verdict of a data set's rows of tables."""

    says: str
    figure: str
    judge: Callable[[Rows], str]


def compute(out: Path, sizes: Sizes, names: list[str]) -> None:
    """Estimate ln Z of the trained machines by annealing, beside both averages of free energies."""
    found = [cases.case(name, hidden) for name in names for hidden in sizes.of(fig3.HIDDEN[name])]
    tables.piecewise(out / "averages.csv", AVERAGES, {one.folder: partial(_averages, out, one, sizes) for one in found})


def _averages(out: Path, case: Case, sizes: Sizes) -> Iterator[tables.Row]:
    machine = cases.after(cases.trained(out, case, sizes), case.unit * sizes.epochs)
    log_z = tc.ais(machine, CHAINS, TEMPERATURES, data=case.X[:1000], progress=False)
    for rule, how in RULES.items():
        F = tc.solve(machine, starts(case, sizes), max_sweeps=MOST_SWEEPS, **how).unique(MERGE[rule]).free_energy
        weighted = float(np.logaddexp.reduce(-F))
        yield case.title, rule, float(log_z.log_z), log_z.standard_error, log_z.trusted, float(-F.mean()), weighted


def _one_at_first(rows: Rows) -> str:
    first = next(iter(by_epoch(rows).values()))
    return _said(len(first) == 1, f"{len(first)} after the first epoch")


def _number_grows(rows: Rows) -> str:
    counts = [len(values) for values in by_epoch(rows).values()]
    if max(counts) == 1:
        return _said(None, f"one until epoch {max(by_epoch(rows))}")
    up = sum(b >= a for a, b in pairwise(counts))
    grows = counts[-1] > counts[0] and up >= 0.75 * (len(counts) - 1)
    return _said(grows, f"from {counts[0]} to {counts[-1]}, {up} of {len(counts) - 1} steps up")


def _few_of_the_starts(rows: Rows) -> str:
    last = max(int(row["epoch"]) for row in rows)
    own = [row for row in rows if int(row["epoch"]) == last]
    share, lost = len(own) / int(own[0]["of"]), int(own[0]["unconverged"])
    beside = f", {lost} starts not arrived" if lost else ""
    # The more starts, the less their share: the claim is of as many as the paper has.
    enough = int(own[0]["of"]) >= cases.PAPER[1]
    said = f"{100 * share:.1f} % of {int(own[0]['of']):,} after epoch {last}{beside}"
    return _said(share < 0.1 if enough else None, said)


def _rises_then_falls(rows: Rows) -> str:
    averages = {epoch: float(values.mean()) for epoch, values in by_epoch(rows).items()}
    epochs, values = list(averages), list(averages.values())
    top = int(np.argmax(values))
    said = f"{values[0]:.1f} nats, {values[top]:.1f} after epoch {epochs[top]}, {values[-1]:.1f} at last"
    return _said(0 < top < len(values) - 1, said)


def bands(values: NDArray[np.float64]) -> int:
    """Peaks of the density of free energies."""
    margin = 0.3 * np.ptp(values)
    curve = density(values, np.linspace(values.min() - margin, values.max() + margin, 400))
    return 1 if curve is None else len(find_peaks(curve, prominence=RISES * curve.max())[0])


def _two_bands(rows: Rows) -> str:
    counts = {epoch: bands(values) for epoch, values in by_epoch(rows).items() if len(values) >= FEW}
    if not counts:
        return _said(None, f"never {FEW} solutions")
    said = ", ".join(f"{count} after {epoch}" for epoch, count in counts.items())
    return _said(all(count == 2 for count in counts.values()), f"peaks: {said}")


def _levels_off(rows: Rows) -> str:
    said, levelled = [], []
    for title in dict.fromkeys(row["case"] for row in rows):
        own = [row for row in rows if row["case"] == title]
        x = np.array([float(row["epoch"]) for row in own])
        y = np.array([float(row["log_likelihood"]) for row in own])
        unit = cases.UNITS.get(title.split(",")[0], 1)
        x /= unit
        if x[-1] < 40:
            return _said(None, f"{x[-1]:.0f} epochs")
        before, after = (float(np.diff(np.interp(span, x, y))[0] / np.ptp(span)) for span in ((2, 20), (20, x[-1])))
        late = float(np.diff(np.interp((x[-1] / 2, x[-1]), x, y))[0] / (x[-1] / 2))
        middle = float(np.diff(np.interp((20, x[-1] / 2), x, y))[0] / (x[-1] / 2 - 20))
        # A constant rate from there on, far below that before.
        levelled.append(after < 0.2 * before and late > 0.3 * middle)
        said.append(f"{title.split(', ')[1].split()[0]}: {1e3 * before:.2g}, {1e3 * middle:.2g}, {1e3 * late:.2g}")
    return _said(all(levelled), "10^-3 nats an epoch from 2 to 20, to half, to the end: " + "; ".join(said))


def _above_pointwise(rows: Rows) -> str:
    base = {row["p"]: row for row in rows if row["method"] == POINTWISE}
    below = []
    machines = [m for m in dict.fromkeys(row["method"] for row in rows) if m.split()[0] in ("25", "50", "100")]
    for row in rows:
        if row["estimate"] == ONE and row["method"] in machines and float(row["p"]) > 0:
            gap = float(row["matthews_correlation"]) - float(base[row["p"]]["matthews_correlation"])
            spread = np.hypot(float(row["standard_error"]), float(base[row["p"]]["standard_error"]))
            if gap < -2 * spread:
                below.append(f"{row['method'].split()[0]} at p = {row['p']}")
    if not machines:
        return _said(None, "no such machines")
    return _said(not below, "below: " + ", ".join(below) if below else f"{len(machines)} machines above at every p")


def _largest_over_trains(rows: Rows) -> str:
    own = [row for row in rows if row["estimate"] == ONE]
    by = {(row["method"], float(row["p"])): float(row["matthews_correlation"]) for row in own}
    if ("500 hidden units", 0.1) not in by:
        return _said(None, "no machine of 500 hidden units")
    error = {(row["method"], float(row["p"])): float(row["squared_error"]) for row in own}
    (large, small), p = ("500 hidden units", "100 hidden units"), 0.4
    ahead, worse = by[large, 0.1] > by[small, 0.1], error[large, p] > error[small, p]
    return _said(
        ahead and worse,
        f"correlation {by[large, 0.1]:.3f} against {by[small, 0.1]:.3f} of 100 at p = 0.1, "
        f"squared error {error[large, p]:.3f} against {error[small, p]:.3f} at {p}",
    )


def _adaptive_no_better(rows: Rows) -> str:
    last = max(int(row["epoch"]) for row in rows)
    found = {(row["gradient"], int(row["iterations"])): row for row in rows if int(row["epoch"]) == last}
    said, better = [], False
    for count in sorted({iterations for _, iterations in found}):
        tap, adaptive = found["tap", count], found["adatap", count]
        gap = float(adaptive["pseudo_log_likelihood"]) - float(tap["pseudo_log_likelihood"])
        better |= gap > 2 * float(tap["standard_error"])
        said.append(f"{1e3 * gap:+.2g} by {count} iterations")
    return _said(not better, f"10^-3 nats a unit more than TAP after {last} epochs: " + ", ".join(said))


def _localise(rows: Rows) -> str:
    sizes = list(dict.fromkeys(row["case"] for row in rows))
    if len(sizes) < 3:
        return _said(None, "too few machines")
    spread = [float(np.median([float(row["spread"]) for row in rows if row["case"] == title])) for title in sizes]
    said = ", ".join(f"{title.split(', ')[1].split()[0]}: {s:.1f}" for title, s in zip(sizes, spread, strict=True))
    return _said(all(b < a for a, b in pairwise(spread)), f"median of ln of the norm over the largest weight, {said}")


def _uniform_is_best(rows: Rows) -> str:
    said, nearer = [], []
    for row in rows:
        exact = float(row["log_z"])
        uniform, weighted = (float(row[column]) - exact for column in ("uniform", "weighted"))
        nearer.append(abs(uniform) < abs(weighted))
        doubt = "" if row["trusted"] == "True" else " (annealing doubted)"
        said.append(f"{row['case'].split(', ')[1].split()[0]}: {uniform:+.1f} and {weighted:+.1f}{doubt}")
    return _said(all(nearer), "errors of ln Z, uniform and weighted: " + "; ".join(said))


CLAIMS = (
    Claim("One solution at the first epoch", "fig5", _one_at_first),
    Claim("Their number grows with training", "fig5", _number_grows),
    Claim("Fewer solutions than 10 % of the starts (10,000, at 100 hidden units)", "fig5", _few_of_the_starts),
    Claim("The free energy rises first, then falls", "fig5", _rises_then_falls),
    Claim("Two bands of free energies (of binary MNIST; of grey MNIST none that tight)", "fig5", _two_bands),
    Claim("Growth of the log-likelihood levels off about epoch 20", "fig3", _levels_off),
    Claim("TAP is above the pointwise optimum at 25, 50 and 100 hidden units for every p", "fig8", _above_pointwise),
    Claim("500 hidden units over-train: better at little noise, worse at much", "fig8", _largest_over_trains),
    Claim("Adaptive TAP is no better in training", "fig10", _adaptive_no_better),
    Claim("Features localise as hidden units grow in number", "fig4", _localise),
    Claim("Averaging free energies without weights is the best choice", "averages", _uniform_is_best),
)


def _said(verdict: bool | None, measured: str) -> str:
    word = UNTOLD if verdict is None else HELD if verdict else REFUTED
    return f"**{word}**: {measured}"


def page(out: Path) -> str:
    """All claims of all data sets, as far as there are tables."""
    lines = ["| claim | data | by the paper's rule | by distances |", "| --- | --- | --- | --- |"]
    for claim in CLAIMS:
        path = out / f"{claim.figure}.csv"
        rows = tables.read(path) if path.is_file() else []
        for name in dict.fromkeys(row["case"].split(",")[0] for row in rows):
            own = [row for row in rows if row["case"].split(",")[0] == name]
            ruled = "rule" in own[0]
            parts = [[row for row in own if row["rule"] == rule] for rule in (PAPER, TIGHT)] if ruled else [own]
            cells = [claim.judge(part) for part in parts]
            lines.append(f"| {claim.says} | {name} | {' | '.join(cells)} |" + ("" if ruled else " |"))
    return "\n".join(lines) + "\n"


def plot(out: Path) -> list[Path]:
    """Write the page."""
    path = out / "claims.md"
    path.write_text(page(out), encoding="utf-8")
    return [path]
