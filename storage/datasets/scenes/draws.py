"""Integers drawn from a seed by name: one value does not change when another is drawn, or no longer is.

SplitMix64's mixing function (Steele et al. 2014) over the seed and the name; no library's generator, whose stream may
change with its version.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

_MASK = (1 << 64) - 1
_STEP = 0x9E3779B97F4A7C15

T = TypeVar("T")


def mixed(value: int) -> int:
    """64 bits of 64 bits, each of which depends on all."""
    value = (value + _STEP) & _MASK
    value = ((value ^ (value >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
    value = ((value ^ (value >> 27)) * 0x94D049BB133111EB) & _MASK
    return value ^ (value >> 31)


@cache
def _number(name: str) -> int:
    return int.from_bytes(name.encode(), "little") % _MASK


class Draws:
    """Draws from one seed.

    >>> Draws(7).below("colour", 10) == Draws(7).below("colour", 10)
    True
    """

    def __init__(self, seed: int) -> None:
        self._seed = mixed(seed & _MASK)

    def word(self, name: str) -> int:
        """64 bits."""
        return mixed(self._seed ^ mixed(_number(name)))

    def below(self, name: str, count: int) -> int:
        """0 <= value < count."""
        return (self.word(name) * count) >> 64

    def between(self, name: str, low: int, high: int) -> int:
        """low <= value <= high."""
        return low + self.below(name, high - low + 1)

    def chance(self, name: str, percent: int) -> bool:
        """True in so many of a hundred seeds."""
        return self.below(name, 100) < percent

    def pick(self, name: str, values: Sequence[T]) -> T:
        """One of them."""
        return values[self.below(name, len(values))]


def lattice(seed: int, rows: int, columns: int) -> NDArray[np.float32]:
    """(rows, columns) numbers in [0, 1), multiples of 1/256, of a hash of the seed and the place."""
    i, j = np.arange(rows, dtype=np.uint32)[:, None], np.arange(columns, dtype=np.uint32)[None, :]
    return hashed(i, j, seed)


def hashed(i: NDArray[np.uint32], j: NDArray[np.uint32], seed: int) -> NDArray[np.float32]:
    """Numbers in [0, 1), multiples of 1/256, of places (i, j); arithmetic modulo 2^32 (Jenkins' finaliser)."""
    h = i * np.uint32(0x85EBCA6B) + j * np.uint32(0xC2B2AE35) + np.uint32(mixed(seed) & 0xFFFFFFFF)
    h ^= h >> np.uint32(15)
    h *= np.uint32(0x2C1B3C6D)
    h ^= h >> np.uint32(12)
    h *= np.uint32(0x297A2D39)
    return (h >> np.uint32(24)).astype(np.float32) * np.float32(1 / 256)
