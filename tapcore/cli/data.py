"""Which data a run was trained on: `train` leaves a note, others read it."""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tapcore.storage.datasets import Dataset

DATA_NOTE = "data.json"
# In it: the share of the samples that was held out and the seed that drew them; else None, as in runs of old.
HELD_OUT = "held_out"

_NOTED = ("source", "threshold", "key", "image_shape")


def source_of(data: str) -> str:
    """What notes call the data that the command line names so."""
    from tapcore.storage.bundled import BUNDLED

    return data if data in BUNDLED else str(Path(data).resolve())


def noted(run: Path) -> dict[str, Any] | None:
    """What `train` has noted in the folder of a run; ValueError, with the file's name, if it is no such note."""
    note = run / DATA_NOTE
    if not note.is_file():
        return None
    try:
        said = json.loads(note.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{note} is no JSON: {error}") from None
    if not isinstance(said, dict) or not said.keys() >= set(_NOTED):
        raise ValueError(f"{note} must name {', '.join(_NOTED)}, as `tapcore train` leaves it")
    return said


def load_as_trained(source: str, threshold: float | None, key: str | None, said: dict[str, Any] | None) -> Dataset:
    """Data of one's own by the threshold given, or by that of the run's data unless they are 0 and 1 already."""
    from tapcore.storage.bundled import BUNDLED
    from tapcore.storage.datasets import load_with_shape

    if threshold is None and said is not None:
        threshold = said["threshold"]
        if threshold is not None and source not in BUNDLED:
            given = load_with_shape(source, key=key)
            if _two_valued(given.X):
                return given
    found = load_with_shape(source, threshold=threshold, key=key)
    refuse_alike(source, threshold, found.X)
    return found


def refuse_alike(source: str, threshold: float | None, X: Any) -> None:
    """ValueError where a threshold leaves nothing of the data."""
    if threshold is not None and (X.all() or not X.any()):
        raise ValueError(
            f"{source}: all of the data are {'above' if X.any() else 'at most'} the threshold {threshold:g}"
        )


def _two_valued(X: Any) -> bool:
    from tapcore._base.checks import row_blocks

    return all(((rows == 0) | (rows == 1)).all() for _, rows in row_blocks(X))


def check_out(given: str) -> Path:
    """The array file that a command is to write, with a picture beside it; refused before it computes anything."""
    out = Path(given)
    if out.suffix == ".png":
        raise ValueError(f"--out must not end in .png, where the picture goes: {out}")
    if out.is_dir():
        raise ValueError(f"--out must be a file, and {out} is a folder")
    if not out.parent.is_dir():
        raise ValueError(f"--out must be in a folder that exists: there is no {out.parent}")
    return out


def image_shape(run: Path) -> tuple[int, int] | None:
    """Rows and columns of the images that a run was trained on, if they were images."""
    said = noted(run)
    return None if said is None or said["image_shape"] is None else tuple(said["image_shape"])


def add_starts(add: Callable[..., Any]) -> None:
    """Add the flags that say from which samples chains start."""
    add("--data", metavar="DATA", help="data to start from (those of the run)")
    add("--threshold", type=float, metavar="T", help="make data binary: 1 above T, else 0")
    add("--key", metavar="NAME", help="which array of a .npz file")
    add("--starts", type=int, default=1000, metavar="K", help="samples to start from, drawn at random")
    add("--seed", type=int, default=0, metavar="N", help="of the draw")


def data_of(options: argparse.Namespace) -> Any:
    """Data given, or those that the run was trained on."""
    from tapcore.storage.datasets import load

    if options.data is not None:
        return load(options.data, threshold=options.threshold, key=options.key)
    X = data_of_run(Path(options.run), options.threshold, options.key)
    if X is None:
        raise ValueError(f"{options.run} does not say which data it was trained on: give --data")
    return X


def data_of_run(run: Path, threshold: float | None = None, key: str | None = None) -> Any:
    """Data that the run in a folder was trained on, by its own threshold and key if none are given; None if unknown."""
    from tapcore.storage.datasets import load

    said = noted(run)
    if said is None:
        return None
    X = load(said["source"], threshold=said["threshold"] if threshold is None else threshold, key=key or said["key"])
    if not said.get(HELD_OUT):
        return X
    from tapcore.training.held_out import drawn_out

    return X[~drawn_out(len(X), *said[HELD_OUT])]
