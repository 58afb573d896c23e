"""A training run: an RBM trains as a whole, a deeper machine layer by layer first, then as a whole (Alg. 4).

Stage l of a deep machine trains weights l as those of an RBM, on what the layers below make of the data. What a stage
trains on follows from the seed and from the layers below, which do not change any more: a checkpoint need not hold it.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tapcore._base import checks
from tapcore.machine import Machine
from tapcore.storage.machines import CheckpointError, describe, machine_from, tensors_of
from tapcore.training.held_out import HeldOut, best_of
from tapcore.training.history import EpochRecord, History, draw_sample
from tapcore.training.plan import Plan, fingerprint, refuse_contradictions
from tapcore.training.trainer import Trainer
from tapcore.units import Unit

Array = NDArray[Any]

# Keys of the streams of random numbers of stage l, apart from those of training as a whole.
_STAGES = 1000
_PASSED, _SCORED = 100, 101


class Course:
    """The stages of a run, one trainer at a time.

    Attributes
    ----------
    machine : Machine
        As it was when the stage began.
    trainer : Trainer
        Of the stage.
    """

    def __init__(self, machine: Machine, X: Array, settings: Plan, held_out: HeldOut | None = None) -> None:
        self.X, self.settings, self.held_out = X, settings, held_out
        pairs = len(machine.weights)
        #: Which weights each stage trains, None all of them.
        self.lowers: list[int | None] = [*(range(pairs) if settings.pretrain else ()), None]
        self.past = History()
        if settings.pretrain:
            Trainer(machine, X[:1], settings)  # refuses now what it would refuse after hours
        self._begin(machine, 0)

    def _begin(self, machine: Machine, number: int) -> None:
        self.machine, self.number = machine, number
        lower = self.lowers[number]
        if lower is None:
            held = None if self.held_out is None else self.held_out.rows
            self.trainer = Trainer(machine, self.X, self.settings.stage(False), held_out=held)
            return
        settings = self.settings.stage(True)
        H, scored = self.X, None
        below: Unit = machine.layers[0]
        if lower > 0:
            H = passed_up(machine, self.X, lower, settings)
            scored = _values(
                machine.layers[lower], draw_sample(H, _stream(settings, number, _SCORED)), settings, number
            )
            below = machine.layers[lower].fitted(scored)
        pair = Machine((below, machine.layers[lower + 1]), (machine.weights[lower],), machine.dtype)
        self.trainer = Trainer(pair, H, settings, key=(_STAGES + number,), scored=scored)

    @property
    def epoch(self) -> int:
        """Epochs done of all stages."""
        return len(self.past) + self.trainer.epoch

    @property
    def batch(self) -> int:
        """Batches done of the next one."""
        return self.trainer.batch

    @property
    def batches(self) -> int:
        """Batches of an epoch."""
        return self.trainer.batches

    @property
    def epochs(self) -> int | None:
        """Epochs of all stages; None of a run of so many seconds."""
        if self.settings.epochs is None:
            return None
        return self.settings.epochs + (len(self.lowers) - 1) * self.settings.pretrain

    @property
    def finished(self) -> bool:
        """Whether all stages are done."""
        return self.number == len(self.lowers) - 1 and self.trainer.finished

    @property
    def best_epoch(self) -> int | None:
        """The epoch of the best held-out score, of all stages."""
        best = best_of(self.trainer.history)
        return None if best is None else len(self.past) + best.epoch

    @property
    def kept_epoch(self) -> int | None:
        """The epoch whose machine is kept as the best: that of a run with `patience`."""
        return None if self.settings.patience is None else self.best_epoch

    @property
    def at_best(self) -> bool:
        """Whether the machine as it is now is the one to be kept."""
        return self.batch == 0 and self.epoch == self.kept_epoch

    @property
    def history(self) -> History:
        """Records of all stages so far."""
        return History([*self.past, *map(self._of_run, self.trainer.history)])

    def _of_run(self, record: EpochRecord) -> EpochRecord:
        lower = self.lowers[self.number]
        stage = 0 if lower is None else lower + 1
        return record._replace(epoch=len(self.past) + record.epoch, stage=stage)

    def run_epoch(self, batch_done: Callable[[], None], stop: Callable[[], bool]) -> EpochRecord:
        """Train what is left of the epoch and score it, as `Trainer.run_epoch`; stages follow each other."""
        while self.trainer.finished:
            machine, self.past = self.snapshot(), self.history
            self._begin(machine, self.number + 1)
        return self._of_run(self.trainer.run_epoch(batch_done, stop))

    def snapshot(self) -> Machine:
        """The whole machine as it is now; in the last stage of a run with `patience` the average."""
        lower, now = self.lowers[self.number], self.trainer.outcome()
        if lower is None:
            return now
        layers, weights = list(self.machine.layers), list(self.machine.weights)
        layers[lower + 1], weights[lower] = now.layers[1], now.weights[0]
        if lower == 0:
            layers[0] = now.layers[0]
        return self.machine.replace(layers=layers, weights=weights)

    # -- checkpoints -------------------------------------------------------------------------------------------------

    def header(self) -> dict[str, Any]:
        """All of the state that is not arrays."""
        return {
            "kind": "training", **self._described(), "stage": self.number,
            "settings": self._settings(),
            "epoch": self.epoch, **self.trainer.header(),
        }  # fmt: skip

    def _settings(self) -> dict[str, Any]:
        """Settings and fingerprints of data: what a resumed run must have too."""
        held = {} if self.held_out is None else {"validation": self.held_out.fingerprint}
        return {**self.settings.described(), **held, "X": fingerprint(getattr(self.X, "raw", self.X))}

    def _described(self) -> dict[str, Any]:
        """The machine, in the dtype that it is given back in."""
        return {**describe(self.machine), "dtype": self.settings.given}

    def tensors(self) -> dict[str, Array]:
        """All of the state that is arrays."""
        own = tensors_of(self.trainer.outcome())
        if self.lowers[self.number] is not None:
            own = {f"stage.{name}": x for name, x in own.items()} | tensors_of(self.snapshot())
        return {**own, **self.trainer.tensors(), "history": self.history.to_array()}

    def restore(self, path: Path, header: dict[str, Any], tensors: dict[str, Array]) -> None:
        """Go on from a checkpoint read from `path`.

        Raises
        ------
        ValueError
            It is of another machine, other data, other settings, or of more epochs than are asked for.
        """
        if header.get("kind") != "training":
            raise CheckpointError(f"{path}: holds a machine but no training run to resume")
        for name, mine in self._described().items():
            if header[name] != mine:
                raise ValueError(f"resume: machine contradicts {path}: {name} there: {header[name]}, here: {mine}")
        records, number = list(History.from_array(tensors["history"])), header.get("stage", 0)
        last, lower = number == len(self.lowers) - 1, self.lowers[number]
        past = sum(record.stage != (0 if lower is None else lower + 1) for record in records)
        done = header["epoch"] - past
        begun = done + (header["batch"] > 0)
        refuse_contradictions(self._settings(), header["settings"], begun if last else 0, str(path))
        if last and self.settings.epochs is not None and begun > self.settings.epochs:
            raise ValueError(f"resume: epochs contradicts {path}: {begun} have begun, got {self.settings.epochs}")
        self.past = History(records[:past])
        if number:
            # The header has the dtype that the machine is given back in, not the one to train in.
            self._begin(machine_from(path, header, tensors).replace(dtype=self.settings.dtype), number)
        own = "" if last else "stage."
        mine = [r._replace(epoch=r.epoch - len(self.past), stage=0) for r in records[len(self.past) :]]
        self.trainer.restore(done, header, tensors, own, History(mine))


def passed_up(machine: Machine, X: Array, layer: int, settings: Plan) -> Array:
    """What layers below make of the data for hidden layer `layer`: samples given those of the layer below, or means."""
    unit = machine.layers[layer]
    means = settings.pass_up == "means"
    whole = unit.levels is not None and not means and all(float(s).is_integer() for s in unit.levels)
    out = np.empty((X.shape[0], unit.columns), np.int8 if whole else machine.dtype)
    for start, rows in checks.row_blocks(X):
        x = np.asarray(rows, machine.dtype)
        rng = _stream(settings, layer, _PASSED, start)
        for W, above in zip(machine.weights[:layer], machine.layers[1 : layer + 1], strict=True):
            fields = x @ W
            x = above.moments(fields, 0.0)[1] if means else above.sample(fields, 0.0, rng)
        out[start : start + len(x)] = x
    return out


def _values(unit: Unit, x: Array, settings: Plan, number: int) -> Array:
    """Values in the support of `unit` for means `x`: drawn, where the unit has two states."""
    if unit.levels is None or settings.pass_up != "means":
        return x
    low, high = unit.levels
    up = _stream(settings, number, _SCORED, 1).random(x.shape) < (x - low) / (high - low)
    return np.where(up, high, low).astype(x.dtype)


def _stream(settings: Plan, *key: int) -> np.random.Generator:
    return np.random.default_rng(np.random.SeedSequence(settings.seed, spawn_key=(_STAGES, *key)))
