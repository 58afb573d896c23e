"""Remake units2.json, certified values of categorical, ordinal and half-line units, in 60-digit arithmetic.

    python tests/golden/generate_units2.py             recompute every value and write the file
    python tests/golden/generate_units2.py --check     recompute and compare with the file, to 28 digits

Parameters, weights and data are read from the file itself; all numbers written as decimal strings are results. The
file's `format` key explains the rest.
"""

from __future__ import annotations

import argparse
import itertools
import json
import sys
from pathlib import Path
from typing import Any

from mpmath import mp, mpf

PATH = Path(__file__).with_name("units2.json")
WORKING_DIGITS, WRITTEN_DIGITS, CHECKED_DIGITS = 60, 32, 28
CONVERGED = mpf(10) ** -50

ORDERS = {"nmf": 1, "tap": 2}
# Facts of how the file was made first: how long iterations took, how far differences are from gradients.
CARRIED = ("iterations", "gradient_fd_deviation")

Unit = dict[str, Any]
Vector = list[mpf]


def half_line(s: mpf, b: mpf) -> tuple[mpf, mpf, mpf]:
    """Integral, mean and variance of exp(-s x^2/2 + b x) on x >= 0."""
    with mp.workdps(2 * mp.dps):
        root = mp.sqrt(s)
        integral = mp.sqrt(mp.pi / 2) / root * mp.exp(b * b / (2 * s)) * mp.erfc(-b / (root * mp.sqrt(2)))
        mean = (b + 1 / integral) / s  # by parts
        square = (b * mean + 1) / s
        return +integral, +mean, square - mean**2


def interval(s: mpf, b: mpf, lo: mpf, hi: mpf) -> tuple[mpf, mpf, mpf]:
    """The same on [lo, hi]."""
    with mp.workdps(2 * mp.dps):
        h_lo, h_hi = (mp.sqrt(s / 2) * (x - b / s) for x in (lo, hi))
        integral = mp.sqrt(mp.pi / (2 * s)) * mp.exp(b**2 / (2 * s)) * (mp.erf(h_hi) - mp.erf(h_lo))
        f_lo, f_hi = (mp.exp(b * x - s * x**2 / 2) for x in (lo, hi))
        mean = (b - (f_hi - f_lo) / integral) / s
        square = (1 + b * mean - (hi * f_hi - lo * f_lo) / integral) / s
        return +integral, +mean, square - mean**2


def law(unit: Unit, B: mpf, A: mpf) -> tuple[mpf, mpf, mpf]:
    """(ln Z, mean, variance) of a unit of one column."""
    kind = unit["kind"]
    if kind in ("bin", "pm", "ord"):
        values = {"bin": (0, 1), "pm": (-1, 1)}.get(kind) or unit["values"]
        logs = [log_weight(unit, mpf(x)) + B * x - A * mpf(x) ** 2 / 2 for x in map(mpf, values)]
        Z = mp.fsum(map(mp.exp, logs))
        p = [mp.exp(log) / Z for log in logs]
        mean = mp.fsum(w * x for w, x in zip(p, values, strict=True))
        return mp.log(Z), mean, mp.fsum(w * (x - mean) ** 2 for w, x in zip(p, values, strict=True))
    if kind == "drelu":
        right = half_line(A + mpf(unit["Vp"]), B + mpf(unit["Up"]))
        left = half_line(A + mpf(unit["Vn"]), -B - mpf(unit["Un"]))
        Z = right[0] + left[0]
        p, q = right[0] / Z, left[0] / Z
        return mp.log(Z), p * right[1] - q * left[1], p * right[2] + q * left[2] + p * q * (right[1] + left[1]) ** 2
    s, b = A + mpf(unit["V"]), B + mpf(unit["U"])
    Z, mean, var = half_line(s, b) if kind == "relu" else interval(s, b, mpf(unit["lo"]), mpf(unit["hi"]))
    return mp.log(Z), mean, var


