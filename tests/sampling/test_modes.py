"""ln Z and samples of machines with several modes far apart: against enumeration, or marked as not to be trusted."""

from __future__ import annotations

import itertools
import pickle
import warnings
from typing import Any

import numpy as np
import pytest
import scipy.stats
from cases import random_rbm
from numpy.testing import assert_allclose, assert_array_equal
from unit_cases import PLAIN as UNITS

import tapcore as tc
from tapcore.sampling.modes import find_modes
from tapcore.sampling.paths import settled_centres

REAL: dict[str, Any] = {
    "Gaussian": lambda n, rng: {"U": rng.normal(0, 1, n), "V": rng.uniform(0.5, 3, n)},
    "GaussBernoulli": lambda n, rng: REAL["Gaussian"](n, rng) | {"rho": rng.uniform(0.1, 0.9, n)},
    "TruncatedGaussian": lambda n, rng: {"U": rng.normal(0, 2, n), "V": rng.normal(0, 5, n)},
    "TruncatedGaussBernoulli": lambda n, rng: REAL["TruncatedGaussian"](n, rng) | {"rho": rng.uniform(0.1, 0.9, n)},
}
KINDS = ["Binary", "GaussBernoulli", "Gaussian", "Spin", "TruncatedGaussBernoulli", "TruncatedGaussian"]


def rugged(seed: int) -> tc.Machine:
    """Any visible units, and weights of any strength."""
    rng = np.random.default_rng(seed)
    kind, hidden = rng.choice(KINDS), rng.choice(["Binary", "Spin"])
    n, h = int(rng.integers(3, 20)), int(rng.integers(2, 9))
    options = REAL[kind](n, rng) if kind in REAL else {"U": rng.normal(0, 1, n)}
    weights = rng.normal(0, rng.uniform(0.05, 1.5), (n, h))
    return tc.RBM(UNITS[kind](n, **options), UNITS[hidden](h, U=rng.normal(0, 1, h)), weights=weights)


def stated(seed: int) -> tc.Machine:
    """Visible units of several states, or on half-lines."""
    rng = np.random.default_rng(seed)
    n, h = int(rng.integers(3, 12)), int(rng.integers(2, 9))
    sides = [rng.normal(0, 1, n), rng.uniform(0.5, 3, n), rng.normal(0, 1, n), rng.uniform(0.5, 3, n)]
    visible = (
        lambda: tc.Categorical(n, 4, rng.normal(size=(n, 4))),
        lambda: tc.Ordinal(n, [0, 1, 3], rng.normal(size=(n, 3))),
        lambda: tc.ReLU(n, *sides[:2]), lambda: tc.DoubleReLU(n, *sides),
    )[seed % 4]()  # fmt: skip
    weights = rng.normal(0, rng.uniform(0.05, 1.0), (visible.columns, h))
    return tc.RBM(visible, tc.Binary(h, U=rng.normal(0, 1, h)), weights=weights)


def separate(seed: int, most: int = 24) -> tc.Machine:
    """Two to four random patterns, each held by one or two hidden units, of unequal weights; binary or spin."""
    rng = np.random.default_rng(10_000 + seed)
    count, n, each = int(rng.integers(2, 5)), int(rng.integers(8, most + 1)), int(rng.integers(1, 3))
    coupling, depth = rng.uniform(0.8, 4.0), rng.uniform(0, 4, count)
    W = np.repeat(rng.choice([-1.0, 1.0], (count, n)), each, axis=0).T * coupling
    U = -0.6 * coupling * n + np.repeat(depth, each) / each
    if rng.random() < 0.5:
        return tc.RBM(tc.Spin(n, U=rng.normal(0, 0.1, n)), tc.Binary(count * each, U=U), weights=W)
    # The same laws in bits.
    return tc.RBM(tc.Binary(n, U=rng.normal(0, 0.2, n)), tc.Binary(count * each, U=U - W.sum(axis=0)), weights=2 * W)


def estimate(machine: tc.Machine, *arguments: Any, **options: Any) -> tc.AnnealedEstimate:
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "ais: the estimate is not to be trusted", UserWarning)
        return tc.ais(machine, *arguments, **options)


