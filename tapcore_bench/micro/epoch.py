"""An epoch of training against the matrix products it cannot avoid, on all threads, taking turns every few batches."""

from __future__ import annotations

import time

import numpy as np

import tapcore as tc
from tapcore.training.settings import Settings
from tapcore.training.trainer import Trainer
from tapcore_bench.micro.harness import Row, settle
from tapcore_bench.micro.products import Products

SAMPLES, VISIBLE, SIZE, SWEEPS = 60_000, 784, 100, 10
# Batches in a turn.
TURN = 20
TARGETS = {500: 1.25, 100: 1.40}


def _trainer(hidden: int, samples: int = SAMPLES) -> Trainer:
    # As many pixels on as in MNIST, each with a frequency of its own.
    rng = np.random.default_rng(0)
    X = rng.random((samples, VISIBLE), dtype=np.float32) < rng.beta(0.2, 1.3, VISIBLE)
    settings = Settings.checked(
        epochs=1, batch_size=SIZE, chains=SIZE, learning_rate=0.005, momentum=0.5, penalty=tc.L2(0.001), sweeps=SWEEPS,
        chain_init="data", gradient="tap", seed=0,
    )  # fmt: skip
    return Trainer(tc.RBM(tc.Binary.from_data(X), tc.Binary(hidden), seed=0), X, settings)


class Turns:
    """Times a trainer's epoch and its products in turns of some batches."""

    def __init__(self, trainer: Trainer, products: Products) -> None:
        self.trainer, self.products = trainer, products
        self.ours = self.reference = self.start = 0.0

    def run(self) -> tuple[float, float]:
        """Seconds of one epoch, scoring included, and of its products."""
        settle()
        self.start = time.perf_counter()
        self.trainer.run_epoch(self._batch_done, lambda: False)
        return self.ours + time.perf_counter() - self.start, self.reference

    def _batch_done(self) -> None:
        batch = self.trainer.batch
        if batch % TURN and batch < self.trainer.batches:
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
        _trainer(hidden, 10 * SIZE).run_epoch(lambda: None, lambda: False)  # compiles
        ours, reference = Turns(_trainer(hidden), products).run()
        what = f"epoch, float64, {SAMPLES} samples, {VISIBLE}x{hidden}, M = K = {SIZE}"
        made.append(Row(what, ours, reference, f"{4 * SWEEPS + 3} products a batch", target))
    return made
