"""Kernels of adaptive TAP: the units on their own, the Gaussian model, and what the two tell each other.

See `adaptive_tap` for the equations.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from tapcore._base.blas import Blas, factor, solve_factored, solve_lower, square
from tapcore._base.jit import kernel, scalar
from tapcore.inference.arithmetic import larger
from tapcore.inference.progress import Progress, Rule, judge
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
    """What each worker needs: arrays with a leading axis of workers."""

    X: Array  # (wide, narrow)
    S: Array  # (narrow, narrow)
    Y: Array  # (narrow, wide + narrow)
    z: Array  # (narrow,)
    integers: NDArray[np.int32]


class Layout(NamedTuple):
    """Which side and which columns of it each layer has."""

    side: NDArray[np.int64]  # 0 wide, 1 narrow
    start: NDArray[np.int64]
    end: NDArray[np.int64]


@kernel()
def unit_moments(b: int, sites: Sites, layout: Layout, sides: Any, blocks: NDArray[np.int64]) -> None:
    """Means and variances of the units on their own."""
    for layer in range(sites.size.size):
        side = sides[layout.side[layer]]
        a, z = layout.start[layer], layout.end[layer]
        for k in range(blocks[b, 0], blocks[b, 0] + blocks[b, 1]):
            layer_moments(sites, layer, side.B[k, a:z], side.A[k, a:z], side.a[k, a:z], side.c[k, a:z])


@kernel()
def responses(b: int, sides: Any, J: Array, JT: Array, blocks: NDArray[np.int64]) -> None:
    """Write r and t, and what the Gaussian's narrow side is solved for."""
    lo, hi = blocks[b, 0], blocks[b, 0] + blocks[b, 1]
    for s in range(2):
        side = sides[s]
        for k in range(lo, hi):
            for i in range(side.a.shape[1]):
                left = 1.0 - side.A[k, i] * side.c[k, i]
                side.r[k, i] = side.c[k, i] / left
                side.t[k, i] = (side.a[k, i] - side.c[k, i] * side.B[k, i]) / left
    wide, narrow = sides
    # In turn: narrow.gauss = t_N + r_N J^T t_W, wide.pull = J narrow.gauss, narrow.pull = J^T (r_W wide.pull).
    np.dot(wide.t[lo:hi], J, narrow.pull[lo:hi])
    for k in range(lo, hi):
        for j in range(narrow.t.shape[1]):
            narrow.gauss[k, j] = narrow.t[k, j] + narrow.r[k, j] * narrow.pull[k, j]
    np.dot(narrow.gauss[lo:hi], JT, wide.pull[lo:hi])
    for k in range(lo, hi):
        for i in range(wide.t.shape[1]):
            wide.pull[k, i] *= wide.r[k, i]
    np.dot(wide.pull[lo:hi], J, narrow.pull[lo:hi])


@kernel()
def gaussian_side(
    worker: int, workers: int, active: int, blas: Blas, sides: Any, J: Array, JT: Array, log_det: Array,
    definite: NDArray[np.bool_], scratch: Scratch,
) -> None:  # fmt: skip
    """Means of the narrow side and stretches of both, chain by chain; whether the Gaussian exists."""
    wide, narrow = sides
    X, S, Y, z, integers = (
        scratch.X[worker], scratch.S[worker], scratch.Y[worker], scratch.z[worker], scratch.integers[worker],
    )  # fmt: skip
    n, m = X.shape
    for k in range(worker, active, workers):
        for i in range(n):
            root = np.sqrt(wide.r[k, i])
            for j in range(m):
                X[i, j] = root * J[i, j]
        square(blas, integers, X, S)
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
        definite[k] = all_finite(z) and factor(blas, integers, S)
        if not definite[k]:
            continue
        log_det[k] = 0.0
        for j in range(m):
            log_det[k] += 2.0 * np.log(S[j, j])
        solve_factored(blas, integers, S, z)
        solve_lower(blas, integers, S, Y)
        wide.stretch[k, :] = 0.0
        for j in range(m):
            narrow.gauss[k, j] += np.sqrt(narrow.r[k, j]) * z[j]
            for i in range(n):
                wide.stretch[k, i] += Y[j, i] * Y[j, i]
            for i in range(m):
                narrow.stretch[k, i] += Y[j, n + i] * Y[j, n + i]


@scalar
def all_finite(x: Array) -> bool:
    """Whether all entries of a row are finite."""
    finite = True
    for i in range(x.size):
        finite = finite and np.isfinite(x[i])
    return finite


@scalar
def _gaussian_means(sides: Any, J: Array, JT: Array, lo: int, hi: int) -> None:
    """Means of the wide side, and what each side pulls at the other with."""
    wide, narrow = sides
    np.dot(narrow.gauss[lo:hi], JT, wide.pull[lo:hi])
    for k in range(lo, hi):
        for i in range(wide.t.shape[1]):
            wide.gauss[k, i] = wide.t[k, i] + wide.r[k, i] * wide.pull[k, i]
    np.dot(wide.gauss[lo:hi], J, narrow.pull[lo:hi])


