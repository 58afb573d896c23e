"""What a layer's functions must write: moments, ln Z, cumulants, each in its own site."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from tapcore._base import checks
from tapcore.units.contract.case import STEP, Case, bounds, compare, differences, refuse, run
from tapcore.units.rows import Array
from tapcore.units.sites import CUMULANTS, DRAW, LOG_Z, MOMENTS, SLAB, THIRD, can


def moments(case: Case) -> None:
    """Mean and variance are the derivatives of ln Z, and what `moments` says."""
    layer, rounding, reach = case.layer, case.rounding, case.reach
    found = layer.moments(case.B, case.A)
    for name, x, y in zip(("ln Z", "mean", "var"), found, (case.log_z, case.mean, case.var), strict=True):
        compare(layer, f"{name} of moments is not what its row function writes", x, y, 0)
    if np.any(case.var < 0):
        at = checks.first_index(case.var < 0)
        refuse(layer, f"var must not be negative: in column {at[-1]} it is {case.var[at]:.3g}")
    low, high = bounds(layer)
    far = 50 * np.array([[-1], [1]]) / case.scale
    for mean in (case.mean, run(layer, MOMENTS, far, np.broadcast_to(case.A[:1], far.shape))[0]):
        if not np.all((mean >= low) & (mean <= high)):
            at = checks.first_index(~((mean >= low) & (mean <= high)))
            refuse(layer, f"bounds must hold every mean: in column {at[-1]} it is {mean[at]:.12g}")

    def log_z(B: Array, A: Array) -> Array:
        return case.site_sums(run(layer, LOG_Z, B, A)[0])

    per = 2 / STEP * case.scale
    slope, error = differences(case, log_z)
    compare(layer, "mean must be d ln Z/dB", case.mean, slope, error + rounding * (per + reach))
    slope, error = differences(case, lambda B, A: run(layer, MOMENTS, B, A)[0])
    compare(layer, "var must be d mean/dB", case.var, slope, error + rounding * reach * (per + reach))
    slope, error = differences(case, log_z, with_A=True)
    square = case.var + case.mean**2
    allowed = error + rounding * (per * case.scale + reach**2)
    compare(layer, "d ln Z/dA must be -(var + mean^2)/2", slope, -square / 2, allowed)


def exclusive(case: Case) -> None:
    """Sites of several columns."""
    wide = np.repeat(case.widths > 1, case.widths)
    if not wide.any():
        return
    layer, p = case.layer, case.mean
    others = np.setdiff1d(np.arange(layer.columns), case.first)
    if np.any(case.log_z[:, others]):
        at = others[np.argmax((case.log_z[:, others] != 0).any(axis=0))]
        refuse(layer, f"ln Z of a site must stand in its first column, with 0 in the others: not in column {at}")
    total = np.where(wide, case.site_sums(p), 0)
    compare(layer, "means of a site must add up to at most 1", np.maximum(total, 1), 1, case.rounding)
    compare(layer, "var of columns that exclude each other must be p (1 - p)", case.var[:, wide],
             (p * (1 - p))[:, wide], case.rounding[:, wide])  # fmt: skip


def nan(case: Case) -> None:
    """NaN in a field or precision of each column: in its site, and nowhere else."""
    layer, columns = case.layer, case.layer.columns
    site = np.repeat(np.arange(layer.n), case.widths)
    inside = site[:, None] == site
    first, none = inside & np.isin(np.arange(columns), case.first), inside & False
    wanted = [
        (MOMENTS, 0, "mean", inside), (MOMENTS, 1, "var", inside), (LOG_Z, 0, "ln Z", first),
        (DRAW, 0, "a draw", inside),
        # Of these some are the same whatever the field.
        (CUMULANTS, 0, "third cumulant", none), (CUMULANTS, 1, "fourth cumulant", none),
        (SLAB, 0, "slab probability", none),
    ]  # fmt: skip
    for which in ("B", "A"):
        fields = [np.repeat(x[1:2], columns, axis=0) for x in (case.B, case.A)]
        np.fill_diagonal(fields[which == "A"], np.nan)
        for number, place, name, must in wanted:
            if not can(layer, number):
                continue
            found = np.isnan(run(layer, number, fields[0], fields[1])[place])
            for bad, what in (
                (must & ~found, "must be NaN in column {}"),
                (found & ~inside, "must not be NaN in column {}"),
            ):
                if bad.any():
                    k, i = checks.first_index(bad)
                    refuse(layer, f"{name} {what.format(i)} where {which} is NaN in column {k}")


def states(case: Case) -> None:
    """Ln Z as a sum over the states, of blocks that have them, and of sites of several columns."""
    layer = case.layer
    tables: list[NDArray[np.float64] | None] = []
    for block in layer.blocks:
        for width in np.ones(block.n, np.int64) if block.widths is None else block.widths:
            two = None if block.levels is None else np.array(block.levels)[:, None]
            tables.append(two if block.widths is None else np.eye(int(width)))
    count = max((len(t) for t in tables if t is not None), default=0)
    terms = np.full((count, *case.B.shape), -np.inf)
    for k in range(count):
        rows = np.zeros((1, layer.columns))
        for site, (table, width) in enumerate(zip(tables, case.widths, strict=True)):
            column = case.first[site]
            rows[0, column : column + width] = 0 if table is None else table[min(k, len(table) - 1)]
        more = np.repeat([t is not None and k < len(t) for t in tables], case.widths)
        weight = case.site_sums(layer.log_weight(rows) + case.B * rows - case.A * rows**2 / 2)
        terms[k] = np.where(more, weight, -np.inf)
    if count:
        known = np.repeat([t is not None for t in tables], case.widths)
        wanted = np.logaddexp.reduce(terms[..., known], axis=0)
        found = case.site_sums(case.log_z)[:, known]
        compare(layer, "ln Z must be that of the sum of exp(log_weight + B x - A x^2/2) over all states",
                 found, wanted, case.rounding[:, known])  # fmt: skip


def third(case: Case) -> None:
    """`row_third` is the third cumulant as a function of the mean."""
    layer, reach = case.layer, case.reach
    if not can(layer, THIRD):
        return
    third, slope = run(layer, THIRD, case.mean, case.A)
    allowed = case.rounding * reach**2 * (2 / STEP * case.scale + reach)
    wanted, error = differences(case, lambda B, A: run(layer, MOMENTS, B, A)[1])
    compare(layer, "row_third must write the third cumulant, d var/dB", third, wanted, error + allowed)
    wanted, error = differences(case, lambda B, A: run(layer, THIRD, run(layer, MOMENTS, B, A)[0], A)[0])
    compare(layer, "row_third must write the third cumulant's derivative with the mean (here times var)",
             slope * case.var, wanted, error + reach * allowed)  # fmt: skip


def cumulants(case: Case) -> None:
    """`row_cumulants` are derivatives of the variance."""
    layer, reach = case.layer, case.reach
    if not can(layer, CUMULANTS):
        return
    third, fourth = run(layer, CUMULANTS, case.B, case.A)
    allowed = case.rounding * reach**2 * (2 / STEP * case.scale + reach)
    wanted, error = differences(case, lambda B, A: run(layer, MOMENTS, B, A)[1])
    compare(layer, "row_cumulants: the third must be d var/dB", third, wanted, error + allowed)
    wanted, error = differences(case, lambda B, A: run(layer, CUMULANTS, B, A)[0])
    compare(layer, "row_cumulants: the fourth must be the derivative of the third", fourth, wanted,
             error + reach * allowed)  # fmt: skip


def slab(case: Case) -> None:
    """`row_slab` are probabilities."""
    probability, _ = run(case.layer, SLAB, case.B, case.A)
    if not np.all((probability >= 0) & (probability <= 1)):
        at = checks.first_index(~((probability >= 0) & (probability <= 1)))
        refuse(case.layer, f"row_slab must write probabilities: in column {at[-1]} {probability[at]:.3g}")
