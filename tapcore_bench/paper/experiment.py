"""What the training experiments share: train, print each epoch, leave machine, record and pictures in a folder."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import tapcore as tc
from tapcore import plotting
from tapcore_bench.micro.harness import machine_name


def arguments(description: str, name: str, epochs: int, hidden: int) -> argparse.ArgumentParser:
    """Parser of the options that every experiment has."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--hidden", type=int, default=hidden)
    parser.add_argument("--epochs", type=int, default=epochs)
    parser.add_argument("--dtype", choices=("float64", "float32"), default="float64")
    parser.add_argument("--out", type=Path, default=Path("runs") / name)
    return parser


def train(
    machine: tc.Machine, X: NDArray[Any], *, size: int, rate: float | Callable[[int], float], decay: float, epochs: int
) -> tc.FitResult:
    """Train with M = K = `size`, momentum 1/2, 10 sweeps a batch from the data, printing each epoch."""
    print(machine_name())

    def say(_: tc.Machine, r: tc.EpochRecord) -> None:
        print(
            f"epoch {r.epoch}: log-likelihood per unit {r.log_likelihood:.4f}, {r.seconds:.2f} s; of {size} scored "
            f"chains {r.unconverged} did not converge; {r.lost} chains lost",
            flush=True,
        )

    return tc.fit(
        machine, X, settings=tc.paper_settings(dtype=machine.dtype.name), epochs=epochs, batch_size=size, chains=size,
        learning_rate=rate, penalty=tc.L2(decay), callbacks=(say,),
    )  # fmt: skip


def leave(folder: Path, machine: tc.Machine, history: tc.History, image: tuple[int, int]) -> None:
    """Write the machine, the record of epochs as CSV, and the pictures."""
    folder.mkdir(parents=True, exist_ok=True)
    tc.save(folder / "machine.safetensors", machine)
    header = ",".join(tc.EpochRecord._fields)
    np.savetxt(folder / "history.csv", history.to_array(), delimiter=",", header=header, comments="")
    plotting.receptive_fields(folder / "receptive_fields.png", machine, image)
    plotting.history(folder / "history.png", history)
