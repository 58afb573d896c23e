"""`tapcore compile`."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

    from tapcore.machine import Machine

DTYPES = ("float64", "float32")


def add_to(commands: Any) -> None:
    """Add the command's parser."""
    command = commands.add_parser(
        "compile",
        help="compile kernels ahead of time, as for containers and clusters",
        description="Compile kernels into the cache, which NUMBA_CACHE_DIR names: what uses it later starts at once. "
        "They serve the same version of tapcore on processors of the same kind.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    command.add_argument("--units", metavar="TYPE[,TYPE...]", help="unit types (all)", default=None)
    command.add_argument("--dtype", choices=DTYPES, help="of machines (both)", default=None)
    command.set_defaults(run_command=_compile)


def _compile(options: argparse.Namespace) -> None:
    import time

    from tapcore._base.cache import files_kept
    from tapcore._base.intrinsics import JIT_DISABLED
    from tapcore.units import UNITS

    chosen = list(UNITS) if options.units is None else options.units.split(",")
    unknown = [name for name in chosen if name not in UNITS]
    if unknown:
        raise ValueError(f"--units must be of {', '.join(UNITS)}, got {unknown[0]!r}")
    if JIT_DISABLED:
        raise ValueError("NUMBA_DISABLE_JIT is set: there is nothing to compile")
    begun = time.perf_counter()
    for dtype in DTYPES if options.dtype is None else (options.dtype,):
        for name, work in _work(chosen, dtype):
            print(f"{dtype}: {name}", flush=True)
            work()
    folder, count = files_kept()
    seconds = time.perf_counter() - begun
    if folder:  # else it has been said why not
        print(f"{count} compiled functions under {folder}, after {seconds:.0f} s")


def _work(units: list[str], dtype: str) -> Iterator[tuple[str, Callable[[], None]]]:
    """What has to run, by name, for all kernels to be compiled."""
    import numpy as np

    from tapcore.machine import RBM
    from tapcore.units import UNITS

    # Near its critical point, where sweeps are accelerated.
    spins = UNITS["Spin"](8), UNITS["Spin"](8)
    yield "sweeps", lambda: _solve(RBM(*spins, weights=np.full((8, 8), 1 / 8), dtype=dtype))
    yield "other methods of inference", lambda: _methods(RBM(*spins, dtype=dtype))
    for name in units:
        machine = RBM(UNITS[name](8), UNITS["Binary"](4), dtype=dtype)
        yield f"{name} units", lambda machine=machine: _use(machine)  # type: ignore[misc]


def _samples(machine: Machine) -> Any:
    import numpy as np

    return machine.layers[0].sample(np.zeros((20, machine.sizes[0])), 0.0, np.random.default_rng(0))


def _solve(machine: Machine) -> None:
    import numpy as np

    from tapcore.inference.solve import solve
    from tapcore.landscape.harvest import harvest

    starts = np.full((20, machine.sizes[0]), 0.4)
    solve(machine, starts, tol=1e-9)
    harvest(machine, starts, progress=False)


def _methods(machine: Machine) -> None:
    from tapcore.inference.methods import names
    from tapcore.inference.solve import solve
    from tapcore.training.fit import fit

    X = _samples(machine)
    for method in names():
        solve(machine, X, method=method, max_sweeps=2).unique()
    for gradient in (*names(), "cd"):
        fit(machine, X, epochs=1, gradient=gradient, progress=False)


def _use(machine: Machine) -> None:
    from tapcore.evaluation import exact
    from tapcore.evaluation.annealed import ais
    from tapcore.sampling.replicas import ReplicaExchange
    from tapcore.sampling.sampler import sample
    from tapcore.sampling.trajectory import TrajectoryTempering
    from tapcore.training.fit import fit

    X = _samples(machine)
    fit(machine, X, epochs=1, progress=False)
    for gradient in ("pcd", "ptt"):
        fit(machine, X, epochs=1, gradient=gradient, progress=False)
    sample(machine, 2, sweeps=1, progress=False)
    ReplicaExchange(machine, 2, 2).sweep(1)
    TrajectoryTempering(machine, 2).sweep(1)
    ais(machine, 2, 2, seed=0)
    exact.log_z(machine)
