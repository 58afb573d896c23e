"""Maximum likelihood of weights ``exp(-V x^2/2 + U x)`` on x >= 0, or on either side of 0, column by column."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from tapcore._base import checks
from tapcore.special import truncnorm
from tapcore.units.shared.fitting import typical

Array = NDArray[Any]

_STEPS, _HALVINGS, _DONE = 100, 50, 1e-24
# Least precision, beside data whose root mean square is 1: fourth moments have few digits nearer to 0.
_LEAST = 1e-3


def sums(X: Array) -> Array:
    """Averages over rows of x and ``-x^2/2`` on x >= 0, then on x < 0, with the other side as 0: (4, n)."""
    right, left = np.maximum(X, 0), np.minimum(X, 0)
    return np.stack([x.mean(axis=0) for x in (right, -0.5 * right * right, left, -0.5 * left * left)])


def fit_columns(X: Array, sides: int) -> Array:
    """U and V of each of so many sides, (2 sides, n), for columns of `X` (rows, n), read a part at a time.

    One imaginary sample keeps them finite: of a Gaussian with the column's root mean square, or of its x >= 0.
    """
    aim = np.zeros((4, X.shape[1]))
    for _, rows in checks.row_blocks(X):
        aim += sums(rows.astype(np.float64)) * len(rows)
    size = np.sqrt(-2 * (aim[1] + aim[3]) / len(X))
    size = np.where(size > 0, size, typical(size))
    powers = np.array([[1.0], [2.0]] * sides)
    half = np.sqrt(0.5 / np.pi)
    one = np.array([[half], [-0.25], [-half], [-0.25]])[: 2 * sides] * (3 - sides)
    return np.asarray(fit_sides((aim[: 2 * sides] / size**powers + one) / (len(X) + 1)) / size**powers)


def fit_sides(aim: Array) -> Array:
    """U and V of one side or both, (2, n) or (4, n), that give averages `aim` of x and ``-x^2/2``.

    Newton's method on a concave function; steps are halved until it rises.
    """
    theta = np.repeat([[0.0], [1.0]] * (len(aim) // 2), aim.shape[1], axis=1)
    value, gradient, hessian = _of(theta, aim)
    for _ in range(_STEPS):
        step = _uphill(theta, gradient, hessian)
        rise = (gradient * step).sum(axis=0)
        if np.all(rise < _DONE):
            break
        scale, bad = np.ones(aim.shape[1]), np.ones(aim.shape[1], np.bool_)
        for _ in range(_HALVINGS):
            trial = theta + scale * step
            bad = ~(_of(trial, aim)[0] >= value + 1e-4 * scale * rise - 1e-14)
            if not bad.any():
                break
            scale = np.where(bad, 0.5 * scale, scale)
        theta = np.where(bad, theta, trial)
        value, gradient, hessian = _of(theta, aim)
    return theta


def _uphill(theta: Array, gradient: Array, hessian: Array) -> Array:
    """Newton's step where it leads upwards, else one along the gradient; precisions fall to a fifth at most."""
    newton = np.linalg.solve(hessian, gradient.T[..., None])[..., 0].T
    plain = gradient / np.einsum("nii->in", hessian)
    for step in (newton, plain):
        step[1::2] = np.maximum(step[1::2], np.maximum(-0.8 * theta[1::2], _LEAST - theta[1::2]))
    return np.where((gradient * newton).sum(axis=0) > 0, newton, plain)


def _of(theta: Array, aim: Array) -> tuple[Array, Array, Array]:
    """Log-likelihood (n,), its gradient and less its second derivatives (n, P, P), for P numbers a column."""
    logs, moments = [], []
    for U, V, way in zip(theta[::2], theta[1::2], (1.0, -1.0), strict=False):
        b = way * U
        log_z, mean, var = truncnorm.moments(V, b, 0.0, np.inf)
        second = var + mean * mean
        third = (b * second + 2 * mean) / V  # by parts: what is at 0 vanishes
        fourth = (b * third + 3 * second) / V
        logs.append(log_z)
        moments.append((way * mean, -0.5 * second, second, -0.5 * way * third, 0.25 * fourth))
    whole = np.logaddexp.reduce(logs)
    mean, square = np.zeros_like(theta), np.zeros((theta.shape[1], len(theta), len(theta)))
    for side, (log_z, (first, half, second, mixed, fourth)) in enumerate(zip(logs, moments, strict=True)):
        share, at = np.exp(log_z - whole), 2 * side
        mean[at], mean[at + 1] = share * first, share * half
        square[:, at, at], square[:, at + 1, at + 1] = share * second, share * fourth
        square[:, at, at + 1] = square[:, at + 1, at] = share * mixed
    square -= mean.T[:, :, None] * mean.T[:, None, :]
    return (theta * aim).sum(axis=0) - whole, aim - mean, square
