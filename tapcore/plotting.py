"""Figures of a training run and of the solutions of a machine; needs matplotlib (the `plot` extra)."""

from __future__ import annotations

import math
import os
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from tapcore._base import checks
from tapcore.inference.solution import Solutions
from tapcore.landscape.tracking import Tracker
from tapcore.machine import Machine
from tapcore.storage import format as file_format
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


def _write(path: str | os.PathLike[str], figure: Any, **options: Any) -> None:
    import io

    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", **options)
    file_format.write_whole(Path(path), buffer.getvalue())


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
    figure = _figure(side, max(1.0, side * canvas.shape[0] / canvas.shape[1]))
    axes = figure.subplots()
    axes.imshow(canvas, cmap="gray", interpolation="nearest")
    axes.set_axis_off()
    _write(path, figure)


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
    figure = _figure(10.0, max(1.0, height))
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
    _write(path, figure, bbox_inches="tight")


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
    stages = records.stage
    for panel, (name, label) in zip(axes, panels, strict=True):
        for stage in np.unique(stages):  # each of other layers: a line of its own
            of = stages == stage
            said = "all layers" if stage == 0 else f"hidden layer {stage}"
            mark = "." if len(records) < 60 else ""
            panel.plot(records.epoch[of], records[name][of], marker=mark, color=f"C{stage}", label=said)
        panel.set_ylabel(label)
        panel.grid(alpha=0.3)
    if len(np.unique(stages)) > 1:
        axes[0].legend(fontsize="small")
    axes[-1].set_xlabel("epoch")
    figure.align_ylabels(axes)
    _write(path, figure)


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
    figure = _figure(7.0, 4.0)
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
    _write(path, figure)


def free_energies(path: str | os.PathLike[str], solutions: Solutions | Mapping[str, Solutions]) -> None:
    """Draw histograms of free energies with kernel density estimates, and write a PNG.

    As in the bottom row of Fig. 5 of the paper.

    Parameters
    ----------
    path : str or path
        The PNG to write.
    solutions : Solutions, or mapping of str to Solutions
        Distinct ones; several by name, such as those of several epochs.

    Raises
    ------
    ValueError
        No solution with a finite free energy.
    ImportError
        matplotlib is not installed.
    """
    named = solutions if isinstance(solutions, Mapping) else {"": solutions}
    if not all(isinstance(s, Solutions) for s in named.values()):
        raise ValueError(f"solutions must be tapcore.Solutions, or a mapping to them, got {type(solutions).__name__}")
    energies = {name: s.free_energy[np.isfinite(s.free_energy)] for name, s in named.items()}
    if not any(len(e) for e in energies.values()):
        raise ValueError("solutions must have at least one finite free energy, got none")
    figure = _figure(7.0, 4.0)
    axes = figure.subplots()
    for i, (name, values) in enumerate(energies.items()):
        if not len(values):
            continue
        spread = float(np.ptp(values))
        edges: Any = np.histogram_bin_edges(values, "auto") if spread > 0 else values[0] + np.array([-0.5, 0.5])
        axes.hist(values, edges, density=True, alpha=0.35, color=f"C{i}", label=f"{name} ({len(values)})".strip())
        curve = density(values, grid := np.linspace(values.min() - 0.6 * spread, values.max() + 0.6 * spread, 400))
        if curve is not None:
            axes.plot(grid, curve, color=f"C{i}")
    axes.set_xlabel("free energy (nats)")
    axes.set_ylabel("density of solutions")
    axes.legend()
    _write(path, figure)


def density(values: NDArray[np.float64], at: NDArray[np.float64]) -> NDArray[np.float64] | None:
    """Kernel density estimate of `values` on a grid, by Scott's rule; None where there is no spread to estimate."""
    from scipy.stats import gaussian_kde

    if len(values) < 3 or np.ptp(values) <= 1e-12 * np.abs(values).max():
        return None
    return np.asarray(gaussian_kde(values)(at))


