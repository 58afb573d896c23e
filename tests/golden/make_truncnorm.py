"""Remake the results in the tables of truncated Gaussians here from their arguments, with mpmath.

    python tests/golden/make_truncnorm.py             recompute every result and write those that are wrong
    python tests/golden/make_truncnorm.py --check     recompute, and compare with the files to the last digit of a float

The arguments, condition numbers (columns k*) and tags are data, read from the files themselves.

One method serves every argument. The exponent is taken from its highest point: the mode if that lies inside, or else
the dominating end. From there the weight falls to each side; where s < 0, the other end is a second such point, and
the two meet where the weight is least. A falling piece ``e^(-g t - s t^2/2)`` is cut into panels over which the
exponent falls by the same amount, and each panel gets a Gauss-Legendre rule.
"""

from __future__ import annotations

import argparse
import csv
import functools
import itertools
import sys
from collections.abc import Callable
from pathlib import Path

from mpmath import mp, mpf

HERE = Path(__file__).parent
DIGITS = 30
# The arguments are floats: with this many digits their products and sums are exact unless they spread absurdly far.
ARGUMENT_DIGITS = 200
NOTHING = mpf(10) ** -25  # a mean that counts as none, in standard deviations
FALL = 4  # of the exponent over a panel

Row = dict[str, str]


@functools.cache
def rule(digits: int) -> list[tuple[mpf, mpf]]:
    """Gauss-Legendre nodes and weights on [0, 1], as many nodes as digits, which is enough over a panel."""
    count = digits + digits % 2
    nodes = []
    with mp.workdps(digits + 10):
        for k in range(1, count + 1):
            x = mp.cos(mp.pi * (k - mpf(1) / 4) / (count + mpf(1) / 2))
            for _ in range(8):  # Newton's steps from the usual estimate
                p, before = x, mpf(1)
                for n in range(2, count + 1):
                    p, before = ((2 * n - 1) * x * p - (n - 1) * before) / n, p
                slope = count * (x * p - before) / (x * x - 1)
                x -= p / slope
            nodes.append(((1 - x) / 2, 1 / ((1 - x * x) * slope**2)))
    return nodes


def panels(s: mpf, g: mpf, length: mpf) -> list[mpf]:
    """Edges from 0 to `length`, or to where nothing counts any more; ``g t + s t^2/2`` grows by at most FALL each."""
    most = mp.dps * mp.log(10) + 20
    whole = mp.inf if mp.isinf(length) else g * length + s * length**2 / 2
    fall = min(whole, most)
    count = max(1, int(mp.ceil(fall / FALL)))
    # Where s < 0 the root may be that of a rounding error below 0.
    edges = [2 * e / (g + mp.sqrt(max(g * g + 2 * s * e, 0))) for e in (fall * k / count for k in range(1, count))]
    last = length if whole <= most else 2 * most / (g + mp.sqrt(g * g + 2 * s * most))
    return [mpf(0), *edges, last]


def piece(s: mpf, g: mpf, length: mpf, order: int) -> list[mpf]:
    """Integrals of 1, t, .., t^order times ``e^(-g t - s t^2/2)`` over [0, length], where it falls."""
    sums = [mpf(0)] * (order + 1)
    nodes, half = rule(mp.dps), s / 2
    for left, right in itertools.pairwise(panels(s, g, length)):
        size = right - left
        own = [mpf(0)] * (order + 1)
        for x, w in nodes:
            t = left + size * x
            e = w * mp.exp(-t * (g + half * t))
            own[0] += e
            for n in range(1, order + 1):
                e *= t
                own[n] += e
        sums = [total + size * some for total, some in zip(sums, own, strict=True)]
    return sums


def split(s: mpf, b: mpf, lo: mpf, hi: mpf) -> tuple[mpf, list[tuple[mpf, int, mpf, mpf]]]:
    """(top, pieces), a piece being (start, direction, slope there, length)."""
    if s > 0 and lo < b / s < hi:
        top = b / s
        return top, [(top, 1, mpf(0), hi - top), (top, -1, mpf(0), top - lo)]
    right = hi < mp.inf and (lo == -mp.inf or b - s * (lo + hi) / 2 >= 0)
    top, other, side = (hi, lo, -1) if right else (lo, hi, 1)
    g, g_other = -side * (b - s * top), side * (b - s * other) if abs(other) < mp.inf else mpf(0)
    if not (s < 0 and g_other > 0):
        return top, [(top, side, g, abs(other - top))]
    return top, [(top, side, g, -g / s), (other, -side, g_other, -g_other / s)]


def raw_moments(s: float, b: float, lo: float, hi: float, order: int, digits: int) -> tuple[mpf, mpf, mpf, list[mpf]]:
    """(energy, log-mass, top, moments about it from the first on) of ``exp(-s x^2/2 + b x)`` on [lo, hi].

    The log-mass is that of the weight over its largest value ``e^energy``, which it has at the top.
    """
    with mp.workdps(ARGUMENT_DIGITS):
        s, b, lo, hi = (mpf(x) for x in (s, b, lo, hi))
        if not lo < hi or (mp.isinf(hi - lo) and not (s > 0 or (s == 0 and (b < 0 if hi == mp.inf else b > 0)))):
            raise ValueError("the weight cannot be normalised")
        top, pieces = split(s, b, lo, hi)
        energy = b * top - s * top**2 / 2
        starts = [(start - top, b * start - s * start**2 / 2 - energy) for start, *_ in pieces]
    with mp.workdps(digits + 5):
        sums = [mpf(0)] * (order + 1)
        for (offset, below), (_, side, g, length) in zip(starts, pieces, strict=True):
            if below < -(10 * mp.dps + 100):  # e^-below is too little to count, even times the square of an offset
                continue
            part = [mp.exp(below) * m for m in piece(+s, +g, +length, order)]
            for n in range(order + 1):
                sums[n] += sum(mp.binomial(n, k) * offset ** (n - k) * side**k * part[k] for k in range(n + 1))
        return energy, mp.log(sums[0]), top, [m / sums[0] for m in sums[1:]]


