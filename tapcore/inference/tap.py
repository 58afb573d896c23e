"""Sweeps of the TAP and naive mean-field equations (Eqs. 32-34, Alg. 1) over blocks of chains.

Blocks run in parallel; inside one, matrix products by single-threaded BLAS, then one pass over each chain's row. A
chain that has converged swaps places with the last active one of its block, so products and passes cover active chains
only.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from tapcore._jit import bits_to_float, float_to_bits, kernel, scalar
from tapcore.fields import Couplings, State, add_fields, onsager
from tapcore.units._protocol import layer_moments

Array = NDArray[Any]

# Residuals of this many sweeps are remembered to estimate the rate of contraction.
MEMORY = 4
# Adaptive damping rises, by RISE of what is left to 1, when a chain's residuals since its smallest one add up to PATH,
# or after PATIENCE sweeps. A chain that passes a saddle point has rising residuals too, but only so far to go; one that
# cycles has not.
PATH = 10.0
PATIENCE = 500
RISE = 0.3

ACTIVE, CONVERGED, FAILED = 0, 1, 2


class Progress(NamedTuple):
    """What is known of each chain, (K,) arrays unless said otherwise."""

    chain: NDArray[np.int64]  # which chain the row holds
    residual: NDArray[np.float64]
    square: NDArray[np.float64]  # sum over means of the squared change
    past: NDArray[np.float64]  # (K, MEMORY) residuals, latest first
    rate: NDArray[np.float64]
    distance: NDArray[np.float64]
    damping: NDArray[np.float64]
    best: NDArray[np.float64]  # smallest residual at this damping
    waited: NDArray[np.float64]  # share of the patience used up since
    sweeps: NDArray[np.int64]
    status: NDArray[np.int64]


def empty_progress(count: int) -> Progress:
    """Arrays for `count` chains."""
    shapes = {"past": (count, MEMORY)}
    integers = ("chain", "sweeps", "status")
    arrays: dict[str, Any] = {}
    for name in Progress._fields:
        arrays[name] = np.zeros(shapes.get(name, (count,)), np.int64 if name in integers else np.float64)
    return Progress(**arrays)


class Rule(NamedTuple):
    """How to iterate and when to stop."""

    second_order: bool  # the W^2 terms: TAP with, naive mean field without
    adapt: bool  # damping adapts to each chain
    by_distance: bool  # stop by the estimated distance, else by the mean squared change
    tol: float  # 0 never stops
    floor: float  # residuals below are rounding errors


@kernel()
def sweep_block(
    b: int,
    sites: Any,
    couplings: Couplings,
    state: State,
    progress: Progress,
    rule: Rule,
    blocks: NDArray[np.int64],
    sweeps: int,
    cold: bool,
) -> None:
    """Sweep block `b` at most `sweeps` times, fewer when all of its chains have stopped.

    Parameters
    ----------
    sites : tuple of sites, one a layer
    blocks : (number of blocks, 2) int64
        First row and number of active rows of each block; the second is updated.
    cold : bool
        The chains start from visible means only: all variances are zero and the first update of odd layers is undamped.
    """
    lo, active = blocks[b, 0], blocks[b, 1]
    for sweep in range(sweeps):
        if active == 0:
            break
        _sweep(sites, couplings, state, progress, rule, lo, lo + active, state.rows[b], cold and sweep == 0)
        active = _retire(state, progress, rule, lo, active)
    blocks[b, 1] = active


@scalar
def _sweep(
    sites: Any,
    couplings: Couplings,
    state: State,
    progress: Progress,
    rule: Rule,
    lo: int,
    hi: int,
    rows: Array,
    first: bool,
) -> None:
    """One sweep of rows lo..hi: odd layers from even ones, then even from odd (Alg. 1)."""
    for k in range(lo, hi):
        progress.residual[k] = 0.0
        progress.square[k] = 0.0
    for parity in (1, 0):
        for layer in range(parity, len(state.mean), 2):
            still = first and parity == 1
            add_fields(couplings, state, layer, lo, hi, rule.second_order, still)
            n = state.mean[layer].shape[1]
            new_mean, new_var = rows[0, :n], rows[1, :n]
            for k in range(lo, hi):
                mean, var, B, A = state.mean[layer][k], state.var[layer][k], state.B[layer][k], state.A[layer][k]
                if rule.second_order:
                    onsager(mean, B, A)
                layer_moments(sites, layer, B, A, new_mean, new_var)
                damping = 0.0 if still else progress.damping[k]
                change = mix(mean, var, new_mean, new_var, damping)
                progress.residual[k] = larger(progress.residual[k], change)
                if not rule.by_distance:
                    progress.square[k] += (1.0 - damping) ** 2 * squared_change(mean, new_mean)


@scalar
def mix(mean: Array, var: Array, new_mean: Array, new_var: Array, damping: float) -> float:
    """Move (mean, var) to damping * old + (1 - damping) * new; the largest |new - old|, NaN if any is.

    On return `new_mean` holds new - old. The largest magnitude is found among bit patterns, which for non-negative
    floats are in the same order, NaN above inf: a maximum of integers vectorises without giving up NaN.
    """
    d = mean.dtype.type(damping)
    top = float_to_bits(mean.dtype.type(0.0))
    for i in range(mean.size):
        step_mean = new_mean[i] - mean[i]
        step_var = new_var[i] - var[i]
        mean[i] = new_mean[i] - d * step_mean
        var[i] = new_var[i] - d * step_var
        new_mean[i] = step_mean
        top = max(top, float_to_bits(abs(step_mean)), float_to_bits(abs(step_var)))
    return float(bits_to_float(top))


@kernel(reassociate=True)
def squared_change(mean: Array, change: Array) -> float:
    """Sum of squares of `change`."""
    total = change.dtype.type(0.0)
    for i in range(change.size):
        total += change[i] * change[i]
    return float(total)


@scalar
def larger(a: float, b: float) -> float:
    """Maximum that keeps NaN."""
    return b if not b <= a else a


@scalar
def _retire(state: State, progress: Progress, rule: Rule, lo: int, active: int) -> int:
    """Judge each active chain after a sweep; stopped ones move behind the active ones. How many are still active."""
    units = 0
    for layer in range(len(state.mean)):
        units += state.mean[layer].shape[1]
    k = lo
    while k < lo + active:
        _judge(progress, rule, k, units)
        if progress.status[k] == ACTIVE:
            k += 1
        else:
            active -= 1
            swap_chains(state, progress, k, lo + active)
            # The chain swapped in has not been judged yet, unless it is the same one.
    return active


@scalar
def _judge(progress: Progress, rule: Rule, k: int, units: int) -> None:
    """Update rate, distance, damping and status of chain k from the residual of the sweep just done."""
    residual = progress.residual[k]
    past = progress.past[k]
    progress.sweeps[k] += 1
    if not np.isfinite(residual):
        progress.distance[k] = np.inf
        progress.status[k] = FAILED
        return
    known = min(past[1], past[2], past[3]) > 0.0
    if known and residual > rule.floor:
        # Over two sweeps at a time, since residuals of oscillating chains alternate; the slowest of the recent ones.
        progress.rate[k] = np.sqrt(max(residual / past[1], past[0] / past[2], past[1] / past[3]))
    rate, d = progress.rate[k], progress.damping[k]
    if residual == 0.0:
        progress.distance[k] = 0.0
    elif (known or residual <= rule.floor) and rate < 1.0:
        # Damped by d, an error e leaves the residual e (1 - rate)/(1 - d). The residual may be small by chance: take
        # what the previous one predicts if that is more; and the error before the sweep, not after it, since rates tend
        # to grow.
        progress.distance[k] = max(residual, rate * past[0]) * (1.0 - d) / (1.0 - rate)
    else:
        progress.distance[k] = np.inf
    for j in range(MEMORY - 1, 0, -1):
        past[j] = past[j - 1]
    past[0] = residual
    if rule.tol > 0.0:
        measure = progress.distance[k] if rule.by_distance else progress.square[k] / units
        if measure <= rule.tol or residual <= rule.floor:
            progress.status[k] = CONVERGED
    if rule.adapt:
        _adapt(progress, k)


@scalar
def _adapt(progress: Progress, k: int) -> None:
    """Raise the damping of a chain that seems to cycle."""
    if progress.residual[k] < progress.best[k]:
        progress.best[k] = progress.residual[k]
        progress.waited[k] = 0.0
        return
    progress.waited[k] += progress.residual[k] / PATH + 1.0 / PATIENCE
    if progress.waited[k] >= 1.0:
        progress.damping[k] += RISE * (1.0 - progress.damping[k])
        progress.best[k] = progress.residual[k]
        progress.waited[k] = 0.0


@scalar
def swap_chains(state: State, progress: Progress, a: int, b: int) -> None:
    """Exchange two chains with all that is known of them."""
    if a == b:
        return
    for layer in range(len(state.mean)):
        for x in (state.mean[layer], state.var[layer], state.B[layer], state.A[layer]):
            for i in range(x.shape[1]):
                x[a, i], x[b, i] = x[b, i], x[a, i]
    for p in (progress.residual, progress.square, progress.rate, progress.distance, progress.damping, progress.best,
              progress.waited):  # fmt: skip
        p[a], p[b] = p[b], p[a]
    for q in (progress.chain, progress.sweeps, progress.status):
        q[a], q[b] = q[b], q[a]
    for j in range(MEMORY):
        progress.past[a, j], progress.past[b, j] = progress.past[b, j], progress.past[a, j]


@kernel()
def gather_active(state: State, progress: Progress, count: int) -> int:
    """Move active chains among the first `count` rows to the front; how many there are."""
    front = 0
    back = count - 1
    while True:
        while front < count and progress.status[front] == ACTIVE:
            front += 1
        while back >= 0 and progress.status[back] != ACTIVE:
            back -= 1
        if front >= back:
            return front
        swap_chains(state, progress, front, back)
