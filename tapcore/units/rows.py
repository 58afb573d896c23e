"""What the units of a layer do in a kernel, for one chain: functions chosen by the type of the layer's site.

Each unit type registers its own for the NamedTuple of its parameter arrays, the site. Moments and ln Z all have; what
else a type registers is what else it can do.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from numpy.typing import NDArray

from tapcore._base.apart import Apart
from tapcore._base.jit import by_type
from tapcore._base.random import Stream, normal, uniform

# For `row_draw`: a uniform number below 1, and a normal one, from a stream.
__all__ = [
    "Array", "Stream", "normal", "row_cumulants", "row_draw", "row_log_z", "row_moments", "row_slab", "row_third",
    "uniform", "uses",
]  # fmt: skip

Array = NDArray[Any]
Site = TypeVar("Site", bound=type)

#: Of site types, the functions apart that their rows call.
USED: dict[type, tuple[Apart, ...]] = {}


def uses(*parts: Apart) -> Callable[[Site], Site]:
    """Have these ready before rows of the decorated site type run."""

    def keep(site_type: Site) -> Site:
        USED[site_type] = parts
        return site_type

    return keep


@by_type
def row_moments(site: Any, B: Array, A: Array, mean: Array, var: Array) -> None:
    """Mean and variance of every site of a layer, for one chain: five (n,) arrays, the last two are written."""


@by_type
def row_log_z(site: Any, B: Array, A: Array, log_z: Array) -> None:
    """Ln Z(B, A) of every site of a layer, for one chain."""


@by_type
def row_third(site: Any, mean: Array, third: Array, slope: Array) -> None:
    """Third cumulant of every site of a layer as a function of its mean, and its derivative.

    For types of which it is one: others do without, and third order refuses them.
    """


@by_type
def row_cumulants(site: Any, B: Array, A: Array, third: Array, fourth: Array) -> None:
    """Third and fourth cumulant of every site of a layer, for one chain: the derivatives of the variance with B."""


@by_type
def row_slab(site: Any, B: Array, A: Array, probability: Array) -> None:
    """Probability of every site of a layer, for one chain, to be in its slab; 1 where there is no atom beside it."""


@by_type
def row_draw(site: Any, B: Array, A: Array, stream: Stream, x: Array) -> None:
    """A value of every site of a layer, for one chain, from the weight in fields B, A; NaN where it is no law."""


@row_slab.register(object)
def _all_slab(site: Any, B: Array, A: Array, probability: Array) -> None:
    """Of types without an atom."""
    probability[:] = 1
