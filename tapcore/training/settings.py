"""The settings of a training run: checked, written to checkpoints, and compared with them."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tapcore._base import checks, footprint
from tapcore.training.optimisers import L1, L2

LearningRate = float | Callable[[int], float]

CHAIN_INITS = ("data", "persistent", "random")
PASS_UP = ("samples", "means")
GRADIENTS = ("tap", "nmf", "tap3", "rbp", "adatap", "cd", "pcd")
# Contrastive divergence, and where its chains start.
SAMPLED = {"cd": "data", "pcd": "persistent"}
# Rows of the data that stand for all of them when a resumed run is compared with its checkpoint.
FINGERPRINT_ROWS = 256


@dataclass(frozen=True)
class Settings:
    """Arguments of `fit`, checked; `rates` holds the learning rate of each epoch."""

    epochs: int
    batch_size: int
    chains: int
    rates: tuple[float, ...]
    momentum: float
    penalty: L1 | L2 | None
    sweeps: int
    chain_init: str
    renew: float
    damping: float | None
    gradient: str
    seed: int
    pretrain: int = 0  # epochs for each pair of layers
    pretrain_rates: tuple[float, ...] = ()
    pass_up: str = "samples"
    noisy: float = 0.0
    center: bool = False
    standard: bool = False  # coordinates of the visible layer

    @classmethod
    def checked(
        cls, *, epochs: Any, batch_size: Any, chains: Any, learning_rate: Any, momentum: Any, penalty: Any, sweeps: Any,
        chain_init: Any, gradient: Any, seed: Any, renew: Any = None, damping: Any = None, pretrain: int = 0,
        pass_up: Any = "samples", noisy: Any = 0.0, center: Any = False,
    ) -> Settings:  # fmt: skip
        """Refuse what makes no sense before any work starts."""
        epochs = checks.integer("epochs", epochs, minimum=0)
        if penalty is not None and not isinstance(penalty, L1 | L2):
            raise ValueError(f"penalty must be tapcore.L1(...), tapcore.L2(...) or None, got {penalty!r}")
        gradient = checks.choice("gradient", gradient, GRADIENTS)
        sampled = gradient in SAMPLED
        if damping is not None:
            damping = checks.number("damping", damping, minimum=0, below=1)
            if sampled:
                raise ValueError(f"damping is of sweeps of mean-field equations: gradient {gradient!r} has none")
        noisy = checks.number("noisy", noisy, minimum=0, maximum=1)
        if noisy and sampled:
            raise ValueError(f"noisy starts are means, not values: gradient {gradient!r} cannot take them")
        return cls(
            epochs=epochs,
            batch_size=checks.integer("batch_size", batch_size, minimum=1),
            chains=checks.integer("chains", chains, minimum=1),
            rates=_rates(learning_rate, epochs),
            momentum=checks.number("momentum", momentum, minimum=0, below=1),
            penalty=penalty,
            sweeps=(1 if sampled else 10) if sweeps is None else checks.integer("sweeps", sweeps, minimum=1),
            chain_init=_chain_init(chain_init, gradient),
            renew=(0.0 if sampled else 0.2) if renew is None else checks.number("renew", renew, minimum=0, maximum=1),
            damping=damping,
            gradient=gradient,
            seed=checks.integer("seed", seed, minimum=0),
            pretrain=pretrain,
            pretrain_rates=_rates(learning_rate, pretrain),
            pass_up=checks.choice("pass_up", pass_up, PASS_UP),
            noisy=noisy,
            center=checks.flag("center", center),
        )

    def described(self) -> dict[str, Any]:
        """What a checkpoint keeps, under the names of `fit`'s arguments."""
        penalty = None if self.penalty is None else [type(self.penalty).__name__, self.penalty.strength]
        # Only what differs from what all earlier runs had.
        stages = {"pretrain": self.pretrain, "pretrain_rates": list(self.pretrain_rates), "pass_up": self.pass_up}
        return {
            "batch_size": self.batch_size, "chains": self.chains, "learning_rate": list(self.rates),
            "momentum": self.momentum, "penalty": penalty, "sweeps": self.sweeps, "chain_init": self.chain_init,
            "renew": self.renew, "damping": self.damping, "gradient": self.gradient, "seed": self.seed,
            **(stages if self.pretrain else {}), **({"noisy": self.noisy} if self.noisy else {}),
            **({"center": True} if self.center else {}), **({"standard": True} if self.standard else {}),
        }  # fmt: skip


def _chain_init(chain_init: Any, gradient: str) -> str:
    own = SAMPLED.get(gradient)
    if chain_init is None:
        return own or "data"
    if own not in (None, chain_init) and chain_init in CHAIN_INITS:
        raise ValueError(f"chain_init must be {own!r} for gradient {gradient!r}, got {chain_init!r}")
    return checks.choice("chain_init", chain_init, CHAIN_INITS)


def _rates(learning_rate: Any, epochs: int) -> tuple[float, ...]:
    footprint.check("epochs", epochs, 16 * epochs)
    if not callable(learning_rate):
        return (checks.number("learning_rate", learning_rate, minimum=0),) * epochs
    # Asked for all epochs at once: a schedule that goes wrong late is refused before work starts.
    return tuple(
        checks.number(f"learning_rate({epoch})", learning_rate(epoch), minimum=0) for epoch in range(1, epochs + 1)
    )


def refuse_contradictions(now: dict[str, Any], then: dict[str, Any], begun: int, where: str) -> None:
    """Raise ValueError at the first setting that differs from the checkpoint's; rates count in epochs already begun.

    Parameters
    ----------
    now, then : dict
        As `Settings.described` and `fingerprint` make them.
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
