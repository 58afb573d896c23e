"""Readable reference of the random streams and of a Gibbs chain of binary and spin units, one number at a time."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

MASK = 2**64 - 1


def words(state: list[int]) -> Iterator[int]:
    """xoshiro256++ as its authors give it, in whole numbers."""
    s = [int(word) for word in state]

    def rotl(x: int, k: int) -> int:
        return ((x << k) | (x >> (64 - k))) & MASK

    while True:
        yield (rotl((s[0] + s[3]) & MASK, 23) + s[0]) & MASK
        t = (s[1] << 17) & MASK
        s[2] ^= s[0]
        s[3] ^= s[1]
        s[1] ^= s[2]
        s[0] ^= s[3]
        s[2] ^= t
        s[3] = rotl(s[3], 45)


def uniforms(state: list[int]) -> Iterator[float]:
    return ((word >> 11) / 2**53 for word in words(state))


def chain(kinds: list[str], U: list[Any], weights: list[Any], state: list[int], sweeps: int) -> list[list[float]]:
    """Values of all layers: even ones drawn on their own, odd ones given them, then `sweeps` times even and odd."""
    u = uniforms(state)
    values: list[list[float]] = [[0.0] * len(fields) for fields in U]

    def draw(layer: int, coupled: bool) -> None:
        for i in range(len(U[layer])):
            field = float(U[layer][i])
            if coupled and layer > 0:
                field += sum(float(weights[layer - 1][j][i]) * x for j, x in enumerate(values[layer - 1]))
            if coupled and layer < len(U) - 1:
                field += sum(float(weights[layer][i][j]) * x for j, x in enumerate(values[layer + 1]))
            high = 1 / (1 + math.exp(-field * (2 if kinds[layer] == "spin" else 1)))
            values[layer][i] = 1.0 if next(u) < high else (-1.0 if kinds[layer] == "spin" else 0.0)

    for layer in range(0, len(U), 2):
        draw(layer, False)
    for layer in range(1, len(U), 2):
        draw(layer, True)
    for _ in range(sweeps):
        for parity in (0, 1):
            for layer in range(parity, len(U), 2):
                draw(layer, True)
    return values
