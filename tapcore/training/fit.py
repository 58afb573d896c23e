"""The front door of training: `fit`."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import fields, replace
from functools import wraps
from typing import Any, ParamSpec, TypeVar

from numpy.typing import ArrayLike

from tapcore.machine import Machine
from tapcore.training.optimisers import Adam, Momentum
from tapcore.training.penalties import L1, L2
from tapcore.training.run import Callback, Training, finish
from tapcore.training.run import FitResult as FitResult
from tapcore.training.schedules import Schedule
from tapcore.training.settings import LearningRate, Settings, check_settings

P = ParamSpec("P")
R = TypeVar("R")

_NAMES = tuple(f.name for f in fields(Settings))


def _with_settings(function: Callable[P, R]) -> Callable[P, R]:
    """`function` with its keyword `settings` as it is to be used: keywords that were given have replaced their fields.

    Only here can a keyword that was given be told from one left out. The function itself need not look at them again.
    """

    @wraps(function)
    def call(*args: P.args, **given: P.kwargs) -> R:
        options: dict[str, Any] = {name: given.pop(name) for name in _NAMES if name in given}
        settings = given.get("settings")
        given["settings"] = Settings(**options) if settings is None else replace(check_settings(settings), **options)
        return function(*args, **given)

    return call


@_with_settings
def fit(
    machine: Machine,
    X: ArrayLike,
    *,
    settings: Settings | None = None,
    epochs: int | None = None,
    seconds: float | None = None,
    batch_size: int | None = None,
    chains: int | None = None,
    learning_rate: LearningRate | None = None,
    schedule: Schedule | None = None,
    momentum: float | None = None,
    optimizer: Momentum | Adam | None = None,
    penalty: L1 | L2 | None = L2(0.001),  # noqa: B008 - immutable
    sweeps: int | None = None,
    chain_init: str | None = None,
    renew: float | None = None,
    pinning: float | None = None,
    solution_weights: float | None = None,
    noisy: float = 0.0,
    damping: float | None = None,
    gradient: str = "tap",
    seed: int = 0,
    pretrain: int | None = None,
    pass_up: str = "samples",
    center: bool | None = None,
    dtype: str | None = None,
    patience: int | None = None,
    validation: float | ArrayLike | None = None,
    checkpoint: str | os.PathLike[str] | None = None,
    checkpoint_every: int | str = 1,
    resume: bool = False,
    progress: bool | None = None,
    callbacks: Sequence[Callback] = (),
) -> FitResult:
    """Train a machine by ascending the TAP log-likelihood of `X` (Algs. 2, 4, Eqs. 38-41, E5-E8).

    Without options this is a recipe that suits most data, in about a minute on two processors for some 60,000 samples:
    chains that go on from batch to batch, centred gradients, a learning rate that falls to zero at the end. The paper's
    own, Alg. 2 and Table I, is ``settings=tc.paper_settings()``.

    For each mini-batch, K chains take a few sweeps of the TAP equations and stand for the solutions in the gradient;
    then ``step = learning_rate (dW - strength dR/dW) + momentum * previous step``, ``W += step``, and
    ``theta += learning_rate dtheta`` for the units' parameters, without momentum or penalty.

    A machine of more than two layers is first trained layer by layer, `pretrain` epochs each: the weights to each
    hidden layer as those of an RBM, on what the layers below make of the data. Then all of it is trained for `epochs`
    epochs, hidden layers given the samples of a batch being found by as many sweeps as the chains take.

    `Training` is the same run epoch by epoch, to look at the machine on the way and to stop early.

    Parameters
    ----------
    machine : Machine
        It is not changed. Its weights are W(0): `RBM` draws them from N(0, 1e-3^2). If every parameter
        of its visible layer is at its default, the layer is first fitted to the data, theta(0) in Alg. 2; any other
        layer is taken as is, as one trained before or made by ``from_data``.
    X : (n, n_visible) array_like
        Samples in the visible layer's support; any real dtype, boolean, or memory-mapped. One batch at a time is
        converted.
    settings : Settings, optional
        All of the following to `patience` in one; where a keyword is given too, it replaces the field of its name.
    epochs : int, optional
        Passes over the data, in an order shuffled anew each time. None makes 20,000 steps, in
        100 passes at most.
    seconds : float, optional
        Train for so long in place of a number of passes: the rate falls along, and the run ends between two batches,
        its last pass cut short. Time that compiling kernels takes does not count. The bits then depend on how fast the
        machine is.
    batch_size : int, optional
        Samples in a mini-batch, M. The last of an epoch may be smaller. None is a hundredth of the samples, at least 10
        and at most 100.
    chains : int, optional
        Chains K that seek solutions; free of M. None is 100; with `pinning` one for 5 hidden units, at least 50 and at
        most 100.
    learning_rate : float or callable, optional
        Size of the steps: a number, or a function of the epoch, 1 to `epochs`; at least 0. None is 0.002 with
        `Adam`; with `Momentum` 0.05, and 0.2 for "cd", "pcd" and "ptt" and with `pinning`, for units {0, 1}, less for
        `Spin` so that weights move alike, and half of that where 0.2 is the rate for {0, 1}.
        W starts near 0, where the gradient nearly vanishes: the log-likelihood stays at that of independent units until
        the hidden units part, which takes some hundred steps of the default rate.
    schedule : Constant, Linear, Cosine or Steps, optional
        How the rate falls along the run. None is ``Linear()``, to zero at the end, or ``Constant()`` where a
        `learning_rate` is given.
    momentum : float in [0, 1), optional
        Share of the previous step of the weights that is added to the next. None is 0.5.
    optimizer : Momentum or Adam, optional
        What makes a step of a gradient. None is ``Momentum(momentum)``, and ``Adam()`` for units other than `Binary`
        and `Spin` where neither momentum nor rate is given: it needs no rate that suits the data's scale.
    penalty : L1, L2 or None
        On the weights.
    sweeps : int
        Sweeps of each chain for each mini-batch. None is 2 for persistent chains and 10 for others, and 1 for "cd",
        "pcd" and "ptt".
    chain_init : {"data", "persistent", "random"}, optional
        Chains start from samples (those of the batch, then those that follow in the epoch's order), go on from the
        previous batch, or start from uniformly random visible means. Two sweeps a batch of persistent chains do about
        as well as ten from the data. None is "persistent", for "cd",
        "rbp" and "adatap" "data".
    renew : float
        Share of persistent chains that start anew from samples in each batch, 0 to 1. With none, chains forget the data
        and may collapse onto few solutions, unless `pinning` keeps them apart. None is 0 with `pinning` and for "pcd"
        and "ptt", 0.2 without.
    pinning : float, optional
        Signal-to-noise ratio at which the hidden units of persistent chains of "tap", "nmf" or "tap3" are measured in
        each batch, 0 to 1e6: chains follow the equations given these measurements, of values drawn from their own
        marginals, and so keep apart, and move between solutions as these weigh. Measurements keep half of their noise
        from batch to batch, so that sweeps keep up. 0 has none, and the equations are solved as they are; the larger it
        is, the more exact are the equations, and the more slowly chains move. None is 3 (2.5 where hidden units are
        `Spin`), times ``sqrt(100/n)`` for n > 100 hidden units and, but for `Spin`, times ``100/n`` for fewer, where
        equations must be exacter, up to 20, for such chains of two-state hidden units over visible ones of two states,
        `Categorical`, or real-valued without an atom or ends on both sides; 0 for others, which may else train to where
        no solution is left without measurements, and with `solution_weights`.
    solution_weights : float, optional
        Temperature T, above 0, of weights ``exp(-F/T)`` of the distinct solutions that the chains of "tap", "nmf" or
        "tap3" are at, as in `Solutions.averages`: the gradient averages over the model by these, chains at one solution
        sharing its weight. Infinity counts distinct solutions alike; None, as in the paper, all chains alike, however
        many are at one solution. Not with `pinning`, which is 0 then. None is the default as `pinning` does better:
        see the notes.
    noisy : float
        Share of the chains that start from samples, 0 to 1, that do so from noisy ones: each with a probability of its
        own, uniform in [0, 1], that a unit is replaced by a random mean. Training then also meets the solutions around
        noisy signals, which denoising comes upon. Not for "cd", "pcd" and "ptt", nor
        for persistent chains of which none is renewed.
    damping : float in [0, 1), optional
        Of the sweeps, as in `solve`. None is 0, for "adatap" 1/2.
    gradient : {"tap", "nmf", "tap3", "rbp", "adatap", "cd", "pcd", "ptt"}
        The equations that chains solve and the gradient that goes with them (relaxed belief propagation and adaptive
        TAP take some 30 to 200 times as long as TAP); or contrastive divergence, for which
        chains are of block Gibbs sampling and start from the samples of each batch ("cd") or go on from the batch
        before ("pcd"), the hidden units' means given the visible values standing for their values; or parallel
        trajectory tempering ("ptt"), contrastive divergence by chains that also cross between modes, as the notes say.
        What is recorded of each epoch is the TAP log-likelihood all the same.
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
        Step along the gradient of a machine written in what its units are above their offsets m and n,
        ``(x - m) W (h - n)``, so that the weights' step does not move the fields that units have there. Offsets are
        moving averages, at a rate of 0.01 a batch, of what units are on average in the batch and in the chains alike.
        True also trains real-valued visible units in standard coordinates, as the notes say. None is True; False is
        Alg. 2 to the letter.
    dtype : {"float64", "float32"}, optional
        What to train in. None is float32 for units of two states, whose machines come out as good in less time, and
        the machine's own for others.
    patience : int, optional
        Stop after so many epochs without a better held-out score, at least 1, and return the machine of the best epoch
        in place of the last; needs `validation`. The machine of each epoch then is an average over the last batches, in
        the history, callbacks and checkpoints alike, as the notes say. None trains to the end.
    validation : float or (m, n_visible) array_like, optional
        Data held out, which training does not see: samples as those of `X`, or a share of the rows of `X`, above 0 and
        below 1, drawn by the seed and taken out, which copies the others (slices of a memory map copy nothing). The
        machine is scored on them after each epoch in which all layers are trained.
    checkpoint : path, optional
        Folder of the run; a checkpoint is written at the start, after every `checkpoint_every` epochs and after the
        last; with `patience` that of the best epoch is kept as ``best.safetensors``, whose machine is the one returned.
    checkpoint_every : int or "log"
        Epochs between checkpoints; "log" spaces them by a constant ratio, eight from each epoch to the one of twice
        its number: after 2^(k/8) epochs, k = 0, 1, ..., rounded up, which are the first 16, then 18, 20, 21, 23, 25,
        27, 30, 32, 35 and so on.
    resume : bool
        Go on from the newest checkpoint in the folder, with the same result, to the bit, as if never stopped; start
        afresh if there is none. The weights of `machine` are then those of the checkpoint.
    progress : bool, optional
        Show a progress bar; None shows one when standard error is a terminal.
    callbacks : sequence of callable
        Called as ``callback(machine, record)`` after each epoch, with the machine as it then is, which is scored in
        the record.

    Returns
    -------
    FitResult
        ``(machine, history)``: the trained machine, in the dtype of the one given, and its `History`.

    Raises
    ------
    ValueError
        Before any work: samples of the wrong width, empty, not finite or outside the support; an argument outside its
        range; `patience` without `validation`; a folder that holds a run while `resume` is false; a checkpoint that is
        damaged or contradicts the arguments, other rows held out among them.
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

    Chains of "pcd" stay in the modes that they are in once couplings are strong. Those of "ptt" are the top of a ladder
    (Béreux et al., Fast training and sampling of restricted Boltzmann machines, ICLR 2025): below them is for each a
    chain of every rung, of earlier machines of the same run, down to rung 0, the machine of the start without
    couplings, whose chains are drawn anew. In each batch one rung takes a Gibbs sweep and its chains then try to change
    places with those of the next, from rung 0 up to the machine and again from rung 0. A machine becomes a rung when
    the share of exchanges with the last one has fallen below 0.3, as a running average; where it has fallen to half of
    that, as at a machine trained before, first one in between by linear interpolation. There are 24 rungs at most: then
    the one goes whose neighbours exchange the most without it. A batch takes about twice as long as by "pcd",
    however many rungs there are (``python -m tapcore_bench.paper.tempered``); checkpoints hold all rungs, and are that
    much larger.
    The history says how many there are, and which share of the exchanges with the last one takes place.

    By `solution_weights` a few solutions of low free energy may be all that the gradient sees of the model, chains that
    have not come to a solution yet among them. Test images of binary MNIST are worth, by annealing forward and back,
    -93.9 and -95.9 nats each after 30 seconds of training of 784x100 units with weights ``exp(-F)``, -94.8 and -96.4
    with chains alike (differing by chance), -92.4 and -93.2 with a `pinning` of 10. Free energies are those that the
    last sweep leaves, off in second order where a chain is not at its solution; chains are taken to be at one solution
    where these agree to 0.01 nats and means, in two random directions, to a thousandth of what they differ by over all
    chains. A chain whose free energy is not finite has no share.

    The machine that takes the steps jumps from epoch to epoch by many times what it gains, on few data the most. With
    `patience` the machine of an epoch, which is scored, handed to callbacks, written to checkpoints and returned, is
    therefore a moving average of weights and parameters (Polyak and Juditsky, "Acceleration of stochastic approximation
    by averaging", 1992): over about the last tenth of the batches at first, of all layers together, and the last 200
    later. The steps are those of a run without `patience`, whose machines are those that take them. The average is in
    the dtype to train in and, of real-valued visible units, in standard coordinates; checkpoints hold both machines.

    The best epoch is the one of the best held-out score: of the column `validation`, an estimate of the exact held-out
    log-likelihood that comes to lie above it, but is highest where that is; or, of units of two states of which fewer
    than 100 are hidden, of the column `pseudo`, as there TAP's falls while the exact one still rises. Of 500 binary
    MNIST images, 784x100 (1,000 held out, three seeds), ``patience=5`` stops 5 epochs after the best, of 38, 39 and 54,
    where the score has fallen by 0.2 to 0.5 nats. The learning rate falls along all the `epochs`, or `seconds`, that a
    run may take: one that ends early has not come to the small steps of the end, which an average makes up for.

    The centred gradient is that of Montavon and Mueller, "Deep Boltzmann machines and the centering trick" (2012), with
    offsets as in Melchior, Fischer and Wiskott, "How to center deep Boltzmann machines" (2016); binary machines then
    train alike whichever state is called 1.
    """
    assert settings is not None  # all the keywords above are in it
    training = Training(
        machine, X, settings, validation=validation, checkpoint=checkpoint, checkpoint_every=checkpoint_every,
        resume=resume,
    )  # fmt: skip
    return finish(training, progress, callbacks)
