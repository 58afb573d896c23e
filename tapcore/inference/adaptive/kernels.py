"""Kernels of adaptive TAP: the units on their own, the Gaussian model, and what the two tell each other.

See `adaptive_tap` for the equations.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from tapcore._base.blas import Blas, factor, multiply, solve_factored, solve_lower, square
from tapcore._base.blocks import block_kernel, call_block
from tapcore._base.intrinsics import segment
from tapcore._base.jit import scalar
from tapcore.inference.arithmetic import larger
from tapcore.inference.progress import ACTIVE, Progress, Rule, judge
from tapcore.units.sites import Sites, layer_log_z, layer_moments

Array = NDArray[Any]

# A chain whose S is not positive definite has its precisions lowered, so many times in a row at most.
MOST_RETRIES = 30


class Side(NamedTuple):
    """One parity's units: (K, n) arrays."""

    A: Array  # fields and precisions of the units on their own
    B: Array
    a: Array  # their means and variances
    c: Array
    r: Array
    t: Array
    pull: Array  # J times the Gaussian means of the other side
    stretch: Array  # C_ii = r (1 + r stretch)
    gauss: Array  # means of the Gaussian


class Scratch(NamedTuple):
    """What each block needs: arrays with a leading axis of blocks."""

    X: Array  # (wide, narrow)
    S: Array  # (narrow, narrow)
    Y: Array  # (narrow, wide + narrow)
    z: Array  # (narrow,)
    log_z: Array  # (wide,)
    integers: NDArray[np.int32]


class Layout(NamedTuple):
    """Which side and which columns of it each layer has."""

    side: NDArray[np.int64]  # 0 wide, 1 narrow
    start: NDArray[np.int64]
    end: NDArray[np.int64]


class State(NamedTuple):
    """K chains of a machine."""

    sites: Sites
    layout: Layout
    J: Array  # (wide, narrow) couplings
    JT: Array  # (narrow, wide) the same, transposed
    squares: Array  # (wide, narrow) and their squares
    wide: Side
    narrow: Side
    log_det: Array  # (K,) ln det S
    definite: NDArray[np.bool_]  # (K,) whether the Gaussian exists
    retries: NDArray[np.int64]  # (K,) times in a row that precisions were lowered
    free_energy: Array  # (K,)
    progress: Progress
    blocks: NDArray[np.int64]  # (blocks, 2) first row and number of rows
    scratch: Scratch
    blas: Blas


@scalar
def _rows(x: Array, lo: int, count: int) -> Array:
    """Numbers of chains lo..lo+count-1 of (K, n) ones."""
    n = x.shape[1]
    return segment(x.reshape(x.size), lo * n, count * n)


@block_kernel
def solve_gaussians(b: int, job: State) -> None:
    """The units of the active chains of block `b` on their own, and the Gaussian that follows, but for wide means.

    Products are of all its rows: of a chain that has stopped nothing is read any more but its fields and precisions.
    """
    lo, hi = job.blocks[b, 0], job.blocks[b, 0] + job.blocks[b, 1]
    for layer in range(job.sites.size.size):
        side = job.wide if job.layout.side[layer] == 0 else job.narrow
        a, z = job.layout.start[layer], job.layout.end[layer]
        for k in range(lo, hi):
            if job.progress.status[k] == ACTIVE:
                layer_moments(job.sites, layer, side.B[k, a:z], side.A[k, a:z], side.a[k, a:z], side.c[k, a:z])
    _respond(job.wide, lo, hi)
    _respond(job.narrow, lo, hi)
    _pull_narrow(job, lo, hi)
    for k in range(lo, hi):
        if job.progress.status[k] == ACTIVE:
            job.definite[k] = _gaussian(job, b, k)


@scalar
def _respond(side: Side, lo: int, hi: int) -> None:
    """Write r and t."""
    for k in range(lo, hi):
        for i in range(side.a.shape[1]):
            left = 1.0 - side.A[k, i] * side.c[k, i]
            side.r[k, i] = side.c[k, i] / left
            side.t[k, i] = (side.a[k, i] - side.c[k, i] * side.B[k, i]) / left


@scalar
def _across(job: State, x: Array, narrow: bool, lo: int, hi: int, out: Array) -> None:
    """Couplings times (K, n) numbers of the side that `narrow` tells, for rows lo..hi."""
    J = job.JT if narrow else job.J
    multiply(_rows(x, lo, hi - lo), J.reshape(J.size), hi - lo, False, _rows(out, lo, hi - lo))


@scalar
def _pull_narrow(job: State, lo: int, hi: int) -> None:
    """What the Gaussian's narrow side is solved for.

    In turn: narrow.gauss = t_N + r_N J^T t_W, wide.pull = J narrow.gauss, narrow.pull = J^T (r_W wide.pull).
    """
    wide, narrow = job.wide, job.narrow
    _across(job, wide.t, False, lo, hi, narrow.pull)
    for k in range(lo, hi):
        for j in range(narrow.t.shape[1]):
            narrow.gauss[k, j] = narrow.t[k, j] + narrow.r[k, j] * narrow.pull[k, j]
    _across(job, narrow.gauss, True, lo, hi, wide.pull)
    for k in range(lo, hi):
        for i in range(wide.t.shape[1]):
            wide.pull[k, i] *= wide.r[k, i]
    _across(job, wide.pull, False, lo, hi, narrow.pull)


