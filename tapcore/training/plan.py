"""What a run does: its settings with nothing left open, as checkpoints keep them and resumed runs are held to them."""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass, fields, replace
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tapcore._base import checks
from tapcore.inference.methods import TABLE
from tapcore.inference.pinning import KEPT, gains, training_ratio, two_states
from tapcore.machine import Machine
from tapcore.training.centring import OFFSET_RATE
from tapcore.training.optimisers import Adam, Momentum
from tapcore.training.options import default_of
from tapcore.training.schedules import Constant, Linear, Schedule, describe
from tapcore.training.settings import SAMPLED, SWEPT, LearningRate, Settings

# Rows of the data that stand for all of them when a resumed run is compared with its checkpoint.
FINGERPRINT_ROWS = 256
# Checkpoints have always held these; of later settings only what is not at its default, as in runs before there were
# any.
_ALWAYS = (
    "batch_size", "chains", "learning_rate", "momentum", "penalty", "sweeps", "chain_init", "renew", "damping",
    "gradient", "seed",
)  # fmt: skip
# These have a rule of their own.
_APART = ("epochs", "pretrain", "pass_up", "center", "optimizer", "schedule", "dtype")
# Learning rates that suit: of momentum for units {0, 1}, by equations alone and where units are drawn, and of Adam.
_RATE, _DRAWN_RATE, _ADAMS_RATE = 0.05, 0.2, 0.002
_SHARE = 0.5
# Steps of a run whose length nobody gives.
STEPS, MOST = 20_000, 100
# Least and most samples of a batch that nobody gives.
BATCH = (10, 100)
# Chains that nobody gives; and fewer where hidden units are measured, since their visible units are never drawn: as
# many at least, and one for so many hidden units. 784x500 units, 15 epochs on binary MNIST at a ratio of 1: 100 chains
# train to -73.8 and -74.0 nats an image held out, and 50, in two thirds of the time, to -78.6 at best.
CHAINS, MEASURED, UNITS = 100, 50, 5


