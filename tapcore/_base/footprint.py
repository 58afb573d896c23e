"""Refusal of what cannot fit in memory, before anything is allocated.

Arrays that are too large may well be granted, and the process killed when they are written to: so counts are held
against the memory that the machine has.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

_CGROUPS = Path("/sys/fs/cgroup")


def check(name: str, value: Any, needed: float) -> None:
    """Refuse `value` for the argument `name` if it would take more bytes than there is memory.

    Raises
    ------
    ValueError
        With how much it would take, and how much there is.
    """
    there = most()
    if needed > there:
        raise ValueError(f"{name} must fit in memory: {value} would take {_said(needed)}, of {_said(there)} in all")


def per_row(widths: Iterable[int], dtype: Any = np.float64) -> int:
    """Bytes of a row of arrays of these widths."""
    return sum(widths) * int(np.dtype(dtype).itemsize)


@cache
def most() -> float:
    """Bytes of memory that this process can have at most; infinite if that cannot be told."""
    try:
        there = float(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))
    except (AttributeError, OSError, ValueError):
        there = np.inf
    return min([there if there > 0 else np.inf, *limits(_CGROUPS, Path("/proc/self/cgroup"))])


def limits(root: Path, own: Path) -> list[float]:
    """Limits of the control groups that the file `own` names, and of those that they are in, under `root`."""
    found = []
    try:
        lines = own.read_text(encoding="ascii", errors="replace").splitlines()
    except OSError:
        lines = []
    folders = {root, root / "memory"}
    for line in lines:
        _, controllers, path = (*line.split(":", 2), "", "")[:3]
        if controllers in ("", "memory"):
            parts = Path(path.lstrip("/")).parts
            base = root / controllers if controllers else root
            folders |= {base.joinpath(*parts[:i]) for i in range(len(parts) + 1)}
    for folder in folders:
        for name in ("memory.max", "memory.limit_in_bytes"):
            try:
                found.append(float((folder / name).read_text(encoding="ascii")))
            except (OSError, ValueError):  # no such group, or "max"
                continue
    return found


def _said(size: float) -> str:
    for unit in ("bytes", "kB", "MB", "GB"):
        if size < 1000:
            return f"{size:.3g} {unit}"
        size /= 1000
    return f"{size:.3g} TB" if size < 1e6 else f"{size:.1e} TB"
