"""What a user's type checker says of the package: every name is what it is, and slips are refused."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from unit_cases import PLAIN

import tapcore

PACKAGE = Path(tapcore.__file__).parent
ROOT = PACKAGE.parent

# Expressions, and the type that is revealed, or how it begins; `A` stands for arrays of any shape.
EXPECTED = {
    "tc.__version__": "str",
    "tc.RBM(tc.Binary(64), tc.Spin(8), seed=0)": "tapcore.machine.Machine",
    "tc.DBM(tc.Binary(64), tc.Binary(8), tc.Binary(4))": "tapcore.machine.Machine",
    "tc.Binary.from_data(X)": "tapcore.units.binary.Binary",
    "tc.Gaussian(3).U": "A",
    "machine.layers": "tuple[tapcore.units.interface.Unit, ...]",
    "machine.weights": "tuple[A, ...]",
    "tc.datasets.load('digits')": "A",
    "tc.solve(machine, X)": "tapcore.inference.solution.Solutions",
    "tc.solve(machine, X).unique()": "tapcore.inference.solution.Solutions",
    "tc.solve(machine, X)[:3].free_energy": "A[numpy.float64]",
    "tc.harvest(machine, X)": "tapcore.inference.solution.Solutions",
    "tc.merge_solutions(tc.harvest(machine, X), tc.harvest(machine, X))": "tapcore.inference.solution.Solutions",
    "tc.statistics(tc.harvest(machine, X))": "tapcore.landscape.statistics.LandscapeStatistics",
    "tc.fit(machine, X, epochs=1)": (
        "tuple[tapcore.machine.Machine, tapcore.training.history.History, fallback=tapcore.training.run.FitResult]"
    ),
    "tc.fit(machine, X, epochs=1).history[-1]": "tuple[int, float, float ...",
    "tc.fit(machine, X, epochs=1).history.log_likelihood": "A",
    "tc.Tracker(X)": "tapcore.landscape.tracking.Tracker",
    "tc.L2(0.1)": "tapcore.training.penalties.L2",
    "tc.gradient(machine, X, tc.solve(machine, X))": (
        "tuple[tuple[A, ...], tuple[dict[str, A], ...], fallback=tapcore.training.gradient.Gradient]"
    ),
    "tc.log_likelihood(machine, X, 0.0)": "A[numpy.float64]",
    "tc.pseudo_log_likelihood(machine, X)": "A[numpy.float64]",
    "tc.exact.log_z(machine)": "float",
    "tc.ais(machine)": "tuple[float, float, fallback=tapcore.evaluation.annealed.AnnealedEstimate]",
    "tc.sample(machine, 3)": "A",
    "tc.TrajectoryTempering(machine).log_z()": (
        "tuple[float, float, fallback=tapcore.sampling.trajectory.TrajectoryEstimate]"
    ),
    "tc.GibbsSampler(machine, 3).layers": "tuple[A, ...]",
    "tc.denoise(machine, X, tc.Erasure(X > 0))": "A",
    "tc.posterior(machine, X, tc.BinarySymmetric(0.1)).mean": "A",
    "tc.spectral_radius(machine, tc.solve(machine, X))": "A[numpy.float64]",
    "tc.load('machine.safetensors')": "tapcore.machine.Machine",
    "tc.special.exp": "def (x: ...",
    "tc.truncnorm.moments(1.0, 0.0, 0.0, 1.0)": "tuple[Any, Any, Any]",
} | {f"tc.{name}(3)": f"{unit.__module__}.{name}" for name, unit in PLAIN.items() if unit.__module__[:8] == "tapcore."}
NAMES = [f"tc.{name}" for name in tapcore._HOMES]

# Lines with a slip, and what the refusal says.
SLIPS = {
    "tc.Binarry(3)": 'Module has no attribute "Binarry"',
    "from tapcore import Binarry": 'Module "tapcore" has no attribute "Binarry"',
    "tc.fit(machine, X, epoch=3)": 'Unexpected keyword argument "epoch" for "fit"',
    "tc.fit(machine, epochs=1)": 'Missing positional argument "X" in call to "fit"',
    'tc.solve(machine, X, max_sweeps="3")': 'Argument "max_sweeps" to "solve" has incompatible type "str"',
    "tc.solve(tc.Binary(3), X)": 'Argument 1 to "solve" has incompatible type "Binary"; expected "Machine"',
    "tc.RBM(3, tc.Binary(3))": 'Argument 1 to "RBM" has incompatible type "int"; expected "Unit"',
    "tc.solve(machine, X).energy": '"Solutions" has no attribute "energy"',
    'machine.replace(layers="no")': 'Argument "layers" to "replace" of "Machine" has incompatible type "str"',
}

HEAD = """\
import numpy as np
import tapcore as tc

