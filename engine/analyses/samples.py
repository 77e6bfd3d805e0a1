"""What the whole-matrix analyses share: the rows of every layer, a fair part of them, and what no layer may hold."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cvbench.engine.analyses.base import NOT_FINITE, Layer
from cvbench.engine.arrays.array import Array, namespace
from cvbench.engine.arrays.grouped import blocks
from cvbench.errors import IntegrityError, UsageError


@dataclass(frozen=True, eq=False)
class Samples:
    """The rows of every layer.

    Attributes:
        where: Their data set, for messages.
        positions: (n,) int64 place of each row in the store.
        labels: (n,) int64, -1 for none.
        classes: Class names by label; may be empty.
    """

    where: str
    positions: NDArray[np.int64]
    labels: NDArray[np.int64]
    classes: tuple[str, ...] = ()


def stratified_rows(labels: NDArray[np.int64], sample: int | None, seed: int) -> NDArray[np.int64]:
    """Rows of a sample, ascending: all, or `sample` of them, from each class in proportion and at least two.

    Raises:
        UsageError: `sample` is less than two per class (one where a class has one member).
    """
    if sample is None or sample >= len(labels):
        return np.arange(len(labels))
    names, counts = np.unique(labels, return_counts=True)
    least = np.minimum(counts, 2)
    if sample < least.sum():
        raise UsageError(
            f"a sample of {sample} is too small for {len(names)} classes",
            where="--sample",
            why="two of each class are needed for the interval",
            fix=f"--sample {least.sum()} or more",
        )
    wanted = shares_of(sample, counts, least)
    rng = np.random.default_rng(seed)
    drawn = [
        rng.choice(np.flatnonzero(labels == name), size, replace=False)
        for name, size in zip(names, wanted, strict=True)
    ]
    return np.sort(np.concatenate(drawn))


def shares_of(sample: int, counts: NDArray[np.int64], least: NDArray[np.int64]) -> NDArray[np.int64]:
    """Count the samples to take of each class: in proportion, by largest remainder, between `least` and `counts`.

    Args:
        sample: Between the sums of `least` and of `counts`.
        counts, least: (K,) int64.

    Returns:
        (K,) int64; they sum to `sample`.

    >>> shares_of(5, np.array([4, 4, 4]), np.array([1, 1, 1])).tolist()
    [2, 2, 1]
    """
    quota = sample * counts / counts.sum()
    wanted: NDArray[np.int64] = np.clip(np.floor(quota).astype(np.int64), least, counts)
    while missing := sample - int(wanted.sum()):
        step = 1 if missing > 0 else -1
        free = np.flatnonzero(wanted < counts if step > 0 else wanted > least)
        order = np.argsort(-step * (quota - wanted)[free], kind="stable")
        wanted[free[order[: abs(missing)]]] += step
    return wanted


def check_features(x: Array, samples: Samples, layer: Layer) -> None:
    """Refuse what is not a finite row of features per sample.

    Raises:
        UsageError: Another shape.
        IntegrityError: Values that are not finite, counted.
    """
    if x.ndim != 2 or len(x) != len(samples.labels):
        raise UsageError(
            f"{layer} of {samples.where} has shape {x.shape}, not one row of features per sample",
            where=f"{samples.where}: {layer}",
            fix="--view head or --view pooled",
        )
    xp = namespace(x)
    bad = sum(int((~xp.isfinite(x[rows]).all(axis=1)).sum()) for rows in blocks(len(x), 4096))
    if bad:
        raise IntegrityError(
            f"{layer} of {samples.where} holds values that are not finite, in {bad} of {len(x)} samples",
            where=f"{samples.where}: {layer}",
            fix=NOT_FINITE,
        )