@pytest.mark.parametrize("make", [rugged, separate, stated])
def test_estimates_of_a_hundred_machines_are_within_their_errors_or_marked(make: Any) -> None:
    off, doubted = [], 0
    for seed in range(100):
        machine = make(seed)
        exact = tc.exact.log_z(machine)
        for reverse in (False, True):
            found = estimate(machine, 100, 200, seed, reverse=reverse)
            doubted += not found.trusted
            if found.trusted and not abs(found.log_z - exact) <= 4 * found.standard_error:
                off.append((seed, reverse, found.log_z - exact, found.standard_error))
    assert not off
    assert doubted <= 6  # of 200


ONE_SIDED = [
    tc.RBM(tc.Spin(20), tc.Spin(4), weights=np.full((20, 4), 0.75)),
    tc.RBM(tc.Binary(20, U=-5.5), tc.Binary(4, U=-30.0), weights=np.full((20, 4), 3.0)),
]


@pytest.mark.parametrize("machine", ONE_SIDED, ids=["two alike", "one that fields alone do not lead to"])
def test_no_mode_is_missed(machine: tc.Machine) -> None:
    exact = tc.exact.moments(machine)
    for reverse in (False, True):
        found = tc.ais(machine, reverse=reverse)
        assert found.trusted
        assert abs(found.log_z - exact.log_z) < 4 * found.standard_error
        assert found.standard_error < 0.05
    x = tc.sample(machine, 500, replicas=12, sweeps=200)
    error = np.sqrt(exact.var[0] / 500)
    assert (np.abs(x.mean(axis=0) - exact.mean[0]) < 5 * error + 1e-3).all()


def mixture(seed: int, scale: float, hidden: int) -> tc.Machine:
    """A mixture of up to 2^hidden Gaussians, hundreds of nats apart; no hidden unit is on by itself."""
    rng = np.random.default_rng(seed)
    W = rng.normal(size=(5, hidden)) * scale
    return tc.RBM(tc.Gaussian(5), tc.Binary(hidden, U=rng.normal(size=hidden) - 0.5 * (W**2).sum(axis=0)), weights=W)


def golf_hole(seed: int) -> tc.Machine:
    """One state of 20 bits with much of the law, that only the one hidden unit it turns on knows of, and decoys."""
    rng = np.random.default_rng(seed)
    pattern = rng.choice([-1.0, 1.0], 20)
    W = np.concatenate([8.0 * pattern[:, None], rng.normal(size=(20, 5)) * 1.5], axis=1)
    return tc.RBM(tc.Binary(20), tc.Binary(6, U=[22 - 8.0 * (pattern > 0).sum(), *[-1.0] * 5]), weights=W)


@pytest.mark.parametrize(
    "machine",
    [
        *(mixture(seed, 6.0, hidden) for seed, hidden in ((1, 10), (2, 10), (0, 14), (3, 14))),
        *map(golf_hole, (1, 2, 3)),
    ],
    ids=[*("mixture" for _ in range(4)), *("hole" for _ in range(3))],
)
def test_modes_that_no_field_points_at(machine: tc.Machine) -> None:
    exact = tc.exact.moments(machine)
    for reverse in (False, True):
        found = estimate(machine, reverse=reverse)
        assert abs(found.log_z - exact.log_z) < 4 * found.standard_error
    x = tc.sample(machine, 300, replicas=12, sweeps=200)
    assert (np.abs(x.mean(axis=0) - exact.mean[0]) < 5 * np.sqrt(exact.var[0] / 300) + 1e-3).all()


@pytest.mark.parametrize("coupling", [0.9, 0.9999])
def test_couplings_that_all_but_outgrow_precisions_are_doubted(coupling: float) -> None:
    machine = tc.RBM(tc.Gaussian(1), tc.Gaussian(1), weights=[[coupling]])
    exact = np.log(2 * np.pi) - 0.5 * np.log1p(-(coupling**2))
    found = estimate(machine)
    assert found.trusted == (coupling < 0.99)
    assert not found.trusted or abs(found.log_z - exact) < 4 * found.standard_error


