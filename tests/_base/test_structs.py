"""NamedTuples as words in memory: addresses, shapes, numbers and what they are of."""

from __future__ import annotations

import ctypes
import struct
from typing import Any, NamedTuple

import numpy as np
import pytest

from tapcore._base.structs import pack


class Inner(NamedTuple):
    x: Any
    y: Any


class Outer(NamedTuple):
    array: Any
    flag: Any
    whole: Any
    real: Any
    inner: Any


def words(packed: Any) -> list[int]:
    return list((ctypes.c_int64 * len(packed.words)).from_address(packed.address))


def read_only(x: np.ndarray) -> np.ndarray:
    x.flags.writeable = False
    return x


@pytest.mark.parametrize(
    "x",
    [
        np.zeros((2, 3)),
        np.zeros(5, np.float32)[2:],
        np.zeros((2, 0, 3), np.int64),
        np.empty(0),
        np.zeros(()),
        np.zeros(3, np.uint64),
        read_only(np.ones(4)),
        read_only(np.empty((0, 4))),
    ],
    ids=lambda x: f"{x.dtype}{x.shape}{'' if x.flags.writeable else ' read-only'}",
)
def test_an_array_is_where_it_is_and_its_shape(x: np.ndarray) -> None:
    packed = pack(Inner(x, 7))
    assert words(packed) == [x.__array_interface__["data"][0], *x.shape, 7]
    assert packed.type.fields["x"].ndim == x.ndim
    assert packed.alive[0] is x


@pytest.mark.parametrize("number", [float, np.float64, np.float32])
def test_numbers_are_a_word_and_a_tuple_its_address(number: type) -> None:
    x = np.zeros(3)
    inner = pack(Inner(1, -2.5))
    packed = pack(Outer(x, np.True_, np.int64(-3), number(0.75), inner))
    bits = struct.unpack("<q", struct.pack("<d", 0.75))[0]
    assert words(packed) == [x.ctypes.data, 3, 1, -3, bits, inner.address]
    assert packed.type is pack(Outer(x, False, 2, 0.0, Inner(5, 1.0))).type
    assert packed.type is not pack(Outer(x, False, 2, 0.0, Inner(5, 1))).type


def test_arrays_in_another_order_are_refused() -> None:
    with pytest.raises(ValueError, match="Inner must hold C-ordered arrays"):
        pack(Inner(np.zeros((3, 4)).T, 1))
