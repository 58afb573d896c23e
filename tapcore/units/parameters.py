"""Named arrays that do not change: what every layer of units is made of."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Self, TypeVar

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
AnyParameters = TypeVar("AnyParameters", bound="Parameters")


#: Attributes that layers have by themselves, beside those of their classes.
AUTOMATIC = ("n", "parameters")


class Parameter(property):
    """Read-only attribute for one of the parameters."""

    name: str

    if TYPE_CHECKING:  # of a property that is made by a call, type checkers know no more than that it is one

        def __get__(self, instance: Any, owner: type | None = None, /) -> Array: ...  # type: ignore[override]


def parameter(name: str, meaning: str) -> Parameter:
    """Read-only attribute of a unit type for one of its parameters."""

    def value(unit: Parameters) -> Array:
        return unit.parameters[name]

    made = Parameter(value, doc=f"{meaning}, (n,).")
    made.name = name
    return made


class Parameters:
    """The number of sites and the parameters of a layer; immutable.

    Attributes
    ----------
    n : int
        Number of sites.
    parameters : dict of str to (n,) array
        Read-only.
    """

    #: Parameter names in the constructor's order.
    names: ClassVar[tuple[str, ...]]

    n: int
    parameters: dict[str, Array]

    def _set(self, n: int, parameters: dict[str, Array]) -> None:
        """Take over arrays of its own."""
        for array in parameters.values():
            array.flags.writeable = False
        self.__dict__.update(n=n, parameters=parameters)

    def __setattr__(self, name: str, value: Any) -> None:
        raise AttributeError(f"a {type(self).__name__} layer is immutable: make another one")

    def __delattr__(self, name: str) -> None:
        raise AttributeError(f"a {type(self).__name__} layer is immutable")

    def __reduce__(self) -> tuple[Any, ...]:
        return _remade, (type(self), self.n, dict(self.parameters))

    @property
    def dtype(self) -> np.dtype[Any]:
        """Dtype of the parameters, in which moments are computed."""
        return self.parameters[self.names[0]].dtype

    def with_parameters(self, parameters: dict[str, Array]) -> Self:
        """Copy with other `parameters`, taken over unchecked (they have just been computed)."""
        return _remade(type(self), self.n, parameters)

    def astype(self, dtype: Any) -> Self:
        """Copy with parameters of `dtype`."""
        if self.dtype == dtype:
            return self
        return self.with_parameters({name: p.astype(dtype) for name, p in self.parameters.items()})

    def __eq__(self, other: object) -> bool:
        if type(other) is not type(self):
            return NotImplemented
        return self.n == other.n and all(
            self.parameters[k].dtype == other.parameters[k].dtype
            and np.array_equal(self.parameters[k], other.parameters[k])
            for k in self.names
        )

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        shown = ", ".join(f"{name}={_brief(p)}" for name, p in self.parameters.items())
        return f"{type(self).__name__}({self.n}, {shown})"


def _remade(cls: type[AnyParameters], n: int, parameters: dict[str, Array]) -> AnyParameters:
    """Layer with copies of parameter arrays that are known to be right."""
    unit = object.__new__(cls)
    unit._set(n, {name: np.array(parameters[name]) for name in cls.names})
    return unit


def _brief(p: Array) -> str:
    if np.all(p == p[0]):
        return f"{p[0]:g}"
    return f"<{p.min():.3g} to {p.max():.3g}>"
