"""The front door of training: `fit`."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

from numpy.typing import ArrayLike, NDArray
from tqdm import tqdm

from tapcore._base import checks
from tapcore._base.interrupts import interrupts_wait
from tapcore.machine import Machine, check_machine
from tapcore.storage import format as file_format
from tapcore.storage.machines import CheckpointError, RunFolder
from tapcore.training.coordinates import Coordinates
from tapcore.training.course import Course
from tapcore.training.history import EpochRecord, History
from tapcore.training.optimisers import L1, L2
from tapcore.training.settings import LearningRate, Settings
from tapcore.training.standard_course import StandardCourse
from tapcore.training.trainer import Interrupted

Callback = Callable[[Machine, EpochRecord], Any]
AnyCourse = Course | StandardCourse


class FitResult(NamedTuple):
    """A trained machine and the record of its epochs.

    Attributes
    ----------
    machine : Machine
    history : History
    """

    machine: Machine
    history: History


def fit(
    machine: Machine,
    X: ArrayLike,
    *,
    epochs: int,
    batch_size: int = 100,
    chains: int = 100,
    learning_rate: LearningRate = 0.005,
    momentum: float = 0.5,
    penalty: L1 | L2 | None = L2(0.001),  # noqa: B008 - immutable
    sweeps: int | None = None,
    chain_init: str | None = None,
    renew: float | None = None,
    noisy: float = 0.0,
    damping: float | None = None,
    gradient: str = "tap",
    seed: int = 0,
    pretrain: int | None = None,
    pass_up: str = "samples",
    center: bool | None = None,
    checkpoint: str | os.PathLike[str] | None = None,
    checkpoint_every: int = 1,
    resume: bool = False,
    progress: bool | None = None,
    callbacks: Sequence[Callback] = (),
) -> FitResult:
    """Train a machine by ascending the TAP log-likelihood of `X` (Algs. 2, 4, Eqs. 38-41, E5-E8).

    For each mini-batch, K chains take a few sweeps of the TAP equations and stand for the solutions in the gradient;
    then ``step = learning_rate (dW - strength dR/dW) + momentum * previous step``, ``W += step``, and
    ``theta += learning_rate dtheta`` for the units' parameters, without momentum or penalty.

    A machine of more than two layers is first trained layer by layer, `pretrain` epochs each: the weights to each
    hidden layer as those of an RBM, on what the layers below make of the data. Then all of it is trained for `epochs`
    epochs, hidden layers given the samples of a batch being found by as many sweeps as the chains take.

    Parameters
    ----------
    machine : Machine
        It is not changed. Its weights are W(0): `RBM` draws them from N(0, 1e-3^2). If every parameter
        of its visible layer is at its default, the layer is first fitted to the data, theta(0) in Alg. 2; any other
        layer is taken as is, as one trained before or made by ``from_data``.
    X : (n, n_visible) array_like
        Samples in the visible layer's support; any real dtype, boolean, or memory-mapped. One batch at a time is
        converted.
    epochs : int
        Passes over the data, in an order shuffled anew each time.
    batch_size : int
        Samples in a mini-batch, M. The last of an epoch may be smaller.
    chains : int
        Chains K that seek solutions; free of M.
    learning_rate : float or callable
        A number, or a function of the epoch, 1 to `epochs`; at least 0.
        W starts near 0, where the gradient nearly vanishes: the log-likelihood stays at that of independent units until
        the hidden units part, which takes some thousand steps of the default rate; on small data a larger one helps.
    momentum : float in [0, 1)
        Share of the previous step of the weights that is added to the next.
    penalty : L1, L2 or None
        On the weights.
    sweeps : int
        Sweeps of each chain for each mini-batch. None is 10, and 1 for "cd" and "pcd".
    chain_init : {"data", "persistent", "random"}, optional
        Chains start from samples (those of the batch, then those that follow in the epoch's order), go on from the
        previous batch, or start from uniformly random visible means. Two sweeps a batch of persistent chains do about
        as well as ten from the data. None is "data", for "pcd" "persistent".
    renew : float
        Share of persistent chains that start anew from samples in each batch, 0 to 1. With none, chains forget the data
        and may collapse onto few solutions. None is 0.2, and 0 for "pcd".
    noisy : float
        Share of the chains that start from samples, 0 to 1, that do so from noisy ones: each with a probability of its
        own, uniform in [0, 1], that a unit is replaced by a random mean. Training then also meets the solutions around
        noisy signals, which denoising comes upon. Not for "cd" and "pcd".
    damping : float in [0, 1), optional
        Of the sweeps, as in `solve`. None is 0, for "adatap" 1/2.
    gradient : {"tap", "nmf", "tap3", "rbp", "adatap", "cd", "pcd"}
        The equations that chains solve and the gradient that goes with them (relaxed belief propagation and adaptive
        TAP take some 30 to 200 times as long as TAP); or contrastive divergence, for which
        chains are of block Gibbs sampling and start from the samples of each batch ("cd") or go on from the batch
        before ("pcd"), the hidden units' means given the visible values standing for their values. What is recorded of
        each epoch is the TAP log-likelihood all the same.
        Machines of more than two layers take "tap", "nmf" or "tap3".
    seed : int
        At least 0. Same seed and thread count: the same bits.
    pretrain : int, optional
        Epochs for each pair of layers of a deep machine before all are trained; 0 trains all from the start, as is
        right for a machine already trained. None is `epochs`, or what a resumed run began with. Not for an RBM.
    pass_up : {"samples", "means"}
        What a hidden layer hands to the next one in pre-training: values drawn given those of the layer below (Alg. 4),
        or means.
    center : bool, optional
        Step along the gradient of a machine written in what its units are above their averages over the batch,
        ``(x - <x>) W (h - <h>)``, so that the weights' step does not move the fields that units have on average.
        None is True for machines of more than two layers: there many units of upper layers end up
        always on or always off otherwise. None and True also train real-valued visible units in standard coordinates,
        as the notes say. False is Alg. 2 to the letter.
    checkpoint : path, optional
        Folder of the run; a checkpoint is written at the start, after every `checkpoint_every` epochs and after the
        last.
    checkpoint_every : int
        Epochs between checkpoints.
    resume : bool
        Go on from the newest checkpoint in the folder, with the same result, to the bit, as if never stopped; start
        afresh if there is none. The weights of `machine` are then those of the checkpoint.
    progress : bool, optional
        Show a progress bar; None shows one when standard error is a terminal.
    callbacks : sequence of callable
        Called as ``callback(machine, record)`` after each epoch, with the machine as it then is.

    Returns
    -------
    FitResult
        ``(machine, history)``: the trained machine, in the dtype of the one given, and its `History`.

    Raises
    ------
    ValueError
        Before any work: samples of the wrong width, empty, not finite or outside the support; an argument outside its
        range; a folder that holds a run while `resume` is false; a checkpoint that is damaged or contradicts the
        arguments.
    FloatingPointError
        Weights became infinite or NaN; checkpoints written before remain.
    KeyboardInterrupt
        On Ctrl-C, between two batches, after writing a checkpoint if there is a folder.

    Notes
    -----
    Real-valued visible units are trained in standard coordinates, unless `center` is False: `Gaussian` ones from the
    mean of their column in standard deviations, `TruncatedGaussian` ones from the mean in widths of the interval,
    `GaussBernoulli` and `TruncatedGaussBernoulli` ones, whose atom stays at 0, in units of the size of the other values
    or of the farther end. Rates, momentum and penalty are those of the machine of these coordinates, and so are
    residuals in the history. Data that are scaled or, where there is no atom, moved, column by column, train
    alike: the steps in U and V would be stiff otherwise. For this a hidden layer whose parameters are all at their
    defaults starts with fields that cancel what it receives from visible units at their means.

    Units with means far from 0 make the gradients of weights nearly parallel to those of the units' fields: `center`
    mends this, and hidden units whose means are near 0, `Spin` or `Gaussian`, do without.

    The centred gradient is that of Montavon and Mueller, "Deep Boltzmann machines and the centering trick" (2012), with
    the averages over the batch for offsets; binary machines then train alike whichever state is called 1.
    """
    return prepare(
        machine, X, epochs=epochs, batch_size=batch_size, chains=chains, learning_rate=learning_rate,
        momentum=momentum, penalty=penalty, sweeps=sweeps, chain_init=chain_init, renew=renew, noisy=noisy,
        damping=damping, gradient=gradient, seed=seed, pretrain=pretrain, pass_up=pass_up, center=center,
        checkpoint=checkpoint, checkpoint_every=checkpoint_every, resume=resume, progress=progress, callbacks=callbacks,
    ).run()  # fmt: skip


def prepare(
    machine: Machine,
    X: ArrayLike,
    *,
    checkpoint: str | os.PathLike[str] | None,
    checkpoint_every: int,
    resume: bool,
    progress: bool | None,
    callbacks: Sequence[Callback],
    **options: Any,
) -> Run:
    """Check what `fit` takes and read the checkpoint to resume; nothing is written yet."""
    check_machine(machine)
    pretrain = options.get("pretrain")
    if pretrain is None and resume is True and checkpoint is not None and len(machine.layers) > 2:
        pretrain = _begun_with(RunFolder(checkpoint))
    options["pretrain"] = _pretrain(machine, pretrain, options["epochs"])
    center = options.get("center")
    options["center"] = len(machine.layers) > 2 if center is None else center
    settings = Settings.checked(**options)
    checkpoint_every = checks.integer("checkpoint_every", checkpoint_every, minimum=1)
    if resume and checkpoint is None:
        raise ValueError("resume needs checkpoint, the folder of the run to go on with")
    if not isinstance(callbacks, Sequence) or not all(callable(c) for c in callbacks):
        raise ValueError(f"callbacks must be a sequence of functions, got {callbacks!r}")
    samples = checks.matrix("X", X, machine.layers[0].n, rows="samples")
    machine.layers[0].check_data("X", samples)
    trainer = _course(machine, samples, settings, to_the_letter=center is False)
    saver = None if checkpoint is None else _Saver(trainer, RunFolder(checkpoint), checkpoint_every, resume)
    return Run(trainer, saver, progress, callbacks)


def _course(machine: Machine, X: NDArray[Any], settings: Settings, *, to_the_letter: bool) -> AnyCourse:
    """Start from parameters fitted to the data (theta(0) in Alg. 2), in the coordinates that suit these."""
    visible, *hidden = machine.layers
    real_valued = visible.standard() is not None and not to_the_letter
    if not (visible.untouched() or real_valued):
        return Course(machine, X, settings)
    fitted = visible.fitted(X)
    coordinates = Coordinates.of(fitted) if real_valued else None
    if coordinates is None:
        return Course(machine.replace(layers=(fitted, *hidden)) if visible.untouched() else machine, X, settings)
    settings = replace(settings, standard=True)
    return StandardCourse(coordinates.settled(machine, fitted), X, settings, coordinates)


def _begun_with(folder: RunFolder) -> int | None:
    """The `pretrain` of the run in a folder; None if there is none, or none that can be read."""
    newest = folder.newest()
    try:
        header = {} if newest is None else file_format.read(newest.path)[0]
    except CheckpointError:  # said when the run is resumed
        return None
    return int(header["settings"].get("pretrain", 0)) if "settings" in header else None


def _pretrain(machine: Machine, pretrain: Any, epochs: Any) -> int:
    """Epochs for each pair of layers."""
    if len(machine.layers) == 2:
        if pretrain:
            raise ValueError(f"pretrain is for machines of more than two layers, got {pretrain!r} for an RBM")
        return 0
    return checks.integer("pretrain", epochs if pretrain is None else pretrain, minimum=0)


class _Saver:
    """Writes a trainer's checkpoints when they are due."""

    def __init__(self, trainer: AnyCourse, folder: RunFolder, every: int, resume: bool) -> None:
        self.trainer, self.folder, self.every = trainer, folder, every
        positions = folder.positions()
        self.resumed = bool(positions)
        if not positions:
            return
        if not resume:
            raise ValueError(f"checkpoint: {folder.path} holds a run already: resume it, or choose another folder")
        try:
            trainer.restore(positions[-1].path, *file_format.read(positions[-1].path))
        except CheckpointError as error:
            hint = "; delete it to resume from the checkpoint before it" if len(positions) > 1 else ""
            raise CheckpointError(f"{error}{hint}") from None

    def start(self) -> None:
        """Make the folder; write the state that a new run starts from."""
        self.folder.prepare()
        if not self.resumed:
            self.save()

    def save(self) -> None:
        """Write a checkpoint now."""
        trainer = self.trainer
        self.folder.write(trainer.epoch, trainer.batch, trainer.header(), trainer.tensors())

    def epoch_done(self) -> None:
        """Write a checkpoint if one is due after this epoch."""
        if self.trainer.epoch % self.every == 0 or self.trainer.epoch == self.trainer.epochs:
            self.save()


class Run:
    """A training run ready to start."""

    def __init__(
        self, trainer: AnyCourse, saver: _Saver | None, progress: bool | None, callbacks: Sequence[Callback]
    ) -> None:
        self.trainer, self.saver, self.progress, self.callbacks = trainer, saver, progress, callbacks

    def run(self) -> FitResult:
        """Train to the end."""
        trainer, saver = self.trainer, self.saver
        epochs, batches = trainer.epochs, trainer.batches
        if saver is not None:
            saver.start()
        # tqdm's own None: a bar on terminals only.
        hidden = None if self.progress is None else not self.progress
        done = trainer.epoch * batches + trainer.batch
        with (
            tqdm(total=epochs * batches, initial=done, unit="batch", disable=hidden) as bar,
            interrupts_wait(saver is not None) as asked,
        ):
            while trainer.epoch < epochs:
                bar.set_description(f"epoch {trainer.epoch + 1}/{epochs}")
                self._epoch(bar, asked)
        return FitResult(trainer.snapshot(), trainer.history)

    def _epoch(self, bar: Any, asked: threading.Event) -> None:
        trainer, saver = self.trainer, self.saver
        try:
            record = trainer.run_epoch(bar.update, asked.is_set)
        except Interrupted:
            assert saver is not None
            saver.save()
            raise KeyboardInterrupt from None
        bar.set_postfix_str(f"log-likelihood/unit {record.log_likelihood:.4f}")
        if saver is not None:
            saver.epoch_done()
        for callback in self.callbacks:
            callback(trainer.snapshot(), record)
        if asked.is_set() and trainer.epoch < trainer.epochs:
            assert saver is not None
            saver.save()
            raise KeyboardInterrupt
