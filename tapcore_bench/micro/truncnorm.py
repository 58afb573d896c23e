"""Truncated-Gaussian moments against other ways to them: time for the common table, accuracy in one of its own.

``python -m tapcore_bench.micro.truncnorm --out FOLDER`` writes a table of accuracy and time and a picture of the error
over the shape (p, q) of the weight, against mpmath. stable-trunc-gaussian, which brings PyTorch, is compared where it
is installed.
"""

from __future__ import annotations

import argparse
import csv
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import scipy.stats
from numpy.typing import NDArray

from tapcore.special import truncnorm
from tapcore_bench.micro.closed_forms import METHODS, exact
from tapcore_bench.micro.harness import Row, machine_name, take_turns

Array = NDArray[np.float64]

POINTS = 100_000
# SciPy takes a tenth of a millisecond a point.
SCIPY_POINTS = 2_000
EXPONENTIALS = 20
# Certified points, made to be hard, in every regime.
CERTIFIED = Path(__file__).resolve().parents[2] / "tests" / "golden" / "truncnorm.csv"
WRONG = 1e-10


def common(count: int) -> tuple[Array, Array, Array, Array]:
    """Arguments as machines meet them: [0, 1], V in -60..60, |B| <= 20, A in -20..0."""
    rng = np.random.default_rng(0)
    s = rng.uniform(-60, 60, count) + rng.uniform(-20, 0, count)
    return s, rng.uniform(-20, 20, count), np.zeros(count), np.ones(count)


def certified() -> tuple[Array, Array]:
    """(arguments, results): (4, n) and (3, n)."""
    with CERTIFIED.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    arguments, results = (
        np.array([[float(row[name]) for row in rows] for name in names])
        for names in (("s", "b", "lo", "hi"), ("lnZ", "mean", "var"))
    )
    return arguments, results


def rows(repeats: int) -> list[Row]:
    """Time of log-mass, mean and variance of a point, on one thread."""
    points = common(POINTS)
    s, b, lo, hi = (np.resize(x, POINTS) for x in certified()[0])
    mixed = s, b, lo, hi
    x, out = np.random.default_rng(1).uniform(-30, 0, POINTS), np.empty(POINTS)

    def exponentials() -> None:
        for _ in range(EXPONENTIALS):
            np.exp(x, out=out)

    competitors: list[Callable[[], object]] = [
        lambda: truncnorm.moments(*points),
        lambda: truncnorm.moments(*mixed),
        exponentials,
    ]
    ours, hard, exp = (t / POINTS for t in take_turns(competitors, repeats))
    exp /= EXPONENTIALS
    s, b, lo, hi = (a[points[0] > 0][:SCIPY_POINTS] for a in points)
    theirs = take_turns([partial(_scipy, s, b, lo, hi)], min(repeats, 3))[0] / len(s)
    return [
        Row("truncated-Gaussian moments, a point as machines meet them", ours, exp, "numpy.exp", 40),
        Row("the same, hard points of all regimes", hard, exp, "numpy.exp", 100),
        Row("the same, points with s > 0, as machines meet them", ours, theirs, "scipy.stats.truncnorm", 1 / 1500),
    ]


def _scipy(s: Array, b: Array, lo: Array, hi: Array) -> tuple[Array, Array]:
    sigma, mu = 1 / np.sqrt(s), b / s
    mean, var = scipy.stats.truncnorm((lo - mu) / sigma, (hi - mu) / sigma, loc=mu, scale=sigma).stats("mv")
    return mean, var


