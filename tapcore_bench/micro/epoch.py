"""An epoch of training against the matrix products it cannot avoid, on all threads, taking turns every few batches."""

from __future__ import annotations

import time

import numpy as np

import tapcore as tc
from tapcore_bench.micro.harness import Row, settle
from tapcore_bench.micro.products import Products

SAMPLES, VISIBLE, SIZE, SWEEPS = 60_000, 784, 100, 10
# Batches in a turn.
TURN = 20
TARGETS = {500: 1.25, 100: 1.40}


def training_for(hidden: int, samples: int = SAMPLES) -> tc.Training:
    """A training of one epoch."""
    # As many pixels on as in MNIST, each with a frequency of its own.
    rng = np.random.default_rng(0)
    X = rng.random((samples, VISIBLE), dtype=np.float32) < rng.beta(0.2, 1.3, VISIBLE)
    settings = tc.paper_settings(
        epochs=1, batch_size=SIZE, chains=SIZE, learning_rate=0.005, momentum=0.5, penalty=tc.L2(0.001), sweeps=SWEEPS
    )  # fmt: skip
    return tc.Training(tc.RBM(tc.Binary.from_data(X), tc.Binary(hidden), seed=0), X, settings)


class Turns:
    """Times an epoch of training and its products in turns of some batches."""

    def __init__(self, training: tc.Training, products: Products) -> None:
        self.training, self.products = training, products
        self.ours = self.reference = self.start = 0.0

    def run(self) -> tuple[float, float]:
        """Seconds of one epoch, scoring included, and of its products."""
        settle()
        self.start = time.perf_counter()
        self.training.step(self._batch_done)
        return self.ours + time.perf_counter() - self.start, self.reference

    def _batch_done(self) -> None:
        batch = self.training.batch
        if batch % TURN and batch < self.training.batches:
            return
        self.ours += time.perf_counter() - self.start
        settle()
        start = time.perf_counter()
        for _ in range((batch - 1) % TURN + 1):
            self.products.sweep(SWEEPS)
            self.products.gradient()
        self.reference += time.perf_counter() - start
        settle()
        self.start = time.perf_counter()


def rows(repeats: int) -> list[Row]:
    """Whole epochs; `repeats` is not used, a turn being a repeat."""
    made = []
    for hidden, target in TARGETS.items():
        products = Products(VISIBLE, hidden, SIZE, SIZE, "float64")
        training_for(hidden, 10 * SIZE).step()  # compiles
        ours, reference = Turns(training_for(hidden), products).run()
        what = f"epoch, float64, {SAMPLES} samples, {VISIBLE}x{hidden}, M = K = {SIZE}"
        made.append(Row(what, ours, reference, f"{4 * SWEEPS + 3} products a batch", target))
    return made
