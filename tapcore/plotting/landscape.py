"""Figures of the solutions of a machine."""

from __future__ import annotations

import os
import warnings
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from tapcore._base import checks
from tapcore.inference.solution import Solutions
from tapcore.plotting.figure import figure_of, write


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
    figure = figure_of(7.0, 4.0)
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
    write(path, figure)


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
    figure = figure_of(6.0, 5.0)
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
    write(path, figure)
