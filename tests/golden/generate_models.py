"""Remake models.json, the certified values of small machines, in 60-digit arithmetic.

    python tests/golden/generate_models.py             recompute every value and write the file
    python tests/golden/generate_models.py --check     recompute and compare with the file, to 28 digits

The parameters (name, note, W, vis, hid, X, and init and damping of every fixed point) are data, read from the file
itself; all numbers written as decimal strings are results. The file's `format` key explains the rest.
"""

from __future__ import annotations

import argparse
import itertools
import json
import random
import struct
import sys
from pathlib import Path
from typing import Any

import sites
from adaptive import adaptive
from mpmath import mp, mpf
from sites import log_z, mixed, moments

PATH = Path(__file__).with_name("models.json")
WORKING_DIGITS = 60
CONVERGED = mpf(10) ** -52  # greatest change in a sweep of any mean or variance
WRITTEN_DIGITS = 32
CHECKED_DIGITS = 28  # relative
NOTHING = mpf(10) ** -45  # a difference that counts as none, for results that cancel to zero
MAX_SWEEPS = 20_000
SCALES = [2.0**-k for k in range(7)]
MIXED = "binpm5x4_0"
# Machines that carry a "scaling" list.
SCALED = ("bin6x4_s0.6_0", "pm5x4_0", MIXED, "tg4x3_0", "bin-g4x3_0")
REAL = (  # seed, visible and hidden kind, sizes
    (31, "g", "g", 3, 2),
    (32, "g", "bin", 4, 3),
    (33, "bin", "g", 4, 3),
    (34, "gb", "gb", 3, 2),
    (35, "pm", "gb", 3, 3),
    (36, "tgb", "pm", 3, 3),
    (37, "tg", "gb", 3, 2),
    (38, "gb", "tgb", 3, 2),
    (39, "tgb", "tg", 2, 3),
)

FORMAT = (
    "Units: kind bin = weight exp(U x) on {0,1}, pm = exp(U x) on {-1,+1}, g = exp(U x - V x^2/2) on the real "
    "line, tg = the same on [lo, hi], gb and tgb = (1-rho) delta(x) + rho times the weight of g and tg. Results "
    "are decimal strings of 32 digits, computed with 60; plain numbers are exact binary floats, the parameters. "
    "exact: by adding up the states of one layer and integrating over the other, where one has states to add up. "
    "tap2, nmf, tap3: fixed points of Alg. 1 with Eqs. 32-35, nmf without the W^2 terms (A = 0), tap3 with the "
    "terms of third order, sum W^3 kappa3 kappa3/6 of -F; a, c, B (without U), A (without V) per layer; mF = -F "
    "of Eq. 35 with normalised priors; TAP_lnZ_unnormalised (in nmf, tap3: their ln Z) = mF + sum of ln Z of the "
    "unit priors = -F with weights as they are; loglik_batch_mean = mean of Eq. 38 over X; grad = its derivatives "
    "(Eqs. 39-41) with this one solution, with respect to W and to U, V and rho of the layer that the first "
    "letter tells, v or h. init: 'prior' = (a^v = f_a(0,0), c^v = 0, a^h = 0), 'x=0' and 'x=1' the same from that "
    "a^v; damping d: new = d old + (1-d) update. scaling: W times scale, init 'prior'; tap_av, tap_ah, nmf_av, "
    "nmf_ah, tap3_av, tap3_ah are the fixed points' means. adatap: fixed points of "
    "adaptive TAP with the expectation-consistent ln Z and the covariances across W of its Gaussian."
)

Unit = sites.Unit
Vector = list[mpf]
Matrix = list[list[mpf]]


def float32(x: float) -> float:
    """The nearest single-precision number."""
    return float(struct.unpack("f", struct.pack("f", x))[0])


def mixed_machine() -> dict[str, Any]:
    """Parameters of the Binary visible, Spin hidden machine, for a file that has none yet."""
    rng = random.Random(20)
    vis = [{"kind": "bin", "U": float32(rng.gauss(0.0, 0.5))} for _ in range(5)]
    hid = [{"kind": "pm", "U": float32(rng.gauss(0.0, 0.3))} for _ in range(4)]
    W = [[float32(rng.gauss(0.0, 0.4)) for _ in range(4)] for _ in range(5)]
    X = [[float(rng.randrange(2)) for _ in range(5)] for _ in range(3)]
    return {"name": MIXED, "note": "Binary visible, Spin hidden", "W": W, "vis": vis, "hid": hid, "X": X}