def states(machine: tc.Machine) -> tuple[np.ndarray, np.ndarray]:
    """All visible states and their probabilities."""
    visible = machine.layers[0]
    rows = np.array(list(itertools.product(*[visible.levels] * visible.n)))
    return rows, np.exp(tc.exact.log_likelihood(machine, rows))


@pytest.mark.parametrize("seed", range(8))
def test_samples_by_replica_exchange_have_the_machine_s_law(seed: int) -> None:
    machine = separate(500 + seed, most=11)
    rows, p = states(machine)
    x = tc.sample(machine, 1000, replicas=12, sweeps=1000, seed=seed)
    low, high = machine.layers[0].levels
    number = (((x - low) / (high - low)) @ 2 ** np.arange(x.shape[1])[::-1]).astype(int)
    counts = np.bincount(number, minlength=len(rows))
    # Rare states together, five or more of them expected.
    order = np.argsort(p)
    rare = order[: np.searchsorted(np.cumsum(p[order]) * len(x), 5.0) + 1]
    common = np.setdiff1d(np.arange(len(p)), rare)
    seen, wanted = np.append(counts[common], counts[rare].sum()), np.append(p[common], p[rare].sum())
    assert scipy.stats.chisquare(seen, wanted * seen.sum() / wanted.sum()).pvalue > 1e-3


def test_every_mode_has_a_centre_and_what_mixes_has_one_together() -> None:
    far, near = separate(3), tc.RBM(tc.Spin(12, U=0.02), tc.Spin(8), weights=np.full((12, 8), 0.05))
    for machine, least in ((far, 2), (near, 1)):
        centres, shares = settled_centres(machine, 0)
        assert len(centres.log_z0) >= least
        assert np.exp(centres.log_mode).sum() == pytest.approx(1)
        # All of any state is shared out.
        x = machine.layers[0].random_means(30, np.random.default_rng(0))
        assert_allclose(np.exp(centres.responsibilities((x,), machine)).sum(axis=1), 1.0, rtol=1e-12)
        assert shares.error.shape == centres.log_z0.shape
    assert len(settled_centres(near, 0)[0].log_z0) == 1


@pytest.mark.parametrize("seed", range(6))
def test_bounds_of_modes_lie_below_and_means_are_fixed_points(seed: int) -> None:
    machine = rugged(seed)
    modes = find_modes(machine, 0)
    assert modes.bound.max() <= tc.exact.log_z(machine) + 1e-9
    visible, hidden = machine.layers
    W = machine.weights[0]
    assert_allclose(hidden.moments(modes.means[0] @ W, 0.0)[1], modes.means[1], atol=1e-3)
    assert_allclose(visible.moments(modes.means[1] @ W.T, 0.0)[1], modes.means[0], atol=1e-3)


def test_few_chains_and_hidden_modes_are_doubted() -> None:
    machine = random_rbm(2, "Spin", "Spin", sizes=(14, 10), sigma=1.2)
    found = [estimate(machine, 20, 3, seed) for seed in range(20)]
    doubted = next(seed for seed in range(20) if not found[seed].trusted)
    assert "of 20 chains carry all of the weight" in found[doubted].doubts[0]
    with pytest.warns(UserWarning, match=r"^ais: the estimate is not to be trusted: .*chains carry all of the weight"):
        tc.ais(machine, 20, 3, doubted)


def test_what_chains_come_upon_by_themselves_is_held_against_the_search(monkeypatch: pytest.MonkeyPatch) -> None:
    """A search that finds one mode only: chains that end in the other one tell."""
    import tapcore.sampling.paths as paths

    machine = tc.RBM(tc.Spin(12, U=0.02), tc.Spin(8), weights=np.full((12, 8), 0.18))
    whole = paths.find_modes

    def one(*arguments: Any) -> Any:
        modes = whole(*arguments)
        return modes._replace(means=tuple(x[:1] for x in modes.means), bound=modes.bound[:1])

    assert len(whole(machine, 0, None).bound) > 1
    monkeypatch.setattr(paths, "find_modes", one)
    found = estimate(machine, 200, 300)
    assert any("ended at modes" in doubt for doubt in found.doubts)


