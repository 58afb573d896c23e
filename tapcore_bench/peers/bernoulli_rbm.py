"""Epochs of contrastive divergence, ours and scikit-learn's: ``python -m tapcore_bench.peers.bernoulli_rbm``.

60,000 samples, 784x500, batches of 100, float32, one Gibbs sweep a batch. scikit-learn's is persistent contrastive
divergence. Ours are timed as `fit` runs them, with what it records of each epoch, and without.
"""

from __future__ import annotations

import argparse
import warnings
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import numpy as np

import tapcore as tc
from tapcore_bench.micro.harness import Row, machine_name, table, take_turns

SAMPLES, VISIBLE, HIDDEN, SIZE = 60_000, 784, 500, 100
RATE = 0.005


class _Trained(Exception):  # noqa: N818 - not an error
    """An epoch is trained, and is not to be scored."""


def samples() -> np.ndarray:
    """As many pixels on as in MNIST, each with a frequency of its own."""
    rng = np.random.default_rng(0)
    return rng.random((SAMPLES, VISIBLE), dtype=np.float32) < rng.beta(0.2, 1.3, VISIBLE)


def ours(X: np.ndarray, gradient: str, scored: bool) -> Callable[[], object]:
    """An epoch of ours."""
    machine = tc.RBM(tc.Binary.from_data(X), tc.Binary(HIDDEN), seed=0, dtype="float32")
    how: dict[str, Any] = {"epochs": 1, "learning_rate": RATE, "gradient": gradient, "dtype": "float32"}
    if scored:
        return lambda: tc.fit(machine, X, settings=tc.paper_settings(**how), progress=False)
    settings = tc.paper_settings(batch_size=SIZE, chains=SIZE, **how)

    def epoch() -> None:
        training = tc.Training(machine, X, settings)

        def batch_done() -> None:
            if training.batch == training.batches:
                raise _Trained

        with suppress(_Trained):
            training.step(batch_done)

    return epoch


def theirs(X: np.ndarray) -> Callable[[], object]:
    """An epoch of scikit-learn's."""
    from sklearn.neural_network import BernoulliRBM

    data = X.astype(np.float32)

    def epoch() -> None:
        model = BernoulliRBM(HIDDEN, learning_rate=RATE, batch_size=SIZE, n_iter=1, random_state=0)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            model.fit(data)

    return epoch


def rows(repeats: int) -> list[Row]:
    """Medians of epochs that take turns."""
    X = samples()
    kinds = [("cd", False), ("cd", True), ("pcd", False), ("pcd", True)]
    *mine, reference = take_turns([*(ours(X, *kind) for kind in kinds), theirs(X)], repeats)
    names = [f"{name.upper()}-1 epoch{', recorded' if scored else ''}" for name, scored in kinds]
    return [Row(name, time, reference, "BernoulliRBM", 1.0) for name, time in zip(names, mine, strict=True)]


def main() -> None:
    """Print the table."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--repeats", type=int, default=5, help="rounds in which competitors take turns")
    repeats = options.parse_args().repeats
    print(f"{machine_name()}; medians of {repeats} rounds.\n\n{table(rows(repeats))}")


if __name__ == "__main__":
    main()
