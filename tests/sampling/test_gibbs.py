"""Gibbs sampling: the reference draw by draw, the exact law of small machines, streams, refusals."""

from __future__ import annotations

import itertools
from typing import Any

import naive_gibbs
import numpy as np
import pytest
import scipy.stats
from cases import random_machine, random_rbm, unit_of
from numpy.testing import assert_array_equal
from unit_cases import EVERY_UNIT

import tapcore as tc
from tapcore._base.random import streams
from tapcore._base.threads import thread_limit
from tapcore.special import truncnorm

DEEP = (("binary", 4), ("spin", 3), ("spin", 2), ("binary", 3))


@pytest.mark.nojit
@pytest.mark.parametrize("kinds", [(("binary", 5), ("spin", 3)), DEEP], ids=["rbm", "deep"])
def test_chains_are_those_of_the_reference(kinds: tuple[tuple[str, int], ...]) -> None:
    layers, weights = random_machine(3, *kinds, width=0.8)
    machine = tc.Machine(map(unit_of, layers), weights)
    sampler = tc.GibbsSampler(machine, 4, seed=11)
    sampler.sweep(6)
    U = [[site["U"] for site in layer] for layer in layers]
    for k, words in enumerate(streams(4, 11)):
        expected = naive_gibbs.chain([kind for kind, _ in kinds], U, weights, words.tolist(), 6)
        for found, values in zip(sampler.layers, expected, strict=True):
            assert_array_equal(found[k], values)


def states(machine: tc.Machine) -> tuple[np.ndarray, np.ndarray]:
    """All states of a machine of binary and spin units, one a row, and their probabilities."""
    each: list[Any] = [layer.levels for layer in machine.layers for _ in range(layer.n)]
    rows = np.array(list(itertools.product(*each)))
    ends = np.cumsum([0, *machine.sizes])
    parts = [rows[:, a:b] for a, b in itertools.pairwise(ends)]
    energy = sum(layer.log_weight(x).sum(axis=1) for layer, x in zip(machine.layers, parts, strict=True))
    energy += sum(((a @ W) * b).sum(axis=1) for a, b, W in zip(parts, parts[1:], machine.weights, strict=False))
    p = np.exp(energy - energy.max())
    return rows, p / p.sum()


@pytest.mark.parametrize("kinds", [(("binary", 3), ("binary", 2)), DEEP[:3]], ids=["rbm", "deep"])
def test_joint_law_by_chi_square(kinds: tuple[tuple[str, int], ...]) -> None:
    layers, weights = random_machine(1, *kinds, width=0.7)
    machine = tc.Machine(map(unit_of, layers), weights)
    rows, p = states(machine)
    sampler = tc.GibbsSampler(machine, 20_000, seed=2)
    sampler.sweep(40)
    found = np.concatenate(sampler.layers, axis=1)
    key = {tuple(row): i for i, row in enumerate(rows)}
    counts = np.bincount([key[tuple(row)] for row in found], minlength=len(rows))
    # Rare states together, so that each class expects five or more.
    order = np.argsort(p)
    rare = order[np.cumsum(p[order]) * len(found) < 5]
    common = np.setdiff1d(np.arange(len(rows)), rare)
    classes = np.append(counts[common], counts[rare].sum()), np.append(p[common], p[rare].sum())
    keep = classes[1] > 0
    assert scipy.stats.chisquare(classes[0][keep], classes[1][keep] * len(found)).pvalue > 1e-3


@EVERY_UNIT
def test_marginals_of_every_unit(kind: str) -> None:
    machine = random_rbm(4, kind, "Binary", sizes=(4, 3), sigma=0.8)
    x = tc.sample(machine, 4000, sweeps=40, seed=3, progress=False)
    visible = machine.layers[0]
    visible.check_data("x", x)
    exact = tc.exact.moments(machine)
    assert (np.abs(x.mean(axis=0) - exact.mean[0]) < 4 * np.sqrt(exact.var[0] / 4000)).all()
    if visible.levels is not None:
        expected = 4000 * tc.exact.marginals(machine, 0, np.array(visible.levels))
        counts = np.array([(x == s).sum(axis=0) for s in visible.levels])
    else:
        # The distribution on a fine grid, from the density; jumps of atoms at 0 are added where they are.
        lo, hi = (np.broadcast_to(end, visible.n) for end in visible.bounds())
        spread = 10 * np.sqrt(exact.var[0])
        ends = np.maximum(lo, exact.mean[0] - spread), np.minimum(hi, exact.mean[0] + spread)
        edges = np.linspace(*ends, 13)
        expected, counts = np.empty((12, visible.n)), np.empty((12, visible.n))
        for i in range(visible.n):
            counts[:, i] = np.histogram(x[:, i][x[:, i] != 0], edges[:, i])[0]
            fine = np.linspace(edges[:-1, i], edges[1:, i], 400, endpoint=False)
            fine += 0.5 * (fine[1] - fine[0])
            density = tc.exact.marginals(machine, 0, fine.ravel())[:, i].reshape(fine.shape)
            expected[:, i] = 4000 * density.mean(axis=0) * np.diff(edges[:, i])
        atoms = np.array([(x == 0).sum(axis=0)])
        expected = np.concatenate([expected, np.maximum(4000 - expected.sum(axis=0), 1e-9)[None]])
        counts = np.concatenate([counts, 4000 - counts.sum(axis=0)[None]])
        assert (counts[-1] == atoms[0]).all()
    for seen, wanted in zip(counts.T, expected.T, strict=True):
        kept = wanted > 5
        rest = np.append(seen[kept], seen[~kept].sum()), np.append(wanted[kept], wanted[~kept].sum())
        some = rest[1] > 0.5
        scaled = rest[1][some] * rest[0][some].sum() / rest[1][some].sum()
        assert scipy.stats.chisquare(rest[0][some], scaled).pvalue > 1e-4


