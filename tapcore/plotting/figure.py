"""A figure, and its PNG; needs matplotlib (the `plot` extra)."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from tapcore.storage import format as file_format


def figure_of(width: float, height: float) -> Any:
    """A figure of so many inches."""
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise ImportError("figures need matplotlib: pip install 'tapcore[plot]'") from error
    # Without pyplot: no window system is touched and nothing stays in memory.
    return Figure(figsize=(width, height), dpi=150, layout="constrained")


def write(path: str | os.PathLike[str], figure: Any, **options: Any) -> None:
    """Write a figure as PNG: whole, or not at all."""
    import io

    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", **options)
    file_format.write_whole(Path(path), buffer.getvalue())
