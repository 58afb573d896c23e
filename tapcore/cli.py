"""The command `tapcore`: train, solve, sample, info. Imports wait until a command runs: --help answers at once."""

from __future__ import annotations

import argparse
import json
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from tapcore import __version__

if TYPE_CHECKING:
    from tapcore.inference.solution import Solutions
    from tapcore.machine import Machine
    from tapcore.tracking import Tracker
    from tapcore.training.history import History

# Where `train` notes which data it was given, for `solve`.
DATA_NOTE = "data.json"


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        self.exit(2, f"tapcore: {message} (see {self.prog} --help)\n")


def parser() -> argparse.ArgumentParser:
    """Build the command line's parser."""
    top = _Parser(
        prog="tapcore", description="Train Boltzmann machines by the TAP equations, and find their solutions."
    )
    top.add_argument("--version", action="version", version=f"tapcore {__version__}")
    commands = top.add_subparsers(dest="command", required=True, metavar="COMMAND")
    _add_train(commands)
    _add_solve(commands)
    _add_sample(commands)
    info = commands.add_parser("info", help="what a run or a saved machine holds")
    info.add_argument("run", metavar="RUN", help="folder of a run, or a .safetensors file")
    info.set_defaults(run_command=_info)
    return top


def _add_train(commands: Any) -> None:
    train = commands.add_parser(
        "train",
        help="train a binary RBM on data",
        description="Train a binary RBM on data. Leaves checkpoints in RUN and, if matplotlib is installed, "
        "receptive_fields.png and history.png.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    add = train.add_argument
    add("data", metavar="DATA", help="'digits' (scikit-learn's), or a .npy, .npz, IDX or IDX.gz file")
    add("--out", required=True, metavar="RUN", help="folder of the run; made if missing", default=argparse.SUPPRESS)
    add("--threshold", type=float, metavar="T", help="make data binary: 1 above T, else 0 (digits: 7.5)")
    add("--key", metavar="NAME", help="which array of a .npz file")
    add("--hidden", type=int, default=100, metavar="N", help="hidden units")
    add("--epochs", type=int, default=10, metavar="N", help="passes over the data, in all")
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


def _add_solve(commands: Any) -> None:
    solve = commands.add_parser(
        "solve",
        help="find the solutions of a trained machine",
        description="Start chains from data and print the distinct solutions that they reach.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    add = solve.add_argument
    add("run", metavar="RUN", help="folder of a run, or a .safetensors file")
    add("--data", metavar="DATA", help="data to start from (those of the run)")
    add("--threshold", type=float, metavar="T", help="make data binary: 1 above T, else 0")
    add("--key", metavar="NAME", help="which array of a .npz file")
    add("--starts", type=int, default=1000, metavar="K", help="samples to start from, drawn at random")
    add("--seed", type=int, default=0, metavar="N", help="of the draw")
    add("--method", choices=("tap", "nmf", "tap3"), default="tap", help="second, first or third order")
    add("--tol", type=float, default=1e-6, help="how far from its solution a chain may stop, in any mean")
    add("--max-sweeps", type=int, default=10_000, metavar="N", help="most sweeps of a chain")
    add("--show", type=int, default=10, metavar="N", help="solutions to list")
    add("--all", action="store_true", help="follow the solutions over all checkpoints of the run, into tables in RUN")
    add("--threads", type=int, metavar="N", help="threads to use (all of the processors)")
    solve.set_defaults(run_command=_solve)


def _add_sample(commands: Any) -> None:
    sample = commands.add_parser(
        "sample",
        help="draw samples from a trained machine",
        description="Draw visible samples by Gibbs sampling into an array file and, if matplotlib is installed and the "
        "data were images, a picture beside it.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    add = sample.add_argument
    add("run", metavar="RUN", help="folder of a run, or a .safetensors file")
    add("--count", type=int, default=100, metavar="N", help="samples, each from a chain of its own")
    add("--sweeps", type=int, default=1000, metavar="N", help="Gibbs sweeps of each chain")
    add("--replicas", type=int, default=1, metavar="R", help="above 1, replica exchange between so many temperatures")
    add("--seed", type=int, default=0, metavar="N", help="of the draw")
    add("--out", metavar="FILE", help="the .npy file to write (samples.npy in RUN)")
    add("--threads", type=int, metavar="N", help="threads to use (all of the processors)")
    sample.set_defaults(run_command=_sample)


def main(arguments: list[str] | None = None) -> int:
    """Run the command line.

    Returns
    -------
    int
        Exit status: 0; 1 when training diverged; 2 when something given is wrong, said in one line; 130 after Ctrl-C.
    """
    options = parser().parse_args(arguments)
    try:
        options.run_command(options)
        sys.stdout.flush()
    except KeyboardInterrupt:
        begun = options.command == "train" and (Path(options.out) / DATA_NOTE).exists()
        print(f"tapcore: interrupted{'; go on with --resume' if begun else ''}", file=sys.stderr)
        return 130
    except BrokenPipeError:  # the reader, such as head, has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except FloatingPointError as error:
        print(f"tapcore: {error}", file=sys.stderr)
        return 1
    except (ValueError, TypeError, OSError, ImportError) as error:
        print(f"tapcore: {' '.join(_reason(error).split())}", file=sys.stderr)
        return 2
    return 0


def _reason(error: Exception) -> str:
    if isinstance(error, OSError) and error.strerror:
        return f"{error.filename}: {error.strerror}" if error.filename else error.strerror
    return str(error)


def _train(options: argparse.Namespace) -> None:
    from tapcore import _checks
    from tapcore._threads import thread_limit
    from tapcore.datasets import load_with_shape
    from tapcore.machine import RBM
    from tapcore.training.fit import prepare
    from tapcore.training.update_rules import L1, L2
    from tapcore.units.binary import Binary

    out = Path(options.out)
    hidden = _checks.integer("--hidden", options.hidden, minimum=1)
    seed = _checks.integer("--seed", options.seed, minimum=0)
    penalty = L1(options.l1) if options.l1 is not None else L2(0.001 if options.l2 is None else options.l2)
    dataset = load_with_shape(options.data, threshold=options.threshold, key=options.key)
    machine = RBM(Binary(dataset.X.shape[1]), Binary(hidden), seed=seed, dtype=options.dtype)
    with thread_limit(options.threads):
        run = prepare(
            machine, dataset.X, epochs=options.epochs, batch_size=options.batch_size, chains=options.chains,
            learning_rate=options.learning_rate, momentum=options.momentum, penalty=penalty, sweeps=options.sweeps,
            chain_init=options.chain_init, renew=options.renew, gradient=options.gradient, seed=seed, checkpoint=out,
            checkpoint_every=options.checkpoint_every, resume=options.resume, progress=None, callbacks=(),
        )  # fmt: skip
        # Nothing can be refused any more; whatever interrupts the run, `solve` knows its data.
        out.mkdir(parents=True, exist_ok=True)
        _note_data(out, options, dataset.image_shape)
        result = run.run()
    samples, width = dataset.X.shape
    print(f"{width} x {hidden} units trained on {samples} samples")
    if result.history:
        last = result.history[-1]
        print(f"TAP log-likelihood per unit after epoch {last.epoch}: {last.log_likelihood:.4f} nats", end="")
        print(f" (by {sum(result.machine.sizes)} units, visible and hidden)")
    _draw(out, result.machine, result.history, dataset.image_shape)


def _note_data(out: Path, options: argparse.Namespace, image_shape: tuple[int, int] | None) -> None:
    from tapcore._files import write_whole

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


def _solve(options: argparse.Namespace) -> None:
    import numpy as np

    from tapcore import _checks
    from tapcore._threads import thread_limit
    from tapcore.checkpoint import load
    from tapcore.inference.solve import solve

    starts = _checks.integer("--starts", options.starts, minimum=1)
    show = _checks.integer("--show", options.show, minimum=0)
    rng = np.random.default_rng(_checks.integer("--seed", options.seed, minimum=0))
    if options.all:
        _follow(options)
        return
    machine = load(options.run)
    X = _data_of(options)
    rows = np.sort(rng.permutation(X.shape[0])[:starts])
    with thread_limit(options.threads):
        solutions = solve(machine, X[rows], method=options.method, tol=options.tol, max_sweeps=options.max_sweeps)
    _report(solutions, max(1e-4, 100 * options.tol), show)


def _follow(options: argparse.Namespace) -> None:
    from tapcore._threads import thread_limit
    from tapcore.checkpoint import RunFolder, load
    from tapcore.tracking import Tracker

    run = Path(options.run)
    positions = [p for p in RunFolder(run).positions() if p.batch == 0]
    if not positions:
        raise ValueError(f"{run}: no checkpoints of complete epochs in this folder")
    tracker = Tracker(
        _data_of(options), starts=options.starts, method=options.method, tol=options.tol,
        max_sweeps=options.max_sweeps, seed=options.seed,
    )  # fmt: skip
    table, summary = run / "solutions.csv", run / "solutions_summary.csv"
    print("  epoch   solutions   born   merged   lost   lowest F   mean F   unconverged starts")
    try:
        with thread_limit(options.threads):
            for position in positions:
                s = tracker.follow(load(position.path), position.epoch)
                print(
                    f"{s.epoch:7d}   {s.solutions:9d}   {s.born:4d}   {s.merged:6d}   {s.lost:4d}   {s.lowest:8.3f}   "
                    f"{s.mean:6.3f}   {s.unconverged:18d}",
                    flush=True,
                )
    finally:
        # After Ctrl-C too: what has been found so far.
        if tracker.summaries:
            tracker.write(table, summary)
    print(f"tables: {table}, {summary}")
    _draw_solutions(run / "solutions.png", tracker)


def _draw_solutions(path: Path, tracker: Tracker) -> None:
    from tapcore import plotting

    try:
        plotting.solutions_over_training(path, tracker)
    except ImportError as error:
        print(f"no picture: {error}", file=sys.stderr)
        return
    print(f"picture: {path}")


def _sample(options: argparse.Namespace) -> None:
    import io

    import numpy as np

    from tapcore._files import write_whole
    from tapcore._threads import thread_limit
    from tapcore.checkpoint import load
    from tapcore.sampling.gibbs import sample

    run = Path(options.run)
    folder = run if run.is_dir() else run.parent
    out = folder / "samples.npy" if options.out is None else Path(options.out)
    machine = load(run)
    with thread_limit(options.threads):
        x = sample(machine, options.count, sweeps=options.sweeps, replicas=options.replicas, seed=options.seed)
    contents = io.BytesIO()
    np.save(contents, x)
    write_whole(out, contents.getvalue())
    print(f"{x.shape[0]} samples of {x.shape[1]} units: {out}")
    note = folder / DATA_NOTE
    shape = json.loads(note.read_text(encoding="utf-8"))["image_shape"] if note.is_file() else None
    if shape is None:
        return
    from tapcore import plotting

    try:
        plotting.images(out.with_suffix(".png"), x, tuple(shape))
    except ImportError as error:
        print(f"no picture: {error}", file=sys.stderr)
        return
    print(f"picture: {out.with_suffix('.png')}")


def _data_of(options: argparse.Namespace) -> Any:
    from tapcore.datasets import load

    if options.data is not None:
        return load(options.data, threshold=options.threshold, key=options.key)
    note = Path(options.run) / DATA_NOTE
    if not note.is_file():
        raise ValueError(f"{options.run} does not say which data it was trained on: give --data")
    said = json.loads(note.read_text(encoding="utf-8"))
    threshold = said["threshold"] if options.threshold is None else options.threshold
    return load(said["source"], threshold=threshold, key=options.key or said["key"])


def _report(solutions: Solutions, tol: float, show: int) -> None:
    converged = int(solutions.converged.sum())
    print(f"{len(solutions)} chains: {converged} converged, {len(solutions) - converged} did not")
    mean, most = solutions.sweeps.mean(), solutions.sweeps.max()
    print(f"sweeps: mean {mean:.0f}, most {most}; largest residual {solutions.residual.max():.1e}")
    unique = solutions.unique(tol)
    print(f"{len(unique)} distinct solutions (means alike within {tol:g})")
    if len(unique) == 0 or show == 0:
        return
    print("  free energy   chains   residual")
    assert unique.counts is not None
    for k in range(min(show, len(unique))):
        print(f"{unique.free_energy[k]:13.6f} {unique.counts[k]:8d}   {unique.residual[k]:.1e}")
    if len(unique) > show:
        print(f"  ... and {len(unique) - show} more, up to {unique.free_energy[-1]:.6f}")


def _info(options: argparse.Namespace) -> None:
    from tapcore import _files
    from tapcore.checkpoint import RunFolder, machine_from
    from tapcore.training.history import History

    path = Path(options.run)
    if path.is_dir():
        positions = RunFolder(path).positions()
        if not positions:
            raise ValueError(f"{path}: no checkpoints in this folder")
        print(f"{len(positions)} checkpoints, newest {positions[-1].path.name}")
        path = positions[-1].path
    header, tensors = _files.read(path)
    machine = machine_from(path, header, tensors)
    for layer in machine.layers:
        print(layer)
    for W in machine.weights:
        print(
            f"weights {W.shape[0]} x {W.shape[1]} {W.dtype}, "
            f"largest {abs(W).max():.3g}, rms {(W * W).mean() ** 0.5:.3g}"
        )
    if header["kind"] == "training":
        _print_run(header, History.from_array(tensors["history"]))


def _print_run(header: dict[str, Any], history: History) -> None:
    between = f" and {header['batch']} batches" if header["batch"] else ""
    print(f"trained for {header['epoch']} epochs{between}")
    rates = header["settings"]["learning_rate"]
    said = {k: v for k, v in header["settings"].items() if k not in ("X", "learning_rate")}
    said["learning_rate"] = rates[0] if len(set(rates)) == 1 else f"{max(rates):g} to {min(rates):g}" if rates else None
    print("settings: " + ", ".join(f"{k}={_plain(v)}" for k, v in said.items()))
    if history:
        print("  epoch   log-likelihood/unit   free energy   residual   unconverged   lost   seconds")
    for r in history:
        print(
            f"{r.epoch:7d}   {r.log_likelihood:19.5f}   {r.free_energy:11.4f}   {r.residual:8.1e}   "
            f"{r.unconverged:11d}   {r.lost:4d}   {r.seconds:7.2f}"
        )


def _plain(value: Any) -> str:
    return f"{value[0]}({value[1]:g})" if isinstance(value, list) else str(value)
