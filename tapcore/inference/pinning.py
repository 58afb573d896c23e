"""Hidden units seen through noise: what keeps chains of mean-field equations apart, and lets them change solutions.

Beside each hidden unit h stands a measurement of it, ``z = sqrt(r) h + xi`` with xi normal, which adds the field
``sqrt(r) z`` and the precision r to the unit and changes nothing in the law of the others, z left out. Given z the law
is more concentrated, and mean-field equations are better, the more so the larger r; drawn anew in each batch, from
values of hidden units that are drawn from the chain's own marginals, z moves chains between solutions as their weights
ask for, which equations alone do not. Gaussian measurements of this kind are those of Martens and Sutskever,
"Parallelizable sampling of Markov random fields" (2010); that measurements of some units leave the others nearly
uncorrelated, as mean-field equations take them to be, is Montanari, "Estimating random variables from random sparse
observations" (2008).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tapcore.equations.layers import State
from tapcore.equations.outside import Given, outside_of
from tapcore.machine import Machine
from tapcore.units import Unit

Array = NDArray[Any]
Layers = tuple[Array, ...]


# The ratio of signal to noise that serves binary units best, between chains that hardly move and equations that are
# hardly exact: so much, and less where there are so many that this holds a chain. Held-out binary MNIST by annealed
# importance sampling, in nats an image, the mean of forward and back. 784x100, 40 epochs, two seeds each, by one
# sweep a batch, 0.7 of the noise kept: ratios of 2, 3 and 5 train to -89.6, -89.6 and -91.9. 784x500, 15 epochs, 50
# chains, two sweeps, by one to three runs that differ in whether noise is kept and new measurements are answered
# first: 0.5 to -81.4 and -84.4; 1 to -78.6, -79.3 and -88.1; 1.5 to -80.8 and -81.2; 3 to -90.8. Of posteriors of
# 784x100, test images with 45 % of their pixels flipped: 1, 3 and 10 have squared errors of 0.0835, 0.0788 and
# 0.0807; of 784x500, 200 images held out with 25, 35 and 45 % flipped: 1.3 has 0.0312, 0.0617 and 0.0903, 3 has
# 0.0312, 0.0639 and 0.0895.
_OF_BINARY, _MANY = 3.0, 100
# In training spins are told apart as well as 0 and 1 at 10: at 3, with steps twice as long, digits were lost.
_OF_OTHERS_IN_TRAINING = 10.0
# Of few hidden units weights become large, and equations at that ratio are lost for good. Exact log-likelihoods held
# out, binary MNIST's first 5,000 images, 784x20, 100 epochs: 6.7, 10 and 20 train to -778.6, -137.9 and -137.9
# (independent pixels have -209); 784x10, 20 epochs: 3, 10, 20 and 40 to -276.1, -158.0, -156.8 and -162.7; 784x50, 100
# epochs, annealed: 3 and 6 to -532 and -109; digits, 64x20, 400 epochs: 3, 6.7, 10 and 20 to -157.7, -17.8, -17.7 and
# -17.9. A table of 30 columns, Gaussian, 30x3 and 30x10: 3 to -44.3 and -34.1, 10 to -40.4 and -31.6, 20 to -34.9 and
# -31.4. Spins lose by it: 64x20, 2.5, 10 and 20 train to -18.0, -20.1 and -43.9.
_MOST_HELD = 20 / 3
# Share of the noise that the next measurement keeps. 784x100 as above, at a ratio of 3, two or three seeds: 0, 0.5 and
# 0.8 train to -88.8, -88.1 and -89.3 by two sweeps a batch; by one, 0, 0.5, 0.7 and 0.9 to -92.1, -89.9, -89.6 and
# -92.5.
KEPT = 0.5
#: The largest that leaves float32 digits for what machines have to say.
MOST_PINNING = 1e6


def two_states(machine: Machine) -> bool:
    """Whether all units have two states: those that measurements are known to help."""
    return all(layer.levels is not None for layer in machine.layers)


def gains(machine: Machine) -> bool:
    """Whether training gains by measurements: hidden units have two states, and visible ones states or Gaussian laws.

    On a standardised table of 30 columns a long run without them ends 9 nats a sample below one with them, where few
    equations have a solution. Of 136 categorical sites (RNA family RF00379, a random fifth held out, 100 hidden units,
    20 s) annealing gives -0.68 nats a site without them, and samples whose covariances correlate by 0.50 with the
    data's, -0.61 and 0.76 with them. Units with an atom beside a slab on the line lose by them.
    """
    visible, *hidden = machine.layers
    gaussian = visible.tail_precision() is not None and bool(visible.has_density(np.zeros(visible.columns)).all())
    states = all(block.levels is not None or block.widths is not None for block in visible.blocks)
    return (states or gaussian) and all(layer.levels is not None for layer in hidden)


def few_hidden(machine: Machine) -> bool:
    """Whether so few units are hidden that their weights become large in training, and equations fall behind."""
    return sum(machine.sizes[1:]) < _MANY


def posterior_ratio(machine: Machine) -> float:
    """The ratio that serves posteriors best: states of hidden units are told apart as well as 0 and 1 are."""
    return _OF_BINARY * min(1.0, _held(machine)) / _widest(machine) ** 2


def training_ratio(machine: Machine) -> float:
    """The ratio that serves training best."""
    widest, held = _widest(machine), _held(machine)
    if widest == 1.0:
        return _OF_BINARY * held
    return _OF_OTHERS_IN_TRAINING * min(1.0, held) / widest**2


def _held(machine: Machine) -> float:
    """What becomes of a ratio with the number of units measured: each adds to what holds a chain where it is.

    And the fewer there are the larger their weights become, for which equations need them better known.
    """
    share = _MANY / sum(machine.sizes[1:])
    return math.sqrt(share) if share < 1 else min(share, _MOST_HELD)


def _widest(machine: Machine) -> float:
    """The largest distance between the two states of a hidden unit."""
    apart = (layer.levels[1] - layer.levels[0] for layer in machine.layers[1:] if layer.levels is not None)
    return float(max(apart, default=1.0))


def _sent(values: Array, W: Array) -> Array:
    """What a layer sends to the next one."""
    with np.errstate(over="ignore", invalid="ignore"):  # what diverges is said after the epoch
        return np.asarray(values @ W)


def draw(layer: Unit, mean: Array, B: Array, A: Array, rng: np.random.Generator) -> Array:
    """Values of a layer in fields `B` and precisions `A`, where it has these means, (K, n) each."""
    if layer.levels is None:
        return layer.sample(B, A, rng)
    lo, hi = (mean.dtype.type(state) for state in layer.levels)  # the mean says it all
    return np.asarray(np.where(lo + (hi - lo) * rng.random(mean.shape, mean.dtype) < mean, hi, lo))


class Pinning:
    """Measurements of the hidden units of K chains, at one ratio of signal to noise.

    Parameters
    ----------
    visible : tuple of three arrays, optional
        What acts on the visible layer besides, as in `Given`: fields, precisions, values at which units are held.

    Attributes
    ----------
    values : tuple of (K, n_l) arrays, one a hidden layer
        What is measured next.
    outside : Outside
        What measurements add, for sweeps; rewritten in place.
    """

    def __init__(
        self, sizes: Sequence[int], count: int, dtype: Any, ratio: float, visible: tuple[Array, ...] | None = None
    ) -> None:
        self.ratio = ratio
        self.values = tuple(np.zeros((count, n), dtype) for n in sizes[1:])
        none = tuple(np.empty((0, n), dtype) for n in sizes)
        fields = tuple(np.zeros((count, n), dtype) for n in sizes[1:])
        precisions = tuple(np.full((1, n), ratio, dtype) for n in sizes[1:])
        U, V, held = (none[0],) * 3 if visible is None else visible
        given = Given((U, *fields), (V, *precisions), (held, *none[1:]))
        self.outside = outside_of(given, np.dtype(dtype))
        ends = U.size + np.cumsum([0, *(x.size for x in fields)])
        parts = [self.outside.values[a:z] for a, z in pairwise(ends)]
        self.fields = tuple(part.reshape(x.shape) for part, x in zip(parts, fields, strict=True))

    def begin(
        self, which: NDArray[np.bool_], state: State, layers: Sequence[Unit], weights: Sequence[Array], rng: Any
    ) -> None:
        """Draw values of some chains from their visible values or means, layer by layer, and measure them.

        What these values send to odd layers becomes their fields, for `Chains.answer`.
        """
        drawn = [state.mean[0][which]]
        for values, fields, layer, W in zip(self.values, self.fields, layers[1:], weights, strict=True):
            drawn.append(layer.sample(_sent(drawn[-1], W), 0.0, rng).astype(values.dtype))
            values[which] = drawn[-1]
            noise = rng.standard_normal(drawn[-1].shape, fields.dtype)
            ratio, deviation = (fields.dtype.type(x) for x in (self.ratio, np.sqrt(self.ratio)))
            fields[which] = ratio * drawn[-1] + deviation * noise
        for i in range(1, len(layers), 2):
            state.B[i][which] = _sent(drawn[i - 1], weights[i - 1])
            if i + 1 < len(layers):
                state.B[i][which] += _sent(drawn[i + 1], weights[i].T)
            state.A[i][which] = 0

    def measure(self, rng: np.random.Generator) -> None:
        """Measure the values, which have changed, with noise of which a share is that of the last measurement."""
        for fields, values in zip(self.fields, self.values, strict=True):
            number = fields.dtype.type
            noise = rng.standard_normal(fields.shape, fields.dtype)
            noise *= number(np.sqrt(self.ratio * (1 - KEPT**2)))
            fields *= number(KEPT)
            fields += number((1 - KEPT) * self.ratio) * values
            fields += noise

    def draw(self, layers: Sequence[Unit], mean: Layers, B: Layers, A: Layers, rng: np.random.Generator) -> None:
        """Draw values from the marginals of the hidden layers: of these means, in these whole fields and precisions."""
        for values, layer, average, field, precision in zip(self.values, layers[1:], mean, B, A, strict=True):
            values[:] = draw(layer, average, field, precision, rng)

    def whole(self, B: Layers, A: Layers) -> tuple[Layers, Layers]:
        """Fields and precisions of the hidden layers with what measurements add."""
        with_fields = tuple(b + f for b, f in zip(B, self.fields, strict=True))
        return with_fields, tuple(a + a.dtype.type(self.ratio) for a in A)
