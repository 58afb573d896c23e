"""Growing the tree: where to part the rows of a node.

Only speed depends on these choices. They look at a sample of the rows, and at all of them only before a node stays
whole, so that rare rows are not overlooked among many copies of one.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from tapcore._base.jit import helper, kernel
from tapcore.grouping.rows import Integers, Rows, copy_row, first_beyond, value, width_of
from tapcore.grouping.tree import CENTERS, DEPTH, LEAF, Tree, deviation

Floats = NDArray[np.float64]

# Rows a split looks at. Columns in the smallest block, and how many times as many are in the next ones.
SAMPLE, BLOCK = 32, 4


class Scratch(NamedTuple):
    """Working memory of a kernel."""

    sample: NDArray[Any]  # (SAMPLE, columns), the first `count` rows in use
    center: Floats  # (columns,) their means
    spread: Floats  # (columns,) their deviations from these, added up
    values: Floats  # (SAMPLE,) what a node would compare, in order


class Split(NamedTuple):
    """A choice of what to compare."""

    column: int  # -1 for none
    end: int
    threshold: float


@kernel()
def grow(rows: Rows, members: Integers, tree: Tree, node: int, used: int, tol: float) -> int:
    """Split the leaf `node`, whose list is dropped, for the rows `members`; nodes from `used` on are free.

    A node splits unless it is small, or deep, or its rows are all within 2 `tol` of one of them, so that most
    neighbours would be on both sides. Returns how many nodes are in use then, at most 2 more a member.
    """
    width = width_of(rows)
    scratch = Scratch(np.empty((SAMPLE, width), rows.like.dtype), np.empty(width), np.empty(width), np.empty(SAMPLE))
    below = np.empty(members.size, np.bool_)
    waiting = np.empty((DEPTH + 2, 3), np.int64)
    waiting[0, 0], waiting[0, 1], waiting[0, 2] = node, 0, members.size
    top = 1
    while top > 0:
        top -= 1
        node, lo, hi = waiting[top, 0], waiting[top, 1], waiting[top, 2]
        tree.column[node] = tree.first[node] = -1
        tree.size[node] = 0
        tree.limit[node] = 2 * max(LEAF, hi - lo)
        if hi - lo <= LEAF or tree.depth[node] >= DEPTH:
            continue
        split = _choose(rows, members[lo:hi], tree, node, tol, scratch)
        if split.column < 0:
            continue
        tree.column[node], tree.end[node], tree.threshold[node] = split.column, split.end, split.threshold
        tree.child[node] = used
        middle = lo + _partition(rows, members[lo:hi], tree, node, scratch.sample[0], below[lo:hi])
        for child in (used, used + 1):
            tree.depth[child], tree.center[child] = tree.depth[node] + 1, tree.center[node]
        waiting[top, 0], waiting[top, 1], waiting[top, 2] = used, lo, middle
        waiting[top + 1, 0], waiting[top + 1, 1], waiting[top + 1, 2] = used + 1, middle, hi
        top += 2
        used += 2
    return used


@helper(inline=False)
def _choose(rows: Rows, members: Integers, tree: Tree, node: int, tol: float, scratch: Scratch) -> Split:
    """The best split found: a column or block that parts the sample well, or any column at all."""
    count = _draw(rows, members, scratch)
    column = int(np.argmax(scratch.spread))
    _sort_column(scratch, count, column)
    values = scratch.values
    at = _widest(values, count // 4, count - count // 4)
    if values[at] - values[at - 1] > 2.0 * tol:
        return Split(column, column + 1, _between(values[at - 1], values[at]))
    if not values[count - 1] - values[0] > 2.0 * tol:
        return _part_by_first(rows, members, tol, scratch.sample[0])
    if values[at] == values[at - 1]:
        at = _widest(values, 1, count)
    rest = Split(column, column + 1, _between(values[at - 1], values[at]))
    split = _choose_block(tree, node, tol, scratch, count)
    return split if split.column >= 0 else rest


@helper(inline=False)
def _draw(rows: Rows, members: Integers, scratch: Scratch) -> int:
    """Take a sample of the rows, its mean and its mean absolute deviation."""
    count = min(members.size, SAMPLE)
    center, spread = scratch.center, scratch.spread
    for c in range(center.size):
        center[c] = spread[c] = 0.0
    for k in range(count):
        row = scratch.sample[k]
        copy_row(rows, members[k * members.size // count], row)
        for c in range(center.size):
            center[c] += row[c]
    for c in range(center.size):
        center[c] /= count
    for k in range(count):
        row = scratch.sample[k]
        for c in range(center.size):
            spread[c] += abs(row[c] - center[c])
    return count


@helper(inline=False)
def _choose_block(tree: Tree, node: int, tol: float, scratch: Scratch, count: int) -> Split:
    """The block that parts the sample best by deviations from the inherited center, or else from a new one."""
    split = Split(-1, 0, 0.0)
    if tree.center[node] >= 0:
        split = _widest_block(tree, node, tol, scratch, count)
    if split.column < 0 and tree.made[0] < CENTERS:
        tree.center[node] = tree.made[0]
        tree.made[0] += 1
        for c in range(scratch.center.size):  # at once would take Numba seconds to compile
            tree.centers[tree.center[node], c] = scratch.center[c]
        split = _widest_block(tree, node, tol, scratch, count)
    return split


@helper(inline=False)
def _widest_block(tree: Tree, node: int, tol: float, scratch: Scratch, count: int) -> Split:
    """The block whose deviations have the widest gap in their middle; none if no gap is wider than 2 `tol`."""
    best, widest = Split(-1, 0, 0.0), 2.0 * tol
    width = scratch.center.size
    size = min(BLOCK, width)
    while True:
        # Different blocks in different nodes, without chance.
        lo = node * 7919 % (width - size + 1)
        _sort_deviations(scratch, count, tree.centers[tree.center[node]], lo, lo + size)
        at = _widest(scratch.values, count // 4, count - count // 4)
        low, high = scratch.values[at - 1], scratch.values[at]
        if high - low > widest:
            best, widest = Split(lo, lo + size, _between(low, high)), high - low
        if size == width:
            return best
        size = min(BLOCK * size, width)


@helper(inline=False)
def _sort_column(scratch: Scratch, count: int, column: int) -> None:
    for k in range(count):
        _sort_in(scratch.values, k, np.float64(scratch.sample[k, column]))


@helper(inline=False)
def _sort_deviations(scratch: Scratch, count: int, center: Floats, lo: int, hi: int) -> None:
    for k in range(count):
        _sort_in(scratch.values, k, deviation(scratch.sample[k], center, lo, hi))


@helper(inline=False)
def _sort_in(values: Floats, count: int, x: float) -> None:
    """Insert `x` among the first `count` values, which are in order."""
    while count > 0 and values[count - 1] > x:
        values[count] = values[count - 1]
        count -= 1
    values[count] = x


@helper(inline=False)
def _widest(values: Floats, lo: int, hi: int) -> int:
    """Which of the values `lo`..`hi - 1` is furthest above the one before it."""
    at = lo
    for k in range(lo + 1, hi):
        if values[k] - values[k - 1] > values[at] - values[at - 1]:
            at = k
    return at


@helper(inline=False)
def _between(a: float, b: float) -> float:
    """A number above `a` and not above `b`, near their middle."""
    middle = 0.5 * a + 0.5 * b
    return middle if a < middle <= b else b


@helper(inline=False)
def _part_by_first(rows: Rows, members: Integers, tol: float, probe: NDArray[Any]) -> Split:
    """A column in which some row is more than 2 `tol` from the first, parted half way; none if there is no such row."""
    copy_row(rows, members[0], probe)
    for k in range(1, members.size):
        column = first_beyond(rows, members[k], probe, 2.0 * tol)
        if column >= 0:
            while not abs(value(rows, members[k], column) - np.float64(probe[column])) > 2.0 * tol:
                column += 1
            a, b = value(rows, members[k], column), np.float64(probe[column])
            return Split(column, column + 1, _between(min(a, b), max(a, b)))
    return Split(-1, 0, 0.0)


@helper(inline=False)
def _partition(
    rows: Rows, members: Integers, tree: Tree, node: int, probe: NDArray[Any], below: NDArray[np.bool_]
) -> int:
    """Move the rows below the node's threshold to the front; how many there are."""
    # All far reads first, which then overlap: no branch waits for one.
    for k in range(members.size):
        below[k] = _compared_row(rows, members[k], tree, node, probe) < tree.threshold[node]
    lo, hi = 0, members.size - 1
    while lo <= hi:
        if below[lo]:
            lo += 1
        else:
            members[lo], members[hi] = members[hi], members[lo]
            below[lo] = below[hi]
            hi -= 1
    return lo


@helper(inline=False)
def _compared_row(rows: Rows, r: int, tree: Tree, node: int, probe: NDArray[Any]) -> float:
    if tree.end[node] == tree.column[node] + 1:
        return value(rows, r, tree.column[node])
    copy_row(rows, r, probe)
    return deviation(probe, tree.centers[tree.center[node]], tree.column[node], tree.end[node])
