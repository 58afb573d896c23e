"""What every unit type provides: a class for users and compiled rows for the kernels.

A unit type is one file that defines

- a NamedTuple of its parameter arrays, the *site*;
- ``row_moments`` and ``row_log_z`` for that NamedTuple and, as far as the type can do what they are for, ``row_third``,
  ``row_cumulants``, ``row_slab`` and ``row_draw`` (`rows.py`);
- a `Unit` subclass with parameters, their check, its support and its weight; what else it does has defaults.

Kernels take `Sites` (`sites.py`) and never ask which units they hold.
"""

from __future__ import annotations

import abc
from typing import Any, ClassVar, Self, TypeVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

from tapcore._base import checks, footprint
from tapcore._base.random import stream_from
from tapcore.units import natural_fit
from tapcore.units.codes import columns_of
from tapcore.units.definition import FIELD, PRECISION, check_definition
from tapcore.units.parameters import Parameters, parameter
from tapcore.units.sites import DRAW, LOG_Z, MOMENTS, call_rows, sites_of
from tapcore.units.steps import PlainSteps, Steps

Array = NDArray[Any]
AnyUnit = TypeVar("AnyUnit", bound="Unit")


def row_average(x: Array, weights: Array | None) -> Array:
    """Average over rows of `x` (K, n), alike or by `weights` (K,) that add up to 1."""
    # einsum and not a product: threads of a BLAS would be in the way of those of kernels.
    return np.asarray(x.mean(axis=0) if weights is None else np.einsum("k,kn->n", weights, x))


