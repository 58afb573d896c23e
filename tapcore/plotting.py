"""Figures of a training run; needs matplotlib (the `plot` extra)."""

from __future__ import annotations

import math
import os
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tapcore import _files
from tapcore.machine import Machine
from tapcore.training.history import History

# Most receptive fields in one picture.
SHOWN = 100


def _figure(width: float, height: float) -> Any:
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise ImportError("figures need matplotlib: pip install 'tapcore[plot]'") from error
    # Without pyplot: no window system is touched and nothing stays in memory.
    return Figure(figsize=(width, height), dpi=150, layout="constrained")


def _write(path: str | os.PathLike[str], figure: Any) -> None:
    import io

    buffer = io.BytesIO()
    figure.savefig(buffer, format="png")
    _files.write_whole(Path(path), buffer.getvalue())


def receptive_fields(
    path: str | os.PathLike[str], machine: Machine, image_shape: tuple[int, int] | None = None
) -> None:
    """Draw the weights of each hidden unit of the first hidden layer as an image, and write a PNG.

    Parameters
    ----------
    path : str or path
        The PNG to write.
    machine : Machine
    image_shape : (int, int), optional
        Height and width, with product n_visible. Without it, one row of n_visible pixels for each hidden unit.

    Raises
    ------
    ValueError
        `image_shape` does not fit the machine.
    ImportError
        matplotlib is not installed.

    Notes
    -----
    Red is positive, blue negative, one scale for all: the 99.5th percentile of |W|. Of more than 100 hidden units,
    those with the largest weights are shown.
    """
    W = machine.weights[0].astype(np.float64)
    if image_shape is not None and math.prod(image_shape) != W.shape[0]:
        raise ValueError(f"image_shape must have {W.shape[0]} pixels, got {image_shape}")
    strongest = np.argsort(-np.square(W).sum(axis=0), kind="stable")[:SHOWN]
    canvas = mosaic(W[:, np.sort(strongest)], image_shape or (1, W.shape[0]))
    scale = float(np.percentile(np.abs(W), 99.5)) or 1.0
    side = 6.0
    figure = _figure(side, max(1.0, side * canvas.shape[0] / canvas.shape[1]))
    axes = figure.subplots()
    axes.imshow(canvas, cmap="RdBu_r", vmin=-scale, vmax=scale, interpolation="nearest")
    axes.set_axis_off()
    _write(path, figure)


def mosaic(W: NDArray[np.float64], shape: tuple[int, int], columns: int | None = None) -> NDArray[np.float64]:
    """Images in the columns of `W`, side by side with a line of NaN between; about square unless `columns` is given."""
    count = W.shape[1]
    columns = columns or math.ceil(math.sqrt(count * shape[0] / shape[1]))
    rows = -(-count // columns)
    canvas = np.full((rows * (shape[0] + 1) - 1, columns * (shape[1] + 1) - 1), np.nan)
    for k in range(count):
        top, left = (k // columns) * (shape[0] + 1), (k % columns) * (shape[1] + 1)
        canvas[top : top + shape[0], left : left + shape[1]] = W[:, k].reshape(shape)
    return canvas


def history(path: str | os.PathLike[str], records: History) -> None:
    """Draw log-likelihood, free energy and unconverged chains over the epochs, and write a PNG.

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
    figure = _figure(7.0, 6.0)
    panels = (
        ("log_likelihood", "TAP log-likelihood\nper unit (nats)"),
        ("free_energy", "free energy (nats)"),
        ("unconverged", "chains that did\nnot converge"),
    )
    axes = figure.subplots(len(panels), 1, sharex=True)
    for panel, (name, label) in zip(axes, panels, strict=True):
        panel.plot(records.epoch, records[name], marker="." if len(records) < 60 else "", color="C0")
        panel.set_ylabel(label)
        panel.grid(alpha=0.3)
    axes[-1].set_xlabel("epoch")
    figure.align_ylabels(axes)
    _write(path, figure)
