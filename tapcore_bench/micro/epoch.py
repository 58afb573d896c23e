"""An epoch of training against the matrix products it cannot avoid, on all threads, taking turns every few batches.

And short epochs of the recipe against those of Alg. 2 with chains that are kept, as many sweeps and the same dtype;
with as many chains as samples against those without measurements of hidden units; and by weights of solutions against
chains alike.
"""

from __future__ import annotations

import time
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

import tapcore as tc
from tapcore_bench.micro.harness import Row, settle, take_turns
from tapcore_bench.micro.products import Products

SAMPLES, VISIBLE, SIZE, SWEEPS = 60_000, 784, 100, 10
# Batches in a turn.
TURN = 20
TARGETS = {500: 1.25, 100: 1.40}
# Samples of a short epoch.
FEW = 6_000
PINNED, WEIGHED = 1.1, 1.05


def pixels(samples: int) -> NDArray[np.bool_]:
    """As many on as in MNIST, each with a frequency of its own."""
    rng = np.random.default_rng(0)
    return rng.random((samples, VISIBLE), dtype=np.float32) < rng.beta(0.2, 1.3, VISIBLE)


def training_for(hidden: int, samples: int = SAMPLES) -> tc.Training:
    """A training of one epoch."""
    X = pixels(samples)
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


def without_measurements(repeats: int, samples: int = FEW, hidden: int = 100) -> list[Row]:
    """Epochs of the recipe, as it is and with as many chains as samples, and such with weights of solutions."""
    X = pixels(samples)
    machine = tc.RBM(tc.Binary.from_data(X), tc.Binary(hidden), seed=0)
    recipe = tc.Settings(epochs=repeats + 1, batch_size=SIZE, chains=SIZE)
    alike = replace(recipe, pinning=0.0)
    before = tc.paper_settings(
        epochs=repeats + 1, batch_size=SIZE, chains=SIZE, chain_init="persistent", sweeps=2, dtype="float32"
    )
    ways = replace(recipe, chains=None), before, recipe, replace(alike, solution_weights=1.0), alike
    own, kept, *ours, reference = take_turns([tc.Training(machine, X, settings).step for settings in ways], repeats)
    size = f"float32, {samples} samples, {VISIBLE}x{hidden}, M = {SIZE}"
    return [
        Row(f"epoch of the recipe, {size}", own, kept, "Alg. 2, persistent chains, 2 sweeps", PINNED),
        Row(f"epoch of the recipe, {size} = K", ours[0], reference, "without measurements", PINNED),
        Row(f"epoch by weights of solutions, {size} = K", ours[1], reference, "chains alike", WEIGHED),
    ]


def rows(repeats: int) -> list[Row]:
    """Whole epochs, a turn of which is a repeat, and `repeats` short ones."""
    made = []
    for hidden, target in TARGETS.items():
        products = Products(VISIBLE, hidden, SIZE, SIZE, "float64")
        training_for(hidden, 10 * SIZE).step()  # compiles
        ours, reference = Turns(training_for(hidden), products).run()
        what = f"epoch, float64, {SAMPLES} samples, {VISIBLE}x{hidden}, M = K = {SIZE}"
        made.append(Row(what, ours, reference, f"{4 * SWEEPS + 3} products a batch", target))
    return [*made, *without_measurements(repeats)]
