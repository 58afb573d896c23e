"""A machine as a prior: posterior means of a noisy signal, and the baselines and scores to compare them with."""

from __future__ import annotations

import warnings
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from tapcore._base import checks, footprint
from tapcore.inference.methods import names
from tapcore.inference.outside import Clamped, checked_fields
from tapcore.inference.pinning import MOST_PINNING, posterior_ratio, two_states
from tapcore.inference.solution import Solutions
from tapcore.inference.solve import solve
from tapcore.machine import Machine, check_machine
from tapcore.priors.channels import Channel, check_layer
from tapcore.priors.neighbours import average, nearest
from tapcore.priors.pinned import check_room, pinned_moments
from tapcore.units import Unit

Array = NDArray[Any]

# Observations taken at a time.
ROWS = 1024


class Posterior(NamedTuple):
    """What is known of signals after they have been observed.

    Attributes
    ----------
    mean, var : (K, n_visible) array
        Posterior means and variances.
    free_energy : (K,) float64 array
        Of the solution of least free energy that was found: -ln of the evidence, but for a constant.
    converged : (K,) bool array
        Whether every solution used has.
    """

    mean: Array
    var: Array
    free_energy: NDArray[np.float64]
    converged: NDArray[np.bool_]


def denoise(machine: Machine, Y: ArrayLike, channel: Channel, **options: Any) -> Array:
    """Posterior means of signals seen through a noisy channel, a trained machine being their prior (Sec. VII.4).

    Parameters
    ----------
    machine : Machine
    Y : (K, n_visible) array_like
        Observations.
    channel : BinarySymmetric, Erasure or GaussianNoise
        What happened to the signals.
    **options
        As for `posterior`.

    Returns
    -------
    (K, n_visible) array
        ``E[x | y]``. Round it for an estimate of two-state signals with the fewest wrong units.

    Raises
    ------
    ValueError
        As `posterior`.
    """
    return posterior(machine, Y, channel, **options).mean


def posterior(
    machine: Machine,
    Y: ArrayLike,
    channel: Channel,
    *,
    prior: Unit | None = None,
    pinning: float | None = None,
    starts: int | None = None,
    combine: str = "mean",
    method: str = "tap",
    damping: float | None = None,
    tol: float = 1e-6,
    max_sweeps: int = 10_000,
    seed: int = 0,
) -> Posterior:
    """Posterior means and variances of signals seen through a noisy channel (Eq. 44), by TAP.

    What the channel says of each visible unit joins the machine's weights, and the TAP equations of the sum are solved
    from the pointwise optimum (Eq. 45), what `prior` alone would make of the observation. Where noise is strong there
    are many solutions, and the equations do not know how much each counts. For machines of two-state units chains whose
    hidden units are measured (`pinning`) therefore move between solutions, and averages are over samples from there on.

    Parameters
    ----------
    machine : Machine
        The prior of the signals.
    Y : (K, n_visible) array_like
        Observations.
    channel : BinarySymmetric, Erasure or GaussianNoise
        What happened to the signals.
    prior : Unit, optional
        Independent units fitted to the data, as ``type(machine.layers[0]).from_data(X)``, for the first starting point.
        None is the visible layer in the fields that hidden units send where each is on its own.
    pinning : float, optional
        Ratio of signal to noise of the measurements of each hidden unit, as in `fit`, at most 1e6; 0 takes solutions
        themselves. None is 3, or 0.75 where hidden units are `Spin`, times ``sqrt(100/n)`` for n > 100 hidden units,
        where all units have two states, else 0.
    starts : int, optional
        With `pinning`, chains for each observation, which begin at values drawn with the probabilities of the pointwise
        optimum; None is 20. Else starting points: the pointwise optimum, then such values; None is 5.
    combine : {"mean", "best"}
        Without `pinning`: the average over all distinct solutions with weights ``exp(-F)``, or that of least free
        energy.
    method, damping, tol, max_sweeps
        As for `solve`, a method of sweeps.
    seed : int
        Of drawn starting points and measurements.

    Returns
    -------
    Posterior
        With `pinning`, free energy and convergence are those of the solution found from the pointwise optimum; and
        random numbers of an observation are others where there are other observations beside it.

    Raises
    ------
    ValueError
        A channel that the visible units cannot take; observations that it cannot yield; a mask or variances of the
        wrong shape; a prior of another type or size; another argument outside its range.

    Warns
    -----
    UserWarning
        Observations for which nothing was found; their rows are NaN.
    """
    check_machine(machine)
    visible = machine.layers[0]
    observations = _observations(visible, Y, channel)
    prior = _prior(machine, prior)
    pinning = _pinning(machine, pinning, combine)
    starts = checks.integer("starts", (20 if pinning else 5) if starts is None else starts, minimum=1)
    if pinning:
        check_room(machine, starts, len(observations))
    else:
        # Each start of the observations taken at a time, and the solutions from it.
        at_once = min(len(observations), ROWS)
        each = footprint.per_row((visible.columns,)) + 4 * footprint.per_row(machine.sizes, machine.dtype)
        footprint.check("starts", starts, starts * at_once * each)
    checks.choice("method", method, names(lambda m: m.fields))
    rng = np.random.default_rng(checks.integer("seed", seed, minimum=0))
    entry = channel.entry(visible, observations)
    parts = []
    for first in range(0, len(observations), ROWS):
        rows = slice(first, first + ROWS)
        part = _rows_of(entry, rows)
        fields = [part, *[None] * (len(machine.layers) - 1)]
        begin = pointwise_moments(prior, part, len(observations[rows]))[0]
        found = [
            solve(machine, at, method=method, damping=damping, tol=tol, max_sweeps=max_sweeps, fields=fields)
            for at in _starting_points(visible, begin, 1 if pinning else starts, rng)
        ]
        combined = _combined(found, combine)
        if pinning:
            given = tuple(arrays[0] for arrays in checked_fields(machine, fields, len(begin)))
            moments = pinned_moments(
                machine, given, begin, chains=starts, ratio=pinning, method=method, damping=damping, rng=rng
            )
            combined = (*moments, *combined[2:])
        parts.append((*(x.astype(machine.dtype) for x in combined[:2]), *combined[2:]))
    result = Posterior(*(np.concatenate(columns) for columns in zip(*parts, strict=True)))
    if lost := int(np.isnan(result.mean).any(axis=1).sum()):
        warnings.warn(
            f"posterior: {lost} of {len(result.mean)} observations have no posterior that was found, and NaN for it: "
            "the machine's weights may have no finite Z, or what was observed is out of all proportion",
            stacklevel=2,
        )
    return result


