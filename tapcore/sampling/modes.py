"""Modes of a machine: solutions of naive mean field from many kinds of starts, until new ones lead nowhere new.

Chains that start where fields alone put the units stay in the mode that is there. Naive mean field has a solution in
every deep mode, and always converges: each of its sweeps raises a lower bound of ln Z.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from tapcore._base.blas import product
from tapcore._base.threads import blas_held
from tapcore.machine import Machine
from tapcore.sampling.gibbs_chains import GibbsChains, tempered

Array = NDArray[Any]
Layers = tuple[Array, ...]

# Most modes, and starts of one kind in a batch of them; batches until one leads nowhere new, and at most.
MOST, STARTS, BATCHES = 128, 64, 8
# Sweeps of mean field, and the change of means, in units of their range or spread, at which a start has arrived.
_SWEEPS, _TOL = 500, 1e-4
# Means that differ by less, in the same units, are of one mode.
_APART = 0.05
# Modes with a smaller share of Z than the best by so many nats are not kept; the search ends when it misses less.
NEGLIGIBLE, _COUNTS = 30.0, 1e-3
# Gibbs sweeps at each of so many temperatures that lead from no couplings and no fields to a start.
_COOLING = 40
# Up to so many hidden units all of their corners are starts; and modes from which one unit after the other is moved.
_CORNERS, _CLIMBED = 9, 4
_STARTS_STREAM, _HOT_STREAM = 1000, 1001


class Modes(NamedTuple):
    """C modes, the likeliest first."""

    means: Layers  # (C, n_l) arrays, one a layer
    bound: NDArray[np.float64]  # (C,) mean field's lower bounds of ln Z
    missed: float  # the part of Z, by these bounds, of modes that the last starts added or for which there was no room


def find_modes(machine: Machine, seed: int, rows: Array | None = None) -> Modes:
    """Modes of a float64 machine; `rows` are visible means to start from too.

    Raises
    ------
    ValueError
        A machine without a law.
    """
    modes = Modes(tuple(np.empty((0, n)) for n in machine.sizes), np.empty(0), 1.0)
    for batch in range(BATCHES):
        X = np.concatenate(list(_starts(machine, seed, batch, rows if batch == 0 else None, modes)))
        modes = _merged(machine, modes, _mean_field(machine, X))
        if batch > 0 and modes.missed < _COUNTS:
            break
    return modes


def missed(machine: Machine, modes: Modes, X: Array) -> float:
    """The part of Z of other modes to which visible values lead, such as those where chains end."""
    starts = X[np.isfinite(X).all(axis=1)][: 4 * STARTS]
    return _merged(machine, modes, _mean_field(machine, starts)).missed if len(starts) else 0.0


def unvisited(machine: Machine, modes: Modes, X: Array) -> NDArray[np.bool_]:
    """Which modes of a float64 machine visible values, such as those of chains, do not lead to, (C,)."""
    X = X[np.isfinite(X).all(axis=1)]
    reached = _mean_field(machine, X)[0][0] if len(X) else X
    visible = machine.layers[0]
    scale = _scale(visible, visible.moments(field(machine, modes.means, 0), 0.0)[2])
    scaled = zip(modes.means[0], np.broadcast_to(scale, modes.means[0].shape), strict=True)
    return np.array([not (np.abs((reached - x) / width).max(axis=1) < _APART).any() for x, width in scaled])


def some_rows(machine: Machine, data: ArrayLike | None, seed: int) -> Array | None:
    """Some of the samples `data` and their mean, as the machine's dtype holds them; None if there are no data.

    Raises
    ------
    ValueError
        Samples of the wrong width, empty or outside the support.
    """
    if data is None:
        return None
    visible = machine.layers[0]
    samples = visible.samples("data", data)
    picked = np.sort(_generator(seed).permutation(len(samples))[: 4 * STARTS])
    rows = visible.rounded(np.asarray(samples[picked])).astype(np.float64)
    return np.concatenate([rows, rows.mean(axis=0, keepdims=True)])


def _starts(machine: Machine, seed: int, batch: int, rows: Array | None, known: Modes) -> Iterator[Array]:
    """Visible means: the same ones and the data in the first batch; random ones, and what is near modes, in all."""
    visible, hidden, W = machine.layers[0], machine.layers[1], machine.weights[0]
    rng = _generator(seed, batch)
    # The ends of hidden units' ranges, whatever their own fields say, or two standard deviations off.
    _, mean, var = hidden.moments(0.0, 0.0)
    low, high = (np.broadcast_to(end, hidden.columns) for end in hidden.bounds())
    low, high = (
        np.where(np.isfinite(low), low, mean - 2 * np.sqrt(var)),
        np.where(np.isfinite(high), high, mean + 2 * np.sqrt(var)),
    )

    def given(h: Array) -> Array:
        return visible.moments(h @ W.T, 0.0)[1]

    if batch == 0:
        yield visible.moments(0.0, 0.0)[1][None]
        lo, hi = visible.bounds()
        if np.isfinite(lo).all() and np.isfinite(hi).all():
            yield np.stack([np.broadcast_to(end, visible.columns) for end in (lo, hi)])
        # One unit at an end, the others as they are by themselves, or all at the other end.
        units = rng.permutation(hidden.columns)[: 2 * STARTS]
        for others, end in ((mean, high), (mean, low), (low, high), (high, low)):
            h = np.tile(others, (len(units), 1))
            h[np.arange(len(units)), units] = end[units]
            yield given(h)
        if hidden.columns <= _CORNERS:
            ups = np.arange(2**hidden.columns)[:, None] >> np.arange(hidden.columns) & 1
            yield given(np.where(ups == 1, high, low))
    yield visible.random_means(STARTS, rng)
    yield given(np.where(rng.random((STARTS, hidden.columns)) < rng.random((STARTS, 1)), high, low))
    for h in known.means[1][:_CLIMBED]:  # a step away from the best modes
        units = rng.permutation(hidden.columns)[:STARTS]
        flipped = np.tile(h, (len(units), 1))
        flipped[np.arange(len(units)), units] = np.where(h - low > high - h, low, high)[units]
        yield given(flipped)
    yield _cooled(machine, seed, batch)
    if rows is not None:
        yield rows


def _cooled(machine: Machine, seed: int, batch: int) -> Array:
    """Visible values of chains that were cooled from laws without couplings or preferences."""
    gibbs = GibbsChains(machine, STARTS)
    gibbs.at = tempered(np.zeros(STARTS), np.zeros(STARTS, np.int64), tuple(_level(x)[None] for x in machine.layers))
    gibbs.seed(seed, _HOT_STREAM, batch)
    gibbs.begin()
    for step in range(1, _COOLING + 1):
        gibbs.at.beta[:] = step / _COOLING
        gibbs.sweep(1, even_first=False)
    values = gibbs.state.mean[0]
    return np.asarray(values[np.isfinite(values).all(axis=1)])


def _level(layer: Any) -> Array:
    """Fields in which both states of every unit are alike, where there are two."""
    return np.asarray(-layer.parameters["U"] if layer.levels is not None else np.zeros(layer.columns))


def field(machine: Machine, means: Layers, layer: int) -> Array:
    """What a layer receives from its neighbours at these means."""
    total = np.zeros_like(means[layer])
    if layer > 0:
        total += product(means[layer - 1], machine.weights[layer - 1])
    if layer < len(means) - 1:
        total += product(means[layer + 1], machine.weights[layer], transposed=True)
    return total


def _mean_field(machine: Machine, X: Array) -> tuple[Layers, NDArray[np.float64]]:
    """Solutions of naive mean field from visible means, and their lower bounds of ln Z, of those that are finite."""
    K = len(X)
    own = [np.tile(layer.moments(0.0, 0.0)[1], (K, 1)) for layer in machine.layers]
    means, log_z = [X.astype(np.float64), *own[1:]], [np.zeros(x.shape) for x in own]
    active = np.arange(K)
    with blas_held():  # the same whatever the number of threads
        for _ in range(_SWEEPS):
            now = tuple(x[active] for x in means)
            change = np.zeros(len(active))
            for layer in (*range(1, len(means), 2), *range(0, len(means), 2)):
                unit = machine.layers[layer]
                _, a, var = unit.moments(field(machine, now, layer), 0.0)
                change = np.maximum(change, (np.abs(a - now[layer]) / _scale(unit, var)).max(axis=1))
                now = (*now[:layer], a, *now[layer + 1 :])
            for to, x in zip(means, now, strict=True):
                to[active] = x
            active = active[change > _TOL]
            if len(active) == 0:
                break
        bound = np.zeros(K)
        for layer, unit in enumerate(machine.layers):
            B = field(machine, tuple(means), layer)
            log_z[layer], a, _ = unit.moments(B, 0.0)
            bound += log_z[layer].sum(axis=1) - (B * a).sum(axis=1)
            means[layer] = a
        bound += sum(
            (product(a, W) * b).sum(axis=1) for a, W, b in zip(means, machine.weights, means[1:], strict=False)
        )
    good = np.isfinite(bound)
    return tuple(x[good] for x in means), bound[good]


def _scale(unit: Any, var: Array) -> Array:
    """What changes of means are measured in."""
    lo, hi = unit.bounds()
    width = np.broadcast_to(hi - lo, (unit.columns,))
    return np.where(np.isfinite(width), width, np.sqrt(var))


def _merged(machine: Machine, kept: Modes, found: tuple[Layers, Array]) -> Modes:
    """Modes of both, each once."""
    means = tuple(np.concatenate(both) for both in zip(kept.means, found[0], strict=True))
    share, known = np.concatenate([kept.bound, found[1]]), len(kept.bound)
    if len(share) == 0:
        raise ValueError("machine must have a law: no mean-field solution of it is finite")
    visible = machine.layers[0]
    scaled = means[0] / _scale(visible, visible.moments(field(machine, means, 0), 0.0)[2])
    chosen: list[int] = []
    for k in [*range(known), *(known + np.argsort(-share[known:], kind="stable"))]:
        near = chosen and (np.abs(scaled[chosen] - scaled[k]).max(axis=1) < _APART).any()
        if share[k] >= share.max() - NEGLIGIBLE and not near:
            chosen.append(int(k))
    chosen.sort(key=lambda k: -share[k])
    rows, left_out = chosen[:MOST], chosen[MOST:]
    beside = [k for k in chosen if k >= known or k in left_out]
    parts = np.exp(share - share.max())
    return Modes(tuple(x[rows] for x in means), share[rows], float(parts[beside].sum() / parts[chosen].sum()))


def _generator(seed: int, *key: int) -> np.random.Generator:
    return np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(_STARTS_STREAM, *key)))