def real_machine(seed: int, visible: str, hidden: str, nv: int, nh: int) -> dict[str, Any]:
    """Parameters of a machine with real-valued units, for a file that has none yet."""
    rng = random.Random(seed)
    vis, hid = ([random_unit(rng, kind) for _ in range(n)] for kind, n in ((visible, nv), (hidden, nh)))
    W = [[float32(rng.gauss(0.0, 0.4)) for _ in hid] for _ in vis]
    X = [[random_value(rng, unit) for unit in vis] for _ in range(4)]
    return {"name": f"{visible}-{hid[0]['kind']}{nv}x{nh}_0", "note": "", "W": W, "vis": vis, "hid": hid, "X": X}


def random_unit(rng: random.Random, kind: str) -> sites.Unit:
    """A unit of unlike parameters; a precision of either sign where the support is bounded."""
    names = {*sites.TRAINED[kind], *(("lo", "hi") if kind.startswith("t") else ())}
    values = {
        "rho": rng.uniform(0.2, 0.8),
        "U": rng.gauss(0.0, 0.5),
        "V": rng.uniform(-3.0, 4.0) if "lo" in names else rng.uniform(1.5, 4.0),
        "lo": rng.uniform(-1.5, 0.0),
        "hi": rng.uniform(0.5, 2.0),
    }
    return {"kind": kind} | {name: float32(value) for name, value in values.items() if name in names}


def random_value(rng: random.Random, unit: sites.Unit) -> float:
    """A value that the unit takes."""
    if unit["kind"] in sites.STATES:
        return float(rng.choice(sites.STATES[unit["kind"]]))
    if "rho" in unit and rng.random() < 0.5:
        return 0.0
    return float32(rng.uniform(unit["lo"], unit["hi"]) if "lo" in unit else rng.gauss(0.0, 0.8))


def new_machines() -> list[dict[str, Any]]:
    """Parameters of every machine that has a seed here; the others came with the first file."""
    return [mixed_machine(), *(real_machine(seed, *rest) for seed, *rest in REAL)]


def enumerate_exact(vis: list[Unit], hid: list[Unit], W: Matrix) -> dict[str, Any] | None:
    """ln Z and moments by adding up every state of one layer, given which units of the other are independent.

    None where neither layer's states can be added up.
    """
    if any(unit["kind"] not in sites.STATES for unit in hid):
        if any(unit["kind"] not in sites.STATES for unit in vis):
            return None
        listed, other, couplings = vis, hid, W
    else:
        listed, other, couplings = hid, vis, transpose(W)
    Z = mpf(0)
    one, two = [[mpf(0)] * len(listed), [mpf(0)] * len(other)], [[mpf(0)] * len(listed), [mpf(0)] * len(other)]
    across = [[mpf(0)] * len(other) for _ in listed]
    for x in itertools.product(*(sites.STATES[unit["kind"]] for unit in listed)):
        fields = [sum(row[i] * value for row, value in zip(couplings, x, strict=True)) for i in range(len(other))]
        given = [sites.of(unit, b, mpf(0)) for unit, b in zip(other, fields, strict=True)]
        weight = mp.exp(sum(mpf(u["U"]) * v for u, v in zip(listed, x, strict=True)) + sum(g.log_z for g in given))
        Z += weight
        for layer, values in enumerate(([(v, v**2) for v in x], [(g.mean, g.var + g.mean**2) for g in given])):
            one[layer] = [total + weight * v for total, (v, _) in zip(one[layer], values, strict=True)]
            two[layer] = [total + weight * v for total, (_, v) in zip(two[layer], values, strict=True)]
        for row, value in zip(across, x, strict=True):
            row[:] = [total + weight * value * g.mean for total, g in zip(row, given, strict=True)]
    if listed is hid:
        one, two, across = one[::-1], two[::-1], transpose(across)
    return {
        "lnZ": mp.log(Z),
        "mean_v": [x / Z for x in one[0]],
        "mean_v2": [x / Z for x in two[0]],
        "mean_h": [x / Z for x in one[1]],
        "mean_vh": [[x / Z for x in row] for row in across],
    }


def transpose(W: Matrix) -> Matrix:
    """Rows for columns."""
    return [list(column) for column in zip(*W, strict=True)]


