"""Training with chains carried over between batches: ``python -m tapcore_bench.paper.persistent``.

Ten sweeps a batch from the data against two of persistent chains, of which a fifth is renewed from the data in each
batch; epochs of the two take turns.
"""

from __future__ import annotations

import argparse
from typing import Any

import tapcore as tc
from tapcore_bench.micro.harness import machine_name, timed
from tapcore_bench.paper.data import binary_mnist

WAYS: list[dict[str, Any]] = [
    {"chain_init": "data", "sweeps": 10},
    {"chain_init": "persistent", "sweeps": 2, "renew": 0.2},
    {"chain_init": "persistent", "sweeps": 2, "renew": 0.0},
]


def main() -> None:
    """Train and print each epoch."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--hidden", type=int, default=100)
    parser.add_argument("--epochs", type=int, default=10)
    options = parser.parse_args()
    X = binary_mnist()
    print(machine_name())
    trainings = []
    for way in WAYS:
        settings = tc.paper_settings(
            epochs=options.epochs, batch_size=100, chains=100, learning_rate=0.005, momentum=0.5,
            penalty=tc.L2(0.001), **way,
        )  # fmt: skip
        machine = tc.RBM(tc.Binary.from_data(X), tc.Binary(options.hidden), seed=0)
        trainings.append(tc.Training(machine, X, settings))
        print(f"{len(trainings)}: " + ", ".join(f"{k}={v}" for k, v in way.items()))
    for epoch in range(1, options.epochs + 1):
        seconds = [timed(t.step) for t in trainings]
        shown = "; ".join(
            f"{t.history[-1].log_likelihood:.4f} in {s:.2f} s" for t, s in zip(trainings, seconds, strict=True)
        )
        print(f"epoch {epoch}, log-likelihood per unit: {shown}", flush=True)


if __name__ == "__main__":
    main()
