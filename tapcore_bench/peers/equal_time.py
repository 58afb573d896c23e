"""Recipes and peers for an equal time: ``python -m tapcore_bench.peers.equal_time``.

Machines of binary MNIST, each trained alone for so many seconds, without what compiles; the log-likelihood of the test
images by annealed importance sampling, forward (too high where modes are missed) and reverse. scikit-learn's
BernoulliRBM steps through batches of the same size at a rate of its own, the better of two.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

import tapcore as tc
from tapcore_bench.micro.harness import machine_name
from tapcore_bench.paper.data import binary_mnist, binary_mnist_test

BATCH = 100
RATES = (0.01, 0.05)

Trained = tuple[tc.Machine, float]  # and how many epochs it took


def by_fit(X: NDArray[Any], hidden: int, seconds: float, settings: tc.Settings) -> Trained:
    """Ours; what compiles and what reads data for the first time is done before."""
    machine = tc.RBM(tc.Binary.from_data(X), tc.Binary(hidden), seed=0)
    tc.fit(machine, X[: 10 * BATCH], settings=settings, seconds=0.1, progress=False)
    found = tc.fit(machine, X, settings=settings, seconds=seconds, progress=False)
    return found.machine, len(found.history)


def by_bernoulli_rbm(X: NDArray[Any], hidden: int, seconds: float, rate: float) -> Trained:
    """scikit-learn's, which has persistent contrastive divergence at a constant rate."""
    from sklearn.neural_network import BernoulliRBM

    model = BernoulliRBM(hidden, learning_rate=rate, batch_size=BATCH, random_state=0)
    rng, batches, begun = np.random.default_rng(0), 0, time.perf_counter()
    per_epoch = len(X) // BATCH
    while time.perf_counter() - begun < seconds:
        if batches % per_epoch == 0:
            order = rng.permutation(len(X))
        rows = order[batches % per_epoch * BATCH :][:BATCH]
        model.partial_fit(X[rows].astype(np.float32))
        batches += 1
    layers = tc.Binary(X.shape[1], U=model.intercept_visible_), tc.Binary(hidden, U=model.intercept_hidden_)
    return tc.RBM(*layers, weights=model.components_.T), batches / per_epoch


def ways(X: NDArray[Any], hidden: int, seconds: float) -> dict[str, Callable[[], Trained]]:
    """What is compared."""
    ours = partial(by_fit, X, hidden, seconds)
    found: dict[str, Callable[[], Trained]] = {
        "`fit`": partial(ours, tc.Settings()),
        '`fit(gradient="pcd")`': partial(ours, tc.Settings(gradient="pcd")),
        "`paper_settings()`": partial(ours, tc.paper_settings(seconds=seconds)),
    }
    for rate in RATES:
        found[f"BernoulliRBM, rate {rate:g}"] = partial(by_bernoulli_rbm, X, hidden, seconds, rate)
    return found


def main() -> None:
    """Train, score and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--hidden", type=int, default=100)
    parser.add_argument("--seconds", type=float, default=60.0, help="of training, each")
    parser.add_argument("--chains", type=int, default=200, help="of annealed importance sampling")
    parser.add_argument("--temperatures", type=int, default=3000)
    options = parser.parse_args()
    X, test = binary_mnist(), binary_mnist_test()
    print(f"{machine_name()}; 784x{options.hidden}, {options.seconds:g} s of training each.\n")
    print("| training | epochs | nats a test image, forward | reverse |")
    print("| --- | --- | --- | --- |")
    for name, train in ways(X, options.hidden, options.seconds).items():
        machine, epochs = train()
        scores = []
        for reverse in (False, True):
            found = tc.ais(machine, options.chains, options.temperatures, data=X[:10_000], reverse=reverse)
            score = tc.log_likelihood(machine, test, -found.log_z).mean()
            scores.append(f"{score:.1f} +- {found.standard_error:.1f}{'' if found.trusted else ', not to be trusted'}")
        print(f"| {name} | {epochs:.1f} | {scores[0]} | {scores[1]} |", flush=True)


if __name__ == "__main__":
    main()
