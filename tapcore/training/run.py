"""A training run, epoch by epoch: what `fit` runs to its end."""

from __future__ import annotations

import math
import os
import threading
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any, NamedTuple, NoReturn

from numpy.typing import ArrayLike, NDArray
from tqdm import tqdm

from tapcore._base.interrupts import interrupts_wait
from tapcore.machine import Machine, check_machine
from tapcore.storage.machines import RunFolder
from tapcore.training.coordinates import Coordinates
from tapcore.training.course import Course
from tapcore.training.held_out import HeldOut, held_out
from tapcore.training.history import EpochRecord, History
from tapcore.training.plan import Plan
from tapcore.training.saver import AnyCourse, Saver, begun_with, checked_every
from tapcore.training.settings import Settings, check_settings
from tapcore.training.standard_course import StandardCourse
from tapcore.training.trainer import Interrupted

Callback = Callable[[Machine, EpochRecord], Any]


class FitResult(NamedTuple):
    """A trained machine and the record of its epochs.

    Attributes
    ----------
    machine : Machine
    history : History
    """

    machine: Machine
    history: History


class Training(Iterator[EpochRecord]):
    """A training run, an epoch a step: iterating trains one and yields its record.

    A loop may be left, and another one over the same training goes on; `fit` is such a loop with a progress bar. An
    epoch is one of a stage, where a deep machine is trained layer by layer.

    Parameters
    ----------
    machine, X, validation, checkpoint, checkpoint_every, resume
        As for `fit`. Nothing is written before the first step; checkpoints then are, as by `fit`.
    settings : Settings

    Attributes
    ----------
    machine : Machine
        As it is now; with `patience` its average over the last batches, as `fit` says.
    history : History
        Records of the epochs so far.
    samples : int
        Rows trained on: of `X`, those not held out.
    epoch, batch : int
        Epochs done, and batches done of the next one.
    epochs : int or None
        How many there are, of all stages; None where it is seconds that are given.
    batches : int
        Batches of an epoch.
    best_epoch : int or None
        That of the best held-out score so far; None while there is none.
    finished : bool
        Whether there is nothing left to train.

    Raises
    ------
    ValueError
        As `fit`, before any work.

    Examples
    --------
    >>> training = tc.Training(machine, X, tc.Settings(epochs=100, learning_rate=0.05))
    >>> for record in training:
    ...     if tc.pseudo_log_likelihood(training.machine, held_out).mean() > enough:
    ...         break
    >>> machine, history = training.result()
    """

    def __init__(
        self,
        machine: Machine,
        X: ArrayLike,
        settings: Settings,
        *,
        validation: float | ArrayLike | None = None,
        checkpoint: str | os.PathLike[str] | None = None,
        checkpoint_every: int | str = 1,
        resume: bool = False,
    ) -> None:
        check_machine(machine)
        settings = check_settings(settings)
        if settings.pretrain is None and resume is True and checkpoint is not None and len(machine.layers) > 2:
            settings = replace(settings, pretrain=begun_with(RunFolder(checkpoint)))
        every = checked_every(checkpoint_every)
        if resume and checkpoint is None:
            raise ValueError("resume needs checkpoint, the folder of the run to go on with")
        if settings.patience is not None and validation is None:
            raise ValueError("patience needs validation, held-out data to go by")
        samples = machine.layers[0].samples("X", X)
        samples, held = held_out(samples, validation, machine.layers[0], settings.seed)
        plan = Plan.of(settings, machine, len(samples))
        self._dtype, self.samples = machine.dtype, len(samples)
        machine = machine.replace(dtype=plan.dtype)
        self._course = _course(machine, samples, plan, held)
        self._saver = None if checkpoint is None else Saver(self._course, RunFolder(checkpoint), every, resume)
        self._best: Machine | None = None
        if self._course.at_best:  # whether or not the folder has it
            self._best = self.machine
        elif self._saver is not None:
            self._best = self._saver.best()

    @property
    def machine(self) -> Machine:
        """The machine as it is now, or its average with `patience`, in the dtype of the one given."""
        return self._course.snapshot().replace(dtype=self._dtype)

    @property
    def history(self) -> History:
        """Records of the epochs so far."""
        return History(list(self._course.history))

    @property
    def epoch(self) -> int:
        """Epochs done of all stages."""
        return self._course.epoch

    @property
    def batch(self) -> int:
        """Batches done of the next epoch."""
        return self._course.batch

    @property
    def epochs(self) -> int | None:
        """Epochs of all stages; None where it is seconds that are given."""
        return self._course.epochs

    @property
    def finished(self) -> bool:
        """Whether there is nothing left to train."""
        return self._course.finished

    @property
    def batches(self) -> int:
        """Batches of an epoch."""
        return self._course.batches

    @property
    def best_epoch(self) -> int | None:
        """The epoch of the best held-out score so far."""
        return self._course.best_epoch

    def __repr__(self) -> str:
        of = "" if self.epochs is None else f" of {self.epochs}"
        return f"<Training: {self.epoch}{of} epochs done>"

    def __next__(self) -> EpochRecord:
        self._begin()
        if self.finished:
            raise StopIteration
        return self.step()

    def step(self, batch_done: Callable[[], None] | None = None) -> EpochRecord:
        """Train what is left of an epoch and score it.

        Parameters
        ----------
        batch_done : callable, optional
            Called after each batch. What it raises ends the step there; the next step goes on with the next batch.

        Returns
        -------
        EpochRecord

        Raises
        ------
        ValueError
            All epochs are done.
        FloatingPointError
            As in `fit`.
        KeyboardInterrupt
            On Ctrl-C, between two batches or at the end of the epoch, whose record is then in `history`; a checkpoint
            is written before if there is a folder. The next step goes on. A second Ctrl-C acts at once, after which
            only a checkpoint can be gone on from.
        """
        if self.finished:
            raise ValueError(f"step needs an epoch that is left: all {self.epoch} are done")
        with interrupts_wait() as asked:
            record = self._train_epoch(batch_done or _nothing, asked)
        if asked.is_set():  # while the epoch was scored
            self._stop()
        return record

    def save(self) -> None:
        """Write a checkpoint now, besides those that are due.

        Raises
        ------
        ValueError
            There is no folder for it.
        """
        if self._saver is None:
            raise ValueError("save needs checkpoint, the folder of the run")
        self._begin()
        self._saver.save()

    def result(self) -> FitResult:
        """``(machine, history)`` as they are now: of a run at its end, what `fit` returns.

        With `patience` the machine is that of the best epoch so far.
        """
        return FitResult(self.machine if self._best is None else self._best, self.history)

    def _begin(self) -> None:
        """Make the folder before the first step."""
        if self._saver is not None and not self._saver.begun:
            self._saver.start()

    def _train_epoch(self, batch_done: Callable[[], None], asked: threading.Event) -> EpochRecord:
        """Train what is left of an epoch, stopping between two batches once `asked`."""
        self._begin()
        if asked.is_set():
            self._stop()
        try:
            record = self._course.run_epoch(batch_done, asked.is_set)
        except Interrupted:
            self._stop()
        if self._course.at_best:
            self._best = self.machine
        if self._saver is not None:
            self._saver.epoch_done()
        return record

    def _stop(self) -> NoReturn:
        if self._saver is not None:
            self._saver.save()
        raise KeyboardInterrupt from None


