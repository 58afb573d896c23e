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
    said = noted(Path(options.run))
    if said is None:
        raise ValueError(f"{options.run} does not say which data it was trained on: give --data")
    threshold = said["threshold"] if options.threshold is None else options.threshold
    return load(said["source"], threshold=threshold, key=options.key or said["key"])


def load_as_trained(run: Path, source: str | None, threshold: float | None, key: str | None) -> Any:
    """Data at `source`, or else those of the run; binary as these if no threshold is given. None of no known run."""
    from tapcore.storage.datasets import load

    said = noted(run if run.is_dir() else run.parent)
    if source is None:
        if said is None:
            return None
        source, key = said["source"], said["key"]
    if threshold is None and said is not None:
        threshold = said["threshold"]
    return load(source, threshold=threshold, key=key)
