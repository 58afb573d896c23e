"""Ways to train a binary machine for so many seconds: recipes of ours, what they are made of, and peers."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from importlib.util import find_spec
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

import tapcore as tc
from tapcore_bench.peers import rbms_peer
from tapcore_bench.peers.rbms_peer import Setting
from tapcore_bench.peers.trained import Trained

BATCH = 100
# Of each peer the better of these counts.
RATES = (0.01, 0.05)
SETTINGS = (Setting(0.15, 500, 500), Setting(0.3, 500, 500), Setting(0.15, 500, 100))
# The recipe of `fit`, and what changes when one ingredient is another: by TAP, then by sampling.
INGREDIENTS: dict[str, dict[str, Any]] = {
    "fit()": {},
    "fit(pinning=0)": {"pinning": 0.0},
    "fit(pinning=1)": {"pinning": 1.0},
    "fit(pinning=10)": {"pinning": 10.0},
    "fit(pinning=30)": {"pinning": 30.0},
    "fit(pinning=0, renew=0.05)": {"pinning": 0.0, "renew": 0.05},
    "fit(solution_weights=1)": {"solution_weights": 1.0},
    "fit(solution_weights=5)": {"solution_weights": 5.0},
    "fit(renew=0.05)": {"renew": 0.05},
    "fit(chains=25)": {"chains": 25},
    "fit(chains=100)": {"chains": 100},
    "fit(sweeps=1)": {"sweeps": 1},
    "fit(sweeps=4)": {"sweeps": 4},
    'fit(gradient="nmf")': {"gradient": "nmf"},
    'fit(gradient="tap3")': {"gradient": "tap3"},
    "fit(center=False)": {"center": False},
    "fit(learning_rate=0.1, schedule=Linear())": {"learning_rate": 0.1, "schedule": tc.Linear()},
    "fit(learning_rate=0.4, schedule=Linear())": {"learning_rate": 0.4, "schedule": tc.Linear()},
    "fit(learning_rate=0.2)": {"learning_rate": 0.2},
    "fit(optimizer=Adam())": {"optimizer": tc.Adam()},
    'fit(dtype="float64")': {"dtype": "float64"},
    'fit(gradient="pcd")': {"gradient": "pcd"},
    'fit(gradient="pcd", center=False)': {"gradient": "pcd", "center": False},
    'fit(gradient="pcd", dtype="float64")': {"gradient": "pcd", "dtype": "float64"},
}


class Way(NamedTuple):
    """One that is compared."""

    train: Callable[[float], Trained]  # for so many seconds
    lacks: str = ""  # what it needs and is not there, in one line


def by_fit(X: NDArray[Any], hidden: int, settings: Callable[[float], tc.Settings], seconds: float) -> Trained:
    """Ours; what compiles and what reads data for the first time is done before."""
    machine = tc.RBM(tc.Binary.from_data(X), tc.Binary(hidden), seed=0)
    tc.fit(machine, X[: 10 * BATCH], settings=settings(0.1), progress=False)
    _accelerate()
    begun = time.perf_counter()
    found = tc.fit(machine, X, settings=settings(seconds), progress=False)
    return Trained(found.machine, len(found.history), time.perf_counter() - begun)


def _accelerate() -> None:
    """Compile what accelerates sweeps: a run comes to it when its machine is trained well, but a short one may not."""
    for dtype in ("float32", "float64"):
        # Near its critical point, where sweeps contract slowly.
        machine = tc.RBM(tc.Spin(8), tc.Spin(8), weights=np.full((8, 8), 1 / 8), dtype=dtype)
        tc.solve(machine, np.full((20, 8), 0.4), tol=1e-9)


def by_bernoulli_rbm(X: NDArray[Any], hidden: int, rate: float, seconds: float) -> Trained:
    """scikit-learn's, which has persistent contrastive divergence at a constant rate."""
    from sklearn.neural_network import BernoulliRBM

    model = BernoulliRBM(hidden, learning_rate=rate, batch_size=BATCH, random_state=0)
    rng, batches, begun = np.random.default_rng(0), 0, time.perf_counter()
    per_epoch, elapsed = len(X) // BATCH, 0.0
    while elapsed < seconds:
        if batches % per_epoch == 0:
            order = rng.permutation(len(X))
        rows = order[batches % per_epoch * BATCH :][:BATCH]
        model.partial_fit(X[rows].astype(np.float32))
        batches, elapsed = batches + 1, time.perf_counter() - begun
    layers = tc.Binary(X.shape[1], U=model.intercept_visible_), tc.Binary(hidden, U=model.intercept_hidden_)
    return Trained(tc.RBM(*layers, weights=model.components_.T), batches / per_epoch, elapsed)


def ingredients(X: NDArray[Any], hidden: int) -> dict[str, Way]:
    """The recipe of `fit`, and what changes when one ingredient is another."""

    def way(changed: dict[str, Any]) -> Way:
        return Way(partial(by_fit, X, hidden, lambda seconds: tc.Settings(seconds=seconds, **changed)))

    return {name: way(changed) for name, changed in INGREDIENTS.items()}


def ways(X: NDArray[Any], hidden: int) -> dict[str, Way]:
    """What is compared, by name; also what cannot be trained here."""
    found = {
        "fit": Way(partial(by_fit, X, hidden, lambda s: tc.Settings(seconds=s))),
        'fit(gradient="pcd")': Way(partial(by_fit, X, hidden, lambda s: tc.Settings(gradient="pcd", seconds=s))),
        'fit(gradient="ptt")': Way(partial(by_fit, X, hidden, lambda s: tc.Settings(gradient="ptt", seconds=s))),
        "paper_settings()": Way(partial(by_fit, X, hidden, lambda s: tc.paper_settings(seconds=s))),
    }
    lacks = "" if find_spec("sklearn") else "BernoulliRBM needs scikit-learn: pip install 'tapcore[sklearn]'"
    for rate in RATES:
        found[f"BernoulliRBM, rate {rate:g}"] = Way(partial(by_bernoulli_rbm, X, hidden, rate), lacks)
    for setting in SETTINGS:
        name = f"rbms, rate {setting.rate:g}, {setting.chains} chains, batches of {setting.batch}"
        found[name] = Way(partial(rbms_peer.train, X, hidden, setting), rbms_peer.lacks())
    return found