def fields(
    W: Matrix, units: tuple[list[Unit], list[Unit]], a_own: Vector, a: Vector, c: Vector, order: int
) -> tuple[Vector, Vector]:
    """(B, A) of the layer that W's rows belong to, from the other layer's means and variances (Eqs. 32-34).

    `units`: of this layer and of the other one. Third order adds kappa3'(a) sum W^3 kappa3 / 6 to B, unless all
    variances are zero.
    """
    A = [-sum(w**2 * x for w, x in zip(row, c, strict=True)) if order > 1 else mpf(0) for row in W]
    B = [p * own + sum(w * x for w, x in zip(row, a, strict=True)) for p, own, row in zip(A, a_own, W, strict=True)]
    if order > 2 and any(c):
        thirds = [sites.third(u, x)[0] for u, x in zip(units[1], a, strict=True)]
        for i, (u, own, row) in enumerate(zip(units[0], a_own, W, strict=True)):
            B[i] += sites.third(u, own)[1] * sum(w**3 * t for w, t in zip(row, thirds, strict=True)) / 6
    return B, A


def fixed_point(vis: list[Unit], hid: list[Unit], W: Matrix, init: str, damping: mpf, order: int) -> dict[str, Vector]:
    """Alg. 1, hidden side first, until nothing moves; order 2 is TAP, 1 naive mean field, 3 third order."""
    start = {"prior": lambda u: moments(u, mpf(0), mpf(0))[0], "x=0": lambda u: mpf(0), "x=1": lambda u: mpf(1)}[init]
    Wt = transpose(W)
    av, cv = [start(unit) for unit in vis], [mpf(0)] * len(vis)
    ah, ch = [mpf(0)] * len(hid), [mpf(0)] * len(hid)
    d = mpf(0)  # the first hidden update has nothing to be mixed with
    for _ in range(MAX_SWEEPS):
        before = [*av, *cv, *ah, *ch]
        new = [moments(u, B, A) for u, B, A in zip(hid, *fields(Wt, (hid, vis), ah, av, cv, order), strict=True)]
        ah, ch = mixed(ah, [a for a, _ in new], d), mixed(ch, [c for _, c in new], d)
        d = damping
        new = [moments(u, B, A) for u, B, A in zip(vis, *fields(W, (vis, hid), av, ah, ch, order), strict=True)]
        av, cv = mixed(av, [a for a, _ in new], d), mixed(cv, [c for _, c in new], d)
        if max(abs(p - q) for p, q in zip(before, [*av, *cv, *ah, *ch], strict=True)) < CONVERGED:
            Bv, Av = fields(W, (vis, hid), av, ah, ch, order)
            Bh, Ah = fields(Wt, (hid, vis), ah, av, cv, order)
            return {"av": av, "cv": cv, "ah": ah, "ch": ch, "Av": Av, "Bv": Bv, "Ah": Ah, "Bh": Bh}
    raise RuntimeError(f"no fixed point from {init} with damping {damping}")


def minus_free_energy(vis: list[Unit], hid: list[Unit], W: Matrix, s: dict[str, Vector], order: int) -> mpf:
    """Eq. 35; third order adds sum W^3 kappa3 kappa3 / 6."""
    total = mpf(0)
    for units, side in ((vis, "v"), (hid, "h")):
        columns = (s[name + side] for name in "acAB")
        for unit, a, c, A, B in zip(units, *columns, strict=True):
            total += log_z(unit, B, A) - B * a + A * (a**2 + c) / 2
    for i, j in itertools.product(range(len(vis)), range(len(hid))):
        total += W[i][j] * s["av"][i] * s["ah"][j]
        if order > 1:
            total += W[i][j] ** 2 * s["cv"][i] * s["ch"][j] / 2
        if order > 2:
            total += W[i][j] ** 3 * sites.third(vis[i], s["av"][i])[0] * sites.third(hid[j], s["ah"][j])[0] / 6
    return total


