"""A TAP sweep against its own four matrix products, and with real-valued units against one with binary ones."""

from __future__ import annotations

from functools import partial
from itertools import pairwise

import numpy as np

import tapcore as tc
from tapcore.equations.compiled import compiled
from tapcore.inference.solve import rule_for
from tapcore.inference.sweeps.chains import Chains
from tapcore.units import Unit
from tapcore_bench.micro.harness import Row, take_turns
from tapcore_bench.micro.products import Products

CHAINS = 100
FACES = 20
DEEP = (500, 100)
# Sweeps in a call, as in a training step.
CALLED = 10
TARGETS = {("float64", 500): 1.10, ("float64", 100): 1.25, ("float32", 500): 1.20, ("float32", 100): 1.45}


class Sweeps:
    """Chains of a machine with weights as large as those after training, ready to sweep."""

    def __init__(self, visible: Unit, hidden: tuple[int, ...], dtype: str, chains: int = CHAINS) -> None:
        rng = np.random.default_rng(0)
        weights = [rng.normal(0, 0.1, pair) for pair in pairwise((visible.n, *hidden))]
        machine = tc.Machine((visible, *map(tc.Binary, hidden)), weights, dtype)
        self.own = compiled(machine.layers, machine.weights, 2)
        self.rule = rule_for(machine, "tap", adapt=True)
        self.chains = Chains(machine.sizes, chains, machine.dtype)
        self.chains.start_from_visible(visible.sample(np.zeros((chains, visible.n)), 0.0, rng))
        self.run(1)

    def run(self, sweeps: int) -> None:
        """Sweep all chains."""
        self.chains.run(self.own, self.rule, sweeps, 0.0)


def rows(repeats: int) -> list[Row]:
    """Ten sweeps a call, as in training, and one: then the cost of waking the threads counts in full."""
    made = []
    for (dtype, hidden), target in TARGETS.items():
        sweeps, products = Sweeps(tc.Binary(784), (hidden,), dtype), Products(784, hidden, CHAINS, CHAINS, dtype)
        competitors = [
            partial(sweeps.run, CALLED),
            partial(products.sweep, CALLED),
            partial(sweeps.run, 1),
            partial(products.sweep, 1),
        ]
        ten, ten_products, one, one_products = take_turns(competitors, repeats)
        what = f"a sweep, {dtype}, 784x{hidden}, K = {CHAINS}"
        made.append(Row(f"{what}, {CALLED} a call", ten / CALLED, ten_products / CALLED, "its 4 products", target))
        made.append(Row(f"{what}, 1 a call", one, one_products, "its 4 products"))
    return [*made, deep(repeats), *real_valued(repeats)]


def deep(repeats: int) -> Row:
    """A machine of three layers: the products of both pairs of them."""
    sweeps = Sweeps(tc.Binary(784), DEEP, "float64")
    pairs = [Products(below, above, CHAINS, CHAINS, "float64") for below, above in pairwise((784, *DEEP))]

    def products() -> None:
        for _ in range(CALLED):
            for pair in pairs:
                pair.sweep(1)

    ours, theirs = take_turns([partial(sweeps.run, CALLED), products], repeats)
    what = f"a sweep, float64, {'-'.join(map(str, (784, *DEEP)))}, K = {CHAINS}, {CALLED} a call"
    return Row(what, ours / CALLED, theirs / CALLED, "its 8 products", 1.15)


def real_valued(repeats: int) -> list[Row]:
    """Layers with parameters such as maximum likelihood gives for grey digits and for faces."""
    rng = np.random.default_rng(1)
    V = rng.uniform(-27, -1.5, 784)
    digits = tc.TruncatedGaussBernoulli(784, rho=rng.uniform(0.1, 0.9, 784), U=V / 2 + rng.normal(0, 2, 784), V=V)
    V = rng.uniform(2.4, 40, 361)
    faces = tc.TruncatedGaussian(361, U=V * rng.uniform(0.2, 0.8, 361), V=V)
    made = []
    for visible, hidden, chains, target in ((digits, 500, CHAINS, 1.5), (faces, 256, FACES, 1.8)):
        ours = Sweeps(visible, (hidden,), "float64", chains)
        binary = Sweeps(tc.Binary(visible.n), (hidden,), "float64", chains)
        real, plain = take_turns([partial(ours.run, CALLED), partial(binary.run, CALLED)], repeats)
        what = f"a sweep, float64, {visible.n}x{hidden}, K = {chains}, {type(visible).__name__}"
        made.append(Row(what, real / CALLED, plain / CALLED, "with Binary", target))
    return made
