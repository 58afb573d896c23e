"""What users call, in this checkout and another one in turn: sweeps, moments and a harvest.

Each checkout has a process of its own, as one process has room for one package of a name; both are warm, and work in
turn when told to: ``python -m tapcore_bench.micro versions --against PATH``, the folder of the other checkout.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from contextlib import ExitStack
from functools import partial
from pathlib import Path

from tapcore_bench.micro.harness import Row, take_turns
from tapcore_bench.micro.startup import HERE

# Visible and hidden units of machines; chains, starts of a harvest, sweeps of a call, and truncated normals.
SIZES: dict[str, tuple[int, ...]] = {
    "small": (784, 100), "large": (784, 500), "patterns": (784, 20),
    "chains": (100,), "starts": (1000,), "sweeps": (16,), "points": (200_000,),
}  # fmt: skip

# What a process does when it is sent a name: by public names that any checkout has.
PROGRAM = """
import json, sys, warnings
import numpy as np
import tapcore as tc
from tapcore.special import truncnorm
warnings.simplefilter("ignore")
sizes = json.loads(sys.argv[1])
rng = np.random.default_rng(0)
def swept(visible, size, dtype):
    n, m = sizes[size]
    machine = tc.RBM(visible(n), tc.Binary(m), weights=rng.normal(0, 0.1, (n, m)), dtype=dtype)
    start = rng.random((sizes["chains"][0], n))
    rule = dict(max_sweeps=sizes["sweeps"][0], tol=1e-300, acceleration=None)
    return lambda: tc.solve(machine, start, **rule)
def slabs(n):
    V = rng.uniform(-27, -1.5, n)
    return tc.TruncatedGaussBernoulli(n, rho=rng.uniform(0.1, 0.9, n), U=V / 2 + rng.normal(0, 2, n), V=V)
def harvested():
    n, m = sizes["patterns"]
    patterns = np.where(rng.random((n, m)) < 0.5, -1.0, 1.0)
    machine = tc.RBM(tc.Spin(n), tc.Spin(m), weights=0.12 * patterns)
    start = patterns.T[rng.integers(m, size=sizes["starts"][0])]
    start = start * np.where(rng.random(start.shape) < 0.2, -1.0, 1.0)
    return lambda: tc.harvest(machine, start, progress=False)
points = sizes["points"][0]
s, b = rng.normal(0, 20, points), rng.normal(0, 20, points)
work = {
    "sweeps, Binary, small, float64": swept(tc.Binary, "small", "float64"),
    "sweeps, Binary, small, float32": swept(tc.Binary, "small", "float32"),
    "sweeps, Binary, large, float64": swept(tc.Binary, "large", "float64"),
    "sweeps, Binary, large, float32": swept(tc.Binary, "large", "float32"),
    "sweeps, TruncatedGaussBernoulli, small, float64": swept(slabs, "small", "float64"),
    "moments of truncated normals": lambda: truncnorm.moments(s, b, 0.0, 1.0),
    "harvest, Spin, patterns": harvested(),
}
print(tc.__file__, *work, sep="\\t", flush=True)
for name in sys.stdin:
    work[name.rstrip("\\n")]()
    print(flush=True)
"""


class Checkout:
    """A process that works with the package of one checkout."""

    def __init__(self, folder: Path, elsewhere: str) -> None:
        environment = {**os.environ, "PYTHONPATH": str(folder)}
        self.process = subprocess.Popen(
            [sys.executable, "-c", PROGRAM, json.dumps(SIZES)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment, cwd=elsewhere,
        )  # fmt: skip
        package, *self.work = self._answer().split("\t")
        if not Path(package).is_relative_to(folder):
            self.close()
            raise RuntimeError(f"{package} was imported, not what is in {folder}")

    def _answer(self) -> str:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            raise RuntimeError(f"a process ended with {self.process.wait()} before it had answered")
        return line.rstrip("\n")

    def run(self, name: str) -> None:
        """Do it, and wait for the end."""
        assert self.process.stdin is not None
        self.process.stdin.write(f"{name}\n")
        self.process.stdin.flush()
        self._answer()

    def close(self) -> None:
        """End the process."""
        self.process.communicate()


def rows(repeats: int, against: Path) -> list[Row]:
    """Medians of both checkouts."""
    with ExitStack() as closing:
        # Not from the current folder, which would be imported from first.
        elsewhere = closing.enter_context(tempfile.TemporaryDirectory())
        both = []
        for folder in (HERE, against.resolve()):
            both.append(Checkout(folder, elsewhere))
            closing.callback(both[-1].close)
        made = []
        for name in both[0].work:
            ours, theirs = take_turns([partial(checkout.run, name) for checkout in both], repeats)
            made.append(Row(name, ours, theirs, str(against)))
    return made
