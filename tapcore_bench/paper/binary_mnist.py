"""Train on binary MNIST with the settings of the paper's Table I: ``python -m tapcore_bench.paper.binary_mnist``.

Writes the machine, the record of epochs as CSV, and the pictures to a folder; prints each epoch's log-likelihood and
its time, scoring included, against the matrix products it cannot avoid, with which it takes turns every few batches.
"""

from __future__ import annotations

import numpy as np

import tapcore as tc
from tapcore_bench.micro.epoch import SWEEPS, Turns
from tapcore_bench.micro.harness import machine_name
from tapcore_bench.micro.products import Products
from tapcore_bench.paper import experiment
from tapcore_bench.paper.data import binary_mnist

SIZE, RATE, DECAY, MOMENTUM = 100, 0.005, 0.001, 0.5


def main() -> None:
    """Run the experiment."""
    options = experiment.arguments(
        "Train a binary RBM on binary MNIST as in Table I.", "binary_mnist", 10, 100
    ).parse_args()
    X = binary_mnist()
    machine = tc.RBM(tc.Binary.from_data(X), tc.Binary(options.hidden), seed=0, dtype=options.dtype)
    settings = tc.paper_settings(
        epochs=options.epochs, batch_size=SIZE, chains=SIZE, learning_rate=RATE, momentum=MOMENTUM,
        penalty=tc.L2(DECAY), sweeps=SWEEPS, dtype=options.dtype,
    )  # fmt: skip
    print(machine_name())
    training = tc.Training(machine, X, settings)
    products = Products(784, options.hidden, SIZE, SIZE, options.dtype)
    history, ratios = _train(training, products)
    # The first epoch also compiles.
    print(f"median of the epochs after the first: {np.median(ratios[1:] or ratios):.2f} times their products")
    experiment.leave(options.out, training.machine, history, (28, 28))


def _train(training: tc.Training, products: Products) -> tuple[tc.History, list[float]]:
    history, ratios = tc.History(), []
    while not training.finished:
        ours, reference = Turns(training, products).run()
        record = training.history[-1]._replace(seconds=ours)
        history.append(record)
        ratios.append(ours / reference)
        print(
            f"epoch {record.epoch}: log-likelihood per unit {record.log_likelihood:.4f}, {ours:.2f} s, "
            f"{ratios[-1]:.2f} times its products; {record.unconverged} of {SIZE} scored chains did not converge",
            flush=True,
        )
    return history, ratios


if __name__ == "__main__":
    main()