def embed(
    solutions: Solutions, X: ArrayLike | None = None, *, neighbours: int = 12
) -> tuple[NDArray[np.float64], NDArray[np.float64] | None]:
    """Isomap coordinates in the plane of the visible means of solutions, and of data.

    Parameters
    ----------
    solutions : Solutions
        At least 3, unless there are data.
    X : (n, n_visible) array_like, optional
        Data, at least 3: the embedding is fitted to them, as in Fig. 7 of the paper, and solutions are placed in it.
        Else it is fitted to the solutions, as in Fig. 6.
    neighbours : int
        Of each point, at most; fewer points have fewer.

    Returns
    -------
    solutions : (K, 2) float64 array
    data : (n, 2) float64 array or None

    Raises
    ------
    ValueError
        Fewer than 3 points to fit, data of another width, or data or solutions that are not finite.
    ImportError
        scikit-learn is not installed.
    """
    try:
        from sklearn.manifold import Isomap
    except ImportError as error:
        raise ImportError("embeddings need scikit-learn: pip install 'tapcore[sklearn]'") from error
    neighbours = checks.integer("neighbours", neighbours, minimum=1)
    means = np.asarray(solutions.mean[0], np.float64)
    data = None if X is None else np.asarray(checks.matrix("X", X, means.shape[1], rows="samples"), np.float64)
    checks.finite("solutions.mean[0]", means)
    fitted, name = (means, "solutions") if data is None else (data, "X")
    checks.finite(name, fitted)
    if len(fitted) < 3:
        raise ValueError(f"{name} must hold at least 3 points to embed, got {len(fitted)}")
    isomap = Isomap(n_neighbors=min(neighbours, len(fitted) - 1), n_components=2)
    with warnings.catch_warnings():
        # Separate clusters of neighbours are joined where they come closest.
        warnings.filterwarnings("ignore", message=".*connected components.*")
        warnings.filterwarnings("ignore", category=UserWarning, module="sklearn")
        warnings.filterwarnings("ignore", message=".*sparsity structure.*")
        isomap.fit(fitted)
        placed = np.asarray(isomap.transform(means)) if len(means) else np.empty((0, 2))
    return placed, None if data is None else np.asarray(isomap.embedding_)


def embedding(
    path: str | os.PathLike[str],
    solutions: Solutions,
    X: ArrayLike | None = None,
    *,
    labels: ArrayLike | None = None,
    neighbours: int = 12,
) -> None:
    """Draw the solutions in the plane, by Isomap, and write a PNG (Figs. 6, 7).

    Without data solutions are coloured by free energy; with data they are black, and data coloured by their labels.

    Parameters
    ----------
    path : str or path
        The PNG to write.
    solutions, X, neighbours
        As for `embed`.
    labels : (n,) array_like, optional
        Of the data.

    Raises
    ------
    ValueError
        As `embed`, or not one label for each sample.
    ImportError
        matplotlib or scikit-learn is not installed.
    """
    figure = _figure(6.0, 5.0)
    placed, data = embed(solutions, X, neighbours=neighbours)
    axes = figure.subplots()
    if data is None:
        drawn = axes.scatter(*placed.T, c=solutions.free_energy, s=18, cmap="viridis")
        figure.colorbar(drawn, label="free energy (nats)")
    else:
        kinds = np.zeros(len(data)) if labels is None else np.asarray(labels)
        if kinds.shape != (len(data),):
            raise ValueError(f"labels must be one for each of {len(data)} samples, got shape {kinds.shape}")
        for i, kind in enumerate(np.unique(kinds)):
            which = kinds == kind
            axes.scatter(
                *data[which].T, s=4, alpha=0.4, color=f"C{i % 10}", label=None if labels is None else str(kind)
            )
        axes.scatter(*placed.T, s=14, color="black", label="solutions")
        axes.legend(markerscale=2, fontsize="small")
    axes.set_xlabel("Isomap dimension 1")
    axes.set_ylabel("Isomap dimension 2")
    _write(path, figure)
