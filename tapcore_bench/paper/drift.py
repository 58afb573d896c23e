"""How far the TAP log-likelihood drifts from the exact one as a machine trains: 64x20 units on 8x8 digits.

python -m tapcore_bench.paper.drift
"""

from __future__ import annotations

import tapcore as tc

EPOCHS = (10, 30, 100, 300)


def main() -> None:
    """Print both, in nats a sample, after some epochs."""
    X = tc.datasets.load("digits")

    def say(machine: tc.Machine, record: tc.EpochRecord) -> None:
        if record.epoch in EPOCHS:
            exact = tc.exact.log_likelihood(machine, X).mean()
            print(
                f"{record.epoch} epochs: TAP {sum(machine.sizes) * record.log_likelihood:.2f}, exact {exact:.2f}",
                flush=True,
            )

    settings = tc.paper_settings(epochs=max(EPOCHS), learning_rate=0.1)
    tc.fit(tc.RBM(tc.Binary(64), tc.Binary(20), seed=0), X, settings=settings, callbacks=(say,))


if __name__ == "__main__":
    main()
