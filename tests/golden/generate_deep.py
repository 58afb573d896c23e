"""Remake deep.json, the certified values of three small deep machines, in 50-digit arithmetic.

    python tests/golden/generate_deep.py             recompute every value and write the file
    python tests/golden/generate_deep.py --check     recompute and compare with the file, to 28 digits

Names, layers, weights and data are data, read from the file itself; numbers written as decimal strings are results.
"""

from __future__ import annotations

import argparse
import itertools
import json
import sys
from pathlib import Path
from typing import Any

import sites
from mpmath import mp, mpf

PATH = Path(__file__).with_name("deep.json")
WORKING_DIGITS, WRITTEN_DIGITS, CHECKED_DIGITS = 50, 32, 28
CONVERGED, NOTHING = mpf(10) ** -43, mpf(10) ** -28
MAX_SWEEPS = 20_000

FORMAT = (
    "layers[l]: one dict of kind and parameters per unit, layer 0 visible, kinds as in models.json; weights[l][i][j] "
    "couples unit i of layer l and unit j of layer l+1; data: samples x. These are exact binary floats, all else "
    "decimal strings of 32 digits. Weights are unnormalised. exact: ln Z, means and variances by adding up all hidden "
    "states. "
    "tap: a, c, B, A (without U and V) of all layers and mF = -F (Eq. 35). clamped: the same for each sample, layers "
    "from 1 on, the visible one held at a = x, c = 0, and without ln of its weight, which is log_weight_x; tap_loglik "
    "= log_weight_x + clamped mF - tap mF, and exact_* the same with the sum over hidden states done exactly. grad: "
    "derivatives of the mean of tap_loglik over the samples (E5-E8): W, U of every layer, V and rho of layer 0."
)

Machine = dict[str, Any]
Vector = list[mpf]


def neighbours(machine: Machine, layer: int) -> list[tuple[int, Any]]:
    """Neighbouring layers, with couplings whose rows are the layer's units."""
    W = [[[mpf(w) for w in row] for row in matrix] for matrix in machine["weights"]]
    below = [] if layer == 0 else [(layer - 1, [list(column) for column in zip(*W[layer - 1], strict=True)])]
    return below + ([] if layer == len(W) else [(layer + 1, W[layer])])


def fields(machine: Machine, layer: int, a: list[Vector], c: list[Vector]) -> tuple[Vector, Vector]:
    """B and A of a layer (Eqs. 32, 33)."""
    B, A = [], []
    for i in range(len(a[layer])):
        around = neighbours(machine, layer)
        p = -sum(w**2 * v for other, W in around for w, v in zip(W[i], c[other], strict=True))
        A.append(p)
        B.append(p * a[layer][i] + sum(w * m for other, W in around for w, m in zip(W[i], a[other], strict=True)))
    return B, A


def solution(machine: Machine, x: Vector | None) -> dict[str, Any]:
    """The fixed point, with the visible layer held at x unless that is None."""
    layers = machine["layers"]
    start = [[sites.moments(u, mpf(0), mpf(0)) for u in layer] for layer in layers]
    a, c = ([[m[k] for m in layer] for layer in start] for k in (0, 1))
    free = range(len(layers)) if x is None else range(1, len(layers))
    if x is not None:
        a[0], c[0] = list(x), [mpf(0)] * len(x)
    for _ in range(MAX_SWEEPS):
        moved = mpf(0)
        for layer in [i for parity in (1, 0) for i in free if i % 2 == parity]:
            pairs = zip(layers[layer], *fields(machine, layer, a, c), strict=True)
            new = [sites.moments(u, b, p) for u, b, p in pairs]
            for i, (mean, var) in enumerate(new):
                moved = max(moved, abs(mean - a[layer][i]), abs(var - c[layer][i]))
                a[layer][i], c[layer][i] = mean, var
        if moved < CONVERGED:
            break
    else:
        raise RuntimeError("no fixed point")
    both = [fields(machine, layer, a, c) for layer in range(len(layers))]
    mF = mpf(0)
    for layer in free:
        for u, b, p, m, v in zip(layers[layer], *both[layer], a[layer], c[layer], strict=True):
            mF += sites.log_z(u, b, p) - b * m + p * (m**2 + v) / 2
    for lower, W in enumerate(machine["weights"]):
        for i, j in itertools.product(range(len(a[lower])), range(len(a[lower + 1]))):
            w = mpf(W[i][j])
            mF += w * a[lower][i] * a[lower + 1][j] + w**2 * c[lower][i] * c[lower + 1][j] / 2
    return {"a": a, "c": c, "B": [b for b, _ in both], "A": [p for _, p in both], "mF": mF}


def enumerated(machine: Machine, x: Vector | None) -> tuple[mpf, list[Vector], list[Vector]]:
    """ln Z, means and mean squares of all layers, all hidden layers having states; visible units held at x, or not."""
    layers = machine["layers"]
    hidden = [u for layer in layers[1:] for u in layer]
    total, one = mpf(0), [[mpf(0)] * len(layer) for layer in layers]
    two = [[mpf(0)] * len(layer) for layer in layers]
    for flat in itertools.product(*(sites.STATES[u["kind"]] for u in hidden)):
        values, rest = [], list(map(mpf, flat))
        for layer in layers[1:]:
            values.append(rest[: len(layer)])
            rest = rest[len(layer) :]
        log = sum(mpf(u["U"]) * v for u, v in zip(hidden, flat, strict=True))
        for W, below, above in zip(machine["weights"][1:], values, values[1:], strict=False):
            log += sum(mpf(W[i][j]) * v * w for (i, v), (j, w) in itertools.product(enumerate(below), enumerate(above)))
        push = [sum(mpf(w) * v for w, v in zip(row, values[0], strict=True)) for row in machine["weights"][0]]
        if x is None:
            given = [sites.of(u, b, mpf(0)) for u, b in zip(layers[0], push, strict=True)]
            weight = mp.exp(log + sum(g.log_z for g in given))
            seen = [[(g.mean, g.var + g.mean**2) for g in given]]
        else:
            weight = mp.exp(log + sum(b * v for b, v in zip(push, x, strict=True)))
            seen = [[(v, v**2) for v in x]]
        seen += [[(v, v**2) for v in layer] for layer in values]
        total += weight
        for layer, moments in enumerate(seen):
            for i, (mean, square) in enumerate(moments):
                one[layer][i] += weight * mean
                two[layer][i] += weight * square
    return mp.log(total), [[v / total for v in s] for s in one], [[v / total for v in s] for s in two]


