"""Samples of a probe, which of them it is fitted on, and what comes of it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cvbench.errors import UsageError

I64 = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Part:
    """The samples of a split: features (n, d) float32, labels (n,) int64, both on the host."""

    features: NDArray[np.float32]
    labels: I64

    def __len__(self) -> int:
        return len(self.labels)

    def rows(self, rows: I64) -> Part:
        """Some of them."""
        return Part(self.features[rows], self.labels[rows])

    def joined(self, other: Part) -> Part:
        """Both."""
        return Part(np.concatenate([self.features, other.features]), np.concatenate([self.labels, other.labels]))


@dataclass(frozen=True, eq=False)
class ProbeRun:
    """Result of one seed.

    Attributes:
        logits: (n_test, k) float32 of the test samples; -inf for a class without a training sample.
        penalty: The one chosen: C for `clip_lbfgs`, the weight decay for `clip_benchmark`.
        tried: (penalty, validation top-1) of each tried, strongest penalty first; empty without validation.
        samples: Training and validation samples of the search, and samples of the final fit.
        converged: Whether the final fit met its tolerance; None where nothing says so.
    """

    logits: NDArray[np.float32]
    penalty: float
    tried: tuple[tuple[float, float], ...]
    samples: tuple[int, int, int]
    converged: bool | None


def stratified(labels: I64, share: float, rng: np.random.Generator) -> I64:
    """Rows, ascending: `share` of each class, rounded, never all of it."""
    parts = []
    for name in np.unique(labels):
        own = np.flatnonzero(labels == name)
        parts.append(rng.permutation(own)[: min(round(share * len(own)), len(own) - 1)])
    return np.sort(np.concatenate(parts))


def few(labels: I64, shots: int, rng: np.random.Generator) -> I64:
    """Rows, ascending: `shots` of each class.

    Raises:
        UsageError: A class has fewer.
    """
    names, counts = np.unique(labels, return_counts=True)
    if shots < 1 or counts.min() < shots:
        raise UsageError(
            f"class {names[counts.argmin()]} has {counts.min()} training samples, not {shots}",
            where="--shots",
            fix=f"--shots {counts.min()} or fewer",
        )
    return np.sort(np.concatenate([rng.permutation(np.flatnonzero(labels == name))[:shots] for name in names]))
