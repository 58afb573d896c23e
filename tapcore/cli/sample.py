"""`tapcore sample`."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

from tapcore.cli.data import image_shape


def add_to(commands: Any) -> None:
    """Add the command's parser."""
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


def _sample(options: argparse.Namespace) -> None:
    import io

    import numpy as np

    from tapcore._base import checks
    from tapcore._base.threads import thread_limit
    from tapcore.sampling.sampler import check_memory, sample
    from tapcore.storage.format import write_whole
    from tapcore.storage.machines import load

    run = Path(options.run)
    folder = run if run.is_dir() else run.parent
    out = folder / "samples.npy" if options.out is None else Path(options.out)
    machine = load(run)
    count = checks.integer("--count", options.count, minimum=1)
    check_memory(machine, "--count", count, checks.integer("--replicas", options.replicas, minimum=1))
    with thread_limit(options.threads):
        x = sample(machine, count, sweeps=options.sweeps, replicas=options.replicas, seed=options.seed)
    contents = io.BytesIO()
    np.save(contents, x)
    write_whole(out, contents.getvalue())
    print(f"{x.shape[0]} samples of {x.shape[1]} units: {out}")
    shape = image_shape(folder)
    if shape is None:
        return
    from tapcore import plotting

    try:
        plotting.images(out.with_suffix(".png"), x, shape)
    except ImportError as error:
        print(f"no picture: {error}", file=sys.stderr)
        return
    print(f"picture: {out.with_suffix('.png')}")
