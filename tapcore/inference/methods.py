"""The methods of inference, one row each: what every other module knows of them it reads here.

Nothing heavy loads with this module: the command line's choices are made of it. Checks load when there is a value to
check.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tapcore.machine import Machine

# What moves the chains of a method.
SWEEPS, BELIEF, ADAPTIVE = "sweeps", "belief", "adaptive"


@dataclass(frozen=True)
class Need:
    """What a method asks of every layer of units."""

    function: str  # name in `tapcore.units.sites` of what the unit's type must have registered
    reason: str  # what the method needs, with {layer} where the layer that lacks it is named


THIRD_CUMULANTS = Need(
    "THIRD",
    "needs the third cumulant of each unit as a function of its mean, which those of {layer} do not have: use 'tap'",
)


@dataclass(frozen=True, kw_only=True)
class Method:
    """What a method of inference is and can do.

    Attributes
    ----------
    engine : {"sweeps", "belief", "adaptive"}
        What moves its chains.
    order : int
        Of the expansion in the weights; 0 for a method that is none.
    fields : bool
        Takes fields from outside, and clamped units.
    harvest, stability : bool
        Its solutions can be gathered and tracked; the Jacobian of its sweep is known.
    exclusive : bool
        Knows the covariances of sites of several columns, beside a layer that has none.
    deep, deep_gradient : bool
        Solves machines of more than two layers, and has a gradient for them.
    accelerates : bool
        Its chains can be extrapolated.
    adapts : bool
        Damping that is not given rises chain by chain where it is needed.
    damping : float
        The one to begin with where none is given.
    wide : bool
        Computes in float64 whatever the machine's dtype.
    needs : Need, optional
        What it asks of the units.
    """

    engine: str
    order: int = 0
    fields: bool = False
    harvest: bool = False
    stability: bool = False
    exclusive: bool = False
    deep: bool = True
    deep_gradient: bool = False
    accelerates: bool = False
    adapts: bool = True
    damping: float = 0.0
    wide: bool = False
    needs: Need | None = None

    def damping_unless(self, given: float | None) -> float:
        """The damping that is given, or the one to begin with."""
        return self.damping if given is None else given


def _of_sweeps(order: int, needs: Need | None = None) -> Method:
    return Method(
        engine=SWEEPS, order=order, needs=needs,
        fields=True, harvest=True, stability=True, exclusive=order < 3, deep_gradient=True, accelerates=True,
    )  # fmt: skip


#: Each method is also a gradient of training.
TABLE: dict[str, Method] = {
    "nmf": _of_sweeps(1),
    "tap": _of_sweeps(2),
    "tap3": _of_sweeps(3, THIRD_CUMULANTS),
    "rbp": Method(engine=BELIEF, deep=False, wide=True),
    # Machines trained on digits oscillate with less damping than 0.4; where it rises chain by chain they hardly move.
    "adatap": Method(engine=ADAPTIVE, adapts=False, damping=0.5, wide=True),
}
DEFAULT = "tap"


def names(able: Callable[[Method], bool] | None = None) -> tuple[str, ...]:
    """Methods in the order of the table: all, or those that are `able`."""
    return tuple(name for name, method in TABLE.items() if able is None or able(method))


def choices(able: Callable[[Method], bool] | None = None) -> tuple[str, ...]:
    """The same, the default first, as options list them."""
    return tuple(sorted(names(able), key=lambda name: name != DEFAULT))


def quoted(some: tuple[str, ...]) -> str:
    """Names as messages list them."""
    return ", ".join(map(repr, some))


def clamped(gradient: str) -> str:
    """The method for hidden layers given samples, by the name of a gradient.

    That of the gradient itself. One that is for two layers needs none, as hidden units are then independent: the
    simplest stands for it.
    """
    method = TABLE.get(gradient)
    return gradient if method is not None and method.deep_gradient else "nmf"


def check_method(machine: Machine, name: str, able: Callable[[Method], bool] | None = None) -> Method:
    """The row of a method; ValueError unless it is one of those that are `able`, and can be used on this machine."""
    from tapcore._base import checks

    method = TABLE[checks.choice("method", name, names(able))]
    if len(machine.layers) > 2 and not method.deep:
        raise ValueError(f"method {name!r} is for machines of two layers, got {len(machine.layers)}: use {DEFAULT!r}")
    _check_sites(machine, name, method)
    need = method.needs
    if need is not None:
        from tapcore.units import sites

        for i, layer in enumerate(machine.layers):
            if not sites.can(layer, getattr(sites, need.function)):
                where = f"layers[{i}] ({type(layer).__name__})"
                raise ValueError(f"method {name!r} {need.reason.format(layer=where)}")
    return method


def _check_sites(machine: Machine, name: str, method: Method) -> None:
    """Refuse sites of several columns where the method does not know their covariances."""
    several = [any(block.widths is not None for block in layer.blocks) for layer in machine.layers]
    for i, layer in enumerate(machine.layers):
        where = f"layers[{i}] ({type(layer).__name__})"
        if several[i] and not method.exclusive:
            raise ValueError(f"method {name!r} is for sites of one column each, got those of {where}: use {DEFAULT!r}")
        if method.order > 1 and several[i] and any(several[i + 1 : i + 2]):
            raise ValueError(
                f"method {name!r} does not know what correlations sites of several columns have with those of the next "
                f"layer, as in {where} and above it: use 'nmf'"
            )