def log_weight(unit: Unit, x: mpf) -> mpf:
    """Ln of the weight of a value."""
    kind = unit["kind"]
    if kind == "ord":
        return mpf(unit["U"][[mpf(v) for v in unit["values"]].index(x)])
    return mpf(unit["U"]) * x


class Machine:
    """A machine of the file: sites of the visible layer with their columns, hidden units of one column."""

    def __init__(self, said: dict[str, Any]) -> None:
        self.hidden, self.sites, first = said["hidden"], [], 0
        for unit in said["visible"]:
            wide = len(unit["U"]) if unit["kind"] == "cat" else 1
            self.sites.append((unit, range(first, first + wide)))
            first += wide
        self.W = [[mpf(w) for w in row] for row in said["weights"]]
        self.data = [[mpf(x) for x in row] for row in said["data"]]

    def received(self, x: Vector, j: int) -> mpf:
        """What hidden unit j receives."""
        return mp.fsum(v * row[j] for v, row in zip(x, self.W, strict=True))

    def log_visible(self, x: Vector) -> mpf:
        """Ln of the weights of a row."""
        total = mpf(0)
        for unit, columns in self.sites:
            if unit["kind"] == "cat":
                total += mp.fsum(mpf(u) * x[k] for u, k in zip(unit["U"], columns, strict=True))
            else:
                total += log_weight(unit, x[columns[0]])
        return total

    def log_row(self, x: Vector) -> mpf:
        """Ln of the weight of a row, hidden units summed out."""
        logs = [law(unit, self.received(x, j), mpf(0))[0] for j, unit in enumerate(self.hidden)]
        return self.log_visible(x) + mp.fsum(logs)

    def rows(self) -> list[Vector]:
        """All states of the visible layer."""
        choices: list[list[Vector]] = []
        for unit, columns in self.sites:
            if unit["kind"] == "cat":
                choices.append([[mpf(a == b) for b in range(len(columns))] for a in range(len(columns))])
            else:
                choices.append([[mpf(x)] for x in ((0, 1) if unit["kind"] == "bin" else unit["values"])])
        return [[x for part in chosen for x in part] for chosen in itertools.product(*choices)]

    def exact(self) -> dict[str, Any]:
        """By adding up all rows."""
        rows = self.rows()
        logs = [self.log_row(x) for x in rows]
        Z = mp.fsum(map(mp.exp, logs))
        p = [mp.exp(log) / Z for log in logs]
        visible = [mp.fsum(w * x[k] for w, x in zip(p, rows, strict=True)) for k in range(len(self.W))]
        hidden = [
            mp.fsum(w * law(unit, self.received(x, j), mpf(0))[1] for w, x in zip(p, rows, strict=True))
            for j, unit in enumerate(self.hidden)
        ]
        return {"lnZ": mp.log(Z), "mean_visible": visible, "mean_hidden": hidden}


