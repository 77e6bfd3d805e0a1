"""Means over images in one pass, with a bootstrap that needs no second look: memory does not grow with the images.

The Poisson bootstrap gives each image an independent Poisson(1) weight in every resample, where the ordinary one gives
all images together multinomial weights (Hanley & MacGibbon 2006; Chamandy et al. 2012). So a resample is a running
weighted sum. The intervals agree but for the sampling error of the resamples, from about 30 images on.

For a claim about classes like these, not about these, the classes are resampled instead, each with all its images (the
cluster bootstrap, Davison & Hinkley 1997, section 3.8): that needs the sums of each class only.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cvbench.engine.bootstrap import percentile_interval, resolved
from cvbench.errors import IntegrityError

F64 = NDArray[np.float64]

FEW_IMAGES = 30
"""With fewer an interval is too narrow. So it is with fewer classes, where these are resampled."""

BLOCK = 256
"""Images whose weights are drawn at a time."""

_NAMED = 4  # numbers that a note names, of those that few images define


@dataclass(frozen=True, eq=False)
class Means:
    """Of m numbers.

    Attributes:
        value, low, high: (m,) float64; NaN where no image defines the number, low and high also for a single image.
        class_low, class_high: (m,) float64, the interval over resampled classes; NaN where there is none.
        undefined: (m,) int64, images left out.
        images: How many there were.
    """

    value: F64
    low: F64
    high: F64
    class_low: F64
    class_high: F64
    undefined: NDArray[np.int64]
    images: int

    @property
    def ends(self) -> dict[str, F64]:
        """Suffix of a variable's name -> its numbers; those over classes only if classes were resampled."""
        own = {"": self.value, "_low": self.low, "_high": self.high}
        if not np.isfinite(self.class_low).any():
            return own
        return {**own, "_class_low": self.class_low, "_class_high": self.class_high}


class RunningMeans:
    """Collects (n, m) values of n images at a time; the same images are drawn for every number.

    Images are taken in blocks, however they come: where they are cut into calls changes no bit.

    Memory: resamples * m * 16 bytes; classes * m * 16 and 8 bytes an image where there are classes.
    """

    def __init__(
        self,
        numbers: int,
        *,
        resamples: int,
        confidence: float,
        seed: int,
        classes: NDArray[np.int64] | None = None,
    ) -> None:
        """Start with no image.

        Args:
            numbers: m.
            resamples, confidence, seed: Of both bootstraps.
            classes: The class of every image that will come, in their order. They are resampled if `class_count` says
                that there are enough of them.
        """
        self._resampling = {"resamples": resamples, "confidence": confidence, "seed": seed}
        self._confidence = confidence
        self._rng = np.random.default_rng(seed)
        # Row 0 is the data itself, with weight 1 throughout.
        self._sums = np.zeros((resamples + 1, numbers))
        self._weights = np.zeros((resamples + 1, numbers))
        self._waiting = np.empty((0, numbers))
        self.images = 0
        count = class_count(classes)
        self._classes = np.unique(classes, return_inverse=True)[1] if classes is not None and count else None
        self._by_class = np.zeros((count, 2 * numbers))  # sums, and how many images define each number

    def add(self, values: F64) -> None:
        """Take (n, m) float64 values; NaN where an image does not define a number."""
        if self._classes is not None:
            own = self._classes[self.images : self.images + len(values)]
            if len(own) < len(values):
                raise IntegrityError("there are more images than classes of them were given")
            defined = np.isfinite(values)
            np.add.at(self._by_class, own, np.concatenate([np.where(defined, values, 0.0), defined], axis=1))
        self._waiting = np.concatenate([self._waiting, values])
        self.images += len(values)
        whole = len(self._waiting) // BLOCK * BLOCK
        for start in range(0, whole, BLOCK):
            self._take(self._waiting[start : start + BLOCK])
        self._waiting = self._waiting[whole:]

    def _take(self, part: F64) -> None:
        weights = np.ones((len(part), len(self._sums)))
        weights[:, 1:] = self._rng.poisson(1.0, size=(len(part), len(self._sums) - 1))
        defined = np.isfinite(part)
        self._sums += weights.T @ np.where(defined, part, 0.0)
        self._weights += weights.T @ defined

    def means(self) -> Means:
        """The means of all images, and their percentile intervals. The end: no image may follow.

        Raises:
            IntegrityError: Classes were given of another number of images.
        """
        self._take(self._waiting)
        table = _ratio(self._sums, self._weights)
        low, high = np.full((2, table.shape[1]), np.nan)
        known = self._weights[0] > 1
        if known.any():
            points = (1 - self._confidence) / 2, (1 + self._confidence) / 2
            low[known], high[known] = np.nanquantile(table[1:, known], points, axis=0)
        undefined = self.images - self._weights[0].astype(np.int64)
        return Means(table[0], low, high, *self._over_classes(), undefined, self.images)

    def _over_classes(self) -> tuple[F64, F64]:
        numbers = self._sums.shape[1]
        if self._classes is None:
            nothing = np.full(numbers, np.nan)
            return nothing, nothing
        if self.images != len(self._classes):
            raise IntegrityError(f"classes of {len(self._classes)} images were given, and there are {self.images}")
        found = percentile_interval(
            self._by_class,
            lambda sums: _ratio(sums[:, :numbers], sums[:, numbers:]),
            **self._resampling,  # type: ignore[arg-type]
        )
        few = (self._by_class[:, numbers:] > 0).sum(axis=0) < FEW_IMAGES  # of the classes define the number
        return np.where(few, np.nan, found.low), np.where(few, np.nan, found.high)


