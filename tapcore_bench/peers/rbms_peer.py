"""The package `rbms` (PyTorch) in an environment of its own, made once by ``python -m tapcore_bench.peers.rbms_peer``.

The environment goes to the user's cache folder (``XDG_CACHE_HOME``) and takes 1 GB where pip finds a CPU build of
PyTorch. By default it takes the one for GPUs, several GB: ``PIP_EXTRA_INDEX_URL`` or ``PIP_FIND_LINKS`` of a place
with CPU builds are heeded.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from tapcore.storage.format import write_whole
from tapcore_bench.peers.trained import Trained, load

CHILD = Path(__file__).with_name("rbms_training.py")
# PyTorch goes first and pinned: what comes after finds it there. The package asks for Python 3.12 only since it takes
# `override` from `typing`, and is installed alone, with what it imports before it.
INSTALLS = (
    ("torch==2.13.0",),
    ("numpy>=2", "h5py>=3.14", "matplotlib>=3.8", "tqdm>=4.65", "typing-extensions>=4.4"),
    ("--no-deps", "--ignore-requires-python", "rbms==0.6.*"),
)
# A line of a .pth file is run when Python starts; `sitecustomize` is taken by some systems.
SHIM = "import typing, typing_extensions; typing.override = typing_extensions.override\n"
VERSIONS = """
import importlib.metadata, rbms.training.pcd
print(*(f"{name} {importlib.metadata.version(name)}" for name in ("rbms", "torch")), sep=", ")
"""
STAMP = "complete.txt"


class Setting(NamedTuple):
    """Of centred PCD-1 at a constant rate."""

    rate: float
    chains: int
    batch: int


def folder() -> Path:
    """Where the environment is, or is to be."""
    cache = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(cache) / "tapcore_bench" / "rbms"


def lacks() -> str:
    """Why it cannot train, in one line; empty where it can."""
    if (folder() / STAMP).exists():
        return ""
    return "rbms needs its environment: python -m tapcore_bench.peers.rbms_peer"


def versions() -> str:
    """Of the package and of PyTorch, as installed."""
    return (folder() / STAMP).read_text(encoding="utf-8").strip()


def make() -> None:
    """Make the environment; one that was left unfinished is made anew.

    Raises
    ------
    SystemExit
        With the command that failed.
    """
    place = folder()
    place.mkdir(parents=True, exist_ok=True)
    (place / STAMP).unlink(missing_ok=True)
    _called([sys.executable, "-m", "venv", "--clear", str(place)])
    for packages in INSTALLS:
        _called([_python(), "-m", "pip", "install", *packages])
    if sys.version_info < (3, 12):
        _site_packages(place).joinpath("typing_override.pth").write_text(SHIM, encoding="utf-8")
    found = _called([_python(), "-I", "-c", VERSIONS], stdout=subprocess.PIPE)
    write_whole(place / STAMP, found.encode())


def train(X: NDArray[Any], hidden: int, setting: Setting, seconds: float) -> Trained:
    """Train in a process of its own, on as many threads as there are processors; start and warm-up do not count."""
    threads = len(os.sched_getaffinity(0))
    settings = {"hidden": hidden, "seconds": seconds, "threads": threads, "seed": 0, **setting._asdict()}
    with tempfile.TemporaryDirectory() as temporary:
        source, target = Path(temporary, "data.npy"), Path(temporary, "machine.npz")
        np.save(source, X)
        # Isolated: nothing of this environment is seen there.
        command = [_python(), "-I", str(CHILD), str(source), str(target), json.dumps(settings)]
        done = subprocess.run(command, check=False, capture_output=True, text=True)
        if done.returncode:
            raise SystemExit(f"rbms: training failed: {(done.stderr.splitlines() or ['no message'])[-1]}")
        return load(target)


def _python() -> str:
    return str(folder() / "bin" / "python")


def _site_packages(place: Path) -> Path:
    return place / "lib" / f"python{sys.version_info.major}.{sys.version_info.minor}" / "site-packages"


def _called(command: list[str], **options: Any) -> str:
    done = subprocess.run(command, check=False, text=True, **options)
    if done.returncode:
        raise SystemExit(f"rbms: this failed: {' '.join(command)}")
    return done.stdout or ""


if __name__ == "__main__":
    make()
    print(f"{versions()} in {folder()}")
