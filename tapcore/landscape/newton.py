"""Newton's method for stationary points of the free energy, from states nearby to the last digits."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse.linalg import LinearOperator, minres

from tapcore.landscape.curvature import Point, Space, scaled

Array = NDArray[Any]
Fields = tuple[list[Array], list[Array]]

# How still stationary points are.
STILL = 1e-10
# Newton steps, halvings of one, and how exactly each is solved for.
STEPS, HALVINGS, EXACT = 40, 12, 1e-10


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


def refined(space: Space, mean: Sequence[Array], var: Sequence[Array]) -> tuple[list[Point], NDArray[np.float64]]:
    """The stationary points near means and variances (K, n_l), and their residuals."""
    B, A = space.fields(mean, var)
    rows = range(len(mean[0]))
    found = [stationary(space, [b[k : k + 1] for b in B], [a[k : k + 1] for a in A], STILL) for k in rows]
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
