"""What units of two states share."""

from __future__ import annotations

from typing import ClassVar, Self

import numpy as np
from numpy.typing import ArrayLike

from tapcore._base import checks
from tapcore._base.intrinsics import JIT_DISABLED, stack_array
from tapcore._base.jit import scalar
from tapcore._base.random import Stream, fill_uniform
from tapcore.units.interface import Unit
from tapcore.units.parameters import parameter
from tapcore.units.rows import Array

# Numbers drawn at a time, in an array on the stack.
_AT_ONCE = 8 if JIT_DISABLED else 512


@scalar
def draw_states(stream: Stream, x: Array, low: float, high: float) -> None:
    """Turn probabilities of the high state into states, in place; NaN stays."""
    u = stack_array(_AT_ONCE, np.float64(0.0))
    up, down = x.dtype.type(high), x.dtype.type(low)
    for a in range(0, x.size, _AT_ONCE):
        part = x[a : a + _AT_ONCE]
        fill_uniform(stream, u[: part.size])
        for i in range(part.size):
            p = part[i]
            part[i] = p if p != p else (up if u[i] < p else down)


class TwoStates(Unit):
    """A layer with weight ``exp(U x)`` on two `levels`."""

    names = ("U",)
    #: What a message about data that are neither advises; ``{name}`` is the argument's.
    hint: ClassVar[str]

    U = parameter("U", "Fields")

    def __init__(self, n: int, U: ArrayLike = 0.0) -> None:
        super().__init__(n, U=U)

    def check_data(self, name: str, X: Array) -> None:
        """Raise ValueError with a hint, naming the first bad index, unless all of `X` (rows, n) are of the states."""
        try:
            super().check_data(name, X)
        except ValueError as error:
            hint = self.hint.format(name=name) if "finite" not in str(error) else ""
            raise ValueError(f"{error}{hint}") from None

    def log_weight(self, x: ArrayLike) -> Array:
        """Log of the weight at `x`: ``U x`` on the states, -inf elsewhere; (..., n)."""
        x = checks.real_array("x", x)
        inside = self.contains(x)
        return np.where(inside, self.U * np.where(inside, x, 0), -np.inf)

    @classmethod
    def from_data(cls, X: ArrayLike) -> Self:
        """Fields that give each unit the mean of its column, on its own.

        A column that never changes would need an infinite field. One imaginary sample, half of it in each state, keeps
        it finite.

        Parameters
        ----------
        X : (samples, n) array_like
            Of the two states; any real dtype, boolean, or memory-mapped; read a bounded number of rows at a time.

        Raises
        ------
        ValueError
            Wrong shape, or an entry other than the states.
        """
        array = checks.matrix("X", X, None, rows="samples")
        unit = cls(array.shape[1])
        unit.check_data("X", array)
        assert cls.levels is not None
        low, high = cls.levels
        up = np.zeros(unit.n)
        for _, rows in checks.row_blocks(array):
            up += (rows == high).sum(axis=0)
        return cls(unit.n, U=np.log((up + 0.5) / (array.shape[0] - up + 0.5)) / (high - low))
