"""One site of a certified machine in mpmath: ln Z(B, A) and moments, closed forms at the working precision.

A unit is a dict of floats under the paper's names and its `kind`, which models.json explains.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from mpmath import mp, mpf

Unit = dict[str, Any]

# Values of the kinds that take only two.
STATES = {"bin": (0, 1), "pm": (-1, 1)}
# What training moves, by kind; lo and hi are given.
TRAINED = {
    "bin": ("U",),
    "pm": ("U",),
    "g": ("U", "V"),
    "tg": ("U", "V"),
    "gb": ("U", "V", "rho"),
    "tgb": ("U", "V", "rho"),
}


def third(unit: Unit, mean: mpf) -> tuple[mpf, mpf] | None:
    """Third cumulant as a function of the mean, and its derivative; None where it is none."""
    if unit["kind"] == "g":
        return mpf(0), mpf(0)
    if unit["kind"] not in STATES:
        return None
    low, high = STATES[unit["kind"]]
    gap = mpf(high - low)
    p = (mean - low) / gap
    return gap**3 * p * (1 - p) * (1 - 2 * p), gap**2 * (1 - 6 * p + 6 * p**2)


class Site(NamedTuple):
    """What a unit is like in fields (B, A)."""

    log_z: mpf
    mean: mpf
    var: mpf
    nonzero: mpf  # P[x != 0], of a unit with an atom


def of(unit: Unit, B: mpf, A: mpf) -> Site:
    """The unit in fields (B, A)."""
    kind, b = unit["kind"], B + mpf(unit["U"])
    if kind == "bin":
        up, down = mp.exp(b - A / 2), mpf(1)
        return Site(mp.log(down + up), up / (up + down), up * down / (up + down) ** 2, up / (up + down))
    if kind == "pm":
        a = mp.tanh(b)
        return Site(mp.log(mp.exp(b - A / 2) + mp.exp(-b - A / 2)), a, 1 - a**2, mpf(1))
    s = A + mpf(unit["V"])
    integral, mean, var = interval(s, b, mpf(unit["lo"]), mpf(unit["hi"])) if "lo" in unit else line(s, b)
    if "rho" not in unit:
        return Site(mp.log(integral), mean, var, mpf(1))
    rho = mpf(unit["rho"])
    atom, slab = 1 - rho, rho * integral
    P = slab / (atom + slab)
    return Site(mp.log(atom + slab), P * mean, P * var + P * (1 - P) * mean**2, P)


def line(s: mpf, b: mpf) -> tuple[mpf, mpf, mpf]:
    """Integral, mean and variance of exp(-s x^2/2 + b x) on the whole line."""
    if s <= 0:
        raise ValueError(f"a weight of precision {mp.nstr(s, 5)} cannot be normalised on the line")
    return mp.sqrt(2 * mp.pi / s) * mp.exp(b**2 / (2 * s)), b / s, 1 / s


def interval(s: mpf, b: mpf, lo: mpf, hi: mpf) -> tuple[mpf, mpf, mpf]:
    """The same on [lo, hi], s of any sign but not 0.

    Moments by integrals over d(f) = (b - s x) f and d(x f) = f + x d(f), where f is the weight. Digits cancel, hence
    twice as many of them.
    """
    with mp.workdps(2 * mp.dps):
        h_lo, h_hi = (mp.sqrt(abs(s) / 2) * (x - b / s) for x in (lo, hi))
        d = mp.erf(h_hi) - mp.erf(h_lo) if s > 0 else mp.erfi(h_hi) - mp.erfi(h_lo)
        integral = mp.sqrt(mp.pi / (2 * abs(s))) * mp.exp(b**2 / (2 * s)) * d
        f_lo, f_hi = (mp.exp(b * x - s * x**2 / 2) for x in (lo, hi))
        mean = (b - (f_hi - f_lo) / integral) / s
        square = (1 + b * mean - (hi * f_hi - lo * f_lo) / integral) / s
        var = square - mean**2
    return +integral, +mean, +var


def log_z(unit: Unit, B: mpf, A: mpf) -> mpf:
    """ln Z(B, A) of one unit."""
    return of(unit, B, A).log_z


def moments(unit: Unit, B: mpf, A: mpf) -> tuple[mpf, mpf]:
    """Mean and variance of one unit."""
    return of(unit, B, A)[1:3]


def log_weight(unit: Unit, x: mpf) -> mpf:
    """ln phi(x) of a value that the unit takes."""
    if "rho" in unit and x == 0:
        return mp.log(1 - mpf(unit["rho"]))
    slab = mpf(unit["U"]) * x - mpf(unit.get("V", 0)) * x**2 / 2
    return slab + mp.log(mpf(unit["rho"])) if "rho" in unit else slab


def slopes(unit: Unit, mean: mpf, square: mpf, nonzero: mpf) -> dict[str, mpf]:
    """Averages of d ln phi / d parameter, from those of x, x^2 and 1[x != 0]."""
    every = {"U": mean, "V": -square / 2}
    if "rho" in unit:
        rho = mpf(unit["rho"])
        every["rho"] = nonzero / rho - (1 - nonzero) / (1 - rho)
    return {name: every[name] for name in TRAINED[unit["kind"]]}


def mixed(old: list[mpf], new: list[mpf], d: mpf) -> list[mpf]:
    """d old + (1 - d) new."""
    return [d * p + (1 - d) * q for p, q in zip(old, new, strict=True)]
