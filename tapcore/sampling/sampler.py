"""Samples by block Gibbs sampling: alone, with replica exchange, or along a training run."""

from __future__ import annotations

import math
import os
import warnings
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from tqdm import tqdm

from tapcore._base import checks, footprint
from tapcore.machine import Machine, check_machine
from tapcore.sampling.gibbs_chains import GibbsChains, chain_bytes, check_init, check_proper
from tapcore.sampling.replicas import HARDLY, TELLING, ReplicaExchange
from tapcore.sampling.trajectory import TrajectoryTempering
from tapcore.storage.machines import load

Array = NDArray[Any]

# Sweeps between two looks at the progress bar.
AT_ONCE = 50
# Most ladders along a run; each gives a sample, and another one after so many autocorrelation times.
_LADDERS, _APART = 100, 2
# Random numbers that draw starts from data.
_DATA = 3000


class GibbsSampler:
    """Markov chains of block Gibbs sampling: each sweep draws every even layer, then every odd one.

    Parameters
    ----------
    machine : Machine
        Of any layers and units; sampled in its dtype.
    chains : int
        Number of chains K.
    init : (K, n_visible) array_like, optional
        Visible values to start from. None draws every unit on its own, as if there were no couplings.
    seed : int
        At least 0. Chain k draws from a stream of its own: what it becomes depends neither on K nor on the number of
        threads.

    Raises
    ------
    ValueError
        `init` of the wrong shape or outside the support; another argument outside its range; a machine whose Z is
        infinite.
    """

    def __init__(self, machine: Machine, chains: int, *, init: ArrayLike | None = None, seed: int = 0) -> None:
        check_machine(machine)
        count = checks.integer("chains", chains, minimum=1)
        seed = checks.integer("seed", seed, minimum=0)
        starts = None if init is None else check_init(machine, init, count)
        check_proper(machine)
        self.machine = machine
        self._chains = GibbsChains(machine, count)
        self._chains.seed(seed)
        self._chains.begin(starts)

    def sweep(self, sweeps: int = 1) -> None:
        """Draw all layers so many times.

        Parameters
        ----------
        sweeps : int
            At least 0.

        Raises
        ------
        ValueError
            `sweeps` below 0, or no whole number.
        """
        self._chains.sweep(checks.integer("sweeps", sweeps, minimum=0))

    @property
    def layers(self) -> tuple[Array, ...]:
        """Copies of the values of all layers, (K, n_l); NaN where a unit has no law, as for precisions below 0."""
        return tuple(x.copy() for x in self._chains.state.mean)


def check_memory(machine: Machine, name: str, n: int, replicas: int) -> None:
    """Refuse, as the argument `name`, more samples than there is memory for."""
    wide = machine if replicas == 1 else machine.replace(dtype="float64")
    said = n if replicas == 1 else f"{n} x {replicas} replicas"
    footprint.check(name, said, n * replicas * chain_bytes(wide))


