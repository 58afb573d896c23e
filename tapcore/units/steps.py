"""Steps of training: the coordinates in which parameters of units are moved."""

from __future__ import annotations

from typing import Any, Protocol

from numpy.typing import NDArray

Array = NDArray[Any]


class Steps(Protocol):
    """Coordinates of the parameters of a layer, about where they are now.

    Optimisers see derivatives with respect to these coordinates, and what they make of them is a direction in them.
    """

    def slopes(self, gradient: dict[str, Array]) -> dict[str, Array]:
        """Derivatives with respect to the coordinates for those with respect to the parameters, under their names."""

    def take(self, parameters: dict[str, Array], directions: dict[str, Array], rate: float) -> None:
        """Move `parameters`, in place, by `rate` along `directions` in the coordinates."""


class Ascending(Protocol):
    """What moves parameters along a gradient: any unit type."""

    def ascend(self, parameters: dict[str, Array], gradient: dict[str, Array], rate: float) -> None:
        """Take a training step in place."""


class PlainSteps:
    """Steps in the parameters themselves, as the unit's `ascend` takes them."""

    def __init__(self, unit: Ascending) -> None:
        self.unit = unit

    def slopes(self, gradient: dict[str, Array]) -> dict[str, Array]:
        """The gradient."""
        return dict(gradient)

    def take(self, parameters: dict[str, Array], directions: dict[str, Array], rate: float) -> None:
        """By `ascend`."""
        self.unit.ascend(parameters, dict(directions), rate)
