"""Where couplings are scaled about: the means of the units, so that independent units are close to the machine."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from tapcore import _checks
from tapcore.machine import Machine
from tapcore.sampling.chains import GibbsChains

Array = NDArray[Any]

# Sweeps of the chains whose means these are, of which the second half counts.
SWEEPS = 40
_STREAM = 1000


def pilot_means(gibbs: GibbsChains, seed: int) -> tuple[Array, ...]:
    """Means of all layers over short Gibbs chains at the machine itself."""
    gibbs.seed(seed, _STREAM)
    gibbs.begin()
    total = [np.zeros(x.shape[1]) for x in gibbs.state.mean]
    for sweep in range(SWEEPS):
        gibbs.sweep(1)
        if sweep >= SWEEPS // 2:
            for t, x in zip(total, gibbs.state.mean, strict=True):
                t += x.mean(axis=0)
    return tuple(t / (SWEEPS - SWEEPS // 2) for t in total)


def means_given(machine: Machine, data: ArrayLike) -> tuple[Array, ...]:
    """Means of samples, and of each further layer given the means of the one before.

    Raises
    ------
    ValueError
        Samples of the wrong width, empty or outside the support.
    """
    samples = _checks.matrix("data", data, machine.layers[0].n, rows="samples")
    machine.layers[0].check_data("data", samples)
    means = [np.asarray(samples.mean(axis=0, dtype=np.float64))]
    for layer, W in zip(machine.layers[1:], machine.weights, strict=True):
        means.append(layer.moments(means[-1] @ W, 0.0)[1])
    return tuple(means)


def set_centre(gibbs: GibbsChains, machine: Machine, means: tuple[Array, ...]) -> float:
    """Make these means the centre; ln Z of the independent units at beta = 0."""
    centre = [np.zeros(n) for n in machine.sizes]
    constant = 0.0
    for l, W in enumerate(machine.weights):  # noqa: E741
        centre[l] += W @ means[l + 1]
        centre[l + 1] += means[l] @ W
        constant += float(means[l] @ W @ means[l + 1])
    gibbs.centre = tuple(centre)
    pairs = zip(machine.layers, centre, strict=True)
    return sum(float(layer.moments(B, 0.0)[0].sum()) for layer, B in pairs) - constant
