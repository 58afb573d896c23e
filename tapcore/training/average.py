"""The average of a machine over its last batches: what early stopping scores and returns.

Steps of batches keep a machine in motion, so that from one epoch to the next its held-out log-likelihood jumps by many
times what it gains. The average stands nearer to the middle of this motion, and better for it (Polyak and Juditsky,
"Acceleration of stochastic approximation by averaging", 1992).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from tapcore.equations.compiled import Compiled

# Share of the newest machine in the average once there are many: it reaches back 200 batches. Of 784x100 on 500 binary
# MNIST images, `fit` without options (epochs of 50 batches), the log-likelihood by annealed importance sampling (100
# chains, 1,000 temperatures, errors of 0.05 to 0.7), in nats an image of 1,000 held out, after so many epochs:
#                         20      30      37      42      50
#   last machine      -139.9  -135.4  -130.7  -132.3  -128.7
#   mean of the epoch -124.2  -121.9  -123.8  -123.7  -121.7
#   share 0.02        -123.9  -120.5  -121.5  -121.3  -119.5
#   share 0.01        -123.4  -119.9  -119.0  -119.4  -119.4
#   share 0.004       -124.4  -119.7  -119.0  -119.9  -118.7
# Early stopping (`patience=5`) returns, by three seeds, machines of -119.6, -120.8, -123.1 with 0.01 and of
# -118.6, -119.0, -119.7 with 0.005, whose score falls less before the stop.
RATE = 0.005
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
            np.add(self.of.W, self._gap, out=self.of.W)
            np.add(self.of.values, share * (self.now.values - self.of.values), out=self.of.values)


def named(own: Compiled) -> dict[str, NDArray[np.floating]]:
    """Weights and parameters as checkpoints name those of a machine: views, to be written to in place."""
    arrays = {f"weights.{i}": W for i, (W, _, _) in enumerate(own.weights)}
    for i in range(len(own.size)):
        arrays |= {f"layers.{i}.{name}": p for name, p in own.sites.parameters(i).items()}
    return arrays
