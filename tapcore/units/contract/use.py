"""What users and training take of a layer: averages, draws, support and weight, fits, steps, copies, float32."""

from __future__ import annotations

import pickle

import numpy as np

from tapcore._base import checks
from tapcore.units.contract.case import BITS, EPSILON, STEP, Case, bounds, compare, finite, refuse, run, slope
from tapcore.units.interface import Unit
from tapcore.units.rows import Array
from tapcore.units.sites import DRAW, LOG_Z, MOMENTS, can

# Draws, and how many standard errors they may be off.
DRAWS, ERRORS = 3000, 5.0
# A value is rare where no more draws than these are far from the mean.
_FEW = 50


def _trained(layer: Unit) -> list[str]:
    return [name for name in layer.names if name not in layer.fixed]


def _moved(layer: Unit, name: str, j: int, step: float) -> Unit:
    parameters = {key: p.copy() for key, p in layer.parameters.items()}
    parameters[name][j] += step
    return layer.with_parameters(parameters)


def _step(case: Case, name: str, j: int) -> float:
    """For a difference with a parameter: on the scale of the values for U and V, of its own for others."""
    own, _, kind = name.rpartition(".")
    block = case.layer.blocks[int(own or 0)]
    p = case.layer.parameters[name]
    first = sum(b.columns for b in case.layer.blocks[: int(own or 0)])
    step = abs(float(p[j])) or 1.0
    if kind in ("U", "V") and p.size == block.columns:
        step = 1 / float(case.scale[first + j]) ** (1 if kind == "U" else 2)
    for _ in range(60):  # until the ends of its range are far
        try:
            for way in (-60, 60):
                at = {key: block.parameters[key].copy() for key in block.names}
                at[kind][j] += way * STEP * step
                type(block).check_parameters(at)
            break
        except ValueError:
            step /= 2
    return step


def _averages(case: Case, what: str, found: dict[str, Array]) -> None:
    layer = case.layer
    if set(found) != set(_trained(layer)):
        refuse(layer, f"{what} must have the trained parameters {_trained(layer)}, got {list(found)}")
    for name, x in found.items():
        if np.shape(x) != layer.parameters[name].shape:
            refuse(layer, f"{what} of {name} must have the shape {layer.parameters[name].shape}, got {np.shape(x)}")
        finite(layer, f"{what} of {name}", np.asarray(x))


def statistics(case: Case) -> None:
    """The averages that training moves parameters by are the derivatives of ln Z."""
    layer = case.layer
    found = layer.statistics(case.mean, case.var, case.B, case.A)
    _averages(case, "statistics", found)
    for name, x in found.items():
        for j in range(x.size):
            step = _step(case, name, j)

            def log_z(h: float, name: str = name, j: int = j, step: float = step) -> Array:
                return run(_moved(layer, name, j, h * step), LOG_Z, case.B, case.A)[0]

            best, error = (y.mean(axis=0) / step for y in slope(log_z))
            rounding = np.where(best == 0, 0, case.rounding.mean(axis=0)) * (2 / STEP / step)
            size = np.abs(x[j]) + np.abs(case.reach).max() + np.square(case.reach).max()
            allowed = float(error.sum() + rounding.sum() + case.rounding.max() * size)
            if not abs(float(x[j]) - float(best.sum())) <= allowed:
                refuse(
                    layer,
                    f"statistics must be the averages of d ln phi/d parameter, which are d ln Z/d parameter: of "
                    f"{name}[{j}] {x[j]:.12g} against {best.sum():.12g} where {allowed:.3g} is allowed",
                )
    _weighted(case)


def _weighted(case: Case) -> None:
    """Rows that do not count alike: with weights, statistics are those of the rows, weighted."""
    layer, rows = case.layer, (case.mean, case.var, case.B, case.A)
    weights = np.arange(1.0, len(case.B) + 1)
    weights /= weights.sum()
    try:
        found = layer.statistics(*rows, weights)
    except TypeError as error:
        refuse(layer, f"statistics must take weights of rows after A, or None: {error}")
    _averages(case, "statistics by weights", found)
    each = [layer.statistics(*(x[k : k + 1] for x in rows)) for k in range(len(weights))]
    for name, x in found.items():
        terms = np.array([w * own[name] for w, own in zip(weights, each, strict=True)])
        allowed = 1e-9 * np.abs(terms).sum(axis=0) + BITS * EPSILON * np.abs(terms).max()
        bad = ~(np.abs(x - terms.sum(axis=0)) <= allowed)
        if bad.any():
            j = checks.first_index(bad)[0]
            refuse(
                layer,
                f"statistics must be the averages of those of rows by their weights: of {name}[{j}] {x[j]:.12g} "
                f"against {terms.sum(axis=0)[j]:.12g} where {allowed[j]:.3g} is allowed",
            )


