"""Train on the CBCL faces with the settings of the paper's Table I: ``python -m tapcore_bench.paper.cbcl``."""

from __future__ import annotations

import tapcore as tc
from tapcore_bench.paper import experiment
from tapcore_bench.paper.data import cbcl_faces

SIZE, RATE, DECAY = 20, 0.005, 0.01


def main() -> None:
    """Run the experiment."""
    options = experiment.arguments("Train an RBM on CBCL faces as in Table I.", "cbcl", 50, 256).parse_args()
    X = cbcl_faces()
    machine = tc.RBM(tc.TruncatedGaussian.from_data(X), tc.Binary(options.hidden), seed=0, dtype=options.dtype)
    result = experiment.train(machine, X, size=SIZE, rate=RATE, decay=DECAY, epochs=options.epochs)
    experiment.leave(options.out, result.machine, result.history, (19, 19))


if __name__ == "__main__":
    main()
