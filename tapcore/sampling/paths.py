"""Chains on their way between independent units and the machine, and the weights that the way gives them."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from tapcore._base.blocks import block_kernel, run_blocks
from tapcore._base.jit import scalar
from tapcore._base.random import Stream
from tapcore.equations.compiled import Compiled
from tapcore.equations.fields import add_fields
from tapcore.equations.layers import Layers, row_of
from tapcore.machine import Machine
from tapcore.sampling.centres import Centres, centres_of
from tapcore.sampling.gibbs_chains import GibbsChains, Tempered, centre_of, draw_parity, draw_tempered
from tapcore.sampling.modes import NEGLIGIBLE, find_modes
from tapcore.units.sites import LOG_Z, layer_log_z

Array = NDArray[Any]

# Temperatures between two looks at the progress bar.
AT_ONCE = 50
# Most short runs that tell what share of Z each centre stands for; their chains for each of them, most chains, and
# temperatures.
_PILOTS, _PILOT_CHAINS, _PILOT_MOST, _PILOT_STEPS = 3, 24, 512, 100
# Centres whose chains end elsewhere in such a part are of one group.
_MIX = 0.1
# Up to so many centres samples are annealed back to all of them.
EVERY = 16
# Random numbers of the short run, and of the centres that samples are annealed back to.
_PILOT, _DRAWN = 1002, 1003


class Paths:
    """K chains and what they need to anneal.

    The machine's law P is shared out among the centres: ``P(x) = sum_k r_k(x) P(x)``, r_k the responsibilities. A chain
    of centre k goes between the law of independent units there and ``r_k P``, so that it need not visit what belongs to
    other centres, and nothing counts twice.

    Attributes
    ----------
    gibbs : GibbsChains
    centres : Centres
    chosen : (C,) array
        ln of the probability with which each centre has been given to a chain.
    """

    def __init__(self, machine: Machine, count: int, centres: Centres) -> None:
        self.machine, self.centres = machine, centres
        self.gibbs = GibbsChains(machine, count)
        self.gibbs.at = centres.tempered(count)
        self.gibbs.own.sites.need(LOG_Z)
        share = np.exp(centres.log_share)
        # No centre without chains, should its share have been misjudged.
        self.chosen = np.log(0.9 * share + 0.1 / len(share))

    def deal(self, rng: np.random.Generator) -> None:
        """Give each chain a centre, in as even a number as probabilities allow."""
        count = self.gibbs.count
        at = (np.arange(count) + rng.random()) / count
        ends = np.cumsum(np.exp(self.chosen))
        self.gibbs.at.label[:] = np.minimum(np.searchsorted(ends / ends[-1], at, side="right"), len(ends) - 1)

    def forward(self, betas: NDArray[np.float64], bar: Any) -> NDArray[np.float64]:
        """Ln of each chain's weight, of average Z, from independent units through `betas` to the machine."""
        gibbs, label = self.gibbs, self.gibbs.at.label
        gibbs.at.beta[:] = 0.0
        gibbs.begin()
        steps = self.follow(np.append(0.0, betas), bar)
        return self.centres.log_z0[label] + steps + self.own()[np.arange(gibbs.count), label] - self.chosen[label]

    def shares(self, log_weights: NDArray[np.float64]) -> Shares:
        """What forward chains of these weights say of the centres."""
        label, C = self.gibbs.at.label, len(self.chosen)
        top = log_weights.max()
        logs = log_weights + self.chosen[label] - top
        number = np.bincount(label, minlength=C)
        mean = np.bincount(label, np.exp(logs), C) / np.maximum(number, 1)
        square = np.bincount(label, np.exp(2 * logs), C) / np.maximum(number, 1)
        at_home = np.bincount(label, np.exp(self.own()[np.arange(label.size), label]), C)
        known = (number > 0) & (mean > 0) & (at_home >= 0.5 * number)
        # A centre that most chains left, or that had none, keeps what it was thought to have.
        share = np.where(known, mean, np.exp(self.centres.log_share) * mean.sum())
        log_share = np.log(np.maximum(share, share.max() * np.exp(-NEGLIGIBLE)))
        # The spread of few weights says little of how rare large ones are.
        spread = np.sqrt(np.maximum(square - mean * mean, 0.0)) / np.where(known, mean, 1.0)
        error = np.where(known, np.hypot(spread, 1.0) / np.sqrt(np.maximum(number, 1)), 1.0)
        # Shares add up to 1: that of the largest is known by the others.
        part, first = np.exp(log_share - log_share.max()), int(np.argmax(log_share))
        others = np.arange(C) != first
        error[first] = min(float(np.sqrt(((part * error)[others] ** 2).sum())), 1.0)
        return Shares(log_share, error)

    def own(self) -> NDArray[np.float64]:
        """Ln of the responsibilities of all centres for where chains are."""
        return self.centres.responsibilities(self.gibbs.state.mean[::2], self.machine)

    def follow(self, schedule: NDArray[np.float64], bar: Any) -> NDArray[np.float64]:
        """Ln of the weights that the steps of beta give, from the first one of the schedule to the last."""
        gibbs, log_weights = self.gibbs, np.zeros(self.gibbs.count)
        gibbs.at.beta[:] = schedule[0]
        means = np.concatenate([x.ravel() for x in self.centres.means])
        for start in range(0, len(schedule) - 1, AT_ONCE):
            part = schedule[start : start + AT_ONCE + 1]
            job = _Anneal(gibbs.own, gibbs.state.flat, gibbs.words, gibbs.at, means, gibbs.blocks, part, log_weights)
            run_blocks(_anneal, len(gibbs.blocks), job)
            bar.update(len(part) - 1)
        return log_weights