def draws(case: Case) -> Array:
    """Draws in the support, with the moments of their law; rows of states or means of a type without them."""
    layer = case.layer
    if not can(layer, DRAW):
        return np.zeros((0, layer.columns))
    B, A = (np.repeat(x[1:2], DRAWS, axis=0) for x in (case.B, case.A))
    by_rows = run(layer, DRAW, B, A, case.rng)[0]
    by_layer = layer.sample(B, A, case.rng)
    for name, x in (("row_draw", by_rows), ("sample", by_layer)):
        _law_of(case, name, x)
    return by_rows


def _law_of(case: Case, name: str, x: Array) -> None:
    layer, mean, var = case.layer, case.mean[1], case.var[1]
    if x.shape != (DRAWS, layer.columns) or x.dtype != layer.dtype:
        refuse(layer, f"{name} must give {layer.dtype} of shape {(DRAWS, layer.columns)}, got {x.dtype} of {x.shape}")
    inside = layer.contains(x)
    if not inside.all():
        at = checks.first_index(~inside)
        refuse(layer, f"{name} must draw from the support, {layer.support}: in column {at[1]} it drew {x[at]:.12g}")
    # Bernstein's inequality: where a value is rare, the error is not normal, and the draws do not show how large it is.
    std, d = np.sqrt(np.maximum(var, 0)), (x - mean) ** 2
    most = np.maximum(np.minimum(case.width, np.abs(mean) + 4 * std + case.scale), np.sqrt(d.max(axis=0)))
    few = var * DRAWS < _FEW * most**2
    rounding = case.rounding[1] * case.reach[1]
    allowed = ERRORS * std / np.sqrt(DRAWS) + ERRORS**2 / 6 / DRAWS * most + rounding
    compare(layer, f"{name}: the mean of {DRAWS} draws must be that of the law", x.mean(axis=0), mean, allowed)
    spread = np.sqrt(np.maximum(d.var(axis=0), 2 * var**2) / DRAWS)
    allowed = ERRORS * spread + few * ERRORS**2 / 2 / DRAWS * most**2 + rounding * case.reach[1]
    compare(layer, f"{name}: the variance of {DRAWS} draws must be that of the law", d.mean(axis=0), var, allowed)


def support(case: Case, X: Array) -> None:
    """Weights are finite in the support and nothing outside of it; bounds hold draws."""
    layer, columns = case.layer, case.layer.columns
    low, high = bounds(layer)
    if not np.all((low <= X) & (high >= X)):
        at = checks.first_index(~((low <= X) & (high >= X)))
        refuse(layer, f"bounds must hold every draw: in column {at[1]} it is {X[at]:.12g}")
    odd = np.array([np.nan, np.inf, -np.inf, -7.25, -2.0, -1.0, -0.5, 0.0, 0.25, 0.5, 1.0, 2.0, 7.25])
    ends = [np.where(np.isfinite(end), end, 0.0) + way for end in (low, high) for way in (-1.0, -0.01, 0.0, 0.01, 1.0)]
    x = np.concatenate([X[:20], X[:5] + 0.125, np.repeat(odd[:, None], columns, axis=1), ends])
    inside, weight = layer.contains(x), layer.log_weight(x)
    for name, y in (("contains", inside), ("log_weight", weight)):
        if np.shape(y) != x.shape:
            refuse(layer, f"{name} must keep the shape (..., {columns}): {x.shape} became {np.shape(y)}")
    if inside.dtype != np.bool_:
        refuse(layer, f"contains must give booleans, got {inside.dtype}")
    for bad, rule in (
        (~np.isfinite(x) & inside, "contains must be False"),
        (~inside & ~np.isneginf(weight), "log_weight must be -inf"),
        (inside & ~np.isfinite(weight), "log_weight must be finite"),
    ):  # fmt: skip
        if bad.any():
            at = checks.first_index(bad)
            refuse(
                layer,
                f"{rule} at {x[at]:.12g} in column {at[1]}, which contains has "
                f"{'inside' if inside[at] else 'outside'}: it is {(weight if rule[0] == 'l' else inside)[at]}",
            )
    for y in (x[0], x[None]):
        if np.shape(layer.log_weight(y)) != y.shape or np.shape(layer.contains(y)) != y.shape:
            refuse(layer, f"log_weight and contains must keep the shape (..., {columns}), also {y.shape}")
    _one_on(case, x[:1])


def _one_on(case: Case, row: Array) -> None:
    """Rows with none or two of a site's columns on are not in the support."""
    layer = case.layer
    for first, width in zip(case.first, case.widths, strict=True):
        for on in range(3 if width > 1 else 0):
            x = row.copy()
            x[0, first : first + width] = np.arange(width) < on
            if bool(layer.contains(x)[0, first : first + width].all()) != (on == 1):
                refuse(
                    layer,
                    f"contains must be {on == 1} where {on} of the columns {first} to {first + width - 1}, which are "
                    f"one site, are 1",
                )


