"""Settings of training as a user gives them: each is a field here, and nowhere else but in the signature of `fit`.

Nothing heavy loads with this module: the flags of `tapcore train` are made of it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, fields
from functools import partial
from typing import Any

from tapcore.inference.methods import choices
from tapcore.training.options import (
    Flag,
    Rule,
    choice,
    default_of,
    flag,
    number,
    number_or_function,
    option,
    option_of,
    whole,
)
from tapcore.training.penalties import L1, L2

LearningRate = float | Callable[[int], float]

# Contrastive divergence, and where its chains start.
SAMPLED = {"cd": "data", "pcd": "persistent"}
GRADIENTS = (*choices(), *SAMPLED)
# Bytes of an epoch's learning rate, here and in checkpoints.
_RATE = 16


def _check_penalty(name: str, value: Any) -> L1 | L2 | None:
    if value is not None and not isinstance(value, L1 | L2):
        raise ValueError(f"{name} must be tapcore.L1(...), tapcore.L2(...) or None, got {value!r}")
    return value


_PENALTY = {
    "--l2": Flag("weight decay (0.001 if no penalty is given)", L2),
    "--l1": Flag("sparsity penalty in place of weight decay", L1),
}


@dataclass(frozen=True, kw_only=True, repr=False)
class Settings:
    """How to train, for `fit` and `Training`.

    Checked when made, by ``dataclasses.replace`` too. None stands for what suits the machine and the gradient, and is
    kept: what a run makes of it is not part of the settings, so that the same ones serve for several machines. A
    learning rate that is a function is asked for all its values when a run begins.

    Parameters
    ----------
    epochs, batch_size, chains, seed : int
        As the keywords of `fit` of the same names, as all that follow.
    learning_rate : float or callable
    momentum, noisy : float
    penalty : L1, L2 or None
    sweeps, pretrain : int, optional
    renew, damping : float, optional
    chain_init : str, optional
    gradient, pass_up : str
    center : bool, optional

    Raises
    ------
    ValueError
        A value is outside its range, or two contradict each other.

    Examples
    --------
    >>> settings = tc.Settings(epochs=30, learning_rate=0.05)
    >>> sparse = dataclasses.replace(settings, penalty=tc.L1(0.001))
    >>> machine, history = tc.fit(machine, X, settings=sparse)
    """

    epochs: int = field(metadata=option(whole(0, held=_RATE), "passes over the data, in all", "N", unless=10))
    batch_size: int = field(default=100, metadata=option(whole(1), "samples in a mini-batch", "M"))
    chains: int = field(default=100, metadata=option(whole(1), "chains that seek solutions for each mini-batch", "K"))
    learning_rate: LearningRate = field(
        default=0.005, metadata=option(number_or_function(minimum=0), "size of the steps", "RATE")
    )
    momentum: float = field(
        default=0.5, metadata=option(number(minimum=0, below=1), "share of the previous step that is kept", "ETA")
    )
    penalty: L1 | L2 | None = field(
        default_factory=partial(L2, 0.001),
        metadata=option(Rule(_check_penalty, {"type": float}), _PENALTY, "EPSILON"),
    )
    sweeps: int | None = field(
        default=None,
        metadata=option(whole(1), "sweeps of each chain for each mini-batch (10, or 1 for cd and pcd)", "N"),
    )
    chain_init: str | None = field(
        default=None,
        metadata=option(choice("data", "persistent", "random"), "where chains start (data, or persistent for pcd)"),
    )
    renew: float | None = field(
        default=None,
        metadata=option(
            number(minimum=0, maximum=1),
            "of persistent chains, started anew from each batch (0.2, or 0 for pcd)",
            "SHARE",
        ),
    )
    noisy: float = field(
        default=0.0,
        metadata=option(number(minimum=0, maximum=1), "of chains from samples: from noisy ones", "SHARE"),
    )
    damping: float | None = field(
        default=None,
        metadata=option(number(minimum=0, below=1), "of the sweeps (0, or 0.5 for adatap)", "SHARE"),
    )
    gradient: str = field(
        default="tap",
        metadata=option(
            choice(*GRADIENTS),
            "of TAP or a relative of it; or contrastive divergence, from the data or persistent",
        ),
    )
    seed: int = field(default=0, metadata=option(whole(0), "of the initial weights and of training", "N"))
    pretrain: int | None = field(
        default=None,
        metadata=option(
            whole(0, held=_RATE),
            "of a deep machine: passes for each layer before (as many, or as a resumed run began)",
            "N",
        ),
    )
    pass_up: str = field(
        default="samples", metadata=option(choice("samples", "means"), "what layers hand to the next then")
    )
    center: bool | None = field(
        default=None, metadata=option(flag(), "step along the gradient of centred units (yes if deep)")
    )

    def __post_init__(self) -> None:
        for f in fields(self):
            own, value = option_of(f), getattr(self, f.name)
            if own is not None and not (value is None and f.default is None):
                object.__setattr__(self, f.name, own.rule.check(f.name, value))
        self._refuse_contradictions()

    def _refuse_contradictions(self) -> None:
        starts = SAMPLED.get(self.gradient)
        if starts is None:
            return
        if self.damping is not None:
            raise ValueError(f"damping is of sweeps of mean-field equations: gradient {self.gradient!r} has none")
        if self.noisy:
            raise ValueError(f"noisy starts are means, not values: gradient {self.gradient!r} cannot take them")
        if self.chain_init not in (None, starts):
            raise ValueError(f"chain_init must be {starts!r} for gradient {self.gradient!r}, got {self.chain_init!r}")

    def __repr__(self) -> str:
        values = {f.name: getattr(self, f.name) for f in fields(self)}
        others = (f"{f.name}={values[f.name]!r}" for f in fields(self) if values[f.name] != default_of(f))
        return f"{type(self).__name__}({', '.join(others)})"


def check_settings(value: Any) -> Settings:
    """`value`, which must be settings."""
    if not isinstance(value, Settings):
        raise ValueError(f"settings must be tapcore.Settings(...), got {value!r}")
    return value
