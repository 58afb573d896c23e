"""What acts on a machine's units from outside: added fields, and units clamped to values."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from tapcore._base import checks
from tapcore.equations.outside import Given
from tapcore.inference.records import Starts
from tapcore.machine import Machine
from tapcore.units import Unit

Array = NDArray[Any]


class Clamped:
    """Units of a layer that are held at values, for `solve(..., fields=...)`.

    Parameters
    ----------
    values : (n,) or (K, n) array_like
        In the layer's support where units are held; not looked at elsewhere.
    where : (n,) or (K, n) array_like of bool, optional
        Which units are held; None holds all.

    Raises
    ------
    ValueError
        Arrays of more than two axes, or that do not broadcast to each other; `where` that is not boolean.
    """

    __slots__ = ("values", "where")

    def __init__(self, values: ArrayLike, where: ArrayLike | None = None) -> None:
        self.values = checks.real_array("values", values)
        self.where = np.ones((), np.bool_) if where is None else checks.boolean("where", where, "boolean")
        try:
            shape = np.broadcast_shapes(self.values.shape, self.where.shape)
        except ValueError:
            shape = ()
        if len(shape) not in (1, 2):
            raise ValueError(
                "values and where must broadcast to (n,) or (chains, n), "
                f"got shapes {self.values.shape} and {self.where.shape}"
            )

    def __repr__(self) -> str:
        return f"Clamped(values {self.values.shape}, where {self.where.shape})"


def checked_fields(machine: Machine, fields: Any, count: int) -> Given:
    """Fields from outside as kernels take them, for `count` chains."""
    layers = machine.layers
    if isinstance(fields, Clamped):
        fields = (fields, *[None] * (len(layers) - 1))
    if isinstance(fields, np.ndarray) or not isinstance(fields, Sequence) or len(fields) != len(layers):
        raise ValueError(
            f"fields must be a tapcore.Clamped or a sequence of {len(layers)} entries, one a layer: "
            "None, (U, V) or a tapcore.Clamped"
        )
    pairs = enumerate(zip(layers, fields, strict=True))
    made = [_entry(f"fields[{i}]", layer, entry, count) for i, (layer, entry) in pairs]
    return Given(*(tuple(arrays) for arrays in zip(*made, strict=True)))


def _entry(name: str, layer: Unit, entry: Any, count: int) -> tuple[Array, Array, Array]:
    none = np.empty((0, layer.columns), layer.dtype)
    if entry is None:
        return none, none, none
    if isinstance(entry, Clamped):
        values, where = (_rows(f"{name}.values", x, layer.columns, count) for x in (entry.values, entry.where))
        values, where = np.broadcast_arrays(values, where)
        _check_whole_sites(f"{name}.where", layer, where)
        _check_held(f"{name}.values", layer, values, where)
        return none, none, np.where(where, values, np.nan).astype(layer.dtype)
    if not isinstance(entry, Sequence) or len(entry) != 2:
        raise ValueError(f"{name} must be None, a pair (U, V) or a tapcore.Clamped, got {type(entry).__name__}")
    pair = [
        _rows(f"{name}[{i}]", checks.real_array(f"{name}[{i}]", x), layer.columns, count) for i, x in enumerate(entry)
    ]
    for i, x in enumerate(pair):
        checks.finite(f"{name}[{i}]", x, layer.dtype)
    return pair[0].astype(layer.dtype), pair[1].astype(layer.dtype), none


def _rows(name: str, array: Array, n: int, count: int) -> Array:
    """`array` as one row for all chains, or one for each."""
    rows = count if array.ndim == 2 and len(array) != 1 else 1
    try:
        return np.array(np.broadcast_to(array, (rows, n)))
    except ValueError:
        raise ValueError(f"{name} must broadcast to ({count}, {n}), got shape {array.shape}") from None


def _check_whole_sites(name: str, layer: Unit, where: Array) -> None:
    """Refuse some columns of a site without the others: what is left would be no law."""
    if layer.widths is None:
        return
    first = np.cumsum([0, *layer.widths[:-1]])
    held = np.add.reduceat(np.asarray(where, bool), first, axis=1, dtype=np.int64)
    part = (held > 0) & (held < layer.widths)
    if part.any():
        k, i = checks.first_index(part)
        raise ValueError(f"{name} must hold all or none of the columns of a site, got {held[k, i]} of site {i}")


def _check_held(name: str, layer: Unit, values: Array, where: Array) -> None:
    bad = where & ~layer.contains(layer.rounded(values))
    if bad.any():
        k, i = checks.first_index(bad)
        raise ValueError(f"{name} {layer.rule(values)}: {name}[{k}, {i}] is {values[k, i]!s}")


def held_starts(starts: Starts, given: Given) -> Starts:
    """`starts` with units that are held at their values, without variance."""
    means, variances = list(starts.mean), list(starts.var)
    for layer, held in enumerate(given.held[: len(means)]):
        if len(held):
            fixed = ~np.isnan(held)
            means[layer] = np.where(fixed, held, means[layer])
            if variances:
                variances[layer] = np.where(fixed, 0.0, variances[layer])
    return Starts(tuple(means), tuple(variances))


def held_weights(machine: Machine, given: Given) -> Array:
    """Sum of ln phi over the units that are held: one number a chain, or one for all."""
    total: Array = np.zeros(1)
    for layer, held in zip(machine.layers, given.held, strict=True):
        if len(held):
            wide, fixed = layer.astype(np.float64), ~np.isnan(held)
            # ln phi of units that are free is not looked at: any value that has one will do.
            weights = wide.log_weight(np.where(fixed, held, np.nan))
            total = total + np.where(fixed, weights, 0.0).sum(axis=1)
    return total