class Unit(Parameters, abc.ABC):
    """A layer of n independent sites with unnormalised weights ``phi_i(x)``; immutable.

    A row of the layer has a number for each site, its columns. Sites of several columns say so in `widths`; wherever
    (n,) or (..., n) stands below, these have (columns,) and (..., columns).

    Attributes
    ----------
    n : int
        Number of sites.
    parameters : dict of str to (n,) array
        The parameters by name, read-only, float64 (float32 inside a float32 machine). Sites of several columns may have
        one-dimensional arrays of other lengths.
    """

    #: Those of `names` that say what the support is: neither fitted nor trained.
    fixed: ClassVar[tuple[str, ...]] = ()
    #: The NamedTuple of its parameter arrays, fields in the order of `names`.
    site_type: ClassVar[Any]
    #: What the support is, for error messages.
    support: ClassVar[str]
    #: The two states, where there are no others.
    levels: ClassVar[tuple[float, float] | None] = None

    #: Every unit type by name.
    registry: ClassVar[dict[str, type[Unit]]] = {}

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        if "site_type" not in cls.__dict__:  # what only some types share
            return
        check_definition(cls, Unit)
        for name in cls.names:
            if not hasattr(cls, name):
                setattr(cls, name, parameter(name, f"Parameters {name}"))
        Unit.registry[cls.__name__] = cls

    def __init__(self, n: int, **parameters: ArrayLike) -> None:
        n = checks.integer("n", n, minimum=1)
        footprint.check("n", n, n * 8 * len(self.names))
        lengths = self.lengths(n, parameters)
        if {*lengths} != {*self.names}:
            raise TypeError(f"{type(self).__name__}: lengths must be of {self.names}, got {tuple(lengths)}")
        arrays = {name: checks.per_site(name, parameters[name], lengths[name]) for name in self.names}
        self.check_parameters(arrays)
        self._set(n, arrays)
        self._check_columns()

    def _check_columns(self) -> None:
        """Refuse widths that are none, and fields of another number than columns, which kernels would read beyond."""
        kind, widths = type(self).__name__, self.widths
        if widths is not None:
            array = np.asarray(widths)
            if array.shape != (self.n,) or array.dtype.kind != "i" or (array < 1).any():
                raise TypeError(f"{kind}: widths must be an array of {self.n} integers of at least 1, got {widths!r}")
            if self.parameters[FIELD].size != self.columns:
                raise TypeError(
                    f"{kind}: {FIELD} must have a number for each of {self.columns} columns, got "
                    f"{self.parameters[FIELD].size}: see lengths"
                )

    # -- what a unit type defines ------------------------------------------------------------------------------------

    @abc.abstractmethod
    def log_weight(self, x: ArrayLike) -> Array:
        """Log of the unnormalised weight at `x`, ln phi_i(x_i): (..., n), -inf outside the support."""

    def bounds(self) -> tuple[Array, Array]:
        """Ends of the interval in which every mean lies, each broadcasting to (n,); for types with `levels` known."""
        assert self.levels is not None
        low, high = self.levels
        return np.full(1, low), np.full(1, high)

    # -- sites of several columns, and layers of several blocks ------------------------------------------------------

    @property
    def widths(self) -> NDArray[np.int64] | None:
        """Columns of each site, (n,); None where each has one.

        Columns of one site exclude each other: each is 0 or 1, and no two are 1, so that their covariances are
        ``diag(p) - p p^T``, p the means. Their ln Z stands in the first column, 0 in the others.
        """
        return None

    @classmethod
    def lengths(cls, n: int, parameters: dict[str, ArrayLike]) -> dict[str, int]:
        """Numbers in each parameter array of `n` sites, for `parameters` as the constructor was given them."""
        return dict.fromkeys(cls.names, n)

    @property
    def columns(self) -> int:
        """Numbers of a row: n, or the sum of `widths`."""
        widths = self.widths
        return self.n if widths is None else int(widths.sum())

    @property
    def blocks(self) -> tuple[Unit, ...]:
        """Layers of one type each, whose columns stand one after another; this one alone."""
        return (self,)

    # -- what a unit type may refine -----------------------------------------------------------------------------------

    @classmethod
    def check_parameters(cls, parameters: dict[str, Array]) -> None:
        """Raise ValueError, naming the first bad index, unless the weight makes sense with `parameters`, (n,) each."""
        return

    def contains(self, x: Array) -> NDArray[np.bool_]:
        """Which entries of `x` (..., n) lie in the support: the `levels`, or what is finite within the `bounds`."""
        if self.levels is not None:
            low, high = self.levels
            return np.asarray((x == low) | (x == high))
        lo, hi = self.bounds()
        return np.asarray(np.isfinite(x) & (x >= lo) & (x <= hi))

    @classmethod
    def from_data(cls, X: ArrayLike, *args: Any, **kwargs: Any) -> Self:
        """Fit every site to its column of `X` (samples, n) on its own: the theta(0) <- X of Alg. 2.

        By default U and, where there is one, V are those that give each unit the mean and the square of its column and
        of one imaginary sample from the layer with default parameters; others keep their defaults. `args` and `kwargs`
        are the `fixed` parameters of a type that has some. ValueError for `X` of the wrong shape or not in the support.
        """
        array = checks.matrix("X", X, None, rows="samples")
        unit = cls(array.shape[1], **dict(zip(cls.fixed[: len(args)], args, strict=True)), **kwargs)
        unit.check_data("X", array)
        aim = natural_fit.wanted(array, unit.moments)
        for _ in range(2):  # from afar rounding leaves some digits of small parameters out
            shifts = dict(
                zip((FIELD, PRECISION), natural_fit.fit(unit.moments, aim, PRECISION in cls.names), strict=True)
            )
            unit = cls(unit.n, **{name: p + shifts.get(name, 0.0) for name, p in unit.parameters.items()})
        return unit

    def sample(self, B: ArrayLike, A: ArrayLike, rng: np.random.Generator) -> Array:
        """Draw x from ``phi(x) exp(B x - A x^2/2)``, normalised, by the generator `rng`: (..., n).

        ValueError for types without `row_draw`.
        """
        stream = stream_from(checks.generator("rng", rng))
        b, a = self.check_fields(B, A)
        x = np.empty(b.shape, self.dtype)
        b, a, rows = (z.reshape(-1, self.columns) for z in (b, a, x))
        call_rows(sites_of([self], DRAW), DRAW, b, a, stream, rows)
        return x

    def statistics(self, mean: Array, var: Array, B: Array, A: Array, weights: Array | None = None) -> dict[str, Array]:
        """Per parameter, the average over rows of <d ln phi/d parameter> (Eqs. 40, 41).

        The rows (K, n) are means `mean` and variances `var` in fields `B` and precisions `A`; they count alike, or by
        `weights` (K,), of their dtype, at least 0, that add up to 1. By default x for U and ``-x^2/2`` for V.
        """
        averages = {FIELD: row_average(mean, weights)}
        if PRECISION in self.names:
            averages[PRECISION] = -0.5 * row_average(var + mean * mean, weights)
        return averages

    def data_statistics(self, X: Array) -> dict[str, Array]:
        """Per parameter, the average of d ln phi/d parameter over the samples `X` (samples, n)."""
        averages = {FIELD: X.mean(axis=0)}
        return averages if PRECISION not in self.names else {**averages, PRECISION: -0.5 * (X * X).mean(axis=0)}

    def parameter_slopes(self, slopes: Array) -> dict[str, Array]:
        """Per parameter, the derivative of a function of ln Z and moments.

        `slopes` (3, n) are those with B, with A, and with the logarithm of the slab's weight: U adds to B, V to A.
        """
        return {name: slopes[("U", "V").index(name)] for name in self.names if name in ("U", "V")}

    def standard(self) -> tuple[Array, Array] | None:
        """Shift and scale, (n,) float64 each, of the coordinates z, ``x = shift + scale z``, that suit the layer's law.

        None for units that have no other coordinates.
        """
        return None

    def _moved(self, parameters: dict[str, Array], shift: Array, scale: Array) -> dict[str, Array]:
        """Parameters of ``shift + scale z`` for those of z, all float64, of units with `standard` coordinates."""
        raise TypeError(f"a {type(self).__name__} layer has no other coordinates")

    def tail_precision(self) -> Array | None:
        """Precisions (n,) that hold values on the whole line; None where all values are bounded."""
        return None

    def has_density(self, x: Array) -> NDArray[np.bool_]:
        """Which entries of `x` (..., n) have a density, rather than a probability."""
        return np.zeros(np.shape(x), np.bool_)

    # -- what all share ----------------------------------------------------------------------------------------------

    def moments(self, B: ArrayLike, A: ArrayLike) -> tuple[Array, Array, Array]:
        """Log-normaliser, mean and variance of ``phi(x) exp(B x - A x^2/2)`` at every site.

        Parameters
        ----------
        B, A : array_like
            Fields and precisions, any finite value, broadcasting to (..., n).

        Returns
        -------
        log_z, mean, var : (..., n) arrays
            ``ln Z(B, A)``, ``f_a = d ln Z/dB`` and ``f_c = d f_a/dB``. NaN where B or A is NaN.

        Raises
        ------
        ValueError
            B and A do not broadcast to (..., n).
        """
        b, a = self.check_fields(B, A)
        log_z, mean, var = (np.empty(b.shape, self.dtype) for _ in range(3))
        b, a, *rows = (x.reshape(-1, self.columns) for x in (b, a, log_z, mean, var))
        sites = sites_of([self], LOG_Z, MOMENTS)
        call_rows(sites, LOG_Z, b, a, rows[0])
        call_rows(sites, MOMENTS, b, a, *rows[1:])
        return log_z, mean, var

    def check_fields(self, B: ArrayLike, A: ArrayLike) -> tuple[Array, Array]:
        """Broadcast `B` and `A` to contiguous (..., n) arrays of the layer's dtype, or raise ValueError."""
        b, a = (checks.rounded(checks.real_array(name, x), self.dtype) for name, x in (("B", B), ("A", A)))
        try:
            b, a, _ = np.broadcast_arrays(b, a, np.empty(self.columns, self.dtype))
        except ValueError:
            raise ValueError(
                f"B and A must broadcast to (..., {self.columns}), got shapes {np.shape(B)} and {np.shape(A)}"
            ) from None
        if b.shape[-1] != self.columns:
            raise ValueError(f"B and A must broadcast to (..., {self.columns}), got {b.shape}")
        # Copies: what is broadcast along no axis is contiguous, but may not be written to.
        return np.array(b, self.dtype, order="C"), np.array(a, self.dtype, order="C")

    def fitted(self, X: ArrayLike) -> Self:
        """`from_data` of `X` with the support of this layer."""
        support: Any = {name: self.parameters[name] for name in self.fixed}
        return type(self).from_data(checks.rounded_rows(checks.real_array("X", X), self.dtype), **support)

    def untouched(self) -> bool:
        """Whether every parameter has its default, those of the support aside."""
        support = {name: self.parameters[name] for name in self.fixed}
        return bool(self == type(self)(self.n, **support).astype(self.dtype))

    def random_means(self, count: int, rng: np.random.Generator) -> Array:
        """Means drawn uniformly from the range of means by the generator `rng`: (`count`, n)."""
        lo, hi = self.bounds()
        return rng.uniform(lo, hi, (count, self.columns))

    def moved(self, shift: Array, scale: Array) -> Self:
        """Layer of ``x = shift + scale z``, up to a factor of each weight, where this one is of z; same dtype.

        For units that have `standard` coordinates; those with an atom at 0 have no shift.
        """
        wide = {name: p.astype(np.float64) for name, p in self.parameters.items()}
        return self.with_parameters({name: p.astype(self.dtype) for name, p in self._moved(wide, shift, scale).items()})

    def inward(self, shift: Array, scale: Array) -> Self:
        """The layer of z for this one of x, ``x = shift + scale z``; ends of a support are moved as data are."""
        ends = {name: ((self.parameters[name] - shift) / scale).astype(self.dtype) for name in self.fixed}
        return self._with(self.moved(-shift / scale, 1 / scale), ends)

    def outward(self, shift: Array, scale: Array, before: Self) -> Self:
        """The layer of ``x = shift + scale z`` for this one of z, with the support of `before`, the same to the bit."""
        return self._with(self.moved(shift, scale), {name: before.parameters[name] for name in self.fixed})

    @staticmethod
    def _with(layer: AnyUnit, some: dict[str, Array]) -> AnyUnit:
        return layer.with_parameters(layer.parameters | some) if some else layer

    def ascend(self, parameters: dict[str, Array], gradient: dict[str, Array], rate: float) -> None:
        """Take a training step in place: ``theta += rate * gradient`` for each array of `parameters` (Alg. 2)."""
        for name, slope in gradient.items():
            parameters[name] += rate * slope

    def steps(self, model: dict[str, Array]) -> Steps:
        """Coordinates in which Adam moves the parameters from where they are; by default these, by `ascend`.

        `model` holds the averages of d ln phi/d parameter over the chains, as `statistics` gives them.
        """
        return PlainSteps(self)

    def add_fields(self, parameters: dict[str, Array], fields: Array) -> None:
        """Change `parameters`, in place, as if `fields` (columns,) were added to what neighbours send."""
        parameters[FIELD] += fields

    def field_statistic(self, statistics: dict[str, Array]) -> Array:
        """The average of x, (columns,), among `statistics`: averages of d ln phi/d parameter or differences of such."""
        return statistics[FIELD]

    def check_data(self, name: str, X: Array) -> None:
        """Raise ValueError, naming the first bad index, unless all of `X` (rows, n) is finite and in the support.

        `name` is that of the argument. The ends of a float32 layer's support are rounded, and so are data before they
        are compared with them.
        """
        checks.every(name, X, self.rule(X), lambda x: self.contains(self.rounded(x)))

    def rows(self, name: str, X: ArrayLike, rows: str) -> Array:
        """`X` as an array (rows, n), codes of states as the columns that they stand for.

        `name` is that of the argument, `rows` what its rows are. ValueError for another shape, or what is no code.
        """
        widths = self.widths
        if widths is not None:
            array = checks.matrix(name, X, None, rows=rows)
            if array.shape[1] == self.n < self.columns:
                return columns_of(name, array, widths)
            if array.shape[1] != self.columns:
                raise ValueError(
                    f"{name} must have shape ({rows}, {self.columns}), or ({rows}, {self.n}) of codes, "
                    f"got {array.shape}"
                )
        return checks.matrix(name, X, self.columns, rows=rows)

    def samples(self, name: str, X: ArrayLike, rows: str = "samples") -> Array:
        """`X` as `rows` gives it, an array (rows, columns), all of it in the support.

        `name` is that of the argument, `rows` what its rows are. ValueError, naming the first bad index, if it is not.
        """
        array = self.rows(name, X, rows)
        self.check_data(name, array)
        return array

    def check_means(self, name: str, X: Array) -> None:
        """Raise ValueError, naming the first bad index, unless every entry of `X` (rows, n) can be a mean.

        `name` is that of the argument. Means are rounded before they are compared, as data are.
        """
        lo, hi = self.bounds()

        def rule() -> str:
            kind = f"a {type(self).__name__} layer ({np.min(lo):g} to {np.max(hi):g})"
            return f"must lie in the range of means of {kind}{self._rounding(X)}"

        def good(x: Array) -> NDArray[np.bool_]:
            x = checks.rounded(x, self.dtype)
            return np.asarray(np.isfinite(x) & (x >= lo) & (x <= hi))

        checks.every(name, X, rule, good)

    def rounded(self, x: Array) -> Array:
        """Values as the layer holds them, in its own dtype where `x` has more digits; `levels` have none to lose."""
        return x if self.levels is not None else checks.rounded(x, self.dtype)

    def rule(self, x: Array) -> str:
        """What data like `x` must be, for messages."""
        return f"must be {self.support}{self._rounding(x)} for a {type(self).__name__} layer"

    def _rounding(self, x: Array) -> str:
        """What a message says of data that `rounded` changes."""
        return "" if self.levels is not None or np.can_cast(x.dtype, self.dtype) else f" in {self.dtype}"
