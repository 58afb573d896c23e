"""Noisy channels: what an observation says of the visible units, as fields on them or as values they are clamped to."""

from __future__ import annotations

import abc
import math
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from tapcore._base import checks
from tapcore.inference.outside import Clamped
from tapcore.units import Unit

Array = NDArray[Any]


def check_layer(name: str, unit: Any) -> None:
    """Refuse what is no layer of units."""
    if not isinstance(unit, Unit):
        raise ValueError(f"{name} must be a layer of units, such as machine.layers[0], got {type(unit).__name__}")


def signals(unit: Unit, X: ArrayLike) -> Array:
    """`X` as values of a layer, (K, n) float64, or ValueError."""
    check_layer("unit", unit)
    return unit.samples("X", X, "signals").astype(np.float64)


class Channel(abc.ABC):
    """What happened to a signal x before it was observed as y: a likelihood P(y|x), unit by unit."""

    @abc.abstractmethod
    def entry(self, unit: Unit, Y: Array) -> Any:
        """What observations say of a visible layer, as an entry of the `fields` of `solve`.

        Parameters
        ----------
        unit : Unit
            The visible layer.
        Y : (K, n) array
            Observations; NaN only where the channel does not look.

        Returns
        -------
        Clamped or (fields, precisions)
            Each of these broadcasts to (K, n).

        Raises
        ------
        ValueError
            The layer cannot take this channel, or `Y` is not what it can yield.
        """

    @abc.abstractmethod
    def corrupt(self, unit: Unit, X: ArrayLike, rng: np.random.Generator) -> Array:
        """Send signals of a visible layer through the channel.

        Parameters
        ----------
        unit : Unit
            The visible layer.
        X : (K, n) array_like
            Signals in its support.
        rng : numpy.random.Generator
            Where the noise comes from.

        Returns
        -------
        (K, n) array
            What is observed; NaN where nothing is.

        Raises
        ------
        ValueError
            Signals that are no matrix of the layer's width or outside its support; the layer cannot take this channel;
            or `rng` is not a generator.
        """

    def observed(self, shape: tuple[int, int]) -> NDArray[np.bool_]:
        """Which units are observed at all.

        Parameters
        ----------
        shape : (int, int)
            Observations K and visible units n.

        Returns
        -------
        (K, n) array of bool
        """
        return np.ones(shape, np.bool_)


class BinarySymmetric(Channel):
    """Each unit is seen in its other state with probability p: for visible units of two states (Eqs. 42, 43).

    It adds ``ln((1 - p)/p)`` to the log-weight of the state seen; p = 0 clamps the units to what is seen.

    Parameters
    ----------
    p : float
        0 to 1/2.

    Raises
    ------
    ValueError
        `p` outside this range.
    """

    def __init__(self, p: float) -> None:
        self.p = checks.number("p", p, minimum=0.0, maximum=0.5)

    def entry(self, unit: Unit, Y: Array) -> Any:
        """Fields ``+-ln((1 - p)/p)`` over the distance of the two states."""
        low, high = self._states(unit)
        unit.check_data("Y", Y)
        if self.p == 0.0:
            return Clamped(Y)
        size = (math.log1p(-self.p) - math.log(self.p)) / (high - low)
        return np.where(high == Y, size, -size), 0.0

    def corrupt(self, unit: Unit, X: ArrayLike, rng: np.random.Generator) -> Array:
        """Flip each unit with probability p."""
        x = signals(unit, X)
        low, high = self._states(unit)
        checks.generator("rng", rng)
        return np.where(rng.random(x.shape) < self.p, low + high - x, x)

    def _states(self, unit: Unit) -> tuple[float, float]:
        if unit.levels is None:
            raise ValueError(
                f"channel BinarySymmetric needs visible units of two states, got {type(unit).__name__}: "
                "GaussianNoise and Erasure are for any"
            )
        return unit.levels

    def __repr__(self) -> str:
        return f"BinarySymmetric(p={self.p:g})"


class Erasure(Channel):
    """Some units are not seen, all others as they are: in-painting, imputation. For any visible units.

    Parameters
    ----------
    mask : (n,) or (K, n) array_like of bool
        True where a unit is erased; a row for each observation, or one for all. What `Y` holds there is not looked at.

    Raises
    ------
    ValueError
        `mask` that is not boolean or has more than two axes.
    """

    def __init__(self, mask: ArrayLike) -> None:
        rule = "a boolean array (n,) or (observations, n)"
        self.mask = checks.boolean("mask", mask, rule)
        if self.mask.ndim not in (1, 2):
            raise ValueError(f"mask must be {rule}, got {self.mask.dtype} of shape {self.mask.shape}")

    def entry(self, unit: Unit, Y: Array) -> Any:
        """Units that are seen are clamped."""
        seen = self.observed((len(Y), unit.columns))
        bad = seen & ~unit.contains(unit.rounded(Y))
        if bad.any():
            k, i = checks.first_index(bad)
            raise ValueError(f"Y {unit.rule(Y)}: Y[{k}, {i}] is {Y[k, i]!s}")
        return Clamped(Y, where=seen)

    def corrupt(self, unit: Unit, X: ArrayLike, rng: np.random.Generator) -> Array:
        """Put NaN where units are erased; nothing is drawn."""
        x = signals(unit, X)
        return np.where(self.observed((len(x), unit.columns)), x, np.nan)

    def observed(self, shape: tuple[int, int]) -> NDArray[np.bool_]:
        """Where the mask is False."""
        if self.mask.shape[-1] != shape[1] or (self.mask.ndim == 2 and len(self.mask) not in (1, shape[0])):
            raise ValueError(f"mask must broadcast to {shape}, (observations, units), got shape {self.mask.shape}")
        return np.broadcast_to(~self.mask, shape)

    def __repr__(self) -> str:
        return f"Erasure({self.mask.mean():.0%} of the units)"


class GaussianNoise(Channel):
    """Each unit is seen with Gaussian noise added, independent of all else. For any visible units.

    It adds ``y/variance`` to U and ``1/variance`` to V.

    Parameters
    ----------
    variance : float or (n,) array_like
        Of the noise; positive.

    Raises
    ------
    ValueError
        `variance` that is not finite and positive.
    """

    def __init__(self, variance: ArrayLike) -> None:
        self.variance = checks.real_array("variance", variance).astype(np.float64)
        if self.variance.ndim > 1:
            raise ValueError(f"variance must be a number or an array (n,), got shape {self.variance.shape}")
        checks.every("variance", self.variance, "must be finite and positive", lambda v: np.isfinite(v) & (v > 0))

    def entry(self, unit: Unit, Y: Array) -> Any:
        """Fields and precisions of the likelihood."""
        checks.finite("Y", Y)
        variance = checks.per_site("variance", self.variance, unit.columns)
        with np.errstate(over="ignore"):
            entry = Y / variance, 1.0 / variance
        for name, x in zip(("Y / variance", "1 / variance"), entry, strict=True):
            checks.finite(name, x, unit.dtype)
        return entry

    def corrupt(self, unit: Unit, X: ArrayLike, rng: np.random.Generator) -> Array:
        """Add noise."""
        x = signals(unit, X)
        variance = checks.per_site("variance", self.variance, unit.columns)
        checks.generator("rng", rng)
        return x + np.sqrt(variance) * rng.standard_normal(x.shape)

    def __repr__(self) -> str:
        v = self.variance
        return f"GaussianNoise(variance={v:g})" if v.ndim == 0 else f"GaussianNoise({v.size} variances)"
