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

from tapcore._base.blocks import block_kernel, no_calls
from tapcore._base.jit import scalar
from tapcore._base.threads import split
from tapcore.inference.arithmetic import larger
from tapcore.inference.averages import wide_rows
from tapcore.inference.belief.kernels import (
    TILE,
    Chains,
    Deal,
    Kept,
    across,
    begin_chain,
    fetch,
    keep,
    less_one,
    pass_messages,
    received,
)
from tapcore.inference.belief.solver import RelaxedBP
from tapcore.inference.progress import CONVERGED, FAILED, Rule
from tapcore.machine import Machine
from tapcore.units.sites import CUMULANTS, SLAB, layer_cumulants, layer_moments, layer_slab

Array = NDArray[Any]

# Groups of chains whose sums are added up.
GROUPS = 8
# Relative changes of derivatives, from one sweep back to the next, that still let a chain count.
LEAST = 1e-3
# Solutions are swept on to rounding errors, and may move so far in any mean meanwhile.
CLOSELY = Rule(0, True, False, True, 1e-14, 8 * float(np.finfo(np.float64).eps), 10_000)
NEAR = 1e-3


class Edges(NamedTuple):
    """Messages that one layer sends, (n_visible, n_hidden) each, and its units; first axis: workers."""

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


class Backwards(NamedTuple):
    """How to solve for derivatives: until sums change by less than `tol` of themselves, in at most so many sweeps."""

    tol: float
    most: int


class Following(NamedTuple):
    """Chains that are swept on from where `visible` and `hidden` say, and differentiated where they end."""

    chains: Chains
    deal: Deal
    visible: Kept
    hidden: Kept
    fresh: NDArray[np.bool_]  # (K,) from visible means alone
    from_visible: Edges
    from_hidden: Edges
    backwards: Backwards
    lost: NDArray[np.bool_]  # (K,): not finite, or without derivatives
    slopes: Slopes  # first axis: groups of chains
    calls: Any  # of kernels that begin a chain, run it and end it


def _empty_edges(workers: int, sizes: tuple[int, int], n: int) -> Edges:
    pairs = (np.zeros((workers, *sizes)) for _ in range(7))
    return Edges(*pairs, *(np.zeros((workers, rows, n)) for rows in (3, 2, 2)))


@scalar
def _sent(job: Following, layer: int) -> Edges:
    """What a layer sends."""
    return job.from_visible if layer == 0 else job.from_hidden


@scalar
def _gather(job: Following, w: int, layer: int) -> None:
    """Cumulants of the messages from a layer."""
    chains, edges, W = job.chains, _sent(job, layer), across(job.chains, layer)
    sites, sent, n = chains.sites, received(chains, layer), W.shape[1]
    B, A, mean, var = chains.rows[w, 0, :n], chains.rows[w, 1, :n], chains.rows[w, 2, :n], chains.rows[w, 3, :n]
    third, fourth, slab = chains.rows[w, 4, :n], chains.rows[w, 5, :n], chains.rows[w, 6, :n]
    layer_moments(sites, layer, sent.B[w], sent.A[w], mean, var)
    layer_slab(sites, layer, sent.B[w], sent.A[w], slab)
    own = 1.0 - 0.5 * W.shape[0]
    for j in range(n):
        edges.unit[w, 0, j] = own * mean[j]
        edges.unit[w, 1, j] = -0.5 * own * (var[j] + mean[j] * mean[j])
        edges.unit[w, 2, j] = own * slab[j]
    for first in range(0, W.shape[0], TILE):
        count = fetch(chains, w, w, layer, first)
        for t in range(count):
            i = first + t
            less_one(sent, w, W[i], (chains.columns[w, 0, t], chains.columns[w, 1, t]), B, A)
            layer_moments(sites, layer, B, A, mean, var)
            layer_cumulants(sites, layer, B, A, third, fourth)
            layer_slab(sites, layer, B, A, slab)
            for j in range(n):
                v, h = (i, j) if layer == 1 else (j, i)
                edges.a[w, v, h], edges.c[w, v, h] = mean[j], var[j]
                edges.third[w, v, h], edges.fourth[w, v, h] = third[j], fourth[j]
                edges.slab[w, v, h] = slab[j]


