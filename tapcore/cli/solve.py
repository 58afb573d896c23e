"""`tapcore solve`."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tapcore.cli.data import add_starts, data_of
from tapcore.inference.methods import DEFAULT, choices

if TYPE_CHECKING:
    from tapcore.inference.solution import Solutions
    from tapcore.landscape.tracking import Tracker


def add_to(commands: Any) -> None:
    """Add the command's parser."""
    solve = commands.add_parser(
        "solve",
        help="find the solutions of a trained machine",
        description="Start chains from data and print the distinct solutions that they reach.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    add = solve.add_argument
    add("run", metavar="RUN", help="folder of a run, or a .safetensors file")
    add_starts(add)
    add("--method", choices=choices(lambda m: m.harvest), default=DEFAULT, help="second, first or third order")
    add("--tol", type=float, default=1e-6, help="how far from its solution a chain may stop, in any mean")
    add("--max-sweeps", type=int, default=10_000, metavar="N", help="most sweeps of a chain")
    add("--show", type=int, default=10, metavar="N", help="solutions to list")
    add("--all", action="store_true", help="follow the solutions over all checkpoints of the run, into tables in RUN")
    add("--threads", type=int, metavar="N", help="threads to use (all of the processors)")
    solve.set_defaults(run_command=_solve)


def _solve(options: argparse.Namespace) -> None:
    import numpy as np

    from tapcore._base import checks
    from tapcore._base.threads import thread_limit
    from tapcore.grouping.merging import tolerance_for
    from tapcore.inference.solve import solve
    from tapcore.storage.machines import load

    starts = checks.integer("--starts", options.starts, minimum=1)
    show = checks.integer("--show", options.show, minimum=0)
    rng = np.random.default_rng(checks.integer("--seed", options.seed, minimum=0))
    if options.all:
        _follow(options)
        return
    machine = load(options.run)
    X = data_of(options)
    rows = np.sort(rng.permutation(X.shape[0])[:starts])
    with thread_limit(options.threads):
        solutions = solve(machine, X[rows], method=options.method, tol=options.tol, max_sweeps=options.max_sweeps)
    _report(solutions, tolerance_for("--tol", None, options.tol, machine.dtype), show)


def _follow(options: argparse.Namespace) -> None:
    from tapcore._base.threads import thread_limit
    from tapcore.landscape.tracking import Tracker
    from tapcore.storage.machines import RunFolder, load

    run = Path(options.run)
    positions = [p for p in RunFolder(run).positions() if p.batch == 0]
    if not positions:
        raise ValueError(f"{run}: no checkpoints of complete epochs in this folder")
    tracker = Tracker(
        data_of(options), starts=options.starts, method=options.method, tol=options.tol,
        max_sweeps=options.max_sweeps, seed=options.seed,
    )  # fmt: skip
    table, summary = run / "solutions.csv", run / "solutions_summary.csv"
    print("  epoch   solutions   born   merged   lost   lowest F   mean F   unconverged starts")
    try:
        with thread_limit(options.threads):
            for position in positions:
                s = tracker.follow(load(position.path), position.epoch)
                print(
                    f"{s.epoch:7d}   {s.solutions:9d}   {s.born:4d}   {s.merged:6d}   {s.lost:4d}   {s.lowest:8.3f}   "
                    f"{s.mean:6.3f}   {s.unconverged:18d}",
                    flush=True,
                )
    finally:
        # After Ctrl-C too: what has been found so far.
        if tracker.summaries:
            tracker.write(table, summary)
    print(f"tables: {table}, {summary}")
    _draw_solutions(run / "solutions.png", tracker)


def _draw_solutions(path: Path, tracker: Tracker) -> None:
    from tapcore import plotting

    try:
        plotting.solutions_over_training(path, tracker)
    except ImportError as error:
        print(f"no picture: {error}", file=sys.stderr)
        return
    print(f"picture: {path}")


def _report(solutions: Solutions, tol: float, show: int) -> None:
    converged = int(solutions.converged.sum())
    print(f"{len(solutions)} chains: {converged} converged, {len(solutions) - converged} did not")
    mean, most = solutions.sweeps.mean(), solutions.sweeps.max()
    print(f"sweeps: mean {mean:.0f}, most {most}; largest residual {solutions.residual.max():.1e}")
    unique = solutions.unique(tol)
    print(f"{len(unique)} distinct solutions (means alike within {tol:g})")
    if len(unique) == 0 or show == 0:
        return
    print("  free energy   chains   residual")
    assert unique.counts is not None
    for k in range(min(show, len(unique))):
        print(f"{unique.free_energy[k]:13.6f} {unique.counts[k]:8d}   {unique.residual[k]:.1e}")
    if len(unique) > show:
        print(f"  ... and {len(unique) - show} more, up to {unique.free_energy[-1]:.6f}")
