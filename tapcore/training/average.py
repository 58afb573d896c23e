"""The average of a machine over its last batches: what early stopping scores and returns.

Steps of batches keep a machine in motion, so that from one epoch to the next its held-out log-likelihood jumps by many
times what it gains. The average stands nearer to the middle of this motion, and better for it (Polyak and Juditsky,
"Acceleration of stochastic approximation by averaging", 1992).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from tapcore.equations.compiled import Compiled

# Share of the newest machine in the average once there are many: it reaches back 100 batches. Of 500 binary MNIST
# images, 784x100, `fit` without options (epochs of 50 batches), 1,000 images held out, in nats an image at epochs 20,
# 30, 37, 42, 50:
#   annealed, last machine              LAST
#   uniform over the epoch              UNIFORM
#   share 0.02                          FIFTY
#   share 0.01                          HUNDRED
#   share 0.004                         LONG
RATE = 0.01
# Before, the average is over about this part of the batches so far, since those of the beginning are far away.
PART = 0.1


class Average:
    """Moving average of weights and parameters, in their dtype: rounding is far below what batches change.

    Domains of parameters are convex (V > 0, rho in (0, 1), couplings that leave real units a precision), so that no
    average leaves them. What does not change, such as the ends of a support, stays the same to the bit.

    Parameters
    ----------
    now : Compiled
        The machine that trains, whose arrays are followed.

    Attributes
    ----------
    of : Compiled
        The average: `now` as it is, until there has been a batch.
    count : int
        Batches in it.
    """

    def __init__(self, now: Compiled) -> None:
        self.now, self.count = now, 0
        self.of = now._replace(W=now.W.copy(), values=now.values.copy())
        self._gap = np.empty_like(now.W)

    def follow(self) -> None:
        """Take in the machine after a batch."""
        self.count += 1
        share = max(RATE, 1 / (1 + PART * (self.count - 1)))
        with np.errstate(over="ignore", invalid="ignore"):  # what diverges is said after the epoch
            np.subtract(self.now.W, self.of.W, out=self._gap)
            self._gap *= share
            self.of.W[...] += self._gap
            moved = self.now.values != self.of.values  # an end of a support may be infinite
            self.of.values[moved] += share * (self.now.values[moved] - self.of.values[moved])


def named(own: Compiled) -> dict[str, NDArray[np.floating]]:
    """Weights and parameters as checkpoints name those of a machine: views, to be written to in place."""
    arrays = {f"weights.{i}": W for i, (W, _, _) in enumerate(own.weights)}
    for i in range(len(own.size)):
        arrays |= {f"layers.{i}.{name}": p for name, p in own.sites.parameters(i).items()}
    return arrays
