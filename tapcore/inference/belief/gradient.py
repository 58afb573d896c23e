"""Derivatives of relaxed belief propagation's free energy: it is not stationary in the messages, so they count too.

With Phi = ln Z of (B13), let beta and alpha be the derivatives of Phi with the fields B and A of a message from u to l,
by way of its mean a and variance c and of all that u's neighbours make of these. With W the weight between the two,

    beta  = a/2 + lambda c + mu kappa3,
    alpha = -(c + a^2)/4 - lambda (kappa3 + 2 a c)/2 - mu (kappa4 + 2 c^2 + 2 a kappa3)/2,
    lambda = W (sum beta - beta'),    mu = -W^2 (sum alpha - alpha'),

the sums over all that l sends and l itself, with ``(1 - d/2) a`` and ``-(1 - d/2)(c + a^2)/2`` for a unit with d
neighbours, and the last terms those of the message from l to u. These linear equations are swept to their solution at
the rate at which the messages themselves converge. Then ``d Phi/d W = a (sum beta - beta') - 2 W c (sum alpha -
alpha')`` of both directions; ``sum beta`` is the derivative with a unit's U, and ``sum alpha`` that with its V.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from tapcore._base.jit import kernel, scalar
from tapcore._base.threads import split
from tapcore.inference.arithmetic import larger
from tapcore.inference.belief.kernels import TILE, Messages, Scratch, empty_messages, fetch, less_one
from tapcore.inference.belief.solver import Pair, engine_for
from tapcore.inference.progress import CONVERGED, FAILED, Rule, begin, empty_progress
from tapcore.inference.records import Starts
from tapcore.machine import Machine
from tapcore.units.sites import CUMULANTS, SLAB, Sites, layer_cumulants, layer_moments, layer_slab

Array = NDArray[Any]

# Groups of chains whose sums are added up.
GROUPS = 8
# Relative changes of derivatives, from one sweep back to the next, that still let a chain count.
LEAST = 1e-3
# Solutions are swept on to rounding errors, and may move so far in any mean meanwhile.
CLOSELY = Rule(0, True, False, True, 1e-14, 8 * float(np.finfo(np.float64).eps), 10_000)
NEAR = 1e-3


class Edges(NamedTuple):
    """Messages that one layer sends, (n_visible, n_hidden) each, and its units."""

    a: Array
    c: Array
    third: Array
    fourth: Array
    slab: Array  # probability of the slab
    beta: Array
    alpha: Array
    unit: Array  # (3, n): what the units themselves add to the sums of beta, alpha and probabilities of slabs
    total: Array  # (2, n): the sums of beta and alpha
    before: Array  # (2, n): in the sweep before


class Slopes(NamedTuple):
    """Derivatives of ln Z, added up over chains."""

    weights: Array  # (n_visible, n_hidden)
    visible: Array  # (3, n_visible): with B, with A, and with the logarithm of the slabs' weights
    hidden: Array


def empty_edges(sizes: tuple[int, int]) -> tuple[Edges, Edges]:
    """Arrays for one chain: what hidden units send, and what visible units do."""
    hidden, visible = (
        Edges(*(np.zeros(sizes) for _ in range(7)), *(np.zeros((rows, n)) for rows in (3, 2, 2))) for n in sizes[::-1]
    )
    return hidden, visible


def empty_slopes(sizes: tuple[int, int]) -> Slopes:
    """Sums of nothing."""
    return Slopes(np.zeros(sizes), np.zeros((3, sizes[0])), np.zeros((3, sizes[1])))


@kernel()
def gather(
    sites: Sites, layer: int, W: Array, sent: Messages, to_visible: bool, scratch: Scratch, edges: Edges
) -> None:
    """Cumulants of the messages from the layer `layer`, which received `sent`. W: (receivers, senders)."""
    n = W.shape[1]
    B, A, mean, var = scratch.rows[0, :n], scratch.rows[1, :n], scratch.rows[2, :n], scratch.rows[3, :n]
    third, fourth, slab = scratch.rows[4, :n], scratch.rows[5, :n], scratch.rows[6, :n]
    layer_moments(sites, layer, sent.B, sent.A, mean, var)
    layer_slab(sites, layer, sent.B, sent.A, slab)
    own = 1.0 - 0.5 * W.shape[0]
    for j in range(n):
        edges.unit[0, j] = own * mean[j]
        edges.unit[1, j] = -0.5 * own * (var[j] + mean[j] * mean[j])
        edges.unit[2, j] = own * slab[j]
    for first in range(0, W.shape[0], TILE):
        count = fetch(sent, first, scratch.columns)
        for t in range(count):
            i = first + t
            less_one(sent, W[i], scratch.columns, t, B, A)
            layer_moments(sites, layer, B, A, mean, var)
            layer_cumulants(sites, layer, B, A, third, fourth)
            layer_slab(sites, layer, B, A, slab)
            for j in range(n):
                v, h = (i, j) if to_visible else (j, i)
                edges.a[v, h], edges.c[v, h] = mean[j], var[j]
                edges.third[v, h], edges.fourth[v, h] = third[j], fourth[j]
                edges.slab[v, h] = slab[j]


@scalar
def _half_sweep(W: Array, sent: Edges, back: Edges, to_visible: bool, damping: float) -> float:
    """Renew beta and alpha of what one layer sends from those of what it receives; the largest change of a sum."""
    sent.before[:] = sent.total
    sent.total[:] = sent.unit[:2]
    for i in range(W.shape[0]):
        for j in range(W.shape[1]):
            to, of = (i, j) if to_visible else (j, i)
            w = W[i, j]
            lam, mu = w * (back.total[0, to] - back.beta[i, j]), -w * w * (back.total[1, to] - back.alpha[i, j])
            a, c, third = sent.a[i, j], sent.c[i, j], sent.third[i, j]
            beta = 0.5 * a + lam * c + mu * third
            alpha = -0.25 * (c + a * a) - 0.5 * (
                lam * (third + 2.0 * a * c) + mu * (sent.fourth[i, j] + 2.0 * c * c + 2.0 * a * third)
            )
            sent.beta[i, j] = beta + damping * (sent.beta[i, j] - beta)
            sent.alpha[i, j] = alpha + damping * (sent.alpha[i, j] - alpha)
            sent.total[0, of] += sent.beta[i, j]
            sent.total[1, of] += sent.alpha[i, j]
    top = 0.0
    for part in range(2):
        for of in range(sent.total.shape[1]):
            now = sent.total[part, of]
            top = larger(top, abs(now - sent.before[part, of]) / (1.0 + abs(now)))
    return top


@kernel()
def sweep_back(W: Array, hidden: Edges, visible: Edges, damping: float, tol: float, most: int) -> float:
    """Solve for beta and alpha; the change of the last sweep, over the size of what changed: above `tol` if not solved.

    `hidden`, `visible`: what these send.
    """
    for edges in (hidden, visible):
        edges.beta[:], edges.alpha[:], edges.total[:] = 0.0, 0.0, 0.0
    change = np.inf
    for sweep in range(most):
        # There is nothing to mix the first ones with.
        change = _half_sweep(W, hidden, visible, True, damping if sweep > 0 else 0.0)
        change = larger(change, _half_sweep(W, visible, hidden, False, damping if sweep > 0 else 0.0))
        if not change > tol:
            break
    return change


@kernel()
def add_slopes(W: Array, hidden: Edges, visible: Edges, slopes: Slopes) -> None:
    """Add what follows for a chain to the sums."""
    for edges, to in ((hidden, slopes.hidden), (visible, slopes.visible)):
        to[:2] += edges.total[:2]
        to[2] += edges.unit[2]
    for i in range(W.shape[0]):
        for j in range(W.shape[1]):
            from_hidden, slab = _edge_slopes(i, j, i, W[i, j], hidden, visible)
            slopes.hidden[2, j] += slab
            from_visible, slab = _edge_slopes(i, j, j, W[i, j], visible, hidden)
            slopes.visible[2, i] += slab
            slopes.weights[i, j] += from_hidden + from_visible


@scalar
def _edge_slopes(i: int, j: int, to: int, w: float, sent: Edges, back: Edges) -> tuple[float, float]:
    """Derivatives of Phi with the weight by way of a message to unit `to`, and with that of its sender's slab."""
    fields, precisions = back.total[0, to] - back.beta[i, j], back.total[1, to] - back.alpha[i, j]
    a, c, p = sent.a[i, j], sent.c[i, j], sent.slab[i, j]
    along_slab = w * fields * a - w * w * precisions * (c - a * a)
    return a * fields - 2.0 * w * c * precisions, 0.5 * p + (1.0 - p) * along_slab