@kernel()
def exchange(
    b: int, sides: Any, squares: Array, J: Array, JT: Array, definite: NDArray[np.bool_], retries: NDArray[np.int64],
    progress: Progress, rule: Rule, blocks: NDArray[np.int64],
) -> None:  # fmt: skip
    """New fields and precisions from the Gaussian, and how far the two sides are apart."""
    lo, hi = blocks[b, 0], blocks[b, 0] + blocks[b, 1]
    _gaussian_means(sides, J, JT, lo, hi)
    units = sides[0].a.shape[1] + sides[1].a.shape[1]
    for k in range(lo, hi):
        progress.residual[k] = 0.0
        progress.square[k] = 0.0
        if not definite[k]:
            _lower_precisions(sides, squares, k)
            retries[k] += 1
            # Too many, or moments that are not finite, end the chain; else it goes on as one that has swept.
            lost = retries[k] > MOST_RETRIES or not (all_finite(sides[0].a[k]) and all_finite(sides[1].a[k]))
            progress.residual[k] = np.nan if lost else 1.0
            judge(progress, rule, k, units)
            continue
        retries[k] = 0
        d = progress.damping[k]
        for s in range(2):
            side = sides[s]
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
        judge(progress, rule, k, units)


@scalar
def _lower_precisions(sides: Any, squares: Array, k: int) -> None:
    """Double A and add TAP's, which makes ``D - J`` positive definite in the end, with about the same means."""
    wide, narrow = sides
    for i in range(wide.a.shape[1]):
        change = wide.A[k, i]
        for j in range(narrow.a.shape[1]):
            change -= squares[i, j] * narrow.c[k, j]
        wide.A[k, i] += change
        wide.B[k, i] += change * wide.a[k, i]
    for j in range(narrow.a.shape[1]):
        change = narrow.A[k, j]
        for i in range(wide.a.shape[1]):
            change -= squares[i, j] * wide.c[k, i]
        narrow.A[k, j] += change
        narrow.B[k, j] += change * narrow.a[k, j]


@kernel()
def energies(b: int, sides: Any, log_det: Array, J: Array, JT: Array, blocks: NDArray[np.int64], out: Array) -> None:
    """Write F, minus the expectation-consistent ln Z, of the chains of block `b`, but for the units' own ln Z.

    -F is ln Z of the units and of the Gaussian, less that of independent Gaussians of precision 1/c and mean a; in r
    and t, ``sum [ln Z_i - ln(1 - A c)/2 + (t pull + (a^2 A - 2 a B + c B^2)/(1 - A c))/2] - ln det S / 2``.
    """
    lo, hi = blocks[b, 0], blocks[b, 0] + blocks[b, 1]
    _gaussian_means(sides, J, JT, lo, hi)
    for k in range(lo, hi):
        total = -0.5 * log_det[k]
        for s in range(2):
            side = sides[s]
            for i in range(side.a.shape[1]):
                A, B, a, c = side.A[k, i], side.B[k, i], side.a[k, i], side.c[k, i]
                left = 1.0 - A * c
                total += 0.5 * (side.t[k, i] * side.pull[k, i] + ((a * A - 2.0 * B) * a + c * B * B) / left)
                total -= 0.5 * np.log(left)
        out[k] = -total


@kernel()
def unit_energies(
    b: int, sites: Sites, layout: Layout, sides: Any, blocks: NDArray[np.int64], log_z: Array, out: Array
) -> None:
    """Subtract the units' own ln Z from `out`; `log_z` has rows for scratch."""
    for layer in range(sites.size.size):
        side = sides[layout.side[layer]]
        a, z = layout.start[layer], layout.end[layer]
        for k in range(blocks[b, 0], blocks[b, 0] + blocks[b, 1]):
            row = log_z[b, : z - a]
            layer_log_z(sites, layer, side.B[k, a:z], side.A[k, a:z], row)
            for i in range(row.size):
                out[k] -= row[i]


@kernel()
def covariances(
    worker: int, workers: int, blas: Blas, sides: Any, J: Array, scratch: Scratch, left: Array, right: Array,
    found: Array,
) -> None:  # fmt: skip
    """Add up ``C_WN = r_W W sqrt(r_N) S^-1 sqrt(r_N)`` of the chains of a worker."""
    wide, narrow = sides
    X, S, integers, out = scratch.X[worker], scratch.S[worker], scratch.integers[worker], found[worker]
    Y, P = left[worker], right[worker]
    n, m = J.shape
    for k in range(worker, wide.a.shape[0], workers):
        for i in range(n):
            root = np.sqrt(wide.r[k, i])
            for j in range(m):
                X[i, j] = root * J[i, j] * np.sqrt(narrow.r[k, j])
        square(blas, integers, X, S)
        P[:, :] = 0.0
        for j in range(m):
            for i in range(j + 1):
                S[j, i] = -S[j, i]
            S[j, j] += 1.0
            P[j, j] = np.sqrt(narrow.r[k, j])
            for i in range(n):
                Y[j, i] = np.sqrt(narrow.r[k, j]) * J[i, j]
        if not factor(blas, integers, S):
            out[:, :] = np.nan
            return
        solve_lower(blas, integers, S, Y)
        solve_lower(blas, integers, S, P)
        np.dot(Y.T, P, X)
        for i in range(n):
            for j in range(m):
                out[i, j] += wide.r[k, i] * X[i, j]
