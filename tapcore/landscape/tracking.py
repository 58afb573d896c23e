"""How the solutions of a machine are born, move, merge and die while it trains (Sec. VII.3)."""

from __future__ import annotations

import csv
import io
import math
import os
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from tapcore._base import checks
from tapcore.grouping.merging import tolerance_for
from tapcore.inference.solution import Solutions, stacked
from tapcore.inference.solve import checked_rule, solve
from tapcore.landscape.harvest import harvest
from tapcore.machine import Machine
from tapcore.storage import format as file_format

BORN, KEPT, MERGED, LOST = "born", "kept", "merged", "lost"


class Event(NamedTuple):
    """What became of one solution in one epoch."""

    epoch: int
    id: int  # stays with a solution from its birth to its death
    event: str  # "born", "kept", "merged" or "lost"; the last two end it
    into: int  # the one it merged into; -1 else
    free_energy: float  # NaN if it has ended
    basin: int  # starts from the data that reach it
    moved: float  # largest change of a visible mean since the epoch before; NaN if it is new or has ended


class Summary(NamedTuple):
    """All solutions of one epoch."""

    epoch: int
    solutions: int
    born: int
    merged: int
    lost: int
    unconverged: int  # starts from the data
    lowest: float  # free energies
    mean: float  # uniform average over solutions, an estimate of -ln Z (Sec. V.2)
    highest: float


class Tracker:
    """Follows the solutions of a machine from epoch to epoch; a callback for `fit`.

    Each epoch's solutions are those that chains reach from the data and from the solutions of the epoch before. A
    solution reached from earlier ones is the one among them that most starts from the data had led to (of equals, the
    one of lowest free energy), changed; the others have merged into it. One reached from the data only is born. An
    earlier one from which the chain does not converge is lost.

    Parameters
    ----------
    X : (n, n_visible) array_like
        Samples, may be memory-mapped.
    starts : int, optional
        Samples to start from, the same ones in each epoch; None takes all.
    method, tol, merge, max_sweeps
        As for `harvest`.
    seed : int
        Of the choice of samples.

    Attributes
    ----------
    events : list of Event
        What became of each solution in each epoch, lowest free energy first.
    summaries : list of Summary
        One an epoch.
    solutions : Solutions or None
        Those of the last epoch, lowest free energy first, with `counts` of starts from the data.
    ids : (K,) int64 array
        Their ids.

    Raises
    ------
    ValueError
        An argument outside its range; samples that do not fit the machine when it is first followed.
    """

    def __init__(
        self,
        X: ArrayLike,
        *,
        starts: int | None = 1000,
        method: str = "tap",
        tol: float = 1e-6,
        merge: float | None = None,
        max_sweeps: int = 10_000,
        seed: int = 0,
    ) -> None:
        array = checks.matrix("X", X, None, rows="samples")
        rng = np.random.default_rng(checks.integer("seed", seed, minimum=0))
        rows = np.arange(array.shape[0])
        if starts is not None:
            rows = np.sort(rng.permutation(rows)[: checks.integer("starts", starts, minimum=1)])
        self.X = np.asarray(array[rows])
        self.how: dict[str, Any] = {"method": method, "tol": tol, "max_sweeps": max_sweeps}
        self.merge = merge
        self.events: list[Event] = []
        self.summaries: list[Summary] = []
        self.solutions: Solutions | None = None
        self.ids = np.zeros(0, np.int64)
        self._born = 0

    def __call__(self, machine: Machine, record: Any) -> None:
        """Follow `machine` after the epoch of `record`, as `fit` calls it."""
        self.follow(machine, record.epoch)

    def follow(self, machine: Machine, epoch: int) -> Summary:
        """Find the solutions of `machine`, which has trained for `epoch` epochs, and what became of those before."""
        checked_rule(machine, **self.how, damping=None, acceleration="auto", criterion="distance")
        found = harvest(machine, self.X, merge=self.merge, progress=False, **self.how)
        assert found.labels is not None
        unconverged = int((found.labels < 0).sum())
        before, old_ids, came = self.solutions, self.ids, np.zeros(0, np.int64)
        if before is not None and len(before):
            found, came = self._with_earlier(machine, found, before)
        self.ids = np.full(len(found), -1, np.int64)
        ended = self._inherit(epoch, before, old_ids, came)
        events = self._living(epoch, found, before, came, old_ids)
        self.solutions = found
        self.events += events + ended
        kinds = [e.event for e in events + ended]
        energies = found.free_energy if len(found) else np.full(1, math.nan)
        summary = Summary(
            epoch, len(found), kinds.count(BORN), kinds.count(MERGED), kinds.count(LOST), unconverged,
            float(energies.min()), float(energies.mean()), float(energies.max()),
        )  # fmt: skip
        self.summaries.append(summary)
        return summary

    def _with_earlier(
        self, machine: Machine, found: Solutions, before: Solutions
    ) -> tuple[Solutions, NDArray[np.int64]]:
        """Solutions from the data and from earlier ones, and which of them each earlier one has become."""
        after = solve(machine, before, **self.how)
        assert found.counts is not None
        counts = np.concatenate([found.counts, np.zeros(len(after), np.int64)])
        tol = tolerance_for("merge", self.merge, self.how["tol"], machine.dtype)
        both = stacked(found, after, counts).unique(tol)
        assert both.labels is not None
        return both, both.labels[len(found) :]

    def _inherit(
        self, epoch: int, before: Solutions | None, old_ids: NDArray[np.int64], came: NDArray[np.int64]
    ) -> list[Event]:
        """Give ids of earlier solutions to what they have become; those that end."""
        ended: list[Event] = []
        if before is None or not len(came):
            return ended
        assert before.counts is not None
        # Earlier solutions are in the order of their free energy, which a stable sort keeps among equals.
        for a in np.argsort(-before.counts, kind="stable"):
            now = came[a]
            if now >= 0 and self.ids[now] < 0:
                self.ids[now] = old_ids[a]
                continue
            event, into = (LOST, -1) if now < 0 else (MERGED, int(self.ids[now]))
            ended.append(Event(epoch, int(old_ids[a]), event, into, math.nan, 0, math.nan))
        return ended

    def _living(
        self,
        epoch: int,
        found: Solutions,
        before: Solutions | None,
        came: NDArray[np.int64],
        old_ids: NDArray[np.int64],
    ) -> list[Event]:
        events = []
        position = {int(i): a for a, i in enumerate(old_ids)}
        assert found.counts is not None
        for k in range(len(found)):
            a = position.get(int(self.ids[k]))
            if a is None or before is None:
                self.ids[k] = self._born
                self._born += 1
                event, moved = BORN, math.nan
            else:
                event, moved = KEPT, float(np.abs(found.mean[0][k] - before.mean[0][a]).max())
            energy, basin = float(found.free_energy[k]), int(found.counts[k])
            events.append(Event(epoch, int(self.ids[k]), event, -1, energy, basin, moved))
        return events

    def write(self, path: str | os.PathLike[str], summary: str | os.PathLike[str] | None = None) -> None:
        """Write `events` and `summaries` as CSV files with a header.

        Parameters
        ----------
        path : str or path
            The file of `events`; replaced if it exists.
        summary : str or path, optional
            That of `summaries`, which are not written without it.

        Raises
        ------
        OSError
            A folder does not exist or cannot be written to.
        """
        _write(Path(path), Event._fields, self.events)
        if summary is not None:
            _write(Path(summary), Summary._fields, self.summaries)


def _write(path: Path, header: tuple[str, ...], rows: Any) -> None:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(header)
    writer.writerows(rows)
    file_format.write_whole(path, text.getvalue().encode())
