"""What stands beside a field of settings: the rule of its values, its help line, and how the command line asks for it.

Nothing heavy loads with this module: `tapcore train --help` is made of it. Checks load when there is a value to check.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import MISSING, Field
from typing import Any, NamedTuple

# Key of a field's metadata.
_OPTION = "option"


class Rule(NamedTuple):
    """What values a setting takes.

    Attributes
    ----------
    check : callable
        ``check(name, value)`` gives the value in its own type, or a ValueError with name, rule and value.
    reading : dict
        How the command line reads one: arguments of ``add_argument``.
    """

    check: Callable[[str, Any], Any]
    reading: Mapping[str, Any]


def whole(minimum: int, *, held: int = 0) -> Rule:
    """Whole numbers from `minimum` on, for each of which so many bytes are held."""

    def check(name: str, value: Any) -> int:
        from tapcore._base import checks, footprint

        count = checks.integer(name, value, minimum=minimum)
        footprint.check(name, count, held * count)
        return count

    return Rule(check, {"type": int})


def number(**limits: float) -> Rule:
    """Numbers within the limits that `checks.number` knows."""

    def check(name: str, value: Any) -> float:
        from tapcore._base import checks

        return checks.number(name, value, **limits)

    return Rule(check, {"type": float})


def temperature() -> Rule:
    """Numbers above 0, infinity among them."""

    def check(name: str, value: Any) -> float:
        from tapcore._base import checks

        return checks.temperature(name, value)

    return Rule(check, {"type": float})


def number_or_function(**limits: float) -> Rule:
    """Numbers within limits, or functions, whose values are for the run to check."""
    plain = number(**limits)
    return Rule(lambda name, value: value if callable(value) else plain.check(name, value), plain.reading)


def choice(*allowed: str) -> Rule:
    """One of some words."""

    def check(name: str, value: Any) -> str:
        from tapcore._base import checks

        return checks.choice(name, value, allowed)

    return Rule(check, {"choices": allowed})


def flag() -> Rule:
    """True or False."""
    from argparse import BooleanOptionalAction

    def check(name: str, value: Any) -> bool:
        from tapcore._base import checks

        return checks.flag(name, value)

    return Rule(check, {"action": BooleanOptionalAction})


class Flag(NamedTuple):
    """One flag of the command line: its help line, and what turns what it reads into the setting."""

    help: str
    make: Callable[[Any], Any] = lambda value: value


class Option(NamedTuple):
    """One setting; see `option`."""

    rule: Rule
    flags: Mapping[str, Flag]
    metavar: str | None
    unless: Any


def option(
    rule: Rule, help: str | Mapping[str, Flag], metavar: str | None = None, *, unless: Any = None
) -> dict[str, Any]:
    """Metadata of a field.

    Parameters
    ----------
    rule : Rule
        Of its values; None is always taken where it is the default.
    help : str or dict
        Help line of its flag, which is named as the field is; or several flags by name, one of which can be given.
    metavar : str, optional
        What stands for the value in help.
    unless : object, optional
        What the flag gives where it is left out, if the field has no default.
    """
    flags = {} if isinstance(help, str) else help
    return {_OPTION: Option(rule, flags or {"": Flag(str(help))}, metavar, unless)}


def option_of(field: Field[Any]) -> Option | None:
    """What `option` has put beside a field; a flag without a name has been given the field's."""
    found: Option | None = field.metadata.get(_OPTION)
    if found is None:
        return None
    name = f"--{field.name.replace('_', '-')}"
    return found._replace(flags={flag or name: how for flag, how in found.flags.items()})


def default_of(field: Field[Any]) -> Any:
    """The default of a field; `dataclasses.MISSING` if it has none."""
    return field.default if field.default_factory is MISSING else field.default_factory()
