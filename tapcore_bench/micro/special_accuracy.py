"""Largest errors of the special functions in ulp: ``python -m tapcore_bench.micro.special_accuracy [--points N]``.

The truth is mpmath's. To look at more points than mpmath can, the points with the largest errors against 80-bit floats
are picked first, and only those are measured with mpmath; where 80-bit floats know no such function, a random part.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import Any

import mpmath
import numpy as np
from numpy.typing import NDArray

from tapcore import special

DIGITS = 60
# Points measured with mpmath: the worst, or a random part.
PICKED, DRAWN = 2000, 20_000


def _erfcx(x: Any) -> Any:
    if x < 50:
        return mpmath.exp(x * x) * mpmath.erfc(x)
    # 25 terms of the asymptotic series are good to more than 60 digits here.
    terms = [mpmath.mpf(1)]
    for k in range(25):
        terms.append(-terms[-1] * (2 * k + 1) / (2 * x * x))
    return mpmath.fsum(terms) / (x * mpmath.sqrt(mpmath.pi))


def _dawson(x: Any) -> Any:
    if abs(x) < 50:
        return mpmath.exp(-x * x) * mpmath.erfi(x) * mpmath.sqrt(mpmath.pi) / 2
    # The asymptotic series, as for erfcx.
    terms = [1 / (2 * x)]
    for k in range(25):
        terms.append(terms[-1] * (2 * k + 1) / (2 * x * x))
    return mpmath.fsum(terms)


EXACT: dict[str, Callable[[Any], Any]] = {
    "exp": mpmath.exp,
    "sigmoid": lambda x: 1 / (1 + mpmath.exp(-x)),
    "log1pexp": lambda x: mpmath.log1p(mpmath.exp(x)),
    "tanh": mpmath.tanh,
    "log2cosh": lambda x: abs(x) + mpmath.log1p(mpmath.exp(-2 * abs(x))),
    "erfcx": _erfcx,
    "dawson": _dawson,
    "erfi_scaled": lambda x: 2 / mpmath.sqrt(mpmath.pi) * _dawson(x),
}
WIDE: dict[str, Callable[[NDArray[Any]], NDArray[Any]]] = {
    "exp": np.exp,
    "sigmoid": lambda x: 1 / (1 + np.exp(-x)),
    "log1pexp": lambda x: np.maximum(x, 0) + np.log1p(np.exp(-np.abs(x))),
    "tanh": np.tanh,
    "log2cosh": lambda x: np.abs(x) + np.log1p(np.exp(-2 * np.abs(x))),
}
# Beyond these the functions are constant, linear or out of range.
ACTIVE = {np.float64: 760.0, np.float32: 110.0}


def spread(dtype: Any, count: int, seed: int = 0) -> NDArray[Any]:
    """Finite points: all bit patterns, logarithmic, uniform where functions vary, near k log(2)/2 and near edges."""
    rng = np.random.default_rng(seed)
    part = count // 6
    info, limit = np.finfo(dtype), ACTIVE[dtype]
    bits = np.frombuffer(rng.bytes(part * info.dtype.itemsize), dtype)
    signs = rng.choice([-1.0, 1.0], part)
    logarithmic = signs * np.exp(rng.uniform(np.log(float(info.smallest_subnormal)) + 1, np.log(limit), part))
    near = rng.integers(-int(2 * limit / np.log(2)), int(2 * limit / np.log(2)), part) * (np.log(2) / 2)
    near = near * (1 + rng.uniform(-4, 4, part).round() * float(info.eps))
    pieces = [bits, logarithmic, rng.uniform(-limit, limit, part), rng.uniform(-20, 20, part), near]
    # Where e^x or e^2x overflows, becomes subnormal or vanishes.
    edges = np.log(np.array([info.max, info.smallest_normal, info.smallest_subnormal], dtype).astype(np.float64))
    edges = rng.choice(np.concatenate([edges, -edges, edges / 2, -edges / 2]), part)
    pieces.append(edges * (1 + rng.integers(-100, 100, part) * float(info.eps)))
    points: NDArray[Any] = np.concatenate([np.asarray(p).astype(dtype) for p in pieces])
    return np.asarray(points[np.isfinite(points)])


def ulp_errors(name: str, points: NDArray[Any]) -> NDArray[np.float64]:
    """Error at each point against mpmath, in units of the spacing of floats at the exact result."""
    dtype = points.dtype.type
    info = np.finfo(dtype)
    found = getattr(special, name)(points)
    errors = np.empty(len(points))
    with mpmath.workdps(DIGITS):
        least, most = mpmath.mpf(float(info.smallest_subnormal)), mpmath.mpf(float(info.max))
        for i, (x, y) in enumerate(zip(points.tolist(), found.tolist(), strict=True)):
            exact = EXACT[name](mpmath.mpf(x))
            if not np.isfinite(y):
                # inf is right from half a spacing above the largest float.
                over = most * (1 + mpmath.mpf(2) ** -(info.nmant + 2))
                errors[i] = 0.0 if y > 0 and exact >= over else np.inf
                continue
            _, exponent = mpmath.frexp(exact)
            spacing = max(mpmath.mpf(2) ** (int(exponent) - 1 - info.nmant), least)
            errors[i] = float(abs(mpmath.mpf(y) - exact) / spacing)
    return errors


def largest_error(name: str, dtype: Any, count: int) -> tuple[float, float]:
    """(ulp, x) of the largest error found among `count` points."""
    points = spread(dtype, count)
    picked = _worst(name, points) if name in WIDE else np.random.default_rng(0).choice(points, min(count, DRAWN))
    measured = ulp_errors(name, picked)
    worst = int(np.argmax(measured))
    return float(measured[worst]), float(picked[worst])


def _worst(name: str, points: NDArray[Any]) -> NDArray[Any]:
    """The points of the largest errors against 80-bit floats."""
    dtype = points.dtype.type
    wide = points.astype(np.longdouble)
    with np.errstate(all="ignore"):
        exact = WIDE[name](wide)
        rounded = exact.astype(dtype)
        found = getattr(special, name)(points)
        spacing = np.maximum(np.spacing(np.abs(rounded)), np.finfo(dtype).smallest_subnormal)
        errors = np.abs(found.astype(np.longdouble) - exact) / spacing
    # What is not a number, or infinite on one side only, must be among the picked.
    errors[~np.isfinite(errors)] = np.inf
    errors[np.isinf(found) & (found == rounded)] = 0
    return np.asarray(points[np.argsort(-errors)[:PICKED]])


def main() -> None:
    """Print a table."""
    parser = argparse.ArgumentParser(description="Measure the errors of the special functions.")
    parser.add_argument("--points", type=int, default=2_000_000, help="for each function and dtype")
    options = parser.parse_args()
    print("| function | dtype | largest error, ulp | at |\n| --- | --- | --- | --- |")
    for name in EXACT:
        for dtype in ACTIVE:
            ulp, x = largest_error(name, dtype, options.points)
            print(f"| {name} | {np.dtype(dtype).name} | {ulp:.3f} | {x!r} |", flush=True)


if __name__ == "__main__":
    main()
