"""The model's side of the gradient: which chains stand for the machine while it trains, and those of mean field."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tapcore._base import footprint
from tapcore.equations.compiled import Compiled
from tapcore.equations.exclusive import exclusive_slopes
from tapcore.equations.fields import third_cumulants
from tapcore.inference.adaptive.solver import mean_covariance, solve_adaptive
from tapcore.inference.belief.gradient import Backwards, Marginals, follow
from tapcore.inference.methods import ADAPTIVE, BELIEF, SWEEPS, TABLE, check_method, names, quoted
from tapcore.inference.pinning import Pinning
from tapcore.inference.records import Starts
from tapcore.inference.solution import Solutions
from tapcore.inference.solve import rule_for, solve
from tapcore.inference.sweeps.chains import Chains
from tapcore.machine import Machine
from tapcore.training.phase import (
    ALIKE,
    Key,
    Layers,
    Maker,
    Model,
    Phase,
    means_only,
    named,
    no_rows,
    no_rows_each,
    overwrite,
)
from tapcore.training.plan import Plan
from tapcore.training.sampled_phases import PHASES as SAMPLING
from tapcore.training.shares import SolutionShares
from tapcore.training.weights import Moments
from tapcore.units import Unit
from tapcore.units.sites import CUMULANTS, check_can

Array = NDArray[Any]
# How closely the derivatives of relaxed belief propagation are found in a batch.
_BACKWARDS = Backwards(1e-8, 100)


def phase_for(machine: Machine, settings: Plan) -> Phase:
    """Chains for the gradient of these settings."""
    gradient, deep = settings.gradient, names(lambda m: m.deep_gradient)
    if len(machine.layers) > 2 and gradient not in deep:
        raise ValueError(
            f"gradient must be one of {quoted(deep)} for a machine of more than two layers, got {gradient!r}"
        )
    if gradient in SAMPLING:
        return SAMPLING[gradient](machine, settings)
    return _PHASES[check_method(machine, gradient).engine](machine, settings)


def _damping(settings: Plan) -> float:
    return TABLE[settings.gradient].damping_unless(settings.damping)


def _moments_statistics(
    layers: Sequence[Unit], *moments: Layers, shares: Array = ALIKE
) -> tuple[dict[str, Array], ...]:
    weights = (shares,) if len(shares) else ()
    return tuple(layer.statistics(*rows, *weights) for layer, *rows in zip(layers, *moments, strict=True))


class SweepPhase(Phase):
    """Chains of naive mean field, TAP or third order."""

    def __init__(self, machine: Machine, settings: Plan) -> None:
        self.rule, self.layers = rule_for(machine, settings.gradient), machine.layers
        self.chains = Chains(machine.sizes, settings.chains, machine.dtype, order=self.rule.order)
        self.sweeps, self.damping, self.seed = settings.sweeps, _damping(settings), settings.seed
        shape = machine.sizes, settings.chains, machine.dtype
        self.pinning = Pinning(*shape, settings.pinning) if settings.pinning > 0 else None
        temperature = settings.solution_weights
        self.shares = None if temperature is None else SolutionShares(machine, self.chains, self.rule, temperature)
        self.fresh = np.zeros(settings.chains, np.bool_)
        self.rng = np.random.default_rng(0)

    def start(self, X: Array) -> None:
        """All chains from visible means, without variances."""
        self.chains.start_from_visible(X)
        self.fresh[:] = True

    def restart(self, which: NDArray[np.bool_], X: Array) -> None:
        """Some chains from visible means."""
        self.chains.restart(which, X)
        self.fresh |= which

    def lost(self) -> NDArray[np.bool_]:
        """Those whose weights cannot be normalised any more."""
        return self.chains.lost()

    def why_lost(self, layers: Sequence[Unit]) -> str:
        """Which of the two it was."""
        for layer, A in zip(layers, self.chains.state.A, strict=True):
            precision = layer.tail_precision()
            if precision is not None and (A + precision <= 0).any():
                return "precisions turned negative"
        return "means or fields overflowed"

    def run(self, machine: Maker, own: Compiled, key: Key) -> None:
        """Sweep."""
        self.own = own
        if self.shares is not None:
            self.shares.run(machine, own, self.sweeps, self.damping)
            return
        if self.pinning is None:
            self.chains.run(own, self.rule, self.sweeps, self.damping)
            return
        self.rng = np.random.default_rng(np.random.SeedSequence(self.seed, spawn_key=key))
        if self.fresh.any():
            layers = [layer.with_parameters(own.sites.parameters(i)) for i, layer in enumerate(self.layers)]
            self.pinning.begin(self.fresh, self.chains.state, layers, [W for W, _, _ in own.weights], self.rng)
            self.fresh[:] = False
        self.pinning.measure(self.rng)
        self.chains.answer(own, self.rule, self.sweeps, self.damping, self.pinning.outside)

    def model(self, layers: Sequence[Unit], kept: Any) -> Model:
        """Products of means, and of variances and third cumulants, of chains alike or by their shares."""
        state = self.chains.state
        B, A = state.B, state.A
        if self.pinning is not None:
            fields, precisions = self.pinning.whole(B[1:], A[1:])
            self.pinning.draw(layers, state.mean[1:], fields, precisions, self.rng)
            B, A = (B[0], *fields), (A[0], *precisions)
        mean, var, B, A = (tuple(x[kept] for x in arrays) for arrays in (state.mean, state.var, B, A))
        third = third_cumulants(self.own, mean, self.rule.order)
        moments = Moments(mean, var if self.rule.order > 1 else no_rows_each(mean), third)
        shares = ALIKE if self.shares is None else self.shares.of(kept)
        # What sites of several columns add is proportional to the variances of their neighbours.
        weighted = len(shares) and self.own.has_exclusive
        counted = tuple(c * (len(shares) * shares[:, None]) for c in var) if weighted else var
        extra = exclusive_slopes(self.own, mean, counted, self.rule.order)
        statistics = _moments_statistics(layers, mean, var, B, A, shares=shares)
        return Model(moments, extra, statistics, no_rows(mean), shares)

    def tensors(self) -> dict[str, Array]:
        """Means and variances; where hidden units are measured, their values, measurements and other fields."""
        state = self.chains.state
        more = {}
        if self.pinning is not None:
            more = {
                "value": self.pinning.values,
                "measured": self.pinning.fields,
                "B": state.B[1::2],
                "A": state.A[1::2],
            }
        return named(mean=state.mean, var=state.var, **more)

    def restore(self, tensors: Mapping[str, Array]) -> None:
        """Find out which chains are lost, besides."""
        overwrite(self.tensors(), tensors)
        self.chains.cold = False
        self.chains.judge_again()


class AdaptivePhase(Phase):
    """Chains of adaptive TAP: their fields, and the means and covariances that follow."""

    def __init__(self, machine: Machine, settings: Plan) -> None:
        count = settings.chains
        footprint.check("chains", count, count * 4 * footprint.per_row(machine.sizes))
        self.method, self.rule = settings.gradient, rule_for(machine, settings.gradient, most=settings.sweeps)
        self.damping = _damping(settings)
        self.B, self.A = (tuple(np.zeros((count, n)) for n in machine.sizes) for _ in range(2))
        self.waiting: tuple[NDArray[np.bool_], Array] | None = None

    def start(self, X: Array) -> None:
        """All chains from the fields that visible means make, when the machine is next known."""
        self.restart(np.ones(len(X), np.bool_), X)

    def restart(self, which: NDArray[np.bool_], X: Array) -> None:
        """Some chains."""
        self.waiting = which, X

    def lost(self) -> NDArray[np.bool_]:
        """Those for which no Gaussian with the machine's couplings exists."""
        return np.asarray(~np.isfinite(self.B[0]).all(axis=1))

    def why_lost(self, layers: Sequence[Unit]) -> str:
        """There is one way."""
        return "no Gaussian with the machine's couplings exists"

    def run(self, machine: Maker, own: Compiled, key: Key) -> None:
        """Sweep, and find the covariances."""
        self.machine = machine().replace(dtype="float64")
        if self.waiting is not None:
            which, X = self.waiting
            first = solve(self.machine, X[which], method="nmf", max_sweeps=1)
            for to, made in zip(self.B + self.A, first.B + first.A, strict=True):
                to[which] = made
            self.waiting = None
        self.found: Solutions = solve_adaptive(
            self.machine, Starts((), (), self.B, self.A), self.method, self.rule, self.damping
        )
        # After few sweeps fields may be finite, yet make no Gaussian: there is no covariance then.
        without = ~np.isfinite(self.found.free_energy)
        for to, made in zip(self.B + self.A, self.found.B + self.found.A, strict=True):
            to[:] = made
            to[without] = np.nan

    def model(self, layers: Sequence[Unit], kept: Any) -> Model:
        """Products of means, and the covariances of the Gaussian."""
        found, dtype = self.found, layers[0].dtype
        mean, var, B, A = (tuple(x[kept] for x in arrays) for arrays in (found.mean, found.var, found.B, found.A))
        extra = mean_covariance(self.machine, B, A).astype(dtype)
        mean, var, B, A = (tuple(x.astype(dtype) for x in arrays) for arrays in (mean, var, B, A))
        return Model(means_only(mean), (extra,), _moments_statistics(layers, mean, var, B, A), no_rows(mean))

    def tensors(self) -> dict[str, Array]:
        """Fields and precisions."""
        return named(B=self.B, A=self.A)

    def restore(self, tensors: Mapping[str, Array]) -> None:
        """Nothing else is kept."""
        overwrite(self.tensors(), tensors)


