"""What `solve` refuses, and how it says so."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest
from cases import (
    random_rbm,
    starts,
)

import tapcore as tc


@pytest.mark.nojit
@pytest.mark.parametrize(
    ("init", "message"),
    [
        (np.zeros((2, 6)), "init must have 7 columns, one per unit, got 6 (shape (2, 6))"),
        (np.zeros((0, 7)), "init must have at least one row"),
        (np.zeros(7), "init must have two axes (chains, 7), got shape (7,)"),
        (np.zeros((1, 1, 7)), "init must have two axes (chains, 7)"),
        ([[0.5] * 7, [0.5] * 6 + [np.nan]], "init must be finite: init[1, 6] is nan"),
        ([[np.inf] * 7], "init must be finite: init[0, 0] is inf"),
        ([[0.5] * 7, [0.5, -0.01] + [2.0] * 5], "init[1, 1] is -0.01"),
        (np.zeros((1, 7), complex), "init must hold real numbers"),
        ([["a"] * 7], "init must hold real numbers"),
        (None, "init must hold real numbers"),
    ],
)
def test_bad_starts_are_refused(init: Any, message: str) -> None:
    with pytest.raises(ValueError, match="^init must.*" + re.escape(message.removeprefix("init must"))):
        tc.solve(random_rbm(0), init)


@pytest.mark.nojit
def test_the_range_of_means_is_that_of_the_unit() -> None:
    with pytest.raises(ValueError, match=r"range of means of a Binary layer \(0 to 1\): init\[0, 2\] is -1"):
        tc.solve(random_rbm(0), [[0, 1, -1, 0, 0, 0, 0]])
    with pytest.raises(ValueError, match=r"range of means of a Spin layer \(-1 to 1\): init\[0, 2\] is -2"):
        tc.solve(random_rbm(0, "Spin"), [[0, 1, -2, 0, 0, 0, 0]])
    assert tc.solve(random_rbm(0, "Spin"), [[0, 1, -1, 0, 0, 0, 0]], max_sweeps=1)


@pytest.mark.nojit
def test_a_bad_start_far_down_is_named() -> None:
    X = np.full((4200, 7), 0.5)
    X[4150, 3] = np.nan
    with pytest.raises(ValueError, match=re.escape("init[4150, 3] is nan")):
        tc.solve(random_rbm(0), X)


@pytest.mark.nojit
@pytest.mark.parametrize(
    ("option", "message"),
    [
        ({"method": "bethe"}, "method must be one of 'nmf', 'tap', 'tap3', 'rbp', 'adatap', got 'bethe'"),
        ({"method": None}, "method must be one of"),
        ({"criterion": "energy"}, "criterion must be one of 'distance', 'mse', got 'energy'"),
        ({"acceleration": "anderson"}, "acceleration must be 'auto' or None, got 'anderson'"),
        ({"tol": -1e-9}, "tol must be at least 0, got -1e-09"),
        ({"tol": np.nan}, "tol must be a finite number"),
        ({"tol": "1e-6"}, "tol must be a finite number"),
        ({"damping": 1.0}, "damping must be at least 0 and below 1, got 1.0"),
        ({"damping": -0.1}, "damping must be at least 0 and below 1"),
        ({"damping": np.inf}, "damping must be a finite number"),
        ({"max_sweeps": 0}, "max_sweeps must be an integer of at least 1, got 0"),
        ({"max_sweeps": 2.5}, "max_sweeps must be an integer"),
        ({"max_sweeps": True}, "max_sweeps must be an integer"),
    ],
)
def test_bad_options_are_refused(option: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=f"^{re.escape(message)}"):
        tc.solve(random_rbm(0), np.zeros((1, 7)), **option)


@pytest.mark.nojit
def test_solutions_of_other_machines_are_refused() -> None:
    machine = random_rbm(0)
    found = tc.solve(machine, starts(machine, 2), max_sweeps=1)
    other = random_rbm(0, sizes=(7, 4))
    with pytest.raises(ValueError, match=r"^init must be solutions of layers \(7, 4\), got layers \(7, 5\)"):
        tc.solve(other, found)
    deeper = tc.Machine((*machine.layers, tc.Binary(2)), (*machine.weights, np.zeros((5, 2))))
    with pytest.raises(ValueError, match=r"^init must be solutions of layers \(7, 5, 2\)"):
        tc.solve(deeper, found)
    with pytest.raises(ValueError, match=r"^init must hold at least one chain"):
        tc.solve(machine, found[:0])
    found.var[1][1, 3] = np.nan
    with pytest.raises(ValueError, match=r"^init.var\[1\] must be finite: init.var\[1\]\[1, 3\] is nan"):
        tc.solve(machine, found)
    with pytest.raises(ValueError, match=r"^machine must be a tapcore.Machine, got Binary"):
        tc.solve(tc.Binary(7), found)  # type: ignore[arg-type]
