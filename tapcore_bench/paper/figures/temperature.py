"""How many solutions a machine has when its couplings are scaled, as by an inverse temperature, and along training.

And which of them are found by following solutions down a ladder of temperatures that data do not lead to.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

import tapcore as tc
from tapcore.plotting.figure import figure_of, write
from tapcore_bench.paper.figures import cases, tables
from tapcore_bench.paper.figures.cases import Case, Sizes
from tapcore_bench.paper.figures.fig5 import HIDDEN, starts
from tapcore_bench.paper.figures.rules import MOST_SWEEPS

# `followed` counts solutions that were come to from those of the temperature above alone.
HEADER = ("case", "along", "at", "weight_variance", "from_data", "followed")
BETA, EPOCH = "beta", "epoch"
BETAS = tuple(round(float(beta), 2) for beta in np.arange(0.2, 2.01, 0.1))
EPOCHS, NOISE = 12, 200


def compute(out: Path, sizes: Sizes, names: list[str]) -> None:
    """Train, and count solutions at all temperatures and epochs."""
    pieces = {}
    for name in names:
        one = cases.case(name, HIDDEN[name])
        pieces[f"{one.folder}-{BETA}"] = partial(_cooled, out, one, sizes)
        pieces[f"{one.folder}-{EPOCH}"] = partial(_trained, out, one, sizes)
    tables.piecewise(out / "temperature.csv", HEADER, pieces)


def _cooled(out: Path, case: Case, sizes: Sizes) -> Iterator[tables.Row]:
    machine = cases.after(cases.trained(out, case, sizes), case.unit * sizes.epochs)
    X = np.asarray(starts(case, sizes), np.float64)
    spread = float(machine.weights[0].var())
    # From above: few solutions, that split as couplings grow; noise keeps them from staying where they are no more.
    followed = _noise(machine)
    for beta in BETAS:
        print(f"temperature: {case.title}, beta {beta}", flush=True)
        here = machine.at(beta)
        own, led = (tc.harvest(here, start, max_sweeps=MOST_SWEEPS, progress=False) for start in (X, followed))
        both = tc.merge_solutions(own, led)
        followed = np.concatenate([np.asarray(led.mean[0], np.float64), _noise(machine)])
        yield case.title, BETA, beta, beta**2 * spread, len(own), len(both) - len(own)


def _noise(machine: tc.Machine) -> NDArray[np.float64]:
    return np.concatenate([np.asarray(part, np.float64) for part in tc.random_starts(machine, NOISE)])


def _trained(out: Path, case: Case, sizes: Sizes) -> Iterator[tables.Row]:
    folder, X = cases.trained(out, case, sizes), starts(case, sizes)
    for epoch in case.epochs(sizes, EPOCHS):
        machine = cases.after(folder, epoch)
        found = tc.harvest(machine, X, max_sweeps=MOST_SWEEPS, progress=False)
        yield case.title, EPOCH, epoch, float(machine.weights[0].var()), len(found), 0


def plot(out: Path) -> list[Path]:
    """Draw what is in the table: against beta, and against the variance of weights, by scaling and by training."""
    rows = tables.read(out / "temperature.csv")
    titles = list(dict.fromkeys(row["case"] for row in rows))
    figure = figure_of(7.0, 2.8 * len(titles))
    for title, (left, right) in zip(titles, figure.subplots(len(titles), 2, squeeze=False), strict=True):
        own = [row for row in rows if row["case"] == title]
        cooled, trained = ([row for row in own if row["along"] == along] for along in (BETA, EPOCH))
        at, data, more = (np.array([float(row[c]) for row in cooled]) for c in ("at", "from_data", "followed"))
        left.semilogy(at, data, marker=".", label="from data")
        left.semilogy(at, data + more, marker=".", ls="--", label="and followed from higher temperatures")
        left.axvline(1.0, color="0.6", lw=0.8)
        left.set(xlabel="couplings relative to the machine's", ylabel="solutions", title=title)
        left.legend(fontsize="x-small")
        for rows_of, label in ((cooled, "couplings scaled"), (trained, "along training")):
            x, y = (np.array([float(row[c]) for row in rows_of]) for c in ("weight_variance", "from_data"))
            right.loglog(x, y, marker=".", label=label)
        right.set(xlabel="variance of the weights", ylabel="solutions from data")
        right.legend(fontsize="x-small")
    write(out / "temperature.png", figure)
    return [out / "temperature.png"]
