"""Numbers, lists and arrays of one element: none of them makes NumPy warn."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]

# NumPy warns of some arrays when a function is compiled for them: once in a process.
SCRIPT = """
import itertools
import sys
import numpy as np
from tapcore import (special, truncnorm)
from tapcore.units import UNITS

def shapes(x):
    return [
        np.array([x]), x, np.float64(x), np.array(x), np.array([[x]]), [x], [[x]], np.float32(x), np.array([x, x]),
        np.array([x], np.float32), np.zeros(0), np.zeros((0, 1)),
    ]

rng = np.random.default_rng(0)
if sys.argv[1] == "special":
    for name in special.__all__:
        for x in shapes(0.5):
            getattr(special, name)(x)
elif sys.argv[1] == "units":
    plain = [unit for unit in UNITS.values() if unit.fixed in ((), ("lo", "hi"))]
    for unit, n in itertools.product(plain, (1, 2)):
        for layer in (unit(n), unit(n).astype(np.dtype("float32"))):
            for x in shapes(0.5):
                if np.shape(x)[-1:] in ((), (1,), (n,)):
                    layer.moments(x, x)
                    layer.moments(0.5, x)
                    layer.sample(x, 0.5, rng)
                    layer.log_weight(x)
else:
    function = getattr(truncnorm, sys.argv[1])
    for x in shapes(0.5):
        for lo, hi in ((0.0, 1.0), ([0.0], [1.0]), (np.zeros((1, 1)), 1)):
            try:
                np.broadcast_shapes(np.shape(x), np.shape(lo))
            except ValueError:
                continue
            extra = {"moments": (x, 0.5), "log_density": (x, 0.5, 0.5), "cdf": (0.5, x, 0.5), "sample": (0.5, x)}
            function(*extra[sys.argv[1]], lo, hi, *([rng] if sys.argv[1] == "sample" else []))
"""


@pytest.mark.parametrize("what", ["moments", "log_density", "cdf", "sample", "special", "units"])
def test_arrays_of_one_element_make_no_warnings(what: str) -> None:
    ran = subprocess.run(
        [sys.executable, "-W", "error", "-c", SCRIPT, what],
        env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert ran.returncode == 0, ran.stderr
