"""Streams of random numbers: the published generator, their laws, and that no chain's depends on another's."""

from __future__ import annotations

from itertools import islice

import naive_gibbs
import numpy as np
import pytest
import scipy.stats
from numpy.testing import assert_array_equal

from tapcore._base.intrinsics import JIT_DISABLED
from tapcore._base.jit import kernel
from tapcore._base.random import exponential, next_word, normal, stream_from, streams, uniform

COUNT = 500 if JIT_DISABLED else 20_000


@kernel()
def _words(stream: np.ndarray, out: np.ndarray) -> None:
    for i in range(out.size):
        out[i] = next_word(stream)


@kernel()
def _draws(stream: np.ndarray, u: np.ndarray, t: np.ndarray, z: np.ndarray) -> None:
    for i in range(u.size):
        u[i] = uniform(stream)
        t[i] = exponential(stream)
        z[i] = normal(stream)


@pytest.mark.nojit
def test_words_are_those_of_the_published_generator() -> None:
    out = np.empty(200, np.uint64)
    _words(np.array([1, 2, 3, 4], np.uint64), out)
    assert_array_equal(out[:4], np.array([41943041, 58720359, 3588806011781223, 3591011842654386], np.uint64))
    assert_array_equal(out, np.array(list(islice(naive_gibbs.words([1, 2, 3, 4]), 200)), np.uint64))


@pytest.mark.nojit
def test_laws() -> None:
    u, t, z = (np.empty(COUNT) for _ in range(3))
    _draws(streams(1, 5)[0], u, t, z)
    assert u.min() >= 0
    assert u.max() < 1
    for x, law in ((u, scipy.stats.uniform), (t, scipy.stats.expon), (z, scipy.stats.norm)):
        assert scipy.stats.kstest(x, law.cdf).pvalue > 1e-3
        # One after the other, numbers know nothing of each other.
        even = law.cdf(x)
        assert abs(np.corrcoef(even[1:], even[:-1])[0, 1]) < 4 / np.sqrt(COUNT)


@pytest.mark.nojit
def test_streams_differ_and_depend_on_their_number_only() -> None:
    few, many = streams(3, 7, 1), streams(8, 7, 1)
    assert_array_equal(few, many[:3])
    assert len({tuple(s) for s in (*many, *streams(8, 7, 2), *streams(8, 8, 1))}) == 24
    a, b = (stream_from(np.random.default_rng(1)) for _ in range(2))
    assert_array_equal(a, b)
    assert a.dtype == np.uint64
