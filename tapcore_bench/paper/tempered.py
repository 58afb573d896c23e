"""Parallel trajectory tempering beside persistent contrastive divergence: ``python -m tapcore_bench.paper.tempered``.

Log-likelihood of digits held out after equally many epochs, ln Z by a ladder that is built for the finished machine, as
annealing is off by half a nat here; and the time of a batch of 784x100 binary units, by turns, once the ladder has its
rungs.
"""

from __future__ import annotations

import argparse
import time

import numpy as np

import tapcore as tc
from tapcore_bench.micro.harness import machine_name

GRADIENTS = ("pcd", "ptt")
TRAIN = 1500
# Chains of a ladder, and its sweeps; samples, visible and hidden units of the machine whose batches are timed.
LADDER, TIMED = (200, 400), (5000, 784, 100)


def digits(epochs: int, seed: int) -> None:
    """Train 64x32 machines by both gradients, and print a row of each."""
    X = tc.datasets.load("digits")
    X = X[np.random.default_rng(0).permutation(len(X))]
    for gradient in GRADIENTS:
        settings = tc.Settings(epochs=epochs, gradient=gradient, seed=seed)
        machine, history = tc.fit(tc.RBM(tc.Binary(64), tc.Binary(32), seed=seed), X[:TRAIN], settings=settings)
        ladder = tc.TrajectoryTempering(machine, LADDER[0], seed=1, data=X[:TRAIN])
        ladder.sweep(LADDER[1])
        log_z, error = ladder.log_z()
        test = tc.log_likelihood(machine, X[TRAIN:], -log_z).mean()
        print(f"| {gradient} | {seed} | {test:.3f} | {error:.3f} | {history.rungs[-1]} |", flush=True)


def batches(epochs: int) -> None:
    """Print the median time of a batch in the fastest of the last epochs."""
    rng = np.random.default_rng(0)
    samples, n, hidden = TIMED
    prototypes = rng.random((20, n)) < 0.2
    X = prototypes[rng.integers(20, size=samples)] ^ (rng.random((samples, n)) < 0.05)
    trainings, fastest = {}, dict.fromkeys(GRADIENTS, np.inf)
    for gradient in GRADIENTS:
        settings = tc.Settings(epochs=10 * epochs, gradient=gradient, batch_size=100, learning_rate=0.1)
        trainings[gradient] = tc.Training(tc.RBM(tc.Binary(n), tc.Binary(hidden), seed=0), X, settings)
    for epoch in range(epochs):
        for gradient, training in trainings.items():
            ends: list[float] = []
            training.step(lambda ends=ends: ends.append(time.perf_counter()))  # type: ignore[misc]
            if epoch >= epochs // 2:
                fastest[gradient] = min(fastest[gradient], float(np.median(np.diff(ends))))
    for gradient, training in trainings.items():
        print(f"{gradient}: {1e3 * fastest[gradient]:.2f} ms a batch, {training.history.rungs[-1]} rungs")


def main() -> None:
    """Train, estimate and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--epochs", type=int, default=100, help="of the digits")
    parser.add_argument("--seeds", type=int, default=2)
    options = parser.parse_args()
    print(machine_name())
    batches(12)
    print("| gradient | seed | nats a digit held out | error of ln Z | rungs |\n| --- | --- | --- | --- | --- |")
    for seed in range(options.seeds):
        digits(options.epochs, seed)


if __name__ == "__main__":
    main()