def test_forward_and_reverse_that_do_not_meet_are_doubted() -> None:
    from tapcore.evaluation.annealed import AnnealedEstimate, _doubted

    low, high = AnnealedEstimate(10.0, 0.1), AnnealedEstimate(11.0, 0.1)
    assert _doubted(high, low).doubts == ("forward and reverse do not meet: 10.000 and 11.000; try more temperatures",)
    assert "modes may be missing" in _doubted(low, high).doubts[0]
    assert _doubted(low, AnnealedEstimate(10.3, 0.1)).trusted
    assert _doubted(low, AnnealedEstimate(10.0, 0.1, ("few",))).doubts == ("forward, few",)


def test_an_estimate_is_a_pair_that_keeps_its_doubts() -> None:
    found = estimate(rugged(17), 4, 1)
    log_z, error = found
    assert (log_z, error) == (found.log_z, found.standard_error)
    again = pickle.loads(pickle.dumps(found))
    assert (again, again.doubts) == (found, found.doubts)


@pytest.mark.parametrize("layers", [2, 3, 4])
def test_machines_without_a_law_are_refused(layers: int) -> None:
    units = [tc.Gaussian(4, V=2.0), tc.GaussBernoulli(3, V=1.0), tc.Gaussian(2), tc.Gaussian(3)][:layers]
    shapes = [(a.n, b.n) for a, b in itertools.pairwise(units)]
    weak = tc.Machine(units, [np.full(s, 0.05) for s in shapes])
    strong = tc.Machine(units, [np.full(s, 0.05) for s in shapes[:-1]] + [np.full(shapes[-1], 2.0)])
    for call in (tc.ais, lambda m: tc.sample(m, 2, sweeps=1), lambda m: tc.sample(m, 2, sweeps=1, replicas=2)):
        with pytest.raises(ValueError, match=r"machine must have a finite Z: layers\[0\] to layers\[\d\]"):
            call(strong)
        call(weak)
    # A layer of bounded units between them holds any couplings.
    tc.ais(tc.DBM(tc.Gaussian(2), tc.Spin(2), tc.Gaussian(2), weights=[np.full((2, 2), 3.0)] * 2), 4, 4)


def test_samples_take_data() -> None:
    machine = separate(7, most=12)
    X = np.repeat(machine.layers[0].levels[1], 20 * machine.sizes[0]).reshape(20, -1)  # type: ignore[index]
    assert_array_equal(tc.sample(machine, 5, data=X, sweeps=0), X[:5])
    far = tc.sample(machine, 5, data=X, replicas=3, sweeps=5)
    machine.layers[0].check_data("x", far)
    with pytest.raises(ValueError, match="data must have"):
        tc.sample(machine, 5, data=X[:, :2])
    with pytest.raises(ValueError, match="data must be"):
        tc.sample(machine, 5, data=X + 0.3, replicas=2)


def test_too_few_replicas_are_said() -> None:
    with pytest.warns(UserWarning, match="^sample: of 2 replicas two neighbours changed places in 0"):
        tc.sample(tc.RBM(tc.Spin(60), tc.Spin(60), sigma=1.0, seed=0), 4, replicas=2, sweeps=25)


def test_single_precision_machines_take_their_own_data() -> None:
    X = np.random.default_rng(0).uniform(0.1, 0.7, (30, 5))
    visible = tc.TruncatedGaussian.from_data(X, lo=X.min(axis=0), hi=X.max(axis=0))
    machine = tc.RBM(visible, tc.Binary(3), sigma=0.1, seed=0, dtype="float32")
    assert tc.ais(machine, 4, 4, data=X).log_z == pytest.approx(tc.exact.log_z(machine), abs=0.1)
    assert np.isfinite(estimate(machine, 30, 4, init=X, reverse=True).log_z)
    assert tc.sample(machine, 30, init=X, replicas=2, sweeps=1).shape == (30, 5)
    assert tc.sample(machine, 30, data=X, replicas=2, sweeps=1).shape == (30, 5)