class Point:
    """A fixed point of the equations, and what is known there."""

    def __init__(self, machine: Machine, order: int) -> None:
        self.machine, self.order, n, m = machine, order, len(machine.W), len(machine.hidden)
        self.a, self.c = list(machine.data[0]), [mpf(0)] * n
        self.h, self.d, self.B, self.A = ([mpf(0)] * m for _ in range(4))
        self.varied = False
        change, damping = mpf(1), mpf(0)
        while change > CONVERGED:
            before = [*self.a, *self.h]
            self._hidden(damping)
            damping = mpf(1) / 2
            self._visible(damping)
            change = max(abs(x - y) for x, y in zip(before, [*self.a, *self.h], strict=True))

    def _sent(self, columns: range, j: int) -> tuple[mpf, mpf]:
        """Mean and variance of what a site sends to hidden unit j."""
        W = [self.machine.W[k][j] for k in columns]
        if len(columns) == 1:
            return W[0] * self.a[columns[0]], W[0] ** 2 * self.c[columns[0]]
        u = mp.fsum(w * self.a[k] for w, k in zip(W, columns, strict=True))
        square = mp.fsum(w * w * self.a[k] for w, k in zip(W, columns, strict=True))
        return u, square - u * u if self.varied else mpf(0)

    def _hidden(self, damping: mpf) -> None:
        for j, unit in enumerate(self.machine.hidden):
            sent = [self._sent(columns, j) for _, columns in self.machine.sites]
            A = -mp.fsum(v for _, v in sent) if self.order > 1 else mpf(0)
            self.A[j], self.B[j] = A, A * self.h[j] + mp.fsum(u for u, _ in sent)
            _, mean, var = law(unit, self.B[j], A)
            self.h[j], self.d[j] = (damping * x + (1 - damping) * y for x, y in ((self.h[j], mean), (self.d[j], var)))

    def _visible(self, damping: mpf) -> None:
        W, second = self.machine.W, self.order > 1
        for unit, columns in self.machine.sites:
            if unit["kind"] != "cat":
                (i,) = columns
                A = -mp.fsum(w * w * d for w, d in zip(W[i], self.d, strict=True)) if second else mpf(0)
                B = A * self.a[i] + mp.fsum(w * h for w, h in zip(W[i], self.h, strict=True))
                _, mean, var = law(unit, B, A)
                self.a[i] = damping * self.a[i] + (1 - damping) * mean
                self.c[i] = damping * self.c[i] + (1 - damping) * var
                continue
            u = [self._sent(columns, j)[0] for j in range(len(self.h))]
            logs = []
            for U, k in zip(unit["U"], columns, strict=True):
                log = mpf(U) + mp.fsum(w * h for w, h in zip(W[k], self.h, strict=True))
                if second and self.varied:
                    log += mp.fsum(d * (w * w / 2 - w * x) for d, w, x in zip(self.d, W[k], u, strict=True))
                elif second:  # a site without variances, as at the start, sends none and receives none of its own
                    log += mp.fsum(d * w * w / 2 for d, w in zip(self.d, W[k], strict=True))
                logs.append(log)
            total = mp.fsum(map(mp.exp, logs))
            for k, log in zip(columns, logs, strict=True):
                self.a[k] = damping * self.a[k] + (1 - damping) * mp.exp(log) / total
        self.varied = True

    def minus_free_energy(self) -> mpf:
        """Estimate of ln Z."""
        W, total = self.machine.W, mpf(0)
        for unit, columns in self.machine.sites:
            if unit["kind"] == "cat":
                total += mp.fsum(
                    self.a[k] * (mpf(U) - mp.log(self.a[k])) for U, k in zip(unit["U"], columns, strict=True)
                )
                continue
            (i,) = columns
            A = -mp.fsum(w * w * d for w, d in zip(W[i], self.d, strict=True)) if self.order > 1 else mpf(0)
            B = A * self.a[i] + mp.fsum(w * h for w, h in zip(W[i], self.h, strict=True))
            total += law(unit, B, A)[0] - B * self.a[i] + A * (self.a[i] ** 2 + self.c[i]) / 2
        for j, unit in enumerate(self.machine.hidden):
            B, A = self.B[j], self.A[j]
            total += law(unit, B, A)[0] - B * self.h[j] + A * (self.h[j] ** 2 + self.d[j]) / 2
            for _, columns in self.machine.sites:
                u, v = self._sent(columns, j)
                total += u * self.h[j] + (v * self.d[j] / 2 if self.order > 1 else 0)
        return total

    def gradient(self) -> list[Vector]:
        """Of the mean log-likelihood of the data, with this solution."""
        machine, second = self.machine, self.order > 1
        made = [[mpf(0)] * len(self.h) for _ in machine.W]
        for x in machine.data:
            f = [law(unit, machine.received(x, j), mpf(0))[1] for j, unit in enumerate(machine.hidden)]
            for k, j in itertools.product(range(len(x)), range(len(f))):
                made[k][j] += x[k] * f[j] / len(machine.data)
        for _, columns in machine.sites:
            for k, j in itertools.product(columns, range(len(self.h))):
                made[k][j] -= self.a[k] * self.h[j]
                if second and len(columns) == 1:
                    made[k][j] -= machine.W[k][j] * self.c[k] * self.d[j]
                elif second:
                    made[k][j] -= self.d[j] * self.a[k] * (machine.W[k][j] - self._sent(columns, j)[0])
        return made

    def results(self) -> dict[str, Any]:
        """As the file has them."""
        F = -self.minus_free_energy()
        likelihoods = [self.machine.log_row(x) + F for x in self.machine.data]
        found = {
            "mean_visible": self.a, "mean_hidden": self.h, "var_hidden": self.d, "free_energy": F,
            "log_likelihood": likelihoods, "gradient_W": self.gradient(),
        }  # fmt: skip
        if any(unit["kind"] != "cat" for unit, _ in self.machine.sites):
            columns = [k for unit, own in self.machine.sites if unit["kind"] != "cat" for k in own]
            found["var_visible"] = [
                c if k in columns else a * (1 - a) for k, (a, c) in enumerate(zip(self.a, self.c, strict=True))
            ]
        return found


