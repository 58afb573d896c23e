"""Chains of Gibbs sampling that stand for the machine while it trains, alone or on top of a ladder."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tapcore.equations.compiled import Compiled
from tapcore.machine import Machine
from tapcore.sampling.gibbs_chains import GibbsChains
from tapcore.training.phase import Exchanges, Key, Maker, Model, Phase, means_only, named, no_rows, overwrite
from tapcore.training.plan import Plan
from tapcore.training.rungs import TrainingLadder
from tapcore.units import Unit

Array = NDArray[Any]


class GibbsPhase(Phase):
    """Chains of Gibbs sampling, for contrastive divergence: visible values, and hidden means given them."""

    def __init__(self, machine: Machine, settings: Plan) -> None:
        self.chains = GibbsChains(machine, settings.chains)
        self.sweeps, self.seed = settings.sweeps, settings.seed
        self.waiting: Array | None = None
        self.from_samples = False

    def start(self, X: Array) -> None:
        """All chains from visible values; hidden ones are drawn when the machine is next known."""
        self.waiting, self.from_samples = X, True

    def restart(self, which: NDArray[np.bool_], X: Array) -> None:
        """Some chains from visible values; all hidden ones are drawn anew."""
        self.waiting = np.where(which[:, None], X, self.chains.state.mean[0])

    def lost(self) -> NDArray[np.bool_]:
        """Those that came upon a weight that cannot be normalised."""
        return self.chains.lost()

    def why_lost(self, layers: Sequence[Unit]) -> str:
        """Both ways."""
        return "a weight cannot be normalised, or values overflowed"

    def run(self, machine: Maker, own: Compiled, key: Key) -> None:
        """Draw all layers a few times."""
        chains = self.chains
        chains.use(own)
        chains.seed(self.seed, *key)
        chains.contrast(self.waiting, self.sweeps)
        self.waiting = None

    def model(self, layers: Sequence[Unit], kept: Any) -> Model:
        """Products of visible values and of hidden means given them."""
        chains = self.chains
        x, mean, var = chains.state.mean[0][kept], chains.mean[1][kept], chains.var[1][kept]
        B, A = chains.state.B[1][kept], chains.state.A[1][kept]
        statistics = layers[0].data_statistics(x), layers[1].statistics(mean, var, B, A)
        means = x, mean
        fields = chains.first if self.from_samples else no_rows(means)
        self.from_samples = False
        return Model(means_only(means), (no_rows(means),), statistics, fields)

    def tensors(self) -> dict[str, Array]:
        """Values."""
        return named(x=self.chains.state.mean)

    def restore(self, tensors: Mapping[str, Array]) -> None:
        """Nothing else is kept."""
        overwrite(GibbsPhase.tensors(self), tensors)


class LadderPhase(GibbsPhase):
    """The same chains on top of a ladder of earlier machines of the run, with whose chains they change places."""

    def __init__(self, machine: Machine, settings: Plan) -> None:
        super().__init__(machine, settings)
        self.ladder = TrainingLadder(machine, settings.chains, settings.seed)

    def run(self, machine: Maker, own: Compiled, key: Key) -> None:
        """Move a rung of the ladder, and then draw all layers a few times."""
        if self.waiting is not None:
            self.chains.state.mean[0][:] = self.waiting
        # A machine that has diverged is none to weigh chains by; that it has is said after the epoch.
        if np.isfinite(own.W).all() and np.isfinite(own.values).all() and self.ladder.move(machine, self.chains, key):
            # Hidden units are those of the values before: they are drawn anew. Nor are values the samples' any more.
            self.waiting, self.from_samples = self.chains.state.mean[0], False
        super().run(machine, own, key)

    def tensors(self) -> dict[str, Array]:
        """Values, and all of the ladder."""
        return super().tensors() | self.ladder.tensors()

    def restore(self, tensors: Mapping[str, Array]) -> None:
        """The ladder has as many rungs as the checkpoint's."""
        super().restore(tensors)
        self.ladder.restore(tensors)

    def exchanges(self) -> Exchanges:
        """With the last rung; rung 0 is none of the other machines."""
        return Exchanges(self.ladder.acceptance, len(self.ladder.rungs))


#: By the name of the gradient.
PHASES: dict[str, Callable[[Machine, Plan], Phase]] = {"cd": GibbsPhase, "pcd": GibbsPhase, "ptt": LadderPhase}
