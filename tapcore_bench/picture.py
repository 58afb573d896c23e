"""Draw the README's picture: ``python -m tapcore_bench.picture docs/digits.png``."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure

import tapcore as tc
from tapcore import plotting
from tapcore.storage import datasets

SHOWN = 18


def draw(path: Path) -> None:
    """Train on scikit-learn's digits by the equations alone, whose solutions are many, and write the picture."""
    X = datasets.load("digits")
    machine = tc.RBM(tc.Binary(64), tc.Binary(64), seed=0)
    result = tc.fit(machine, X, pinning=0.0)
    unique = tc.solve(result.machine, X).unique()
    weights = result.machine.weights[0]
    strongest = np.argsort(-np.square(weights).sum(axis=0))[:SHOWN]
    figure = Figure(figsize=(11, 5.2), dpi=110, layout="constrained")
    panels: dict[str, Any] = figure.subplot_mosaic([["data", "fields", "solutions"], ["curve", "curve", "energies"]],
                                   height_ratios=[1.35, 1])  # fmt: skip
    scale = float(np.percentile(np.abs(weights), 99))
    seen = np.random.default_rng(0).permutation(len(X))[:SHOWN]
    images = {
        "data": ("digits, made binary", X[seen].T.astype(float), "Greys", 0.0, 1.0),
        "fields": ("weights of hidden units", weights[:, strongest], "RdBu_r", -scale, scale),
        "solutions": (f"{min(SHOWN, len(unique))} of {len(unique)} TAP solutions, visible means",
                      unique.mean[0][:SHOWN].T, "Greys", 0.0, 1.0),
    }  # fmt: skip
    for name, (title, columns, colours, low, high) in images.items():
        canvas = plotting.mosaic(columns, (8, 8), columns=6)
        panels[name].imshow(canvas, cmap=colours, vmin=low, vmax=high, interpolation="nearest")
        panels[name].set_axis_off()
        panels[name].set_title(title, fontsize=10)
    panels["curve"].plot(result.history.epoch, result.history.log_likelihood)
    panels["curve"].set(xlabel="epoch", ylabel="TAP log-likelihood\nper unit (nats)")
    assert unique.counts is not None
    panels["energies"].bar(range(len(unique)), unique.counts)
    panels["energies"].set(xlabel="solution, lowest free energy first", ylabel="digits that lead there")
    figure.savefig(path)
    print(f"{result.history[-1]}\n{len(unique)} solutions from {len(X)} digits: {path}")


if __name__ == "__main__":
    draw(Path(sys.argv[1]))
