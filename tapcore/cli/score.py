"""`tapcore score`."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tapcore.cli.data import data_of_run, noted

if TYPE_CHECKING:
    from tapcore.evaluation.annealed import AnnealedEstimate
    from tapcore.evaluation.score import Score


def add_to(commands: Any) -> None:
    """Add the command's parser."""
    score = commands.add_parser(
        "score",
        help="how good a machine is, and whether that is known",
        description="Score a machine on data by all yardsticks: the log-likelihood with ln Z by annealing both ways, "
        "TAP log-likelihoods, pseudo-log-likelihood, the free-energy gap to the training data, and samples made from "
        "scratch beside the data.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    add = score.add_argument
    add("run", metavar="RUN", help="folder of a run, or a .safetensors file")
    add("data", metavar="DATA", help="samples, as for train")
    add("--threshold", type=float, metavar="T", help="as for train (that of the run)")
    add("--key", metavar="NAME", help="which array of a .npz file")
    add("--chains", type=int, default=200, metavar="N", help="of annealing")
    add("--temperatures", type=int, default=2000, metavar="N", help="of annealing")
    add("--seed", type=int, default=0, metavar="N", help="of all that is drawn")
    add("--json", action="store_true", help="print one JSON object and nothing else")
    add("--threads", type=int, metavar="N", help="threads to use (all of the processors)")
    score.set_defaults(run_command=_score)


def _score(options: argparse.Namespace) -> None:
    import json

    from tapcore._base.threads import thread_limit
    from tapcore.evaluation.score import score
    from tapcore.storage import datasets
    from tapcore.storage.machines import load

    machine, run = load(options.run), Path(options.run)
    folder = run if run.is_dir() else run.parent
    said, threshold = noted(folder), options.threshold
    if threshold is None and said is not None:
        threshold = said["threshold"]
    X, trained_on = datasets.load(options.data, threshold=threshold, key=options.key), data_of_run(folder)
    with thread_limit(options.threads):
        found = score(
            machine, X, data=trained_on, chains=options.chains, temperatures=options.temperatures, seed=options.seed,
            progress=False if options.json else None,
        )  # fmt: skip
    if options.json:
        print(json.dumps(found.to_dict(), indent=1, allow_nan=False))
    else:
        _print(found, sum(machine.sizes))


def _print(found: Score, units: int) -> None:
    if found.known:
        low, high = sorted((found.log_likelihood, found.other_log_likelihood))
        print(f"log-likelihood of {found.samples} samples: {low:.3f} to {high:.3f} nats each", end="")
        print(f" (+- {found.standard_error:.3f} for their number)")
    else:
        print(f"log-likelihood of {found.samples} samples: ln Z is not known")
        for doubt in found.doubts:
            print(f"  {doubt}")
    _print_route("forward, from independent units", found.forward, found.log_likelihood)
    _print_route("reverse, from samples by replica exchange", found.reverse, found.other_log_likelihood)
    print(f"TAP log-likelihood, F averaged over chains: {found.tap:.3f} ({found.tap / units:.5f} a unit)")
    print(f"TAP log-likelihood, {found.solutions} solutions weighted by exp(-F): {found.tap_weighted:.3f}")
    _print_unless_nan("pseudo-log-likelihood", found.pseudo_log_likelihood)
    _print_unless_nan("free-energy gap, training data above these samples", found.free_energy_gap)
    made = found.equilibrium
    print(
        f"{made.samples} samples from scratch beside the data: means {made.mean_slope:.3f} (slope), "
        f"{made.mean_correlation:.3f} (correlation); covariances {made.pair_slope:.3f}, {made.pair_correlation:.3f}"
    )


def _print_route(name: str, route: AnnealedEstimate, log_likelihood: float) -> None:
    print(
        f"  {name}: {log_likelihood:.3f}, ln Z = {route.log_z:.3f} +- {route.standard_error:.3f} by "
        f"{route.effective_chains:.0f} effective chains"
    )


def _print_unless_nan(name: str, value: float) -> None:
    if value == value:
        print(f"{name}: {value:.3f}")
