"""Means of what each sample has, by class, and their bootstrap within classes and over classes.

Samples are drawn within their class, all columns by the same draws, so that a difference of columns is paired. The
draws depend on the seed and on the classes alone.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from cvbench.engine.bootstrap import percentile_interval, resample_weights
from cvbench.engine.online import FEW_IMAGES

F64 = NDArray[np.float64]
I64 = NDArray[np.int64]

NUMBERS = ("micro", "macro", "negative")
"""Mean over samples; mean over classes of their means; share of samples with a value < 0."""


def interval_ends(confidence: float) -> list[float]:
    """The two points of a percentile interval.

    >>> [round(end, 3) for end in interval_ends(0.95)]
    [0.025, 0.975]
    """
    return [(1 - confidence) / 2, (1 + confidence) / 2]


def resampled_means(values: F64, own: I64, classes: int, resamples: int, seed: int) -> Iterator[tuple[F64, F64]]:
    """For each class in turn: the means of its samples (c,), and those of the resamples of them (resamples, c).

    Args:
        values: (m, c) float64.
        own: (m,) class of each, 0 <= own < classes, every class present.
        classes, resamples, seed: How many classes and resamples; the seed has a stream for each class.
    """
    order = np.argsort(own, kind="stable")
    ends = np.cumsum(np.bincount(own, minlength=classes))
    seeds = np.random.SeedSequence(seed).generate_state(classes)
    for part, its_seed in zip(np.split(order, ends[:-1]), seeds, strict=True):
        mine = values[part]
        sums = [weight @ mine for weight in resample_weights(len(mine), resamples, int(its_seed))]
        yield mine.mean(axis=0), np.concatenate(sums) / len(mine)


def summarise(
    values: F64, own: I64, members: I64, resamples: int, confidence: float, seed: int, *, per_class: bool = True
) -> dict[str, F64]:
    """Means of c columns with their intervals.

    Memory: 10 * c * resamples * 8 bytes.

    Args:
        values: (m, c) float64, such as the silhouette of m samples in c layers.
        own: (m,) class of each, 0 <= own < K, every class present.
        members: (K,) int64 samples of each class in all: the weights of the classes in `micro` and `negative`.
        resamples, confidence, seed: Of the bootstrap.
        per_class: Give the classes too.

    Returns:
        Name -> (3, c): value, low and high of `NUMBERS` and of macro_over_classes, which resamples the classes instead
        of the samples in them; per_class (3, K, c).
    """
    count, width, weights = len(members), values.shape[1], members / members.sum()
    both = np.concatenate([values, values < 0], axis=1)
    point, drawn = np.empty((count, 2 * width)), np.zeros((3, resamples, width))
    classes, ends = np.zeros((3, count, width)), interval_ends(confidence)
    for at, (mean, means) in enumerate(resampled_means(both, own, count, resamples, seed)):
        point[at] = mean
        drawn[0] += weights[at] * means[:, :width]
        drawn[1] += means[:, :width] / count
        drawn[2] += weights[at] * means[:, width:]
        if per_class:
            classes[1:, at] = np.quantile(means[:, :width], ends, axis=0)
    classes[0] = point[:, :width]
    value = np.stack([weights @ point[:, :width], point[:, :width].mean(axis=0), weights @ point[:, width:]])
    low, high = np.quantile(drawn, ends, axis=1)
    over = percentile_interval(
        point[:, :width], lambda sums: sums / count, resamples=resamples, confidence=confidence, seed=seed
    )
    found = {name: np.stack([value[i], low[i], high[i]]) for i, name in enumerate(NUMBERS)}
    found["macro_over_classes"] = np.stack([value[1], over.low, over.high])
    return {**found, "per_class": classes} if per_class else found


def few_classes_note(classes: int) -> str | None:
    """What to say of intervals over so few classes, if anything."""
    if classes >= FEW_IMAGES:
        return None
    return f"the intervals over classes are of {classes} classes only: take them as too narrow"
