"""Trained binary machines of any software, in files that are there whole or not at all."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path
from typing import NamedTuple

import numpy as np

import tapcore as tc
from tapcore.storage.format import write_whole


class Trained(NamedTuple):
    """A machine, and what it took."""

    machine: tc.Machine  # binary, of two layers
    epochs: float
    seconds: float


def store(path: Path, trained: Trained) -> None:
    """Write weights, fields and what they took as .npz.

    Raises
    ------
    ValueError
        If units are not binary.
    """
    visible, hidden = trained.machine.layers
    if not (isinstance(visible, tc.Binary) and isinstance(hidden, tc.Binary)):
        raise ValueError("trained: the units of the machine must be binary")
    buffer = io.BytesIO()
    np.savez(
        buffer, weights=trained.machine.weights[0], visible=visible.U, hidden=hidden.U,
        epochs=trained.epochs, seconds=trained.seconds,
    )  # fmt: skip
    path.parent.mkdir(parents=True, exist_ok=True)
    write_whole(path, buffer.getvalue())


def load(path: Path) -> Trained:
    """Read what `store` wrote, as a machine in float64: whatever trained it, it is scored by the same arithmetic.

    Raises
    ------
    ValueError
        With the path, where that is not such a file.
    """
    try:
        with np.load(path) as file:
            visible, hidden = (tc.Binary(len(file[name]), U=file[name]) for name in ("visible", "hidden"))
            machine = tc.RBM(visible, hidden, weights=file["weights"])
            return Trained(machine, float(file["epochs"]), float(file["seconds"]))
    except (KeyError, EOFError, ValueError, zipfile.BadZipFile) as error:
        raise ValueError(f"{path} is no trained machine: {error}") from error