def written(x: Any) -> Any:
    """Numbers as decimal strings."""
    return [written(y) for y in x] if isinstance(x, list) else mp.nstr(x, WRITTEN_DIGITS)


def remade(said: dict[str, Any]) -> dict[str, Any]:
    """The file's contents, with results computed anew."""
    made: dict[str, Any] = {"format": said["format"], "models": [], "double_relu_points": []}
    for given in said["models"]:
        machine = Machine(given)
        own = {**given, "exact": {k: written(v) for k, v in machine.exact().items()}}
        for method, order in ORDERS.items():
            found = {k: written(v) for k, v in Point(machine, order).results().items()}
            own[method] = found | {name: given[method][name] for name in CARRIED}
        made["models"].append(own)
        print(given["name"])
    for point in said["double_relu_points"]:
        found = map(written, law(point["unit"], mpf(point["B"]), mpf(point["A"])))
        made["double_relu_points"].append({**point, **dict(zip(("lnZ", "mean", "var"), found, strict=True))})
    return made


def differences(a: Any, b: Any, where: str = "") -> list[str]:
    """Where two files differ, decimal strings by more than the last digits."""
    if isinstance(a, dict) and isinstance(b, dict):
        if a.keys() != b.keys():
            return [f"{where}: {sorted(a.keys() ^ b.keys())}"]
        return [line for key in a for line in differences(a[key], b[key], f"{where}/{key}")]
    if isinstance(a, list) and isinstance(b, list) and len(a) == len(b):
        return [line for k, (x, y) in enumerate(zip(a, b, strict=True)) for line in differences(x, y, f"{where}/{k}")]
    if (
        isinstance(a, str)
        and isinstance(b, str)
        and a != b
        and not where.endswith((*CARRIED, "kind", "format", "name"))
    ):
        x, y = mpf(a), mpf(b)
        close = abs(x - y) <= max(mpf(10) ** -CHECKED_DIGITS * max(abs(x), abs(y)), mpf(10) ** -CHECKED_DIGITS)
        return [] if close else [f"{where}: {a} and {b}"]
    return [] if a == b else [f"{where}: {a!r} and {b!r}"]


def main() -> int:
    """Recompute; write or compare."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--check", action="store_true")
    options = parser.parse_args()
    mp.dps = WORKING_DIGITS
    said = json.loads(PATH.read_text(encoding="utf-8"))
    made = remade(said)
    if options.check:
        found = differences(said, made)
        print("\n".join(found[:20]) or "all the same")
        return int(bool(found))
    PATH.write_text(json.dumps(made, indent=1) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
