"""Grey images as they might have been: in-painting and added noise. ``python -m tapcore_bench.paper.restoring``.

The lower half of grey MNIST's test digits (TruncatedGaussBernoulli units) and of CBCL's test faces (TruncatedGaussian
units) is erased and filled in with posterior means; Gaussian noise is added to the faces and taken away again. Mean
squared errors go to `scores.csv`, beside those of the pixel means, of the training image nearest in what is seen, and
of the pointwise posterior means; pictures go beside it.
"""

from __future__ import annotations

import argparse
import csv
import time
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

import tapcore as tc
from tapcore import plotting
from tapcore.channels import Channel
from tapcore_bench.micro.harness import machine_name
from tapcore_bench.paper.data import cbcl_faces, cbcl_faces_test, real_mnist, real_mnist_test


class Data(NamedTuple):
    """Images to learn from and to restore, and how to train."""

    name: str
    train: NDArray[Any]
    test: NDArray[Any]
    shape: tuple[int, int]
    visible: Any
    hidden: int
    size: int  # of batches, and chains
    rate: float
    last_rate: float
    decay: float


def digits() -> Data:
    """Grey MNIST, as in Table I."""
    return Data(
        "digits", real_mnist(), real_mnist_test(), (28, 28), tc.TruncatedGaussBernoulli, 100, 100, 1e-2, 1e-3, 1e-3
    )


def faces() -> Data:
    """CBCL, as in Table I."""
    return Data("faces", cbcl_faces(), cbcl_faces_test(), (19, 19), tc.TruncatedGaussian, 256, 20, 5e-3, 5e-3, 1e-2)


def machine_for(data: Data, epochs: int, folder: Path) -> tc.Machine:
    """Trained on the data, kept in `folder`."""
    path = folder / f"{data.name}_{epochs}.safetensors"
    if not path.exists():
        fall = (data.last_rate / data.rate) ** (1 / max(1, epochs - 1))
        machine = tc.RBM(data.visible.from_data(data.train), tc.Binary(data.hidden), seed=0)
        machine, history = tc.fit(
            machine, data.train, epochs=epochs, batch_size=data.size, chains=data.size,
            learning_rate=lambda epoch: data.rate * fall ** (epoch - 1), penalty=tc.L2(data.decay),
        )  # fmt: skip
        print(f"{data.name}: {history[-1]}", flush=True)
        tc.save(path, machine)
    return tc.load(path)


def restore(data: Data, machine: tc.Machine, channel: Channel, count: int, starts: int) -> dict[str, NDArray[Any]]:
    """The clean images, what is seen of them, and estimates, by name."""
    clean = data.test[:count].astype(np.float64)
    prior = data.visible.from_data(data.train)
    seen = channel.corrupt(machine.layers[0], clean, np.random.default_rng(0))
    begun = time.perf_counter()
    found = tc.posterior(machine, seen, channel, prior=prior, starts=starts)
    print(f"{data.name}, {channel!r}: {time.perf_counter() - begun:.1f} s, {int(found.converged.sum())} converged")
    hidden = ~channel.observed(clean.shape)
    means = np.where(hidden, data.train.mean(axis=0), seen)
    near = np.where(hidden, tc.nearest_neighbours(data.train, seen, channel), seen)
    if not hidden.any():
        near = tc.nearest_neighbours(data.train, seen, channel)
    return {
        "clean": clean, "seen": seen, "TAP": found.mean, "pixel means": means, "nearest": near,
        "pointwise": tc.pointwise(prior, seen, channel),
    }  # fmt: skip


def main() -> None:
    """Train, restore, score, draw."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--digits-epochs", type=int, default=10)
    parser.add_argument("--faces-epochs", type=int, default=50)
    parser.add_argument("--images", type=int, default=400)
    parser.add_argument("--starts", type=int, default=1)
    parser.add_argument("--out", type=Path, default=Path("runs") / "restoring")
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    print(machine_name())
    rows = []
    for data, epochs, deviations in (
        (digits(), options.digits_epochs, ()),
        (faces(), options.faces_epochs, (0.1, 0.2)),
    ):
        machine = machine_for(data, epochs, options.out)
        lower = np.arange(data.train.shape[1]) >= data.shape[0] // 2 * data.shape[1]
        channels: list[tuple[str, Channel]] = [("lower half", tc.Erasure(lower))]
        channels += [(f"noise {d}", tc.GaussianNoise(d * d)) for d in deviations]
        for what, channel in channels:
            images = restore(data, machine, channel, options.images, options.starts)
            clean = images["clean"]
            scores = {k: float(((x - clean) ** 2).mean()) for k, x in images.items() if k not in ("clean", "seen")}
            rows += [(data.name, what, method, score) for method, score in scores.items()]
            print(f"  {what}: " + ", ".join(f"{method} {score:.5f}" for method, score in scores.items()), flush=True)
            plotting.rows_of_images(options.out / f"{data.name}_{what.replace(' ', '_')}.png", images, data.shape)
    with (options.out / "scores.csv").open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([("data", "channel", "method", "mean_squared_error"), *rows])


if __name__ == "__main__":
    main()
