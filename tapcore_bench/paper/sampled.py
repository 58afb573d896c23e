"""Training by TAP and by contrastive divergence for an equal time: ``python -m tapcore_bench.paper.sampled``.

Machines of binary MNIST, their log-likelihood of the test images by annealed importance sampling. Epochs take turns:
whichever has used the least time is next, until all have used the budget.
"""

from __future__ import annotations

import argparse
from typing import Any

import numpy as np

import tapcore as tc
from tapcore_bench.micro.harness import machine_name, timed
from tapcore_bench.paper.data import binary_mnist, binary_mnist_test

WAYS: list[dict[str, Any]] = [
    {"gradient": "tap", "chain_init": "data", "sweeps": 10, "learning_rate": 0.005},
    {"gradient": "tap", "chain_init": "persistent", "sweeps": 2, "renew": 0.2, "learning_rate": 0.005},
    {"gradient": "cd", "sweeps": 1, "learning_rate": 0.005},
    {"gradient": "pcd", "sweeps": 1, "learning_rate": 0.005},
    {"gradient": "pcd", "sweeps": 1, "learning_rate": 0.05},
]


def training_for(X: np.ndarray, hidden: int, way: dict[str, Any]) -> tc.Training:
    """A training of epochs without end."""
    settings = tc.paper_settings(epochs=10_000, batch_size=100, chains=100, momentum=0.5, penalty=tc.L2(0.001), **way)
    return tc.Training(tc.RBM(tc.Binary.from_data(X), tc.Binary(hidden), seed=0), X, settings)


def main() -> None:
    """Train, estimate and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--hidden", type=int, default=100)
    parser.add_argument("--seconds", type=float, default=60.0, help="of training, each")
    parser.add_argument("--chains", type=int, default=500, help="of annealed importance sampling")
    parser.add_argument("--temperatures", type=int, default=5000)
    options = parser.parse_args()
    X, test = binary_mnist(), binary_mnist_test()
    print(f"{machine_name()}; {options.seconds:g} s of training each.\n")
    trainings = [training_for(X, options.hidden, way) for way in WAYS]
    used = [0.0] * len(WAYS)
    # What compiles, or is read for the first time, is not timed.
    for way in WAYS:
        training_for(X[:1000], options.hidden, way).step()
    while min(used) < options.seconds:
        n = int(np.argmin(used))
        used[n] += timed(trainings[n].step)
    print("| training | epochs | seconds | ln Z, forward | reverse | nats a test image | TAP's estimate |")
    print("| --- | --- | --- | --- | --- | --- | --- |")
    for way, training, seconds in zip(WAYS, trainings, used, strict=True):
        machine = training.machine
        low = tc.ais(machine, options.chains, options.temperatures, data=X[:10_000])
        high = tc.ais(machine, options.chains, options.temperatures, data=X[:10_000], reverse=True)
        score = tc.log_likelihood(machine, test, -low.log_z).mean()
        tap = tc.log_likelihood(machine, test, training.history[-1].free_energy).mean()
        name = ", ".join(f"{k} {v}" for k, v in way.items())
        print(
            f"| {name} | {training.epoch} | {seconds:.0f} | {low.log_z:.2f} +- {low.standard_error:.2f} | "
            f"{high.log_z:.2f} +- {high.standard_error:.2f} | {score:.2f} | {tap:.2f} |",
            flush=True,
        )


if __name__ == "__main__":
    main()
