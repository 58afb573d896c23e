"""What an error of ln Z costs by each route: ``python -m tapcore_bench.peers.log_z RUN [DATA]``.

ln Z of the last machine of a run, by the ladder along the run, by annealed importance sampling from a mixture of
independent units in all modes, as `ais` does it, and as others do it, from one law of independent units, that of the
data's means; each is timed as a whole, with the search for modes. Errors of averages fall as the square root of the
time, so the time for a given error is what was taken times the square of the ratio of errors. `--back` adds annealing
back from replica exchange, a route that shares no samples with the others, against which a long run checks them.
"""

from __future__ import annotations

import argparse
import time
import warnings
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

import tapcore as tc
from tapcore.cli.data import load_as_trained, noted
from tapcore.evaluation.annealed import estimate_of
from tapcore.sampling.centres import centres_of
from tapcore.sampling.estimate import Estimate
from tapcore.sampling.modes import Modes
from tapcore.sampling.paths import Paths
from tapcore_bench.micro.harness import machine_name, settle


class Route(NamedTuple):
    """One estimate and what it took."""

    name: str
    log_z: float
    error: float
    trusted: bool
    seconds: float

    def seconds_for(self, error: float) -> float:
        """Seconds that this standard error would take."""
        return self.seconds * (self.error / error) ** 2


def timed(name: str, estimate: Callable[[], Any]) -> Route:
    """An estimate, timed."""
    settle()
    begun = time.perf_counter()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # doubts are in the result
        found = estimate()
    return Route(name, float(found.log_z), float(found.standard_error), found.trusted, time.perf_counter() - begun)


def from_one_law(machine: tc.Machine, data: NDArray[Any], chains: int, temperatures: int, seed: int = 0) -> Estimate:
    """Annealing of an RBM from independent units with the means of the data, without a search for modes."""
    machine = machine.replace(dtype="float64")
    visible = np.asarray(data.mean(axis=0, dtype=np.float64)[None])
    hidden = machine.layers[1].moments(visible @ machine.weights[0], 0.0)[1]
    alone = Modes((visible, hidden), np.zeros(1), 0.0)
    paths = Paths(machine, chains, centres_of(machine, alone, np.zeros(1), np.zeros(1, np.int64)))
    paths.deal(np.random.default_rng(seed))
    paths.gibbs.seed(seed, 0)
    with tqdm(disable=True) as bar:
        logs = paths.forward(np.arange(1, temperatures + 1) / temperatures, bar)
    return estimate_of(logs, temperatures, 1, independent=False)


def routes(run: Path, data: NDArray[Any], options: argparse.Namespace) -> list[Route]:
    """By the ladder, by annealing with several numbers of temperatures, and back from replica exchange."""
    machine, chains = tc.load(run), options.chains

    def annealing(temperatures: int, count: int, seed: int = 0, reverse: bool = False) -> Callable[[], Any]:
        return lambda: tc.ais(machine, count, temperatures, seed, data=data, reverse=reverse, progress=False)

    def ladder() -> Any:
        made = tc.TrajectoryTempering(run, chains, data=data)
        made.sweep(options.sweeps)
        return made.log_z()

    # Each compiles what it needs.
    small = tc.TrajectoryTempering(run, 2, data=data)
    small.sweep(10)
    timed("", small.log_z)
    timed("", annealing(20, 2, reverse=True))
    timed("", lambda: from_one_law(machine, data, 2, 20))
    found = [timed(f"ladder, {options.sweeps} sweeps", ladder)]
    for temperatures in options.temperatures:
        found.append(timed(f"annealing, {temperatures} temperatures", annealing(temperatures, chains)))
    for temperatures in options.one_law:
        alone = partial(from_one_law, machine, data, chains, temperatures)
        found.append(timed(f"annealing from one law, {temperatures} temperatures", alone))
    if options.back:
        name = f"annealing back, {options.back} temperatures"
        found.append(timed(name, annealing(options.back, chains, 1, reverse=True)))
    return found


def table(found: list[Route], error: float) -> str:
    """Markdown, a row a route."""
    lines = [f"| route | ln Z | seconds | seconds for an error of {error:g} |", "| --- | --- | --- | --- |"]
    for route in found:
        doubt = "" if route.trusted else ", not to be trusted"
        value = f"{route.log_z:.2f} +- {route.error:.2f}{doubt}"
        lines.append(f"| {route.name} | {value} | {route.seconds:.1f} | {route.seconds_for(error):.1f} |")
    return "\n".join(lines)


def main(words: list[str] | None = None) -> None:
    """Estimate and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("run", type=Path, help="folder of a training run")
    parser.add_argument("data", nargs="?", default="digits", help="samples from which modes are sought too")
    parser.add_argument("--chains", type=int, default=100, help="of annealing and of each rung")
    parser.add_argument("--sweeps", type=int, default=300, help="of the ladder")
    parser.add_argument("--temperatures", type=int, nargs="+", default=[1000, 4000], help="of annealing")
    parser.add_argument("--one-law", type=int, nargs="*", default=[4000, 16000], help="of annealing from one law")
    parser.add_argument("--back", type=int, default=0, help="temperatures of annealing back; 0 leaves it out")
    parser.add_argument("--error", type=float, default=0.1, help="of ln Z, nats")
    options = parser.parse_args(words)
    if not options.error > 0:
        parser.error(f"--error must be above 0, got {options.error:g}")
    try:
        machine = tc.load(options.run)
        X = load_as_trained(options.data, None, None, noted(options.run)).X
    except (OSError, ValueError) as error:
        parser.error(str(error))
    print(f"{machine_name()}; {'x'.join(map(str, machine.sizes))}, {options.chains} chains.\n")
    print(table(routes(options.run, X, options), options.error))


if __name__ == "__main__":
    main()
