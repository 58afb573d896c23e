"""Pages of results, of which each program renews its part."""

from __future__ import annotations

from pathlib import Path


def renew(path: Path, name: str, text: str) -> bool:
    """Put `text` between the marks of `name` in a page; whether it has such marks."""
    before, begin, rest = path.read_text(encoding="utf-8").partition(f"<!-- begin: {name} -->")
    _, end, after = rest.partition(f"<!-- end: {name} -->")
    if begin and end:
        path.write_text(f"{before}{begin}\n{text}{end}{after}", encoding="utf-8")
    return bool(begin and end)
