"""Settings of training as a user gives them: each is a field here, and nowhere else but in the signature of `fit`.

Nothing heavy loads with this module: the flags of `tapcore train` are made of it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, fields, replace
from functools import partial
from typing import Any

from tapcore.inference.methods import SWEEPS, TABLE, choices
from tapcore.training.optimisers import Adam, Momentum
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
    temperature,
    whole,
)
from tapcore.training.penalties import L1, L2
from tapcore.training.schedules import WORDS, Constant, Schedule

LearningRate = float | Callable[[int], float]

# Gradients whose chains are of Gibbs sampling, and where these start.
SAMPLED = {"cd": "data", "pcd": "persistent", "ptt": "persistent"}
GRADIENTS = (*choices(), *SAMPLED)
# Gradients whose chains are swept by mean-field equations.
SWEPT = tuple(name for name in choices() if TABLE[name].engine == SWEEPS)
# Bytes of an epoch's learning rate, here and in checkpoints.
_RATE = 16


def _check_penalty(name: str, value: Any) -> L1 | L2 | None:
    if value is not None and not isinstance(value, L1 | L2):
        raise ValueError(f"{name} must be tapcore.L1(...), tapcore.L2(...) or None, got {value!r}")
    return value


def _check_schedule(name: str, value: Any) -> Schedule | None:
    if not (value is None or (isinstance(value, Schedule) and type(value) in WORDS.values())):
        raise ValueError(f"{name} must be tapcore.Constant(), Linear(), Cosine(), Steps() or None, got {value!r}")
    return value


def _check_optimizer(name: str, value: Any) -> Momentum | Adam | None:
    if value is not None and not isinstance(value, Momentum | Adam):
        raise ValueError(f"{name} must be tapcore.Momentum(...), tapcore.Adam(...) or None, got {value!r}")
    return value


_OPTIMIZER = {
    "--adam": Flag("Adam, with this share of past derivatives, 0.9 say, in place of momentum", Adam),
}
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
    seed : int
        As the keyword of `fit` of the same name, as all that follow.
    epochs, batch_size, chains : int, optional
    seconds : float, optional
    learning_rate : float or callable, optional
    schedule : Constant, Linear, Cosine or Steps, optional
    momentum : float, optional
    noisy : float
    optimizer : Momentum or Adam, optional
    penalty : L1, L2 or None
    sweeps, pretrain : int, optional
    renew, pinning, solution_weights, damping : float, optional
    chain_init : str, optional
    gradient, pass_up : str
    center : bool, optional
    dtype : str, optional
    patience : int, optional
        With it, the machine of each epoch is an average over the last batches.

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

    epochs: int | None = field(
        default=None,
        metadata=option(whole(0, held=_RATE), "passes over the data, in all (as many as make 20,000 steps)", "N"),
    )
    seconds: float | None = field(
        default=None,
        metadata=option(number(minimum=0), "to train for, in place of a number of passes", "S"),
    )
    batch_size: int | None = field(
        default=None,
        metadata=option(whole(1), "samples in a mini-batch (a hundredth of them, 10 to 100)", "M"),
    )
    chains: int | None = field(
        default=None,
        metadata=option(whole(1), "chains that seek solutions for each mini-batch (100; from 50 on if measured)", "K"),
    )
    learning_rate: LearningRate | None = field(
        default=None, metadata=option(number_or_function(minimum=0), "size of the first steps (one that suits)", "RATE")
    )
    schedule: Schedule | None = field(
        default=None,
        metadata=option(
            Rule(_check_schedule, {"choices": tuple(WORDS)}),
            {"--schedule": Flag("how it falls (linear; constant where a rate is given)", lambda word: WORDS[word]())},
        ),
    )
    momentum: float | None = field(
        default=None,
        metadata=option(number(minimum=0, below=1), "share of the previous step that is kept (0.5)", "ETA"),
    )
    optimizer: Momentum | Adam | None = field(
        default=None,
        metadata=option(Rule(_check_optimizer, {"type": float}), _OPTIMIZER, "SHARE"),
    )
    penalty: L1 | L2 | None = field(
        default_factory=partial(L2, 0.001),
        metadata=option(Rule(_check_penalty, {"type": float}), _PENALTY, "EPSILON"),
    )
    sweeps: int | None = field(
        default=None,
        metadata=option(
            whole(1), "sweeps of each chain for each mini-batch (2; 10 from the data; 1 for cd, pcd and ptt)", "N"
        ),
    )
    chain_init: str | None = field(
        default=None,
        metadata=option(
            choice("data", "persistent", "random"), "where chains start (persistent; data for cd, rbp and adatap)"
        ),
    )
    renew: float | None = field(
        default=None,
        metadata=option(
            number(minimum=0, maximum=1),
            "of persistent chains, started anew from each batch (0.2, or 0 for pcd and ptt)",
            "SHARE",
        ),
    )
    pinning: float | None = field(
        default=None,
        metadata=option(
            number(minimum=0, maximum=1e6),
            "signal-to-noise ratio at which chains' hidden units are measured (3; more of few, less of many; 0: not)",
            "R",
        ),
    )
    solution_weights: float | None = field(
        default=None,
        metadata=option(
            temperature(),
            "weigh distinct solutions by exp(-F/T) in place of chains alike, which has done better",
            "T",
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
            "of TAP or a relative of it; or by Gibbs sampling: chains from the data, persistent, or tempered",
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
    center: bool | None = field(default=None, metadata=option(flag(), "step along the gradient of centred units (yes)"))
    dtype: str | None = field(
        default=None,
        metadata=option(choice("float64", "float32"), "to train in (float32 where that is as good)"),
    )
    patience: int | None = field(
        default=None,
        metadata=option(whole(1), "epochs without a better held-out score after which to stop (none)", "N"),
    )

    def __post_init__(self) -> None:
        for f in fields(self):
            own, value = option_of(f), getattr(self, f.name)
            if own is not None and not (value is None and f.default is None):
                object.__setattr__(self, f.name, own.rule.check(f.name, value))
        self._refuse_contradictions()

    def _refuse_contradictions(self) -> None:
        if self.seconds is not None and self.epochs is not None:
            raise ValueError("seconds take the place of epochs: give one of them")
        if self.optimizer is not None and self.momentum not in (None, getattr(self.optimizer, "share", None)):
            raise ValueError("momentum is part of the optimizer: give one of them")
        if self.schedule not in (None, Constant()) and callable(self.learning_rate):
            raise ValueError("learning_rate is a function, which leaves nothing to a schedule")
        if self.seconds is not None and callable(self.learning_rate):
            raise ValueError("learning_rate is a function of the epoch: a run of so many seconds needs a schedule")
        self._refuse_weights_of_no_solutions()
        starts = SAMPLED.get(self.gradient)
        kept = self.gradient in SWEPT and self.chain_init in (None, "persistent")
        if self.pinning and not kept:
            raise ValueError("pinning is of persistent chains of mean-field equations: leave it out")
        if starts is None:
            return
        if self.damping is not None:
            raise ValueError(f"damping is of sweeps of mean-field equations: gradient {self.gradient!r} has none")
        if self.noisy:
            raise ValueError(f"noisy starts are means, not values: gradient {self.gradient!r} cannot take them")
        if self.chain_init not in (None, starts):
            raise ValueError(f"chain_init must be {starts!r} for gradient {self.gradient!r}, got {self.chain_init!r}")

    def _refuse_weights_of_no_solutions(self) -> None:
        if self.solution_weights is None:
            return
        if self.gradient not in SWEPT:
            raise ValueError(
                f"solution_weights are of solutions of mean-field equations that chains share: gradient must be one of "
                f"{', '.join(map(repr, SWEPT))}, got {self.gradient!r}"
            )
        if self.pinning:
            raise ValueError(
                "solution_weights are of equations that all chains share, those of pinning are each chain's own: give "
                "one of them"
            )

    def __repr__(self) -> str:
        values = {f.name: getattr(self, f.name) for f in fields(self)}
        others = (f"{f.name}={values[f.name]!r}" for f in fields(self) if values[f.name] != default_of(f))
        return f"{type(self).__name__}({', '.join(others)})"


def check_settings(value: Any) -> Settings:
    """`value`, which must be settings."""
    if not isinstance(value, Settings):
        raise ValueError(f"settings must be tapcore.Settings(...), got {value!r}")
    return value


def paper_settings(**changes: Any) -> Settings:
    """Alg. 2 and Table I to the letter: what the paper trains by.

    Parameters
    ----------
    **changes
        Fields that are to be other than in the paper, as `epochs`.

    Returns
    -------
    Settings
        100 epochs, mini-batches of 100 samples, 100 chains that start from the samples and take 10 sweeps; rate 0.005
        throughout, momentum 0.5, weight decay 0.001, in float64, without centring. For "cd", "pcd" and "ptt", which the
        paper does not train by, one sweep, from where their chains start.

    Raises
    ------
    ValueError
        As `Settings`.

    Examples
    --------
    >>> machine, history = tc.fit(machine, X, settings=tc.paper_settings(epochs=20))
    """
    swept = changes.get("gradient") not in SAMPLED
    if changes.get("optimizer") is not None:
        changes = {"momentum": None} | changes  # the paper's goes with what it is part of
    return replace(
        Settings(
            epochs=100 if changes.get("seconds") is None else None, batch_size=100, chains=100, learning_rate=0.005,
            schedule=Constant(), momentum=0.5, penalty=L2(0.001), sweeps=10 if swept else None,
            chain_init="data" if swept else None, pinning=0.0, gradient="tap", center=False, dtype="float64",
        ),
        **changes,
    )  # fmt: skip
