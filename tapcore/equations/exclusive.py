"""Sites of several columns, of which one is on at a time: what their covariances add to fields, energy and gradient.

With p the means of the columns a of a site and ``u_j = sum_a W_aj p_a`` what it sends to unit j of a neighbour, the
variance of what it sends is ``sum_a W_aj^2 p_a - u_j^2``; independent columns of variances ``p_a (1 - p_a)`` would have
``sum_a W_aj^2 p_a (1 - p_a)``. The difference ``D_j = u_j^2 - sum_a W_aj^2 p_a^2`` goes off the variance that unit j
receives. What the site receives back, through the neighbour's variances c, is ``-sum_j c_j W_aj u_j`` in place of
``A_a p_a = -sum_j c_j W_aj^2 p_a``. A site without variances, held or at the start of a chain, sends none.

Two layers of such sites side by side would need covariances of pairs of columns: methods refuse them.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from tapcore._base.blas import multiply, product
from tapcore._base.blocks import block_kernel, run_blocks
from tapcore._base.intrinsics import segment
from tapcore._base.jit import helper, scalar
from tapcore.equations.compiled import Compiled
from tapcore.equations.layers import Layers, empty_state, row_of, rows_of

Array = NDArray[Any]


@scalar
def _stride(machine: Any, layer: int, other: int) -> Any:
    """Where the weights of two neighbours begin, and the steps from a column of either to its next."""
    if layer < other:
        return machine.at[layer], machine.size[other], 1
    return machine.at[other], 1, machine.size[layer]


@scalar
def _varies(var: Array, first: int, count: int) -> bool:
    total = 0.0
    for a in range(first, first + count):
        total += abs(var[a])
    return total != 0.0


@scalar
def _sent(W: Array, at: int, step: int, mean: Array, first: int, count: int) -> Any:
    """What a site sends by weights that begin at `at`: their average u, and the sum of their squared terms."""
    u = own = mean.dtype.type(0.0)
    for a in range(count):
        term = W[at + a * step] * mean[first + a]
        u += term
        own += term * term
    return u, own


@block_kernel
def add_exclusive(i: int, job: Any) -> None:
    """Correct what a layer receives, between the products and the Onsager terms; i is block * layers + layer.

    Takes D off sum W^2 c where neighbours have such sites, and adds to B of its own what they receive back. Weights of
    a site lie together where the neighbour is above: matrix products then do it, for some rows at a time.
    """
    machine, layers = job.machine, job.machine.size.size
    b, layer = i // layers, i % layers
    for other in range(max(layer - 1, 0), min(layer + 2, layers)):
        if other == layer:
            continue
        if other < layer and machine.wide[other] < machine.wide[other + 1]:
            _send_together(job, b, other)
        if layer < other and machine.wide[layer] < machine.wide[layer + 1]:
            _receive_together(job, b, layer)
        for k in range(job.blocks[b, 0], job.blocks[b, 0] + job.blocks[b, 1]):
            if other > layer:
                for s in range(machine.wide[other], machine.wide[other + 1]):
                    _send(job, s, other, layer, k)
            else:
                for s in range(machine.wide[layer], machine.wide[layer + 1]):
                    _receive(job, s, layer, other, k)


@scalar
def _gather(chains: Layers, layer: int, first: int, count: int, lo: int, rows: int, varied: bool, p: Array) -> None:
    """Means of a site of a layer in some rows, (rows, count); zeros, if `varied`, of a site without variances."""
    for k in range(rows):
        mean, to = row_of(chains, chains.mean, layer, lo + k), p[k * count : (k + 1) * count]
        here = not varied or _varies(row_of(chains, chains.var, layer, lo + k), first, count)
        for a in range(count):
            to[a] = mean[first + a] if here else mean.dtype.type(0.0)


@helper(inline=False)
def _send_together(job: Any, b: int, layer: int) -> None:
    """Take D of the sites of a layer off what the layer above has received, in the rows of block b."""
    machine, chains = job.machine, job.chains
    n, work, hi = machine.size[layer + 1], job.chains.scratch[b].reshape(-1), job.blocks[b, 0] + job.blocks[b, 1]
    for s in range(machine.wide[layer], machine.wide[layer + 1]):
        first, count = machine.span[s, 0], machine.span[s, 1]
        at, lo, most = machine.at[layer] + first * n, job.blocks[b, 0], max(1, work.size // (2 * (n + count)))
        while lo < hi:
            rows = min(most, hi - lo)
            p, u, own = work[: rows * count], work[rows * count : rows * (count + n)], work[rows * (count + n) :]
            own = own[: rows * n]
            _gather(chains, layer, first, count, lo, rows, True, p)
            multiply(p, segment(machine.W, at, count * n), rows, False, u)
            for a in range(p.size):
                p[a] *= p[a]
            multiply(p, segment(machine.W2, at, count * n), rows, False, own)
            A = rows_of(chains, chains.A, layer + 1, lo, rows)
            for j in range(A.size):
                A[j] -= u[j] * u[j] - own[j]
            lo += rows


@helper(inline=False)
def _receive_together(job: Any, b: int, layer: int) -> None:
    """Add to B of the sites of a layer what they sent to the layer above through their other columns."""
    machine, chains = job.machine, job.chains
    n, work, hi = machine.size[layer + 1], job.chains.scratch[b].reshape(-1), job.blocks[b, 0] + job.blocks[b, 1]
    for s in range(machine.wide[layer], machine.wide[layer + 1]):
        first, count = machine.span[s, 0], machine.span[s, 1]
        at, lo, most = machine.at[layer] + first * n, job.blocks[b, 0], max(1, work.size // (2 * (n + count)))
        W, W2 = segment(machine.W, at, count * n), segment(machine.W2, at, count * n)
        while lo < hi:
            rows = min(most, hi - lo)
            p, back = work[: rows * count], work[rows * count : 2 * rows * count]
            u = work[2 * rows * count : rows * (2 * count + n)]
            var = rows_of(chains, chains.var, layer + 1, lo, rows)
            _gather(chains, layer, first, count, lo, rows, False, p)
            multiply(p, W, rows, False, u)
            for j in range(u.size):
                u[j] *= var[j]
            multiply(u, W, rows, True, back)
            for k in range(rows):
                B = row_of(chains, chains.B, layer, lo + k)
                for a in range(count):
                    B[first + a] -= back[k * count + a]
            multiply(var, W2, rows, True, back)
            for k in range(rows):
                B = row_of(chains, chains.B, layer, lo + k)
                for a in range(count):
                    B[first + a] += back[k * count + a] * p[k * count + a]
            lo += rows


@scalar
def _send(job: Any, s: int, layer: int, other: int, k: int) -> None:
    """Take D of site `s` of a layer off what `other` has received."""
    machine, chains = job.machine, job.chains
    first, count = machine.span[s, 0], machine.span[s, 1]
    mean, A = row_of(chains, chains.mean, layer, k), row_of(chains, chains.A, other, k)
    if not _varies(row_of(chains, chains.var, layer, k), first, count):
        return
    begin, step, next_unit = _stride(machine, layer, other)
    for j in range(A.size):
        u, own = _sent(machine.W, begin + first * step + j * next_unit, step, mean, first, count)
        A[j] -= u * u - own


@scalar
def _receive(job: Any, s: int, layer: int, other: int, k: int) -> None:
    """Add to B of site `s` of a layer what it sent itself through the other columns."""
    machine, chains = job.machine, job.chains
    first, count = machine.span[s, 0], machine.span[s, 1]
    mean, B = row_of(chains, chains.mean, layer, k), row_of(chains, chains.B, layer, k)
    var = row_of(chains, chains.var, other, k)
    begin, step, next_unit = _stride(machine, layer, other)
    for j in range(var.size):
        at = begin + first * step + j * next_unit
        u, _ = _sent(machine.W, at, step, mean, first, count)
        for a in range(count):
            W = machine.W[at + a * step]
            B[first + a] -= var[j] * W * (u - W * mean[first + a])


@block_kernel
def exclusive_terms(i: int, job: Any) -> None:
    """Subtract from the free energy what is due to sites of a layer; i is block * layers + layer.

    It is ``-sum_j c_j D_j/4``: one half of the pair's term is in what the neighbour has, by its A.
    """
    machine, chains, layers = job.machine, job.chains, job.machine.size.size
    b, layer = i // layers, i % layers
    for k in range(job.blocks[b, 0], job.blocks[b, 0] + job.blocks[b, 1]):
        mean, own_var = row_of(chains, chains.mean, layer, k), row_of(chains, chains.var, layer, k)
        total = 0.0
        for other in range(max(layer - 1, 0), min(layer + 2, layers)):
            if other == layer:
                continue
            var = row_of(chains, chains.var, other, k)
            begin, step, next_unit = _stride(machine, layer, other)
            for s in range(machine.wide[layer], machine.wide[layer + 1]):
                first, count = machine.span[s, 0], machine.span[s, 1]
                if _varies(own_var, first, count):
                    for j in range(var.size):
                        at = begin + first * step + j * next_unit
                        u, own = _sent(machine.W, at, step, mean, first, count)
                        total += var[j] * (u * u - own)
        job.out[k] -= 0.25 * total


class _Slopes(NamedTuple):
    """Derivatives with the weights between a layer of such sites and a neighbour, site by site."""

    machine: Compiled
    chains: Layers
    layer: int
    other: int
    rows: int  # chains
    out: Array  # (n_lower n_upper,)


@block_kernel
def _slopes_of_site(i: int, job: _Slopes) -> None:
    machine, chains, layer, other = job.machine, job.chains, job.layer, job.other
    s = machine.wide[layer] + i
    first, count = machine.span[s, 0], machine.span[s, 1]
    begin, step, next_unit = _stride(machine, layer, other)
    for k in range(job.rows):
        mean, own_var = row_of(chains, chains.mean, layer, k), row_of(chains, chains.var, layer, k)
        var = row_of(chains, chains.var, other, k)
        if not _varies(own_var, first, count):
            continue
        for j in range(var.size):
            at = begin + first * step + j * next_unit
            u, _ = _sent(machine.W, at, step, mean, first, count)
            for a in range(count):
                p, W = mean[first + a], machine.W[at + a * step]
                job.out[at - begin + a * step] -= var[j] * p * (u - W * p) / job.rows


def _slopes_together(W: Array, span: NDArray[np.int64], mean: Array, var: Array, above: Array, out: Array) -> None:
    """The same for sites whose weights lie together, by matrix products: to `out` (n_l, n_{l+1})."""
    for first, count in span:
        own = slice(int(first), int(first + count))
        p = mean[:, own] * np.any(var[:, own], axis=1, keepdims=True)
        sent = product(p, W[own])
        out[own] = (W[own] * product((p * p).T, above) - product(p.T, above * sent)) / len(mean)


def exclusive_slopes(
    machine: Compiled, mean: tuple[Array, ...], var: tuple[Array, ...], order: int
) -> tuple[Array, ...]:
    """What covariances inside sites add to averages of ``a_i a_j + W c_i c_j`` over K chains, for each pair of layers.

    It is the average of ``-c_j p_a (u_j - W_aj p_a)``, (n_l, n_{l+1}); or no rows where there is none.
    """
    sizes, dtype = machine.size.tolist(), machine.values.dtype
    none = tuple(np.empty((0, n), dtype) for n in sizes[1:])
    if order < 2 or not machine.has_exclusive:
        return none
    state = empty_state(sizes, len(mean[0]), 1, dtype)
    for to, x in zip(state.mean + state.var, (*mean, *var), strict=True):
        to[:] = x
    made = []
    for pair in range(len(none)):
        layer = pair if machine.wide[pair] < machine.wide[pair + 1] else pair + 1
        sites = int(machine.wide[layer + 1] - machine.wide[layer])
        out = np.zeros((sizes[pair], sizes[pair + 1]), dtype)
        if layer == pair:
            own = machine.span[machine.wide[layer] : machine.wide[layer + 1]]
            _slopes_together(
                machine.weights[pair][0], own, state.mean[layer], state.var[layer], state.var[pair + 1], out
            )
            made.append(out if sites else none[pair])
            continue
        job = _Slopes(machine, state.flat, layer, 2 * pair + 1 - layer, len(mean[0]), out.reshape(-1))
        run_blocks(_slopes_of_site, sites, job)
        made.append(out if sites else none[pair])
    return tuple(made)