def gradient(machine: Machine, X: list[Vector], free: dict[str, Any], clamped: list[dict[str, Any]]) -> dict[str, Any]:
    """E5-E8 with this one free solution."""
    grad: dict[str, Any] = {"W": [], "U": [], "V": [], "rho": []}
    for lower, W in enumerate(machine["weights"]):
        rows = []
        for i in range(len(W)):
            row = []
            for j in range(len(W[0])):
                term = [
                    s["a"][lower][i] * s["a"][lower + 1][j] + mpf(W[i][j]) * s["c"][lower][i] * s["c"][lower + 1][j]
                    for s in (free, *clamped)
                ]
                row.append(sum(term[1:]) / len(X) - term[0])
            rows.append(row)
        grad["W"].append(rows)
    for layer, units in enumerate(machine["layers"]):
        grad["U"].append([
            sum(s["a"][layer][i] for s in clamped) / len(X) - free["a"][layer][i] for i in range(len(units))
        ])  # fmt: skip
    for i, unit in enumerate(machine["layers"][0]):
        b, p, a, c = (free[key][0][i] for key in "BAac")
        model = sites.slopes(unit, a, c + a**2, sites.of(unit, b, p).nonzero)
        data = [sites.slopes(unit, x[i], x[i] ** 2, mpf(x[i] != 0)) for x in X]
        for name in ("V", "rho"):
            if name in model:
                grad[name].append(sum(d[name] for d in data) / len(X) - model[name])
    return grad


def remade(machine: Machine) -> Machine:
    """Parameters, and everything computed anew."""
    X = [[mpf(v) for v in x] for x in machine["data"]]
    log_z, one, two = enumerated(machine, None)
    free, clamped = solution(machine, None), [solution(machine, x) for x in X]
    entries, exact = [], []
    for x, s in zip(X, clamped, strict=True):
        weight = sum(sites.log_weight(u, v) for u, v in zip(machine["layers"][0], x, strict=True))
        exact_log_z, means, _ = enumerated(machine, x)
        exact.append(weight + exact_log_z - log_z)
        entries.append({
            **{key: s[key][1:] for key in "acBA"}, "mF": s["mF"], "log_weight_x": weight,
            "tap_loglik": weight + s["mF"] - free["mF"], "exact_lnZ": exact_log_z, "exact_mean": means[1:],
            "exact_loglik": exact[-1],
        })  # fmt: skip
    variances = [[q - m**2 for m, q in zip(*pair, strict=True)] for pair in zip(one, two, strict=True)]
    return {
        **{key: machine[key] for key in ("name", "layers", "weights", "data")},
        "exact": {"lnZ": log_z, "mean": one, "var": variances}, "tap": free, "clamped": entries,
        "tap_loglik_mean": sum(e["tap_loglik"] for e in entries) / len(X), "exact_loglik_mean": sum(exact) / len(X),
        "grad": gradient(machine, X, free, clamped),
    }  # fmt: skip


def written(value: Any) -> Any:
    """Results as decimal strings."""
    if isinstance(value, mpf):
        return "0" if value == 0 else mp.nstr(value, WRITTEN_DIGITS, strip_zeros=False)
    if isinstance(value, dict):
        return {key: written(x) for key, x in value.items()}
    return [written(x) for x in value] if isinstance(value, list) else value


def differences(new: Any, old: Any, where: str = "") -> list[str]:
    """Where two versions differ by more than rounding."""
    if isinstance(new, dict):
        return [d for key in new for d in differences(new[key], old[key], f"{where}.{key}")]
    if isinstance(new, list):
        if len(new) != len(old):
            return [f"{where}: {len(new)} entries against {len(old)}"]
        return [d for i, pair in enumerate(zip(new, old, strict=True)) for d in differences(*pair, f"{where}[{i}]")]
    if isinstance(new, mpf):
        error = abs(new - mpf(old))
        close = error <= NOTHING or error <= mpf(10) ** -CHECKED_DIGITS * abs(new)
        return [] if close else [f"{where}: {mp.nstr(new, 20)} against {old}"]
    return [] if new == old else [f"{where}: {new!r} against {old!r}"]


def main() -> int:
    """Remake or check the file."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--check", action="store_true")
    options = parser.parse_args()
    mp.dps = WORKING_DIGITS
    old = json.loads(PATH.read_text(encoding="utf-8"))["models"]
    new = [remade(machine) for machine in old]
    if options.check:
        found = [d for a, b in zip(new, old, strict=True) for d in differences(a, b, a["name"])]
        print("\n".join(found) or "every value agrees")
        return int(bool(found))
    PATH.write_text(json.dumps({"format": FORMAT, "models": written(new)}, indent=1) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
