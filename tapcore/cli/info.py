"""`tapcore info`."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tapcore.training.history import History


def add_to(commands: Any) -> None:
    """Add the command's parser."""
    info = commands.add_parser("info", help="what a run or a saved machine holds")
    info.add_argument("run", metavar="RUN", help="folder of a run, or a .safetensors file")
    info.set_defaults(run_command=_info)


def _info(options: argparse.Namespace) -> None:
    from tapcore.storage import format as file_format
    from tapcore.storage.machines import RunFolder, machine_from
    from tapcore.training.history import History

    path = Path(options.run)
    if path.is_dir():
        folder = RunFolder(path)
        positions = folder.positions()
        if not positions:
            raise ValueError(f"{path}: no checkpoints in this folder")
        print(f"{len(positions)} checkpoints, newest {positions[-1].path.name}")
        # Machine and history of the newest: that of the best epoch knows nothing of what came after.
        path = positions[-1].path
        if folder.best_path.is_file():
            print(f"{folder.best_path.name}, which the other commands use{_best(folder.best_path)}")
    header, tensors = file_format.read(path)
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
    said = {k: v for k, v in header["settings"].items() if k not in ("X", "validation")}
    for name in {"learning_rate", "pretrain_rates"} & said.keys():
        rates = said[name]
        said[name] = rates[0] if len(set(rates)) == 1 else f"{max(rates):g} to {min(rates):g}" if rates else None
    print("settings: " + ", ".join(f"{k}={_plain(v)}" for k, v in said.items()))
    held_out = "validation" in header["settings"]
    if history:
        print(
            f"  epoch   log-likelihood/unit   {'held out   ' * held_out}free energy   residual   unconverged   lost   "
            "seconds   layers"
        )
    for r in history:
        print(
            f"{r.epoch:7d}   {r.log_likelihood:19.5f}   {f'{r.validation:8.5f}   ' * held_out}{r.free_energy:11.4f}   "
            f"{r.residual:8.1e}   {r.unconverged:11d}   {r.lost:4d}   {r.seconds:7.2f}   "
            + (f"{r.stage - 1}, {r.stage}" if r.stage else "all")
        )


def _best(path: Path) -> str:
    """Epoch and held-out score of the checkpoint of the best epoch."""
    from tapcore.storage import format as file_format
    from tapcore.training.history import History

    header, tensors = file_format.read(path)
    if header["kind"] != "training":
        return ""
    record = History.from_array(tensors["history"])[-1]
    return f": epoch {record.epoch}, {record.validation:.5f} nats per unit of data held out"


def _plain(value: Any) -> str:
    return f"{value[0]}({value[1]:g})" if isinstance(value, list) else str(value)
