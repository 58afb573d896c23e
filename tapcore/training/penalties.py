"""Penalties on the weights. Nothing heavy loads with them, as with all that the command line's flags are made of."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class _Penalty:
    strength: float

    def __post_init__(self) -> None:
        from tapcore._base import checks

        object.__setattr__(self, "strength", checks.number("strength", self.strength, minimum=0))


class L1(_Penalty):
    """Penalty ``strength * sum |W|``: each step moves weights towards zero by the same amount.

    Parameters
    ----------
    strength : float
        epsilon of Alg. 2, at least 0.
    """


class L2(_Penalty):
    """Penalty ``strength * sum W^2/2``: each step shrinks weights in proportion.

    Parameters
    ----------
    strength : float
        epsilon of Alg. 2, at least 0.
    """
