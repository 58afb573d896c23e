"""Train on grey MNIST with the settings of the paper's Table I: ``python -m tapcore_bench.paper.real_mnist``.

Visible units are truncated Gauss-Bernoulli, as most pixels of most images are exactly 0. The learning rate falls
geometrically from 1e-2 to 1e-5 over 100 epochs, however many of them are asked for.
"""

from __future__ import annotations

import tapcore as tc
from tapcore_bench.paper import experiment
from tapcore_bench.paper.data import real_mnist

SIZE, DECAY = 100, 0.001
FIRST_RATE, LAST_RATE, FALL = 1e-2, 1e-5, 100


def main() -> None:
    """Run the experiment."""
    options = experiment.arguments("Train an RBM on grey MNIST as in Table I.", "real_mnist", 10, 100).parse_args()
    X = real_mnist()
    visible = tc.TruncatedGaussBernoulli.from_data(X)
    machine = tc.RBM(visible, tc.Binary(options.hidden), seed=0, dtype=options.dtype)
    fall = (LAST_RATE / FIRST_RATE) ** (1 / (FALL - 1))
    result = experiment.train(
        machine, X, size=SIZE, rate=lambda epoch: FIRST_RATE * fall ** (epoch - 1), decay=DECAY, epochs=options.epochs
    )
    experiment.leave(options.out, result.machine, result.history, (28, 28))


if __name__ == "__main__":
    main()
