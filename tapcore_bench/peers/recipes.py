"""The recipe of `fit` beside Alg. 2 of the paper, at equal time: ``python -m tapcore_bench.peers.recipes``.

Machines of every kind on data that suit them, each trained alone for so many seconds without what compiles: by `fit`
without options and by `paper_settings`. Scored on data held out: the log-likelihood by annealed importance sampling,
forward and back, and TAP's over all solutions. Digits, their grey values and a table come with scikit-learn; MNIST and
the CBCL faces are taken where they are (`tapcore_bench.paper.data`), and left out else.
"""

from __future__ import annotations

import argparse
import math
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import tapcore as tc
from tapcore.units import Unit
from tapcore_bench.micro.harness import machine_name
from tapcore_bench.paper import data

Array = NDArray[Any]
Make = Callable[[Array], tc.Machine]

# Samples held out that are scored.
SCORED = 1000
# Samples drawn.
SHOWN = 64


def _two_layers(visible: Callable[[Array], Unit], hidden: Unit) -> Make:
    return lambda X: tc.RBM(visible(X), hidden, seed=0)


def _grey(X: Array) -> Unit:
    return tc.TruncatedGaussBernoulli.from_data(X, lo=0.0, hi=1.0)


def small() -> Iterator[tuple[str, Make, Array]]:
    """What comes with scikit-learn: name, machine for training data, and data, in random order."""
    from sklearn.datasets import load_breast_cancer, load_digits

    rng = np.random.default_rng(0)
    grey = rng.permutation(load_digits().data / 16)
    binary = np.asarray(grey > 0.47, float)
    table = load_breast_cancer().data
    table = rng.permutation((table - table.mean(axis=0)) / table.std(axis=0))
    yield "digits, 64x64", _two_layers(tc.Binary.from_data, tc.Binary(64)), binary
    yield "digits as spins, 64x64", _two_layers(tc.Spin.from_data, tc.Spin(64)), 2 * binary - 1
    yield (
        "digits, deep 64-40-20",
        lambda X: tc.DBM(tc.Binary.from_data(X), tc.Binary(40), tc.Binary(20), seed=0),
        binary,
    )
    yield "digits, Gaussian hidden units, 64x16", _two_layers(tc.Binary.from_data, tc.Gaussian(16)), binary
    yield "grey digits, spikes and slabs, 64x64", _two_layers(_grey, tc.Binary(64)), grey
    yield "table of 30 columns, Gaussian, 30x30", _two_layers(tc.Gaussian.from_data, tc.Binary(30)), table


def large() -> Iterator[tuple[str, Make, Array]]:
    """MNIST and faces, where they are."""
    rng = np.random.default_rng(0)
    for name, make, load in (
        ("binary MNIST, 784x100", _two_layers(tc.Binary.from_data, tc.Binary(100)), data.binary_mnist),
        ("grey MNIST, spikes and slabs, 784x100", _two_layers(_grey, tc.Binary(100)), data.real_mnist),
        ("CBCL faces, truncated Gaussian, 361x256",
         _two_layers(lambda X: tc.TruncatedGaussian.from_data(X, lo=0.0, hi=1.0), tc.Binary(256)), data.cbcl_faces),
    ):  # fmt: skip
        try:
            X = load()
        except SystemExit as error:  # which is how experiments say so
            print(f"{name}: left out, {error}")
            continue
        yield name, make, X[rng.permutation(len(X))]


def compare(
    name: str, make: Make, X: Array, seconds: float, rows: int = SCORED, pictures: Path | None = None
) -> list[str]:
    """Lines of the table, one for each recipe; and pictures of what the recipe of `fit` makes, in a folder."""
    held = min(rows, len(X) // 5)
    training, test = X[:-held], np.asarray(X[-held:], float)
    lines = []
    for recipe, settings in (("`fit`", tc.Settings()), ("`paper_settings()`", tc.paper_settings(seconds=seconds))):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of chains that are lost while something compiles, and of what is doubted
            tc.fit(make(training), training[:500], settings=settings, seconds=0.1, progress=False)
            found = tc.fit(make(training), training, settings=settings, seconds=seconds, progress=False)
            if pictures is not None and recipe == "`fit`":
                draw(pictures, name, found.machine, training)
            score = tc.score(found.machine, test, data=training, chains=100, temperatures=1000, progress=False)
        known = "" if score.known else " (not known)"
        lines.append(
            f"| {name} | {recipe} | {len(found.history)} | {score.log_likelihood:.2f}{known} | "
            f"{score.other_log_likelihood:.2f} | {score.tap_weighted:.2f} |"
        )
    return lines


def draw(folder: Path, name: str, machine: tc.Machine, training: Array) -> None:
    """Receptive fields, samples after 1,000 sweeps from training samples, and training samples for comparison."""
    from tapcore import plotting

    side = math.isqrt(machine.sizes[0])
    if side * side != machine.sizes[0]:
        return  # a table
    folder.mkdir(parents=True, exist_ok=True)
    word = name.replace(" ", "-").replace(",", "")
    plotting.receptive_fields(folder / f"{word}-fields.png", machine, (side, side))
    drawn = tc.sample(machine, SHOWN, data=training, progress=False)
    for kind, rows in (("samples", drawn), ("data", training[:SHOWN])):
        plotting.images(folder / f"{word}-{kind}.png", rows, (side, side))


def main() -> None:
    """Train, score and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=20.0, help="of training, each")
    parser.add_argument("--large", action="store_true", help="MNIST and CBCL instead of small data")
    parser.add_argument("--pictures", type=Path, metavar="FOLDER", help="draw receptive fields and samples there")
    options = parser.parse_args()
    print(f"{machine_name()}; {options.seconds:g} s of training each, nats a sample held out.\n")
    print("| machine | recipe | epochs | log-likelihood, forward | back | TAP |")
    print("| --- | --- | --- | --- | --- | --- |")
    for name, make, X in (large if options.large else small)():
        for line in compare(name, make, X, options.seconds, pictures=options.pictures):
            print(line, flush=True)


if __name__ == "__main__":
    main()