X = np.zeros((10, 64))
machine = tc.RBM(tc.Binary(64), tc.Binary(8))
"""


@pytest.fixture(scope="module")
def said(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """What mypy says of each line; it is slow, so once for all of them."""
    pytest.importorskip("mypy")
    folder = tmp_path_factory.mktemp("user")
    lines = HEAD.splitlines() + [f"reveal_type({code})" for code in [*EXPECTED, *NAMES]] + list(SLIPS)
    (folder / "script.py").write_text("\n".join(lines) + "\n", encoding="utf-8")
    done = subprocess.run(
        [sys.executable, "-m", "mypy", "--strict", "--config-file=", "--cache-dir", str(folder / "cache"), "script.py"],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        check=False,
        capture_output=True,
        text=True,
    )
    assert not done.stderr
    found: dict[str, str] = {}
    for number, kind, text in re.findall(r"^script\.py:(\d+): (note|error): (.*)$", done.stdout, re.MULTILINE):
        line = lines[int(number) - 1]
        if kind == "error" or line.startswith("reveal_type"):  # and not what it adds to an error
            found[line] = found.get(line, "") + text
    return found


def revealed(said: dict[str, str], code: str) -> str:
    found = re.fullmatch(r'Revealed type is "(.*)"', said[f"reveal_type({code})"])
    assert found, said[f"reveal_type({code})"]
    # As releases of mypy and NumPy write it: arrays had no shape once.
    kind = found[1].replace("builtins.", "").replace("Tuple[", "tuple[")
    array = r"numpy\.ndarray\[(?:tuple\[Any, \.\.\.\]|Any), numpy\.dtype\[((?:[^\[\]]|\[[^\[\]]*\])*)\]\]"
    return re.sub(array, lambda m: "A" if m[1] == "Any" else f"A[{m[1]}]", kind)


@pytest.mark.parametrize("code", EXPECTED)
def test_results_are_what_they_are(code: str, said: dict[str, str]) -> None:
    kind, beginning = revealed(said, code), EXPECTED[code].removesuffix(" ...")
    assert kind == EXPECTED[code] or (kind.startswith(beginning) and beginning != EXPECTED[code])


@pytest.mark.parametrize("code", NAMES)
def test_no_name_is_anything(code: str, said: dict[str, str]) -> None:
    # A class is revealed as what makes it, a module as one.
    assert revealed(said, code).startswith(("def ", "Overload(", "types.ModuleType", "type["))


@pytest.mark.parametrize("line", SLIPS)
def test_slips_are_refused(line: str, said: dict[str, str]) -> None:
    assert SLIPS[line] in said.get(line, "nothing")


def test_nothing_else_is_said(said: dict[str, str]) -> None:
    assert {line for line in said if not line.startswith("reveal_type")} == set(SLIPS)


def test_the_wheel_says_that_it_is_typed() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    wheel = project["tool"]["hatch"]["build"]["targets"]["wheel"]
    assert wheel == {"packages": [PACKAGE.name]}  # whole folders, nothing left out
    assert (PACKAGE / "py.typed").is_file()
    ignored = (ROOT / ".gitignore").read_text(encoding="utf-8")  # hatch leaves out what git ignores
    assert "typed" not in ignored
