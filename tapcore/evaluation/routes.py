"""Routes to ln Z side by side: where they meet, and whether ln Z is known."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import combinations

import numpy as np

from tapcore.sampling.estimate import Estimate

# Standard errors that two routes may differ by, and what rounding and few chains add.
_ERRORS, _SLACK = 4.0, 0.02


def apart(names: tuple[str, str], one: Estimate, other: Estimate) -> str:
    """What to say of two estimates that do not meet; nothing if they do."""
    gap, errors = other.log_z - one.log_z, np.hypot(one.standard_error, other.standard_error)
    if abs(gap) <= _ERRORS * errors + _SLACK:  # not so where either is NaN
        return ""
    # In the long run forward annealing is too low: where it is above another route, that one has missed something.
    hint = ", or data, since modes may be missing" if names[0] == "forward" and gap < 0 else ""
    return f"{names[0]} and {names[1]} do not meet: {one.log_z:.3f} and {other.log_z:.3f}; try more temperatures{hint}"


def verdict(routes: Mapping[str, Estimate]) -> tuple[bool, tuple[str, ...]]:
    """Whether ln Z is known, and all that speaks against any of the routes.

    It is known where "forward" and another route have no doubt, and all routes that have none meet.
    """
    said = [f"{name}: {doubt}" for name, route in routes.items() for doubt in route.doubts]
    pairs = list(combinations(routes, 2))
    gaps = {pair: apart(pair, routes[pair[0]], routes[pair[1]]) for pair in pairs}
    trusted = [name for name, route in routes.items() if route.trusted]
    known = "forward" in trusted and len(trusted) > 1 and not any(gaps[pair] for pair in combinations(trusted, 2))
    return known, (*said, *filter(None, gaps.values()))
