"""Figures of how solutions hang together: trees, and graphs of the heights at which valleys become one."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from tapcore.landscape.itol import fill, natural
from tapcore.plotting.figure import figure_of, write

if TYPE_CHECKING:
    from tapcore.landscape.barriers import Barriers
    from tapcore.landscape.trees import SolutionTree

# Most nodes whose mean image is shown, and its side, in inches.
IMAGES, SIDE = 24, 0.32
# Inches a leaf, and least and most of a tree: a page. What a page cannot show is in the files for iTOL.
LEAF, LEAST, MOST = 0.07, 4.0, 9.0
# From so many minima on lines are thin.
MANY = 200
# Most minima of a disconnectivity graph that have an image, and the room of one, as a share of the graph.
SHOWN, ROOM = 40, (0.062, 0.1)


def tree(
    path: str | os.PathLike[str],
    tree: SolutionTree,
    *,
    image_shape: tuple[int, int] | None = None,
    labels: Sequence[str | None] | None = None,
    colors: Mapping[str, str] | None = None,
) -> None:
    """Draw a tree of solutions, its leaves on the right, and write a PNG.

    Parameters
    ----------
    path : str or path
        The PNG to write.
    tree : SolutionTree
    image_shape : (int, int), optional
        Height and width of the visible means, with product n_visible: the nodes with most leaves below show theirs.
    labels : sequence of str or None, optional
        One for each leaf, which is coloured by it.
    colors : mapping of str to str, optional
        Of labels, ``#rrggbb``; those that it leaves out have one of a fixed series.

    Raises
    ------
    ValueError
        An image shape that does not fit, or not one label for each leaf.
    ImportError
        matplotlib is not installed.
    """
    leaves = len(tree.solutions)
    _check(image_shape, tree.mean.shape[1], labels, leaves, "leaf")
    tall = min(MOST, max(LEAST, LEAF * leaves))
    figure = figure_of(7.0, tall)
    axes = figure.subplots()
    height, below = _heights(tree), tree.children
    for node, children in enumerate(below):
        for child in children:
            x, y = tree.position[[node, child]], height[[node, child]]
            axes.plot(
                [x[0], x[0], x[1]], [y[0], y[1], y[1]], color="0.35", lw=_line(leaves), solid_capstyle="projecting"
            )
    if labels is None:
        axes.scatter(tree.position[:leaves], height[:leaves], s=6, color="black", zorder=3)
    else:
        _labelled(axes, tree.position[:leaves], height[:leaves], labels, dict(colors or {}))
    if image_shape is not None:
        largest = np.argsort([-len(own) for own in tree.leaves_below()], kind="stable")
        inner = [k for k in largest if k >= leaves and not math.isnan(tree.free_energy[k])]
        wide, high = 1.2 * SIDE / 7.0 * (np.ptp(tree.position) or 1.0), 1.2 * SIDE / tall * (np.ptp(height) or 1.0)
        for node in _apart(tree.position, height, np.array(inner, np.int64), (wide, high), IMAGES):
            _image(axes, (tree.position[node], height[node]), tree.mean[node].reshape(image_shape))
    if tree.along == "beta":
        axes.set_xlabel("couplings relative to the machine's")
    else:
        axes.set_xlabel("epoch")
    axes.set(yticks=[], ylabel=f"{leaves} solutions")
    axes.margins(y=0.02)
    for side in ("left", "right", "top"):
        axes.spines[side].set_visible(False)
    write(path, figure)


def disconnectivity(
    path: str | os.PathLike[str],
    barriers: Barriers,
    *,
    image_shape: tuple[int, int] | None = None,
    labels: Sequence[str | None] | None = None,
    colors: Mapping[str, str] | None = None,
) -> None:
    """Draw the disconnectivity graph of a free energy, and write a PNG.

    A line for each minimum begins at its free energy, and lines join at the height of the lowest known saddle by which
    the valleys below are one. Valleys that nothing is known to join stay apart.

    Parameters
    ----------
    path : str or path
        The PNG to write.
    barriers : Barriers
    image_shape : (int, int), optional
        Height and width of the visible means, with product n_visible: the minima of the deepest valleys show theirs, as
        far as there is room.
    labels : sequence of str or None, optional
        One for each minimum, which is coloured by it.
    colors : mapping of str to str, optional
        Of labels, ``#rrggbb``; those that it leaves out have one of a fixed series.

    Raises
    ------
    ValueError
        An image shape that does not fit, or not one label for each minimum.
    ImportError
        matplotlib is not installed.
    """
    minima = barriers.minima
    count = len(minima)
    _check(image_shape, minima.mean[0].shape[1], labels, count, "minimum")
    figure = figure_of(7.0, 4.5)
    axes = figure.subplots()
    place, depth, lines = _valleys(barriers)
    for x, y in lines:
        axes.plot(x, y, color="0.35", lw=_line(count), solid_capstyle="projecting")
    energies = minima.free_energy
    if labels is None:
        axes.scatter(place, energies, s=8, color="black", zorder=3)
    else:
        _labelled(axes, place, energies, labels, dict(colors or {}))
    if image_shape is not None:
        room = np.ptp(place) * ROOM[0] or 1.0, np.ptp(energies) * ROOM[1] or 1.0
        for k in _apart(place, energies, np.argsort(-depth, kind="stable"), room, SHOWN):
            _image(axes, (place[k], energies[k]), minima.mean[0][k].reshape(image_shape), below=True)
        axes.margins(y=0.12)
    axes.set(xticks=[], xlabel=f"{count} minima", ylabel="free energy (nats)")
    for side in ("bottom", "right", "top"):
        axes.spines[side].set_visible(False)
    write(path, figure)


def _check(
    shape: tuple[int, int] | None, width: int, labels: Sequence[str | None] | None, count: int, each: str
) -> None:
    if shape is not None and math.prod(shape) != width:
        raise ValueError(f"image_shape must have {width} pixels, got {shape}")
    if labels is not None and len(labels) != count:
        raise ValueError(f"labels must be {count}, one a {each}, got {len(labels)}")


def _heights(tree: SolutionTree) -> NDArray[np.float64]:
    """Where each node stands across the tree: leaves one apart, larger branches first, others amid those below."""
    sizes = [len(own) for own in tree.leaves_below()]
    children, height = tree.children, np.zeros(len(tree))
    waiting, next_leaf = [len(tree) - 1], 0
    while waiting:
        node = waiting.pop()
        if not children[node]:
            height[node], next_leaf = next_leaf, next_leaf + 1
        waiting += sorted(children[node], key=lambda k: sizes[k])
    for node, below in enumerate(children):  # those below a node come before it
        if below:
            height[node] = np.mean(height[below])
    return height


class _Valleys(NamedTuple):
    """A disconnectivity graph as it is drawn."""

    place: NDArray[np.float64]  # where each minimum stands across
    depth: NDArray[np.float64]  # how far each is below where its valley joins one that is deeper
    lines: list[tuple[ArrayLike, ArrayLike]]


def _valleys(barriers: Barriers) -> _Valleys:
    """Valleys join the stem of the deeper one, in turn on its left and its right."""
    energies = barriers.minima.free_energy.astype(np.float64)
    count = len(energies)
    deepest = np.arange(count)  # of the valley of each
    groups: dict[int, list[int]] = {k: [k] for k in range(count)}
    joined, steps = np.zeros(count, np.int64), []
    top = np.full(count, np.inf)
    for merge in barriers.merges():
        a, b = sorted((int(deepest[merge.first]), int(deepest[merge.second])), key=lambda k: (energies[k], k))
        steps.append((merge.height, a, b))
        top[b], side = merge.height, groups.pop(b)
        groups[a] = groups[a] + side if joined[a] % 2 else side + groups[a]
        joined[a] += 1
        deepest[side] = a
    place = np.zeros(count)
    place[[k for own in groups.values() for k in own]] = np.arange(count)
    lines: list[tuple[ArrayLike, ArrayLike]] = []
    highest = energies.copy()
    for height, a, b in steps:
        lines.append(([place[b], place[b], place[a]], [energies[b], height, height]))
        highest[a] = height
    lines += [([place[k], place[k]], [energies[k], highest[k]]) for k in groups]
    return _Valleys(place, top - energies, lines)


def _apart(
    x: NDArray[np.float64], y: NDArray[np.float64], order: NDArray[np.int64], room: tuple[float, float], most: int
) -> list[int]:
    """The first points in order whose images, which need this room, do not lie on one another."""
    chosen: list[int] = []
    for k in order:
        if all(abs(x[k] - x[c]) > room[0] or abs(y[k] - y[c]) > room[1] for c in chosen):
            chosen.append(int(k))
        if len(chosen) == most:
            break
    return chosen


def _line(count: int) -> float:
    """Width of the lines between so many ends."""
    return 0.8 if count < MANY else 0.3


def _labelled(axes: Any, x: ArrayLike, y: ArrayLike, labels: Sequence[str | None], colors: dict[str, str]) -> None:
    """Points coloured by their labels, those of known colours in that order; without a label small and grey."""
    x, y = np.asarray(x), np.asarray(y)
    present = {label for label in labels if label is not None}
    fill(colors, sorted(present, key=natural))
    where = np.array(["" if label is None else label for label in labels], dtype=object)
    axes.scatter(x[where == ""], y[where == ""], s=4, color="0.6", zorder=3)
    for label, color in colors.items():
        if label in present:
            axes.scatter(x[where == label], y[where == label], s=14, color=color, label=label, zorder=4)
    if present:
        axes.legend(fontsize="small", loc="upper left", bbox_to_anchor=(1.0, 1.0), frameon=False)


def _image(axes: Any, at: tuple[float, float], image: NDArray[Any], below: bool = False) -> None:
    from matplotlib.offsetbox import AnnotationBbox, OffsetImage

    shown = OffsetImage(image, cmap="gray", zoom=72 * SIDE / max(image.shape), interpolation="nearest")
    offset: dict[str, Any] = {"xybox": (0, -16), "boxcoords": "offset points"} if below else {}
    axes.add_artist(AnnotationBbox(shown, at, pad=0.05, zorder=5, bboxprops={"lw": 0.4}, frameon=True, **offset))
