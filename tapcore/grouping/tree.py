"""The tree: listing rows in its leaves and finding the nearest one.

The tree only parts the space, for which it is grown from any rows (see `splitting`). The rows to be found are listed in
its leaves, by their number in a table `place` of rows; `following` holds the next number in each list.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from tapcore._base.jit import helper, kernel
from tapcore.grouping.rows import Integers, Rows, copy_row, first_beyond, gap_to, width_of

# A leaf of fewer rows is not worth splitting; nodes as deep as this are not split.
LEAF, DEPTH = 8, 96
CENTERS = 64
# More than the rounding errors of a deviation, relative to its size.
ROUNDING = 8 * np.finfo(np.float64).eps


class Tree(NamedTuple):
    """Arrays of one entry a node, centers apart; node 0 is the root.

    A node compares the value in one column, or, if it has a center, the largest deviation from that in a block of
    columns.
    """

    column: Integers  # the first one compared; -1 in a leaf
    end: Integers  # the one after the last
    center: Integers  # deviations from which are compared, or inherited by nodes below; -1 for none
    threshold: NDArray[np.float64]
    child: Integers  # where values below the threshold go; others go to the next node
    depth: Integers
    first: Integers  # first number listed in a leaf, or -1
    size: Integers  # how many numbers are
    limit: Integers  # more than these are worth a try to split the leaf
    centers: NDArray[np.float64]  # (CENTERS, columns)
    made: Integers  # (1,) centers there are


def empty_tree(nodes: int, width: int) -> Tree:
    """A tree of a single empty leaf, with room for `nodes` nodes, for rows of `width` columns."""
    arrays: dict[str, Any] = {name: np.zeros(nodes, np.int64) for name in PER_NODE}
    arrays["threshold"] = np.zeros(nodes)
    tree = Tree(centers=np.empty((CENTERS, width)), made=np.zeros(1, np.int64), **arrays)
    tree.column[0] = tree.first[0] = tree.center[0] = -1
    tree.limit[0] = 2 * LEAF
    return tree


PER_NODE = tuple(name for name in Tree._fields if name not in ("centers", "made"))


@helper(inline=False)
def deviation(probe: NDArray[Any], center: NDArray[np.float64], lo: int, hi: int) -> float:
    """Largest deviation from a center in some columns."""
    most = 0.0
    for c in range(lo, hi):
        x = abs(np.float64(probe[c]) - center[c])
        if x > most:
            most = x
    return most


@helper(inline=False)
def _compared(tree: Tree, node: int, probe: NDArray[Any]) -> float:
    """What a node compares with its threshold."""
    if tree.end[node] == tree.column[node] + 1:
        return np.float64(probe[tree.column[node]])
    return deviation(probe, tree.centers[tree.center[node]], tree.column[node], tree.end[node])


@helper(inline=False)
def _leaf(tree: Tree, probe: NDArray[Any]) -> int:
    node = 0
    while tree.column[node] >= 0:
        node = tree.child[node] + (not _compared(tree, node, probe) < tree.threshold[node])
    return node


@helper(inline=False)
def _insert(tree: Tree, following: Integers, probe: NDArray[Any], number: int) -> None:
    leaf = _leaf(tree, probe)
    following[number] = tree.first[leaf]
    tree.first[leaf] = number
    tree.size[leaf] += 1


@helper(inline=False)
def _nearest(
    tree: Tree, rows: Rows, place: Integers, following: Integers, probe: NDArray[Any], tol: float, waiting: Integers
) -> int:
    """The number of the listed row nearest to `probe` within `tol`, the lower of two as near; -1 if there is none."""
    found, near = -1, tol
    waiting[0] = 0
    top = 1
    while top > 0:
        top -= 1
        node = waiting[top]
        while tree.column[node] >= 0:
            x, threshold, child = _compared(tree, node, probe), tree.threshold[node], tree.child[node]
            upper = not x < threshold
            # No row on the other side is nearer than the threshold.
            if abs(x - threshold) <= near + ROUNDING * (abs(x) + abs(threshold) + near):
                waiting[top] = child + (not upper)
                top += 1
            node = child + upper
        number = tree.first[node]
        while number >= 0:
            if first_beyond(rows, place[number], probe, near) < 0:
                gap = gap_to(rows, place[number], probe)
                if found < 0 or gap < near or number < found:
                    found, near = number, gap
            number = following[number]
    return found


@kernel()
def elect(rows: Rows, order: Integers, tol: float, tree: Tree, labels: Integers) -> Integers:
    """Take rows in `order`: each joins the nearest leader within `tol`, or else leads. Leaders; groups to `labels`."""
    probe, waiting = np.empty(width_of(rows), rows.like.dtype), np.empty(DEPTH + 2, np.int64)
    leaders, following = np.empty(order.size, np.int64), np.empty(order.size, np.int64)
    count = 0
    for r in order:
        copy_row(rows, r, probe)
        found = _nearest(tree, rows, leaders, following, probe, tol, waiting)
        if found < 0:
            found = count
            leaders[count] = r
            _insert(tree, following, probe, count)
            count += 1
        labels[r] = found
    return leaders[:count].copy()


@kernel()
def find(
    batch: Rows,
    order: Integers,
    tree: Tree,
    rows: Rows,
    place: Integers,
    following: Integers,
    tol: float,
    labels: Integers,
) -> None:
    """Write to `labels`, for the rows `order` of a batch, the number of the nearest listed row within `tol`, or -1."""
    probe, waiting = np.empty(width_of(batch), batch.like.dtype), np.empty(DEPTH + 2, np.int64)
    for r in order:
        copy_row(batch, r, probe)
        labels[r] = _nearest(tree, rows, place, following, probe, tol, waiting)


@kernel()
def link(tree: Tree, rows: Rows, following: Integers, numbers: Integers) -> None:
    """List rows, whose numbers are their places, in their leaves."""
    probe = np.empty(width_of(rows), rows.like.dtype)
    for number in numbers:
        copy_row(rows, number, probe)
        _insert(tree, following, probe, number)


@kernel()
def unlink(tree: Tree, rows: Rows, following: Integers, numbers: Integers) -> None:
    """Take rows, whose numbers are their places and which have not changed since, off their lists."""
    probe = np.empty(width_of(rows), rows.like.dtype)
    for number in numbers:
        copy_row(rows, number, probe)
        leaf = _leaf(tree, probe)
        tree.size[leaf] -= 1
        if tree.first[leaf] == number:
            tree.first[leaf] = following[number]
            continue
        before = tree.first[leaf]
        while following[before] != number:
            before = following[before]
        following[before] = following[number]


@kernel()
def listed(tree: Tree, following: Integers, leaf: int) -> Integers:
    """The numbers listed in a leaf."""
    numbers = np.empty(tree.size[leaf], np.int64)
    number = tree.first[leaf]
    for k in range(numbers.size):
        numbers[k] = number
        number = following[number]
    return numbers