def _pinning(machine: Machine, ratio: float | None, combine: str) -> float:
    checks.choice("combine", combine, ("mean", "best"))
    if ratio is None:
        return posterior_ratio(machine) if two_states(machine) and combine == "mean" else 0.0
    ratio = checks.number("pinning", ratio, minimum=0.0, maximum=MOST_PINNING)
    if ratio and combine == "best":
        raise ValueError("combine='best' takes one solution, without pinning: pinning must be 0 or left out")
    return ratio


def pointwise(prior: Unit, Y: ArrayLike, channel: Channel) -> Array:
    """Pointwise optimum: posterior means where the prior is one of independent units (Eq. 45).

    Parameters
    ----------
    prior : Unit
        As fitted to data by ``from_data``.
    Y : (K, n) array_like
    channel : BinarySymmetric, Erasure or GaussianNoise

    Returns
    -------
    (K, n) array

    Raises
    ------
    ValueError
        As `posterior`.
    """
    check_layer("prior", prior)
    observations = _observations(prior, Y, channel)
    return pointwise_moments(prior, channel.entry(prior, observations), len(observations))[0]


def pointwise_moments(prior: Unit, entry: Any, count: int) -> tuple[Array, Array]:
    """Means and variances of units on their own, with what a channel says of them."""
    shape = count, prior.columns
    if isinstance(entry, Clamped):
        where = np.broadcast_to(entry.where, shape)
        _, mean, var = prior.moments(np.zeros(shape), 0.0)
        return np.where(where, entry.values, mean), np.where(where, 0.0, var)
    _, mean, var = prior.moments(*(np.broadcast_to(x, shape) for x in entry))
    return mean, var


def nearest_neighbours(X: ArrayLike, Y: ArrayLike, channel: Channel, k: int = 1) -> Array:
    """Average of the k training samples nearest to each observation, by Euclidean distance over the units observed.

    Of samples at the same distance, the first are taken. Neither an offset of the data nor their scale costs digits.

    Parameters
    ----------
    X : (samples, n) array_like
        Training samples; any real dtype, boolean, or memory-mapped; read a few thousand rows at a time.
    Y : (K, n) array_like
    channel : BinarySymmetric, Erasure or GaussianNoise
        Says which units are observed.
    k : int
        Neighbours.

    Returns
    -------
    (K, n) float64 array

    Raises
    ------
    ValueError
        Arrays of unlike widths, samples or observed values that are not finite, or more neighbours than samples.
    """
    _check_channel(channel)
    samples = checks.matrix("X", X, None, rows="samples")
    observations = checks.matrix("Y", Y, samples.shape[1], rows="observations")
    k = checks.integer("k", k, minimum=1)
    if k > len(samples):
        raise ValueError(f"k must be at most {len(samples)}, the number of samples, got {k}")
    footprint.check("k", k, k * len(observations) * 16)
    seen = channel.observed((len(observations), samples.shape[1]))
    checks.finite("X", samples)
    bad = seen & ~np.isfinite(observations)
    if bad.any():
        at = checks.first_index(bad)
        raise ValueError(f"Y must be finite where it is observed: Y[{at[0]}, {at[1]}] is {observations[at]!s}")
    return average(samples, nearest(samples, observations, seen, k))


