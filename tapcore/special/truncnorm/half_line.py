"""Mass, mean and variance of ``exp(-s x^2/2 + b x)`` on x >= 0, by the same arithmetic for all points, as lanes need.

Where the weight falls from 0 on, b <= 0, it is Mills' ratio; else the mode b/s lies inside, and what lies beyond 0 is
taken off a whole Gaussian, the exponent at the mode being left out of the mass.
"""

from __future__ import annotations

import math

import numpy as np

from tapcore._base.jit import scalar
from tapcore.special.elementary import exp_negative
from tapcore.special.erfcx import erfcx_positive
from tapcore.special.one_ended import falling

_SQRT_HALF = 0.7071067811865476
_SQRT_HALF_PI = 1.2533141373155003
_SQRT_TWO_OVER_PI = 0.7978845608028654


@scalar
def half_line(s: float, b: float) -> tuple[float, float, float, float]:
    """(energy, mass, mean, variance): ln Z is ``energy + ln mass``.

    NaN unless s > 0, or s = 0 and b < 0.
    """
    good = (s > 0.0) | ((s == 0.0) & (b < 0.0))
    s = s if good & (b == b) else np.nan
    inside = b > 0.0
    # Each where the other would serve: harmless arguments, and no branch.
    mass, mean, var = falling(s, 0.0 if inside else -b)
    root = math.sqrt(s)
    sigma = 1.0 / root if inside else 1.0
    near = b * sigma if inside else 0.0
    e = exp_negative(-0.5 * near * near)
    lost = e * erfcx_positive(_SQRT_HALF * near)
    total = 2.0 - (lost if e > 0.0 else 0.0)
    r = _SQRT_TWO_OVER_PI / total
    distance = r * e
    mode = near * sigma
    spread = 1.0 - r * (near * e if e > 0.0 else 0.0) - distance * distance
    return (
        0.5 * b * mode if inside else (0.0 if s == s else s),
        sigma * _SQRT_HALF_PI * total if inside else mass,
        mode + sigma * distance if inside else mean,
        sigma * sigma * spread if inside else var,
    )
