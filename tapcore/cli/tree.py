"""`tapcore tree`."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tapcore.cli.data import add_starts, data_of, image_shape
from tapcore.inference.methods import DEFAULT, choices

if TYPE_CHECKING:
    from tapcore.landscape.trees import SolutionTree


def add_to(commands: Any) -> None:
    """Add the command's parser."""
    tree = commands.add_parser(
        "tree",
        help="join the solutions of a trained machine into a tree",
        description="Join the solutions that chains from data reach into a tree, as training goes back or, with "
        "--temperature, as the temperature rises: Newick, tables and a picture, and colour strips for iTOL.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    add = tree.add_argument
    add("run", metavar="RUN", help="folder of a run; with --temperature also a .safetensors file")
    add_starts(add)
    add("--method", choices=choices(lambda m: m.harvest), default=DEFAULT, help="second, first or third order")
    add("--temperature", action="store_true", help="of the last machine at falling couplings, in place of the run's")
    add("--annotations", metavar="CSV", help="labels of samples: a column Name (or row number from 0), others legends")
    add("--colors", metavar="CSV", help="colours of labels: columns Legend, Label, Color (#rrggbb)")
    add("--out", metavar="FOLDER", help="where files go (RUN/tree, or RUN/tree-temperature)")
    add("--threads", type=int, metavar="N", help="threads to use (all of the processors)")
    tree.set_defaults(run_command=_tree)


def _tree(options: argparse.Namespace) -> None:
    import numpy as np

    from tapcore._base import checks
    from tapcore._base.threads import thread_limit
    from tapcore.landscape.harvest import harvest
    from tapcore.landscape.itol import leaf_labels, read_annotations, write_tree
    from tapcore.landscape.trees import solution_tree
    from tapcore.storage.machines import load

    count = checks.integer("--starts", options.starts, minimum=1)
    rng = np.random.default_rng(checks.integer("--seed", options.seed, minimum=0))
    if options.colors and not options.annotations:
        raise ValueError("--colors needs --annotations, the labels that they are of")
    run, known = Path(options.run), None
    out = (
        Path(options.out)
        if options.out
        else (run if run.is_dir() else run.parent) / ("tree-temperature" if options.temperature else "tree")
    )
    if out.exists() and not out.is_dir():
        raise ValueError(f"--out must be a folder, and {out} is a file")
    if options.annotations:
        known = read_annotations(options.annotations, options.colors)
    machine = load(run)
    X = data_of(options)
    rows = np.sort(rng.permutation(X.shape[0])[:count])
    with thread_limit(options.threads):
        solutions = harvest(machine, X[rows], method=options.method)
        if not len(solutions):
            raise ValueError("no chain has converged: there is no solution to be a leaf")
        tree = solution_tree(machine if options.temperature else run, solutions)
    assert solutions.labels is not None
    labels = {} if known is None else {
        legend: leaf_labels(own, [str(row) for row in rows], solutions.labels, len(solutions))
        for legend, own in known.labels.items()
    }  # fmt: skip
    written = write_tree(out, tree, labels, None if known is None else known.colors)
    _report(tree, labels)
    print(f"files: {', '.join(path.name for path in written)} in {out}")
    _draw(out / "tree.png", tree, run, labels, {} if known is None else known.colors)


def _report(tree: SolutionTree, labels: dict[str, list[str | None]]) -> None:
    inner = len(tree) - len(tree.solutions)
    print(f"{len(tree.solutions)} solutions, joined at {inner} nodes along {tree.along}")
    if not tree.joined:
        print("they do not all come from one: the root only holds together what is left")
    for legend, own in labels.items():
        print(f"{legend}: {sum(label is not None for label in own)} of {len(own)} leaves have a label")


def _draw(path: Path, tree: SolutionTree, run: Path, labels: Any, colors: Any) -> None:
    from tapcore import plotting

    legend = next(iter(labels), None)
    own = {} if legend is None else {"labels": labels[legend], "colors": colors[legend]}
    try:
        plotting.tree(path, tree, image_shape=image_shape(run) if run.is_dir() else None, **own)
    except ImportError as error:
        print(f"no picture: {error}", file=sys.stderr)
        return
    print(f"picture: {path}")
