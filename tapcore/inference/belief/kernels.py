"""Kernels of relaxed belief propagation in an RBM: sums of messages, messages from sums less one term, and energies.

Messages lie in the rows of their receivers: those to the visible layer are (n_visible, n_hidden) arrays, those to the
hidden layer (n_hidden, n_visible). Sums are then over rows, and the messages to one receiver are the moments of a row
of the sending layer, in fields that need one column of what it received: columns are fetched some at a time.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from tapcore._base.blocks import block_kernel, call_block
from tapcore._base.intrinsics import take
from tapcore._base.jit import kernel, scalar
from tapcore.inference.arithmetic import larger, mix, squared_change
from tapcore.inference.progress import ACTIVE, FAILED, Progress, Rule, judge
from tapcore.units.sites import Sites, layer_log_z, layer_moments

Array = NDArray[Any]

# Columns fetched at a time: eight float64 make a cache line.
TILE = 8
# Places in the calls of a job whose chains are dealt.
BEGIN, RUN, END = range(3)


class Messages(NamedTuple):
    """Messages that one layer receives, and the layer's sums of them and moments in these; first axis: workers."""

    mean: Array  # (n, n_other)
    var: Array
    B: Array  # (n,)
    A: Array
    a: Array
    c: Array


class Chains(NamedTuple):
    """Chains of a machine, of which each worker has one at a time."""

    sites: Sites
    W: Array  # (n_visible, n_hidden)
    WT: Array  # (n_hidden, n_visible)
    visible: Messages  # what the visible layer receives
    hidden: Messages  # and the hidden one
    columns: Array  # (workers, 2, TILE, m) scratch, m the larger layer
    rows: Array  # (workers, 7, m) scratch
    progress: Progress
    rule: Rule
    chain: NDArray[np.int64]  # (workers,) which one each has
    cold: NDArray[np.bool_]  # (workers,) whether only its visible means are set: first messages of hidden units are
    # undamped


class Deal(NamedTuple):
    """Which chains there are for workers, group by group."""

    groups: NDArray[np.int64]  # (groups, 2) first chain and number of chains
    taken: NDArray[np.int64]  # (1,) groups that workers have taken
    group: NDArray[np.int64]  # (workers,) which one each has


class Kept(NamedTuple):
    """Units of one layer in all chains: (K, n) arrays."""

    mean: Array
    var: Array
    B: Array
    A: Array


class Solving(NamedTuple):
    """Chains that are run from where `visible` and `hidden` say, which then hold where they end."""

    chains: Chains
    deal: Deal
    visible: Kept
    hidden: Kept
    cold: bool  # from visible means alone
    free_energy: Array  # (K,)
    calls: Any  # of kernels that begin a chain, run it and end it


# --- One layer of the chain that worker w has ---


@scalar
def received(job: Chains, layer: int) -> Messages:
    """What a layer receives."""
    return job.visible if layer == 0 else job.hidden


@scalar
def across(job: Chains, layer: int) -> Array:
    """Weights of what a layer sends: (receivers, senders)."""
    return job.WT if layer == 0 else job.W


@kernel(reassociate=True)
def _sum_rows(W: Array, mean: Array, var: Array, B: Array, A: Array, first: int, last: int) -> None:
    """``B = sum W a`` and ``A = -sum W^2 c`` over rows first..last."""
    for i in range(first, last):
        b, a = 0.0, 0.0
        for j in range(W.shape[1]):
            b += W[i, j] * mean[i, j]
            a -= W[i, j] * W[i, j] * var[i, j]
        B[i], A[i] = b, a


@scalar
def sum_messages(job: Chains, w: int, layer: int, first: int, last: int) -> None:
    """Fields of units first..last of a layer from all that they receive."""
    to = received(job, layer)
    W = job.W if layer == 0 else job.WT
    _sum_rows(W, to.mean[w], to.var[w], to.B[w], to.A[w], first, last)


@scalar
def fetch(job: Chains, w: int, s: int, layer: int, first: int) -> int:
    """Columns of messages to a layer from `first` on, as rows in scratch s; how many."""
    to, columns = received(job, layer), job.columns[s]
    mean, var = to.mean[w], to.var[w]
    count = min(TILE, mean.shape[1] - first)
    for j in range(mean.shape[0]):
        for t in range(count):
            columns[0, t, j] = mean[j, first + t]
            columns[1, t, j] = var[j, first + t]
    return int(count)


