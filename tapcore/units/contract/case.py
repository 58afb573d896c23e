"""A layer in some fields, calls of its functions by themselves, differences, and messages."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple, NoReturn

import numpy as np
from numpy.typing import NDArray

from tapcore._base import checks
from tapcore._base.jit import kernel
from tapcore._base.random import Stream, stream_from
from tapcore.units.definition import FIELD, PRECISION
from tapcore.units.interface import Unit
from tapcore.units.rows import Array
from tapcore.units.sites import (
    CUMULANTS,
    DRAW,
    LOG_Z,
    MOMENTS,
    SLAB,
    THIRD,
    Sites,
    layer_cumulants,
    layer_draw,
    layer_log_z,
    layer_moments,
    layer_slab,
    layer_third,
    sites_of,
)  # fmt: skip

_NAMES = {
    MOMENTS: "row_moments", LOG_Z: "row_log_z", THIRD: "row_third", CUMULANTS: "row_cumulants", SLAB: "row_slab",
    DRAW: "row_draw",
}  # fmt: skip
# What stands around rows that are written.
_GUARD = -12345.678
# How large the steps of differences are, in units of a site's scale, and rounding errors that are allowed.
STEP = 0.005
BITS, EPSILON = 64, float(np.finfo(np.float64).eps)


class Case(NamedTuple):
    """A layer in some fields, and on what scale its values are."""

    layer: Unit
    rng: np.random.Generator
    first: NDArray[np.int64]  # (n,) first column of each site
    widths: NDArray[np.int64]  # (n,)
    width: Array  # (columns,) of the range of means
    scale: Array  # (columns,) on which values vary; 1/scale for fields
    B: Array  # (rows, columns)
    A: Array
    log_z: Array
    mean: Array
    var: Array
    reach: Array  # (rows, columns) how far values are from 0
    rounding: Array  # (rows, columns) error of ln Z

    def site_sums(self, x: Array) -> Array:
        """Sums over the columns of each site, in all of them."""
        return np.repeat(np.add.reduceat(x, self.first, axis=-1), self.widths, axis=-1)


def case_of(layer: Unit, rng: np.random.Generator) -> Case:
    """Fields of the scale on which the law varies, with what the layer makes of them."""
    columns = layer.columns
    widths = np.ones(layer.n, np.int64) if layer.widths is None else layer.widths
    if widths.shape != (layer.n,) or widths.sum() != columns or widths.min() < 1:
        refuse(layer, f"widths must be {layer.n} positive numbers that add up to columns, {columns}, got {widths}")
    low, high = bounds(layer)
    nothing = np.zeros((1, columns))
    mean, var = run(layer, MOMENTS, nothing, nothing)
    finite(layer, "mean at B = A = 0", mean)
    finite(layer, "var at B = A = 0", var)
    U, V = (_own(layer, name) for name in (FIELD, PRECISION))
    width = np.where(high > low, high - low, 1.0)
    # Where nothing holds the values closer, all of an interval is their scale.
    held = np.where(V > 0, 1 / np.sqrt(np.abs(V)), np.where(np.isfinite(width), np.inf, 0))
    scale = np.minimum(width, np.maximum(np.sqrt(np.maximum(var[0], 0)), held))
    scale = np.where((scale > 0) & np.isfinite(scale), scale, 1.0)
    B, A = (rng.normal(size=(4, columns)) * [[0], [0.5], [1], [2]] for _ in range(2))
    B = B / scale
    # Where all is bounded, a precision may be negative: one that is not much on the whole interval.
    A = np.where(A < 0, A / width**2, A / scale**2) + np.where(np.isfinite(width), 0, 4 * STEP / scale**2)
    log_z, _ = run(layer, LOG_Z, B, A)
    mean, var = run(layer, MOMENTS, B, A)
    for name, x in (("ln Z", log_z), ("mean", mean), ("var", var)):
        finite(layer, name, x)
    most = np.where(np.isfinite(width), np.maximum(np.abs(low), np.abs(high)), np.inf)
    reach = np.minimum(most, np.abs(mean) + 10 * np.sqrt(np.maximum(var, 0)) + scale)
    first = np.cumsum(widths) - widths
    size = 1 + (np.abs(B) + np.abs(U)) * reach + (np.abs(A) + np.abs(V)) * reach**2 / 2
    rounding = BITS * EPSILON * np.repeat(np.add.reduceat(size, first, axis=-1), widths, axis=-1)
    return Case(layer, rng, first, widths, width, scale, B, A, log_z, mean, var, reach, rounding)


# -- calls -------------------------------------------------------------------------------------------------------------


@kernel()
def _run_rows(sites: Sites, number: int, pad: int, B: Array, A: Array, stream: Stream, one: Array, two: Array) -> None:
    end = B.shape[1] - pad
    for k in range(B.shape[0]):
        b, a, x, y = B[k][pad:end], A[k][pad:end], one[k][pad:end], two[k][pad:end]
        if number == MOMENTS:
            layer_moments(sites, 0, b, a, x, y)
        elif number == LOG_Z:
            layer_log_z(sites, 0, b, a, x)
        elif number == THIRD:
            layer_third(sites, 0, b, x, y)
        elif number == CUMULANTS:
            layer_cumulants(sites, 0, b, a, x, y)
        elif number == SLAB:
            layer_slab(sites, 0, b, a, x)
        else:
            layer_draw(sites, 0, b, a, stream, x)


def run(layer: Unit, number: int, B: Array, A: Array, rng: np.random.Generator | None = None) -> tuple[Array, Array]:
    """What a function of the layer writes for rows of fields, between cells that are not its own.

    NaN stands around what is read, so that it comes out if it is; what stands around the rest must stay.
    """
    pad, dtype = layer.columns + 2, layer.dtype
    sites = sites_of([layer], number)
    values = np.pad(sites.values, pad, constant_values=np.nan)
    sites = sites._replace(values=values, begin=sites.begin + np.array([pad, 0]))
    read = [np.pad(x.astype(dtype), ((0, 0), (pad, pad)), constant_values=np.nan) for x in (B, A)]
    one, two = (
        np.pad(np.full_like(x[:, pad:-pad], np.nan), ((0, 0), (pad, pad)), constant_values=_GUARD) for x in read
    )
    before = [x.copy() for x in (*read, values)]
    stream = stream_from(rng or np.random.default_rng(0))
    try:
        _run_rows(sites, number, pad, read[0], read[1], stream, one, two)
    except IndexError as error:
        refuse(layer, f"{_NAMES[number]} goes past the end of an array: {error}")
    if any(np.any(x[:, part] != dtype.type(_GUARD)) for x in (one, two) for part in (slice(pad), slice(-pad, None))):
        refuse(layer, f"{_NAMES[number]} writes outside of the row it is given")
    if not all(np.array_equal(x, y, equal_nan=True) for x, y in zip((*read, values), before, strict=True)):
        refuse(layer, f"{_NAMES[number]} changes what it is given to read: fields or parameters")
    return one[:, pad:-pad], two[:, pad:-pad]


def _own(layer: Unit, name: str) -> Array:
    """A parameter of all columns, 0 where a block has none, or not one a column."""
    found = [(block.columns, block.parameters.get(name, np.zeros(1))) for block in layer.blocks]
    return np.concatenate([np.broadcast_to(p if p.size in (1, n) else np.zeros(1), n) for n, p in found])


def bounds(layer: Unit) -> tuple[Array, Array]:
    """Ends of the range of means, (columns,) each."""
    ends = layer.bounds()
    try:
        low, high = (np.broadcast_to(np.asarray(end, np.float64), layer.columns) for end in ends)
    except ValueError:
        refuse(layer, f"bounds must be two ends that broadcast to ({layer.columns},), got {ends}")
    if not np.all(low <= high):
        refuse(layer, f"bounds must be a lower and an upper end, got {ends}")
    return low, high


# -- messages ----------------------------------------------------------------------------------------------------------


def refuse(layer: Unit, what: str) -> NoReturn:
    """Say, in one line, what is wrong."""
    raise ValueError(f"{type(layer).__name__}: {' '.join(what.split())}")


def finite(layer: Unit, name: str, x: Array) -> None:
    """Refuse what is not finite."""
    if not np.isfinite(x).all():
        at = checks.first_index(~np.isfinite(x))
        refuse(layer, f"{name} must be finite and written for every column: in column {at[-1]} it is {x[at]}")


def compare(layer: Unit, what: str, found: Array, wanted: Any, allowed: Any) -> None:
    """Refuse, at the worst column, what is further from `wanted` than allowed."""
    found, wanted, allowed = np.broadcast_arrays(found, wanted, allowed)
    off = np.abs(found - wanted)
    excess = np.where(off <= allowed, 0, np.where(np.isnan(off), np.inf, off / np.maximum(allowed, 1e-300)))
    if np.any(excess > 0):
        at = np.unravel_index(int(np.argmax(excess)), off.shape)
        refuse(
            layer,
            f"{what}: in column {at[-1]} {found[at]:.12g} against {wanted[at]:.12g}, off by {off[at]:.3g} where "
            f"{allowed[at]:.3g} is allowed",
        )


def slope(f: Callable[[float], Array]) -> tuple[Array, Array]:
    """Derivative at 0 by central differences with `STEP`, and how far it is from that of lower order."""
    one, two, three = (f(k * STEP) - f(-k * STEP) for k in (1, 2, 3))
    best, lower = (45 * one - 9 * two + three) / 60, (8 * one - two) / 12
    return best / STEP, np.abs(best - lower) / STEP


def differences(case: Case, f: Callable[[Array, Array], Array], with_A: bool = False) -> tuple[Array, Array]:
    """Derivatives of a function of B and A in each column with that column's B or A, and their errors by the step.

    Columns of different sites move by different steps, so that one which reads another's fields is found out.
    """
    unit = (case.scale**-2 if with_A else 1 / case.scale) * case.rng.uniform(0.5, 1.0, case.layer.columns)
    place = np.arange(case.layer.columns) - np.repeat(case.first, case.widths)
    slopes = np.zeros((2, *case.B.shape))
    for a in range(int(case.widths.max())):
        step = np.where(place == a, unit, 0)
        way = (0 * step, step) if with_A else (step, 0 * step)
        found = slope(lambda h, way=way: f(case.B + h * way[0], case.A + h * way[1]))  # type: ignore[misc]
        slopes[..., place == a] = (np.array(found) / np.where(step == 0, 1, step))[..., place == a]
    return slopes[0], slopes[1]
