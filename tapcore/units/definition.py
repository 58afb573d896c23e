"""What a unit type must be, said when its class is defined: mistakes that would show later, far from their cause."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from typing import Any

from tapcore.units.parameters import AUTOMATIC, Parameter

#: The parameter that units have: it multiplies x in ``ln phi(x)``, as a field does, so that the derivative of
#: ``ln phi`` averages to the mean. Types without it say themselves what fields do to their parameters. A parameter "V",
#: where there is one, multiplies ``-x^2/2``, as a precision does.
FIELD, PRECISION = "U", "V"


def check_definition(cls: Any, base: Any) -> None:
    """Raise TypeError, in one line with the name of the class, unless `cls` can be a type of units, as `base` says."""
    for fault in _faults(cls, base):
        raise TypeError(f"{cls.__name__}: {fault}")
    known = base.registry.get(cls.__name__)
    if known is not None and (known.__module__, known.__qualname__) != (cls.__module__, cls.__qualname__):
        raise TypeError(f"{cls.__name__}: {known.__module__} has a unit type of this name, which files know it by")


def _faults(cls: Any, base: Any) -> Iterator[str]:
    """What is wrong, in the order in which it is best put right."""
    names: Any = getattr(cls, "names", None)
    if not _are_names(names):
        yield f"names must be a tuple of the parameters' names, got {names!r}"
    if getattr(cls.site_type, "_fields", None) != names:
        yield f"site_type must be a NamedTuple with the fields {names} in this order"
    yield from _without_field(cls, base)
    if not _are_names(cls.fixed) or not {*cls.fixed} <= {*names}:
        yield f"fixed must be a tuple of some of the names, got {cls.fixed!r}"
    yield from _hidden(cls, base)
    others = [name for name in names if name not in (FIELD, PRECISION, *cls.fixed)]
    if others and (cls.statistics is base.statistics or cls.data_statistics is base.data_statistics):
        yield (
            f"parameters other than U and V need statistics and data_statistics of their own, or to be named in fixed "
            f"where they say what the support is: {', '.join(others)}"
        )
    yield from _of_values(cls, base)
    yield from _signatures(cls)


def _without_field(cls: Any, base: Any) -> Iterator[str]:
    """What a type needs without the parameter that all others have."""
    if FIELD in cls.names:
        return
    own = [name for name in ("add_fields", "field_statistic", "data_statistics") if _same(cls, base, name)]
    own += ["from_data"] * (cls.from_data.__func__ is base.from_data.__func__)
    if own:
        yield f"names must contain {FIELD!r}: a type without it needs {', '.join(own)} of its own"


def _same(cls: Any, base: Any, name: str) -> bool:
    return getattr(cls, name) is getattr(base, name)


def _are_names(names: Any) -> bool:
    return isinstance(names, tuple) and all(isinstance(name, str) for name in names)


def _hidden(cls: Any, base: Any) -> Iterator[str]:
    """Names that mean something else, and attributes of no parameter."""
    for name in cls.names:
        if hasattr(base, name) or name in AUTOMATIC:
            yield f"a parameter cannot be called {name!r}, which is something else of every unit"
    for attribute, value in inspect.getmembers(cls, lambda value: isinstance(value, Parameter)):
        if value.name not in cls.names:
            yield f"{attribute} shows a parameter {value.name!r}, which is not in names"


def _of_values(cls: Any, base: Any) -> Iterator[str]:
    """What the values of a site are."""
    if cls.levels is None and cls.bounds is base.bounds:
        yield "bounds must be defined, or levels"
    if cls.levels is not None and (not isinstance(cls.levels, tuple) or len(cls.levels) != 2):
        yield f"levels are the two of types that have no others, got {cls.levels!r}: bounds and contains say the rest"
    if cls.levels is None and not isinstance(getattr(cls, "support", None), str):
        yield "support must say for messages what values may be"
    if cls.widths is not base.widths:
        if not isinstance(cls.widths, property):
            yield "widths must be a property"
        for needed in ("lengths", "from_data"):
            if getattr(cls, needed).__func__ is getattr(base, needed).__func__:
                yield f"sites of several columns (widths) need {needed} of their own"


def _signatures(cls: Any) -> Iterator[str]:
    """What files and `fit` call types with."""
    made = [*inspect.signature(cls.__init__).parameters.values()][1:]
    if not made or made[0].name != "n":
        yield "__init__ must take n first"
    for what, given, needed in (
        ("__init__", made, cls.names),
        ("from_data", [*inspect.signature(cls.from_data).parameters.values()], cls.fixed),
    ):
        missing = [name for name in needed if name not in {p.name for p in given if p.kind is not p.POSITIONAL_ONLY}]
        if missing and not any(p.kind is p.VAR_KEYWORD for p in given):
            yield f"{what} must take {', '.join(missing)} by name, as names or fixed have it"
