"""The step of Alg. 2."""

from __future__ import annotations

from typing import Any

from numpy.typing import NDArray

from tapcore._base.jit import scalar
from tapcore.training.penalties import L1 as L1
from tapcore.training.penalties import L2 as L2

Array = NDArray[Any]


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