@scalar
def less_one(sent: Messages, w: int, weights: Array, column: tuple[Array, Array], B: Array, A: Array) -> None:
    """Fields of the sending layer, which received `sent`, without the messages in a column."""
    mean, var = column
    full_B, full_A = sent.B[w], sent.A[w]
    for j in range(B.size):
        B[j] = full_B[j] - weights[j] * mean[j]
        A[j] = full_A[j] + weights[j] * weights[j] * var[j]


@scalar
def pass_messages(job: Chains, w: int, s: int, layer: int, damping: float, begin: int, end: int) -> float:
    """Renew the messages from a layer to units begin..end of the other one; the largest change, NaN if any is.

    s: scratch to use.
    """
    sent, to, W = received(job, layer), received(job, 1 - layer), across(job, layer)
    n = W.shape[1]
    B, A, mean, var = job.rows[s, 0, :n], job.rows[s, 1, :n], job.rows[s, 2, :n], job.rows[s, 3, :n]
    top = 0.0
    for first in range(begin, end, TILE):
        count = min(fetch(job, w, s, layer, first), end - first)
        for t in range(count):
            i = first + t
            less_one(sent, w, W[i], (job.columns[s, 0, t], job.columns[s, 1, t]), B, A)
            layer_moments(job.sites, layer, B, A, mean, var)
            top = larger(top, mix(to.mean[w, i], to.var[w, i], mean, var, damping))
    return top


@scalar
def marginals(job: Chains, w: int, layer: int) -> float:
    """Moments of a layer in its sums; sum of the squared changes of the means."""
    to = received(job, layer)
    a, c = to.a[w], to.c[w]
    n = a.size
    mean, var = job.rows[w, 2, :n], job.rows[w, 3, :n]
    layer_moments(job.sites, layer, to.B[w], to.A[w], mean, var)
    mix(a, c, mean, var, 0.0)
    return squared_change(a, mean)


@scalar
def damping_of(job: Chains, w: int, layer: int) -> float:
    """Damping of the messages that a layer sends next."""
    k = job.chain[w]
    if layer == 1 and job.cold[w] and job.progress.sweeps[k] == 0:
        return 0.0
    return float(job.progress.damping[k])


@scalar
def begin_chain(job: Chains, w: int, visible: Kept, hidden: Kept, cold: bool) -> None:
    """Messages are means and variances of units, or where `cold` means of visible units alone."""
    k = job.chain[w]
    job.cold[w] = cold
    for layer in range(2):
        kept, to, back = visible if layer == 0 else hidden, received(job, layer), received(job, 1 - layer)
        for i in range(to.a.shape[1]):
            to.B[w, i], to.A[w, i] = 0.0, 0.0
            to.a[w, i] = 0.0 if cold and layer == 1 else kept.mean[k, i]
            to.c[w, i] = 0.0 if cold else kept.var[k, i]
        # In loops: Numba takes seconds to compile the assignment of one array to another.
        for j in range(back.mean.shape[1]):
            for i in range(to.a.shape[1]):
                back.mean[w, j, i], back.var[w, j, i] = to.a[w, i], to.c[w, i]


@scalar
def keep(job: Chains, w: int, visible: Kept, hidden: Kept, lost: bool) -> None:
    """Write down where a chain has ended, NaN if it is lost."""
    k = job.chain[w]
    for layer in range(2):
        kept, to = visible if layer == 0 else hidden, received(job, layer)
        for i in range(to.a.shape[1]):
            kept.mean[k, i] = np.nan if lost else to.a[w, i]
            kept.var[k, i] = np.nan if lost else to.c[w, i]
            kept.B[k, i] = np.nan if lost else to.B[w, i]
            kept.A[k, i] = np.nan if lost else to.A[w, i]


# --- Chains ---


@block_kernel
def run_groups(w: int, job: Any) -> None:
    """Worker w takes groups of chains as long as there are any, and runs each chain from its start to its end."""
    deal, chains = job.deal, job.chains
    g = take(deal.taken)
    while g < deal.groups.shape[0]:
        deal.group[w] = g
        for k in range(deal.groups[g, 0], deal.groups[g, 0] + deal.groups[g, 1]):
            chains.chain[w] = k
            call_block(job.calls[BEGIN], w, job)
            call_block(job.calls[RUN], w, chains)
            call_block(job.calls[END], w, job)
        g = take(deal.taken)


