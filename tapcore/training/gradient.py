"""Gradients of the TAP log-likelihood (Eqs. 39-41, E5-E8) for users; the kernels are those of training steps."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from tapcore._base.blocks import run_blocks
from tapcore.equations.compiled import compiled
from tapcore.equations.exclusive import exclusive_slopes
from tapcore.equations.fields import third_cumulants
from tapcore.inference.adaptive.solver import mean_covariance
from tapcore.inference.belief.gradient import Marginals, found_again
from tapcore.inference.conditional import clamped_rule, given_samples
from tapcore.inference.methods import ADAPTIVE, BELIEF, TABLE, clamped, names, quoted
from tapcore.inference.solution import Solutions, check_solutions
from tapcore.machine import Machine, check_machine
from tapcore.training.weights import Moments, Sum, add_weight_gradient, averages, no_center, workspace

Array = NDArray[Any]

# Samples taken at a time.
SAMPLES_AT_ONCE = 1024
# How closely hidden layers of deep machines are solved for given the samples.
TOL = 1e-13


class Gradient(NamedTuple):
    """Derivatives of the average TAP log-likelihood.

    Attributes
    ----------
    weights : tuple of (n_l, n_{l+1}) arrays
    layers : tuple of dict of str to (n_l,) array
        By parameter name, one dict a layer.
    """

    weights: tuple[Array, ...]
    layers: tuple[dict[str, Array], ...]


class _Model(NamedTuple):
    """The chains' side."""

    moments: Moments
    weights: tuple[Array, ...]  # what else is to be subtracted, one matrix a pair of layers
    layers: tuple[dict[str, Array], ...]  # statistics of the units' parameters


def gradient(machine: Machine, X: ArrayLike, solutions: Solutions) -> Gradient:
    """Gradient of the average TAP log-likelihood of samples (Eqs. 39-41, E5-E8).

    ``dW = <x f_a(x W)>_samples - <a_v a_h + W c_v c_h>_solutions``, and for a parameter theta of a unit
    ``<d ln phi/d theta>_samples - <d ln phi/d theta>_solutions``, hidden units given each sample. Naive mean-field
    solutions leave out the term in ``c_v c_h``; third order adds ``W^2 kappa3_v kappa3_h/2`` to it, kappa3 the third
    cumulants; adaptive TAP has the covariance of its Gaussian instead. Relaxed belief propagation's free energy is not
    stationary in its messages: these are found again from the solutions, and what they do to it is added up to the end.
    In a deep machine the hidden layers given a sample solve the same equations with the visible layer clamped, and
    averages over samples have the same terms as those over solutions.

    Parameters
    ----------
    machine : Machine
    X : (n, n_visible) array_like
        Samples in the visible layer's support; any real dtype, boolean, or memory-mapped; read a thousand rows at a
        time.
    solutions : Solutions
        Of this machine; of a machine of more than two layers, by a method of sweeps ("tap", "nmf", "tap3"). All count
        alike, whether converged or not.

    Returns
    -------
    Gradient
        float64 arrays, per weight and unit parameter. It is the derivative of ``mean(log_likelihood(...))`` where the
        solutions have converged.

    Raises
    ------
    ValueError
        Samples of the wrong width, empty or outside the support; solutions of another machine's sizes, or not finite;
        those of relaxed belief propagation that do not converge, or a deep machine's by it or by adaptive TAP.
    """
    check_machine(machine)
    samples = machine.layers[0].samples("X", X)
    check_solutions("solutions", solutions, machine.sizes)
    deep = names(lambda m: m.deep_gradient)
    if len(machine.sizes) > 2 and solutions.method not in deep:
        raise ValueError(f"solutions of a deep machine must be of method {quoted(deep)}, got {solutions.method!r}")
    wide = machine.replace(dtype="float64")
    model = _model(wide, solutions)
    weights = tuple(-w for w in model.weights)
    layers = tuple({name: -value for name, value in statistics.items()} for statistics in model.layers)
    couplings = [np.array(W) for W in wide.weights]  # writeable, as in training: Numba compiles for others apart
    none = Moments(*(tuple(x[:0] for x in arrays) for arrays in model.moments))
    for start in range(0, len(samples), SAMPLES_AT_ONCE):
        rows = machine.layers[0].rounded(np.asarray(samples[start : start + SAMPLES_AT_ONCE]))
        x = np.ascontiguousarray(rows, dtype=np.float64)
        data, extra, statistics = _data(wide, x, solutions.method)
        # The chains' part goes with the first samples.
        chains = model.moments if start == 0 else none
        for lower, (W, total) in enumerate(zip(couplings, weights, strict=True)):
            work = workspace(W.shape[0], W.shape[1], len(chains.mean[0]) + len(x), np.float64)
            more = -len(x) / len(samples) * extra[lower]
            of = averages(work, lower, chains, data, len(samples), 1.0 / len(solutions), more, no_center(W))
            run_blocks(add_weight_gradient, len(work.blocks), Sum(W, of, work, total))
        share = len(x) / len(samples)
        for sums, terms in zip(layers, statistics, strict=True):
            for name in sums:
                sums[name] += share * terms[name]
    return Gradient(weights, layers)