def sample(
    machine: Machine | str | os.PathLike[str],
    n: int,
    *,
    init: ArrayLike | None = None,
    data: ArrayLike | None = None,
    sweeps: int = 1000,
    replicas: int = 1,
    seed: int = 0,
    progress: bool | None = None,
) -> Array:
    """Draw visible samples, each the end of a Markov chain of its own.

    Parameters
    ----------
    machine : Machine or path
        Of any layers and units. Of a path, the folder of a training run, it is the machine that `load` reads there: its
        samples are at equilibrium where chains find their way through the checkpoints (`TrajectoryTempering`).
    n : int
        Number of samples.
    init : (n, n_visible) array_like, optional
        Visible values that chains start from. None takes rows of `data`; without those every unit is drawn on its own,
        as if there were no couplings.
    data : (m, n_visible) array_like, optional
        Samples, such as those that the machine was trained on: chains start from n of them, drawn with replacement;
        with `replicas` or a run, modes are sought from them too.
    sweeps : int
        Sweeps of block Gibbs sampling of each chain. Samples are of the machine's law only if chains forget their
        starts in so many, as those of machines with well separated modes do not. Of a run, sweeps of all ladders before
        the first sample is taken of each: they are 100 at most, and taken again after two autocorrelation times.
    replicas : int
        Above 1, each sample comes from as many replicas, between independent units in all modes that are found and the
        machine, that try to change places with their neighbours after each sweep (`ReplicaExchange`): chains then
        cross between modes.
    seed : int
        At least 0. Sample k depends neither on n, but for `replicas`, nor on the number of threads.
    progress : bool, optional
        Show a progress bar; None shows one when standard error is a terminal.

    Returns
    -------
    (n, n_visible) array
        In the machine's dtype, float64 with `replicas` or of a run. NaN in a chain that came upon a unit without a law,
        such as one of negative precision on the whole line.

    Raises
    ------
    ValueError
        `init` or `data` of the wrong shape or outside the support; another argument outside its range; a machine whose
        Z is infinite; `init` or `replicas` with a run; and of a run, as `TrajectoryTempering`.
    FileNotFoundError
        No such file, or a folder without checkpoints.

    Warns
    -----
    UserWarning
        Two neighbours among the replicas hardly ever change places: more replicas are needed. Of a run: hardly any
        value has gone from independent units to the last machine and back, or sweeps were fewer than ten
        autocorrelation times.
    """
    n = checks.integer("n", n, minimum=1)
    sweeps = checks.integer("sweeps", sweeps, minimum=0)
    replicas = checks.integer("replicas", replicas, minimum=1)
    if isinstance(machine, str | os.PathLike):
        for name, given in (("init", init is not None), ("replicas", replicas > 1)):
            if given:
                raise ValueError(f"{name} is for a machine: chains of a run start from independent units")
        return along_run(machine, n, data, sweeps, seed, progress)[0]
    check_machine(machine)
    check_memory(machine, "n", n, replicas)
    if init is None and data is not None:
        init = _drawn(machine, data, n, seed)
    make: Any = GibbsSampler if replicas == 1 else partial(ReplicaExchange, betas=replicas, data=data)
    chains = make(machine, n, init=init, seed=seed)
    with tqdm(total=sweeps, unit="sweep", disable=None if progress is None else not progress) as bar:
        for first in range(0, sweeps, AT_ONCE):
            part = min(AT_ONCE, sweeps - first)
            chains.sweep(part)
            bar.update(part)
    if replicas > 1 and sweeps >= TELLING and (least := float(chains.acceptance.min())) < HARDLY:
        warnings.warn(
            f"sample: of {replicas} replicas two neighbours changed places in {least:.1%} of the tries: chains may not "
            "have crossed between modes; take more replicas",
            stacklevel=2,
        )
    return np.asarray(chains.layers[0])


def along_run(
    run: str | os.PathLike[str], n: int, data: ArrayLike | None, sweeps: int, seed: int, progress: bool | None
) -> tuple[Array, TrajectoryTempering]:
    """Samples of the last machine of a run, and the ladders along it that they come from; arguments as of `sample`."""
    columns = load(run).layers[0].columns
    footprint.check("n", n, 8 * n * columns)
    ladders = TrajectoryTempering(run, max(2, min(n, _LADDERS)), seed=seed, data=data)
    x = np.empty((n, columns))
    with tqdm(total=sweeps, unit="sweep", disable=None if progress is None else not progress) as bar:
        for first in range(0, n, _LADDERS):
            if first > 0:
                time = ladders.autocorrelation
                sweeps = math.ceil(_APART * time) if math.isfinite(time) else 1
                bar.total += sweeps
            for begun in range(0, sweeps, AT_ONCE):
                part = min(AT_ONCE, sweeps - begun)
                ladders.sweep(part)
                bar.update(part)
            x[first : first + _LADDERS] = ladders.layers[0][: n - first]
    if ladders.doubts:
        warnings.warn(
            f"sample: samples may not be at equilibrium: {'; '.join(ladders.doubts)}; take more sweeps", stacklevel=3
        )
    return x, ladders


def _drawn(machine: Machine, data: ArrayLike, n: int, seed: int) -> Array:
    """`n` of the samples, drawn with replacement."""
    samples = machine.layers[0].samples("data", data)
    rng = np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(_DATA,)))
    return np.asarray(samples[rng.integers(0, len(samples), n)])