@scalar
def _gaussian(job: State, b: int, k: int) -> bool:
    """Means of the narrow side and stretches of both in chain k; whether the Gaussian exists."""
    wide, narrow, J, JT, scratch = job.wide, job.narrow, job.J, job.JT, job.scratch
    X, S, Y, z, integers = scratch.X[b], scratch.S[b], scratch.Y[b], scratch.z[b], scratch.integers[b]
    n, m = X.shape
    for i in range(n):
        root = np.sqrt(wide.r[k, i])
        for j in range(m):
            X[i, j] = root * J[i, j]
    square(job.blas, integers, X, S)
    for j in range(m):
        root = np.sqrt(narrow.r[k, j])
        z[j] = root * narrow.pull[k, j]
        for i in range(n):
            Y[j, i] = root * JT[j, i]
        narrow.stretch[k, j] = S[j, j]
        for i in range(j + 1):
            Y[j, n + i] = root * S[j, i]
            Y[i, n + j] = np.sqrt(narrow.r[k, i]) * S[j, i]
    for j in range(m):
        root = np.sqrt(narrow.r[k, j])
        for i in range(j + 1):
            S[j, i] = -root * np.sqrt(narrow.r[k, i]) * S[j, i]
        S[j, j] += 1.0
    if not (all_finite(z) and factor(job.blas, integers, S)):
        return False
    job.log_det[k] = 0.0
    for j in range(m):
        job.log_det[k] += 2.0 * np.log(S[j, j])
    solve_factored(job.blas, integers, S, z)
    solve_lower(job.blas, integers, S, Y)
    wide.stretch[k, :] = 0.0
    for j in range(m):
        narrow.gauss[k, j] += np.sqrt(narrow.r[k, j]) * z[j]
        for i in range(n):
            wide.stretch[k, i] += Y[j, i] * Y[j, i]
        for i in range(m):
            narrow.stretch[k, i] += Y[j, n + i] * Y[j, n + i]
    return True


@scalar
def all_finite(x: Array) -> bool:
    """Whether all entries of a row are finite."""
    finite = True
    for i in range(x.size):
        finite = finite and np.isfinite(x[i])
    return finite


@scalar
def _gaussian_means(job: State, lo: int, hi: int) -> None:
    """Means of the wide side, and what each side pulls at the other with."""
    wide, narrow = job.wide, job.narrow
    _across(job, narrow.gauss, True, lo, hi, wide.pull)
    for k in range(lo, hi):
        for i in range(wide.t.shape[1]):
            wide.gauss[k, i] = wide.t[k, i] + wide.r[k, i] * wide.pull[k, i]
    _across(job, wide.gauss, False, lo, hi, narrow.pull)


class Sweeps(NamedTuple):
    """Sweeps of chains, and when these stop."""

    state: State
    rule: Rule
    most: NDArray[np.int64]  # (1,) sweeps of each block
    calls: Any  # of `solve_gaussians`


@block_kernel
def sweep_block(b: int, job: Sweeps) -> None:
    """Sweep the chains of block `b` so many times, or until all have stopped."""
    lo, hi = job.state.blocks[b, 0], job.state.blocks[b, 0] + job.state.blocks[b, 1]
    left = job.most[0]
    while left > 0:
        call_block(job.calls[0], b, job.state)
        left = left - 1 if _exchange(job, lo, hi) > 0 else 0


@scalar
def _exchange(job: Sweeps, lo: int, hi: int) -> int:
    """New fields and precisions from the Gaussian, and how far the two sides are apart; how many chains are active."""
    state, progress = job.state, job.state.progress
    wide, narrow = state.wide, state.narrow
    _gaussian_means(state, lo, hi)
    active = 0
    for k in range(lo, hi):
        if progress.status[k] != ACTIVE:
            continue
        progress.residual[k] = 0.0
        progress.square[k] = 0.0
        if state.definite[k]:
            state.retries[k] = 0
            _renew(wide, progress, k)
            _renew(narrow, progress, k)
        else:
            _lower_precisions(state, k)
            state.retries[k] += 1
            # Too many, or moments that are not finite, end the chain; else it goes on as one that has swept.
            lost = state.retries[k] > MOST_RETRIES or not (all_finite(wide.a[k]) and all_finite(narrow.a[k]))
            progress.residual[k] = np.nan if lost else 1.0
        judge(progress, job.rule, k, wide.a.shape[1] + narrow.a.shape[1])
        active += progress.status[k] == ACTIVE
    return active


