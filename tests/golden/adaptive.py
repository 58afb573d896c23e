"""Adaptive TAP of a small machine in mpmath, by dense inverses."""

from __future__ import annotations

import itertools
from typing import Any

from mpmath import mp, mpf
from sites import log_z, mixed, moments

MOST = 1000  # sweeps
CONVERGED = mpf(10) ** -52  # greatest difference between the two sides


def adaptive(machine: dict[str, Any], W: list[list[mpf]], init: str, damping: mpf) -> dict[str, Any] | None:
    """Fixed point of adaptive TAP (App. D, corrected) and its expectation-consistent ln Z, by dense inverses.

    From the fields of the means of `init` without precisions; None if it is not reached.
    """
    units = machine["vis"] + machine["hid"]
    nv, n = len(machine["vis"]), len(units)
    J = mp.matrix(n, n)
    for i, j in itertools.product(range(nv), range(n - nv)):
        J[i, nv + j] = J[nv + j, i] = W[i][j]
    start = {"prior": lambda u: moments(u, mpf(0), mpf(0))[0], "x=0": lambda u: mpf(0), "x=1": lambda u: mpf(1)}[init]
    av = [start(unit) for unit in machine["vis"]]
    Bh = [sum(W[i][j] * av[i] for i in range(nv)) for j in range(n - nv)]
    ah = [moments(unit, B, mpf(0))[0] for unit, B in zip(machine["hid"], Bh, strict=True)]
    B1 = [sum(w * a for w, a in zip(row, ah, strict=True)) for row in W] + Bh
    A1 = [mpf(0)] * n
    for _ in range(MOST):
        one = [moments(u, B, A) for u, B, A in zip(units, B1, A1, strict=True)]
        A2 = [1 / c - A for (_, c), A in zip(one, A1, strict=True)]
        B2 = [a / c - B for (a, c), B in zip(one, B1, strict=True)]
        D = mp.diag(A2) - J
        C = D**-1
        two = C * mp.matrix(B2)
        if max(max(abs(two[i] - a), abs(C[i, i] - c)) for i, (a, c) in enumerate(one)) < CONVERGED:
            ln_z = sum(log_z(u, B, A) for u, B, A in zip(units, B1, A1, strict=True)) - mp.log(mp.det(D)) / 2
            ln_z += sum(b * x - a**2 / c - mp.log(c) for b, x, (a, c) in zip(B2, two, one, strict=True)) / 2
            a, c = zip(*one, strict=True)
            return {
                "init": init, "damping": mp.nstr(damping, 5), "av": list(a[:nv]), "ah": list(a[nv:]),
                "cv": list(c[:nv]), "ch": list(c[nv:]), "Bv": B1[:nv], "Bh": B1[nv:], "Av": A1[:nv], "Ah": A1[nv:],
                "EC_lnZ_unnormalised": ln_z, "cov_vh": [[C[i, nv + j] for j in range(n - nv)] for i in range(nv)],
            }  # fmt: skip
        A1 = mixed(A1, [1 / C[i, i] - A2[i] for i in range(n)], damping)
        B1 = mixed(B1, [two[i] / C[i, i] - B2[i] for i in range(n)], damping)
    return None
