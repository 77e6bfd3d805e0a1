"""Shapes that the arrays of a file must have, of which one length may be open."""

from __future__ import annotations

from collections.abc import Sequence

Shape = tuple[int | None, ...]
"""None stands for any length from 1 to a bound."""


def fits(found: Sequence[int], shape: Shape, most: int) -> bool:
    """Whether a shape is as expected.

    >>> fits((7, 32), (None, 32), 10), fits((11, 32), (None, 32), 10), fits((7,), (None, 32), 10)
    (True, False, False)
    """
    return len(found) == len(shape) and all(
        n == m if m is not None else 0 < n <= most for n, m in zip(found, shape, strict=True)
    )


def in_words(shape: Shape) -> str:
    """The shape for a person.

    >>> in_words((32, 32, None))
    '32 x 32 x N'
    """
    return " x ".join("N" if n is None else str(n) for n in shape)
