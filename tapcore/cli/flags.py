"""Flags made of the fields of settings: a new field is a new flag."""

from __future__ import annotations

import argparse
from dataclasses import MISSING, fields
from typing import Any, TypeVar

from tapcore.training.options import default_of, option_of

S = TypeVar("S")


def add_to(parser: argparse.ArgumentParser, kind: type[Any]) -> None:
    """Add the flags of a dataclass whose fields have options; those of one field exclude each other."""
    for field in fields(kind):
        option = option_of(field)
        if option is None:
            continue
        group: Any = parser
        arguments: dict[str, Any] = {**option.rule.reading, "default": None}
        if option.metavar is not None:
            arguments["metavar"] = option.metavar
        if len(option.flags) > 1:
            # Which of them a default would be of cannot be told: their help says it.
            group = parser.add_mutually_exclusive_group()
        else:
            default = default_of(field)
            arguments["default"] = option.unless if default is MISSING else default
        for name, flag in option.flags.items():
            group.add_argument(name, help=flag.help, **arguments)


def chosen(options: argparse.Namespace, kind: type[S]) -> S:
    """The settings that flags were given for, the others at their defaults; errors are those of `kind`."""
    values = {}
    for field in fields(kind):  # type: ignore[arg-type]
        option = option_of(field)
        for name, flag in option.flags.items() if option is not None else ():
            value = getattr(options, name.lstrip("-").replace("-", "_"))
            if value is not None:
                values[field.name] = flag.make(value)
    return kind(**values)
