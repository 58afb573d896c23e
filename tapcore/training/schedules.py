"""How the learning rate falls along a run. Nothing heavy loads with these, as with all that flags are made of."""

from __future__ import annotations

import abc
import math
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Schedule(abc.ABC):
    """A factor of the learning rate, between 0 and 1, along a run; see the kinds of it."""

    @abc.abstractmethod
    def at(self, done: float) -> float:
        """The factor where a share `done` of the run, 0 to 1, lies behind: of its epochs, or of its time."""


@dataclass(frozen=True)
class Constant(Schedule):
    """The same rate from first to last."""

    def at(self, done: float) -> float:
        """1."""
        return 1.0


@dataclass(frozen=True)
class Linear(Schedule):
    """The whole rate at first, then a straight line to zero at the end.

    Parameters
    ----------
    hold : float
        Share of the run before the rate falls, 0 to below 1.
    """

    hold: float = 0.0

    def __post_init__(self) -> None:
        object.__setattr__(self, "hold", _number("hold", self.hold, minimum=0, below=1))

    def at(self, done: float) -> float:
        """1 down to 0."""
        return min(1.0, max(0.0, (1 - done) / (1 - self.hold)))


@dataclass(frozen=True)
class Cosine(Schedule):
    """Half a wave of a cosine, from the whole rate to zero at the end."""

    def at(self, done: float) -> float:
        """1 down to 0."""
        return 0.5 * (1 + math.cos(math.pi * min(1.0, done)))


@dataclass(frozen=True)
class Steps(Schedule):
    """A number of equal times, in each of which the rate is `factor` times that of the one before.

    Parameters
    ----------
    count : int
        At least 1.
    factor : float
        0 to 1.
    """

    count: int = 3
    factor: float = 0.1

    def __post_init__(self) -> None:
        from tapcore._base import checks

        object.__setattr__(self, "count", checks.integer("count", self.count, minimum=1))
        object.__setattr__(self, "factor", _number("factor", self.factor, minimum=0, maximum=1))

    def at(self, done: float) -> float:
        """1, factor, factor^2, ..."""
        return float(self.factor ** min(self.count - 1, int(done * self.count)))


def _number(name: str, value: Any, **limits: float) -> float:
    from tapcore._base import checks

    return checks.number(name, value, **limits)


# What the command line calls them.
WORDS: dict[str, type[Schedule]] = {"constant": Constant, "linear": Linear, "cosine": Cosine, "steps": Steps}


def describe(schedule: Schedule) -> list[Any]:
    """As checkpoints keep it."""
    word = next(word for word, kind in WORDS.items() if type(schedule) is kind)
    return [word, *vars(schedule).values()]
