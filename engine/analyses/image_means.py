"""Means over images of numbers that single images may leave undefined, with a bootstrap over images."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cvbench.engine.bootstrap import percentile_interval

F64 = NDArray[np.float64]

FEW_IMAGES = 30


@dataclass(frozen=True, eq=False)
class Means:
    """Of n images and m numbers.

    Attributes:
        value, low, high: (m,) float64; NaN where no image defines the number, and low and high for a single image.
        undefined: (m,) int64, images left out.
    """

    value: F64
    low: F64
    high: F64
    undefined: NDArray[np.int64]


def image_means(values: F64, *, resamples: int, confidence: float, seed: int) -> Means:
    """Means over the images that define a number, and their percentile intervals.

    Memory: 16 bytes per image and number, and resamples * m * 8.

    Args:
        values: (n, m) float64, NaN where undefined; n >= 1.
        resamples, confidence, seed: Of the bootstrap over images; the same images are drawn for every number.
    """
    n, m = values.shape
    defined = np.isfinite(values)
    sums = np.concatenate([np.where(defined, values, 0.0), defined], axis=1)

    def mean(drawn: F64) -> F64:
        with np.errstate(invalid="ignore"):
            return np.asarray(drawn[:, :m] / np.where(drawn[:, m:] > 0, drawn[:, m:], np.nan))

    low = high = np.full(m, np.nan)
    if n > 1:
        interval = percentile_interval(sums, mean, resamples=resamples, confidence=confidence, seed=seed)
        low, high = interval.low, interval.high
    return Means(mean(sums.sum(axis=0)[None])[0], low, high, n - defined.sum(axis=0))


def interval_notes(n: int) -> list[str]:
    """What a reader must know of the intervals of means over n images."""
    if n == 1:
        return ["no interval: it is a bootstrap over images, and there is one image"]
    if n < FEW_IMAGES:
        return [f"{n} images: with fewer than {FEW_IMAGES} the intervals are too narrow"]
    return []
