"""Categorical sites, one column a state: a unit type whose sites have several columns, for tests."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product
from typing import Any, NamedTuple

import numpy as np

from tapcore._base import checks
from tapcore.units import UNITS, Unit, parameter
from tapcore.units.rows import row_draw, row_log_z, row_moments, uniform


class OneHotSite(NamedTuple):
    states_of: Any
    U: Any


@row_moments.register(OneHotSite)
def _row_moments(site: OneHotSite, B: Any, A: Any, mean: Any, var: Any) -> None:
    half, first = B.dtype.type(0.5), 0
    for i in range(site.states_of.size):
        last = first + int(site.states_of[i])
        top, total = -np.inf, B.dtype.type(0.0)
        for a in range(first, last):
            mean[a] = B[a] + site.U[a] - half * A[a]
            top = max(top, mean[a])
        for a in range(first, last):
            mean[a] = np.exp(mean[a] - top)
            total += mean[a]
        for a in range(first, last):
            mean[a] /= total
        for a in range(first, last):
            rest = B.dtype.type(0.0)
            for b in range(first, last):
                rest += mean[b] if b != a else B.dtype.type(0.0)
            var[a] = mean[a] * rest
        first = last


@row_log_z.register(OneHotSite)
def _row_log_z(site: OneHotSite, B: Any, A: Any, log_z: Any) -> None:
    half, first = B.dtype.type(0.5), 0
    for i in range(site.states_of.size):
        last = first + int(site.states_of[i])
        top, total = -np.inf, B.dtype.type(0.0)
        for a in range(first, last):
            top = max(top, B[a] + site.U[a] - half * A[a])
        for a in range(first, last):
            total += np.exp(B[a] + site.U[a] - half * A[a] - top)
            log_z[a] = 0.0
        log_z[first] = top + np.log(total)
        first = last


@row_draw.register(OneHotSite)
def _row_draw(site: OneHotSite, B: Any, A: Any, stream: Any, x: Any) -> None:
    half, first = B.dtype.type(0.5), 0
    for i in range(site.states_of.size):
        last = first + int(site.states_of[i])
        top, total = -np.inf, 0.0
        for a in range(first, last):
            top = max(top, B[a] + site.U[a] - half * A[a])
        for a in range(first, last):
            x[a] = np.exp(B[a] + site.U[a] - half * A[a] - top)
            total += x[a]
        left, drawn, law = uniform(stream) * total, False, total == total
        for a in range(first, last):
            left -= x[a]
            now = not drawn and (left < 0.0 or a == last - 1)
            x[a] = (1.0 if now else 0.0) if law else np.nan
            drawn = drawn or now
        first = last


class OneHot(Unit):
    """n sites of some states each, one column a state, with weight ``exp(U)`` of each state."""

    names = ("states_of", "U")
    fixed = ("states_of",)
    site_type = OneHotSite
    support = "one column a site"
    U = parameter("U", "Fields")

    def __init__(self, n: int, states_of: Any, U: Any = 0.0) -> None:
        super().__init__(n, states_of=states_of, U=U)

    @classmethod
    def lengths(cls, n: int, parameters: dict[str, Any]) -> dict[str, int]:
        return {"states_of": n, "U": int(np.broadcast_to(parameters["states_of"], n).sum())}

    @property
    def widths(self) -> np.ndarray:
        return self.parameters["states_of"].astype(np.int64)

    def bounds(self) -> tuple[np.ndarray, np.ndarray]:
        return np.zeros(1), np.ones(1)

    @classmethod
    def from_data(cls, X: Any, states_of: Any) -> OneHot:
        layer = cls(len(states_of), states_of)
        array = checks.matrix("X", X, layer.columns, rows="samples")
        layer.check_data("X", array)
        return cls(layer.n, states_of, np.log(np.mean(array, axis=0, dtype=np.float64) + 1e-2))

    def log_weight(self, x: Any) -> np.ndarray:
        inside = self.contains(x)
        return np.where(inside, self.U * np.where(inside, x, 0), -np.inf)

    def contains(self, x: Any) -> np.ndarray:
        """All columns of a site or none: those of one with a single 1 and zeros."""
        x, widths = np.asarray(x), self.widths
        first = np.cumsum(widths) - widths
        good = np.add.reduceat((x != 0) & (x != 1), first, axis=-1) == 0
        good &= np.add.reduceat(x == 1, first, axis=-1, dtype=np.int64) == 1
        return np.repeat(good, widths, axis=-1)


# Contracts that hold for every unit type are of types with one column a site.
del UNITS["OneHot"]


def rows(layer: Unit) -> Iterator[np.ndarray]:
    """All states of a layer of one-hot sites and two-state units, block by block."""
    choices: list[list[np.ndarray]] = []
    for block in layer.blocks:
        if block.widths is None:
            assert block.levels is not None
            choices += [[np.array([s]) for s in block.levels]] * block.n
        else:
            choices += [list(np.eye(q)) for q in block.widths]
    for chosen in product(*choices):
        yield np.concatenate(chosen)