def finish(training: Training, progress: bool | None, callbacks: Sequence[Callback]) -> FitResult:
    """Train to the end, with a progress bar and callbacks as `fit` describes them."""
    if not isinstance(callbacks, Sequence) or not all(callable(c) for c in callbacks):
        raise ValueError(f"callbacks must be a sequence of functions, got {callbacks!r}")
    training._begin()
    epochs, batches = training.epochs, training.batches
    # tqdm's own None: a bar on terminals only.
    hidden, lost = None if progress is None else not progress, False
    done = training.epoch * batches + training.batch
    with (
        tqdm(total=None if epochs is None else epochs * batches, initial=done, unit="batch", disable=hidden) as bar,
        # Without a folder Ctrl-C acts at once: there is nothing to put down.
        interrupts_wait(training._saver is not None) as asked,
    ):
        while not training.finished:
            of = "" if epochs is None else f"/{epochs}"
            bar.set_description(f"epoch {training.epoch + 1}{of}")
            record = training._train_epoch(bar.update, asked)
            if math.isnan(record.log_likelihood) and not lost:
                lost = True
                warnings.warn(
                    f"fit: in epoch {record.epoch} no chain of the score has a finite free energy: the equations do "
                    "not hold for this machine any more, the history is NaN; ais, score and exact tell how good it is",
                    stacklevel=3,
                )
            held_out = "" if math.isnan(record.validation) else f", held out {record.validation:.4f}"
            bar.set_postfix_str(f"log-likelihood/unit {record.log_likelihood:.4f}{held_out}")
            for callback in callbacks:
                callback(training.machine, record)
    return training.result()


def _nothing() -> None:
    pass


def _course(machine: Machine, X: NDArray[Any], plan: Plan, held: HeldOut | None) -> AnyCourse:
    """Start from parameters fitted to the data (theta(0) in Alg. 2), in the coordinates that suit these."""
    visible, *hidden = machine.layers
    real_valued = visible.standard() is not None and plan.center
    if not (visible.untouched() or real_valued):
        return Course(machine, X, plan, held)
    fitted = visible.fitted(X)
    coordinates = Coordinates.of(fitted) if real_valued else None
    if coordinates is None:
        return Course(machine.replace(layers=(fitted, *hidden)) if visible.untouched() else machine, X, plan, held)
    return StandardCourse(coordinates.settled(machine, fitted), X, replace(plan, standard=True), coordinates, held)
