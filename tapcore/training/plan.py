"""What a run does: its settings with nothing left open, as checkpoints keep them and resumed runs are held to them."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tapcore._base import checks
from tapcore.machine import Machine
from tapcore.training.options import default_of
from tapcore.training.settings import SAMPLED, LearningRate, Settings

# Rows of the data that stand for all of them when a resumed run is compared with its checkpoint.
FINGERPRINT_ROWS = 256
# Checkpoints have always held these; of later settings only what is not at its default, as in runs before there were
# any.
_ALWAYS = (
    "batch_size", "chains", "learning_rate", "momentum", "penalty", "sweeps", "chain_init", "renew", "damping",
    "gradient", "seed",
)  # fmt: skip
# These have a rule of their own.
_APART = ("epochs", "pretrain", "pass_up", "center")


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
    standard : bool
        Whether the visible layer is trained in standard coordinates.
    """

    sweeps: int
    chain_init: str
    renew: float
    pretrain: int
    center: bool
    rates: tuple[float, ...]
    pretrain_rates: tuple[float, ...]
    standard: bool = False

    @classmethod
    def of(cls, settings: Settings, machine: Machine) -> Plan:
        """What `settings` are for `machine`; ValueError if they cannot be."""
        sampled, pretrain = settings.gradient in SAMPLED, _pretrain(settings, machine)
        resolved = {
            "sweeps": _unless(settings.sweeps, 1 if sampled else 10),
            "chain_init": _unless(settings.chain_init, SAMPLED.get(settings.gradient, "data")),
            "renew": _unless(settings.renew, 0.0 if sampled else 0.2),
            "pretrain": pretrain,
            "center": _unless(settings.center, len(machine.layers) > 2),
            "rates": _rates(settings.learning_rate, settings.epochs),
            "pretrain_rates": _rates(settings.learning_rate, pretrain),
        }
        return cls(**{f.name: getattr(settings, f.name) for f in fields(Settings)} | resolved)

    def described(self) -> dict[str, Any]:
        """What a checkpoint keeps, under the names of the settings."""
        values = {f.name: (getattr(self, f.name), default_of(f)) for f in fields(Settings) if f.name not in _APART}
        kept = {name: value for name, (value, default) in values.items() if name in _ALWAYS or value != default}
        kept["learning_rate"] = list(self.rates)
        kept["penalty"] = None if self.penalty is None else [type(self.penalty).__name__, self.penalty.strength]
        if self.pretrain:
            rates = list(self.pretrain_rates)
            kept |= {"pretrain": self.pretrain, "pretrain_rates": rates, "pass_up": self.pass_up}
        return kept | {name: True for name in ("center", "standard") if getattr(self, name)}


def _unless(value: Any, otherwise: Any) -> Any:
    return otherwise if value is None else value


def _pretrain(settings: Settings, machine: Machine) -> int:
    """Epochs for each pair of layers."""
    if len(machine.layers) > 2:
        return settings.epochs if settings.pretrain is None else settings.pretrain
    if settings.pretrain:
        raise ValueError(f"pretrain is for machines of more than two layers, got {settings.pretrain!r} for an RBM")
    return 0


def _rates(learning_rate: LearningRate, epochs: int) -> tuple[float, ...]:
    if not callable(learning_rate):
        return (learning_rate,) * epochs
    # Asked for all epochs at once: a schedule that goes wrong late is refused before work starts.
    return tuple(
        checks.number(f"learning_rate({epoch})", learning_rate(epoch), minimum=0) for epoch in range(1, epochs + 1)
    )


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
    for name in (*then, *(n for n in now if n not in then)):
        here, there = now.get(name), then.get(name)
        if name == "learning_rate":
            # A longer or shorter run is no contradiction as long as the past is the same.
            assert isinstance(here, list)
            assert isinstance(there, list)
            differ = [i for i in range(min(begun, len(here))) if here[i] != there[i]]
            if differ:
                i = differ[0]
                raise ValueError(
                    f"resume: learning_rate contradicts {where}: epoch {i + 1} ran with {there[i]!r}, got {here[i]!r}"
                )
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
