"""Intersection over union of predicted and true cells, over all images together, with intervals over images.

    IoU of a class   cells that are predicted and are of it / cells that are predicted or are of it, all images together
    mean IoU         the mean of these over the classes that have a true cell, the background too
    foreground IoU   the same of any object against the background, whichever its class is called
    accuracy         share of the cells whose class is predicted

As for PASCAL VOC (Everingham et al. 2010) and ADE20K the cells of all images are counted together: these are no means
over images. A class without a true cell is left out of the mean, and what is taken for it costs the others.

The cells of an image are not independent of each other, images are: a bootstrap draws images, each with all its cells
(`engine.statistics.bootstrap`), with the percentiles widened for few images, and p by Student's t. A class that a
resample has no cell of is left out of the resample's mean. Where all resamples agree, as in a perfect prediction, they
tell nothing of the spread: there is no interval.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from cvbench.engine.statistics.bootstrap import expanded, percentile_interval
from cvbench.engine.statistics.estimate import Estimate, two_sided
from cvbench.engine.statistics.mean_interval import MIN_IMAGES
from cvbench.engine.statistics.options import IntervalOptions

I64 = NDArray[np.int64]
F64 = NDArray[np.float64]

MEASURES = ("miou", "foreground", "accuracy")
INTERVAL = "percentile bootstrap over images, expanded for few of them, given the fitted probes"


def image_counts(predicted: I64, true: I64, classes: int) -> I64:
    """Count the cells of each image; the counts of several images are their sum.

    Args:
        predicted, true: (n, ...) int64 class of each cell, 0 the background.
        classes: k, the background too.

    Returns:
        (n, 3 k + 1) int64: for each class the cells that are predicted and true, predicted, and true; last the cells
        that are any object's in both.
    """
    n = len(true)
    predicted, true = predicted.reshape(n, -1), true.reshape(n, -1)
    own = np.arange(n)[:, None] * classes

    def count(cells: I64) -> I64:
        return np.bincount(cells.ravel(), minlength=n * classes).reshape(n, classes)

    right = np.bincount((own + true)[predicted == true], minlength=n * classes).reshape(n, classes)
    objects = ((predicted > 0) & (true > 0)).sum(axis=1)
    return np.concatenate([right, count(own + predicted), count(own + true), objects[:, None]], axis=1)


def overlaps(counts: NDArray[np.int64] | F64) -> F64:
    """(r, 3 + k) `MEASURES`, then the IoU of each class, of (r, 3 k + 1) sums of counts; NaN where undefined."""
    counts = np.asarray(counts, dtype=np.float64)
    objects, parts = counts[:, -1], counts[:, :-1]
    right, predicted, true = np.split(parts, 3, axis=1)
    there = true > 0
    with np.errstate(invalid="ignore", divide="ignore"):
        own = np.where(there, right / (predicted + true - right), np.nan)
        mean = np.where(there, own, 0.0).sum(axis=1) / there.sum(axis=1)
        foreground = objects / (predicted[:, 1:].sum(axis=1) + true[:, 1:].sum(axis=1) - objects)
        accuracy = right.sum(axis=1) / true.sum(axis=1)
    return np.concatenate([np.stack([mean, foreground, accuracy], axis=1), own], axis=1)


def overlap_estimates(counts: I64, options: IntervalOptions) -> list[Estimate]:
    """`MEASURES`, then the IoU of each class, each with its interval over images.

    Fewer than `MIN_IMAGES` images, or images of a class, have no interval.

    Args:
        counts: (n, 3 k + 1) of each image.
        options: How intervals are made.
    """
    images = np.full(len(MEASURES), len(counts))
    k = counts.shape[1] // 3
    owners = np.concatenate([images, (counts[:, 2 * k : 3 * k] > 0).sum(axis=0)])
    return _estimates(overlaps(counts.sum(axis=0)[None])[0], [counts], owners, options)


def overlap_differences(first: I64, second: I64, options: IntervalOptions) -> list[Estimate]:
    """`MEASURES` of the first less those of the second, both of the same images; the resamples draw images of both.

    Args:
        first, second: (n, 3 k + 1) of each image.
        options: How intervals are made.
    """
    both = [overlaps(counts.sum(axis=0)[None])[0, : len(MEASURES)] for counts in (first, second)]
    owners = np.full(len(MEASURES), len(first))
    return _estimates(both[0] - both[1], [first, second], owners, options)


def _estimates(value: F64, counts: Sequence[I64], owners: I64, options: IntervalOptions) -> list[Estimate]:
    """Estimates of (m,) numbers: of one table of counts, or of what two differ by in their first m."""
    m, width = len(value), counts[0].shape[1]

    def statistic(sums: F64) -> F64:
        found = overlaps(sums[:, :width])[:, :m]
        return found if len(counts) == 1 else found - overlaps(sums[:, width:])[:, :m]

    if len(counts[0]) < MIN_IMAGES:
        return [Estimate(one, n=int(n)) for one, n in zip(value.tolist(), owners, strict=True)]
    few = np.maximum(owners, 2)
    levels, table = expanded(options.confidence, few), np.concatenate(counts, axis=1).astype(np.float64)
    drawn = percentile_interval(table, statistic, options, confidence=levels)
    errors = drawn.error * np.sqrt(few / (few - 1))
    found = []
    for i, n in enumerate(owners.tolist()):
        constant = not drawn.error[i] > 0
        if n < MIN_IMAGES or constant:
            found.append(Estimate(float(value[i]), n=n, constant=constant and n >= MIN_IMAGES))
        else:
            p = two_sided(abs(float(value[i])) / float(errors[i]), n - 1)
            found.append(Estimate(float(value[i]), float(drawn.low[i]), float(drawn.high[i]), n, p))
    return found
