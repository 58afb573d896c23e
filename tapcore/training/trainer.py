"""Algorithm 2: the state of a training run, its steps, and its checkpoints."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tapcore._threads import for_each_block
from tapcore.checkpoint import CheckpointError, describe, tensors_of
from tapcore.fields import ORDERS, couplings
from tapcore.machine import Machine
from tapcore.training.gradient import Averages, Workspace, data_statistics, hidden_rows, move_weights, workspace
from tapcore.training.history import EpochRecord, History, draw_sample, score
from tapcore.training.phases import phase_for
from tapcore.training.settings import Settings, fingerprint, refuse_contradictions
from tapcore.training.update_rules import slopes
from tapcore.units import Unit
from tapcore.units._sites import MOMENTS, sites_of

Array = NDArray[Any]

# What each stream of random numbers is for. A stream is a function of the seed and of where in the run it is used, so a
# checkpoint needs no generator state: seed, epoch and batch say it all.
_SAMPLE, _ORDER, _STARTS, _DRAWS = range(4)


class Interrupted(Exception):  # noqa: N818 - not an error
    """Training was asked to stop and did, between two batches."""


class Trainer:
    """Everything that changes while a machine trains; ready for the next batch at any time.

    Attributes
    ----------
    epoch, batch : int
        Epochs done, and batches done of the next one.
    """

    def __init__(self, machine: Machine, X: Array, settings: Settings) -> None:
        self.machine, self.X, self.settings = machine, X, settings
        self.phase = phase_for(machine, settings)
        self.order = ORDERS.get(settings.gradient, 1)
        self.pair = couplings(machine.weights, self.order)
        self.step = np.zeros_like(self.pair.W[0])
        self.sites = sites_of(machine.layers, MOMENTS)
        self.parameters = [self.sites.parameters(i) for i in range(len(machine.layers))]
        self.chains_begun = False
        self.epoch = self.batch = 0
        self.seconds = 0.0
        self.lost = 0  # chains, in this epoch
        self.history = History()
        self.sample = draw_sample(X, self._stream(_SAMPLE))
        self._workspaces: dict[tuple[int, int], Workspace] = {}

    @property
    def batches(self) -> int:
        """Batches of an epoch; the last one may be smaller."""
        return -(-int(self.X.shape[0]) // self.settings.batch_size)

    def snapshot(self) -> Machine:
        """The machine as it is now."""
        return self.machine.replace(layers=self._layers(), weights=self.pair.W)

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
        rate = self.settings.rates[self.epoch]
        begun = time.perf_counter() - self.seconds
        while self.batch < self.batches:
            if stop():
                self.seconds = time.perf_counter() - begun
                raise Interrupted
            self._train_batch(order, rate)
            self.batch += 1
            batch_done()
        self._refuse_divergence()
        result = score(self.snapshot(), self.sample, self.settings.chains)
        self.epoch, self.batch, self.seconds = self.epoch + 1, 0, 0.0
        result = result._replace(lost=result.lost + self.lost)
        record = EpochRecord(self.epoch, rate, *result, seconds=time.perf_counter() - begun)
        self.lost = 0
        self.history.append(record)
        return record

    def _train_batch(self, order: NDArray[np.int64], rate: float) -> None:
        first = self.batch * self.settings.batch_size
        rows = order[first : first + self.settings.batch_size]
        x = self._rows(rows)
        self._start_chains(order, first, x)
        self.phase.run(self.snapshot, self.sites, self.pair, (_DRAWS, self.epoch, self.batch))
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
            self.phase.start(starts)
        elif (renewed := self.phase.lost() | self._due()).any():
            self.phase.restart(renewed, self._rows(order[np.arange(first, first + count) % len(order)]))
        self.chains_begun = True

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
        model = self.phase.model(layers, self._kept())
        count = len(model.mean[0])
        work = self._workspace(count, len(x))
        # Sampled chains that started in this batch did so from its samples, one after the other.
        fields = model.fields[: len(x)] if len(model.fields) >= len(x) else model.fields[:0]
        of = Averages(x, model.mean, model.var, 1 / len(x), 1 / count, model.third, model.order, model.extra, fields)
        for_each_block(hidden_rows, len(work.row_blocks), self.sites, self.pair.W[0], of, work)
        blocks = len(work.weight_blocks)
        penalty = slopes(settings.penalty)
        for_each_block(move_weights, blocks, self.pair, self.step, of, work, rate, settings.momentum, *penalty)
        parts = zip(layers, self.parameters, data_statistics(layers, of, work), model.statistics, strict=True)
        for layer, parameters, data, chains in parts:
            layer.ascend(parameters, {name: data[name] - chains[name] for name in data}, rate)

    def _kept(self) -> Any:
        """Which chains are not lost."""
        lost = self.phase.lost()
        if not lost.any():
            return slice(None)
        self.lost += int(lost.sum())
        if lost.all():
            raise FloatingPointError(
                f"training diverged in epoch {self.epoch + 1}: every chain was lost, as precisions turned negative; "
                "try a smaller learning_rate, a stronger penalty or smaller weights"
            )
        return ~lost

    def _workspace(self, chains: int, samples: int) -> Workspace:
        key = chains, samples
        if key not in self._workspaces:
            self._workspaces[key] = workspace(self.machine.sizes, chains, samples, self.machine.dtype)
        return self._workspaces[key]

    def _refuse_divergence(self) -> None:
        arrays = (*self.pair.W, self.sites.values)
        if not all(np.isfinite(a).all() for a in arrays):
            raise FloatingPointError(
                f"training diverged in epoch {self.epoch + 1}: weights are not finite; try a smaller learning_rate"
            )

    def _stream(self, *key: int) -> np.random.Generator:
        return np.random.default_rng(np.random.SeedSequence(self.settings.seed, spawn_key=key))

    # -- checkpoints -------------------------------------------------------------------------------------------------

    def header(self) -> dict[str, Any]:
        """All of the state that is not arrays."""
        return {
            "kind": "training", **describe(self.machine),
            "settings": {**self.settings.described(), "X": fingerprint(self.X)},
            "epoch": self.epoch, "batch": self.batch, "seconds": self.seconds, "lost": self.lost,
            "chains_begun": self.chains_begun,
            "random": {"seed": self.settings.seed, "epoch": self.epoch, "batch": self.batch},
        }  # fmt: skip

    def tensors(self) -> dict[str, Array]:
        """All of the state that is arrays."""
        return {
            **tensors_of(self.snapshot()), **self.phase.tensors(), "momentum.0": self.step,
            "history": self.history.to_array(),
        }  # fmt: skip

    def restore(self, path: Path, header: dict[str, Any], tensors: dict[str, Array]) -> None:
        """Go on from a checkpoint read from `path`.

        Raises
        ------
        ValueError
            It is of another machine, other data, other settings, or of more epochs than are asked for.
        """
        if header.get("kind") != "training":
            raise CheckpointError(f"{path}: holds a machine but no training run to resume")
        for name, mine in describe(self.machine).items():
            if header[name] != mine:
                raise ValueError(f"resume: machine contradicts {path}: {name} there: {header[name]}, here: {mine}")
        done, batch = header["epoch"], header["batch"]
        begun = done + (batch > 0)
        refuse_contradictions(self.header()["settings"], header["settings"], begun, str(path))
        if begun > self.settings.epochs:
            raise ValueError(f"resume: epochs contradicts {path}: {begun} have begun, got {self.settings.epochs}")
        into = {**self.phase.tensors(), "weights.0": self.pair.W[0], "momentum.0": self.step}
        into |= {f"layers.{i}.{name}": p for i, own in enumerate(self.parameters) for name, p in own.items()}
        for name, array in into.items():
            array[...] = tensors[name]
        for power, own in zip(couplings(self.pair.W, self.order), self.pair, strict=True):
            own[0][...] = power[0]
        self.chains_begun = header["chains_begun"]
        self.phase.restored()
        self.epoch, self.batch, self.seconds, self.lost = done, batch, header["seconds"], header.get("lost", 0)
        self.history = History.from_array(tensors["history"])