class Shares(NamedTuple):
    """What part of Z each centre stands for, as the weights of forward chains have it."""

    log_share: NDArray[np.float64]  # (C,) ln, up to a constant
    error: NDArray[np.float64]  # (C,) relative errors


def settled_centres(machine: Machine, seed: int, rows: Array | None = None) -> tuple[Centres, Shares]:
    """Centres of a float64 machine, and the share of Z that each stands for, as short annealing runs find them.

    `rows` are visible means from which modes are sought too.
    """
    modes = find_modes(machine, seed, rows)
    part, log_mode = np.arange(len(modes.bound)), modes.bound
    for run in range(_PILOTS):
        centres = centres_of(machine, modes, log_mode, part)
        count = len(centres.log_z0)
        if count == 1:
            return centres, Shares(np.zeros(1), np.zeros(1))
        paths = Paths(machine, max(2 * count, min(_PILOT_CHAINS * count, _PILOT_MOST)), centres)
        paths.chosen[:] = -np.log(count)
        paths.deal(np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(_PILOT, run))))
        paths.gibbs.seed(seed, _PILOT, run)
        with tqdm(disable=True) as bar:
            shares = paths.shares(paths.forward(np.arange(1, _PILOT_STEPS + 1) / _PILOT_STEPS, bar))
        centres = centres.with_shares(shares.log_share)
        groups = _that_mix(paths)
        if groups.max() + 1 == count:
            break
        log_mode, part = centres.log_mode, groups[part]
    return centres, shares


def _that_mix(paths: Paths) -> NDArray[np.int64]:
    """Number of the group of each centre: chains of either of two often end where the other one is responsible."""
    from scipy.sparse.csgraph import connected_components  # not before: half as long to load as all of NumPy

    own, label = np.exp(paths.own()), paths.gibbs.at.label
    count = own.shape[1]
    ends = np.array([own[label == k].mean(axis=0) if (label == k).any() else np.zeros(count) for k in range(count)])
    return np.asarray(connected_components(np.minimum(ends, ends.T) > _MIX, directed=False)[1], np.int64)


