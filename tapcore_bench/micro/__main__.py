"""Run microbenchmarks: ``python -m tapcore_bench.micro [NAME ...] [--repeats N] [--out FILE]``."""

from __future__ import annotations

import argparse
import importlib
from pathlib import Path

from tapcore_bench.micro.harness import machine_name, table

MARKS = ("<!-- begin: micro -->", "<!-- end: micro -->")
NAMES = ("exponential", "truncnorm", "sweep", "epoch", "startup")
# Run when named only.
LONGER = ("acceleration",)


def main() -> None:
    """Run the named benchmarks, or all, and print a table; with --out, write it too."""
    parser = argparse.ArgumentParser(description="Time kernels against what they cannot be faster than.")
    said = f"{', '.join(NAMES)} (all of them), or {', '.join(LONGER)}"
    parser.add_argument("names", nargs="*", metavar="NAME", help=said)
    parser.add_argument("--repeats", type=int, default=31, help="rounds in which competitors take turns")
    parser.add_argument("--out", type=Path, help="Markdown file to write, or one with marks to renew the table in")
    options = parser.parse_args()
    for name in options.names:
        if name not in NAMES + LONGER:
            parser.error(f"{name} is none of {', '.join(NAMES + LONGER)}")
    rows = []
    for name in options.names or NAMES:
        rows += importlib.import_module(f"tapcore_bench.micro.{name}").rows(options.repeats)
    text = f"{machine_name()}; medians of {options.repeats} rounds.\n\n{table(rows)}"
    print(text)
    if options.out is not None:
        write(options.out, text)


def write(path: Path, text: str) -> None:
    """Write `text` to `path`; between `MARKS`, if the file has them."""
    if path.exists():
        before, begin, rest = path.read_text(encoding="utf-8").partition(MARKS[0])
        _, end, after = rest.partition(MARKS[1])
        if begin and end:
            text = f"{before}{begin}\n{text}{end}{after}"
    path.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