class Marginals(NamedTuple):
    """What is kept of K chains: (K, n_visible) and (K, n_hidden) arrays, written to in place."""

    mean: tuple[Array, ...]
    var: tuple[Array, ...]
    B: tuple[Array, ...]
    A: tuple[Array, ...]


class Followed(NamedTuple):
    """What came of K chains."""

    slopes: Slopes  # averages over the chains that are not lost
    lost: NDArray[np.bool_]  # (K,): not finite, or without derivatives
    status: NDArray[np.int64]  # (K,)


class Backwards(NamedTuple):
    """How to solve for derivatives: until sums change by less than `tol` of themselves, in at most so many sweeps."""

    tol: float
    most: int


def follow(
    machine: Machine, chains: Marginals, fresh: NDArray[np.bool_], rule: Rule, damping: float, backwards: Backwards
) -> Followed:
    """Sweep chains on from their marginals, where `fresh` from visible means alone, and differentiate ln Z there.

    A chain is lost, and NaN from then on, where derivatives still change by more than LEAST in the last sweep back.
    """
    sizes = (machine.sizes[0], machine.sizes[1])
    count = len(fresh)
    engine = engine_for(machine, count)
    engine.sites.need(CUMULANTS, SLAB)
    progress = empty_progress(count)
    begin(progress, slice(None), np.arange(count), damping)
    lost = np.zeros(count, np.bool_)
    # As many groups whatever the number of threads, each added up in order: sums are the same to the bit.
    groups = split(count, GROUPS, count)
    sums = [empty_slopes(sizes) for _ in groups]

    def work(g: int, to: Pair, scratch: Scratch, edges: tuple[Edges, Edges]) -> None:
        first, length = groups[g]
        for k in range(first, first + length):
            if fresh[k]:
                engine.begin(to, Starts((chains.mean[0],), ()), k)
            else:
                engine.recall(to, scratch, chains, k)
            engine.run(k, to, scratch, progress, rule, rule.most, bool(fresh[k]))
            change = np.inf
            if progress.status[k] != FAILED:
                gather(engine.sites, 1, engine.W, to[1], True, scratch, edges[0])
                gather(engine.sites, 0, engine.WT, to[0], False, scratch, edges[1])
                change = sweep_back(engine.W, *edges, progress.damping[k], *backwards)
            lost[k] = not change <= LEAST
            if not lost[k]:
                add_slopes(engine.W, *edges, sums[g])
            _keep(chains, to, k, lost[k])

    engine.each(len(groups), work, lambda: (*empty_messages(sizes), empty_edges(sizes)))
    total = [np.sum(parts, axis=0) / max(1, int((~lost).sum())) for parts in zip(*sums, strict=True)]
    return Followed(Slopes(*total), lost, progress.status)


def _keep(chains: Marginals, to: Pair, k: int, lost: bool) -> None:
    for layer in range(2):
        made = to[layer].a, to[layer].c, to[layer].B, to[layer].A
        for into, x in zip(chains, made, strict=True):
            into[layer][k] = np.nan if lost else x


def found_again(machine: Machine, solutions: Marginals) -> Slopes:
    """Derivatives averaged over solutions, whose messages are found by sweeps to their last digits.

    Raises
    ------
    ValueError
        A chain does not converge, or ends elsewhere.
    """
    chains = Marginals(*(tuple(x.copy() for x in layers) for layers in solutions))
    found = follow(machine, chains, np.zeros(len(chains.mean[0]), np.bool_), CLOSELY, 0.0, Backwards(1e-14, 10_000))
    moved = np.max(
        [np.abs(new - old).max(axis=1) for new, old in zip(chains.mean, solutions.mean, strict=True)], axis=0
    )
    bad = found.lost | (found.status != CONVERGED) | ~(moved <= NEAR)
    if bad.any():
        raise ValueError(
            f"solutions must have converged for a gradient of method 'rbp': chain {np.flatnonzero(bad)[0]}'s messages, "
            "found again from its means and variances, do not settle close to where they were"
        )
    return found.slopes
