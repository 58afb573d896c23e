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
from tapcore.priors.channels import Channel
from tapcore.units import Unit
from tapcore_bench.micro.harness import machine_name
from tapcore_bench.paper.data import cbcl_faces, cbcl_faces_test, real_mnist, real_mnist_test


class Data(NamedTuple):
    """Images to learn from and to restore, and how to train."""

    name: str
    train: NDArray[Any]
    test: NDArray[Any]
    shape: tuple[int, int]
    visible: Unit  # fitted to the training images
    hidden: Unit
    rate: float
    last_rate: float
    how: dict[str, Any]  # other settings of training
    sigma: float = 1e-3  # of the first weights
    left_out: Any = 0.0  # of the images, to be added before they are drawn


def digits() -> Data:
    """Grey MNIST, as in Table I."""
    X, how = real_mnist(), {"batch_size": 100, "chains": 100}
    visible = tc.TruncatedGaussBernoulli.from_data(X)
    return Data("digits", X, real_mnist_test(), (28, 28), visible, tc.Binary(100), 1e-2, 1e-3, how)


def faces() -> Data:
    """CBCL, less the mean face, with Gaussian hidden units.

    All pixels of a face are bright or dark together, by far the largest part of their variance. Where units have means,
    the gradient of each weight is mostly that of its unit's field, and this mode is not learned: the machine of Table I
    fills in half a face little better than the mean face does. Of what is left after the mean face no unit has one.
    Four persistent chains do, as such a machine has few solutions.
    """
    X, test = cbcl_faces(), cbcl_faces_test()
    mean = X.mean(axis=0, dtype=np.float64)
    X, test = X - mean, test - mean
    lo, hi = (f(end, f(X.min(axis=0), X.max(axis=0))) for f, end in ((np.minimum, -mean), (np.maximum, 1 - mean)))
    visible = tc.TruncatedGaussian.from_data(X, lo=lo, hi=hi)
    how = {
        "batch_size": 100, "chains": 4, "chain_init": "persistent", "renew": 0.0, "sweeps": 40, "penalty": tc.L2(0.01),
    }  # fmt: skip
    return Data("faces", X, np.clip(test, lo, hi), (19, 19), visible, tc.Gaussian(100), 1e-2, 3e-4, how, 0.01, mean)


def machine_for(data: Data, epochs: int, folder: Path) -> tc.Machine:
    """Trained on the data, kept in `folder`."""
    path = folder / f"{data.name}_{epochs}.safetensors"
    if not path.exists():
        fall = (data.last_rate / data.rate) ** (1 / max(1, epochs - 1))
        machine = tc.RBM(data.visible, data.hidden, sigma=data.sigma, seed=0)

        def rate(epoch: int) -> float:
            return float(data.rate * fall ** (epoch - 1))

        # In standard coordinates, which come with centring.
        settings = tc.paper_settings(epochs=epochs, learning_rate=rate, center=True)
        machine, history = tc.fit(machine, data.train, settings=settings, **data.how)
        print(f"{data.name}: {history[-1]}", flush=True)
        tc.save(path, machine)
    return tc.load(path)


def restore(
    data: Data, machine: tc.Machine, channel: Channel, count: int, starts: int | None
) -> dict[str, NDArray[Any]]:
    """The clean images, what is seen of them, and estimates, by name."""
    clean = data.test[:count].astype(np.float64)
    prior = data.visible
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
    parser.add_argument("--faces-epochs", type=int, default=60)
    parser.add_argument("--images", type=int, default=400)
    parser.add_argument("--starts", type=int, help="of each image, by default `posterior`'s own")
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
            drawn = {name: x + data.left_out for name, x in images.items()}
            plotting.rows_of_images(options.out / f"{data.name}_{what.replace(' ', '_')}.png", drawn, data.shape)
    with (options.out / "scores.csv").open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([("data", "channel", "method", "mean_squared_error"), *rows])


if __name__ == "__main__":
    main()