def _data(machine: Machine, x: Array, method: str) -> tuple[Moments, tuple[Array, ...], list[dict[str, Array]]]:
    """Moments of all layers given samples, what is added to their products, and averages of d ln phi/d parameter."""
    method = clamped(method)
    found = given_samples(machine, x, method, clamped_rule(machine, method, TOL))
    order, none = TABLE[method].order, np.empty((0, x.shape[1]))
    deep = len(machine.sizes) > 2
    above = compiled(machine.layers[1:], machine.weights[1:], 1)
    upper = third_cumulants(above, found.mean, order if deep else 0)
    extra = np.empty((0, machine.sizes[1])), *exclusive_slopes(above, found.mean, found.var, order if deep else 0)
    var = found.var if deep and order > 1 else tuple(v[:0] for v in found.var)
    moments = Moments((x, *found.mean), (none, *var), (none, *upper))
    hidden = zip(machine.layers[1:], found.mean, found.var, found.B, found.A, strict=True)
    return moments, extra, [machine.layers[0].data_statistics(x), *(layer.statistics(*rows) for layer, *rows in hidden)]


def _model(machine: Machine, solutions: Solutions) -> _Model:
    """Moments and statistics of the chains."""
    means, variances, fields, precisions = (
        tuple(np.ascontiguousarray(x, dtype=np.float64) for x in layers)
        for layers in (solutions.mean, solutions.var, solutions.B, solutions.A)
    )
    none = tuple(x[:0] for x in means)
    zero = tuple(np.zeros_like(W) for W in machine.weights)
    method = TABLE[solutions.method]
    if method.engine == BELIEF:
        slopes = found_again(machine, Marginals(means, variances, fields, precisions))
        pairs = zip(machine.layers, (slopes.visible, slopes.hidden), strict=True)
        model = tuple(layer.parameter_slopes(x) for layer, x in pairs)
        return _Model(Moments(none, none, none), (slopes.weights,), model)
    rows = zip(machine.layers, means, variances, fields, precisions, strict=True)
    model = tuple(layer.statistics(*moments) for layer, *moments in rows)
    if method.engine == ADAPTIVE:
        return _Model(Moments(means, none, none), (mean_covariance(machine, fields, precisions),), model)
    own = compiled(machine.layers, machine.weights, 1)
    third = third_cumulants(own, means, method.order)
    extra = exclusive_slopes(own, means, variances, method.order)
    weights = tuple(some if len(some) else nothing for some, nothing in zip(extra, zero, strict=True))
    return _Model(Moments(means, variances if method.order > 1 else none, third), weights, model)
