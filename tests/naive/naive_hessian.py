"""The free energy of naive mean field and TAP of two layers as a function of means alone, and its second derivatives.

Two-state units only: with states lo and hi the variance is (a - lo)(hi - a), and the units' own part of F is less the
entropy of the probability (a - lo)/(hi - lo), less U a.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

Means = Sequence[float]


def states(kind: str) -> tuple[float, float]:
    return {"Binary": (0.0, 1.0), "Spin": (-1.0, 1.0)}[kind]


def variance(a: float, kind: str) -> float:
    lo, hi = states(kind)
    return (a - lo) * (hi - a)


def free_energy(
    W: np.ndarray, kinds: tuple[str, str], U: tuple[Means, Means], a: tuple[Means, Means], order: int
) -> float:
    total = 0.0
    for kind, fields, means in zip(kinds, U, a, strict=True):
        lo, hi = states(kind)
        for u, m in zip(fields, means, strict=True):
            p = (m - lo) / (hi - lo)
            total += p * math.log(p) + (1 - p) * math.log(1 - p) - u * m
    for i, x in enumerate(a[0]):
        for j, y in enumerate(a[1]):
            total -= W[i, j] * x * y
            if order > 1:
                total -= W[i, j] ** 2 * variance(x, kinds[0]) * variance(y, kinds[1]) / 2
    return total


def hessian(W: np.ndarray, kinds: tuple[str, str], a: tuple[Means, Means], order: int) -> np.ndarray:
    """Of `free_energy` with the means, visible ones first."""
    means = [*a[0], *a[1]]
    n, total = len(a[0]), len(a[0]) + len(a[1])
    which = [kinds[0]] * n + [kinds[1]] * (total - n)
    H = np.zeros((total, total))
    for i in range(total):
        H[i, i] = 1 / variance(means[i], which[i])
        for j in range(total):
            if (i < n) == (j < n):
                continue
            w = W[i, j - n] if i < n else W[j, i - n]
            H[i, j] -= w
            if order > 1:
                slopes = [sum(states(which[k])) - 2 * means[k] for k in (i, j)]  # of the variance with the mean
                H[i, j] -= w**2 * slopes[0] * slopes[1] / 2
                H[i, i] += w**2 * variance(means[j], which[j])  # its second derivative is -2
    return H


def curvatures(W: np.ndarray, kinds: tuple[str, str], a: tuple[Means, Means], order: int) -> np.ndarray:
    """Eigenvalues of the Hessian in the coordinates in which the units' own part of it is the identity."""
    spread = np.sqrt([variance(m, kind) for kind, means in zip(kinds, a, strict=True) for m in means])
    return np.linalg.eigvalsh(spread[:, None] * hessian(W, kinds, a, order) * spread)
