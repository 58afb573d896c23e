"""`tapcore score`."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tapcore.cli.data import HELD_OUT, data_of_run, load_as_trained, noted, source_of

if TYPE_CHECKING:
    from tapcore.evaluation.score import Score
    from tapcore.sampling.estimate import Estimate


def add_to(commands: Any) -> None:
    """Add the command's parser."""
    score = commands.add_parser(
        "score",
        help="how good a machine is, and whether that is known",
        description="Score a machine on data by all yardsticks: the log-likelihood with ln Z by annealing both ways "
        "and, where RUN is a folder with several checkpoints, by trajectory tempering along them; TAP "
        "log-likelihoods, pseudo-log-likelihood, the free-energy gap to the training data, and samples made from "
        "scratch beside the data. ln Z counts as known where annealing forward agrees with another route, neither has "
        "a doubt, and no other route without doubts contradicts.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    add = score.add_argument
    add("run", metavar="RUN", help="folder of a run, or a .safetensors file")
    add("data", metavar="DATA", help="samples, as for train")
    add("--threshold", type=float, metavar="T", help="as for train (that of the run)")
    add("--key", metavar="NAME", help="which array of a .npz file")
    add("--chains", type=int, default=200, metavar="N", help="of annealing, and of each rung of the ladder along a run")
    temperatures = "of annealing; rungs times sweeps of the ladder are as many"
    add("--temperatures", type=int, default=2000, metavar="N", help=temperatures)
    add("--held-out", action="store_true", help="only the rows of DATA that the run held out (a share of them)")
    add("--seed", type=int, default=0, metavar="N", help="of all that is drawn")
    add("--json", action="store_true", help="print one JSON object and nothing else")
    add("--threads", type=int, metavar="N", help="threads to use (all of the processors)")
    score.set_defaults(run_command=_score)


def _score(options: argparse.Namespace) -> None:
    import json

    from tapcore._base.threads import thread_limit
    from tapcore.evaluation.score import score
    from tapcore.storage.machines import load

    run, units = Path(options.run), sum(load(options.run).sizes)
    folder = run if run.is_dir() else run.parent
    X = _rows(options, folder)
    with thread_limit(options.threads):
        found = score(
            run, X, data=_trained_on(folder), chains=options.chains, temperatures=options.temperatures,
            seed=options.seed, progress=False if options.json else None,
        )  # fmt: skip
    if options.json:
        print(json.dumps(found.to_dict(), indent=1, allow_nan=False))
    else:
        _print(found, units)


def _rows(options: argparse.Namespace, folder: Path) -> Any:
    """The samples to be scored; and a line where some that were held out are among others that were trained on."""
    from tapcore.training.held_out import drawn_out

    said = noted(folder)
    X = load_as_trained(options.data, options.threshold, options.key, said).X
    same = said is not None and said.get(HELD_OUT) is not None and said["source"] == source_of(options.data)
    if options.held_out:
        if said is None or not same:
            raise ValueError("--held-out is for the data that a run was trained on with --validation SHARE")
        return X[drawn_out(len(X), *said[HELD_OUT])]
    if same:
        print("tapcore: of these samples some were held out: --held-out scores them alone", file=sys.stderr)
    return X


def _trained_on(folder: Path) -> Any:
    """Data that the run was trained on; None, and a line that says so, where they are gone."""
    try:
        return data_of_run(folder)
    except OSError as error:
        print(f"tapcore: warning: no free-energy gap: the run's data are gone ({error})", file=sys.stderr)
        return None


def _print(found: Score, units: int) -> None:
    routes: list[tuple[str, Estimate, float]] = [
        ("forward, from independent units", found.forward, found.log_likelihood),
        (f"reverse, from samples by {found.reverse_starts}", found.reverse, found.other_log_likelihood),
    ]
    if found.ladder is not None:
        routes.append(("ladder, along the run", found.ladder, found.ladder_log_likelihood))
    if found.known:
        likelihoods = [value for _, route, value in routes if route.trusted]
        of_log_z = max(route.standard_error for _, route, _ in routes if route.trusted)
        print(
            f"log-likelihood of {found.samples} samples: {min(likelihoods):.3f} to {max(likelihoods):.3f} nats each",
            end="",
        )
        print(f" (+- {found.standard_error:.3f} for their number, +- {of_log_z:.3f} for ln Z)")
    else:
        print(f"log-likelihood of {found.samples} samples: ln Z is not known")
    for doubt in found.doubts:
        print(f"  {doubt}")
    for route in routes:
        _print_route(*route)
    print(f"TAP log-likelihood, F averaged over chains: {found.tap:.3f} ({found.tap / units:.5f} a unit)")
    print(f"TAP log-likelihood, {found.solutions} solutions weighted by exp(-F): {found.tap_weighted:.3f}")
    _print_unless_nan("pseudo-log-likelihood", found.pseudo_log_likelihood)
    _print_unless_nan("free-energy gap, training data above these samples", found.free_energy_gap)
    made = found.equilibrium
    print(
        f"{made.samples} samples from scratch beside the data: means {made.mean_slope:.3f} (slope), "
        f"{made.mean_correlation:.3f} (correlation); covariances {made.pair_slope:.3f}, {made.pair_correlation:.3f}"
    )


def _print_route(name: str, route: Estimate, log_likelihood: float) -> None:
    chains = getattr(route, "effective_chains", None)  # of annealing
    print(
        f"  {name}: {log_likelihood:.3f}, ln Z = {route.log_z:.3f} +- {route.standard_error:.3f}"
        + ("" if chains is None else f" by {chains:.0f} effective chains")
    )


def _print_unless_nan(name: str, value: float) -> None:
    if value == value:
        print(f"{name}: {value:.3f}")
