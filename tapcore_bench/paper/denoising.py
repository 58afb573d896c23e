"""Denoising the binary symmetric channel, Figs. 8 and 9: ``python -m tapcore_bench.paper.denoising``.

Test images of binary MNIST go through the channel; machines trained on the training images, the pointwise optimum and
the nearest training image are compared by the Matthews correlation of their estimates, by squared errors, and by the
share of pixels that they light, as images lost to noise are told by. Writes `curves.csv`, then two pictures. The quick
setting takes one machine of 100 hidden units; `--hidden 25 50 100 500 --epochs 100 --combine best --starts 1` is the
paper's, `--seconds 300` what `fit` and `denoise` make by themselves. With `--noisy 0.5` another machine like the last
one is compared whose training also met noisy starts.
"""

from __future__ import annotations

import argparse
import csv
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

import tapcore as tc
from tapcore import plotting
from tapcore_bench.micro.harness import machine_name
from tapcore_bench.paper.data import binary_mnist, binary_mnist_test
from tapcore_bench.paper.machines import trained, trained_for

NOISE = (0.0, 0.02, 0.05, 0.1, 0.15, 0.2, 0.25, 0.3, 0.35, 0.4, 0.45, 0.5)
POINTWISE, NEAREST = "pointwise optimum", "nearest neighbour"


class Row(NamedTuple):
    """Averages over the images."""

    method: str
    p: float
    matthews_correlation: float
    squared_error: float
    lit: float  # share of pixels above 1/2
    seconds: float


Estimate = Callable[[NDArray[Any], tc.BinarySymmetric], NDArray[Any]]


def curves(estimates: dict[str, Estimate], clean: NDArray[Any], noise: tuple[float, ...]) -> tuple[list[Row], Any]:
    """Scores of each estimate at each noise, and what each makes of the first image."""
    visible, rows = tc.Binary(clean.shape[1]), []
    first: dict[str, list[NDArray[Any]]] = {"seen": [], **{name: [] for name in estimates}}
    for p in noise:
        channel = tc.BinarySymmetric(p)
        seen = channel.corrupt(visible, clean, np.random.default_rng(0))
        first["seen"].append(seen[0])
        for name, estimate in estimates.items():
            begun = time.perf_counter()
            found = estimate(seen, channel)
            seconds = time.perf_counter() - begun
            first[name].append(found[0])
            score = float(tc.matthews_correlation(clean, found).mean())
            error, lit = float(((found - clean) ** 2).mean()), float((found > 0.5).mean())
            rows.append(Row(name, p, score, error, lit, seconds))
            print(f"p = {p:.2f}, {name}: {score:.4f}, error {error:.4f}, lit {lit:.3f}, {seconds:.1f} s", flush=True)
    return rows, {name: np.array(images) for name, images in first.items()}


def estimates_of(
    machines: dict[str, tc.Machine], X: NDArray[Any], starts: int | None, combine: str
) -> dict[str, Estimate]:
    """Posterior means of each machine, and the baselines."""
    prior = tc.Binary.from_data(X)

    def by(machine: tc.Machine) -> Estimate:
        return lambda Y, channel: tc.denoise(machine, Y, channel, prior=prior, starts=starts, combine=combine)

    return {
        POINTWISE: lambda Y, channel: tc.pointwise(prior, Y, channel),
        NEAREST: lambda Y, channel: tc.nearest_neighbours(X, Y, channel),
        **{name: by(machine) for name, machine in machines.items()},
    }


def write(path: Path, rows: list[Row]) -> None:
    """Leave the scores as CSV."""
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(Row._fields)
        writer.writerows(rows)


def draw(path: Path, rows: list[Row]) -> None:
    """Fig. 8, and squared errors."""
    import matplotlib as mpl

    mpl.use("Agg")
    import matplotlib.pyplot as plt

    figure, panels = plt.subplots(1, 2, figsize=(10, 4.5), layout="constrained")
    scores = {"Matthews correlation": "matthews_correlation", "mean squared error": "squared_error"}
    for axes, (label, column) in zip(panels, scores.items(), strict=True):
        for name in dict.fromkeys(row.method for row in rows):
            style = {POINTWISE: "k--", NEAREST: "k-"}.get(name, ".-")
            own = [(row.p, getattr(row, column)) for row in rows if row.method == name]
            axes.plot(*zip(*own, strict=True), style, label=name)
        axes.set(xlabel="probability of a flip", ylabel=label)
    panels[0].legend(fontsize="small")
    figure.savefig(path, dpi=110)
    plt.close(figure)


def main() -> None:
    """Train what is missing, denoise, write, draw."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--hidden", type=int, nargs="+", default=[100])
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--images", type=int, default=1000)
    parser.add_argument("--noisy", type=float, default=0.0, help="share of noisy starts; 0 leaves this machine out")
    parser.add_argument("--seconds", type=float, help="of training by `fit`'s own settings, in place of epochs")
    parser.add_argument("--starts", type=int, help="chains, or with --combine best starting points, of each image")
    parser.add_argument("--combine", choices=("best", "mean"), default="mean", help="best: one solution, as the paper")
    parser.add_argument("--out", type=Path, default=Path("runs") / "denoising")
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    print(machine_name())
    machines = {}
    for hidden in options.hidden:
        if options.seconds is None:
            machines[f"{hidden} hidden units"] = trained(options.out, hidden, [options.epochs])[0]
        else:
            machines[f"{hidden} hidden units"] = trained_for(options.out, hidden, options.seconds)
    if options.noisy:
        name = f"{hidden} hidden units, noisy starts"
        machines[name] = trained(options.out, hidden, [options.epochs], noisy=options.noisy)[0]
    clean = binary_mnist_test()[: options.images]
    begun = time.perf_counter()
    rows, first = curves(estimates_of(machines, binary_mnist(), options.starts, options.combine), clean, NOISE)
    print(f"{time.perf_counter() - begun:.0f} s for all of {len(clean)} images at {len(NOISE)} noises")
    write(options.out / "curves.csv", rows)
    draw(options.out / "curves.png", rows)
    plotting.rows_of_images(options.out / "images.png", first, (28, 28))
    print(f"curves.csv, curves.png and images.png in {options.out}")


if __name__ == "__main__":
    main()
