"""Algorithm 2: the state of a training run, its steps, and its checkpoints."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tapcore._base.blocks import run_blocks
from tapcore._base.compiling import compiled_seconds
from tapcore.equations.compiled import compiled
from tapcore.inference.methods import TABLE, clamped
from tapcore.inference.solve import rule_for
from tapcore.machine import Machine
from tapcore.training.average import Average, named
from tapcore.training.centring import Offsets
from tapcore.training.data_side import DataSide
from tapcore.training.held_out import best_of, by_sites
from tapcore.training.history import EpochRecord, History, draw_sample, score
from tapcore.training.moves import OfParameters, how, memory
from tapcore.training.phase import overwrite
from tapcore.training.phases import phase_for
from tapcore.training.plan import Plan
from tapcore.training.weights import (
    Step,
    Workspace,
    averages,
    less,
    move_weights,
    no_center,
    workspace,
)
from tapcore.units import Unit
from tapcore.units.sites import MOMENTS

Array = NDArray[Any]
Statistics = Sequence[dict[str, Array]]

# What each stream of random numbers is for. A stream is a function of the seed and of where in the run it is used, so a
# checkpoint needs no generator state: seed, epoch and batch say it all.
_SAMPLE, _ORDER, _STARTS, _DRAWS, _NOISE = range(5)


# What the names of the machine that takes the steps begin with in checkpoints whose machine is the average.
_MOVING = "moving."


class Interrupted(Exception):  # noqa: N818 - not an error
    """Training was asked to stop and did, between two batches."""


def _now() -> float:
    """Seconds, of which those that compiling takes do not count: some kernels are first needed late in a run."""
    return time.perf_counter() - compiled_seconds()


class Trainer:
    """Everything that changes while a machine trains; ready for the next batch at any time.

    Attributes
    ----------
    epoch, batch : int
        Epochs done, and batches done of the next one.
    key : tuple of int
        Sets its streams of random numbers apart from those of other trainers of the same seed.
    sample : (n, n_visible) array
        What is scored after each epoch.
    held_out : (n, n_visible) array, optional
        What else is, that training does not see.
    average : Average or None
        Of the machine over its last batches, where it is for held-out data to say when to stop.
    """

    def __init__(
        self,
        machine: Machine,
        X: Array,
        settings: Plan,
        *,
        key: tuple[int, ...] = (),
        scored: Array | None = None,
        held_out: Array | None = None,
    ) -> None:
        self.machine, self.X, self.settings, self.key = machine, X, settings, key
        self.phase = phase_for(machine, settings)
        self.order = TABLE[clamped(settings.gradient)].order
        self.own = compiled(machine.layers, machine.weights, self.order, MOMENTS)
        self.weights = [W for W, _, _ in self.own.weights]
        self.steps = tuple(np.zeros_like(W) for W in self.weights)
        self.parameters = [self.own.sites.parameters(i) for i in range(len(machine.layers))]
        self.memories = [memory(settings.optimizer, W) for W in self.weights]
        self.of_parameters = OfParameters(settings.optimizer, self.parameters)
        self.offsets = Offsets(machine.layers)
        self.chains_begun = False
        self.epoch = self.batch = 0
        self.seconds = 0.0
        self.lost = 0  # chains, in this epoch
        self.history = History()
        self.sample = draw_sample(X, self._stream(_SAMPLE)) if scored is None else scored
        self.held_out = held_out
        self.average = None if held_out is None or settings.patience is None else Average(self.own)
        self._workspaces: dict[tuple[int, ...], Workspace] = {}
        self._data: dict[int, DataSide] = {}

    @property
    def batches(self) -> int:
        """Batches of an epoch; the last one may be smaller."""
        return -(-int(self.X.shape[0]) // self.settings.batch_size)

    def snapshot(self) -> Machine:
        """The machine that takes the steps, as it is now."""
        return self.machine.replace(layers=self._layers(), weights=self.weights)

    def outcome(self) -> Machine:
        """What training has made so far: the average, or the machine as it is now where there is none."""
        if self.average is None:
            return self.snapshot()
        of = self.average.of
        parameters = (of.sites.parameters(i) for i in range(len(self.machine.layers)))
        layers = [layer.with_parameters(p) for layer, p in zip(self.machine.layers, parameters, strict=True)]
        return self.machine.replace(layers=layers, weights=[W for W, _, _ in of.weights])

    def _layers(self) -> list[Unit]:
        """The layers as they are now."""
        pairs = zip(self.machine.layers, self.parameters, strict=True)
        return [layer.with_parameters(parameters) for layer, parameters in pairs]

    def run_epoch(self, batch_done: Callable[[], None], stop: Callable[[], bool]) -> EpochRecord:
        """Train what is left of the epoch and score it.

        Raises
        ------
        Interrupted
            `stop` returned True between two batches.
        FloatingPointError
            Weights or parameters are no longer finite.
        """
        order = self._stream(_ORDER, self.epoch).permutation(self.X.shape[0])
        begun = _now() - self.seconds
        rate = self._rate(0.0 if self.batch == 0 else self.seconds)
        while self.batch < self.batches and not self._time_is_up(_now() - begun):
            if stop():
                self.seconds = _now() - begun
                raise Interrupted
            self._train_batch(order, self._rate(_now() - begun))
            if self.average is not None:
                self.average.follow()
            self.batch += 1
            batch_done()
        self._refuse_divergence()
        machine = self.outcome()
        pseudo = self.settings.patience is not None and by_sites(machine)
        result = score(machine, self.sample, self.settings.chains, self.held_out, pseudo)
        self.epoch, self.batch, self.seconds = self.epoch + 1, 0, 0.0
        result = result._replace(lost=result.lost + self.lost)
        seconds = _now() - begun
        exchanges = self.phase.exchanges()._asdict()
        record = EpochRecord(self.epoch, rate, **result._asdict(), **exchanges, seconds=seconds)
        self.lost = 0
        self.history.append(record)
        return record

    @property
    def finished(self) -> bool:
        """Whether all epochs are done, or the time is up, or the held-out score has not risen for long enough."""
        if self._patience_is_up():
            return True
        if self.settings.seconds is None:
            return self.epoch == self.settings.epochs
        return self._time_is_up(self.seconds)

    def _patience_is_up(self) -> bool:
        """Whether the run has gone on for as many epochs as it may after the best one."""
        if self.settings.patience is None or self.held_out is None or self.batch:
            return False
        best = best_of(self.history)
        return self.epoch - (0 if best is None else best.epoch) >= self.settings.patience

    def _time_is_up(self, seconds: float) -> bool:
        """Whether the run has lasted as long as it may; with so many seconds of this epoch."""
        most = self.settings.seconds
        return most is not None and self.epoch + self.batch > 0 and self.history.seconds.sum() + seconds >= most

    def _rate(self, seconds: float) -> float:
        """Learning rate of the next batch; with so many seconds of this epoch."""
        settings = self.settings
        if settings.seconds is None:
            assert settings.epochs is not None
            done = (self.epoch + self.batch / self.batches) / max(1, settings.epochs)
        else:
            done = (self.history.seconds.sum() + seconds) / settings.seconds if settings.seconds > 0 else 0.0
        return settings.rate(self.epoch, done)

    def _train_batch(self, order: NDArray[np.int64], rate: float) -> None:
        first = self.batch * self.settings.batch_size
        rows = order[first : first + self.settings.batch_size]
        x = self._rows(rows)
        self._start_chains(order, first, x)
        self.phase.run(self.snapshot, self.own, (*self.key, _DRAWS, self.epoch, self.batch))
        self._update(x, rate)

    def _rows(self, rows: NDArray[np.int64]) -> Array:
        return np.ascontiguousarray(self.X[rows], dtype=self.machine.dtype)

    def _start_chains(self, order: NDArray[np.int64], first: int, x: Array) -> None:
        count, how = self.settings.chains, self.settings.chain_init
        if how == "random":
            rng = self._stream(_STARTS, self.epoch, self.batch)
            self.phase.start(self.machine.layers[0].random_means(count, rng))
        elif how == "data" or not self.chains_begun:
            # With more chains than samples in the batch, those that follow in the epoch's order.
            enough = len(x) >= count
            starts = x[:count] if enough else self._rows(order[np.arange(first, first + count) % len(order)])
            self.phase.start(self._with_noise(starts))
        elif (renewed := self.phase.lost() | self._due()).any():
            self.phase.restart(
                renewed, self._with_noise(self._rows(order[np.arange(first, first + count) % len(order)]))
            )
        self.chains_begun = True

    def _with_noise(self, starts: Array) -> Array:
        """`starts`, some with random means in place of some of their units."""
        count = round(self.settings.noisy * len(starts))
        if count == 0:
            return starts
        rng, starts = self._stream(_NOISE, self.epoch, self.batch), starts.copy()
        which = rng.permutation(len(starts))[:count]
        replaced = rng.random((count, starts.shape[1])) < rng.random((count, 1))
        means = self.machine.layers[0].random_means(count, rng)
        starts[which] = np.where(replaced, means, starts[which])
        return starts

    def _due(self) -> NDArray[np.bool_]:
        """Persistent chains whose turn it is to start from a sample: a window that moves on from batch to batch."""
        count = self.settings.chains
        first, last = (int(b * self.settings.renew * count) for b in (self.batch, self.batch + 1))
        due = np.zeros(count, np.bool_)
        due[np.arange(first, last) % count] = True
        return due

    def _update(self, x: Array, rate: float) -> None:
        """Take one step of Alg. 2 with the samples `x` and the chains where they are."""
        settings = self.settings
        layers = self._layers()
        model = self.phase.model(layers, self._kept(layers))
        count = len(model.moments.mean[0])
        shares = model.shares if len(model.shares) else 1.0 / count
        # Sampled chains that started in this batch did so from its samples, one after the other.
        fields = model.fields[: len(x)] if len(model.fields) >= len(x) else model.fields[:0]
        numbers = how(settings.optimizer, settings.penalty, rate, self.epoch * self.batches + self.batch + 1)
        data = self._data_side(len(x)).run(x, self.own, fields)
        statistics = data.statistics(layers)
        pairs = zip(statistics, model.statistics, strict=True)
        ascent = [{name: seen[name] - own[name] for name in seen} for seen, own in pairs]
        offsets = self.offsets
        if settings.center:
            offsets.follow(statistics, model.statistics)
        for lower, (step, powers) in enumerate(zip(self.steps, self.own.weights, strict=True)):
            centred = offsets.rows(lower, ascent, step.dtype) if settings.center else no_center(step)
            work = self._workspace(step.shape[0], step.shape[1], count + len(x) + len(centred.lower))
            extra = less(model.extra[lower], data.extra[lower])
            of = averages(work, lower, model.moments, data.moments, len(x), shares, extra, centred)
            job = Step(*powers, step, self.memories[lower], of, work, numbers)
            run_blocks(move_weights, len(work.blocks), job)
        with np.errstate(over="ignore", invalid="ignore"):  # what diverges is said after the epoch
            self._move_units(layers, model.statistics, ascent, numbers.rate)
            if settings.center:
                offsets.keep_fields(self.parameters, self.steps)

    def _move_units(self, layers: list[Unit], model: Statistics, ascent: Statistics, rate: float) -> None:
        """Take the units' share of a step, in coordinates of each layer, which Adam's memory is of too."""
        steps = [self.of_parameters.steps(layer, own) for layer, own in zip(layers, model, strict=True)]
        slopes = [own.slopes(gradient) for own, gradient in zip(steps, ascent, strict=True)]
        directions = self.of_parameters.directions(slopes)
        for own, parameters, along in zip(steps, self.parameters, directions, strict=True):
            own.take(parameters, along, rate)

    def _kept(self, layers: list[Unit]) -> Any:
        """Which chains are not lost."""
        lost = self.phase.lost()
        if not lost.any():
            return slice(None)
        self.lost += int(lost.sum())
        if lost.all():
            raise FloatingPointError(
                f"training diverged in epoch {self.epoch + 1}: every chain was lost, as {self.phase.why_lost(layers)}; "
                "try a smaller learning_rate, a stronger penalty or smaller weights"
            )
        return ~lost

    def _workspace(self, lower: int, upper: int, rows: int) -> Workspace:
        key = lower, upper, rows
        if key not in self._workspaces:
            self._workspaces[key] = workspace(lower, upper, rows, self.machine.dtype)
        return self._workspaces[key]

    def _data_side(self, samples: int) -> DataSide:
        if samples not in self._data:
            rule = rule_for(self.machine, clamped(self.settings.gradient))
            self._data[samples] = DataSide(self.machine.sizes, samples, self.machine.dtype, rule, self.settings.sweeps)
        return self._data[samples]

    def _refuse_divergence(self) -> None:
        arrays = self.own.W, self.own.values
        if not all(np.isfinite(a).all() for a in arrays):
            raise FloatingPointError(
                f"training diverged in epoch {self.epoch + 1}: weights are not finite; try a smaller learning_rate"
            )

    def _stream(self, *key: int) -> np.random.Generator:
        return np.random.default_rng(np.random.SeedSequence(self.settings.seed, spawn_key=(*self.key, *key)))

    # -- checkpoints -------------------------------------------------------------------------------------------------

    def header(self) -> dict[str, Any]:
        """All of the state that is not arrays, the number of epochs aside."""
        averaged = {} if self.average is None else {"averaged": self.average.count}
        return {
            "batch": self.batch, "seconds": self.seconds, "lost": self.lost, "chains_begun": self.chains_begun,
            "random": {"seed": self.settings.seed, "epoch": self.epoch, "batch": self.batch}, **averaged,
        }  # fmt: skip

    def tensors(self) -> dict[str, Array]:
        """All of the state that is arrays, `outcome` aside."""
        return {**self.phase.tensors(), **self._own_tensors()}

    def _own_tensors(self) -> dict[str, Array]:
        """Those that are not the chains'."""
        offsets = self.offsets.tensors() if self.settings.center else {}
        memories = {
            f"adam.{i}.{what}": x
            for i, kept in enumerate(self.memories)
            for what, x in kept._asdict().items()
            if len(x)
        }
        moving = {} if self.average is None else {f"{_MOVING}{name}": x for name, x in named(self.own).items()}
        return {**_named_steps(self.steps), **offsets, **memories, **self.of_parameters.tensors(), **moving}

    def restore(
        self, epoch: int, header: dict[str, Any], tensors: dict[str, Array], prefix: str, history: History
    ) -> None:
        """Go on from what `header` and `tensors` said after `epoch` epochs; the machine's arrays have a prefix."""
        outcome = named(self.own if self.average is None else self.average.of)
        if self.average is not None:
            # Runs begun before there were averages have none: theirs begins where they are.
            self.average.count = header.get("averaged", 0)
            tensors = {f"{_MOVING}{name}": tensors[name] for name in outcome} | tensors
        overwrite(self._own_tensors() | {f"{prefix}{name}": x for name, x in outcome.items()}, tensors)
        self.own.set_powers()
        self.chains_begun = header["chains_begun"]
        self.offsets.begun = epoch + header["batch"] > 0
        self.phase.restore(tensors)
        self.epoch, self.batch, self.seconds = epoch, header["batch"], header["seconds"]
        self.lost, self.history = header.get("lost", 0), history


def _named_steps(steps: tuple[Array, ...]) -> dict[str, Array]:
    return {f"momentum.{i}": step for i, step in enumerate(steps)}
