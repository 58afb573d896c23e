"""Rows of weights ``exp(-V x^2/2 + U x)`` on the half-lines on either side of 0."""

from __future__ import annotations

import math
from typing import NamedTuple

from tapcore._base.jit import scalar
from tapcore._base.random import Stream
from tapcore.special.elementary import exp_negative, log_normal
from tapcore.special.truncnorm.cumulants import cumulants
from tapcore.special.truncnorm.draw import draw
from tapcore.special.truncnorm.half_line import half_line

_DEPTH = 60.0


@scalar
def one_side(s: float, b: float) -> tuple[float, float, float]:
    """(ln Z, mean, variance) of ``exp(-s x^2/2 + b x)`` on x >= 0; NaN unless it can be normalised."""
    energy, mass, mean, var = half_line(s, b)
    return energy + log_normal(mass), mean, var


class Sides(NamedTuple):
    """What lies on either side of 0: ln Z of both, the share of each, mean and variance of ``|x|`` on each."""

    log_z: float
    positive: float
    negative: float
    right: float
    right_var: float
    left: float
    left_var: float


@scalar
def sides_of(s_pos: float, b_pos: float, s_neg: float, b_neg: float) -> Sides:
    """Of ``exp(-s x^2/2 + b x)`` with the first two for x >= 0, the last two for x < 0."""
    energy, mass, right, right_var = half_line(s_pos, b_pos)
    other_energy, other_mass, left, left_var = half_line(s_neg, -b_neg)
    # Of the side that weighs less only what it is beside the other one.
    less = other_energy - energy
    swap = less > 0.0
    ratio = exp_negative(-abs(less)) * (mass / other_mass if swap else other_mass / mass)
    most, share = 1.0 / (1.0 + ratio), ratio / (1.0 + ratio)
    log_z = (other_energy if swap else energy) + log_normal((other_mass if swap else mass) * (1.0 + ratio))
    return Sides(log_z, share if swap else most, most if swap else share, right, right_var, left, left_var)


@scalar
def both_sides(s_pos: float, b_pos: float, s_neg: float, b_neg: float) -> tuple[float, float, float]:
    """(ln Z, mean, variance) of both."""
    x = sides_of(s_pos, b_pos, s_neg, b_neg)
    apart = x.right + x.left
    mean = x.positive * x.right - x.negative * x.left
    var = x.positive * x.right_var + x.negative * x.left_var + x.positive * x.negative * apart * apart
    return x.log_z, mean, var


@scalar
def side_cumulants(s: float, b: float) -> tuple[float, float]:
    """(third, fourth) cumulant on x >= 0, as far as the weight is above e^-60 of the largest."""
    fall = max(-b, 0.0)
    reach = 2.0 * _DEPTH / (fall + math.sqrt(fall * fall + 2.0 * s * _DEPTH))
    return cumulants(s, b, 0.0, max(b / s, 0.0) + reach) if s > 0.0 else (math.nan, math.nan)


@scalar
def both_cumulants(s_pos: float, b_pos: float, s_neg: float, b_neg: float) -> tuple[float, float]:
    """(third, fourth) cumulant of both sides: of a mixture, from those of its parts."""
    x = sides_of(s_pos, b_pos, s_neg, b_neg)
    right, right_4 = side_cumulants(s_pos, b_pos)
    left, left_4 = side_cumulants(s_neg, -b_neg)
    apart, wider, split = x.right + x.left, x.right_var - x.left_var, x.positive * x.negative
    odd = x.negative - x.positive
    third = x.positive * right - x.negative * left + split * apart * (3.0 * wider + odd * apart * apart)
    fourth = x.positive * right_4 + x.negative * left_4 + split * (
        4.0 * apart * (right + left) + 3.0 * wider * wider
        + apart * apart * (6.0 * odd * wider + (1.0 - 6.0 * split) * apart * apart)
    )  # fmt: skip
    return third, fourth


@scalar
def draw_side(stream: Stream, s: float, b: float) -> float:
    """One value x >= 0."""
    return draw(stream, s, b, 0.0, math.inf)