@scalar
def _half_sweep(job: Following, w: int, layer: int, damping: float) -> float:
    """Renew beta and alpha of what a layer sends from those of what it receives; the largest change of a sum."""
    W, sent, back = job.chains.W, _sent(job, layer), _sent(job, 1 - layer)
    total, before, unit = sent.total[w], sent.before[w], sent.unit[w]
    back_total, back_beta, back_alpha = back.total[w], back.beta[w], back.alpha[w]
    betas, alphas = sent.beta[w], sent.alpha[w]
    for part in range(2):
        for u in range(total.shape[1]):
            before[part, u], total[part, u] = total[part, u], unit[part, u]
    for i in range(W.shape[0]):
        for j in range(W.shape[1]):
            to, source = (i, j) if layer == 1 else (j, i)
            x = W[i, j]
            lam, mu = x * (back_total[0, to] - back_beta[i, j]), -x * x * (back_total[1, to] - back_alpha[i, j])
            a, c, third, fourth = sent.a[w, i, j], sent.c[w, i, j], sent.third[w, i, j], sent.fourth[w, i, j]
            beta = 0.5 * a + lam * c + mu * third
            alpha = -0.25 * (c + a * a) - 0.5 * (
                lam * (third + 2.0 * a * c) + mu * (fourth + 2.0 * c * c + 2.0 * a * third)
            )
            betas[i, j] = beta + damping * (betas[i, j] - beta)
            alphas[i, j] = alpha + damping * (alphas[i, j] - alpha)
            total[0, source] += betas[i, j]
            total[1, source] += alphas[i, j]
    top = 0.0
    for part in range(2):
        for u in range(total.shape[1]):
            now = total[part, u]
            top = larger(top, abs(now - before[part, u]) / (1.0 + abs(now)))
    return top


@scalar
def _sweep_back(job: Following, w: int, damping: float) -> float:
    """Solve for beta and alpha; the change of the last sweep, over the size of what changed.

    It is above the tolerance where they are not solved for.
    """
    for layer in range(2):
        edges = _sent(job, layer)
        for i in range(edges.beta.shape[1]):
            for j in range(edges.beta.shape[2]):
                edges.beta[w, i, j], edges.alpha[w, i, j] = 0.0, 0.0
        for u in range(edges.total.shape[2]):
            edges.total[w, 0, u], edges.total[w, 1, u] = 0.0, 0.0
    change = np.inf
    for sweep in range(job.backwards.most):
        change = 0.0
        for half in range(2):
            # There is nothing to mix the first ones with.
            change = larger(change, _half_sweep(job, w, 1 - half, damping if sweep > 0 else 0.0))
        if not change > job.backwards.tol:
            break
    return change


@scalar
def _add_slopes(job: Following, w: int) -> None:
    """Add what follows for a chain to the sums of its group."""
    W, g = job.chains.W, job.deal.group[w]
    weights, visible, hidden = job.slopes.weights[g], job.slopes.visible[g], job.slopes.hidden[g]
    for layer in range(2):
        edges, to = _sent(job, layer), visible if layer == 0 else hidden
        for u in range(to.shape[1]):
            to[0, u] += edges.total[w, 0, u]
            to[1, u] += edges.total[w, 1, u]
            to[2, u] += edges.unit[w, 2, u]
    for i in range(W.shape[0]):
        for j in range(W.shape[1]):
            by_hidden, slab = _edge_slopes(job, w, 1, i, j)
            hidden[2, j] += slab
            by_visible, slab = _edge_slopes(job, w, 0, i, j)
            visible[2, i] += slab
            weights[i, j] += by_hidden + by_visible


@scalar
def _edge_slopes(job: Following, w: int, layer: int, i: int, j: int) -> tuple[float, float]:
    """Derivatives of Phi with the weight by way of a message from a layer, and with that of its sender's slab."""
    sent, back, x = _sent(job, layer), _sent(job, 1 - layer), job.chains.W[i, j]
    to = i if layer == 1 else j
    fields = back.total[w, 0, to] - back.beta[w, i, j]
    precisions = back.total[w, 1, to] - back.alpha[w, i, j]
    a, c, p = sent.a[w, i, j], sent.c[w, i, j], sent.slab[w, i, j]
    along_slab = x * fields * a - x * x * precisions * (c - a * a)
    return a * fields - 2.0 * x * c * precisions, 0.5 * p + (1.0 - p) * along_slab


