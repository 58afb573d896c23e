"""Standard coordinates of real-valued visible units: in them data of any scale and offset train alike.

With ``x = shift + scale z`` a machine of x is one of z: ``W_z = scale W``, and hidden units' fields take in what the
shift sends them, ``shift W``. In z the steps in U and in V, or ln V, are of like size; in x they may differ by as many
orders of magnitude as the data's offset and scale have.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from tapcore.machine import Machine
from tapcore.units import Unit

Array = NDArray[Any]


class StandardRows:
    """Data in standard coordinates, row by row as they are asked for: what is memory-mapped stays so.

    Attributes
    ----------
    shape : tuple of int
    dtype : numpy.dtype
        float64.
    raw : (n, n_visible) array
        The data as they are.
    """

    dtype = np.dtype(np.float64)

    def __init__(self, X: Array, visible: Unit, shift: Array, scale: Array) -> None:
        self.raw, self.visible, self.shift, self.scale, self.shape = X, visible, shift, scale, X.shape

    def __len__(self) -> int:
        return int(self.shape[0])

    def __getitem__(self, rows: Any) -> NDArray[np.float64]:
        x = np.asarray(self.raw[rows])
        if self.visible.fixed:  # values at the ends of a support are rounded as these are
            x = self.visible.rounded(x)
        return np.asarray((x.astype(np.float64) - self.shift) / self.scale)


class Coordinates:
    """Standard coordinates of the visible layer.

    Parameters
    ----------
    shift, scale : (n_visible,) float64 arrays
    """

    def __init__(self, shift: Array, scale: Array) -> None:
        self.shift, self.scale = shift, scale

    @classmethod
    def of(cls, fitted: Unit) -> Coordinates | None:
        """Those of a layer fitted to the data; None where they are what the data are in."""
        standard = fitted.standard()
        if standard is None or (np.all(standard[0] == 0) and np.all(standard[1] == 1)):
            return None
        return cls(*standard)

    def settled(self, machine: Machine, fitted: Unit) -> Machine:
        """The machine of x that training starts from, whatever scale and offset the data have.

        A visible layer at its defaults becomes the fitted one, and weights that were meant for its own scale are for
        the data's. Fields of a hidden layer at its defaults are meant for visible units at the shift.
        """
        visible, hidden, *upper = machine.layers
        W = machine.weights[0].astype(np.float64)
        own = visible.standard()
        if visible.untouched() and own is not None:
            visible, W = fitted, W * (own[1] / self.scale)[:, None]
        if hidden.untouched():
            hidden = _with_field(hidden, -(self.shift @ W))
        return machine.replace(layers=(visible, hidden, *upper), weights=(W, *machine.weights[1:]))

    def rows(self, X: Array, visible: Unit) -> StandardRows:
        """The data in z, for the visible layer of x."""
        return StandardRows(X, visible, self.shift, self.scale)

    def inward(self, machine: Machine) -> Machine:
        """The machine of z."""
        visible, hidden, *upper = machine.layers
        W = machine.weights[0].astype(np.float64)
        hidden = _with_field(hidden, self.shift @ W)
        inside = visible.inward(self.shift, self.scale)
        return machine.replace(layers=(inside, hidden, *upper), weights=(self.scale[:, None] * W, *machine.weights[1:]))

    def outward(self, machine: Machine, start: tuple[Machine, Machine]) -> Machine:
        """The machine of x for one of z.

        `start` holds a machine of x and the one of z that it was: the support is taken from there, to the bit, and so
        is everything if nothing has changed since.
        """
        before, inside = start
        if machine == inside:
            return before
        visible, hidden, *upper = machine.layers
        W = machine.weights[0].astype(np.float64) / self.scale[:, None]
        visible = visible.outward(self.shift, self.scale, before.layers[0])
        layers = (visible, _with_field(hidden, -(self.shift @ W)), *upper)
        return machine.replace(layers=layers, weights=(W, *machine.weights[1:]))

    def log_density(self, visible: Unit, X: Array) -> float:
        """Average over rows of X of ln P(x) less ln P(z): minus ln of the scale of each value that has a density."""
        return -float((visible.has_density(X) * np.log(self.scale)).sum(axis=1).mean())

    def free_energy_shift(self, outside: Machine, inside: Machine) -> float:
        """F of a machine of x less that of the same machine of z: each visible weight has been given a factor."""
        of_x, of_z = (machine.layers[0].astype(np.float64).moments(0.0, 0.0)[0] for machine in (outside, inside))
        return -float((of_x - of_z).sum())


def _with_field(layer: Unit, added: Array) -> Unit:
    """`layer` with something added to its fields."""
    parameters = {name: p.astype(np.float64) for name, p in layer.parameters.items()}
    layer.add_fields(parameters, added)
    return layer.with_parameters({name: p.astype(layer.dtype) for name, p in parameters.items()})
