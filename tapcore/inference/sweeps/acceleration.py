"""Anderson acceleration of the sweeps, chain by chain, where the iteration is seen to contract.

A sweep maps x, the fields (B, A) of the odd layers and the means of the even ones, to G(x). With differences of
successive residuals ``r = G(x) - x`` and images, the next point is ``G(x) - sum_j g_j dG_j`` where the g minimise
``|r - sum_j g_j dr_j|`` (Anderson's method; Walker and Ni, SIAM J. Numer. Anal. 49, 1715, 2011). Residuals are measured
in the means of the odd layers: ``var (dB - mean dA)``.

Extrapolation by itself is as happy to end at an unstable solution, which the iteration would leave. In the metric of
the variances the Jacobian J of the iteration is nearly symmetric, and ``-<dx, dr> = <dx, (1 - J) dx>``: as long as this
is positive definite on the span of the remembered steps, every direction seen contracts. Where it is not, the chain
forgets them and goes on plainly. This keeps chains in the basins of the plain iteration even when acceleration begins
early. Where J turns chains, with eigenvalues far from the real axis, the test has no ground: steps and residuals of two
sweeps then give ``<dx_i, dr_j>`` and ``<dx_j, dr_i>`` that differ, and a chain that keeps showing it is left to plain
sweeps and their damping.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from tapcore._base.blocks import block_kernel
from tapcore._base.intrinsics import stack_array
from tapcore._base.jit import helper, scalar
from tapcore.equations.layers import row_of
from tapcore.inference.progress import CHECK, MOVED, is_steady

Array = NDArray[Any]

# Differences remembered; more gain a few percent of the sweeps and cost as much time.
DEPTH = 6
PAIRS = DEPTH * DEPTH
# Begun once a chain is steady and its largest change in a sweep below this, if the plain iteration would take WORTH
# sweeps more.
BEGIN = 0.03
WORTH = 40
# Moves begin with this many differences.
GATHER = 2
# A residual that has grown so many times since the smallest one takes the chain back to where it was, to start again at
# BACKOFF times that residual, as does a chain that has had to forget RESTARTS times without halving its residual.
GROWTH = 4.0
BACKOFF = 0.1
RESTARTS = 128
# Products are called skew if the largest difference <dx_i, dr_j> - <dx_j, dr_i>, over the latest j and all i, is this
# share of the largest sum. A chain is left alone once skew ones outnumber others by so many in any stretch of sweeps.
SKEW, SKEWED = 0.3, 10
# Added to the normalised normal equations: steps shrink the residual to this much at most, far above rounding errors.
# And to the test of contraction, which steps that are parallel would fail by rounding.
RIDGE = 1e-12
# The steps seen may hide slower modes. Errors are taken to be CAUTION times as long as the steps say, relative to the
# residual, and at least as long as at a rate of contraction of 1 - 1/LEAST.
CAUTION, LEAST = 2.0, 32.0


class Memory(NamedTuple):
    """What is remembered of each chain: (slots, ...) arrays, with H odd units and D = 2 H + even units."""

    at: Array  # (slots, 2 H) fields B and A of odd layers, one layer after the other, at the last point
    image: Array  # (slots, D) the same, and the means of even layers, as the sweep made them of it
    images: Array  # (slots, DEPTH, D) differences; single precision will do, as it is relative to the step
    residual: Array  # (slots, H) in the means
    residuals: Array  # (slots, DEPTH, H) differences
    steps: Array  # (slots, DEPTH, H) differences of points, as dB - mean dA
    gram: Array  # (slots, DEPTH, DEPTH) products of differences of residuals
    curvature: Array  # (slots, DEPTH, DEPTH) products of steps and differences of residuals, negated
    length: Array  # (slots, DEPTH) of the steps, in the means
    best: Array  # (slots,) smallest residual since the start
    mark: Array  # (slots,) residual from which restarts count
    threshold: Array  # (slots,) largest change below which to start
    known: NDArray[np.int64]  # (slots,) residuals since the start; -1 before
    restarts: NDArray[np.int64]  # (slots,) since the mark
    skewed: NDArray[np.int64]  # (slots,) differences that showed skew products, less others; 0 at least


def empty_memory(sizes: Sequence[int], slots: int, dtype: Any) -> Memory:
    """Arrays for `slots` chains; `forget` makes them ready."""
    odd, even = sum(sizes[1::2]), sum(sizes[0::2])
    every = 2 * odd + even

    # Not zeroed, since most of it is never looked at where chains need few sweeps: `accelerate` does so slot by slot.
    def numbers(*shape: int, dtype: Any = np.float64) -> Array:
        return np.empty((slots, *shape), dtype)

    return Memory(
        at=numbers(2 * odd, dtype=dtype), image=numbers(every, dtype=dtype),
        images=numbers(DEPTH, every, dtype=np.float32), residual=numbers(odd),
        residuals=numbers(DEPTH, odd), steps=numbers(DEPTH, odd), gram=numbers(DEPTH, DEPTH),
        curvature=numbers(DEPTH, DEPTH), length=numbers(DEPTH), best=numbers(), mark=numbers(), threshold=numbers(),
        known=np.full(slots, -1), restarts=np.zeros(slots, np.int64), skewed=np.zeros(slots, np.int64),
    )  # fmt: skip


def forget(memory: Memory, slots: NDArray[np.int64]) -> None:
    """Make slots ready for other chains."""
    memory.known[slots] = -1
    memory.restarts[slots] = 0
    memory.skewed[slots] = 0
    memory.threshold[slots] = BEGIN


@block_kernel
def accelerate(k: int, job: Any) -> None:
    """Between the fields of the odd layers and their moments: extrapolate chain k, or leave it as it is.

    B and A of the odd layers and the means of the even ones, the image of the last point, become the next point;
    `progress.step` says what kind of sweep this is.
    """
    memory, progress = job.memory, job.progress
    s = progress.slot[k]
    count, size = memory.known[s], 0.0
    if count >= 0 and progress.damping[k] > 0.0:
        _leave_alone(memory, s)  # it has come to need damping
        return
    if count >= 0:
        latest = (count - 1) % DEPTH  # where the latest difference goes
        square = _take_residual(job, s, k, max(latest, 0))
        size = np.sqrt(square)
        if count > 1 and not size <= GROWTH * memory.best[s]:
            _take_back(job, s, k)
            progress.step[k] = MOVED
            _leave_alone(memory, s)
            return
        if count == 0:
            memory.mark[s] = size
        memory.best[s] = size if count < 2 else min(size, memory.best[s])
        _take_image(job, s, k, max(latest, 0))
    else:
        # The first differences are from nothing, and replaced by the next.
        memory.at[s, :] = 0
        memory.image[s, :] = 0
        memory.residual[s, :] = 0
    memory.known[s] = count + 1
    if count > 0:
        _extrapolate(job, s, k, size)
    if memory.known[s] >= 0:
        _take_point(job, s, k, max(memory.known[s] - 1, 0) % DEPTH)


@helper(inline=False)
def next_concerned(job: Any, first: int, hi: int) -> int:
    """First of the chains first..hi-1 that is accelerated already, or is to be; `hi` if none is.

    To be: near a solution, undamped, steady, and with many sweeps to go at its rate of contraction.
    """
    memory, progress = job.memory, job.progress
    slot, known, threshold = progress.slot, memory.known, memory.threshold
    past, rates, damping, waited = progress.past, progress.rate, progress.damping, progress.waited
    for k in range(first, hi):
        s, residual, rate = slot[k], past[k, 0], rates[k]
        if known[s] >= 0:
            return k
        if damping[k] > 0.0 or not residual < threshold[s] or not is_steady(past[k], waited[k]):
            continue
        if rate >= 1.0 or residual * rate**WORTH > (1.0 - rate) * job.rule.tol:
            return k
    return hi


@scalar
def _extrapolate(job: Any, s: int, k: int, size: float) -> None:
    """Move chain k, unless a direction does not contract or it is close enough to be looked at.

    `size` is that of the residual.
    """
    memory, progress, rule = job.memory, job.progress, job.rule
    known = memory.known[s] - 1  # differences since the start
    n, latest = min(known, DEPTH), (known - 1) % DEPTH
    stretch = CAUTION * _update_products(memory, s, n, latest)
    if memory.skewed[s] == SKEWED:
        _leave_alone(memory, s)
        return
    weights = stack_array(DEPTH, np.float64(0.0))
    if not (_contracts(memory, s, n) and _solve(memory, s, n, weights)):
        _restart(memory, s, size)
        return
    if n < GATHER:
        return
    if size * stretch <= max(rule.tol, rule.floor * stretch):
        progress.step[k] = CHECK
        progress.rate[k] = 1.0 - 1.0 / stretch
        return
    progress.step[k] = MOVED
    for j in range(n):
        _subtract(job, memory.images[s, j], weights[j], k)


@scalar
def _restart(memory: Memory, s: int, size: float) -> None:
    """Forget all differences, and keep the last point."""
    memory.known[s] = 1
    memory.best[s] = size
    memory.restarts[s] += 1
    if size <= 0.5 * memory.mark[s]:
        memory.mark[s] = size
        memory.restarts[s] = 0
    elif memory.restarts[s] == RESTARTS:
        _leave_alone(memory, s)


@scalar
def _leave_alone(memory: Memory, s: int) -> None:
    """Go on plainly until the residual is much smaller."""
    memory.known[s] = -1
    memory.restarts[s] = 0
    memory.skewed[s] = 0
    memory.threshold[s] = BACKOFF * min(memory.threshold[s], memory.best[s])


@scalar
def _take_back(job: Any, s: int, k: int) -> None:
    """Go back to the last image, plainly."""
    chains, image, p = job.chains, job.memory.image[s], 0
    for layer in range(1, job.machine.size.size, 2):
        B, A = row_of(chains, chains.B, layer, k), row_of(chains, chains.A, layer, k)
        n = B.size
        for i in range(n):
            B[i], A[i] = image[p + i], image[p + n + i]
        p += 2 * n
    for layer in range(0, job.machine.size.size, 2):
        mean = row_of(chains, chains.mean, layer, k)
        for i in range(mean.size):
            mean[i] = image[p + i]
        p += mean.size


@scalar
def _take_residual(job: Any, s: int, k: int, j: int) -> float:
    """Residual at the last point, and its difference from the one before as number j; its square."""
    chains, memory = job.chains, job.memory
    at, residual, difference = memory.at[s], memory.residual[s], memory.residuals[s, j]
    p, q = 0, 0
    for layer in range(1, job.machine.size.size, 2):
        mean, var = row_of(chains, chains.mean, layer, k), row_of(chains, chains.var, layer, k)
        B, A = row_of(chains, chains.B, layer, k), row_of(chains, chains.A, layer, k)
        n = B.size
        for i in range(n):
            r = np.float64(var[i]) * ((B[i] - at[p + i]) - mean[i] * (A[i] - at[p + n + i]))
            difference[q + i] = r - residual[q + i]
            residual[q + i] = r
        p += 2 * n
        q += n
    return dot(residual, residual)


@scalar
def _take_image(job: Any, s: int, k: int, j: int) -> None:
    """Image of the last point, and its difference from the one before as number j."""
    chains, image, difference = job.chains, job.memory.image[s], job.memory.images[s, j]
    p = 0
    for layer in range(1, job.machine.size.size, 2):
        n = job.machine.size[layer]
        _replace(image[p : p + n], row_of(chains, chains.B, layer, k), difference[p : p + n])
        _replace(image[p + n : p + 2 * n], row_of(chains, chains.A, layer, k), difference[p + n : p + 2 * n])
        p += 2 * n
    for layer in range(0, job.machine.size.size, 2):
        n = job.machine.size[layer]
        _replace(image[p : p + n], row_of(chains, chains.mean, layer, k), difference[p : p + n])
        p += n


@scalar
def _replace(old: Array, new: Array, difference: Array) -> None:
    for i in range(old.size):
        difference[i] = new[i] - old[i]
        old[i] = new[i]


@scalar
def _take_point(job: Any, s: int, k: int, j: int) -> None:
    """Where the next sweep begins, and the step there as number j."""
    chains, memory = job.chains, job.memory
    at, step = memory.at[s], memory.steps[s, j]
    p, q, square = 0, 0, 0.0
    for layer in range(1, job.machine.size.size, 2):
        mean, var = row_of(chains, chains.mean, layer, k), row_of(chains, chains.var, layer, k)
        B, A = row_of(chains, chains.B, layer, k), row_of(chains, chains.A, layer, k)
        n = B.size
        for i in range(n):
            step[q + i] = (B[i] - at[p + i]) - mean[i] * (A[i] - at[p + n + i])
            at[p + i], at[p + n + i] = B[i], A[i]
        square += weighted_square(step[q : q + n], var)
        p += 2 * n
        q += n
    memory.length[s, j] = np.sqrt(square)


@scalar
def _update_products(memory: Memory, s: int, n: int, j: int) -> float:
    """Products of difference j with all n; how much longer than its residual the error may be, 1/(1 - rate)."""
    gram, curvature, steps, residuals = memory.gram[s], memory.curvature[s], memory.steps[s], memory.residuals[s]
    even, odd = 0.0, 0.0
    for i in range(n):
        gram[i, j] = gram[j, i] = dot(residuals[i], residuals[j])
        one, other = dot(steps[i], residuals[j]), dot(steps[j], residuals[i])
        curvature[i, j] = curvature[j, i] = -0.5 * (one + other)
        even, odd = max(even, abs(one + other)), max(odd, abs(one - other))
    if n > 1:
        memory.skewed[s] = memory.skewed[s] + 1 if odd > SKEW * even else max(memory.skewed[s] - 1, 0)
    stretch = LEAST
    for i in range(n):
        stretch = max(stretch, memory.length[s, i] / np.sqrt(gram[i, i]))
    return stretch


@scalar
def _contracts(memory: Memory, s: int, n: int) -> bool:
    """Whether every direction seen contracts: the products of steps and residuals are positive definite."""
    factor = stack_array(PAIRS, np.float64(0.0))
    return cholesky(memory.curvature[s], n, RIDGE, factor)


@scalar
def _solve(memory: Memory, s: int, n: int, weights: Array) -> bool:
    """Weights of the differences that fit the residual best."""
    factor = stack_array(PAIRS, np.float64(0.0))
    if not cholesky(memory.gram[s], n, RIDGE, factor):
        return False
    for i in range(n):
        total = dot(memory.residuals[s, i], memory.residual[s])
        for j in range(i):
            total -= factor[i * DEPTH + j] * weights[j]
        weights[i] = total / factor[i * DEPTH + i]
    for i in range(n - 1, -1, -1):
        total = weights[i]
        for j in range(i + 1, n):
            total -= factor[j * DEPTH + i] * weights[j]
        weights[i] = total / factor[i * DEPTH + i]
    return True


@scalar
def cholesky(matrix: Array, n: int, ridge: float, factor: Array) -> bool:
    """Lower factor of the leading n x n part with its diagonal raised by the share `ridge`; False unless definite."""
    for i in range(n):
        for j in range(i + 1):
            total = matrix[i, j] * (1.0 + ridge) if i == j else matrix[i, j]
            for m in range(j):
                total -= factor[i * DEPTH + m] * factor[j * DEPTH + m]
            if i == j:
                if not total > 0.0:
                    return False
                factor[i * DEPTH + i] = np.sqrt(total)
            else:
                factor[i * DEPTH + j] = total / factor[j * DEPTH + j]
    return True


@scalar
def _subtract(job: Any, difference: Array, weight: float, k: int) -> None:
    """Subtract `weight` times a difference of images from the point of chain k."""
    chains = job.chains
    p = 0
    for layer in range(1, job.machine.size.size, 2):
        n = job.machine.size[layer]
        add_multiple(row_of(chains, chains.B, layer, k), difference[p : p + n], -weight)
        add_multiple(row_of(chains, chains.A, layer, k), difference[p + n : p + 2 * n], -weight)
        p += 2 * n
    for layer in range(0, job.machine.size.size, 2):
        n = job.machine.size[layer]
        add_multiple(row_of(chains, chains.mean, layer, k), difference[p : p + n], -weight)
        p += n


@scalar
def add_multiple(x: Array, y: Array, weight: float) -> None:
    """Add `weight` times y to x."""
    w = x.dtype.type(weight)
    for i in range(x.size):
        x[i] += w * y[i]


@helper(reassociate=True)
def dot(x: Array, y: Array) -> float:
    """Sum of products."""
    total = 0.0
    for i in range(x.size):
        total += x[i] * y[i]
    return total


@helper(reassociate=True)
def weighted_square(x: Array, weights: Array) -> float:
    """Sum of squares of x times weights."""
    total = 0.0
    for i in range(x.size):
        y = x[i] * weights[i]
        total += y * y
    return total