def data_statistics(case: Case, X: Array) -> None:
    """Averages over samples are the derivatives of the log-weight."""
    layer = case.layer
    if not len(X):
        return
    X = X[:50]
    found = layer.data_statistics(X)
    _averages(case, "data_statistics", found)
    for name, x in found.items():
        for j in range(x.size):
            step = _step(case, name, j)

            def weight(h: float, name: str = name, j: int = j, step: float = step) -> Array:
                return _moved(layer, name, j, h * step).log_weight(X)

            best, error = (float(y.mean(axis=0).sum() / step) for y in slope(weight))
            rounding = float(case.rounding.max()) * 2 / STEP / step
            allowed = abs(error) + rounding + 1e-9 * abs(best)
            if not abs(float(x[j]) - best) <= allowed:
                refuse(
                    layer,
                    f"data_statistics must be the averages of d ln phi/d parameter over the samples: of "
                    f"{name}[{j}] {x[j]:.12g} against {best:.12g} where {allowed:.3g} is allowed",
                )


def fit(case: Case, X: Array) -> None:
    """A layer fitted to draws is of the same type and has their means, more or less."""
    layer = case.layer
    if not len(X):
        return
    fitted = layer.fitted(X)
    if type(fitted) is not type(layer) or fitted.columns != layer.columns or fitted.dtype != layer.dtype:
        refuse(layer, f"fitted must give such a layer of {layer.columns} columns, got {fitted!r}")
    for name in layer.fixed:
        if not np.array_equal(fitted.parameters[name], layer.parameters[name]):
            refuse(layer, f"fitted must keep {name}, which says what the support is")
    nothing = np.zeros((1, layer.columns))
    mean = run(fitted, MOMENTS, nothing, nothing)[0][0]
    allowed = 0.25 * X.std(axis=0) + 0.05 * case.scale + case.rounding[0] * case.reach[0]
    compare(layer, "from_data: the mean at B = A = 0 must be near that of the data", mean, X.mean(axis=0), allowed)
    bad = X[:3].copy()
    bad[1, -1] = np.nan
    try:
        layer.fitted(bad)
    except ValueError:
        return
    refuse(layer, "from_data must raise ValueError for data that are not in the support, such as NaN")


def ascend(case: Case) -> None:
    """A training step of rate 0 moves nothing, in place and in the dtype that there is."""
    for layer in (case.layer, case.layer.astype(np.float32)):
        slopes = {
            name: x.astype(layer.dtype)
            for name, x in case.layer.statistics(case.mean, case.var, case.B, case.A).items()
        }
        parameters = {name: p.copy() for name, p in layer.parameters.items()}
        arrays = dict(parameters)
        layer.ascend(parameters, slopes, 0.0)
        for name, p in layer.parameters.items():
            now = parameters[name]
            if now is not arrays[name] or now.dtype != layer.dtype:
                refuse(case.layer, f"ascend must change {name} in place and keep its dtype, {layer.dtype}")
            allowed = BITS * np.finfo(layer.dtype).eps * np.abs(p)
            still = np.abs(now - p) <= allowed
            if not still.all():
                at = checks.first_index(~still)
                went = f"{name}[{at[0]}] went from {p[at]} to {now[at]}"
                refuse(case.layer, f"ascend with a rate of 0 must change nothing: {went}")


def copies(case: Case) -> None:
    """Layers made anew, as from files, in both dtypes, are the same."""
    for layer in (case.layer, case.layer.astype(np.float32)):
        for block in layer.blocks:
            again = type(block)(block.n, **block.parameters).astype(block.dtype)
            if again != block:
                refuse(
                    case.layer,
                    f"a {type(block).__name__} layer made of its own n and parameters must be the same: "
                    f"{again!r} is not {block!r}",
                )
        try:
            again = pickle.loads(pickle.dumps(layer))
        except Exception as error:  # whatever pickling raises
            refuse(case.layer, f"pickle must keep the layer: {error}")
        if again != layer:
            refuse(case.layer, f"pickle must keep the layer: {again!r} is not {layer!r}")


def single(case: Case) -> None:
    """In float32 all is near what it is in float64, and finite."""
    layer = case.layer.astype(np.float32)
    if layer.dtype != np.float32 or any(p.dtype != np.float32 for p in layer.parameters.values()):
        refuse(case.layer, "astype must give parameters of that dtype")
    rounding = case.rounding * float(np.finfo(np.float32).eps) / EPSILON
    log_z = run(layer, LOG_Z, case.B, case.A)[0]
    mean, var = run(layer, MOMENTS, case.B, case.A)
    for name, x, wanted, size in (
        ("ln Z", log_z, case.log_z, 1), ("mean", mean, case.mean, case.reach), ("var", var, case.var, case.reach**2),
    ):  # fmt: skip
        finite(case.layer, f"{name} in float32", x)
        compare(case.layer, f"{name} in float32 must be near that in float64", x.astype(np.float64), wanted,
                rounding * size)  # fmt: skip
    if can(layer, DRAW):
        x = run(layer, DRAW, case.B, case.A, case.rng)[0]
        if not layer.contains(x).all():
            at = checks.first_index(~layer.contains(x))
            refuse(case.layer, f"row_draw in float32 must draw from the support: in column {at[1]} it drew {x[at]:.9g}")