@dataclass(frozen=True, kw_only=True, repr=False)
class Plan(Settings):
    """Settings with nothing left open, for one machine.

    A type of its own, so that no code of a run need ask what None stands for, nor can be given settings where the
    question is still open; and one of settings, so that a new field reaches a run by itself.

    Attributes
    ----------
    rates, pretrain_rates : tuple of float
        Learning rate of each epoch, as a whole and of each pair of layers.
    pretrain : int
        Epochs for each pair of layers, 0 for an RBM.
    given : str
        Dtype of the machine that is given, and given back; `dtype` is the one to train in.
    standard : bool
        Whether the visible layer is trained in standard coordinates.
    """

    batch_size: int
    chains: int
    sweeps: int
    chain_init: str
    renew: float
    pinning: float
    pretrain: int
    center: bool
    learning_rate: LearningRate
    optimizer: Momentum | Adam
    schedule: Schedule
    dtype: str
    given: str
    stages: int
    rates: tuple[float, ...]
    pretrain_rates: tuple[float, ...]
    standard: bool = False

    @classmethod
    def of(cls, settings: Settings, machine: Machine, samples: int) -> Plan:
        """What `settings` are for `machine` and so many samples; ValueError if they cannot be."""
        own = {f.name: getattr(settings, f.name) for f in fields(Settings)}
        epochs, batch_size = settings.epochs, _unless(settings.batch_size, default_batch(samples))
        if epochs is None and settings.seconds is None:
            epochs = default_epochs(samples, batch_size)
        pretrain, optimizer = _pretrain(settings, machine, epochs), _optimizer(settings, machine)
        chain_init = _unless(settings.chain_init, _chain_init(settings.gradient))
        sampled, kept = settings.gradient in SAMPLED, chain_init == "persistent"
        # Units of other kinds then train to where their chains are lost without measurements, as in scoring.
        pinned = kept and settings.gradient in SWEPT and settings.solution_weights is None and gains(machine)
        pinning = _unless(settings.pinning, training_ratio(machine) if pinned else 0.0)
        renew = _unless(settings.renew, 0.0 if sampled or pinning else 0.2)
        if settings.noisy and kept and not renew:
            raise ValueError(
                "noisy starts are of chains that start from samples, and persistent ones that are not renewed do not: "
                "give renew above 0, or chain_init='data'"
            )
        rate, schedule = settings.learning_rate, settings.schedule
        if rate is None:
            rate, schedule = _rate(optimizer, sampled or pinning > 0, machine), _unless(schedule, Linear())
        schedule = _unless(schedule, Constant())
        resolved = {
            "epochs": epochs,
            "batch_size": batch_size,
            "chains": _unless(settings.chains, _measured(machine) if pinning else CHAINS),
            "learning_rate": rate,
            "sweeps": _unless(settings.sweeps, 1 if sampled else 2 if kept else 10),
            "chain_init": chain_init,
            "renew": renew,
            "pinning": pinning,
            "pretrain": pretrain,
            "stages": len(machine.weights) + 1 if pretrain else 1,
            "center": _unless(settings.center, True),
            "optimizer": optimizer,
            "schedule": schedule,
            "dtype": _unless(settings.dtype, _dtype(settings.gradient, machine)),
            "given": str(machine.dtype),
            "rates": _rates(rate, schedule, epochs),
            "pretrain_rates": _rates(rate, schedule, pretrain),
        }
        return cls(**own | resolved)

    def stage(self, pretraining: bool) -> Plan:
        """That of one pair of layers of a deep machine, or of all of it: as a run of its own."""
        seconds = None if self.seconds is None else self.seconds / self.stages
        if not pretraining:
            return replace(self, seconds=seconds)
        epochs = None if self.epochs is None else self.pretrain
        return replace(self, epochs=epochs, seconds=seconds, rates=self.pretrain_rates)

    def rate(self, epoch: int, done: float) -> float:
        """Learning rate in an epoch, from 0, where a share `done` of the run lies behind."""
        if callable(self.learning_rate):
            return self.rates[epoch]
        return self.learning_rate * self.schedule.at(done)

    def described(self) -> dict[str, Any]:
        """What a checkpoint keeps, under the names of the settings."""
        values = {f.name: (getattr(self, f.name), default_of(f)) for f in fields(Settings) if f.name not in _APART}
        kept = {name: value for name, (value, default) in values.items() if name in _ALWAYS or value != default}
        kept["learning_rate"] = list(self.rates)
        kept["penalty"] = None if self.penalty is None else [type(self.penalty).__name__, self.penalty.strength]
        if self.pinning:
            kept["measurements_kept"] = KEPT
        else:
            kept.pop("pinning", None)
        if self.solution_weights == math.inf:
            kept["solution_weights"] = "inf"  # of which JSON has no number
        if isinstance(self.optimizer, Adam):
            kept["optimizer"] = ["Adam", self.optimizer.share, self.optimizer.squares]
        if not isinstance(self.schedule, Constant):
            kept["schedule"] = describe(self.schedule)
        if self.pretrain:
            rates = list(self.pretrain_rates)
            kept |= {"pretrain": self.pretrain, "pretrain_rates": rates, "pass_up": self.pass_up}
        if self.center:
            kept["offset_rate"] = OFFSET_RATE
        if self.dtype != self.given:
            kept["dtype"] = self.dtype
        return kept | {name: True for name in ("center", "standard") if getattr(self, name)}


def _unless(value: Any, otherwise: Any) -> Any:
    return otherwise if value is None else value


