"""What a block of features contains: non-finite values, minimum and maximum."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

_STEP = 1 << 17  # values examined at a time: 256 kB of float16, within the cache


@dataclass(frozen=True)
class Contents:
    """Contents of rows (n, ...).

    Attributes:
        nonfinite: Row -> number of its values that are not finite; rows with none are left out.
        empty: Rows that are NaN throughout.
        low, high: Extremes of the finite values; None if there are none.
    """

    nonfinite: dict[int, int]
    empty: frozenset[int]
    low: float | None
    high: float | None


def contents(rows: NDArray[Any]) -> Contents:
    """The contents of C-contiguous floating `rows`, (n, ...).

    >>> contents(np.array([[1.0, np.inf], [np.nan, np.nan], [2.0, -3.0]], np.float16))
    Contents(nonfinite={0: 1, 1: 2}, empty=frozenset({1}), low=-3.0, high=2.0)
    """
    low, high = _extremes(rows.reshape(-1))
    if np.isfinite(low) and np.isfinite(high):
        return Contents({}, frozenset(), low, high)
    table = rows.reshape(len(rows), -1)
    counts = {i: int(row.size - np.count_nonzero(np.isfinite(row))) for i, row in enumerate(table)}
    nonfinite = {i: count for i, count in counts.items() if count}
    empty = frozenset(i for i in nonfinite if bool(np.isnan(table[i]).all()))
    lows, highs = [], []
    for row in table:
        finite = row[np.isfinite(row)]
        if finite.size:
            lows.append(float(finite.min()))
            highs.append(float(finite.max()))
    return Contents(nonfinite, empty, min(lows, default=None), max(highs, default=None))


def _extremes(flat: NDArray[Any]) -> tuple[float, float]:
    """Minimum and maximum; not finite as soon as any value is not.

    NumPy compares float16 one by one (0.2 GB/s), integers in vectors. Read as signed integers, the largest is the
    largest value with a clear sign bit, infinity and NaN on top; read as unsigned, the largest is the most negative
    value, its infinity and NaN on top.
    """
    bits = flat.dtype.itemsize * 8
    signed, unsigned = flat.view(f"i{bits // 8}"), flat.view(f"u{bits // 8}")
    steps = range(0, len(flat), _STEP)
    tops = [(signed[i : i + _STEP].max(), unsigned[i : i + _STEP].max()) for i in steps]
    high, low = max(top[0] for top in tops), max(top[1] for top in tops)
    if high < 0:  # all negative: the largest has the smallest magnitude
        high = unsigned.min().view(signed.dtype)
    if low < 1 << (bits - 1):  # none negative
        low = signed.min().view(unsigned.dtype)
    return float(low.view(flat.dtype)), float(high.view(flat.dtype))
