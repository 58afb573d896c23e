"""Data held out of training: which rows, how they are scored against, and the epoch that was best by them."""

from __future__ import annotations

import contextlib
from numbers import Real
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from tapcore._base import checks
from tapcore.inference.pinning import few_hidden, two_states
from tapcore.machine import Machine
from tapcore.training.coordinates import Coordinates
from tapcore.training.history import EpochRecord, History, draw_sample
from tapcore.training.plan import fingerprint
from tapcore.units import Unit

Array = NDArray[Any]

# Key of their stream of random numbers, apart from those of trainers.
_HELD_OUT = 2000


class HeldOut(NamedTuple):
    """Rows held out.

    Attributes
    ----------
    rows : (n, n_visible) array
        Those that are scored, a sample of all.
    fingerprint : str
        Of all of them, by which a resumed run is known to have the same.
    """

    rows: Array
    fingerprint: str

    def inside(self, coordinates: Coordinates, visible: Unit) -> HeldOut:
        """The same rows in standard coordinates, for the visible layer of the data's own."""
        return self._replace(rows=coordinates.rows(self.rows, visible)[:])


def held_out(X: Array, validation: Any, visible: Unit, seed: int) -> tuple[Array, HeldOut | None]:
    """Rows to train on and rows held out.

    Parameters
    ----------
    X : (n, n_visible) array
        Checked samples.
    validation : float or (m, n_visible) array_like, optional
        As for `fit`.
    visible : Unit
        In whose support rows must be.
    seed : int
        Of what is drawn.

    Returns
    -------
    (samples, held) : array, HeldOut or None
        `X` itself unless some of its rows are taken out.

    Raises
    ------
    ValueError
        `validation` is out of range, or no samples as `X` is.
    """
    if validation is None:
        return X, None
    if isinstance(validation, Real | str) or (isinstance(validation, np.ndarray) and validation.ndim == 0):
        held = drawn_out(len(X), validation, seed)
        samples, rows = X[~held], X[held]
    else:
        samples, rows = X, visible.samples("validation", validation)
    return samples, HeldOut(draw_sample(rows, _stream(seed, 1)), fingerprint(rows))


def drawn_out(samples: int, share: Any, seed: int) -> NDArray[np.bool_]:
    """Which of so many samples are held out: a share of them, one at least and not all."""
    value = 0.0
    with contextlib.suppress(ValueError):  # this one says more
        value = checks.number("validation", share, minimum=0, below=1)
    if not value:
        raise ValueError(f"validation must be samples, or a share of those in X above 0 and below 1, got {share!r}")
    if samples < 2:
        raise ValueError("validation cannot be a share of X, which has one row only")
    count = min(samples - 1, max(1, round(value * samples)))
    held = np.zeros(samples, np.bool_)
    held[_stream(seed, 0).permutation(samples)[:count]] = True
    return held


def _stream(seed: int, key: int) -> np.random.Generator:
    return np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(_HELD_OUT, key)))


def best_of(history: History) -> EpochRecord | None:
    """The record of the best held-out score, the first of equals; None where none has one."""
    # The TAP log-likelihood by the uniform average of F, since it is highest where the exact one is, by annealed
    # importance sampling (100 chains, 1000 temperatures, errors of 0.15 to 0.6 nats). Of 500 binary MNIST images,
    # 784x100, 1,000 images held out, 100 epochs with `patience`, in nats an image at epochs 20, 25, 30, 35, 40, 45, 60,
    # 100:
    #   annealed               -122.5  -121.8  -119.7  -118.8  -119.3  -119.6  -119.5  -121.5
    #   TAP, uniform average   -115.1  -113.3  -112.4  -111.6  -111.6  -111.7  -112.2  -112.6   best up to 50: 38
    #   TAP, all solutions     -120.3  -118.1  -117.3  -116.9  -116.9  -118.0  -117.4  -119.6
    #   pseudo-log-likelihood  -106.0  -103.5  -102.1  -101.3  -100.9  -100.7  -100.6  -101.4   late
    # These are averages of the machine over batches (`Average`). The machine that takes the steps scores 4 to 16 nats
    # less by TAP at epochs 35 to 45, 11 to 17 by annealing, and jumps by up to 10 from one to the next. From other
    # starts of its chains a machine's score changes by 1 to 2 nats, an average's by 0.3: it is the machine that jumps.
    # All solutions, weighted by exp(-F), come closer, but one chain that does not converge may carry all the weight:
    # of machines that take the steps, with epochs=1000, that costs 35 to 80 nats at some epochs past 110.
    # Where hidden units are few, weights become so large that the equations fall behind: exact log-likelihoods held out
    # rise to the end, TAP's best is long before, and pseudo-likelihood follows them. Digits, 64x16 and 64x64, nats a
    # sample at epochs 4, 8, 16, 32, 64 and 100, without an end:
    #   64x16, exact           -20.1   -19.0   -18.5   -18.4   -18.3   -18.1
    #   TAP, uniform average   -18.9   -18.4   -19.3   -20.4   -21.1   -21.4   best: 7
    #   pseudo-log-likelihood  -17.7   -16.2   -15.8   -15.6   -15.5   -15.3
    #   64x64, TAP             -16.0   -14.6   -14.4   -15.4   -16.9   -17.4   best: 12 (annealed -17.8, at last -15.7)
    #   pseudo-log-likelihood  -16.1   -14.4   -13.4   -12.9   -12.7   -12.6
    # With `patience` of 3, 5 and 10 the exact ones of 64x16 are all -18.4, where TAP's score led to -19.1.
    for name in ("pseudo", "validation"):
        scored = [record for record in history if np.isfinite(getattr(record, name))]
        if scored:
            return max(scored, key=lambda record: getattr(record, name))
    return None


def by_sites(machine: Machine) -> bool:
    """Whether pseudo-likelihood tells the best epoch: of two layers of two-state units, of which few are hidden."""
    return len(machine.layers) == 2 and two_states(machine) and few_hidden(machine)
