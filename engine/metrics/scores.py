"""What an evaluation keeps of a sample's logits: a few numbers. 1,000 logits become 48 bytes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

I64 = NDArray[np.int64]
F64 = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Scores:
    """Per sample, (n,) each; classes are columns of the (masked) logits.

    Attributes:
        predicted: int64, the class with the largest logit; the lowest index of equals, as `argmax`.
        rank: int64, how many classes come before the true one (0: it is predicted; equal logits: lower index first).
            The number of classes if the true class has no column: it can never be right.
        confidence: float64, the largest softmax probability.
        probability: float64, softmax probability of the true class.
        nll: float64, -log of it, in nats; inf if the true class has no column.
        brier: float64, sum over classes of (probability - one-hot)^2 (Brier 1950), 0..2;
            a true class without a column counts as one of probability 0.
    """

    predicted: I64
    rank: I64
    confidence: F64
    probability: F64
    nll: F64
    brier: F64

    def __len__(self) -> int:
        return len(self.predicted)

    def __getitem__(self, rows: Any) -> Scores:
        return Scores(*(getattr(self, field.name)[rows] for field in fields(self)))

    @property
    def correct(self) -> NDArray[np.bool_]:
        """(n,) bool: the true class is predicted."""
        right: NDArray[np.bool_] = self.rank == 0
        return right


def score_block(logits: NDArray[Any], targets: I64, columns: I64 | None = None) -> Scores:
    """Scores of a block of samples.

    The softmax is computed in float32 at least and summed in float64; half precision would move a calibration error in
    its third decimal. Memory: a few copies of the block.

    Args:
        logits: (n, c) finite.
        targets: (n,) int64 true class among the columns used; -1: it has none.
        columns: (k,) int64 ascending, the columns of a class subset: they are selected before argmax and softmax
            (Hendrycks et al. 2021). None: all.
    """
    z = logits if columns is None else logits[:, columns]
    z = z.astype(np.promote_types(z.dtype, np.float32), copy=False)
    n, classes = z.shape
    every, there = np.arange(n), targets >= 0
    at = np.where(there, targets, 0)
    own = z[every, at][:, None]
    before = (z > own).sum(axis=1) + ((z == own) & (np.arange(classes) < at[:, None])).sum(axis=1)
    top = z.max(axis=1, keepdims=True)
    weights = np.exp(z - top)
    total = weights.sum(axis=1, dtype=np.float64)
    squares = np.einsum("ij,ij->i", weights, weights, dtype=np.float64) / total**2
    true = np.where(there, weights[every, at] / total, 0.0)
    nll = np.log(total) - (own - top)[:, 0].astype(np.float64)  # not -log(true), which underflows to inf
    return Scores(
        predicted=z.argmax(axis=1).astype(np.int64),
        rank=np.where(there, before, classes).astype(np.int64),
        confidence=1.0 / total,
        probability=true,
        nll=np.where(there, nll, np.inf),
        brier=squares - 2 * true + 1,
    )


def join_scores(parts: Sequence[Scores]) -> Scores:
    """The scores of several blocks, one after the other."""
    if not parts:
        floats, counts = np.empty(0), np.empty(0, np.int64)
        return Scores(counts, counts, floats, floats, floats, floats)
    return Scores(*(np.concatenate([getattr(part, field.name) for part in parts]) for field in fields(Scores)))
