"""Readable reference of an accelerated chain: the same decisions as the kernels, with NumPy's linear algebra.

For two layers. The chain's point x is (B, A of layer 1, mean of layer 0); a sweep makes G(x) of it.
"""

from __future__ import annotations

from typing import Any

import naive
import numpy as np
import numpy.linalg as la

from tapcore.inference.progress import PATH, PATIENCE, RESTLESS, STEADY
from tapcore.inference.sweeps.acceleration import (
    BACKOFF,
    BEGIN,
    CAUTION,
    DEPTH,
    GATHER,
    GROWTH,
    LEAST,
    RESTARTS,
    RIDGE,
    SKEW,
    SKEWED,
    WORTH,
)

Array = np.ndarray


class Chain:
    """One undamped chain; `sweep` moves it, `kind` is what the sweep was: plain, moved or check."""

    def __init__(self, layers: naive.Layers, weights: naive.Weights, x0: Array, tol: float) -> None:
        self.layers, self.weights, self.tol = layers, weights, tol
        self.state = naive.start(layers, x0)
        self.past: list[float] = []  # changes of plain sweeps in a row, latest last
        self.rate, self.kind = 0.5, "plain"
        self.smallest, self.waited = np.inf, 0.0
        self.known, self.threshold, self.restarts, self.skewed = -1, BEGIN, 0, 0
        self.xs: list[Array] = []
        self.images: list[Array] = []
        self.residuals: list[Array] = []
        self.moves: list[Array] = []

    def moments(self, layer: int, B: Array, A: Array) -> tuple[Array, Array]:
        sites = self.layers[layer]
        triples = list(zip(sites, B, A, strict=True))
        return np.array([naive.mean(s, b, a) for s, b, a in triples]), np.array(
            [naive.var(s, b, a) for s, b, a in triples]
        )

    def fields(self, layer: int) -> tuple[Array, Array]:
        pairs = [naive.field(self.layers, self.weights, self.state, layer, i) for i in range(len(self.layers[layer]))]
        return np.array([b for b, _ in pairs]), np.array([a for _, a in pairs])

    def sweep(self) -> None:
        state, n = self.state, len(self.layers[1])
        image = np.concatenate([*self.fields(1), state.mean[0]])
        point = self.next_point(image)
        before = [*state.mean, *state.var]
        # What the sweep changes is counted from the moved mean of layer 0.
        before[0] = point[2 * n :]
        state.mean[1], state.var[1], state.mean[0] = *self.moments(1, point[:n], point[n : 2 * n]), point[2 * n :]
        state.mean[0], state.var[0] = self.moments(0, *self.fields(0))
        change = max(np.abs(a - b).max() for a, b in zip(before, [*state.mean, *state.var], strict=True))
        self.judge(float(change))

    def judge(self, change: float) -> None:
        if self.kind == "moved":
            self.past = []
            return
        past = self.past[::-1]
        if self.kind == "plain" and len(past) >= 4:
            self.rate = float(np.sqrt(max(change / past[1], past[0] / past[2], past[1] / past[3])))
        self.past = [*self.past, change][-STEADY:]
        if self.kind == "plain":
            # Without the peaks of residuals that turn.
            rises = change >= self.smallest
            self.waited = self.waited + change / PATH + 1 / PATIENCE if rises else 0.0
            self.smallest = min(self.smallest, change)

    def steady(self) -> bool:
        latest = np.array(self.past)
        peaks = (latest[1:-1] >= latest[:-2]) & (latest[1:-1] > latest[2:])
        return len(latest) == STEADY and peaks.sum() <= 1 and self.waited <= RESTLESS

    def next_point(self, image: Array) -> Array:
        self.kind = "plain"
        mean, var, n = self.state.mean[1], self.state.var[1], len(self.layers[1])

        def effective(d: Array) -> Array:
            return d[:n] - mean * d[n : 2 * n]

        size = 0.0
        if self.known < 0:
            near = self.steady() and self.past[-1] < self.threshold
            if not (near and (self.rate >= 1 or self.past[-1] * self.rate**WORTH > (1 - self.rate) * self.tol)):
                return image
            self.xs, self.images, self.residuals, self.moves = [], [], [], []
        else:
            residual = var * effective(image - self.xs[-1])
            size = float(la.norm(residual))
            if self.known > 1 and not size <= GROWTH * self.best:
                self.kind = "moved"
                self.leave_alone()
                return self.images[-1]
            if self.known == 0:
                self.mark = size
            self.best = size if self.known < 2 else min(size, self.best)
            self.images.append(image)
            self.residuals.append(residual)
        self.known += 1
        point = self.extrapolated(image, residual, size) if self.known > 1 else image
        if self.xs:
            step = effective(point - self.xs[-1])
            self.moves.append((step, float(la.norm(var * step))))
        self.xs.append(point)
        return point

    def extrapolated(self, image: Array, residual: Array, size: float) -> Array:
        n = min(self.known - 1, DEPTH)
        dR, dG = (np.diff(np.array(x), axis=0)[-n:] for x in (self.residuals, self.images))
        steps, lengths = np.array([s for s, _ in self.moves[-n:]]), np.array([x for _, x in self.moves[-n:]])
        curvature = -(steps @ dR.T)
        if n > 1:
            odd, even = (np.abs(x[-1]).max() for x in (curvature - curvature.T, curvature + curvature.T))
            self.skewed = self.skewed + 1 if odd > SKEW * even else max(self.skewed - 1, 0)
        if self.skewed == SKEWED:
            self.leave_alone()
            return image
        products = curvature + curvature.T
        if la.eigvalsh(products + RIDGE * np.diag(products.diagonal())).min() <= 0:
            self.restart(size)
            return image
        if n < GATHER:
            return image
        stretch = CAUTION * max(LEAST, (lengths / la.norm(dR, axis=1)).max())
        if size * stretch <= self.tol:
            self.kind, self.rate = "check", 1 - 1 / stretch
            return image
        self.kind = "moved"
        return image - la.lstsq(dR.T, residual, rcond=None)[0] @ dG

    def restart(self, size: float) -> None:
        self.known, self.best = 1, size
        self.images, self.residuals, self.moves = self.images[-1:], self.residuals[-1:], []
        self.restarts += 1
        if size <= 0.5 * self.mark:
            self.mark, self.restarts = size, 0
        elif self.restarts == RESTARTS:
            self.leave_alone()

    def leave_alone(self) -> None:
        self.known, self.restarts, self.skewed = -1, 0, 0
        self.threshold = BACKOFF * min(self.threshold, self.best)


def run(layers: Any, weights: Any, x0: Array, tol: float, sweeps: int) -> Chain:
    chain = Chain(layers, weights, x0, tol)
    for _ in range(sweeps):
        chain.sweep()
    return chain
