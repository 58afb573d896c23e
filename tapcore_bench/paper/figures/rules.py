"""When chains have arrived: by the paper's rule, and by one that can be relied on; and which of their ends are one."""

from __future__ import annotations

from typing import Any

PAPER, TIGHT = "mean squared change 1e-8", "distance 1e-6"
RULES: dict[str, dict[str, Any]] = {
    PAPER: {"criterion": "mse", "tol": 1e-8, "acceleration": None},
    TIGHT: {"criterion": "distance", "tol": 1e-6},
}
# The loosest that the distances left by each rule warrant.
MERGE = {PAPER: 1e-2, TIGHT: 1e-4}
MOST_SWEEPS = 10_000
