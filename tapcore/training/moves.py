"""Steps of a gradient, as optimisers make them: of weights in kernels, of units' parameters in NumPy."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from tapcore._base.jit import scalar
from tapcore.training.optimisers import Adam, Momentum
from tapcore.training.penalties import L1, L2
from tapcore.units import Unit
from tapcore.units.steps import PlainSteps, Steps

Array = NDArray[Any]
Slopes = list[dict[str, Array]]

# What Adam adds to a root mean square.
LEAST = 1e-8


class Memory(NamedTuple):
    """What Adam keeps of the derivatives of the weights of one pair of layers; or no rows."""

    mean: Array  # (n_lower, n_upper)
    square: Array


class How(NamedTuple):
    """Numbers of one step."""

    rate: float
    momentum: float  # of the step before, which is kept
    share: float  # Adam's two
    squares: float
    l1: float
    l2: float


def memory(optimiser: Momentum | Adam, x: Array) -> Memory:
    """What an optimiser keeps of the derivatives with respect to `x` before the first step."""
    kept = x if isinstance(optimiser, Adam) else x[:0]
    return Memory(np.zeros_like(kept), np.zeros_like(kept))


def how(optimiser: Momentum | Adam, penalty: L1 | L2 | None, rate: float, number: int) -> How:
    """Step number `number`, from 1, of this size."""
    l1, l2 = slopes(penalty)
    if isinstance(optimiser, Momentum):
        return How(rate, optimiser.share, 0.0, 0.0, l1, l2)
    # Averages that began at 0 are too small at first.
    share, squares = optimiser.share, optimiser.squares
    return How(rate * math.sqrt(1 - squares**number) / (1 - share**number), 0.0, share, squares, l1, l2)


def slopes(penalty: L1 | L2 | None) -> tuple[float, float]:
    """(a, b) of the penalty's derivative ``a sign(W) + b W``."""
    if penalty is None:
        return 0.0, 0.0
    return (penalty.strength, 0.0) if isinstance(penalty, L1) else (0.0, penalty.strength)


@scalar
def move(W: Array, W2: Array, step: Array, gradient: Array, rate: float, momentum: float, l1: float, l2: float) -> None:
    """Take one step in place (Alg. 2): ``step = rate (gradient - dR/dW) + momentum step``, W += step; W2 = W^2.

    All arrays are (n,); the gradient may be longer.
    """
    number = W.dtype.type
    rate, momentum, l1, l2, zero = number(rate), number(momentum), number(l1), number(l2), number(0)
    for i in range(W.size):
        w = W[i]
        sign = l1 if w > zero else (-l1 if w < zero else zero)
        s = rate * (gradient[i] - sign - l2 * w) + momentum * step[i]
        step[i] = s
        W[i] = w + s
        W2[i] = (w + s) * (w + s)


@scalar
def adapt(mean: Array, square: Array, gradient: Array, share: float, squares: float) -> None:
    """Put Adam's direction, mean over root mean square, in the place of the gradient: (n,), which may be longer."""
    number = mean.dtype.type
    kept, kept_squares, least, one = number(share), number(squares), number(LEAST), number(1)
    for i in range(mean.size):
        g = gradient[i]
        m = kept * mean[i] + (one - kept) * g
        v = kept_squares * square[i] + (one - kept_squares) * g * g
        mean[i], square[i] = m, v
        gradient[i] = m / (np.sqrt(v) + least)


class OfParameters:
    """Directions for the parameters of units: their derivatives, or what Adam makes of them."""

    def __init__(self, optimiser: Momentum | Adam, parameters: Sequence[dict[str, Array]]) -> None:
        self.optimiser = optimiser
        wide = [{name: np.asarray(p, np.float64) for name, p in own.items()} for own in parameters]
        self.kept = [{name: memory(optimiser, p) for name, p in own.items()} for own in wide]

    def steps(self, layer: Unit, model: dict[str, Array]) -> Steps:
        """Coordinates of a layer: its own for Adam, whose steps all have one length; the parameters for Alg. 2."""
        return layer.steps(model) if isinstance(self.optimiser, Adam) else PlainSteps(layer)

    def directions(self, ascent: Slopes) -> Slopes:
        """What to step along for the derivatives of a batch."""
        if isinstance(self.optimiser, Momentum):
            return ascent
        shares = self.optimiser.share, self.optimiser.squares
        made: Slopes = []
        for kept, own in zip(self.kept, ascent, strict=True):
            made.append({})
            for name, g in own.items():
                for average, share, new in zip(kept[name], shares, (g, np.square(g)), strict=True):
                    average *= share
                    average += (1 - share) * new
                mean, square = kept[name]
                made[-1][name] = mean / (np.sqrt(square) + LEAST)
        return made

    def tensors(self) -> dict[str, Array]:
        """Arrays that a checkpoint keeps, to be written to in place."""
        return {
            f"adam.layers.{i}.{name}.{what}": x
            for i, own in enumerate(self.kept)
            for name, memory in own.items()
            for what, x in memory._asdict().items()
            if len(x)
        }
