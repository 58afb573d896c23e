"""Saddles of the free energy: where paths from a solution cross the ridge around its basin."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from tapcore.landscape.curvature import Point, Space, scaled
from tapcore.landscape.states import Basins, Flow, State

Array = NDArray[Any]

# A ridge is found to so much, in any mean; two chains climb together, so far apart.
COARSE, CLOSE = 1e-2, 1e-5
# Sweeps between looks at two that climb, looks at most, and the change of a mean between looks at which they rest.
BURST, LOOKS, REST = 2, 1000, 1e-10
# The largest step across a ridge, of a mean; and in units of what sweeps move across it, when this can be told to lead
# to the top.
STEP, LONGEST = 0.1, 50.0
# Least variance that distances are measured in.
_LEAST = 1e-9
# Length of the step, the largest change of a mean, by which a saddle is left to either side.
LEAVE = 1e-4


def ridge(basins: Basins, first: State, second: State, at: NDArray[np.int64]) -> tuple[State, State]:
    """Where the straight way from each of the first states, which flow to the minima `at`, to the second ones leaves.

    Returns
    -------
    low, high : State
        States `COARSE` together, of which the low ones flow to `at`, and the high ones elsewhere.
    """
    low, high = (x.rows(np.arange(len(x))) for x in (first, second))
    active = np.flatnonzero(low.distance(high) > COARSE)
    while active.size:
        middle = low.rows(active).moved(0.5, high.rows(active).less(low.rows(active)))
        same = basins.near(middle) == at[active]
        low.put(active[same], middle.rows(same))
        high.put(active[~same], middle.rows(~same))
        active = active[low.rows(active).distance(high.rows(active)) > COARSE]
    return low, high


def climb(basins: Basins, low: State, high: State) -> State:
    """States near saddles, from states on either side of a ridge.

    Two chains, close together, follow the slope; what grows between them is the direction in which the free energy
    falls on both sides. In this the step is turned round, to the top of the ridge, while all others go down: gentlest
    ascent (E and Zhou, Nonlinearity 24, 1831, 2011), by sweeps.
    """
    best = low.moved(0.5, high.less(low))
    least = np.full(len(low), np.inf)
    along, active, looks = high.less(low), np.arange(len(low)), 0
    at = best
    while active.size and looks < LOOKS:
        flow = Flow(basins.space, basins.minima.method, 2 * len(active))
        resting = np.zeros(len(active), np.bool_)
        # Those that have come to rest make room, now and then.
        while looks < LOOKS and resting.mean() < 0.25:
            at, along, slope = _look(basins, flow, at, along)
            better = slope < least[active]
            best.put(active[better], at.rows(better))
            least[active[better]] = slope[better]
            resting = (least[active] <= REST) | ~np.isfinite(slope)
            looks += 1
        at, along, active = at.rows(~resting), along.rows(~resting), active[~resting]
    return best


def _look(basins: Basins, flow: Flow, at: State, along: State) -> tuple[State, State, NDArray[np.float64]]:
    """States after a burst of sweeps, turned round; the directions between their two chains; and how far they moved."""
    count, space = len(at), basins.space
    along = along.times(CLOSE / np.maximum(along.size(), np.finfo(np.float64).tiny))
    ends = flow.on(State.joined(at.moved(-0.5, along), at.moved(0.5, along)).within(space), BURST, basins.damping)
    one, other = ends.rows(slice(count)), ends.rows(slice(count, None))
    grown, middle = other.less(one), one.moved(0.5, other.less(one))
    moved = middle.less(at)
    # By distances in units of the spread, in which what sweeps do is nearly symmetric.
    scale = [1 / np.maximum(v, _LEAST) for v in middle.var]
    with np.errstate(divide="ignore", invalid="ignore"):
        growth = grown.dot(grown, scale) / grown.dot(along, scale)
        share = grown.dot(moved, scale) / grown.dot(grown, scale)
        # Where distances grow by a factor, the top is so many times as far as sweeps have moved, and they have.
        steps = np.where(growth > 1, np.minimum(growth / (growth - 1), LONGEST), 2.0) * share
        steps = np.clip(np.nan_to_num(steps), -STEP / grown.size(), STEP / grown.size())
    return middle.moved(-steps, grown).within(space), grown, moved.size()


def sides(space: Space, at: Point, direction: Array) -> State:
    """States on either side of a saddle in a direction, a vector of `highest`."""
    first, second = scaled(at, *space.halves(direction))
    step = LEAVE / max(float(np.abs(x).max()) for x in first)
    signs = np.array([[step], [-step]])
    means = (m + signs * x for m, x in zip(at.mean, first, strict=True))
    # As the second coordinate is minus half of the variance.
    variances = (np.maximum(v - 2 * signs * x, 0) for v, x in zip(at.var, second, strict=True))
    return State((*means, *variances))
