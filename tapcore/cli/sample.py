"""`tapcore sample`."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tapcore.cli.data import check_out, image_shape

if TYPE_CHECKING:
    from tapcore.sampling.trajectory import TrajectoryTempering


def add_to(commands: Any) -> None:
    """Add the command's parser."""
    sample = commands.add_parser(
        "sample",
        help="draw samples from a trained machine",
        description="Draw visible samples into an array file and, if matplotlib is installed and the data were images, "
        "a picture beside it. Where RUN is a folder with several checkpoints, by trajectory tempering: chains of the "
        "machines along the run change places, so that samples are at equilibrium; how well they did so is printed "
        "beside, and a warning where they did not. Of a single machine, or where --replicas is given, by Gibbs "
        "sampling or replica exchange of the last machine alone.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    add = sample.add_argument
    add("run", metavar="RUN", help="folder of a run, or a .safetensors file")
    add("--count", type=int, default=100, metavar="N", help="samples, each from a chain of its own (along a run, 100)")
    sweeps = "Gibbs sweeps of each chain; along a run, of all of its rungs before the first samples are taken"
    add("--sweeps", type=int, default=1000, metavar="N", help=sweeps)
    replicas = "the last machine alone: 1 for Gibbs sampling, above it replica exchange between so many temperatures"
    add("--replicas", type=int, metavar="R", help=replicas)
    add("--seed", type=int, default=0, metavar="N", help="of the draw")
    add("--out", metavar="FILE", help="the .npy file to write (samples.npy in RUN)")
    add("--threads", type=int, metavar="N", help="threads to use (all of the processors)")
    sample.set_defaults(run_command=_sample)


def _sample(options: argparse.Namespace) -> None:
    import io

    import numpy as np

    from tapcore._base.threads import thread_limit
    from tapcore.storage.format import write_whole

    run = Path(options.run)
    folder = run if run.is_dir() else run.parent
    out = folder / "samples.npy" if options.out is None else check_out(options.out)
    with thread_limit(options.threads):
        x, ladder = _drawn(run, options)
    contents = io.BytesIO()
    np.save(contents, x)
    write_whole(out, contents.getvalue())
    print(f"{x.shape[0]} samples of {x.shape[1]} units: {out}")
    if ladder is not None:
        _print_ladder(ladder)
    _draw(out, x, image_shape(folder))


def _drawn(run: Path, options: argparse.Namespace) -> tuple[Any, TrajectoryTempering | None]:
    """Samples, and the ladders along the run that they come from, if they do."""
    from tapcore._base import checks, footprint
    from tapcore.sampling.sampler import along_run, check_memory, sample
    from tapcore.storage.machines import RunFolder, load

    machine = load(run)
    count = checks.integer("--count", options.count, minimum=1)
    sweeps = checks.integer("--sweeps", options.sweeps, minimum=0)
    seed = checks.integer("--seed", options.seed, minimum=0)
    if options.replicas is None and run.is_dir() and len(RunFolder(run).way()) > 1:
        footprint.check("--count", count, 8 * count * machine.layers[0].columns)
        return along_run(run, count, None, sweeps, seed, None)
    replicas = 1 if options.replicas is None else checks.integer("--replicas", options.replicas, minimum=1)
    check_memory(machine, "--count", count, replicas)
    return sample(machine, count, sweeps=sweeps, replicas=replicas, seed=seed), None


def _print_ladder(ladder: TrajectoryTempering) -> None:
    """How well chains went along the run."""
    least = ladder.acceptance.min()
    took_place = "were not tried" if least != least else f"took place in {least:.1%} or more of the tries"
    print(
        f"{len(ladder.rungs)} rungs along {len(ladder.machines)} checkpoints; exchanges between neighbours {took_place}"
    )
    print(
        f"{ladder.round_trips.sum()} round trips from independent units; autocorrelation time "
        f"{ladder.autocorrelation:.1f} sweeps; {ladder.effective_samples:.0f} effective samples in all chains"
    )


def _draw(out: Path, x: Any, shape: tuple[int, int] | None) -> None:
    """A picture beside the array file, if samples are images."""
    if shape is None:
        return
    from tapcore import plotting

    try:
        plotting.images(out.with_suffix(".png"), x, shape)
    except ImportError as error:
        print(f"no picture: {error}", file=sys.stderr)
        return
    print(f"picture: {out.with_suffix('.png')}")
