"""Tables of figures as CSV: made of pieces that are written whole, so that what is there need not be made again."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from tapcore.storage import format as file_format

Row = Sequence[Any]


def write(path: Path, header: Row, rows: Iterable[Row]) -> None:
    """Write a table whole; numbers in full."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(header)
    writer.writerows(rows)
    path.parent.mkdir(parents=True, exist_ok=True)
    file_format.write_whole(path, text.getvalue().encode())


def read(path: Path) -> list[dict[str, str]]:
    """The rows of a table, by the names of the columns."""
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def _whole(path: Path, header: Row) -> bool:
    """Whether a table is there, with this header and all columns in every row: others are made anew."""
    if not path.is_file():
        return False
    with path.open(newline="", encoding="utf-8", errors="replace") as file:
        lines = list(csv.reader(file))
    return bool(lines) and lines[0] == [str(name) for name in header] and {len(line) for line in lines} == {len(header)}


def piecewise(path: Path, header: Row, pieces: Mapping[str, Callable[[], Iterable[Row]]]) -> None:
    """Make a table of pieces, each kept beside it as soon as it is made, and taken from there if it is there."""
    folder = path.with_suffix("")
    rows: list[Row] = []
    for name, make in pieces.items():
        piece = folder / f"{name}.csv"
        if not _whole(piece, header):
            print(f"{path.stem}: {name}", flush=True)
            write(piece, header, make())
        rows += [tuple(row.values()) for row in read(piece)]
    write(path, header, rows)
