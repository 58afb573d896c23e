"""Readable reference of relaxed belief propagation: one message at a time (App. B, corrected)."""

from __future__ import annotations

from typing import Any

import naive
import numpy as np


class Messages:
    """Means and variances of all messages; `to[side][i][j]` is what unit i of a layer receives from unit j."""

    def __init__(self, layers: naive.Layers, W: np.ndarray, x: Any) -> None:
        self.layers, self.W = layers, W
        n, m = W.shape
        self.mean = [np.zeros((n, m)), np.tile(np.asarray(x, float), (m, 1))]
        self.var = [np.zeros((n, m)), np.zeros((m, n))]

    def weight(self, side: int, i: int, j: int) -> float:
        return float(self.W[i, j] if side == 0 else self.W[j, i])

    def fields(self, side: int, i: int, without: int | None = None) -> tuple[float, float]:
        """B and A of a unit from all that it receives, but for one sender."""
        B = A = 0.0
        for j in range(len(self.layers[1 - side])):
            if j != without:
                w = self.weight(side, i, j)
                B += w * self.mean[side][i, j]
                A -= w * w * self.var[side][i, j]
        return B, A

    def send(self, side: int, damping: float) -> float:
        """Renew all that the units of a layer send; the largest change."""
        top = 0.0
        new_mean, new_var = self.mean[1 - side].copy(), self.var[1 - side].copy()
        for i, site in enumerate(self.layers[side]):
            for j in range(len(self.layers[1 - side])):
                B, A = self.fields(side, i, without=j)
                for new, old, value in (
                    (new_mean, self.mean[1 - side], naive.mean(site, B, A)),
                    (new_var, self.var[1 - side], naive.var(site, B, A)),
                ):
                    top = max(top, abs(value - old[j, i]))
                    new[j, i] = damping * old[j, i] + (1 - damping) * value
        self.mean[1 - side], self.var[1 - side] = new_mean, new_var
        return top

    def sweep(self, damping: float, first: bool) -> float:
        top = self.send(1, 0.0 if first else damping)
        return max(top, self.send(0, damping))

    def log_z(self) -> float:
        """B13."""
        total = 0.0
        for side in (0, 1):
            degree = len(self.layers[1 - side])
            for i, site in enumerate(self.layers[side]):
                total += (1 - degree / 2) * naive.log_z(site, *self.fields(side, i))
                total += sum(naive.log_z(site, *self.fields(side, i, without=j)) for j in range(degree)) / 2
        return total
