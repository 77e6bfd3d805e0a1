"""Sine and cosine of whole degrees, from integers only: no mathematical library, whose last digit may differ."""

from __future__ import annotations

from functools import cache

_ONE = 1 << 80
_PI = 3_797_952_473_636_338_580_787_993  # pi * 2^80, to the nearest integer below
_KEPT = 1 << 30


@cache
def _sine(degrees: int) -> float:
    """Sine of 0 to 90 degrees, a multiple of 2^-30: Taylor's series in integers."""
    x = _PI * degrees // 180
    term, total, order = x, x, 1
    while term:
        order += 2
        term = -(term * x // _ONE * x // _ONE) // (order * (order - 1))
        total += term
        if abs(term) <= 1:
            break
    return ((total * _KEPT + _ONE // 2) // _ONE) / _KEPT


def sine(degrees: int) -> float:
    """Sine of any whole number of degrees.

    >>> sine(30), sine(-90), sine(450)
    (0.5, -1.0, 1.0)
    """
    turn = degrees % 360
    if turn >= 180:
        return -sine(turn - 180)
    return _sine(min(turn, 180 - turn))


def cosine(degrees: int) -> float:
    """Cosine of any whole number of degrees.

    >>> cosine(60), cosine(180)
    (0.5, -1.0)
    """
    return sine(degrees + 90)
