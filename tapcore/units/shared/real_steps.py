"""Steps of training of units ``exp(U x - V x^2/2)``, with and without an atom at 0: Alg. 2's, and of their law's size.

A step in V at fixed U moves the mean by as many standard deviations as the law is away from 0, on an interval far from
0 the two say nearly the same, and what is a long step for a wide law is none for a narrow one. In the place of U, V and
the logit of rho these coordinates have

- the field about a centre c of the law, ``dU - c dV``, in units of 1/sd: it moves the mean by standard deviations;
- V at a fixed field about c, whose derivative is the average of ``-(x - c)^2/2``, relative to V: half of
  ``-d ln V``, or d ln sd. Where V may vanish or be negative, it is relative to ``hypot(V, 12/(hi - lo)^2)``, the
  second being the precision of an even spread;
- the logit of the slab's probability: rho makes up for what the other two change of the slab's integral.

For a Gaussian on its own this is the natural gradient (Amari, 1998), up to constants. In place of the law that a unit
has without neighbours stands the one that the chains have: it may be far wider, and sets how long a step may be.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from tapcore.units.interface import Unit

Array = NDArray[Any]

# Bounds of the derivatives for field and precision, in their units: standard deviations of the law, about.
STEEPEST = 3.0
# Longest step of them.
LONGEST = 0.5
# Steps of V are so many times those of its logarithm, as ln V is -2 ln sd.
_TWICE = 2.0
# Spreads below this share of the interval are taken for rounding.
_NARROWEST = 1e-6
# A slab that is all but certain leaves nothing that rho could make up for.
_CERTAIN = 1 - 1e-12


class Slab(NamedTuple):
    """What is not the atom of each unit of a layer: (n,) float64 arrays."""

    probability: Array
    mean: Array
    var: Array

    @property
    def square(self) -> Array:
        """Average of x^2."""
        return np.asarray(self.var + self.mean * self.mean)


class RealUnit(Unit):
    """A layer of units with U, V and perhaps rho, on the whole line with V positive or on an interval [lo, hi]."""

    def has_density(self, x: Array) -> NDArray[np.bool_]:
        """All do where there is no atom."""
        return np.ones(np.shape(x), np.bool_)

    def slab_law(self) -> tuple[Array, Array]:
        """Mean and variance of the slab at B = A = 0, (n,) float64 each."""
        _, mean, var = self.astype(np.float64).moments(0.0, 0.0)
        return mean, var

    def steps(self, model: dict[str, Array]) -> RealSteps:
        """Coordinates that suit the law with the averages `model` of d ln phi/d parameter, as `statistics` gives."""
        own = {name: p.astype(np.float64) for name, p in self.parameters.items()}
        if self.fixed:
            width = own["hi"] - own["lo"]
            slab = self._slab(own, model, (_NARROWEST * width) ** 2)
            return RealSteps(own, slab, _between(slab, own["lo"], own["hi"]), np.hypot(own["V"], 12 / width**2))
        slab = self._slab(own, model, 1 / own["V"])
        return RealSteps(own, slab, slab.mean, own["V"])

    def _slab(self, own: dict[str, Array], model: dict[str, Array], least: Array) -> Slab:
        """The slab as `model` has it, no narrower than `least`; its own law where it hardly ever occurs there."""
        mean, square = model["U"].astype(np.float64), -2 * model["V"].astype(np.float64)
        p = np.ones_like(mean)
        if "rho" in own:
            p = own["rho"] + own["rho"] * (1 - own["rho"]) * model["rho"]
            known = p > 1e3 * np.finfo(self.dtype).eps
            some = np.where(known, p, 1.0)
            mean, square = mean / some, square / some
            if not known.all():
                m, v = self.slab_law()
                mean, square = np.where(known, mean, m), np.where(known, square, v + m * m)
        return Slab(p, mean, np.maximum(square - mean * mean, least))

    def ascend(self, parameters: dict[str, Array], gradient: dict[str, Array], rate: float) -> None:
        """Take a training step in place (Alg. 2): in U, in V or ln V where V is positive, and in the logit of rho."""
        if "rho" in gradient:
            rho = parameters["rho"]
            move_logit(rho, rate * rho * (1 - rho) * gradient["rho"])
        parameters["U"] += rate * gradient["U"]
        V = parameters["V"]
        if self.fixed:
            V += rate * gradient["V"]
        else:
            with np.errstate(over="ignore"):
                multiply(V, rate * V * gradient["V"])


class RealSteps:
    """Coordinates of the parameters of a `RealUnit`, about where they are.

    Parameters
    ----------
    own : dict of str to (n,) float64 array
        The parameters.
    slab : Slab
    centre : (n,) array
        c of the field about a centre.
    size : (n,) array
        Positive: what steps of V are relative to.
    """

    def __init__(self, own: dict[str, Array], slab: Slab, centre: Array, size: Array) -> None:
        self.own, self.slab, self.centre = own, slab, centre
        self.positive = "lo" not in own
        self.field = 1 / np.sqrt(slab.var)
        self.precision = _TWICE * size
        self.held = np.where(slab.probability < _CERTAIN, 1.0, 0.0)

    def slopes(self, gradient: dict[str, Array]) -> dict[str, Array]:
        """Derivatives with respect to the coordinates, within bounds that only laws far from the data reach.

        The one for V is divided by the variance of the average that it is, that of a Gaussian ``-(x - c)^2/2``, so that
        steps of a plain gradient overshoot neither where the law is wider than V says nor crawl where it is narrower.
        Beyond the bounds they would all leap, and Adam's squares would remember for thousands of steps.
        """
        U, V = (gradient[name].astype(np.float64) for name in ("U", "V"))
        made = {}
        if "rho" in self.own:
            rho = self.own["rho"]
            made["rho"] = logit = rho * (1 - rho) * gradient["rho"]
            U = U - self.held * self.slab.mean * logit
            V = V + self.held * 0.5 * self.slab.square * logit
        U, V = self.field * U, self._precision_slope(V + self.centre * U)
        return {**made, "U": np.clip(U, -STEEPEST, STEEPEST), "V": np.clip(V, -STEEPEST, STEEPEST)}

    def _precision_slope(self, average: Array) -> Array:
        """The average of ``-(x - c)^2/2``, of the data less the model, over its variance in the model."""
        var = self.slab.var
        natural = average / var * (2 / (self.precision * var))
        # Of what lies at both ends the square of x - c varies less, by 1/V^2.
        ends = 0.25 * self.precision * average
        return np.where((self.own["V"] < 0) & (np.abs(ends) > np.abs(natural)), ends, natural)

    def take(self, parameters: dict[str, Array], directions: dict[str, Array], rate: float) -> None:
        """Move `parameters` in place, V and rho within their ranges."""
        field, precision = (np.clip(rate * directions[name], -LONGEST, LONGEST) for name in ("U", "V"))
        if "rho" in self.own:
            dU, dV = self._changes(field, precision)
            made_up = self.held * (self.slab.mean * dU - 0.5 * self.slab.square * dV)
            logit = rate * directions["rho"]
            # Beside zeros there is no rho for a slab that is narrow and far from 0: the slab stays as it is then.
            kept = _can_move(parameters["rho"], logit - made_up)
            field, precision, made_up = (np.where(kept, x, 0.0) for x in (field, precision, made_up))
            move_logit(parameters["rho"], logit - made_up)
        before = parameters["V"].astype(np.float64)
        if self.positive:
            multiply(parameters["V"], self.precision * precision / before)
        else:
            parameters["V"] += self.precision * precision
        parameters["U"] += self.field * field + self.centre * (parameters["V"] - before)

    def _changes(self, field: Array, precision: Array) -> tuple[Array, Array]:
        """Changes of U and V by a step."""
        dV = self.precision * precision
        if self.positive:
            dV = self.own["V"] * np.expm1(dV / self.own["V"])
        return self.field * field + self.centre * dV, dV


def _between(slab: Slab, lo: Array, hi: Array) -> Array:
    """A centre about which ``(x - c)^2`` says little of x: the mean, or the middle if all lies at the two ends."""
    most = (slab.mean - lo) * (hi - slab.mean)
    share = np.minimum(2 * slab.var / np.maximum(most, slab.var), 1.0)
    return np.asarray(slab.mean + share * (0.5 * (lo + hi) - slab.mean))


def multiply(parameter: Array, log_factor: Array) -> None:
    """Add to ln of a positive parameter, in place: it can near 0 but never reach it."""
    limits = np.finfo(parameter.dtype)
    with np.errstate(over="ignore"):
        moved = parameter * np.exp(log_factor)
    # NaN stays. The ends of what the dtype can hold stand for 0 and infinity.
    parameter[...] = np.clip(moved, limits.tiny, limits.max)


def move_logit(rho: Array, step: Array) -> None:
    """Add to the logit of rho in place: rho can approach 0 and 1 but never reach them."""
    up, size = step > 0, np.abs(step)
    # Downhill in rho or, uphill, in 1 - rho: nothing overflows, and no step leaves rho as it is to the bit.
    down = np.expm1(-np.minimum(size, 1.0))
    change = rho * (1 - rho) * down / (1 + np.where(up, 1 - rho, rho) * down)
    near = np.where(up, rho - change, rho + change)
    # Of a long step rounding would leave nothing of the difference.
    left = np.exp(-size)
    far = np.where(up, rho / (rho + (1 - rho) * left), rho * left / (rho * left + (1 - rho)))
    rho[...] = inside(np.where(size < 1, near, far).astype(rho.dtype))


def inside(rho: Array) -> Array:
    """`rho` with what was rounded to 0 or 1 moved to the next number inside; NaN stays."""
    limits = np.finfo(rho.dtype)
    return np.clip(rho, limits.tiny, 1 - limits.epsneg)


def _can_move(rho: Array, step: Array) -> NDArray[np.bool_]:
    """Where rho, after a step of its logit, can well be told from 0 and 1 in its dtype, or better than before it."""
    limits, wide = np.finfo(rho.dtype), rho.astype(np.float64)
    before = np.log(wide) - np.log1p(-wide)
    after = before + step
    low, high = np.log(limits.tiny) + 20, -np.log(limits.epsneg) - 2
    return np.asarray(((after > low) & (after < high)) | (np.abs(after) <= np.abs(before)))
