"""Figures of what happens over the epochs of training."""

from __future__ import annotations

import math
import os

import numpy as np

from tapcore.landscape.tracking import Tracker
from tapcore.plotting.figure import figure_of, write
from tapcore.training.history import History


def history(path: str | os.PathLike[str], records: History) -> None:
    """Draw log-likelihood, free energy and unconverged chains over the epochs, and write a PNG.

    Where data were held out, their log-likelihood is drawn beside that of the data.

    Parameters
    ----------
    path : str or path
        The PNG to write.
    records : History
        Of at least one epoch.

    Raises
    ------
    ValueError
        No epochs.
    ImportError
        matplotlib is not installed.
    """
    if len(records) == 0:
        raise ValueError("records must hold at least one epoch, got none")
    figure = figure_of(7.0, 6.0)
    panels = (
        ("log_likelihood", "TAP log-likelihood\nper unit (nats)"),
        ("free_energy", "free energy (nats)"),
        ("unconverged", "chains that did\nnot converge"),
    )
    axes = figure.subplots(len(panels), 1, sharex=True)
    stages, held_out = records.stage, np.isfinite(records.validation)
    mark = "." if len(records) < 60 else ""
    for panel, (name, label) in zip(axes, panels, strict=True):
        for stage in np.unique(stages):  # each of other layers: a line of its own
            of = stages == stage
            said = "all layers" if stage == 0 else f"hidden layer {stage}"
            panel.plot(records.epoch[of], records[name][of], marker=mark, color=f"C{stage}", label=said)
        panel.set_ylabel(label)
        panel.grid(alpha=0.3)
    if held_out.any():
        axes[0].plot(
            records.epoch[held_out], records.validation[held_out], marker=mark, color="k", ls="--", label="held out"
        )
    if len(np.unique(stages)) > 1 or held_out.any():
        axes[0].legend(fontsize="small")
    axes[-1].set_xlabel("epoch")
    figure.align_ylabels(axes)
    write(path, figure)


def solutions_over_training(path: str | os.PathLike[str], tracker: Tracker) -> None:
    """Draw the free energies of all solutions, their average and their number over the epochs, and write a PNG.

    As in the top row of Fig. 5 of the paper.

    Parameters
    ----------
    path : str or path
        The PNG to write.
    tracker : Tracker
        That has followed at least one epoch.

    Raises
    ------
    ValueError
        No epochs.
    ImportError
        matplotlib is not installed.
    """
    if not tracker.summaries:
        raise ValueError("tracker must have followed at least one epoch, got none")
    figure = figure_of(7.0, 4.0)
    left = figure.subplots()
    points = [(e.epoch, e.free_energy) for e in tracker.events if not math.isnan(e.free_energy)]
    epochs = [s.epoch for s in tracker.summaries]
    if points:
        left.scatter(*zip(*points, strict=True), s=12, alpha=0.3, color="C0", linewidths=0, label="solutions")
    left.plot(epochs, [s.mean for s in tracker.summaries], color="C3", label="uniform average")
    left.set_xlabel("epoch")
    left.set_ylabel("free energy (nats)")
    right = left.twinx()
    right.plot(epochs, [s.solutions for s in tracker.summaries], color="C2")
    right.set_ylabel("number of solutions", color="C2")
    left.legend(loc="best")
    write(path, figure)