def solution(machine: dict[str, Any], W: Matrix, init: str, damping: str, order: int) -> dict[str, Any]:
    """One fixed point with its free energy, the batch's mean log-likelihood (Eq. 38) and gradient (Eqs. 39-41)."""
    vis, hid = machine["vis"], machine["hid"]
    X = [[mpf(x) for x in row] for row in machine["X"]]
    s = fixed_point(vis, hid, W, init, mpf(damping), order)
    mF = minus_free_energy(vis, hid, W, s, order)
    priors = sum(log_z(unit, mpf(0), mpf(0)) for unit in vis + hid)
    pairs = list(itertools.product(range(len(vis)), range(len(hid))))
    loglik = -mF
    data_vh = [[mpf(0)] * len(hid) for _ in vis]
    data: list[list[Vector]] = [[[mpf(0)] * 3 for _ in units] for units in (vis, hid)]  # of x, x^2, 1[x != 0]
    for x in X:
        B = [sum(W[i][j] * x[i] for i in range(len(vis))) for j in range(len(hid))]
        given = [sites.of(unit, b, mpf(0)) for unit, b in zip(hid, B, strict=True)]
        loglik += sum(sites.log_weight(unit, value) for unit, value in zip(vis, x, strict=True)) / len(X)
        loglik += sum(site.log_z for site in given) / len(X)
        seen = [[(v, v**2, mpf(v != 0)) for v in x], [(g.mean, g.var + g.mean**2, g.nonzero) for g in given]]
        for total, terms in zip([*data[0], *data[1]], [*seen[0], *seen[1]], strict=True):
            total[:] = [p + q / len(X) for p, q in zip(total, terms, strict=True)]
        for i, j in pairs:
            data_vh[i][j] += x[i] * given[j].mean / len(X)
    for i, j in pairs:
        data_vh[i][j] -= s["av"][i] * s["ah"][j] + (W[i][j] * s["cv"][i] * s["ch"][j] if order > 1 else 0)
        if order > 2:
            thirds = sites.third(vis[i], s["av"][i])[0] * sites.third(hid[j], s["ah"][j])[0]
            data_vh[i][j] -= W[i][j] ** 2 * thirds / 2
    return {
        **s,
        "mF": mF - priors,
        "init": init,
        "damping": damping,
        "TAP_lnZ_unnormalised": mF,
        "loglik_batch_mean": loglik,
        "grad": {"W": data_vh, **unit_gradient("v", vis, data[0], s), **unit_gradient("h", hid, data[1], s)},
    }


def unit_gradient(side: str, units: list[Unit], data: list[Vector], s: dict[str, Vector]) -> dict[str, Vector]:
    """Eqs. 40 and 41 of one layer, under the parameters' names with the side before them."""
    gradient: dict[str, Vector] = {}
    for unit, seen, a, c, B, A in zip(units, data, *(s[name + side] for name in "acBA"), strict=True):
        model = sites.slopes(unit, a, c + a**2, sites.of(unit, B, A).nonzero)
        for name, slope in sites.slopes(unit, *seen).items():
            gradient.setdefault(side + name, []).append(slope - model[name])
    return gradient


def scaling(machine: dict[str, Any], W: Matrix) -> list[dict[str, Any]]:
    """Exact, TAP and naive mean-field ln Z as all weights shrink."""
    rows = []
    for scale in SCALES:
        small = [[mpf(scale) * w for w in row] for row in W]
        exact = enumerate_exact(machine["vis"], machine["hid"], small)
        assert exact is not None
        row: dict[str, Any] = {"scale": scale, "exact_lnZ": exact["lnZ"]}
        for method, order in (("tap", 2), ("nmf", 1), *((("tap3", 3),) if skewness_known(machine) else ())):
            s = solution(machine, small, "prior", "0", order)
            row |= {f"{method}_lnZ": s["TAP_lnZ_unnormalised"], f"{method}_av": s["av"], f"{method}_ah": s["ah"]}
        rows.append(row)
    return rows


def skewness_known(machine: dict[str, Any]) -> bool:
    """Whether the third cumulant of every unit is a function of its mean."""
    return all(sites.third(unit, mpf(0)) is not None for unit in machine["vis"] + machine["hid"])


