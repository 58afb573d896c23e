"""What is known of each chain while it sweeps: residual, rate of contraction, distance, damping, and when it stops."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from tapcore._base.jit import helper, scalar

# Residuals of this many sweeps are remembered to estimate the rate of contraction.
MEMORY = 12
# Residuals that rise and fall shrink from peak to peak: so many of them tell the rate.
PEAKS = 3
# Adaptive damping rises, by RISE of what is left to 1, when a chain's residuals since its smallest one add up to PATH,
# or after PATIENCE sweeps, or TURNS sweeps whose residuals hardly shrink from peak to peak, to SLOW a sweep or more. A
# chain that passes a saddle point has rising residuals too, but without peaks, and only so far to go; one that cycles
# has not.
PATH = 10.0
PATIENCE = 500
TURNS = 16
SLOW = 0.95
RISE = 0.3
# A chain is steady if no more than one of so many residuals is a peak, and less than RESTLESS of the patience used up.
STEADY = 9
RESTLESS = 0.1

ACTIVE, CONVERGED, FAILED, SPENT = 0, 1, 2, 3
# Kinds of sweeps: of the plain iteration; of an accelerated chain, whose changes are no residuals; one of the plain
# iteration by an accelerated chain, to see how far it is.
PLAIN, MOVED, CHECK = 0, 1, 2


class Progress(NamedTuple):
    """What is known of each chain, (K,) arrays unless said otherwise."""

    chain: NDArray[np.int64]  # which chain the row holds
    slot: NDArray[np.int64]  # where its memory is
    residual: NDArray[np.float64]
    square: NDArray[np.float64]  # sum over means of the squared change
    past: NDArray[np.float64]  # (K, MEMORY) residuals of plain sweeps, latest first; 0 where unknown
    rate: NDArray[np.float64]
    distance: NDArray[np.float64]
    damping: NDArray[np.float64]
    best: NDArray[np.float64]  # smallest residual at this damping
    waited: NDArray[np.float64]  # share of the patience used up since
    sweeps: NDArray[np.int64]
    status: NDArray[np.int64]
    step: NDArray[np.int64]  # kind of the sweep


#: What a chain takes.
PROGRESS_BYTES = 8 * (len(Progress._fields) - 1 + MEMORY)

_INTEGERS = ("chain", "slot", "sweeps", "status", "step")


def empty_progress(count: int) -> Progress:
    """Arrays for `count` chains."""
    shapes = {"past": (count, MEMORY)}
    arrays: dict[str, Any] = {}
    for name in Progress._fields:
        arrays[name] = np.zeros(shapes.get(name, (count,)), np.int64 if name in _INTEGERS else np.float64)
    return Progress(**arrays)


def begin(progress: Progress, rows: slice, chains: NDArray[np.int64], damping: float) -> None:
    """Forget what is known of `rows`, which hold `chains` from now on."""
    p = progress
    p.chain[rows] = chains
    p.past[rows] = 0
    p.rate[rows] = 0.5  # of a chain that reaches rounding errors before a rate is known
    p.distance[rows] = np.inf
    p.damping[rows] = damping
    p.best[rows] = np.inf
    for q in (p.waited, p.sweeps, p.status, p.step):
        q[rows] = 0


class Rule(NamedTuple):
    """How to iterate and when to stop."""

    order: int  # in the weights: 1 is naive mean field, 2 TAP
    adapt: bool  # damping adapts to each chain
    accelerate: bool  # extrapolate where that is safe
    by_distance: bool  # stop by the estimated distance, else by the mean squared change
    tol: float  # 0 never stops
    floor: float  # residuals below are rounding errors
    most: int  # sweeps a chain may take


@helper(inline=False)
def judge(progress: Progress, rule: Rule, k: int, units: int) -> None:
    """Update rate, distance, damping and status of chain k from the residual of the sweep just done."""
    step, residual = progress.step[k], progress.residual[k]
    progress.sweeps[k] += 1
    if progress.sweeps[k] >= rule.most:
        progress.status[k] = SPENT
    if step == MOVED:
        # If it is not finite, acceleration takes the move back in the next sweep.
        progress.distance[k] = np.inf
        progress.past[k, :] = 0.0
        return
    if not np.isfinite(residual):
        progress.distance[k] = np.inf
        progress.status[k] = FAILED
        return
    turns = False
    if step == CHECK:
        rate = progress.rate[k]
        progress.distance[k] = residual / (1.0 - rate) if rate < 1.0 else np.inf
    else:
        turns = _estimate_distance(progress, rule, k)
    past = progress.past[k]
    for j in range(MEMORY - 1, 0, -1):
        past[j] = past[j - 1]
    past[0] = residual
    if rule.tol > 0.0:
        measure = progress.distance[k] if rule.by_distance else progress.square[k] / units
        if measure <= rule.tol or residual <= rule.floor:
            progress.status[k] = CONVERGED
    if rule.adapt and step == PLAIN:
        _adapt(progress, k, turns)


@scalar
def _estimate_distance(progress: Progress, rule: Rule, k: int) -> bool:
    """Distance of a chain of the plain iteration from its residual and the rate at which residuals shrink.

    Returns whether they rise and fall and hardly shrink from peak to peak.
    """
    residual, past = progress.residual[k], progress.past[k]
    # Chains are damped whose errors turn, so that residuals may shrink by chance for longer.
    span = 3 if progress.damping[k] == 0.0 else 7
    known, turns = past[span] > 0.0, False
    if known and residual > rule.floor:
        # Over two sweeps at a time, since residuals of oscillating chains alternate; the slowest of the recent ones.
        square = residual / past[1]
        for j in range(span - 1):
            square = max(square, past[j] / past[j + 2])
        progress.rate[k] = np.sqrt(square)
        if square >= 1.0:
            rate, height = _peaks(residual, past)
            turns = SLOW <= rate < np.inf
            if rate < 1.0:
                progress.rate[k] = rate
                progress.distance[k] = height * (1.0 - progress.damping[k]) / (1.0 - rate)
                return turns
    rate, d = progress.rate[k], progress.damping[k]
    if residual == 0.0:
        progress.distance[k] = 0.0
    elif (known or residual <= rule.floor) and rate < 1.0:
        # Damped by d, an error e leaves the residual e (1 - rate)/(1 - d). The residual may be small by chance: take
        # what the previous ones predict if that is more; and the error before the sweep, not after it, since rates tend
        # to grow.
        height = residual
        for j in range(span):
            height = max(height, past[j] * rate ** (j + 1))
        progress.distance[k] = height * (1.0 - d) / (1.0 - rate)
    else:
        progress.distance[k] = np.inf
    return turns


@scalar
def _peaks(residual: float, past: NDArray[np.float64]) -> tuple[float, float]:
    """Rate at which the latest peaks of the residuals shrink, the slowest of them, and the height of the latest.

    Infinite if there are too few. Chains whose errors turn, by complex eigenvalues, have such residuals; those of a
    chain that leaves a saddle point have no peaks.
    """
    rate, height, found, last, newer = 0.0, 0.0, 0, 0, residual
    for j in range(MEMORY - 1):
        here, older = past[j], past[j + 1]
        if not older > 0.0:
            break
        if here > newer and here >= older:
            if found == 0:
                height = here
            else:
                rate = max(rate, (past[last] / here) ** (1.0 / (j - last)))
            found, last = found + 1, j
            if found == PEAKS:
                return rate, height
        newer = here
    return np.inf, height


@scalar
def is_steady(past: NDArray[np.float64], waited: float) -> bool:
    """Whether the residuals of a chain hardly rise and fall; one that has left a saddle point has a single peak."""
    if waited > RESTLESS or not past[STEADY - 1] > 0.0:
        return False
    peaks = 0
    for j in range(1, STEADY - 1):
        if past[j] > past[j - 1] and past[j] >= past[j + 1]:
            peaks += 1
    return peaks <= 1


@scalar
def _adapt(progress: Progress, k: int, turns: bool) -> None:
    """Raise the damping of a chain that seems to cycle."""
    if progress.residual[k] < progress.best[k]:
        progress.best[k] = progress.residual[k]
        if not turns:
            progress.waited[k] = 0.0
            return
    progress.waited[k] += progress.residual[k] / PATH + 1.0 / (TURNS if turns else PATIENCE)
    if progress.waited[k] >= 1.0:
        progress.damping[k] += RISE * (1.0 - progress.damping[k])
        progress.best[k], progress.waited[k] = np.inf, 0.0
        progress.past[k, :] = 0.0  # they tell of another rate