@block_kernel
def run_chain(w: int, job: Chains) -> None:
    """Sweep the chain of worker w until it stops: hidden to visible, then visible to hidden.

    Sums and moments are those of the messages in the end.
    """
    k, n, m = job.chain[w], job.W.shape[0], job.W.shape[1]
    while job.progress.status[k] == ACTIVE:
        top, square = 0.0, 0.0
        for half in range(2):
            layer, own, other = (1, m, n) if half == 0 else (0, n, m)
            sum_messages(job, w, layer, 0, own)
            square += marginals(job, w, layer)
            top = larger(top, pass_messages(job, w, w, layer, damping_of(job, w, layer), 0, other))
        job.progress.residual[k], job.progress.square[k] = top, square
        judge(job.progress, job.rule, k, n + m)
    sum_messages(job, w, 1, 0, m)
    marginals(job, w, 1)


@block_kernel
def begin_solving(w: int, job: Solving) -> None:
    """Begin a chain of worker w from the moments of its units."""
    begin_chain(job.chains, w, job.visible, job.hidden, job.cold)


@block_kernel
def end_solving(w: int, job: Solving) -> None:
    """Write down the chain of worker w, and its symmetric Bethe free energy (B13).

    ``ln Z = sum_u ln Z_u + sum_{u -> w} (ln Z_{u -> w} - ln Z_u)/2``.
    """
    chains = job.chains
    k = chains.chain[w]
    lost = chains.progress.status[k] == FAILED
    keep(chains, w, job.visible, job.hidden, lost)
    total = 0.0
    if not lost:
        for half in range(2):
            total += _edges(chains, w, 1 - half)
    job.free_energy[k] = np.nan if lost else -total


@scalar
def _edges(job: Chains, w: int, layer: int) -> float:
    """Sum over a layer's units of ln Z and of half of what the ln Z of each of its messages differs from that."""
    sent, W = received(job, layer), across(job, layer)
    n = W.shape[1]
    B, A, log_z, full = job.rows[w, 0, :n], job.rows[w, 1, :n], job.rows[w, 2, :n], job.rows[w, 4, :n]
    layer_log_z(job.sites, layer, sent.B[w], sent.A[w], full)
    total = 0.0
    for first in range(0, W.shape[0], TILE):
        count = fetch(job, w, w, layer, first)
        for t in range(count):
            less_one(sent, w, W[first + t], (job.columns[w, 0, t], job.columns[w, 1, t]), B, A)
            layer_log_z(job.sites, layer, B, A, log_z)
            part = 0.0
            for j in range(n):
                part += log_z[j] - full[j]
            total += 0.5 * part
    for j in range(n):
        total += full[j]
    return total


# --- One chain by all workers, its receiving units in blocks ---


class Half(NamedTuple):
    """What a layer of the chain of worker 0 receives and sends in a sweep."""

    chains: Chains
    layer: int
    receivers: NDArray[np.int64]  # (blocks, 2) first and number, of its own units
    others: NDArray[np.int64]  # (blocks, 2) of the units that it sends to
    changes: Array  # (2, workers) largest changes of messages from either layer
    square: Array  # (2,) squared changes of means


@block_kernel
def receive(b: int, job: Half) -> None:
    """Fields of block `b` of the layer's units."""
    first, count = job.receivers[b, 0], job.receivers[b, 1]
    sum_messages(job.chains, 0, job.layer, first, first + count)


@block_kernel
def settle(b: int, job: Half) -> None:
    """Moments of the whole layer."""
    job.square[job.layer] = marginals(job.chains, 0, job.layer)


@block_kernel
def send(b: int, job: Half) -> None:
    """Messages to block `b` of the other layer's units."""
    chains, first, count = job.chains, job.others[b, 0], job.others[b, 1]
    damping = damping_of(chains, 0, job.layer)
    job.changes[job.layer, b] = pass_messages(chains, 0, b, job.layer, damping, first, first + count)


@block_kernel
def end_sweep(b: int, job: Half) -> None:
    """Judge the chain by the largest change of a message and the sum of squared changes of means."""
    chains, top = job.chains, 0.0
    k = chains.chain[0]
    for layer in range(2):
        for x in job.changes[layer]:
            if not x <= top:  # once NaN, for good
                top = x if not np.isnan(top) else top
    chains.progress.residual[k], chains.progress.square[k] = top, job.square[1] + job.square[0]
    judge(chains.progress, chains.rule, k, chains.W.shape[0] + chains.W.shape[1])