def _ratio(sums: F64, counts: F64) -> F64:
    return np.asarray(sums / np.where(counts > 0, counts, np.nan))


def class_count(classes: NDArray[np.int64] | None) -> int:
    """How many classes are resampled: 0 without labels, with few classes, or with fewer than two images a class.

    >>> class_count(np.arange(80) % 40), class_count(np.arange(80) % 10), class_count(np.arange(80))
    (40, 0, 0)
    """
    if classes is None or not len(classes) or classes.min() < 0:
        return 0
    count = len(np.unique(classes))
    return count if count >= FEW_IMAGES and len(classes) >= 2 * count else 0


def interval_notes(n: int) -> list[str]:
    """What a reader must know of the intervals of means over n images."""
    if n == 1:
        return ["no interval: it is over images, and there is one image"]
    return [f"{n} images: with fewer than {FEW_IMAGES} the intervals are too narrow"] if n < FEW_IMAGES else []


def thin_notes(names: Sequence[str], means: Means) -> list[str]:
    """What a reader must know where enough images were measured and few of them define a number.

    Args:
        names: What the first numbers of `means` are called.
        means: Of at least as many numbers.
    """
    defined = (means.images - means.undefined).tolist()
    thin = [f"{name} ({n})" for name, n in zip(names, defined, strict=False) if 0 < n < FEW_IMAGES]
    if means.images < FEW_IMAGES or not thin:
        return []
    more = f" and {len(thin) - _NAMED} more" if len(thin) > _NAMED else ""
    listed = ", ".join(thin[:_NAMED])
    return [f"fewer than {FEW_IMAGES} images define these (n), and their intervals are too narrow: {listed}{more}"]


def verdict(low: float, high: float, images: int) -> bool | None:
    """Whether a difference is resolved.

    Args:
        low, high: Its interval; NaN for none.
        images: How many define it.

    Returns:
        False if the interval contains 0; None if there is none, or if too few images are behind it to trust that it
        does not.

    >>> verdict(0.1, 0.3, 40), verdict(-0.1, 0.3, 40), verdict(0.1, 0.3, 4), verdict(-0.1, 0.3, 4)
    (True, False, None, False)
    """
    if not np.isfinite([low, high]).all():
        return None
    if not resolved(low, high):
        return False
    return True if images >= FEW_IMAGES else None