@block_kernel
def begin_following(w: int, job: Following) -> None:
    """Begin a chain of worker w: unless it is fresh, from messages that its fields and precisions make."""
    chains = job.chains
    k = chains.chain[w]
    begin_chain(chains, w, job.visible, job.hidden, job.fresh[k])
    if job.fresh[k]:
        return
    for layer in range(2):
        kept, to = job.visible if layer == 0 else job.hidden, received(chains, layer)
        for i in range(to.B.shape[1]):
            to.B[w, i], to.A[w, i] = kept.B[k, i], kept.A[k, i]
    # Of the messages only those to visible units count.
    hidden = chains.hidden
    for j in range(hidden.mean.shape[1]):
        for i in range(hidden.mean.shape[2]):
            hidden.mean[w, j, i], hidden.var[w, j, i] = 0.0, 0.0
    for layer in range(2):
        pass_messages(chains, w, w, layer, 0.0, 0, across(chains, layer).shape[0])


@block_kernel
def end_following(w: int, job: Following) -> None:
    """Differentiate at the end of the chain of worker w, add that up, and write down where it is.

    A chain is lost where derivatives still change by more than LEAST in the last sweep back.
    """
    chains = job.chains
    k = chains.chain[w]
    change = np.inf
    if chains.progress.status[k] != FAILED:
        for half in range(2):
            _gather(job, w, 1 - half)
        change = _sweep_back(job, w, chains.progress.damping[k])
    lost = not change <= LEAST
    if not lost:
        _add_slopes(job, w)
    job.lost[k] = lost
    keep(chains, w, job.visible, job.hidden, lost)


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


def follow(
    machine: Machine, chains: Marginals, fresh: NDArray[np.bool_], rule: Rule, damping: float, backwards: Backwards
) -> Followed:
    """Sweep chains on from their marginals, where `fresh` from visible means alone, and differentiate ln Z there.

    A chain is lost, and NaN from then on, where derivatives still change by more than LEAST in the last sweep back.
    """
    n, m = sizes = machine.sizes[0], machine.sizes[1]
    count = len(fresh)
    # As many groups whatever the number of threads, each added up in order: sums are the same to the bit.
    groups = split(count, GROUPS, count)
    engine = RelaxedBP(machine, groups, rule, damping)
    engine.chains.sites.need(CUMULANTS, SLAB)
    visible, hidden = (Kept(*(x[layer] for x in chains)) for layer in range(2))
    shapes = sizes, (3, n), (3, m)
    job = Following(
        engine.chains, engine.deal, visible, hidden, fresh,
        from_visible=_empty_edges(engine.workers, sizes, n), from_hidden=_empty_edges(engine.workers, sizes, m),
        backwards=backwards, lost=np.zeros(count, np.bool_),
        slopes=Slopes(*(np.zeros((len(groups), *shape)) for shape in shapes)), calls=no_calls(3),
    )  # fmt: skip
    engine.run(job, begin_following, end_following)
    average = Slopes(*(x.sum(axis=0) / max(1, int((~job.lost).sum())) for x in job.slopes))
    return Followed(average, job.lost, engine.chains.progress.status)


def found_again(machine: Machine, solutions: Marginals) -> Slopes:
    """Derivatives averaged over solutions, whose messages are found by sweeps to their last digits.

    Raises
    ------
    ValueError
        A chain does not converge, or ends elsewhere.
    """
    chains = Marginals(*(tuple(np.array(x, np.float64, order="C") for x in layers) for layers in solutions))
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


def pairs_of_messages(machine: Machine, one: Any) -> Array:
    """Averages of ``x_i x_j`` of an RBM at its only solution, (n_0, n_1): the derivative of ln Z."""
    return found_again(machine, Marginals(*(wide_rows(x) for x in (one.mean, one.var, one.B, one.A)))).weights
