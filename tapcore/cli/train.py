"""`tapcore train`."""

from __future__ import annotations

import argparse
import json
import sys
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tapcore.cli.data import DATA_NOTE

if TYPE_CHECKING:
    from tapcore.machine import Machine
    from tapcore.training.history import History


def add_to(commands: Any) -> None:
    """Add the command's parser."""
    train = commands.add_parser(
        "train",
        help="train a binary machine on data",
        description="Train a binary RBM, or deep machine, on data. Leaves checkpoints in RUN and, if matplotlib is "
        "installed, receptive_fields.png and history.png.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    add = train.add_argument
    add("data", metavar="DATA", help="'digits' (scikit-learn's), or a .npy, .npz, IDX or IDX.gz file")
    add("--out", required=True, metavar="RUN", help="folder of the run; made if missing", default=argparse.SUPPRESS)
    add("--threshold", type=float, metavar="T", help="make data binary: 1 above T, else 0 (digits: 7.5)")
    add("--key", metavar="NAME", help="which array of a .npz file")
    add("--hidden", default="100", metavar="N[,N...]", help="hidden units; of each hidden layer of a deep machine")
    add("--epochs", type=int, default=10, metavar="N", help="passes over the data, in all")
    add(
        "--pretrain",
        type=int,
        metavar="N",
        help="of a deep machine: passes for each layer before (as many, or as a resumed run began)",
    )
    add("--pass-up", choices=("samples", "means"), default="samples", help="what layers hand to the next then")
    center = "step along the gradient of centred units (yes if deep)"
    add("--center", action=argparse.BooleanOptionalAction, help=center)
    add("--batch-size", type=int, default=100, metavar="M", help="samples in a mini-batch")
    add("--chains", type=int, default=100, metavar="K", help="chains that seek solutions for each mini-batch")
    add("--learning-rate", type=float, default=0.005, metavar="RATE", help="size of the steps")
    add("--momentum", type=float, default=0.5, metavar="ETA", help="share of the previous step that is kept")
    penalty = train.add_mutually_exclusive_group()
    penalty.add_argument("--l2", type=float, metavar="EPSILON", help="weight decay (0.001 if no penalty is given)")
    penalty.add_argument("--l1", type=float, metavar="EPSILON", help="sparsity penalty in place of weight decay")
    add("--sweeps", type=int, metavar="N", help="sweeps of each chain for each mini-batch (10, or 1 for cd and pcd)")
    starts = "where chains start (data, or persistent for pcd)"
    add("--chain-init", choices=("data", "persistent", "random"), help=starts)
    renew = "of persistent chains, started anew from each batch (0.2, or 0 for pcd)"
    add("--renew", type=float, metavar="SHARE", help=renew)
    add("--noisy", type=float, default=0.0, metavar="SHARE", help="of chains from samples: from noisy ones")
    add(
        "--gradient", choices=("tap", "nmf", "tap3", "rbp", "adatap", "cd", "pcd"), default="tap",
        help="of TAP or a relative of it; or contrastive divergence, from the data or persistent",
    )  # fmt: skip
    add("--dtype", choices=("float64", "float32"), default="float64", help="what the machine is trained in")
    add("--seed", type=int, default=0, metavar="N", help="of the initial weights and of training")
    add("--checkpoint-every", type=int, default=1, metavar="N", help="epochs between checkpoints")
    add("--threads", type=int, metavar="N", help="threads to use (all of the processors)")
    add("--resume", action="store_true", help="go on from the newest checkpoint in RUN")
    train.set_defaults(run_command=_train)


def _train(options: argparse.Namespace) -> None:
    from tapcore._base import checks
    from tapcore._base.threads import thread_limit
    from tapcore.machine import DBM, RBM
    from tapcore.storage.datasets import load_with_shape
    from tapcore.training.fit import prepare
    from tapcore.training.optimisers import L1, L2
    from tapcore.units.binary import Binary

    out = Path(options.out)
    hidden = _layer_sizes(options.hidden)
    seed = checks.integer("--seed", options.seed, minimum=0)
    penalty = L1(options.l1) if options.l1 is not None else L2(0.001 if options.l2 is None else options.l2)
    dataset = load_with_shape(options.data, threshold=options.threshold, key=options.key)
    _check_memory(options, [dataset.X.shape[1], *hidden])
    layers, how = [Binary(n) for n in (dataset.X.shape[1], *hidden)], {"seed": seed, "dtype": options.dtype}
    machine = RBM(layers[0], layers[1], **how) if len(layers) == 2 else DBM(*layers, **how)
    with thread_limit(options.threads):
        run = prepare(
            machine, dataset.X, epochs=options.epochs, batch_size=options.batch_size, chains=options.chains,
            learning_rate=options.learning_rate, momentum=options.momentum, penalty=penalty, sweeps=options.sweeps,
            chain_init=options.chain_init, renew=options.renew, noisy=options.noisy,
            gradient=options.gradient, seed=seed, pretrain=options.pretrain, pass_up=options.pass_up,
            center=options.center, checkpoint=out, checkpoint_every=options.checkpoint_every,
            resume=options.resume, progress=None, callbacks=(),
        )  # fmt: skip
        # Nothing can be refused any more; whatever interrupts the run, `solve` knows its data.
        out.mkdir(parents=True, exist_ok=True)
        _note_data(out, options, dataset.image_shape)
        result = run.run()
    print(f"{' x '.join(map(str, machine.sizes))} units trained on {len(dataset.X)} samples")
    if result.history:
        last = result.history[-1]
        print(f"TAP log-likelihood per unit after epoch {last.epoch}: {last.log_likelihood:.4f} nats", end="")
        print(f" (by {sum(result.machine.sizes)} units, visible and hidden)")
        print("  (an estimate, no bound: with training it drifts from the exact one, first above it; see tapcore.ais)")
    _draw(out, result.machine, result.history, dataset.image_shape)


def _check_memory(options: argparse.Namespace, sizes: list[int]) -> None:
    """Refuse units, chains and epochs for which there is no memory."""
    import numpy as np

    from tapcore._base import footprint

    size = np.dtype(options.dtype).itemsize
    # Weights with their squares and steps, and those of the machine that it starts from.
    footprint.check("--hidden", options.hidden, 4 * size * sum(a * b for a, b in pairwise(sizes)))
    # Means, variances, fields and precisions.
    footprint.check("--chains", options.chains, 4 * size * sum(sizes) * options.chains)
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


def _note_data(out: Path, options: argparse.Namespace, image_shape: tuple[int, int] | None) -> None:
    from tapcore.storage.format import write_whole

    source = options.data if options.data == "digits" else str(Path(options.data).resolve())
    note = {"source": source, "threshold": options.threshold, "key": options.key, "image_shape": image_shape}
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