class RelaxedPhase(Phase):
    """Chains of relaxed belief propagation: their units' moments and fields, and the derivatives of ln Z there."""

    def __init__(self, machine: Machine, settings: Plan) -> None:
        count = settings.chains
        check_can(machine.layers, CUMULANTS)
        for layer in machine.layers:  # types that cannot refuse
            layer.parameter_slopes(np.zeros((3, layer.columns)))
        footprint.check("chains", count, count * 4 * footprint.per_row(machine.sizes))
        self.rule = rule_for(machine, settings.gradient, most=settings.sweeps)
        self.damping = _damping(settings)
        self.chains = Marginals(*(tuple(np.zeros((count, n)) for n in machine.sizes) for _ in Marginals._fields))
        self.fresh = np.zeros(count, np.bool_)
        self.left_out = np.zeros(count, np.bool_)

    def start(self, X: Array) -> None:
        """All chains from visible means, without variances."""
        self.restart(np.ones(len(X), np.bool_), X)

    def restart(self, which: NDArray[np.bool_], X: Array) -> None:
        """Some chains from visible means."""
        self.chains.mean[0][which] = X[which]
        self.fresh |= which

    def lost(self) -> NDArray[np.bool_]:
        """Those that are not finite, or whose derivatives could not be found."""
        return self.left_out

    def why_lost(self, layers: Sequence[Unit]) -> str:
        """Both ways."""
        return "messages are not finite, or do not converge"

    def run(self, machine: Maker, own: Compiled, key: Key) -> None:
        """Sweep, and sweep back for the derivatives."""
        found = follow(machine(), self.chains, self.fresh, self.rule, self.damping, _BACKWARDS)
        self.slopes, self.left_out = found.slopes, found.lost
        self.fresh[:] = False

    def model(self, layers: Sequence[Unit], kept: Any) -> Model:
        """Derivatives of ln Z, less the products of means that are added again."""
        dtype = layers[0].dtype
        mean = tuple(x[kept] for x in self.chains.mean)
        extra = (self.slopes.weights - mean[0].T @ mean[1] / len(mean[0])).astype(dtype)
        mean = tuple(x.astype(dtype) for x in mean)
        slopes = (self.slopes.visible, self.slopes.hidden)
        statistics = tuple(layer.parameter_slopes(x.astype(dtype)) for layer, x in zip(layers, slopes, strict=True))
        return Model(means_only(mean), (extra,), statistics, no_rows(mean))

    def tensors(self) -> dict[str, Array]:
        """Moments and fields."""
        return named(**self.chains._asdict())

    def restore(self, tensors: Mapping[str, Array]) -> None:
        """Find out which chains are lost, besides."""
        overwrite(self.tensors(), tensors)
        arrays = (x for layers in self.chains for x in layers)
        self.left_out = ~np.all([np.isfinite(x).all(axis=1) for x in arrays], axis=0)


_PHASES: dict[str, Callable[[Machine, Plan], Phase]] = {
    SWEEPS: SweepPhase,
    BELIEF: RelaxedPhase,
    ADAPTIVE: AdaptivePhase,
}
