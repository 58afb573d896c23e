"""When a run writes its checkpoints, and from which of them it goes on."""

from __future__ import annotations

import math
from typing import Any

from tapcore._base import checks
from tapcore.machine import Machine
from tapcore.storage import format as file_format
from tapcore.storage.machines import CheckpointError, Position, RunFolder, machine_from
from tapcore.training.course import Course
from tapcore.training.standard_course import StandardCourse

AnyCourse = Course | StandardCourse

# Checkpoints spaced by the logarithm of the epoch: so many from each epoch to the one of twice its number.
_AN_OCTAVE = 8


def checked_every(value: Any) -> int | str:
    """The argument `checkpoint_every`: a number of epochs, or "log"."""
    if value == "log" and isinstance(value, str):
        return value
    if isinstance(value, str):
        raise ValueError(f"checkpoint_every must be an integer of at least 1, or 'log', got {value!r}")
    return checks.integer("checkpoint_every", value, minimum=1)


def is_due(epoch: int, every: int | str) -> bool:
    """Whether a checkpoint follows epoch `epoch`, from 1.

    By "log" those are the epochs 2^(k/8), k = 0, 1, ..., rounded up.
    """
    if isinstance(every, int):
        return epoch % every == 0
    # Logarithms of powers of two are exact, and no other whole number is on the edge.
    return epoch == 1 or math.floor(_AN_OCTAVE * math.log2(epoch)) > math.floor(_AN_OCTAVE * math.log2(epoch - 1))


def begun_with(folder: RunFolder) -> int | None:
    """The `pretrain` of the run in a folder; None if there is none, or none that can be read."""
    last = _last(folder)
    try:
        header = {} if last is None else file_format.read(last.path)[0]
    except CheckpointError:  # said when the run is resumed
        return None
    return int(header["settings"].get("pretrain", 0)) if "settings" in header else None


def _last(folder: RunFolder) -> Position | None:
    """The checkpoint furthest on, that of the best epoch among them: where others are rare it may be the last one."""
    newest = folder.newest()
    if not folder.best_path.is_file():
        return newest
    header = file_format.read(folder.best_path)[0]
    if header.get("kind") != "training":  # a machine that a user has saved there
        return newest
    best = Position(header["epoch"], header["batch"], folder.best_path)
    return best if newest is None or best[:2] > newest[:2] else newest


class Saver:
    """Writes a course's checkpoints when they are due, and that of the best epoch of a run with `patience`.

    Of an epoch with both, the one that is due is written first: whenever a run is killed, the checkpoint furthest on is
    either the best epoch's own or has that of its best epoch beside it.
    """

    def __init__(self, course: AnyCourse, folder: RunFolder, every: int | str, resume: bool) -> None:
        self.course, self.folder, self.every, self.begun = course, folder, every, False
        if not resume and (folder.newest() is not None or folder.best_path.is_file()):
            raise ValueError(f"checkpoint: {folder.path} holds a run already: resume it, or choose another folder")
        last = _last(folder)
        self.resumed = last is not None
        if last is None:
            return
        try:
            course.restore(last.path, *file_format.read(last.path))
        except CheckpointError as error:
            hint = "; delete it to resume from the checkpoint before it" if len(folder.positions()) > 1 else ""
            raise CheckpointError(f"{error}{hint}") from None

    def start(self) -> None:
        """Make the folder; write the state that a new run starts from."""
        self.begun = True
        self.folder.prepare()
        if not self.resumed:
            self.save()
        elif self.course.at_best:  # the run may have been killed before this was written
            self.save_best()

    def save(self) -> None:
        """Write a checkpoint now."""
        course = self.course
        self.folder.write(course.epoch, course.batch, course.header(), course.tensors())

    def save_best(self) -> None:
        """Write the checkpoint of the best epoch, which this one is."""
        self.folder.write_best(self.course.header(), self.course.tensors())

    def epoch_done(self) -> None:
        """Write a checkpoint if one is due after this epoch."""
        if is_due(self.course.epoch, self.every) or self.course.finished:
            self.save()
        if self.course.at_best:
            self.save_best()

    def best(self) -> Machine | None:
        """The machine of the best epoch of a run with `patience`, which is not this one; None before there is one."""
        epoch = self.course.kept_epoch
        if epoch is None:
            return None
        path = self.folder.best_path
        header, tensors = file_format.read(path) if path.is_file() else ({}, {})
        if header.get("epoch") != epoch:
            same = [p.path.name for p in self.folder.positions() if (p.epoch, p.batch) == (epoch, 0)]
            hint = f"; copy {same[0]} there" if same else ""
            raise CheckpointError(f"{path}: resume needs the checkpoint of epoch {epoch} there, the best so far{hint}")
        return machine_from(path, header, tensors)
