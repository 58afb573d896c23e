"""Saved machines, and the folder of checkpoints that a training run leaves."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from numpy.typing import NDArray

from tapcore.machine import Machine, check_machine
from tapcore.storage import format as file_format
from tapcore.storage.format import CheckpointError
from tapcore.units import UNITS, Unit
from tapcore.units.mixed import Mixed

__all__ = ["CheckpointError", "RunFolder", "load", "save"]

Array = NDArray[Any]
PathLike = str | os.PathLike[str]


def save(path: PathLike, machine: Machine) -> None:
    """Write a machine to a file: whole, or not at all if anything fails.

    Parameters
    ----------
    path : str or path
        The file, conventionally ``*.safetensors``; replaced if it exists. Any safetensors reader opens its arrays.
    machine : Machine

    Raises
    ------
    ValueError
        `machine` is not a `Machine`.
    OSError
        The folder does not exist or cannot be written to.
    """
    check_machine(machine)
    file_format.write(Path(path), {"kind": "machine", **describe(machine)}, tensors_of(machine))


def load(path: PathLike) -> Machine:
    """Read a machine from a file made by `save`, from a checkpoint of a run, or that of a run's folder.

    The machine of a folder is the one that `fit` returns, or would if the run ended now: that of ``best.safetensors``,
    which a run with `patience` keeps, or else of the newest checkpoint.

    Parameters
    ----------
    path : str or path
        The file or the folder.

    Returns
    -------
    Machine
        Equal to the one saved, to the bit.

    Raises
    ------
    FileNotFoundError
        No such file, or a folder without checkpoints.
    CheckpointError
        A ValueError: the file is no checkpoint, any byte of it changed, or a newer tapcore wrote it.
    """
    path = Path(path)
    if path.is_dir():
        path = RunFolder(path).machine_path()
    return machine_from(path, *file_format.read(path))


def describe(machine: Machine) -> dict[str, Any]:
    """Header entries that say what a machine's tensors are."""
    return {"layers": [_described(layer) for layer in machine.layers], "dtype": machine.dtype.name}


def _described(layer: Unit) -> dict[str, Any]:
    """Type and size; of a layer of several blocks, those of each."""
    kind = type(layer).__name__
    if layer.blocks == (layer,):
        return {"type": kind, "n": layer.n}
    return {"type": kind, "blocks": [_described(block) for block in layer.blocks]}


def _layer_from(path: Path, header: Mapping[str, Any], tensors: Mapping[str, Array], prefix: str) -> Unit:
    """Rebuild a layer whose parameters have names with this prefix."""
    if "blocks" in header:
        blocks = enumerate(header["blocks"])
        return Mixed(*(_layer_from(path, block, tensors, f"{prefix}{i}.") for i, block in blocks))
    unit = UNITS.get(header["type"])
    if unit is None:
        raise CheckpointError(
            f"{path}: unknown unit type {header['type']!r}: import the module that defines it first; or is it of a "
            "newer tapcore?"
        )
    return unit(header["n"], **{name: tensors[prefix + name] for name in unit.names})


def tensors_of(machine: Machine) -> dict[str, Array]:
    """A machine's weights and unit parameters by name."""
    tensors = {f"weights.{i}": W for i, W in enumerate(machine.weights)}
    for i, layer in enumerate(machine.layers):
        tensors |= {f"layers.{i}.{name}": p for name, p in layer.parameters.items()}
    return tensors


def machine_from(path: Path, header: Mapping[str, Any], tensors: Mapping[str, Array]) -> Machine:
    """Rebuild the machine of a checkpoint read from `path`."""
    try:
        layers = [_layer_from(path, own, tensors, f"layers.{i}.") for i, own in enumerate(header["layers"])]
        return Machine(layers, [tensors[f"weights.{i}"] for i in range(len(layers) - 1)], header["dtype"])
    except CheckpointError:
        raise
    except (KeyError, TypeError, ValueError) as error:
        raise CheckpointError(f"{path}: holds no machine: {error!r}") from error


def epoch_of(path: Path) -> float:
    """Epochs that the machine of a checkpoint has been trained for; ValueError for a file that does not say it."""
    epoch = file_format.read(path)[0].get("epoch")
    if not isinstance(epoch, int):
        raise ValueError(f"{path}: does not say after which epoch it was written")
    return float(epoch)


class Position(NamedTuple):
    """How far a checkpoint has come: epochs done, batches done of the next one, and its file."""

    epoch: int
    batch: int
    path: Path


class RunFolder:
    """The folder of a training run: ``epoch-0000.safetensors``, ``epoch-0001.safetensors``, ...

    A checkpoint between two epochs, left by an interrupted run, is named by its batch too and goes when the epoch is
    complete. ``best.safetensors``, of a run with `patience`, is a checkpoint too, of the epoch with the best held-out
    score; it is no position of the series, and may be further on than the newest of these. In such a run's checkpoints
    the machine is the average that was scored; the one that takes the steps is beside it.
    """

    _NAME = re.compile(r"epoch-(\d+)(?:\.batch-(\d+))?\.safetensors")

    def __init__(self, path: PathLike) -> None:
        self.path = Path(path)
        if self.path.exists() and not self.path.is_dir():
            raise ValueError(f"checkpoint: {self.path} is not a folder")

    def positions(self) -> list[Position]:
        """All checkpoints, oldest first."""
        if not self.path.is_dir():
            return []
        found = ((self._NAME.fullmatch(p.name), p) for p in self.path.iterdir())
        return sorted(Position(int(m[1]), int(m[2] or 0), p) for m, p in found if m)

    def newest(self) -> Position | None:
        """The checkpoint furthest on."""
        return max(self.positions(), default=None)

    @property
    def best_path(self) -> Path:
        """The file of the best epoch, whether it is there or not."""
        return self.path / "best.safetensors"

    def machine_path(self) -> Path:
        """The file whose machine stands for the run; FileNotFoundError if there are no checkpoints."""
        if self.best_path.is_file():
            return self.best_path
        newest = self.newest()
        if newest is None:
            raise FileNotFoundError(f"{self.path}: no checkpoints in this folder")
        return newest.path

    def way(self) -> list[Path]:
        """Files of the machines that lead to the one that stands for the run, oldest first, that one last."""
        positions = self.positions()
        if not self.best_path.is_file():
            return [p.path for p in positions]
        # What came after the best epoch leads elsewhere; of a machine that a user has put there no way is known.
        epoch = file_format.read(self.best_path)[0].get("epoch", 0)
        return [*(p.path for p in positions if p.epoch < epoch), self.best_path]

    def prepare(self) -> None:
        """Make the folder; remove what killed processes left half-written."""
        self.path.mkdir(parents=True, exist_ok=True)
        file_format.remove_leftovers(self.path)

    def write_best(self, header: Mapping[str, Any], tensors: Mapping[str, Array]) -> None:
        """Write the checkpoint of the best epoch in the place of the one before."""
        file_format.write(self.best_path, header, tensors)

    def write(self, epoch: int, batch: int, header: Mapping[str, Any], tensors: Mapping[str, Array]) -> None:
        """Write a checkpoint, then remove those between epochs that it supersedes."""
        name = f"epoch-{epoch:04d}" + (f".batch-{batch:06d}" if batch else "") + ".safetensors"
        file_format.write(self.path / name, header, tensors)
        for old in self.positions():
            if old.batch and (old.epoch, old.batch) < (epoch, batch):
                old.path.unlink(missing_ok=True)
