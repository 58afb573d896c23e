"""Recipes and peers for equal times: ``python -m tapcore_bench.peers.equal_time --times 10,30,60``.

Binary machines, each trained alone for so many seconds, without what compiles; the log-likelihood of test samples by
annealed importance sampling, forward (too high where modes are missed) and reverse. Each time is a run of its own,
since schedules end with it. Peers are scikit-learn's BernoulliRBM, and `rbms` (PyTorch, centred persistent contrastive
divergence) where its environment was made; both run at constant rates, the better of two.

All machines are trained first, while nothing else should run, then scored. Machines and scores are stored as they come,
in the CSV and in a folder of its name, and what is there is not done again: delete both to begin anew. `--ingredients`
compares the recipe of `fit` with others that differ from it in one thing each; such choices are for `--data
mnist-held-out`, which leaves test images alone.
"""

from __future__ import annotations

import argparse
import importlib.util
import math
import re
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from tapcore.storage import datasets
from tapcore_bench.micro.harness import machine_name, settle
from tapcore_bench.paper import data as images
from tapcore_bench.peers import rbms_peer, scores
from tapcore_bench.peers.scores import Score, Task
from tapcore_bench.peers.trained import load, store
from tapcore_bench.peers.ways import Way, ingredients, ways

Samples = tuple[NDArray[Any], NDArray[Any]]


# Where settings are to be chosen, test images are not to be seen: the last of the training images stand for them.
HELD_OUT = "mnist-held-out"
ROWS = 5000


def samples(name: str) -> Samples:
    """Training samples and others to score, booleans; SystemExit says in one line what is missing."""
    if name != "digits":
        try:
            X = images.binary_mnist()
            return (X[:-ROWS], X[-ROWS:]) if name == HELD_OUT else (X, images.binary_mnist_test())
        except SystemExit as error:
            raise SystemExit(f"{error}, or take --data digits") from None
    try:
        X = datasets.load("digits")
    except ImportError as error:
        raise SystemExit(str(error)) from None
    return X[:1500], X[1500:]


def wanted(options: argparse.Namespace, X: NDArray[Any]) -> Mapping[str, Way]:
    """The ways that are compared, by name; SystemExit for a name that none has."""
    found = (ingredients if options.ingredients else ways)(X, options.hidden)
    if unknown := [name for name in options.way or () if name not in found]:
        raise SystemExit(f"--way {unknown[0]!r} is none of {', '.join(map(repr, found))}")
    return {name: way for name, way in found.items() if not options.way or name in options.way}


def tasks(options: argparse.Namespace, methods: list[str]) -> Iterator[tuple[Task, Path]]:
    """All that is to be trained and scored, the shortest first, and where machines are kept."""
    folder = options.csv.with_suffix("")
    for seconds in options.times:
        for method in methods:
            task = Task(options.data, options.hidden, method, seconds, options.chains, options.temperatures)
            short = re.sub(r"[^a-z0-9.]+", "-", method.lower()).strip("-")
            yield task, folder / f"{options.data}-{options.hidden}-{short}-{seconds:g}s.npz"


def train(options: argparse.Namespace, X: NDArray[Any]) -> None:
    """Train and store what is not there; what lacks something is left out, in one line each."""
    known = wanted(options, X)
    for reason in dict.fromkeys(way.lacks for way in known.values() if way.lacks):
        _say(f"left out: {reason}")
    for task, path in tasks(options, list(known)):
        if path.exists() or known[task.method].lacks:
            continue
        _say(f"train: {task.method}, {task.seconds:g} s")
        settle()
        store(path, known[task.method].train(task.seconds))


def score(options: argparse.Namespace, X: NDArray[Any], test: NDArray[Any]) -> list[Score]:
    """Score and store what is not there; the scores of all machines that are."""
    found = scores.read(options.csv)
    known, asked = {s.task: s for s in found}, []
    for task, path in tasks(options, list(wanted(options, X))):
        if task not in known and path.exists():
            _say(f"score: {task.method}, {task.seconds:g} s")
            known[task] = scores.score(task, load(path), X, test)
            found.append(known[task])
            scores.write(options.csv, found)
        if task in known:
            asked.append(known[task])
    return asked


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def _times(text: str) -> list[float]:
    try:
        found = sorted({float(word) for word in text.split(",")})
    except ValueError:
        found = []
    if not found or not all(0 < seconds < math.inf for seconds in found):
        raise argparse.ArgumentTypeError(f"must be seconds above 0, separated by commas, as 10,30,60; not {text!r}")
    return found


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    said = f"binary; {HELD_OUT}: trained and scored on training images; digits: scikit-learn's"
    parser.add_argument("--data", choices=("mnist", HELD_OUT, "digits"), default="mnist", help=said)
    parser.add_argument("--hidden", type=int, default=100, help="hidden units")
    parser.add_argument("--times", type=_times, default=[60.0], metavar="S,S,...", help="of training, seconds")
    parser.add_argument("--chains", type=int, default=200, help="of annealed importance sampling")
    parser.add_argument("--temperatures", type=int, default=3000, help="of annealed importance sampling")
    parser.add_argument("--csv", type=Path, default=Path("runs") / "equal_time.csv", help="scores, machines beside it")
    parser.add_argument("--picture", type=Path, help="PNG of log-likelihood over time")
    parser.add_argument("--ingredients", action="store_true", help="the recipe of fit against others of its kind")
    parser.add_argument("--way", action="append", metavar="NAME", help="only this one, by its name in the table; again")
    parser.add_argument("--only", choices=("train", "score"), help="train and score apart")
    return parser


def _options(words: list[str] | None) -> argparse.Namespace:
    parser = _parser()
    options = parser.parse_args(words)
    for name, least in (("hidden", 1), ("chains", 2), ("temperatures", 1)):
        if getattr(options, name) < least:
            parser.error(f"--{name} must be at least {least}")
    if not options.csv.suffix:
        parser.error("--csv must have an ending, as .csv: machines go to the folder of its name without")
    if options.picture is not None and importlib.util.find_spec("matplotlib") is None:
        parser.error("--picture needs matplotlib: pip install 'tapcore[plot]'")
    try:
        for path in filter(None, (options.csv, options.picture)):
            path.parent.mkdir(parents=True, exist_ok=True)
        scores.read(options.csv)
    except (OSError, ValueError) as error:
        parser.error(str(error))
    return options


def main(words: list[str] | None = None) -> None:
    """Train, score, print and draw."""
    options = _options(words)
    X, test = samples(options.data)
    peer = "" if rbms_peer.lacks() else f"; {rbms_peer.versions()}"
    print(f"{machine_name()}{peer}; {options.data}, {X.shape[1]}x{options.hidden}.\n")
    if options.only != "score":
        train(options, X)
    if options.only != "train":
        found = score(options, X, test)
        print(scores.table(found))
        if options.picture is not None and found:
            scores.draw(options.picture, found)


if __name__ == "__main__":
    main()