def _mixed(w: Array, means: Array, variances: Array) -> tuple[Array, Array]:
    """Mean and variance of a mixture; chains that are lost have no weight."""
    mean = np.nansum(w * means, axis=0)
    return mean, np.nansum(w * (variances + (means - mean) ** 2), axis=0)


def _observations(visible: Unit, Y: ArrayLike, channel: Channel) -> Array:
    _check_channel(channel)
    return visible.rows("Y", Y, "observations")


def _check_channel(channel: Any) -> None:
    if not isinstance(channel, Channel):
        raise ValueError(
            f"channel must be tapcore.BinarySymmetric, Erasure or GaussianNoise, got {type(channel).__name__}"
        )


def _prior(machine: Machine, prior: Unit | None) -> Unit:
    visible = machine.layers[0]
    if prior is None:
        return _alone(machine)
    if type(prior) is not type(visible) or prior.columns != visible.columns:
        got = f"{type(prior).__name__} of {prior.columns}" if isinstance(prior, Unit) else type(prior).__name__
        raise ValueError(f"prior must be a {type(visible).__name__} layer of {visible.columns} units, got {got}")
    return prior.astype(machine.dtype)


def _alone(machine: Machine) -> Unit:
    """The visible layer in the fields of hidden units that are each on their own."""
    visible, hidden = machine.layers[0], machine.layers[1]
    push = machine.weights[0] @ hidden.moments(0.0, 0.0)[1]
    parameters = {name: p.copy() for name, p in visible.parameters.items()}
    visible.add_fields(parameters, push)
    return visible.with_parameters(parameters)


def _rows_of(entry: Any, rows: slice) -> Any:
    """Those rows of an entry of fields."""
    if isinstance(entry, Clamped):
        pair = (x[rows] if x.ndim == 2 else x for x in (entry.values, entry.where))
        return Clamped(*pair)
    return tuple(x[rows] if np.ndim(x) == 2 else x for x in entry)


def _starting_points(visible: Unit, mean: Array, count: int, rng: np.random.Generator) -> list[Array]:
    """The means, then states drawn with these means, or values between them and random ones."""
    points = [mean]
    for _ in range(count - 1):
        if visible.levels is None:
            share = rng.random((len(mean), 1))
            points.append(share * mean + (1 - share) * visible.random_means(len(mean), rng))
        else:
            low, high = visible.levels
            points.append(np.where(rng.random(mean.shape) < (mean - low) / (high - low), high, low))
    lo, hi = visible.bounds()
    return [np.clip(point, lo, hi) for point in points]


def _combined(found: list[Solutions], combine: str) -> tuple[Array, ...]:
    """Mean, variance, free energy and convergence of each observation, from its solutions."""
    energies = np.array([s.free_energy for s in found])
    means, variances = np.array([s.mean[0] for s in found]), np.array([s.var[0] for s in found])
    converged = np.array([s.converged for s in found])
    best = np.nanargmin(np.where(np.isnan(energies), np.inf, energies), axis=0)
    rows = np.arange(energies.shape[1])
    if combine == "best" or len(found) == 1:
        return means[best, rows], variances[best, rows], energies[best, rows], converged[best, rows]
    weights = np.exp(energies[best, rows] - energies)
    for k in range(1, len(found)):  # what an earlier start has found already counts once
        same = np.abs(means[:k] - means[k]).max(axis=2) <= 1e-3
        weights[k, same.any(axis=0)] = 0.0
    weights = np.nan_to_num(weights)
    total = weights.sum(axis=0)
    weights /= np.where(total > 0, total, np.nan)  # where every chain is lost nothing is known
    w = weights[:, :, None]
    mean, var = (np.where(total[:, None] > 0, x, np.nan) for x in _mixed(w, means, variances))
    return mean, var, energies[best, rows], (converged | (weights == 0)).all(axis=0)
