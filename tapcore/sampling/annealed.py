"""Annealed importance sampling: ln Z with error bars, from below and from above (Neal, Stat. Comput. 11, 125, 2001)."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from tqdm import tqdm

from tapcore import _checks
from tapcore._jit import kernel, scalar
from tapcore._random import Stream
from tapcore._threads import for_each_block
from tapcore.fields import Couplings, State, add_fields
from tapcore.machine import Machine, check_machine
from tapcore.sampling.centre import means_given, pilot_means, set_centre
from tapcore.sampling.chains import GibbsChains, check_init, draw_parity, draw_tempered
from tapcore.units._sites import LOG_Z, Sites, layer_log_z

Array = NDArray[Any]

# Temperatures between two looks at the progress bar.
AT_ONCE = 50
# What streams of random numbers are for.
_PATH, _BACK, _STAY, _CHOICE = range(4)


class AnnealedEstimate(NamedTuple):
    """Estimate of ln Z.

    Attributes
    ----------
    log_z : float
        ln of the mean weight of the chains: in the long run too low, never too high, when forward; too high when
        reverse.
    standard_error : float
        From the spread of the weights. It knows nothing of parts of the law that no chain has seen.
    """

    log_z: float
    standard_error: float


def ais(
    machine: Machine,
    chains: int = 100,
    temperatures: int | ArrayLike = 1000,
    seed: int = 0,
    *,
    data: ArrayLike | None = None,
    reverse: bool = False,
    init: ArrayLike | None = None,
    progress: bool | None = None,
) -> AnnealedEstimate:
    """Estimate ln Z by annealed importance sampling.

    Chains go from independent units to the machine through intermediate laws, in which the couplings are scaled by
    beta about a centre x0, h0: ``exp(beta (x - x0) W (h - h0) + x W h0 + x0 W h - x0 W h0)`` times the units' weights.
    Every second layer is summed out of their weights. Forward, ``<weight> = Z/Z_0``: ln Z is estimated too low on
    average, by no more than some standard errors where these are small. Reverse, chains go from the machine to
    independent units, and ln Z is estimated too high, provided that the starts are samples of the machine: between
    the two lies a bracket, and where they differ by more than their errors more temperatures are needed.

    Parameters
    ----------
    machine : Machine
        Of any layers and units.
    chains : int
        Number of chains, at least 2.
    temperatures : int or (T,) array_like
        Steps of equal size in beta; or the betas, rising from above 0 to 1.
    seed : int
        At least 0. The result does not depend on the number of threads.
    data : (n, n_visible) array_like, optional
        Samples whose mean is the centre. None takes the means of short Gibbs chains.
    reverse : bool
        From the machine to independent units.
    init : (chains, n_visible) array_like, optional
        Samples of a machine of two layers that reverse chains start from, such as `sample` draws with `replicas`. None
        takes the ends of forward chains, drawn anew in proportion to their weights, after as many Gibbs sweeps as there
        are temperatures: good where forward chains reach all modes.
    progress : bool, optional
        Show a progress bar; None shows one when standard error is a terminal.

    Returns
    -------
    AnnealedEstimate
        ``(log_z, standard_error)``, in the convention of unnormalised weights; float64 for any machine.

    Raises
    ------
    ValueError
        An argument outside its range.
    """
    check_machine(machine)
    count = _checks.integer("chains", chains, minimum=2)
    betas = _schedule(temperatures)
    seed = _checks.integer("seed", seed, minimum=0)
    machine = machine.replace(dtype="float64")
    if init is not None and not reverse:
        raise ValueError("init is where reverse chains start: forward ones start from independent units")
    if init is not None and len(machine.layers) > 2:
        raise ValueError("init, visible samples, says too little of a machine of more than two layers: leave it out")
    starts = None if init is None else check_init(machine, init, count)
    hidden = None if progress is None else not progress
    total = len(betas) * (3 if reverse and starts is None else 1)
    with tqdm(total=total, unit="temperature", disable=hidden) as bar:
        path = _Path(machine, count, seed, data)
        if not reverse:
            return _estimate(path.log_z0, path.run(betas, seed, _PATH, bar), 1)
        if starts is None:
            path.to_machine(betas, seed, bar)
        else:
            path.gibbs.seed(seed, _STAY)
            path.gibbs.begin(starts)
        back = path.run(np.append(betas[::-1], 0.0)[1:], seed, _BACK, bar, first=1.0)
        return _estimate(path.log_z0, back, -1)


def _schedule(temperatures: Any) -> NDArray[np.float64]:
    if np.ndim(temperatures) == 0:
        steps = _checks.integer("temperatures", temperatures, minimum=1)
        return np.arange(1, steps + 1) / steps
    betas = _checks.real_array("temperatures", temperatures).astype(np.float64)
    if betas.ndim != 1 or not (np.diff(betas, prepend=0.0) > 0).all() or betas[-1] != 1.0:
        raise ValueError("temperatures must be a number of steps, or rise from above 0 to 1")
    return betas


def _estimate(log_z0: float, log_weights: Array, sign: int) -> AnnealedEstimate:
    """Ln Z from log-weights of Z over Z_0 (`sign` 1) or of Z_0 over Z (-1)."""
    top = log_weights.max()
    weights = np.exp(log_weights - top)
    mean = weights.mean()
    error = weights.std(ddof=1) / (np.sqrt(weights.size) * mean)
    return AnnealedEstimate(float(log_z0 + sign * (top + np.log(mean))), float(error))


class _Path:
    """Chains and the centre of the laws between independent units and the machine."""

    def __init__(self, machine: Machine, count: int, seed: int, data: ArrayLike | None) -> None:
        self.gibbs = GibbsChains(machine, count)
        self.means = pilot_means(self.gibbs, seed) if data is None else means_given(machine, data)
        self.log_z0 = set_centre(self.gibbs, machine, self.means)

    def run(
        self, betas: NDArray[np.float64], seed: int, stream: int, bar: Any, first: float = 0.0
    ) -> NDArray[np.float64]:
        """Log-weights of all chains after going from `first` through `betas`; at 0 they begin anew."""
        gibbs, log_weights = self.gibbs, np.zeros(self.gibbs.count)
        gibbs.sites.need(LOG_Z)
        gibbs.seed(seed, stream)
        gibbs.beta[:] = first
        if first == 0.0:
            gibbs.begin()
        schedule = np.concatenate([[first], betas])
        for start in range(0, len(betas), AT_ONCE):
            part = schedule[start : start + AT_ONCE + 1]
            for_each_block(
                _anneal, len(gibbs.blocks), gibbs.sites, gibbs.pair, gibbs.state, gibbs.words, gibbs.beta,
                gibbs.centre, self.means, gibbs.blocks, part, log_weights,
            )  # fmt: skip
            bar.update(len(part) - 1)
        gibbs.beta[:] = 1.0
        return log_weights

    def to_machine(self, betas: NDArray[np.float64], seed: int, bar: Any) -> None:
        """Take all chains to the machine: by weights at the ends of forward chains, then by Gibbs sweeps."""
        self._resample(self.run(betas, seed, _PATH, bar), seed)
        for first in range(0, len(betas), AT_ONCE):
            sweeps = min(AT_ONCE, len(betas) - first)
            self.gibbs.sweep(sweeps)
            bar.update(sweeps)

    def _resample(self, log_weights: NDArray[np.float64], seed: int) -> None:
        """Draw all chains anew in proportion to their weights, evenly spaced."""
        gibbs = self.gibbs
        gibbs.seed(seed, _STAY)
        share = np.cumsum(np.exp(log_weights - log_weights.max()))
        offset = np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(_CHOICE,))).random()
        at = (np.arange(gibbs.count) + offset) / gibbs.count
        rows = np.minimum(np.searchsorted(share / share[-1], at), gibbs.count - 1)
        for x in gibbs.state.mean:
            x[:] = x[rows]


@kernel()
def _anneal(
    b: int, sites: Sites, pair: Couplings, state: State, words: Stream, beta: Array, centre: tuple[Array, ...],
    means: tuple[Array, ...], blocks: NDArray[np.int64], schedule: Array, log_weights: Array,
) -> None:  # fmt: skip
    """Go through the schedule: at each step the weight of the change of beta, then a sweep at the new one."""
    lo, hi = blocks[b, 0], blocks[b, 0] + blocks[b, 1]
    for t in range(1, schedule.size):
        before, after = schedule[t - 1], schedule[t]
        for layer in range(1, len(state.mean), 2):
            add_fields(pair, state, layer, lo, hi, False)
            for k in range(lo, hi):
                B, A = state.B[layer][k], state.A[layer][k]
                log_weights[k] += _change(sites, layer, B, A, centre[layer], means[layer], state.rows[b], before, after)
                beta[k] = after
            draw_tempered(sites, state, words, beta, centre, layer, lo, hi)
        draw_parity(sites, pair, state, words, beta, centre, 0, lo, hi)


@scalar
def _change(
    sites: Sites, layer: int, fields: Array, A: Array, centre: Array, means: Array, rows: Array, before: float,
    after: float,
) -> float:  # fmt: skip
    """How ln of the weight of the even layers, a layer summed out, changes from one beta to another.

    ``sum_j [ln Z_j((1 - beta) x0 W + beta x W) - beta (x W - x0 W) h0]``, `fields` being x W.
    """
    total = 0.0
    tempered, log_z = rows[0, : fields.size], rows[1, : fields.size]
    for beta, sign in ((before, -1.0), (after, 1.0)):
        for i in range(fields.size):
            change = beta * (fields[i] - centre[i])
            tempered[i] = centre[i] + change
            total -= sign * change * means[i]
        layer_log_z(sites, layer, tempered, A, log_z)
        for i in range(fields.size):
            total += sign * log_z[i]
    return total