def remake(machine: dict[str, Any]) -> dict[str, Any]:
    """The machine's entry of the file, every result recomputed; results are mpf."""
    W = [[mpf(w) for w in row] for row in machine["W"]]
    priors = sum(log_z(unit, mpf(0), mpf(0)) for unit in machine["vis"] + machine["hid"])
    exact = enumerate_exact(machine["vis"], machine["hid"], W)
    starts = [(entry["init"], entry["damping"]) for entry in machine.get("tap2", [{"init": "prior", "damping": "0"}])]
    entry = {key: machine[key] for key in ("name", "note", "W", "vis", "hid", "X")}
    entry["sum_lnZ_priors"] = priors
    if exact is not None:
        ln_z = exact.pop("lnZ")
        entry["exact"] = {"lnZ_unnormalised": ln_z, "lnZ_normalised_priors": ln_z - priors, **exact}
    entry["tap2"] = [solution(machine, W, *start, order=2) for start in starts]
    entry["nmf"] = [solution(machine, W, *start, order=1) for start in starts]
    if skewness_known(machine):
        entry["tap3"] = [solution(machine, W, *start, order=3) for start in starts]
    adaptives = [adaptive(machine, W, init, mpf("0.4")) for init, _ in starts]
    if all(point is not None for point in adaptives):
        entry["adatap"] = adaptives
    if machine["name"] in SCALED:
        entry["scaling"] = scaling(machine, W)
    return entry


def written(value: Any) -> Any:
    """The value as it goes into the file: results as strings."""
    if isinstance(value, dict):
        return {key: written(item) for key, item in value.items()}
    if isinstance(value, list):
        return [written(item) for item in value]
    if isinstance(value, mpf):
        return "0" if value == 0 else mp.nstr(value, WRITTEN_DIGITS, strip_zeros=False)
    return value


def layout(value: Any, indent: int = 0) -> str:
    """JSON with one level a space, and whatever is short or a list of plain values on one line."""
    flat = json.dumps(value)
    nested = isinstance(value, dict) or (
        isinstance(value, list) and any(isinstance(item, (dict, list)) for item in value)
    )
    if len(flat) <= 110 or not nested:
        return flat
    if isinstance(value, dict):
        opening, closing = "{}"
        items = [f"{json.dumps(key)}: {layout(item, indent + 1)}" for key, item in value.items()]
    else:
        opening, closing = "[]"
        items = [layout(item, indent + 1) for item in value]
    inner = "\n" + " " * (indent + 1)
    return opening + inner + f",{inner}".join(items) + "\n" + " " * indent + closing


def mismatches(stored: Any, made: Any, where: str) -> list[str]:
    """Where the stored values differ from the recomputed ones by more than 28 digits allow."""
    if isinstance(made, dict):
        if not isinstance(stored, dict) or stored.keys() != made.keys():
            return [f"{where}: other keys than {sorted(made)}"]
        return [line for key in made for line in mismatches(stored[key], made[key], f"{where}/{key}")]
    if isinstance(made, list):
        if not isinstance(stored, list) or len(stored) != len(made):
            return [f"{where}: not a list of {len(made)}"]
        return [line for i, item in enumerate(made) for line in mismatches(stored[i], item, f"{where}/{i}")]
    if isinstance(made, mpf):
        allowed = abs(made) * mpf(10) ** -CHECKED_DIGITS + NOTHING
        same = isinstance(stored, str) and abs(mpf(stored) - made) <= allowed
        return [] if same else [f"{where}: stored {stored}, recomputed {mp.nstr(made, WRITTEN_DIGITS)}"]
    return [] if stored == made else [f"{where}: stored {stored}, expected {made}"]


def main(arguments: list[str] | None = None) -> int:
    """Run the command line; the exit status."""
    parser = argparse.ArgumentParser(description="Remake or check the certified values of small machines.")
    parser.add_argument("--check", action="store_true", help="compare with the file instead of writing it")
    parser.add_argument("--only", metavar="NAME", help="with --check: this machine alone")
    parser.add_argument("--file", type=Path, default=PATH, help="another file of the same layout")
    options = parser.parse_args(arguments)
    if options.only and not options.check:
        parser.error("--only goes with --check: a file is always written whole")
    machines = json.loads(options.file.read_text())["models"]
    if options.only:
        machines = [machine for machine in machines if machine["name"] == options.only]
        if not machines:
            parser.error(f"no machine named {options.only} in {options.file.name}")
    elif not options.check:
        known = {machine["name"] for machine in machines}
        machines += [machine for machine in new_machines() if machine["name"] not in known]
    with mp.workdps(WORKING_DIGITS):
        made = [remake(machine) for machine in machines]
        if options.check:
            pairs = zip(machines, made, strict=True)
            wrong = [line for stored, new in pairs for line in mismatches(stored, new, new["name"])]
            print("\n".join(wrong) or f"{len(made)} machines agree to {CHECKED_DIGITS} digits")
            return 1 if wrong else 0
        options.file.write_text(layout({"format": FORMAT, "models": written(made)}) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
