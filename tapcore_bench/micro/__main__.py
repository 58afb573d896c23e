"""Run microbenchmarks: ``python -m tapcore_bench.micro [NAME ...] [--repeats N] [--out FILE] [--against PATH]``."""

from __future__ import annotations

import argparse
import importlib
from pathlib import Path

from tapcore_bench.micro.harness import machine_name, table
from tapcore_bench.pages import renew

NAMES = ("exponential", "truncnorm", "sweep", "epoch", "startup")
# Run when named only.
LONGER = ("acceleration", "methods", "versions")
# Compare with another checkout: the second only so.
COMPARED = ("startup", "versions")


def main() -> None:
    """Run the named benchmarks, or all, and print a table; with --out, write it too."""
    parser = argparse.ArgumentParser(description="Time kernels against what they cannot be faster than.")
    said = f"{', '.join(NAMES)} (all of them), or {', '.join(LONGER)}"
    parser.add_argument("names", nargs="*", metavar="NAME", help=said)
    parser.add_argument("--repeats", type=int, default=31, help="rounds in which competitors take turns")
    parser.add_argument("--out", type=Path, help="Markdown file to write, or one with marks to renew the table in")
    parser.add_argument(
        "--against", type=Path, metavar="PATH", help="for startup or versions: another checkout, in turn with this one"
    )
    options = parser.parse_args()
    for name in options.names:
        if name not in NAMES + LONGER:
            parser.error(f"{name} is none of {', '.join(NAMES + LONGER)}")
    if options.against is not None and (len(options.names) != 1 or options.names[0] not in COMPARED):
        parser.error(f"--against is for one of {', '.join(COMPARED)} alone")
    if options.against is None and "versions" in options.names:
        parser.error("versions needs --against PATH, the folder of another checkout")
    more = {} if options.against is None else {"against": options.against}
    rows = []
    for name in options.names or NAMES:
        rows += importlib.import_module(f"tapcore_bench.micro.{name}").rows(options.repeats, **more)
    text = f"{machine_name()}; medians of {options.repeats} rounds.\n\n{table(rows)}"
    print(text)
    if options.out is not None:
        write(options.out, text)


def write(path: Path, text: str) -> None:
    """Write `text` to `path`; between the marks of "micro", if the file has them."""
    if not (path.exists() and renew(path, "micro", text)):
        path.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
