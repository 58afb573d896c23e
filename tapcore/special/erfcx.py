"""The scaled complementary error function ``erfcx(x) = e^(x^2) erfc(x)``, for arrays and inside compiled code.

For x >= 0, ``(1 + 2 x) erfcx(x)`` runs smoothly from 1 to 2/sqrt(pi), which calls for the variable
``t = (x - 3)/(x + 3)`` (Shepherd and Laframboise, Math. Comp. 36, 249, 1981); ``1 + (1 + t) Q(t)`` keeps the digits
next to 1. The coefficients of Q are its Chebyshev series, made with 60 digits. For x < 0, ``2 e^(x^2) - erfcx(-x)``.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from tapcore._base.intrinsics import fma
from tapcore._base.jit import also_compiled, by_type, kernel, scalar
from tapcore.special.elementary import constants, exp_any
from tapcore.special.faces import broadcast

Array = NDArray[Any]


def erfcx(x: ArrayLike, out: Array | None = None) -> Any:
    """Scaled complementary error function ``e^(x^2) erfc(x)``.

    Parameters
    ----------
    x : array_like of real numbers
        Any value. float32 is computed in float32, everything else in float64.
    out : array, optional
        Where to write, of the result's shape and dtype.

    Returns
    -------
    array or scalar
        Positive and decreasing: about ``1/(sqrt(pi) x)`` far to the right, inf below -26.7 (float32: -9.4).

    Raises
    ------
    TypeError
        `x` is not of real numbers, or `out` no array of the result's dtype.
    ValueError
        `out` of another shape, or not writeable.

    Notes
    -----
    Largest error against mpmath among 20,000 points over the whole range: 2.1 ulp in float64, 2.4 ulp in float32.
    """
    return broadcast(_erfcx_loop, x, out)


@by_type
def _series(t: Any) -> Any:
    """Q in (1 + 2 x) erfcx(x) = 1 + (1 + t) Q(t); relative error of the sum 2.4e-18, in float32 8.7e-9."""


@_series.register(np.float64)
def _series_double(t: Any) -> Any:
    p = fma(-1.3510127321774597e-10, t, 1.148276074621727e-10)
    p = fma(p, t, 1.6027041543222639e-09)
    p = fma(p, t, -4.897403923153722e-10)
    p = fma(p, t, -1.025255970965271e-08)
    p = fma(p, t, -3.4088135815598936e-09)
    p = fma(p, t, 4.869896395234286e-08)
    p = fma(p, t, 5.369160013408846e-08)
    p = fma(p, t, -1.9873044995621454e-07)
    p = fma(p, t, -4.184349533825192e-07)
    p = fma(p, t, 7.775197865098954e-07)
    p = fma(p, t, 2.6952348534304983e-06)
    p = fma(p, t, -3.427724983452145e-06)
    p = fma(p, t, -1.6672993986701266e-05)
    p = fma(p, t, 2.162275920985021e-05)
    p = fma(p, t, 0.00010347663794188368)
    p = fma(p, t, -0.0002086364878243849)
    p = fma(p, t, -0.0005711957928892651)
    p = fma(p, t, 0.0024598861570499105)
    p = fma(p, t, 6.95056600264739e-05)
    p = fma(p, t, -0.023840020578874438)
    p = fma(p, t, 0.09214804792278758)
    p = fma(p, t, -0.21142171133809776)
    p = fma(p, t, 0.3410668700408603)
    p = fma(p, t, -0.38862916439431083)
    return fma(p, t, 0.25300805826972966)


@_series.register(np.float32)
def _series_single(t: Any) -> Any:
    p = fma(np.float32(1.4042743714526296e-05), t, np.float32(6.570917321369052e-05))
    p = fma(p, t, np.float32(-0.00020038257935084403))
    p = fma(p, t, np.float32(-0.0005327857215888798))
    p = fma(p, t, np.float32(0.002455259207636118))
    p = fma(p, t, np.float32(5.057238013250753e-05))
    p = fma(p, t, np.float32(-0.023838723078370094))
    p = fma(p, t, np.float32(0.09215235710144043))
    p = fma(p, t, np.float32(-0.21142186224460602))
    p = fma(p, t, np.float32(0.34106650948524475))
    p = fma(p, t, np.float32(-0.38862916827201843))
    return fma(p, t, np.float32(0.25300806760787964))


@scalar
def erfcx_positive(x: Any) -> Any:
    """erfcx(x) for x >= 0 and NaN."""
    c = constants(x)
    three = c.two + c.one
    r = c.one / (x + three)
    # Far to the right t is 1; the bound keeps inf times 0 away.
    near = x < c.far
    t, u = (x - three) * r, c.two * x * r
    t, u = t if near else c.one, u if near else c.two
    # Halved, so that the divisor does not overflow; `lost` is what its rounding left out.
    d = c.half + x
    lost = (x if x < c.half else c.half) - (d - (c.half if x < c.half else x))
    top, r = c.half * fma(u, _series(t), c.one), c.one / d
    y = top * r
    # One step of Newton makes up for both roundings.
    better = fma(fma(-y, d, top) - y * lost, r, y)
    return better if near else y


@also_compiled(erfcx)
@scalar
def _erfcx(x: Any) -> Any:
    c = constants(x)
    size = abs(x)
    right = erfcx_positive(size)
    square = size * size
    # What rounding took from the square counts in full in the exponential; past overflow it would make NaN of inf.
    e = exp_any(square)
    grown = fma(e, fma(size, size, -square), e)
    left = c.two * (grown if e < c.greatest else e) - right
    return left if x < c.zero else right


@kernel()
def _erfcx_loop(x: Array, out: Array) -> None:
    for i in range(x.size):
        out[i] = _erfcx(x[i])
