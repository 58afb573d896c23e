"""Pictures of receptive fields and of images."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping

import numpy as np
from numpy.typing import ArrayLike, NDArray

from tapcore._base import checks
from tapcore.machine import Machine
from tapcore.plotting.figure import figure_of, write

# Most receptive fields in one picture.
SHOWN = 100


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
    figure = figure_of(side, max(1.0, side * canvas.shape[0] / canvas.shape[1]))
    axes = figure.subplots()
    axes.imshow(canvas, cmap="RdBu_r", vmin=-scale, vmax=scale, interpolation="nearest")
    axes.set_axis_off()
    write(path, figure)


def images(path: str | os.PathLike[str], X: ArrayLike, image_shape: tuple[int, int]) -> None:
    """Draw samples, such as `tapcore.sample` gives, as grey images side by side, and write a PNG.

    Parameters
    ----------
    path : str or path
        The PNG to write.
    X : (n, n_visible) array_like
        One image a row; the smallest value is black, the largest white. At most the first 400 are shown.
    image_shape : (int, int)
        Height and width, with product n_visible.

    Raises
    ------
    ValueError
        `X` of the wrong shape for `image_shape`.
    ImportError
        matplotlib is not installed.
    """
    rows = checks.matrix("X", X, math.prod(image_shape), rows="images")[:400].astype(np.float64)
    canvas = mosaic(rows.T, image_shape)
    side = 6.0
    figure = figure_of(side, max(1.0, side * canvas.shape[0] / canvas.shape[1]))
    axes = figure.subplots()
    axes.imshow(canvas, cmap="gray", interpolation="nearest")
    axes.set_axis_off()
    write(path, figure)


def rows_of_images(
    path: str | os.PathLike[str], rows: Mapping[str, ArrayLike], image_shape: tuple[int, int], most: int = 12
) -> None:
    """Draw the same images as different methods have them, a row each, and write a PNG.

    Parameters
    ----------
    path : str or path
        The PNG to write.
    rows : mapping of str to (n, n_visible) array_like
        Images by the name of what made them; the first ones are shown, NaN in colour. Grey levels are those of the
        first row that has numbers: its smallest value is black, its largest white.
    image_shape : (int, int)
        Height and width, with product n_visible.
    most : int
        Images shown.

    Raises
    ------
    ValueError
        No rows, or one of the wrong shape for `image_shape`.
    ImportError
        matplotlib is not installed.
    """
    if not isinstance(rows, Mapping) or not rows:
        raise ValueError("rows must be a mapping with at least one row of images")
    width = math.prod(image_shape)
    shown = {name: checks.matrix(name, X, width, rows="images")[:most].astype(np.float64) for name, X in rows.items()}
    first = next(iter(shown.values()))
    known = next((x[np.isfinite(x)] for x in (first, *shown.values()) if np.isfinite(x).any()), np.array([0.0, 1.0]))
    low, high = float(known.min()), float(known.max())
    columns = max(map(len, shown.values()))
    height = 9.0 * len(shown) * image_shape[0] / (columns * image_shape[1])
    figure = figure_of(10.0, max(1.0, height))
    panels = figure.subplots(len(shown), 1, squeeze=False)[:, 0]
    for panel, (name, X) in zip(panels, shown.items(), strict=True):
        # What is missing in an image stands out from the lines between images.
        canvas = np.ma.masked_invalid(mosaic(np.where(np.isnan(X), np.inf, X).T, image_shape, columns))
        panel.set_facecolor("0.5")
        panel.imshow(canvas, cmap="gray", vmin=low, vmax=high, interpolation="nearest")
        missing = mosaic(np.isnan(X).astype(np.float64).T, image_shape, columns) == 1
        panel.imshow(np.ma.masked_where(~missing, missing), cmap="cool", alpha=0.6, interpolation="nearest")
        panel.set(xticks=[], yticks=[])
        panel.set_ylabel(name, rotation=0, ha="right", va="center", fontsize="small")
    # The layout leaves no room for labels beside images whose shape is given.
    write(path, figure, bbox_inches="tight")


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