def backward(
    machine: Machine, centres: Centres, chosen: Array, layers: tuple[Array, ...], betas: NDArray[np.float64],
    seed: tuple[int, ...], bar: Any,
) -> NDArray[np.float64]:  # fmt: skip
    """Ln of weights of average 1/Z, of samples of the machine whose values of even layers are `layers`, (K, n_l) each.

    Chains go from each sample to the independent units of every centre, and count with the probabilities of `chosen`,
    (C,) logs; of more than `EVERY` centres one is drawn for each sample, more evenly than by responsibilities, since a
    chain may end at a centre that is little responsible for where it came from.
    """
    K, C = len(layers[0]), len(chosen)
    drawn = C > EVERY
    paths = Paths(machine, K if drawn else K * C, centres)
    paths.gibbs.seed(*seed)
    label = paths.gibbs.at.label
    for to, x in zip(paths.gibbs.state.mean[::2], layers, strict=True):
        to[:] = x if drawn else np.repeat(x, C, axis=0)
    odds = np.zeros(len(label))
    if drawn:
        rng = np.random.default_rng(np.random.SeedSequence(seed[0], spawn_key=(_DRAWN,)))
        even = np.exp(0.5 * centres.responsibilities(layers, machine))
        probability = 0.9 * even / even.sum(axis=1, keepdims=True) + 0.1 / C
        ends = probability.cumsum(axis=1)
        label[:] = np.minimum((rng.random((K, 1)) * ends[:, -1:] >= ends).sum(axis=1), C - 1)
        odds[:] = np.log(probability[np.arange(K), label])
    else:
        label[:] = np.tile(np.arange(C), K)
    logs = paths.follow(np.append(betas[::-1], 0.0), bar) - centres.log_z0[label] + chosen[label] - odds
    return logs if drawn else np.logaddexp.reduce(logs.reshape(K, C), axis=1)


class _Anneal(NamedTuple):
    """Blocks of chains on their way through a schedule of inverse temperatures."""

    machine: Compiled
    chains: Layers
    words: Stream
    at: Tempered
    means: Array  # of the centres, laid out as `at.fields`
    blocks: NDArray[np.int64]  # (blocks, 2) first row and rows
    schedule: Array
    log_weights: NDArray[np.float64]  # (K,) to be added to


@block_kernel
def _anneal(b: int, job: _Anneal) -> None:
    """Go through the schedule: at each step the weight of the change of beta, then a sweep at the new one."""
    lo, count = job.blocks[b, 0], job.blocks[b, 1]
    for t in range(1, job.schedule.size):
        before, after = job.schedule[t - 1], job.schedule[t]
        for layer in range(1, job.machine.size.size, 2):
            add_fields(job.machine, job.chains, layer, lo, count, False)
            for k in range(lo, lo + count):
                job.log_weights[k] += _change(job, b, layer, k, before, after)
                job.at.beta[k] = after
            draw_tempered(job, layer, lo, count)
        draw_parity(job, 0, lo, count)


@scalar
def _change(job: _Anneal, b: int, layer: int, k: int, before: float, after: float) -> float:
    """How ln of the weight of chain k's even layers, a layer summed out, changes from one beta to another.

    ``sum_j [ln Z_j((1 - beta) x0 W + beta x W) - beta (x W - x0 W) h0]``; the layer's B is x W.
    """
    fields, A = row_of(job.chains, job.chains.B, layer, k), row_of(job.chains, job.chains.A, layer, k)
    centre, means = centre_of(job, job.at.fields, layer, k), centre_of(job, job.means, layer, k)
    total = 0.0
    tempered, log_z = job.chains.scratch[b, 0, : fields.size], job.chains.scratch[b, 1, : fields.size]
    for beta, sign in ((before, -1.0), (after, 1.0)):
        for i in range(fields.size):
            change = beta * (fields[i] - centre[i])
            tempered[i] = centre[i] + change
            total -= sign * change * means[i]
        layer_log_z(job.machine, layer, tempered, A, log_z)
        for i in range(fields.size):
            total += sign * log_z[i]
    return total