@pytest.mark.parametrize("V", [-30.0, -3.0, 0.0, 5.0])
def test_truncated_gaussians_of_any_precision(V: float) -> None:
    U = np.array([14.0, 1.0, -20.0])
    machine = tc.RBM(tc.TruncatedGaussian(3, U=U, V=V), tc.Binary(1), weights=np.zeros((3, 1)))
    x = tc.sample(machine, 5000, sweeps=1, seed=1, progress=False)
    for i in range(3):
        law = scipy.stats.kstest(x[:, i], lambda t, i=i: truncnorm.cdf(t, V, U[i], 0.0, 1.0))
        assert law.pvalue > 1e-3


@pytest.mark.usefixtures("all_threads")
def test_chains_depend_neither_on_others_nor_on_threads() -> None:
    machine = random_rbm(5, "TruncatedGaussian", "Binary", sizes=(9, 6))
    x = tc.sample(machine, 300, sweeps=20, seed=3)
    assert_array_equal(tc.sample(machine, 100, sweeps=20, seed=3), x[:100])
    with thread_limit(1):
        assert_array_equal(tc.sample(machine, 300, sweeps=20, seed=3), x)
    assert not (tc.sample(machine, 300, sweeps=20, seed=4) == x).any()


def test_starts_and_single_precision() -> None:
    machine = random_rbm(6).replace(dtype="float32")
    X = np.ones((3, 7))
    assert_array_equal(tc.sample(machine, 3, init=X, sweeps=0), X)
    assert tc.sample(machine, 3, sweeps=2).dtype == np.float32
    sampler = tc.GibbsSampler(machine, 2, init=X[:2])
    assert [x.shape for x in sampler.layers] == [(2, 7), (2, 5)]
    before = sampler.layers[0]
    sampler.sweep(5)
    assert_array_equal(before, X[:2])  # a copy


def test_units_without_a_law_give_nan_in_their_chain_only() -> None:
    # h given x has precision 1 - A: no A here, so a chain is lost only where its start says so.
    machine = random_rbm(7, "Gaussian", "Gaussian", sizes=(3, 2))
    sampler = tc.GibbsSampler(machine, 3, init=np.zeros((3, 3)))
    sampler._chains.state.mean[1][1] = np.inf
    sampler.sweep(2)
    lost = [~np.isfinite(x).all(axis=1) for x in sampler.layers]
    assert_array_equal(lost[0], [False, True, False])
    assert_array_equal(lost[1], lost[0])


def test_refusals() -> None:
    machine = random_rbm(8)
    for options, message in (
        ({"n": 0}, "n must be an integer"),
        ({"n": 2, "init": np.zeros((3, 7))}, "init must have 2 rows"),
        ({"n": 2, "init": np.zeros((2, 6))}, "init must have 7 columns"),
        ({"n": 2, "init": np.full((2, 7), 0.5)}, r"init\b.* 0 or 1"),
        ({"n": 2, "init": np.full((2, 7), 0.5), "replicas": 3}, r"init\b.* 0 or 1"),
        ({"n": 2, "sweeps": -1}, "sweeps must be"),
        ({"n": 2, "replicas": 0}, "replicas must be"),
        ({"n": 2, "seed": -1}, "seed must be"),
    ):
        with pytest.raises(ValueError, match=message):
            tc.sample(machine, **options)
    with pytest.raises(ValueError, match="machine must be"):
        tc.sample(3, 1)  # type: ignore[arg-type]
    with pytest.raises(FileNotFoundError):
        tc.sample("nowhere", 1)
