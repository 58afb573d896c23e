"""The weight ``exp(-s x^2/2 + b x)`` on ``[lo, hi]``, for precision s of any sign: moments, density, samples.

Every function broadcasts over its arguments like a NumPy function. `moments` also runs on numbers inside functions
compiled by Numba.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from tapcore._base import checks
from tapcore._base.jit import also_compiled, kernel, scalar
from tapcore._base.random import Stream, stream_from
from tapcore.special.truncnorm.batch import CHUNK, CHUNK_MOMENTS, moments_of_chunk
from tapcore.special.truncnorm.draw import draw
from tapcore.special.truncnorm.point import describe, energy_between

Array = NDArray[Any]

__all__ = ["cdf", "log_density", "moments", "sample"]


def moments(
    s: ArrayLike, b: ArrayLike, lo: ArrayLike, hi: ArrayLike, out: tuple[Array, Array, Array] | None = None
) -> tuple[Any, Any, Any]:
    """Log-mass, mean and variance of ``exp(-s x^2/2 + b x)`` on ``[lo, hi]``.

    Parameters
    ----------
    s, b : array_like of real numbers
        Precision, of any sign, and field, in this order; the moments of a layer take the field first.
    lo, hi : array_like of real numbers
        Ends of the interval; either may be infinite.
    out : tuple of three arrays, optional
        Where to write, each of the broadcast shape and of the result's dtype, writeable and apart from the others.

    Returns
    -------
    log_z, mean, var : arrays or scalars
        ``ln Z = ln of the integral``, ``d ln Z/db`` and ``d^2 ln Z/db^2``; float32 if every array among the arguments
        is, or else float64; all are computed in float64. ``lo <= mean <= hi`` and ``var <= (hi - lo)^2/4`` hold
        exactly. NaN where the weight cannot be normalised (an infinite end needs s > 0, or s = 0 and a decay), and
        where s or b is NaN or infinite.

    Raises
    ------
    ValueError
        Arguments that are not real numbers or do not broadcast, ``lo >= hi`` or NaN among the ends, or `out` of another
        shape, not writeable, or one array twice. All before any work.
    TypeError
        `out` is no tuple of three arrays of the result's dtype.

    Notes
    -----
    Errors are measured as |d ln Z|/max(1, |ln Z|), |d mean|/max(|mean|, hi - lo) and |d var|/var. The largest against
    2,000 certified points, s and b to +-1e8 and intervals of width 1e-7 to 1e6 within +-1e6, half-infinite and infinite
    ones among them, are 8e-16, 4e-16 and 3e-15. The asymptotic series of 11 terms (Eq. C19, corrected) serves only
    where it reaches the last digits: where the slope g at the dominating end has ``g^2 >= 420 |s|`` and the other end
    is lost in rounding; cut off there, it misses at most 2e-19, 4e-18 and 9e-17.

    Functions compiled by Numba may call it on numbers, by position, without `out`; it then computes in float64, and an
    interval that is none gives NaN. The other functions here are for Python only.

    Examples
    --------
    >>> log_z, mean, var = moments(-40.0, -19.0, 0.0, 1.0)
    """
    arrays = [checks.real_array(name, x) for name, x in (("s", s), ("b", b), ("lo", lo), ("hi", hi))]
    dtype, flat, shape = _prepared(arrays, (s, b, lo, hi))
    if out is not None:
        _check_out(out, dtype, shape)
    made = tuple(np.empty(flat[0].shape) for _ in range(3))
    CHUNK_MOMENTS.ready()
    _moments_loop(*flat, *made)
    results = tuple(x.reshape(shape) for x in made)
    if out is None:
        return tuple(x.astype(dtype, copy=False)[()] for x in results)  # type: ignore[return-value]
    for array, result in zip(out, results, strict=True):
        array[...] = result
    return out


def _check_out(out: Any, dtype: Any, shape: tuple[int, ...]) -> None:
    if not isinstance(out, tuple) or len(out) != 3:
        raise TypeError("out must be a tuple of three arrays")
    for array in out:
        if not isinstance(array, np.ndarray) or array.dtype != dtype:
            raise TypeError(f"out must hold {dtype} arrays, got {getattr(array, 'dtype', type(array).__name__)}")
        if array.shape != shape:
            raise ValueError(f"out must hold arrays of shape {shape}, got {array.shape}")
        if not array.flags.writeable:
            raise ValueError("out must hold arrays that can be written to")
    if any(np.shares_memory(out[i], out[j]) for i, j in ((0, 1), (0, 2), (1, 2))):
        raise ValueError("out must hold three arrays apart from each other")


def log_density(x: ArrayLike, s: ArrayLike, b: ArrayLike, lo: ArrayLike, hi: ArrayLike) -> Any:
    """Logarithm of the normalised density at x: ``-s x^2/2 + b x - ln Z``.

    Parameters
    ----------
    x : array_like of real numbers
        Where; -inf comes back outside ``[lo, hi]``.
    s, b, lo, hi : array_like
        As for `moments`, errors too.

    Returns
    -------
    float64 array or scalar
        Computed from the dominating end or the mode, so that nothing cancels where ln Z is large: absolute error a few
        times 1e-16 of ``max(1, |result|)`` plus that of x itself.
    """
    return _over_points(_log_density_loop, x, s, b, lo, hi)


def cdf(x: ArrayLike, s: ArrayLike, b: ArrayLike, lo: ArrayLike, hi: ArrayLike) -> Any:
    """Probability of a value up to x.

    Parameters
    ----------
    x : array_like of real numbers
        Where; 0 comes back below `lo` and 1 above `hi`.
    s, b, lo, hi : array_like
        As for `moments`, errors too. The probability above x is ``cdf(-x, s, -b, -hi, -lo)``.

    Returns
    -------
    float64 array or scalar
        Small probabilities keep their relative accuracy, some 1e-15 times the logarithm.
    """
    return _over_points(_cdf_loop, x, s, b, lo, hi)


def sample(s: ArrayLike, b: ArrayLike, lo: ArrayLike, hi: ArrayLike, rng: np.random.Generator) -> Any:
    """Draw from the normalised weight, exactly (by rejection), one value for each point of the broadcast arguments.

    Parameters
    ----------
    s, b, lo, hi : array_like
        As for `moments`, errors too. Give `lo` the wanted shape for many values of one weight.
    rng : numpy.random.Generator
        Where the random numbers come from; two or three draws a value.

    Returns
    -------
    float64 array or scalar
        In ``[lo, hi]``; NaN where `moments` gives NaN.
    """
    checks.generator("rng", rng)
    arrays = [checks.real_array(name, x) for name, x in (("s", s), ("b", b), ("lo", lo), ("hi", hi))]
    _, flat, shape = _prepared(arrays, ())
    made = np.empty(flat[0].shape)
    s_, b_, lo_, hi_ = flat
    _draw_loop(stream_from(rng), s_, b_, lo_, hi_, made)
    return made.reshape(shape)[()]


def _over_points(loop: Callable[..., None], *arguments: ArrayLike) -> Any:
    arrays = [checks.real_array(name, x) for name, x in zip(("x", "s", "b", "lo", "hi"), arguments, strict=True)]
    _, flat, shape = _prepared(arrays, ())
    made = np.empty(flat[0].shape)
    loop(*flat, made)
    return made.reshape(shape)[()]


def _prepared(arrays: list[Array], given: tuple[ArrayLike, ...]) -> tuple[Any, list[Array], tuple[int, ...]]:
    """(dtype of the result, flat float64 arguments, broadcast shape); the ends are the last two arrays."""
    # Python's own numbers take the dtype of the rest, as elsewhere in NumPy.
    kinds = [x if isinstance(x, int | float) else array.dtype for x, array in zip(given, arrays, strict=False)]
    single = bool(kinds) and np.result_type(*kinds) == np.float32
    try:
        shape = np.broadcast_shapes(*(x.shape for x in arrays))
    except ValueError:
        names = ("x", "s", "b", "lo", "hi")[-len(arrays) :]
        shapes = ", ".join(f"{name} {x.shape}" for name, x in zip(names, arrays, strict=True))
        raise ValueError(f"arguments must broadcast together, got shapes {shapes}") from None
    # Copies where need be: of what is broadcast NumPy warns once Numba asks whether it can be written to.
    full = [x if x.shape == shape else np.array(np.broadcast_to(x, shape)) for x in arrays]
    bad = ~(full[-2] < full[-1])
    if bad.any():
        at = tuple(int(i) for i in np.argwhere(bad)[0])
        where = f" at index {at}" if at else ""
        raise ValueError(f"lo and hi must be numbers with lo < hi, got {full[-2][at]} and {full[-1][at]}{where}")
    flat = [np.ascontiguousarray(x, np.float64).reshape(-1) for x in full]
    return np.dtype(np.float32 if single else np.float64), flat, shape


@also_compiled(moments)
@scalar
def _moments(s: float, b: float, lo: float, hi: float) -> tuple[float, float, float]:
    _, energy, log_mass, mean, var = describe(np.float64(s), np.float64(b), np.float64(lo), np.float64(hi))
    return energy + log_mass, mean, var


@kernel()
def _moments_loop(s: Array, b: Array, lo: Array, hi: Array, log_z: Array, mean: Array, var: Array) -> None:
    for a in range(0, s.size, CHUNK):
        z = min(a + CHUNK, s.size)
        moments_of_chunk(s[a:z], b[a:z], lo[a:z], hi[a:z], True, log_z[a:z], mean[a:z], var[a:z])


@kernel()
def _log_density_loop(x: Array, s: Array, b: Array, lo: Array, hi: Array, out: Array) -> None:
    for i in range(x.size):
        reference, _, log_mass, _, _ = describe(s[i], b[i], lo[i], hi[i])
        inside = lo[i] <= x[i] <= hi[i] and math.isfinite(x[i])
        out[i] = energy_between(s[i], b[i], x[i], reference) - log_mass if inside else -math.inf
        if math.isnan(log_mass) or math.isnan(x[i]):
            out[i] = math.nan


@kernel()
def _cdf_loop(x: Array, s: Array, b: Array, lo: Array, hi: Array, out: Array) -> None:
    for i in range(x.size):
        reference, _, log_mass, _, _ = describe(s[i], b[i], lo[i], hi[i])
        part, _, log_part, _, _ = describe(s[i], b[i], lo[i], x[i])
        below = math.exp(min(energy_between(s[i], b[i], part, reference) + (log_part - log_mass), 0.0))
        out[i] = 0.0 if x[i] <= lo[i] else (1.0 if x[i] >= hi[i] else below)
        if math.isnan(log_mass) or math.isnan(x[i]):
            out[i] = math.nan


@kernel()
def _draw_loop(stream: Stream, s: Array, b: Array, lo: Array, hi: Array, out: Array) -> None:
    for i in range(s.size):
        out[i] = draw(stream, s[i], b[i], lo[i], hi[i])
