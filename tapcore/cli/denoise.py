"""`tapcore denoise`."""

from __future__ import annotations

import argparse
import io
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tapcore.cli.data import check_out, data_of, image_shape, load_as_trained, noted

if TYPE_CHECKING:
    from tapcore.priors.channels import Channel
    from tapcore.units import Unit


# Channels, and the option that each has to itself.
OF_CHANNEL = {"bsc": "p", "erasure": "erase", "gaussian": "sd"}


def add_to(commands: Any) -> None:
    """Add the command's parser."""
    denoise = commands.add_parser(
        "denoise",
        help="denoise or complete images with a trained machine",
        description="Send images through a noisy channel and find their posterior means, the machine of RUN being "
        "their prior; print how close these and two baselines come. Writes the arrays to a .npz file and, if "
        "matplotlib is installed, a picture beside it.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    add = denoise.add_argument
    add("run", metavar="RUN", help="folder of a run, or a .safetensors file")
    add("images", metavar="IMAGES", help="'digits', 'mnist5k', or a .npy, .npz, IDX or IDX.gz file")
    add("--channel", choices=tuple(OF_CHANNEL), default="bsc", help="flips, missing pixels, added noise")
    # Left out where not given, so that one of another channel is noticed.
    unless = argparse.SUPPRESS
    add("--p", type=float, default=unless, help="bsc: probability of a flip, 0 to 1/2 (default: 0.1)")
    halves = ("lower", "upper", "left", "right")
    add("--erase", choices=halves, default=unless, help="erasure: the half that is missing (default: lower)")
    add("--sd", type=float, default=unless, help="gaussian: standard deviation of the noise (default: 0.1)")
    add("--noisy", action="store_true", help="IMAGES are observations already: NaN where a pixel is missing")
    add("--image-threshold", type=float, metavar="T", help="make IMAGES binary: 1 above T, else 0 (that of the run)")
    add("--image-key", metavar="NAME", help="which array of a .npz file IMAGES is")
    add("--data", metavar="DATA", help="training data, for starting points and baselines (those of the run)")
    add("--threshold", type=float, metavar="T", help="make training data binary")
    add("--key", metavar="NAME", help="which array of a .npz file")
    add("--count", type=int, default=100, metavar="N", help="images, the first ones")
    add(
        "--starts", type=int, metavar="N",
        help="chains for each image, or starting points where units have other than two states (20, or 5)",
    )  # fmt: skip
    add("--seed", type=int, default=0, metavar="N", help="of the noise and of starting points")
    add("--out", metavar="FILE", help="the .npz file to write (denoised.npz in RUN)")
    add("--threads", type=int, metavar="N", help="threads to use (all of the processors)")
    denoise.set_defaults(run_command=_denoise)


def _denoise(options: argparse.Namespace) -> None:
    import numpy as np

    from tapcore._base import checks
    from tapcore._base.threads import thread_limit
    from tapcore.priors.denoising import posterior
    from tapcore.storage.format import write_whole
    from tapcore.storage.machines import load

    _check_options(options)
    run = Path(options.run)
    folder = run if run.is_dir() else run.parent
    out = folder / "denoised.npz" if options.out is None else check_out(options.out)
    count = checks.integer("--count", options.count, minimum=1)
    rng = np.random.default_rng(checks.integer("--seed", options.seed, minimum=0))
    machine = load(run)
    visible = machine.layers[0]
    said = noted(folder)
    images = load_as_trained(
        options.images, options.image_threshold, options.image_key, None if options.noisy else said
    )
    shape = images.image_shape or image_shape(folder)
    X = np.asarray(images.X[:count], np.float64)
    if X.shape[1] != visible.columns:
        raise ValueError(
            f"{options.images} has {X.shape[1]} pixels an image, the machine {visible.columns} visible units"
        )
    _check_missing(options, X)
    channel = _channel(options, X, shape)
    Y = X if options.noisy else channel.corrupt(visible, X, rng)
    training = data_of(options) if options.data is not None or said is not None else None
    prior = None if training is None else visible.fitted(training)
    with thread_limit(options.threads):
        found = posterior(machine, Y, channel, prior=prior, starts=options.starts, seed=options.seed)
    contents = io.BytesIO()
    arrays: dict[str, Any] = {"observed": Y, "mean": found.mean, "var": found.var}
    if not options.noisy:
        arrays["clean"] = X
    np.savez(contents, **arrays)
    write_whole(out, contents.getvalue())
    counted = "1 image" if len(Y) == 1 else f"{len(Y)} images"
    print(f"{counted}, {channel!r}: {int(found.converged.sum())} converged; means and variances in {out}")
    rows = {"seen": Y, "TAP": found.mean} if options.noisy else {"clean": X, "seen": Y, "TAP": found.mean}
    if not options.noisy:
        rows |= _compare(visible, X, Y, found.mean, channel, prior, training)
    _draw(out.with_suffix(".png"), rows, shape)


def _check_options(options: argparse.Namespace) -> None:
    """ValueError if there is an option of another channel, which would be ignored."""
    for channel, name in OF_CHANNEL.items():
        if hasattr(options, name) and channel != options.channel:
            raise ValueError(f"--{name} is for --channel {channel}, not {options.channel}")
    if options.noisy and hasattr(options, "erase"):
        raise ValueError("--erase is for clean images; with --noisy pixels are missing where IMAGES are NaN")


def _check_missing(options: argparse.Namespace, X: Any) -> None:
    """ValueError if pixels are missing that nothing says to fill in."""
    import numpy as np

    if np.isnan(X).any() and not (options.noisy and options.channel == "erasure"):
        raise ValueError(f"{options.images} has NaN: --noisy --channel erasure fills in missing pixels")


def _channel(options: argparse.Namespace, X: Any, shape: tuple[int, int] | None) -> Channel:
    import numpy as np

    from tapcore._base import checks
    from tapcore.priors.channels import BinarySymmetric, Erasure, GaussianNoise

    if options.channel == "bsc":
        return BinarySymmetric(getattr(options, "p", 0.1))
    if options.channel == "gaussian":
        sd = checks.number("--sd", getattr(options, "sd", 0.1))
        if sd <= 0.0:
            raise ValueError(f"--sd must be positive, got {sd:g}")
        return GaussianNoise(sd**2)
    if options.noisy:
        return Erasure(np.isnan(X))
    if shape is None:
        raise ValueError("--channel erasure needs images whose rows and columns are known, or --noisy with NaN")
    mask = np.zeros(shape, np.bool_)
    half = {
        "lower": (slice(shape[0] // 2, None), slice(None)), "upper": (slice(0, shape[0] // 2), slice(None)),
        "left": (slice(None), slice(0, shape[1] // 2)), "right": (slice(None), slice(shape[1] // 2, None)),
    }  # fmt: skip
    mask[half[getattr(options, "erase", "lower")]] = True
    return Erasure(mask.ravel())


def _compare(
    visible: Unit, X: Any, Y: Any, mean: Any, channel: Channel, prior: Unit | None, training: Any
) -> dict[str, Any]:
    """Print how close estimates come; those of the baselines."""
    import numpy as np

    from tapcore.priors.channels import GaussianNoise
    from tapcore.priors.denoising import nearest_neighbours, pointwise
    from tapcore.priors.scores import f1_score, matthews_correlation

    others: dict[str, Any] = {}
    if prior is not None:
        others = {
            "prior mean": np.broadcast_to(prior.moments(0.0, 0.0)[1], Y.shape),
            "pointwise": pointwise(prior, Y, channel),
            "1-NN": nearest_neighbours(training, Y, channel),
        }
        if (nearest_neighbours(training, X, GaussianNoise(1.0)) == X).all(axis=1).mean() > 0.5:
            print("most of these images are among the training data: the nearest neighbour (1-NN) has seen them")
    print("              squared error   Matthews correlation   F1")
    for name, estimate in {"TAP": mean, **others}.items():
        said = ""
        if visible.levels is not None:
            middle = sum(visible.levels) / 2
            scores = (f(X, estimate, middle).mean() for f in (matthews_correlation, f1_score))
            said = "   {:20.4f}   {:.4f}".format(*scores)
        print(f"{name:12s}  {((estimate - X) ** 2).mean():13.5f}{said}")
    return others


def _draw(path: Path, rows: dict[str, Any], shape: tuple[int, int] | None) -> None:
    if shape is None:
        return
    from tapcore import plotting

    try:
        plotting.rows_of_images(path, rows, shape)
    except ImportError as error:
        print(f"no picture: {error}", file=sys.stderr)
        return
    print(f"picture: {path}")
