"""The matrix products that sweeps and gradients cannot avoid, by np.dot with `out`."""

from __future__ import annotations

import numpy as np


class Products:
    """Arrays for K chains and M samples of an n_visible x n_hidden machine."""

    def __init__(self, visible: int, hidden: int, chains: int, samples: int, dtype: str) -> None:
        rng = np.random.default_rng(0)

        def array(*shape: int) -> np.ndarray:
            return rng.random(shape).astype(dtype)

        self.W, self.W2 = array(visible, hidden), array(visible, hidden)
        self.a_v, self.c_v, self.a_h, self.c_h = (array(chains, n) for n in (visible, visible, hidden, hidden))
        self.x, self.h = array(samples, visible), array(samples, hidden)
        self.to_hidden, self.to_visible = array(chains, hidden), array(chains, visible)
        self.to_weights = array(visible, hidden)

    def sweep(self, count: int) -> None:
        """Four products a sweep: W a and W^2 c, each way."""
        for _ in range(count):
            np.dot(self.a_v, self.W, out=self.to_hidden)
            np.dot(self.c_v, self.W2, out=self.to_hidden)
            np.dot(self.a_h, self.W.T, out=self.to_visible)
            np.dot(self.c_h, self.W2.T, out=self.to_visible)

    def gradient(self) -> None:
        """Three products: x^T h, a_v^T a_h, c_v^T c_h."""
        np.dot(self.x.T, self.h, out=self.to_weights)
        np.dot(self.a_v.T, self.a_h, out=self.to_weights)
        np.dot(self.c_v.T, self.c_h, out=self.to_weights)
