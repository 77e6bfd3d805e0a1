"""How imported class predictions lie in a store: as what is known, and not as a row of made-up logits.

kind                     array                                    what can be read of it
"class"                  (N, 1) float64: the class                top-1
"class and probability"  (N, 2) float64: the class, probability   top-1 and confidence

`expand` gives the logits of which these are the argmax and the largest softmax probability, a block at a time, so that
one path scores everything; what depends on the other logits is refused by the evaluation that needs it. Stores made
before hold such logits themselves, under the same kinds, and are read as they are.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cvbench.errors import IntegrityError

PREDICTIONS = "predictions"
"""Attribute of an imported array: "logits", "class" or "class and probability"."""
CLASSES = "outputs"
"""Attribute of a compact array: how many classes the predictions are among."""
FORM = 2
"""In the fingerprint of what is imported: raised whenever a file may be read to another content."""

_TINY = float(np.finfo(np.float32).tiny)
_MOST_CLASSES = 1 << 20


def outputs(attrs: Mapping[str, Any], where: str) -> int | None:
    """Number of classes that a compact array is of; None: it holds logits.

    Raises:
        IntegrityError: An attribute that is no such number.
    """
    width = attrs.get(CLASSES)
    if width is None:
        return None
    if not isinstance(width, int) or isinstance(width, bool) or not 1 <= width <= _MOST_CLASSES:
        raise IntegrityError(f"an array of predictions is of {str(width)[:40]} classes", where=where)
    return width


def compact(classes: NDArray[np.int64], probability: NDArray[np.float64] | None) -> NDArray[np.float64]:
    """(n, 1) or (n, 2) float64 of n predicted classes and their probabilities."""
    columns = [classes.astype(np.float64)] + ([] if probability is None else [probability])
    return np.stack(columns, axis=1)


def expand(kept: NDArray[np.float64], width: int, where: str) -> NDArray[np.float32]:
    """(n, width) float32 logits: argmax is the class and, where it is known, the softmax of it the probability p.

    The class has log p, each other class log((1 - p) / (width - 1)); of a class alone the row is one-hot.

    Args:
        kept: (n, 1) or (n, 2), see `compact`.
        width: The number of classes.
        where: For messages.

    Raises:
        IntegrityError: A class that is none of them, or a probability outside (0, 1].
    """
    chosen, at = kept[:, 0], np.arange(len(kept))
    if not ((chosen >= 0) & (chosen < width) & (chosen == np.floor(chosen))).all():
        raise IntegrityError(f"a stored class is none of {width:,}", where=where)
    if kept.shape[1] == 1:
        table = np.zeros((len(kept), width), np.float32)
        table[at, chosen.astype(np.int64)] = 1
        return table
    p = kept[:, 1]
    if not ((p > 0) & (p <= 1)).all():
        raise IntegrityError("a stored probability is not in (0, 1]", where=where)
    rest = np.log(np.maximum((1 - p) / max(width - 1, 1), _TINY)).astype(np.float32)
    table = np.repeat(rest[:, None], width, axis=1)
    table[at, chosen.astype(np.int64)] = np.log(p)
    return table
