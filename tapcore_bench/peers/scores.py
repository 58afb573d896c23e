"""Scores of trained machines: by annealed importance sampling, as CSV, as a table and as a picture."""

from __future__ import annotations

import csv
import io
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple, get_type_hints

from numpy.typing import NDArray

import tapcore as tc
from tapcore.plotting import figure as figures
from tapcore.storage.format import write_whole
from tapcore_bench.peers.trained import Trained

# Of the training samples, those from which modes are sought.
SOUGHT = 10_000


class Task(NamedTuple):
    """What is scored, and how."""

    data: str
    hidden: int
    method: str
    seconds: float  # asked for
    chains: int
    temperatures: int


class Score(NamedTuple):
    """The result; log-likelihoods are nats a test sample, with standard errors of ln Z."""

    task: Task
    trained: float  # seconds that training took
    epochs: float
    forward: float  # too high where modes are missed
    forward_error: float
    forward_trusted: int  # 1, or 0 where the estimate has doubts
    reverse: float  # too low where chains do not begin at equilibrium
    reverse_error: float
    reverse_trusted: int


# Columns of the CSV: those of the task, then those of the score.
COLUMNS = (*Task._fields, *Score._fields[1:])


def score(task: Task, trained: Trained, X: NDArray[Any], test: NDArray[Any]) -> Score:
    """Log-likelihood of the test samples, by ln Z from both sides."""
    found: list[Any] = []
    for reverse in (False, True):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # doubts are in the result
            estimate = tc.ais(
                trained.machine, task.chains, task.temperatures, data=X[:SOUGHT], reverse=reverse, progress=False
            )
        likelihood = float(tc.log_likelihood(trained.machine, test, -estimate.log_z).mean())
        found += [likelihood, float(estimate.standard_error), int(estimate.trusted)]
    return Score(task, trained.seconds, trained.epochs, *found)


def read(path: Path) -> list[Score]:
    """The scores of a CSV; none where there is no such file.

    Raises
    ------
    ValueError
        With the path and the line, where it is another table or was changed.
    """
    if not path.exists():
        return []
    kinds = {**get_type_hints(Task), **get_type_hints(Score)}
    with path.open(newline="", encoding="utf-8") as file:
        lines = list(csv.reader(file))
    if not lines or tuple(lines[0]) != COLUMNS:
        raise ValueError(f"{path}: line 1 must be {','.join(COLUMNS)}")
    found = []
    for number, line in enumerate(lines[1:], start=2):
        try:
            values = [kinds[column](value) for column, value in zip(COLUMNS, line, strict=True)]
        except ValueError as error:
            raise ValueError(f"{path}: line {number} is no score: {error}") from error
        found.append(Score(Task(*values[: len(Task._fields)]), *values[len(Task._fields) :]))
    return found


def write(path: Path, scores: Sequence[Score]) -> None:
    """Leave scores as CSV, whole or not at all."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    writer.writerows([*s.task, *s[1:]] for s in scores)
    write_whole(path, text.getvalue().encode())


def table(scores: Sequence[Score]) -> str:
    """Markdown, a row a score."""
    lines = [
        "| training | seconds | epochs | nats a test sample, forward | reverse |",
        "| --- | --- | --- | --- | --- |",
    ]
    for s in scores:
        forward = _figure(s.forward, s.forward_error, s.forward_trusted)
        reverse = _figure(s.reverse, s.reverse_error, s.reverse_trusted)
        lines.append(f"| {s.task.method} | {s.trained:.1f} | {s.epochs:.1f} | {forward} | {reverse} |")
    return "\n".join(lines) + "\n"


def _figure(value: float, error: float, trusted: int) -> str:
    return f"{value:.1f} +- {error:.1f}{'' if trusted else ', not to be trusted'}"


def draw(path: Path, scores: Sequence[Score]) -> None:
    """Log-likelihood over the time of training: forward as marks, from each a thin bar to reverse."""
    figure = figures.figure_of(8, 5)
    axes = figure.subplots()
    methods = list(dict.fromkeys(s.task.method for s in scores))
    for place, method in enumerate(methods):
        own = sorted((s for s in scores if s.task.method == method), key=lambda s: s.task.seconds)
        # A little apart, or bars of equal times would cover one another.
        times = [s.trained * 1.015 ** (place - (len(methods) - 1) / 2) for s in own]
        forward, reverse = [s.forward for s in own], [s.reverse for s in own]
        (line,) = axes.plot(times, forward, "o-", markersize=4, linewidth=0.8, label=method)
        axes.vlines(times, reverse, forward, colors=line.get_color(), linewidth=0.8)
        axes.plot(times, reverse, "_", color=line.get_color(), markersize=6)
    seconds = sorted({s.task.seconds for s in scores})
    axes.set_xscale("log")
    axes.set_xticks(seconds, [f"{s:g}" for s in seconds], minor=False)
    axes.set_xticks([], minor=True)
    axes.set(
        xlabel="seconds of training", ylabel="log-likelihood of a test sample (nats)\nmarks forward, bars to reverse"
    )
    axes.legend(fontsize="small")
    figures.write(path, figure)
