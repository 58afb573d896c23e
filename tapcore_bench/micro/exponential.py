"""exp and sigmoid against NumPy's exp and SciPy's expit, on one thread."""

from __future__ import annotations

import numpy as np
from scipy.special import expit

from tapcore.special import exp, sigmoid
from tapcore_bench.micro.harness import Row, take_turns

ELEMENTS = 100_000
# Calls in one timing: a single one is too short to time.
CALLS = 20


def rows(repeats: int) -> list[Row]:
    """Times per element."""
    made = []
    for dtype in (np.float64, np.float32):
        x = np.random.default_rng(0).normal(0, 5, ELEMENTS).astype(dtype)
        out = np.empty_like(x)

        def ours_exp(x=x, out=out) -> None:  # type: ignore[no-untyped-def]
            for _ in range(CALLS):
                exp(x, out=out)

        def numpy_exp(x=x, out=out) -> None:  # type: ignore[no-untyped-def]
            for _ in range(CALLS):
                np.exp(x, out=out)

        def ours_sigmoid(x=x, out=out) -> None:  # type: ignore[no-untyped-def]
            for _ in range(CALLS):
                sigmoid(x, out=out)

        def scipy_expit(x=x, out=out) -> None:  # type: ignore[no-untyped-def]
            for _ in range(CALLS):
                expit(x, out=out)

        competitors = [ours_exp, numpy_exp, ours_sigmoid, scipy_expit]
        times = take_turns(competitors, repeats)
        our_exp, its_exp, our_sigmoid, its_expit = (t / (CALLS * ELEMENTS) for t in times)
        name = np.dtype(dtype).name
        targets = (1.0, 0.4) if dtype is np.float64 else (None, None)
        made.append(Row(f"exp, {name}, an element", our_exp, its_exp, "numpy.exp", targets[0]))
        made.append(Row(f"sigmoid, {name}, an element", our_sigmoid, its_expit, "scipy.special.expit", targets[1]))
    return made
