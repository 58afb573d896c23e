"""Saddles of the free energy: where paths from a solution cross the ridge around its basin."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse.linalg import LinearOperator, minres

from tapcore.equations.compiled import compiled
from tapcore.inference.records import Starts
from tapcore.inference.solve import rule_for
from tapcore.inference.sweeps.chains import Chains
from tapcore.landscape.curvature import Point, Space, scaled
from tapcore.landscape.states import AT_SADDLE, Basins, State

Array = NDArray[Any]
Fields = tuple[list[Array], list[Array]]

# Two states on either side of a ridge are brought this close, in any mean, and followed until they are that far apart.
CLOSE, APART = 1e-7, 1e-2
# Sweeps between looks at two that are followed, and looks at most.
BURST, LOOKS = 2, 1000
# Newton steps, halvings of one, and how exactly each is solved for.
STEPS, HALVINGS, EXACT = 40, 12, 1e-10
# Length of the step, the largest change of a mean, by which a saddle is left to either side.
LEAVE = 1e-4


def ridge(basins: Basins, first: State, second: State, at: NDArray[np.int64]) -> tuple[State, State, NDArray[np.bool_]]:
    """The ridge on the straight way from each of the first states, which flow to the minima `at`, to the second ones.

    Returns
    -------
    low, high : State
        States `CLOSE` together on either side; or, both, where a chain between them has come to rest at a saddle.
    rests : (K,) bool array
        Where one has.
    """
    low, high = (x.rows(np.arange(len(x))) for x in (first, second))
    rests = np.zeros(len(low), np.bool_)
    active = np.flatnonzero(low.distance(high) > CLOSE)
    while active.size:
        middle = low.rows(active).halfway(high.rows(active))
        label, ended = basins.flow(middle)
        same, still = label == at[active], label == AT_SADDLE
        low.put(active[same], middle.rows(same))
        high.put(active[~same], middle.rows(~same))
        for side in (low, high):
            side.put(active[still], ended.rows(still))
        rests[active[still]] = True
        active = active[low.rows(active).distance(high.rows(active)) > CLOSE]
    return low, high, rests


def follow(basins: Basins, low: State, high: State) -> tuple[State, State, State]:
    """Follow the slope from both sides of a ridge for as long as they stay together.

    Returns
    -------
    best : State
        Where the slope was least: near the saddle at which the ridge is lowest, if they stayed together long enough.
    low, high : State
        Where they were last before they were `APART`.
    """
    machine, count = basins.space.machine, len(low)
    rule = rule_for(machine, basins.minima.method)
    chains = Chains(machine.sizes, 2 * count, machine.dtype, order=rule.order)
    own = compiled(machine.layers, machine.weights, rule.order)
    both = State.joined(low, high)
    chains.start(Starts(both.mean, both.var))
    best, low, high = (x.rows(np.arange(count)) for x in (low, low, high))
    least = np.full(count, np.inf)
    together = np.ones(count, np.bool_)
    for _ in range(LOOKS):
        chains.run(own, rule, BURST, basins.damping)
        now = State((*chains.state.mean, *chains.state.var))
        a, b = now.rows(slice(count)), now.rows(slice(count, None))
        together &= a.distance(b) < APART
        if not together.any():
            break
        low.put(together, a.rows(together))
        high.put(together, b.rows(together))
        slope = chains.progress.residual[:count]
        better = together & (slope < least)
        best.put(better, a.rows(better))
        least[better] = slope[better]
    return best, low, high


def stationary(space: Space, B: Sequence[Array], A: Sequence[Array], tol: float) -> tuple[Point, float]:
    """Newton's method for a stationary point of the free energy near fields and precisions (1, n_l) of each layer.

    Returns
    -------
    point : Point
    residual : float
        Largest change of a mean or variance by a sweep of all layers at once: at most `tol`, unless it was given up.
    """
    fields: Fields = list(B), list(A)
    residual, point, off = _slope(space, fields)
    for _ in range(STEPS):
        if residual <= tol or not np.isfinite(residual):
            break
        step = _newton(space, point, off)
        for halving in range(HALVINGS):
            trial = _moved(fields, step, 0.5**halving)
            there = _slope(space, trial)
            if there[0] < residual:
                break
        else:
            break
        fields, (residual, point, off) = trial, there
    return point, residual


def refined(space: Space, near: State, tol: float) -> tuple[list[Point], NDArray[np.float64]]:
    """The stationary points near states, and their residuals."""
    B, A = space.fields(near.mean, near.var)
    rows = range(len(near))
    found = [stationary(space, [b[k : k + 1] for b in B], [a[k : k + 1] for a in A], tol) for k in rows]
    return [point for point, _ in found], np.array([residual for _, residual in found])


def _moved(fields: Fields, step: Fields, share: float) -> Fields:
    return tuple([x + share * y for x, y in zip(*pair, strict=True)] for pair in zip(fields, step, strict=True))  # type: ignore[return-value]


def _slope(space: Space, fields: Fields) -> tuple[float, Point, Fields]:
    """Residual, the point, and what fields and precisions are off by, (n_l,) each, about the means."""
    point = space.points(*fields)[0]
    mean, var = [x[None] for x in point.mean], [x[None] for x in point.var]
    if not all(np.isfinite(x).all() for x in (*mean, *var)):
        return np.inf, point, ([], [])
    to_B, to_A = space.fields(mean, var)
    changes = [0.0]
    for layer, b, a, m, v in zip(space.machine.layers, to_B, to_A, mean, var, strict=True):
        _, there, spread = layer.moments(b, a)
        changes += [float(np.abs(there - m).max()), float(np.abs(spread - v).max())]
    off_A = [(x - y)[0] for x, y in zip(fields[1], to_A, strict=True)]
    off_B = [(x - y)[0] - m * a for x, y, m, a in zip(fields[0], to_B, point.mean, off_A, strict=True)]
    residual = float(np.max(changes))
    return residual if np.isfinite(residual) else np.inf, point, (off_B, off_A)


def _newton(space: Space, at: Point, off: Fields) -> Fields:
    """Changes of fields and precisions after which, to first order, nothing is off any more."""
    # In coordinates in which the Hessian is symmetric: L^T of the change, L the root of the units' covariances.
    right = np.concatenate([
        *(f * b + m * a for f, m, b, a in zip(at.first, at.mixed, *off, strict=True)),
        *(s * a for s, a in zip(at.second, off[1], strict=True)),
    ])  # fmt: skip
    shape = (space.size, space.size)
    hessian = LinearOperator(shape, lambda x: np.ravel(x) - space.product(at, np.ravel(x)), dtype=np.float64)
    found, _ = minres(hessian, -right, rtol=EXACT, maxiter=5 * space.size)
    to_B, to_A = space.coupled(at, *scaled(at, *space.halves(found)))
    change_A = [b - a for a, b in zip(off[1], to_A, strict=True)]
    change_B = [b - a + m * c for a, b, m, c in zip(off[0], to_B, at.mean, change_A, strict=True)]
    return [x[None] for x in change_B], [x[None] for x in change_A]


def sides(space: Space, at: Point, direction: Array) -> State:
    """States on either side of a saddle in a direction, a vector of `highest`."""
    first, second = scaled(at, *space.halves(direction))
    step = LEAVE / max(float(np.abs(x).max()) for x in first)
    signs = np.array([[step], [-step]])
    means = (m + signs * x for m, x in zip(at.mean, first, strict=True))
    # As the second coordinate is minus half of the variance.
    variances = (np.maximum(v - 2 * signs * x, 0) for v, x in zip(at.var, second, strict=True))
    return State((*means, *variances))
