"""Which data a run was trained on: `train` leaves a note, others read it."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

DATA_NOTE = "data.json"


def noted(run: Path) -> dict[str, Any] | None:
    """What `train` has noted in the folder of a run."""
    note = run / DATA_NOTE
    return json.loads(note.read_text(encoding="utf-8")) if note.is_file() else None


def image_shape(run: Path) -> tuple[int, int] | None:
    """Rows and columns of the images that a run was trained on, if they were images."""
    said = noted(run)
    return None if said is None or said["image_shape"] is None else tuple(said["image_shape"])


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
    return load(said["source"], threshold=said["threshold"] if threshold is None else threshold, key=key or said["key"])
