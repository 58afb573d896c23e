"""Exponential and logarithm without branches, tables or calls, so that loops over them vectorise; float64 and float32.

The two dtypes share every formula; what differs is a set of constants and two polynomials, chosen by the argument's
type. The coefficients minimise the largest relative error (Remez, 60 digits) of expm1(r) on |r| <= log(2)/2 and of
log1p on [-1/4, 1/2].
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from tapcore._base.intrinsics import bits_to_float, float_to_bits, fma
from tapcore._base.jit import by_type, scalar


class _Constants(NamedTuple):
    zero: Any
    half: Any
    one: Any
    two: Any
    four: Any
    round: Any  # adding it rounds to an integer, which then stands in the lowest bits
    log2_e: Any
    log_2_high: Any
    log_2_low: Any
    least: Any  # exp is 0 below
    most: Any  # exp is inf above
    least_normal: Any  # exp is subnormal or 0 below
    greatest: Any  # the largest finite number
    far: Any  # x + 3 is x above, to the last digit


_DOUBLE = _Constants(
    0.0, 0.5, 1.0, 2.0, 4.0, 6755399441055744.0, 1.4426950408889634, 0.6931471805599453, 2.3190468138462996e-17,
    -746.0, 710.0, -708.0, 1.7976931348623157e308, 1e17,
)  # fmt: skip
_SINGLE = _Constants(
    *map(
        np.float32,
        (0.0, 0.5, 1.0, 2.0, 4.0, 12582912.0, 1.4426950408889634, 0.6931471824645996, -1.904654299958e-09,
         -105.0, 89.0, -87.0, 3.4028234663852886e38, 1e9),
    )
)  # fmt: skip


@by_type
def constants(x: Any) -> Any:
    """Constants of the dtype of `x`."""


@constants.register(np.float64)
def _double_constants(x: Any) -> Any:
    return _DOUBLE


@constants.register(np.float32)
def _single_constants(x: Any) -> Any:
    return _SINGLE


@by_type
def _exp_tail(r: Any) -> Any:
    """P in e^r = 1 + r + r^2 P(r), |r| <= log(2)/2; relative error of r + r^2 P: 1.8e-17, in float32 1.4e-8."""


@_exp_tail.register(np.float64)
def _exp_tail_double(r: Any) -> Any:
    p = fma(2.5114489065505216e-08, r, 2.762634036570073e-07)
    p = fma(p, r, 2.7557227910224264e-06)
    p = fma(p, r, 2.480150441271324e-05)
    p = fma(p, r, 0.00019841269903071138)
    p = fma(p, r, 0.0013888888932405005)
    p = fma(p, r, 0.008333333333314577)
    p = fma(p, r, 0.04166666666657355)
    p = fma(p, r, 0.16666666666666685)
    return fma(p, r, 0.5000000000000006)


@_exp_tail.register(np.float32)
def _exp_tail_single(r: Any) -> Any:
    p = fma(np.float32(0.0013946462518127022), r, np.float32(0.008366590611850955))
    p = fma(p, r, np.float32(0.041666281861616646))
    p = fma(p, r, np.float32(0.16666542942574777))
    return fma(p, r, np.float32(0.5000000061973201))


@by_type
def _log_tail(z: Any) -> Any:
    """R in 2 atanh(s) = 2 s + s z R(z), z = s^2 <= 0.0401; relative error of the sum: 1.6e-17, in float32 2.9e-9."""


@_log_tail.register(np.float64)
def _log_tail_double(z: Any) -> Any:
    p = fma(0.1537373605528657, z, 0.15249475496464504)
    p = fma(p, z, 0.1818639171657112)
    p = fma(p, z, 0.22222137630924516)
    p = fma(p, z, 0.28571429405953536)
    p = fma(p, z, 0.39999999996102215)
    return fma(p, z, 0.6666666666667282)


@_log_tail.register(np.float32)
def _log_tail_single(z: Any) -> Any:
    p = fma(np.float32(0.30365248868389066), z, np.float32(0.399576078237954))
    return fma(p, z, np.float32(0.666669495101795))


@by_type
def _power_of_two(shifted: Any) -> Any:
    """2^n from n + round: the lowest bits of the sum hold n. Needs 2^n normal."""


@_power_of_two.register(np.float64)
def _power_of_two_double(shifted: Any) -> Any:
    return bits_to_float((float_to_bits(shifted) + np.int64(1023)) << np.int64(52))


@_power_of_two.register(np.float32)
def _power_of_two_single(shifted: Any) -> Any:
    return bits_to_float(np.int32((float_to_bits(shifted) + np.int32(127)) << np.int32(23)))


@scalar
def _reduce(x: Any) -> Any:
    """(n + round, n, r) with x = n log 2 + r, |r| <= log(2)/2."""
    c = constants(x)
    shifted = fma(x, c.log2_e, c.round)
    n = shifted - c.round
    return shifted, n, fma(-n, c.log_2_low, fma(-n, c.log_2_high, x))


@scalar
def exp_any(x: Any) -> Any:
    """e^x for every x: two factors 2^(n/2) reach from the least subnormal to overflow with one rounding each."""
    c = constants(x)
    x = c.least if x < c.least else x  # NaN stays
    x = c.most if x > c.most else x
    _, n, r = _reduce(x)
    p = fma(r * r, _exp_tail(r), r) + c.one
    first = fma(n, c.half, c.round)
    second = (n - (first - c.round)) + c.round
    return p * _power_of_two(first) * _power_of_two(second)


@scalar
def exp_negative(x: Any) -> Any:
    """e^x for x <= 0 and NaN, with subnormal results flushed to 0: a third fewer operations than `exp_any`."""
    c = constants(x)
    shifted, _, r = _reduce(x)
    p = fma(r * r, _exp_tail(r), r) + c.one
    return c.zero if x < c.least_normal else p * _power_of_two(shifted)


@scalar
def exp2_normal(x: Any) -> Any:
    """2^x in float64 where it is a normal number and x is not NaN: nothing else is looked after."""
    # The lowest bits of the sum hold the exponent of 2^n with n the integer next to x.
    shifted = x + 6755399441056767.0
    f = x - (shifted - 6755399441056767.0)
    p = fma(4.4558180309131894e-10, f, 7.0725862145606216e-09)
    p = fma(p, f, 1.0178057086967843e-07)
    p = fma(p, f, 1.3215442586429446e-06)
    p = fma(p, f, 1.5252733841558449e-05)
    p = fma(p, f, 0.00015403530441738847)
    p = fma(p, f, 0.0013333558146406469)
    p = fma(p, f, 0.009618129107606887)
    p = fma(p, f, 0.055504108664821625)
    p = fma(p, f, 0.24022650695910097)
    p = fma(p, f, 0.6931471805599453)
    return fma(p, f, 1.0) * bits_to_float(float_to_bits(shifted) << np.int64(52))


@scalar
def expm1_negative(x: Any) -> Any:
    """(m, l, e^x) for x <= 0 and NaN: m + l = e^x - 1, l below the last digit of m; a subnormal e^x is flushed to 0."""
    c = constants(x)
    low = x < c.least_normal
    shifted, _, r = _reduce(c.least_normal if low else x)
    q = fma(r * r, _exp_tail(r), r)
    s = _power_of_two(shifted)
    m = fma(s, q, s - c.one)
    return m, fma(s, q, (s - c.one) - m), c.zero if low else fma(s, q, s)


@scalar
def log1p_unit(t: Any) -> Any:
    """log(1 + t) for 0 <= t <= 1 and NaN, as log1p(t) up to 1/2 and log 2 + log1p((t - 1)/2) above."""
    c = constants(t)
    above = t > c.half
    f = (t - c.one) * c.half if above else t
    high = c.log_2_high if above else c.zero
    low = c.log_2_low if above else c.zero
    s = f / (c.two + f)
    z = s * s
    halved = c.half * f * f
    return high + (f - (halved - fma(s, fma(z, _log_tail(z), halved), low)))


@by_type
def _split(x: Any) -> Any:
    """(n, m) with x = 2^n m and m in [3/4, 3/2), for a normal x > 0."""


@_split.register(np.float64)
def _split_double(x: Any) -> Any:
    bits = float_to_bits(x)
    n = (bits + np.int64(0x0008000000000000)) >> np.int64(52)
    # The exponent set into the digits of 2^52 makes a float of it without a conversion.
    shifted = bits_to_float(n | np.int64(0x4330000000000000))
    return shifted - 4503599627371519.0, bits_to_float(bits - ((n - np.int64(1023)) << np.int64(52)))


@_split.register(np.float32)
def _split_single(x: Any) -> Any:
    bits = float_to_bits(x)
    n = np.int32((bits + np.int32(0x00400000)) >> np.int32(23))
    shifted = bits_to_float(np.int32(n | np.int32(0x4B000000)))
    return shifted - np.float32(8388735.0), bits_to_float(
        np.int32(bits - np.int32((n - np.int32(127)) << np.int32(23)))
    )


@scalar
def log_normal(x: Any) -> Any:
    """Natural logarithm of a positive normal number; nothing else is looked after."""
    c = constants(x)
    n, m = _split(x)
    f = m - c.one
    s = f / (c.two + f)
    z = s * s
    halved = c.half * f * f
    return fma(n, c.log_2_high, f - (halved - fma(s, fma(z, _log_tail(z), halved), n * c.log_2_low)))
