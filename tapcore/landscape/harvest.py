"""Distinct solutions from any number of starts, in bounded memory: `harvest`."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from tqdm import tqdm

from tapcore._base import checks
from tapcore._base.interrupts import interrupts_wait
from tapcore.equations.compiled import compiled
from tapcore.equations.energy import evaluate
from tapcore.grouping.merging import Gathered, tolerance_for
from tapcore.inference.methods import TABLE
from tapcore.inference.records import Starts, Stopped, joined
from tapcore.inference.solution import Solutions, check_solutions, empty_solutions, record
from tapcore.inference.solve import check_start, checked_rule
from tapcore.inference.sweeps.chains import pool
from tapcore.machine import Machine, check_machine

# Rows of an array converted at a time.
CHUNK = 2048
# What is kept of each solution besides its means and distance.
_KEPT = ("residual", "mse", "sweeps")


def harvest(
    machine: Machine,
    init: ArrayLike | Solutions | Iterator[ArrayLike],
    *,
    method: str = "tap",
    damping: float | None = None,
    tol: float = 1e-6,
    merge: float | None = None,
    max_sweeps: int = 10_000,
    acceleration: str | None = "auto",
    progress: bool | None = None,
) -> Solutions:
    """Find the distinct solutions that any number of starts lead to.

    Starts stream through a pool of chains: as a chain stops, the next start takes its place. Only distinct solutions
    are kept, each as its most tightly converged chain, so memory is bounded by their number, not by that of the starts.

    Parameters
    ----------
    machine : Machine
    init : (K, n_visible) array_like, Solutions, or iterator of arrays
        Visible means to start from (Eqs. 36, 37), any real dtype, boolean, or memory-mapped, a bounded number of rows
        at a time being converted; or solutions to go on from; or an iterator that yields arrays of starts, as those of
        `random_starts`, `noisy_starts` and `structured_starts` do.
    method, damping, tol, max_sweeps, acceleration
        As for `solve`, with the criterion of distance, and without adaptive TAP.
    merge : float, optional
        Chains whose means differ by at most this in every unit are at one solution. None: 100 `tol`, and not below the
        square root of the dtype's machine epsilon.
    progress : bool, optional
        Show a progress bar; None shows one when standard error is a terminal.

    Returns
    -------
    Solutions
        One row a solution, lowest free energy first, with `counts`, the number of starts that lead there, and `labels`,
        the row of each start, -1 where the chain did not converge.

    Raises
    ------
    ValueError
        As `solve`. An array is checked as a whole before any work starts, what an iterator yields when its turn comes.

    Warns
    -----
    UserWarning
        After Ctrl-C, which ends the harvest: the result is of the starts so far, and `labels` ends with them; -1 also
        stands for chains that were still on their way. A second Ctrl-C raises KeyboardInterrupt at once.
    """
    tol = checks.number("tol", tol, minimum=0)
    if tol == 0:
        raise ValueError("tol must be positive: chains that never converge give no solutions")
    rule = checked_rule(machine, method, damping, tol, max_sweeps, acceleration, "distance", lambda m: m.harvest)
    merge = tolerance_for("merge", merge, tol, machine.dtype)
    starts, count = _starts(machine, init)
    chains = pool(machine, count, rule)
    own = compiled(machine.layers, machine.weights, rule.order)
    store = _Store(machine, merge)
    hidden = None if progress is None else not progress
    with tqdm(total=count, unit="start", disable=hidden) as bar, interrupts_wait() as asked:
        streamed = chains.stream(own, rule, starts, damping or 0.0, stop=asked.is_set)
        for stopped in streamed:
            store.take(stopped)
            bar.update(len(stopped.chain))
            bar.set_postfix_str(f"{len(store.gathered)} solutions", refresh=False)
        store.flush()
    if asked.is_set():
        warnings.warn(f"interrupted: {store.done} starts have stopped, of {store.begun} begun", stacklevel=2)
    return store.solutions(method)


class _Store:
    """Solutions so far, and the label of each start."""

    def __init__(self, machine: Machine, merge: float) -> None:
        self.machine = machine
        self.gathered = Gathered(machine.sizes, machine.dtype, merge)
        self.waiting: list[Stopped] = []
        self.labels = np.empty(0, np.int64)  # with room for more than have begun
        self.begun = self.done = 0

    def take(self, stopped: Stopped) -> None:
        """Keep chains until there are enough to be merged at once."""
        self.waiting.append(stopped)
        self.done += len(stopped.chain)
        if sum(len(s.chain) for s in self.waiting) >= CHUNK:
            self.flush()

    def flush(self) -> None:
        """Merge the chains that wait."""
        if not self.waiting:
            return
        parts, self.waiting = self.waiting, []
        stopped = joined(parts)
        self._make_room(int(stopped.chain.max()) + 1)
        ok = stopped.converged
        columns: dict[str, NDArray[Any]] = {name: getattr(stopped, name)[ok] for name in ("distance", *_KEPT)}
        columns |= {_var(i): x[ok] for i, x in enumerate(stopped.var)}
        self.labels[stopped.chain[ok]] = self.gathered.add([x[ok] for x in stopped.mean], **columns)

    def _make_room(self, count: int) -> None:
        self.begun = max(self.begun, count)
        if count > len(self.labels):
            more = max(count, 2 * len(self.labels)) - len(self.labels)
            self.labels = np.concatenate([self.labels, np.full(more, -1, np.int64)])

    def solutions(self, method: str) -> Solutions:
        """What has been found, lowest free energy first."""
        gathered = self.gathered
        found = empty_solutions(self.machine, len(gathered), method)
        if len(gathered):
            kept = gathered.kept
            columns: dict[str, Any] = {name: kept[name] for name in _KEPT}
            columns |= {"mean": gathered.means, "var": tuple(kept[_var(i)] for i in range(len(gathered.means)))}
            columns |= {"chain": np.arange(len(gathered)), "converged": np.ones(len(gathered), np.bool_)}
            record(found, Stopped(distance=gathered.distance, **columns))
            found.free_energy[:] = evaluate(
                self.machine, found.mean, found.var, TABLE[method].order, (found.B, found.A)
            )
        order = np.argsort(found.free_energy, kind="stable")
        rank = np.append(np.argsort(order), -1)  # the last for the label -1
        return replace(found[order], counts=gathered.counts[order], labels=rank[self.labels[: self.begun]])


def _var(layer: int) -> str:
    return f"var{layer}"


def _starts(machine: Machine, init: Any) -> tuple[Iterable[Starts], int | None]:
    """Starts in chunks, checked, and how many there are if that is known."""
    check_machine(machine)
    if isinstance(init, Solutions):
        check_solutions("init", init, machine.sizes, machine.dtype)
        return (Starts(init.mean, init.var),), len(init)
    if isinstance(init, Iterator):
        return (Starts((check_start(machine, "init", x),), ()) for x in init), None
    array = checks.real_array("init", init)
    chunks = range(0, max(len(array), 1) if array.ndim else 1, CHUNK)
    for first in chunks:
        check_start(machine, "init", array[first : first + CHUNK] if array.ndim else array)
    return (Starts((check_start(machine, "init", array[a : a + CHUNK]),), ()) for a in chunks), len(array)