def moments(s: float, b: float, lo: float, hi: float, digits: int = DIGITS) -> tuple[mpf, mpf, mpf]:
    """Log-mass, mean and variance of ``exp(-s x^2/2 + b x)`` on [lo, hi], good to somewhat fewer than `digits`."""
    energy, log_mass, top, (mean, second) = raw_moments(s, b, lo, hi, 2, digits)
    with mp.workdps(digits + 5):
        var = second - mean**2
    with mp.workdps(ARGUMENT_DIGITS):
        return energy + log_mass, top + mean, +var


def cumulants(s: float, b: float, lo: float, hi: float, digits: int = 2 * DIGITS) -> tuple[mpf, mpf, mpf]:
    """Second to fourth cumulant of ``exp(-s x^2/2 + b x)`` on [lo, hi]."""
    _, _, _, (m1, m2, m3, m4) = raw_moments(s, b, lo, hi, 4, digits)
    with mp.workdps(digits):
        var = m2 - m1**2
        central = m4 - 4 * m3 * m1 + 6 * m2 * m1**2 - 3 * m1**4
        return var, m3 - 3 * m2 * m1 + 2 * m1**3, central - 3 * var**2


def spike_slab(rho: float, U: float, V: float, lo: float, hi: float, A: float, B: float) -> dict[str, mpf]:
    """Results of a row of truncated_gauss_bernoulli.csv: of ``(1 - rho) delta(x) + rho e^(-V x^2/2 + U x)``."""
    with mp.workdps(ARGUMENT_DIGITS):
        s, b, rho = mpf(A) + mpf(V), mpf(B) + mpf(U), mpf(rho)
        log_slab, m, v = moments(s, b, lo, hi)
        slab, prior_slab = rho * mp.exp(log_slab), rho * mp.exp(moments(V, U, lo, hi)[0])
        P = slab / (1 - rho + slab)
        log_prior = mp.log(1 - rho + prior_slab)
        return {
            "lnZ": mp.log(1 - rho + slab) - log_prior,
            "fa": P * m,
            "fc": P * v + P * (1 - P) * m**2,
            "pnz": P,
            "lnZprior": log_prior,
        }


def remake_truncnorm(row: Row) -> dict[str, mpf]:
    """Results of a row of truncnorm.csv."""
    found = moments(*(float(row[name]) for name in ("s", "b", "lo", "hi")))
    return dict(zip(("lnZ", "mean", "var"), found, strict=True))


def remake_cumulants(row: Row) -> dict[str, mpf]:
    """Results of a row of truncnorm_cumulants.csv."""
    found = cumulants(*(float(row[name]) for name in ("s", "b", "lo", "hi")))
    return dict(zip(("var", "third", "fourth"), found, strict=True))


def remake_spike_slab(row: Row) -> dict[str, mpf]:
    """Results of a row of truncated_gauss_bernoulli.csv."""
    return spike_slab(*(float(row[name]) for name in ("rho", "U", "V", "lo", "hi", "A", "B")))


FILES: dict[str, Callable[[Row], dict[str, mpf]]] = {
    "truncnorm.csv": remake_truncnorm,
    "truncnorm_cumulants.csv": remake_cumulants,
    "truncated_gauss_bernoulli.csv": remake_spike_slab,
}


def read(name: str) -> list[Row]:
    """Rows of a file."""
    with (HERE / name).open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def wrong(row: Row, results: dict[str, mpf]) -> dict[str, mpf]:
    """Results that are not those of the row, rounding aside."""
    found = {}
    for name, value in results.items():
        written = mpf(float(row[name]))
        # A mean and higher cumulants may cancel to nothing.
        power = {"mean": 1, "third": 3, "fourth": 4}.get(name)
        least = NOTHING * mp.sqrt(results["var"]) ** power if power else mpf(2) ** -1074
        spacing = max(mpf(2) ** (mp.frexp(written)[1] - 53), least)
        if abs(value - written) > 0.5001 * spacing:
            found[name] = value
    return found


def checked(name: str) -> tuple[list[Row], int]:
    """Rows of a file, the wrong results put right, and how many those were; each is reported."""
    rows, count = read(name), 0
    for number, row in enumerate(rows, start=2):
        with mp.workdps(ARGUMENT_DIGITS):
            found = wrong(row, FILES[name](row))
        for column, value in found.items():
            print(f"{name}, line {number}: {column} is {row[column]}, should be {float(value)!r}")
            row[column] = repr(float(value))
        count += len(found)
    return rows, count


def main(arguments: list[str] | None = None) -> int:
    """Put the files right or, with --check, only say what is wrong."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="write nothing; fail if a result is wrong")
    only_check = parser.parse_args(arguments).check
    total = 0
    for name in FILES:
        rows, count = checked(name)
        total += count
        if not only_check:
            with (HERE / name).open("w", encoding="utf-8", newline="") as file:
                writer = csv.DictWriter(file, list(rows[0]), lineterminator="\n")
                writer.writeheader()
                writer.writerows(rows)
    return 1 if only_check and total else 0


if __name__ == "__main__":
    sys.exit(main())
