"""Random numbers inside kernels: a stream of four words for each chain, so that none depends on threads or on others.

xoshiro256++ (Blackman and Vigna, ACM Trans. Math. Softw. 47, 36, 2021). NumPy's generators cannot be dealt to kernels
one for each row.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tapcore._base.intrinsics import JIT_DISABLED
from tapcore._base.jit import scalar

Stream = NDArray[np.uint64]

WORDS = 4
_SHIFTS = tuple(np.uint64(n) for n in (17, 23, 41, 45, 19))
_LOW_BITS = np.uint64(11)
_MASK = 2**64 - 1
_UNIT = 2.0**-53


def streams(count: int, seed: int, *key: int) -> Stream:
    """One stream for each of `count` chains, (count, 4); the first ones are the same whatever the count."""
    words = np.random.SeedSequence(seed, spawn_key=key).generate_state(WORDS * count, np.uint64)
    return np.asarray(words, np.uint64).reshape(count, WORDS)


def stream_from(rng: np.random.Generator) -> Stream:
    """One stream, (4,), from what a NumPy generator says next."""
    return rng.integers(1, 2**64 - 1, WORDS, np.uint64, endpoint=True)


@scalar
def _next_word(stream: Stream) -> Any:
    shift, left, right, left45, right19 = _SHIFTS
    s0, s1, s2, s3 = stream[0], stream[1], stream[2], stream[3]
    total = s0 + s3
    word = ((total << left) | (total >> right)) + s0
    t = s1 << shift
    s2 ^= s0
    s3 ^= s1
    stream[0] = s0 ^ s3
    stream[1] = s1 ^ s2
    stream[2] = s2 ^ t
    stream[3] = (s3 << left45) | (s3 >> right19)
    return word


def _python_next_word(stream: Any) -> Any:
    s0, s1, s2, s3 = (int(word) for word in stream)
    total = (s0 + s3) & _MASK
    word = (((total << 23) | (total >> 41)) + s0) & _MASK
    t = (s1 << 17) & _MASK
    s2 ^= s0
    s3 ^= s1
    turned = ((s3 << 45) | (s3 >> 19)) & _MASK
    for i, new in enumerate((s0 ^ s3, s1 ^ s2, s2 ^ t, turned)):
        stream[i] = new
    return np.uint64(word)


# The next 64 bits of a stream. NumPy's own integers warn where they wrap around.
next_word = _python_next_word if JIT_DISABLED else _next_word


@scalar
def uniform(stream: Stream) -> float:
    """Multiple of 2^-53 in [0, 1)."""
    return np.float64(np.int64(next_word(stream) >> _LOW_BITS)) * _UNIT


@scalar
def _fill_uniform(stream: Stream, out: Any) -> None:
    shift, left, right, left45, right19 = _SHIFTS
    s0, s1, s2, s3 = stream[0], stream[1], stream[2], stream[3]
    for i in range(out.size):
        total = s0 + s3
        out[i] = np.float64(np.int64((((total << left) | (total >> right)) + s0) >> _LOW_BITS)) * _UNIT
        t = s1 << shift
        s2 ^= s0
        s3 ^= s1
        s1 ^= s2
        s0 ^= s3
        s2 ^= t
        s3 = (s3 << left45) | (s3 >> right19)
    stream[0], stream[1], stream[2], stream[3] = s0, s1, s2, s3


def _python_fill_uniform(stream: Any, out: Any) -> None:
    for i in range(out.size):
        out[i] = uniform(stream)


# As many calls of `uniform`, with the state in registers meanwhile: several times faster.
fill_uniform = _python_fill_uniform if JIT_DISABLED else _fill_uniform


@scalar
def exponential(stream: Stream) -> float:
    """Of density ``e^-t``, t >= 0."""
    return -math.log1p(-uniform(stream))


@scalar
def normal(stream: Stream) -> float:
    """Standard normal, by Marsaglia's polar method."""
    while True:
        u = 2.0 * uniform(stream) - 1.0
        v = 2.0 * uniform(stream) - 1.0
        square = u * u + v * v
        if 0.0 < square < 1.0:
            return u * math.sqrt(-2.0 * math.log(square) / square)