def _measured(machine: Machine) -> int:
    """Chains whose hidden units are measured."""
    return min(CHAINS, max(MEASURED, sum(machine.sizes[1:]) // UNITS))


def default_batch(samples: int) -> int:
    """A hundredth of the samples, so that few of them make steps enough; within limits."""
    least, most = BATCH
    return min(most, max(least, samples // 100))


def default_epochs(samples: int, batch_size: int) -> int:
    """As many as make `STEPS` steps: one at least, and of few samples `MOST` at most, since each epoch is scored."""
    return min(MOST, max(1, round(STEPS * batch_size / samples)))


def _pretrain(settings: Settings, machine: Machine, epochs: int | None) -> int:
    """Epochs for each pair of layers; of a run of so many seconds: 1 if there are to be any."""
    if len(machine.layers) > 2:
        if epochs is None:
            return int(settings.pretrain != 0)
        return epochs if settings.pretrain is None else settings.pretrain
    if settings.pretrain:
        raise ValueError(f"pretrain is for machines of more than two layers, got {settings.pretrain!r} for an RBM")
    return 0


def _rates(learning_rate: LearningRate, schedule: Schedule, epochs: int | None) -> tuple[float, ...]:
    """Learning rate at the beginning of each epoch; of a run of so many seconds: of the first one."""
    if epochs is None:
        epochs = 1
    if not callable(learning_rate):
        return tuple(learning_rate * schedule.at(epoch / epochs) for epoch in range(epochs))
    # Asked for all epochs at once: a schedule that goes wrong late is refused before work starts.
    return tuple(
        checks.number(f"learning_rate({epoch})", learning_rate(epoch), minimum=0) for epoch in range(1, epochs + 1)
    )


def _optimizer(settings: Settings, machine: Machine) -> Momentum | Adam:
    """Adam for units of all kinds, whose derivatives differ in size, if a rate is to be found too."""
    if settings.optimizer is not None:
        return settings.optimizer
    if settings.momentum is None and settings.learning_rate is None and not two_states(machine):
        return Adam()
    return Momentum(_unless(settings.momentum, _SHARE))


def _rate(optimizer: Momentum | Adam, drawn: bool, machine: Machine) -> float:
    """Higher where chance keeps chains from all following the last steps: where units are drawn, or measured.

    By momentum the same steps of the law whatever two numbers units have for their states; half as long where units are
    drawn and these are not 0 and 1, since fields learn more slowly beside the weights then, and chains get lost.
    """
    if isinstance(optimizer, Adam):
        return _ADAMS_RATE
    apart = [1.0 if layer.levels is None else layer.levels[1] - layer.levels[0] for layer in machine.layers]
    widest = max(below * above for below, above in pairwise(apart))
    if not drawn:
        return _RATE / widest**2
    return (_DRAWN_RATE if widest == 1.0 else _DRAWN_RATE / 2) / widest**2


def _chain_init(gradient: str) -> str:
    """Chains of sweeps go on from batch to batch; those of other engines begin anew, as they do not stay close."""
    return "persistent" if gradient in SWEPT else SAMPLED.get(gradient, "data")


def _dtype(gradient: str, machine: Machine) -> str:
    """float32 where units have two states and the gradient can be had in it: noise of batches is far above rounding."""
    narrow = gradient in SAMPLED or not TABLE[gradient].wide
    return "float32" if two_states(machine) and narrow else str(machine.dtype)


def refuse_contradictions(now: dict[str, Any], then: dict[str, Any], begun: int, where: str) -> None:
    """Raise ValueError at the first setting that differs from the checkpoint's; rates count in epochs already begun.

    Parameters
    ----------
    now, then : dict
        As `Plan.described` and `fingerprint` make them.
    begun : int
        Epochs done, and one more if the checkpoint is in the middle of one.
    where : str
        The checkpoint, for the message.
    """
    # Rows held out come first: where they are others, so are those trained on.
    # And rates last: they follow from others.
    for name in sorted(dict.fromkeys(("validation", *then, *now)), key=lambda name: name.endswith("rate")):
        here, there = now.get(name), then.get(name)
        if name == "learning_rate":
            # A longer or shorter run is no contradiction as long as the past is the same.
            assert isinstance(here, list)
            assert isinstance(there, list)
            differ = [i for i in range(min(begun, len(here))) if here[i] != there[i]]
            if differ:
                i = differ[0]
                raise ValueError(
                    f"resume: learning_rate contradicts {where}: epoch {i + 1} ran with {there[i]!r}, got {here[i]!r} "
                    f"(one that falls along the epochs needs as many of them as the run began with)"
                )
        elif name == "validation" and here != there:
            raise ValueError(f"resume: validation contradicts {where}: other rows were held out, or none")
        elif name == "X" and here != there:
            raise ValueError(f"resume: X contradicts {where}: these are other data")
        elif here != there:
            raise ValueError(f"resume: {name} contradicts {where}: it has {there!r}, got {here!r}")


def fingerprint(X: NDArray[Any]) -> str:
    """Digest of the shape and of some hundred evenly spaced rows, whatever the dtype."""
    rows = np.unique(np.linspace(0, X.shape[0] - 1, FINGERPRINT_ROWS).round().astype(np.int64))
    digest = hashlib.sha256(repr(tuple(map(int, X.shape))).encode())
    digest.update(np.ascontiguousarray(X[rows], dtype="<f8").tobytes())
    return digest.hexdigest()