def table(methods: dict[str, Any], repeats: int) -> str:
    """Markdown table: accuracy at the certified points, time at common ones."""
    (s, b, lo, hi), (_, mean, var) = certified()
    s_c, b_c, lo_c, hi_c = common(SCIPY_POINTS)
    width = np.where(np.isfinite(hi - lo), hi - lo, np.sqrt(var))
    lines = [
        f"{machine_name()}. {len(s)} certified points, less those that a method does not take; wrong is more",
        f"than {WRONG:g} off: the mean relative to max(|mean|, width), the variance to itself. Time at points as",
        "machines meet them.",
        "",
        "| method | points taken | not finite | mean wrong | variance wrong | time a point |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for name, (takes, function) in methods.items():
        can = takes(s, lo, hi)
        m, v = function(s[can], b[can], lo[can], hi[can])
        finite = np.isfinite(m) & np.isfinite(v)
        off_mean = ~(np.abs(m - mean[can]) <= WRONG * np.maximum(np.abs(mean[can]), width[can]))
        off_var = ~(np.abs(v - var[can]) <= WRONG * var[can])
        quick = takes(s_c, lo_c, hi_c)
        arguments = s_c[quick], b_c[quick], lo_c[quick], hi_c[quick]
        seconds = take_turns([partial(function, *arguments)], repeats)[0] / quick.sum()
        shares = " | ".join(f"{100 * x.mean():.1f} %" for x in (~finite, off_mean, off_var))
        lines.append(f"| {name} | {can.sum()} | {shares} | {seconds * 1e9:.3g} ns |")
    return "\n".join(lines) + "\n"


def picture(path: Path, methods: dict[str, Any], steps: int) -> None:
    """Error of the variance over p from -300 to 300 and q from 0 to 300, a panel a method."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    side = np.linspace(0, np.sqrt(300), steps) ** 2
    p = np.concatenate([-side[:0:-1], side])
    grid_p, grid_q = (x.ravel() for x in np.meshgrid(p, side))
    ends = np.full(grid_p.size, -1.0), np.full(grid_p.size, 1.0)
    var = np.array([float(exact(*point)[1]) for point in zip(grid_p, grid_q, strict=True)])
    figure, panels = pyplot.subplots(2, -(-len(methods) // 2), figsize=(11, 5.5), sharex=True, sharey=True)
    for panel, (name, (takes, function)) in zip(panels.flat, methods.items(), strict=False):
        error = np.full(grid_p.size, np.nan)
        can = takes(grid_p, *ends)
        _, v = function(grid_p[can], grid_q[can], ends[0][can], ends[1][can])
        with np.errstate(all="ignore"):
            error[can] = np.where(np.isfinite(v), np.clip(np.abs(v / var[can] - 1), 1e-16, 1.0), 1.0)
        shape = (len(side), len(p))
        mesh = panel.pcolormesh(p, side, np.log10(error).reshape(shape), vmin=-16, vmax=0, cmap="viridis")
        panel.set_xscale("symlog", linthresh=1)
        panel.set_yscale("symlog", linthresh=1)
        panel.set_title(name, fontsize=9)
    for panel in panels.flat[len(methods) :]:
        panel.set_axis_off()
    figure.supxlabel("p: precision times the squared half-width; white where a method does not apply", fontsize=9)
    figure.supylabel("q: slope at the middle", fontsize=9)
    figure.colorbar(mesh, ax=panels, label="log10 of the relative error of the variance")
    figure.savefig(path, dpi=110)
    pyplot.close(figure)


def count_non_finite(count: int) -> int:
    """Results that are not finite among random points, s and b to +-1e8, widths 1e-7 to 1e6 within +-1e6."""
    rng = np.random.default_rng(2)
    width = 10 ** rng.uniform(-7, 6, count)
    lo = rng.uniform(-1e6, 1e6 - width)
    s, b = (10 ** rng.uniform(-8, 8, count) * rng.choice([-1, 1], count) for _ in range(2))
    return int(sum((~np.isfinite(x)).sum() for x in truncnorm.moments(s, b, lo, lo + width)))


def main() -> None:
    """Write table and picture."""
    parser = argparse.ArgumentParser(description="Accuracy and time of truncated-Gaussian moments.")
    parser.add_argument("--out", type=Path, default=Path("runs/truncnorm"))
    parser.add_argument("--repeats", type=int, default=5)
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    text = table(METHODS, options.repeats)
    text += f"\nNot finite among 1,000,000 random points: {count_non_finite(1_000_000)}.\n"
    print(text)
    (options.out / "truncnorm.md").write_text(text, encoding="utf-8")
    picture(options.out / "truncnorm.png", METHODS, 25)


if __name__ == "__main__":
    main()
