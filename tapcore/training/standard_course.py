"""A training run in standard coordinates, seen from outside in those of the data."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tapcore.machine import Machine
from tapcore.storage.machines import CheckpointError, machine_from, tensors_of
from tapcore.training.coordinates import Coordinates
from tapcore.training.course import Course
from tapcore.training.held_out import HeldOut
from tapcore.training.history import EpochRecord, History
from tapcore.training.plan import Plan

Array = NDArray[Any]

# What the names of the inner run's tensors begin with in checkpoints.
_INSIDE = "standard."


class StandardCourse:
    """A `Course` inside, whose visible layer is in standard coordinates z.

    Machines, records and checkpoints are those of x; checkpoints hold what the inner run needs beside them.
    """

    def __init__(
        self, machine: Machine, X: Array, settings: Plan, coordinates: Coordinates, held_out: HeldOut | None = None
    ) -> None:
        self.coordinates = coordinates
        inside = coordinates.inward(machine)
        rows: Any = coordinates.rows(X, machine.layers[0])  # all that is asked of an array there
        held = None if held_out is None else held_out.inside(coordinates, machine.layers[0])
        self.course = Course(inside, rows, settings, held)
        self.start = machine, inside
        self.history = History()

    @property
    def epoch(self) -> int:
        """Epochs done of all stages."""
        return self.course.epoch

    @property
    def batch(self) -> int:
        """Batches done of the next one."""
        return self.course.batch

    @property
    def batches(self) -> int:
        """Batches of an epoch."""
        return self.course.batches

    @property
    def epochs(self) -> int | None:
        """Epochs of all stages; None of a run of so many seconds."""
        return self.course.epochs

    @property
    def finished(self) -> bool:
        """Whether all stages are done."""
        return self.course.finished

    @property
    def best_epoch(self) -> int | None:
        """The epoch of the best held-out score, of all stages."""
        return self.course.best_epoch

    @property
    def kept_epoch(self) -> int | None:
        """The epoch whose machine is kept as the best: that of a run with `patience`."""
        return self.course.kept_epoch

    @property
    def at_best(self) -> bool:
        """Whether the machine as it is now is the one to be kept."""
        return self.course.at_best

    def run_epoch(self, batch_done: Callable[[], None], stop: Callable[[], bool]) -> EpochRecord:
        """Train what is left of the epoch and score it, as `Course.run_epoch`."""
        record = self.course.run_epoch(batch_done, stop)
        if record.stage <= 1:  # others do not train the visible layer
            record = self._outward(record)
        self.history.append(record)
        return record

    def _outward(self, record: EpochRecord) -> EpochRecord:
        trainer, inside = self.course.trainer, self.course.snapshot()
        outside = self.coordinates.outward(inside, self.start)
        shift = self.coordinates.free_energy_shift(outside, inside)
        changed: dict[str, Any] = {"free_energy": record.free_energy + shift}
        for name, rows in {"log_likelihood": trainer.sample, "validation": trainer.held_out}.items():
            if rows is not None:
                gain = self.coordinates.log_density(inside.layers[0], rows) / sum(trainer.machine.sizes)
                changed[name] = getattr(record, name) + gain
        return record._replace(**changed)

    def snapshot(self) -> Machine:
        """The whole machine as it is now."""
        return self.coordinates.outward(self.course.snapshot(), self.start)

    def header(self) -> dict[str, Any]:
        """All of the state that is not arrays."""
        return self.course.header()

    def tensors(self) -> dict[str, Array]:
        """All of the state that is arrays."""
        inside = {f"{_INSIDE}{name}": x for name, x in self.course.tensors().items()}
        return {**tensors_of(self.snapshot()), "history": self.history.to_array(), **inside}

    def restore(self, path: Path, header: dict[str, Any], tensors: dict[str, Array]) -> None:
        """Go on from a checkpoint read from `path`; errors as those of `Course.restore`."""
        inside = {name.removeprefix(_INSIDE): x for name, x in tensors.items() if name.startswith(_INSIDE)}
        if header.get("kind") == "training" and not inside and header["settings"].get("standard"):
            raise CheckpointError(f"{path}: lacks the arrays of a run in standard coordinates")
        # One that ran in the data's own coordinates has none: its settings contradict these, as is said then.
        self.course.restore(path, header, inside or tensors)
        self.start = machine_from(path, header, tensors), self.course.snapshot()
        self.history = History.from_array(np.asarray(tensors["history"]))
