"""Optimisers: what makes a step of a gradient. Nothing heavy loads with them; the kernels are in `moves.py`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Momentum:
    """Steps of weights that keep a share of the step before (Alg. 2); those of units' parameters keep none.

    Parameters
    ----------
    share : float
        eta of Alg. 2, 0 to below 1.
    """

    share: float = 0.5

    def __post_init__(self) -> None:
        object.__setattr__(self, "share", _share("share", self.share))


@dataclass(frozen=True)
class Adam:
    """Steps along the average of past derivatives over their root mean square (Kingma and Ba, 2015).

    The penalty on the weights is left out of both (Loshchilov and Hutter, 2019). A learning rate is then the size of a
    step, some hundredth of what it is for `Momentum`.

    Parameters
    ----------
    share : float
        Of the average that is kept in each step, 0 to below 1.
    squares : float
        Of the average of squares that is kept, 0 to below 1.
    """

    share: float = 0.9
    squares: float = 0.999

    def __post_init__(self) -> None:
        for name in ("share", "squares"):
            object.__setattr__(self, name, _share(name, getattr(self, name)))


def _share(name: str, value: Any) -> float:
    from tapcore._base import checks

    return checks.number(name, value, minimum=0, below=1)
