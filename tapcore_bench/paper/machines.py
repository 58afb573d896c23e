"""Machines trained on binary MNIST as in Table I of the paper, made when first asked for."""

from __future__ import annotations

from pathlib import Path

import tapcore as tc
from tapcore_bench.paper.data import binary_mnist


def trained(folder: Path, hidden: int, epochs: list[int], noisy: float = 0.0) -> list[tc.Machine]:
    """784 x `hidden` machines after each of `epochs` epochs, kept in `folder`."""
    kind = f"{hidden}_noisy{noisy:g}" if noisy else f"{hidden}"
    paths = {epoch: folder / f"binary_mnist_{kind}_{epoch}.safetensors" for epoch in epochs}
    if not all(path.exists() for path in paths.values()):
        folder.mkdir(parents=True, exist_ok=True)

        def keep(machine: tc.Machine, record: tc.EpochRecord) -> None:
            print(f"training: epoch {record.epoch}, {record.log_likelihood:.4f} nats a unit", flush=True)
            if record.epoch in paths:
                tc.save(paths[record.epoch], machine)

        X = binary_mnist()
        machine = tc.RBM(tc.Binary.from_data(X), tc.Binary(hidden), seed=0)
        settings = tc.paper_settings(epochs=max(epochs), noisy=noisy)
        tc.fit(machine, X, settings=settings, callbacks=(keep,))
    return [tc.load(paths[epoch]) for epoch in epochs]


def trained_for(folder: Path, hidden: int, seconds: float) -> tc.Machine:
    """A 784 x `hidden` machine that `fit` makes by itself in so many seconds, kept in `folder`."""
    path = folder / f"binary_mnist_{hidden}_{seconds:g}s.safetensors"
    if not path.exists():
        folder.mkdir(parents=True, exist_ok=True)
        X = binary_mnist()
        machine = tc.RBM(tc.Binary.from_data(X), tc.Binary(hidden), seed=0)
        found = tc.fit(machine, X, seconds=seconds)
        print(f"{hidden} hidden units: {len(found.history)} epochs in {seconds:g} s", flush=True)
        tc.save(path, found.machine)
    return tc.load(path)