@scalar
def _renew(side: Side, progress: Progress, k: int) -> None:
    """New fields and precisions of one side of chain k."""
    d = progress.damping[k]
    for i in range(side.a.shape[1]):
        g = 1.0 + side.r[k, i] * side.stretch[k, i]
        A = -side.stretch[k, i] / g
        B = (side.pull[k, i] - side.stretch[k, i] * side.t[k, i]) / g
        step = side.gauss[k, i] - side.a[k, i]
        progress.square[k] += ((1.0 - d) * step) ** 2
        change = larger(abs(step), abs(side.r[k, i] * g - side.c[k, i]))
        progress.residual[k] = larger(progress.residual[k], change)
        side.A[k, i] = d * side.A[k, i] + (1.0 - d) * A
        side.B[k, i] = d * side.B[k, i] + (1.0 - d) * B


@scalar
def _lower_precisions(job: State, k: int) -> None:
    """Double A and add TAP's, which makes ``D - J`` positive definite in the end, with about the same means."""
    wide, narrow = job.wide, job.narrow
    for i in range(wide.a.shape[1]):
        change = wide.A[k, i]
        for j in range(narrow.a.shape[1]):
            change -= job.squares[i, j] * narrow.c[k, j]
        wide.A[k, i] += change
        wide.B[k, i] += change * wide.a[k, i]
    for j in range(narrow.a.shape[1]):
        change = narrow.A[k, j]
        for i in range(wide.a.shape[1]):
            change -= job.squares[i, j] * wide.c[k, i]
        narrow.A[k, j] += change
        narrow.B[k, j] += change * narrow.a[k, j]


@block_kernel
def energies(b: int, job: State) -> None:
    """Write F, minus the expectation-consistent ln Z, of the chains of block `b`.

    -F is ln Z of the units and of the Gaussian, less that of independent Gaussians of precision 1/c and mean a; in r
    and t, ``sum [ln Z_i - ln(1 - A c)/2 + (t pull + (a^2 A - 2 a B + c B^2)/(1 - A c))/2] - ln det S / 2``.
    """
    lo, hi = job.blocks[b, 0], job.blocks[b, 0] + job.blocks[b, 1]
    _gaussian_means(job, lo, hi)
    for k in range(lo, hi):
        job.free_energy[k] = -_add_side(job.narrow, k, _add_side(job.wide, k, -0.5 * job.log_det[k]))
    for layer in range(job.sites.size.size):
        side = job.wide if job.layout.side[layer] == 0 else job.narrow
        a, z = job.layout.start[layer], job.layout.end[layer]
        row = job.scratch.log_z[b, : z - a]
        for k in range(lo, hi):
            layer_log_z(job.sites, layer, side.B[k, a:z], side.A[k, a:z], row)
            for i in range(row.size):
                job.free_energy[k] -= row[i]


@scalar
def _add_side(side: Side, k: int, total: float) -> float:
    """Add to `total` what one side of chain k does to -F, but for its units' own ln Z."""
    for i in range(side.a.shape[1]):
        A, B, a, c = side.A[k, i], side.B[k, i], side.a[k, i], side.c[k, i]
        left = 1.0 - A * c
        total += 0.5 * (side.t[k, i] * side.pull[k, i] + ((a * A - 2.0 * B) * a + c * B * B) / left)
        total -= 0.5 * np.log(left)
    return total


class Covariances(NamedTuple):
    """Sums over chains of the Gaussian's covariances of the two sides."""

    state: State
    total: Array  # (blocks, wide, narrow)


@block_kernel
def covariances(b: int, job: Covariances) -> None:
    """Add up ``C_WN = r_W W sqrt(r_N) S^-1 sqrt(r_N)`` of the chains of block `b`."""
    state, scratch, total = job.state, job.state.scratch, job.total[b]
    wide, narrow, J = state.wide, state.narrow, state.J
    X, S, integers = scratch.X[b], scratch.S[b], scratch.integers[b]
    n, m = J.shape
    flat = scratch.Y[b].reshape(m * (n + m))
    first, second = segment(flat, 0, m * n), segment(flat, m * n, m * m)
    Y, P = first.reshape((m, n)), second.reshape((m, m))
    for k in range(state.blocks[b, 0], state.blocks[b, 0] + state.blocks[b, 1]):
        for i in range(n):
            root = np.sqrt(wide.r[k, i])
            for j in range(m):
                X[i, j] = root * J[i, j] * np.sqrt(narrow.r[k, j])
        square(state.blas, integers, X, S)
        P[:, :] = 0.0
        for j in range(m):
            for i in range(j + 1):
                S[j, i] = -S[j, i]
            S[j, j] += 1.0
            P[j, j] = np.sqrt(narrow.r[k, j])
            for i in range(n):
                Y[j, i] = np.sqrt(narrow.r[k, j]) * J[i, j]
        if not factor(state.blas, integers, S):
            total[:, :] = np.nan
            return
        solve_lower(state.blas, integers, S, Y)
        solve_lower(state.blas, integers, S, P)
        # Y^T P, by way of X, to where Y is.
        for i in range(n):
            for j in range(m):
                X[i, j] = Y[j, i]
        multiply(X.reshape(n * m), second, n, False, first)
        for i in range(n):
            for j in range(m):
                total[i, j] += wide.r[k, i] * first[i * m + j]
