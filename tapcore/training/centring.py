"""Centred gradients: those of a machine written in what its units are above their offsets.

``(x - m) W (h - n)`` for ``x W h``: the weights' step does not move the fields that units have where all others are at
their offsets, and the gradients of weights are not nearly parallel to those of fields, as they are where means are far
from 0 (Montavon and Mueller, "Deep Boltzmann machines and the centering trick", 2012). Offsets are moving averages of
what units are on average in the data and in the model, of both alike (Melchior, Fischer and Wiskott, "How to center
deep Boltzmann machines", 2016).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tapcore.training.weights import Center, center_rows
from tapcore.units import Unit

Array = NDArray[Any]
Statistics = Sequence[dict[str, Array]]

# Share of a batch's averages in the offsets.
OFFSET_RATE = 0.01


class Offsets:
    """Offsets of all units; they begin as averages over the first batch.

    Attributes
    ----------
    of : list of (n_l,) float64 arrays
    begun : bool
        Whether there has been a batch.
    """

    def __init__(self, layers: Sequence[Unit]) -> None:
        self.layers = layers
        self.of = [np.zeros(layer.columns) for layer in layers]
        self.begun = False

    def follow(self, data: Statistics, model: Statistics) -> None:
        """Take in the averages of d ln phi/d parameter over a batch and over the chains."""
        now = [(seen + own) / 2 for seen, own in zip(self._fields(data), self._fields(model), strict=True)]
        rate = OFFSET_RATE if self.begun else 1.0
        for offset, new in zip(self.of, now, strict=True):
            offset += rate * (new - offset)
        self.begun = True

    def rows(self, lower: int, ascent: Statistics, dtype: Any) -> Center:
        """What centres the units at both ends of the weights above layer `lower`."""
        slopes = self._fields(ascent)
        below, above = ((self.of[i], slopes[i]) for i in (lower, lower + 1))
        return center_rows(below, above, dtype)

    def keep_fields(self, parameters: Sequence[dict[str, Array]], steps: Sequence[Array]) -> None:
        """Take from each unit's field what the weights' steps add to it where its neighbours are at their offsets."""
        for lower, step in enumerate(steps):
            below, above = self.layers[lower : lower + 2]
            # In the weights' own dtype, or NumPy would widen all of them in each batch.
            centres = [self.of[i].astype(step.dtype) for i in (lower, lower + 1)]
            below.add_fields(parameters[lower], -(step @ centres[1]))
            above.add_fields(parameters[lower + 1], -(centres[0] @ step))

    def _fields(self, statistics: Statistics) -> list[Array]:
        """Of averages of d ln phi/d parameter, those of every unit's field."""
        return [layer.field_statistic(some) for layer, some in zip(self.layers, statistics, strict=True)]

    def tensors(self) -> dict[str, Array]:
        """Arrays that a checkpoint keeps, to be written to in place."""
        return {f"offsets.{i}": offset for i, offset in enumerate(self.of)}
