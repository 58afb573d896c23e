"""Third order of the small-weight expansion: ``(1/6) sum W^3 kappa3 kappa3`` and its derivatives, in plain Python.

kappa3 is the third cumulant of a unit as a function of its mean. A unit of two states has one, and a Gaussian unit has
none.
"""

from __future__ import annotations

from typing import Any

import numpy as np

STATES = {"binary": (0.0, 1.0), "spin": (-1.0, 1.0)}


def known(layers: Any) -> bool:
    """Whether the third cumulant of every unit is a function of its mean."""
    return all(site["kind"] in (*STATES, "gaussian") for layer in layers for site in layer)


def kappa3(site: dict[str, Any], a: Any) -> Any:
    """Sum of p (x - a)^3 over the two states, p fixed by the mean a."""
    if site["kind"] == "gaussian":
        return 0.0 * a
    low, high = STATES[site["kind"]]
    p = (a - low) / (high - low)
    return p * (high - a) ** 3 + (1 - p) * (low - a) ** 3


def slope(site: dict[str, Any], a: float) -> float:
    """Derivative of `kappa3`, by a complex step."""
    return float(np.imag(kappa3(site, a + 1e-30j)) / 1e-30)


def field(layers: Any, means: list[np.ndarray], layer: int, i: int, near: list[tuple[int, int, float]]) -> float:
    """What third order adds to B of unit i of `layer`, with neighbours (layer, index, weight)."""
    pull = sum(w**3 * kappa3(layers[other][j], means[other][j]) for other, j, w in near)
    return slope(layers[layer][i], means[layer][i]) * float(pull) / 6.0


def pair(below: dict[str, Any], above: dict[str, Any], a: float, b: float) -> float:
    """kappa3 kappa3 of two units with means a and b: of -F, W^3/6 times it; of its derivative, W^2/2 times."""
    return float(kappa3(below, a) * kappa3(above, b))
