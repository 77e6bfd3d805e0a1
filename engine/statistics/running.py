"""Means over images in one pass, with intervals that need no second look: memory does not grow with the images.

Of every number three moments are kept (Pébay 2008); `cvbench.engine.statistics.mean_interval` makes interval and test
of them.

For a claim about classes like these, not about these, the classes are resampled instead, each with all its images (the
cluster bootstrap, Davison & Hinkley 1997, section 3.8): that needs the sums of each class only.

Differences are judged together, as a family: Holm's adjustment (1979), and never within a rounding error.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cvbench.engine.statistics.bootstrap import bootstrap_p, percentile_interval
from cvbench.engine.statistics.estimate import FEW_IMAGES, Estimate
from cvbench.engine.statistics.mean_interval import MIN_IMAGES, ROUNDING, Moments, mean_interval
from cvbench.engine.statistics.measure import Column
from cvbench.engine.statistics.options import USUAL, IntervalOptions
from cvbench.engine.statistics.verdict import judge
from cvbench.errors import IntegrityError

F64 = NDArray[np.float64]

INTERVALS = 3
"""Version of the intervals and verdicts: part of the identity of every result that has them."""

BLOCK = 256
"""Images whose moments are joined at a time."""

INTERVAL = (
    "over images: the hull of Student's t and of Hall's t without skewness (1992); of indicators Wilson's, of their "
    "paired differences Bonett and Price's (2012)"
)
"""How the intervals of means are made, for a result's attributes."""

_NAMED = 4  # numbers that a note names, of those that few images define


@dataclass(frozen=True, eq=False)
class Means:
    """Means of m numbers over images, with their intervals.

    Attributes:
        value, low, high: (m,) float64; NaN where no image defines the number, low and high also where fewer than
            `MIN_IMAGES` do or all have the same value.
        class_low, class_high: (m,) float64, the interval over resampled classes; NaN where there is none.
        undefined: (m,) int64, images left out.
        images: How many there were.
        p, class_p: (m,) float64, of "the mean is 0", over images and over classes; NaN without an interval.
        floor: (m,) float64, what is no more than a rounding error of the number.
        constant: (m,) bool, whether all images have the same value.
        confidence: Of the intervals.
    """

    value: F64
    low: F64
    high: F64
    class_low: F64
    class_high: F64
    undefined: NDArray[np.int64]
    images: int
    p: F64
    class_p: F64
    floor: F64
    constant: NDArray[np.bool_]
    confidence: float

    @property
    def ends(self) -> dict[str, F64]:
        """Suffix of a variable's name -> its numbers; those over classes only if classes were resampled."""
        own = {"": self.value, "_low": self.low, "_high": self.high}
        if not np.isfinite(self.class_low).any():
            return own
        return {**own, "_class_low": self.class_low, "_class_high": self.class_high}

    def at(self, column: int) -> Estimate:
        """One of the numbers."""
        names = ("value", "low", "high", "p", "class_low", "class_high", "class_p", "floor")
        numbers: dict[str, Any] = {name: float(getattr(self, name)[column]) for name in names}
        n = self.images - int(self.undefined[column])
        return Estimate(**numbers, n=n, constant=bool(self.constant[column]))

    def part(self, columns: slice) -> Means:
        """Some of the numbers."""
        return replace(self, **{name: getattr(self, name)[columns] for name in _ARRAYS})

    def joined(self, others: Sequence[Means]) -> Means:
        """With numbers of the same images."""
        arrays: dict[str, Any] = {
            name: np.concatenate([getattr(means, name) for means in (self, *others)]) for name in _ARRAYS
        }
        return replace(self, **arrays)


_ARRAYS = ("value", "low", "high", "class_low", "class_high", "undefined", "p", "class_p", "floor", "constant")


def moments_means(moments: Moments, columns: Sequence[Column], confidence: float, images: int) -> Means:
    """Means and intervals over images; none over classes.

    Args:
        moments: Of the numbers of all images.
        columns: What they are.
        confidence: Of the intervals.
        images: How many there were.
    """
    scale = np.array([column.measure.unit for column in columns])
    scale = np.fmax(scale, np.abs(moments.mean))
    for at, column in enumerate(columns):
        if column.of is not None:
            scale[at] = max(column.measure.unit, *(np.nan_to_num(abs(moments.mean[side])) for side in column.of))
    floor = ROUNDING * scale
    found = [
        mean_interval(moments.at(at), column.measure, confidence, float(floor[at]), paired=column.of is not None)
        for at, column in enumerate(columns)
    ]
    low, high, p = (np.array([getattr(one, name) for one in found], dtype=float) for name in ("low", "high", "p"))
    nothing = np.full(len(columns), np.nan)
    undefined = images - moments.n.astype(np.int64)
    constant = np.array([one.constant for one in found], dtype=bool)
    return Means(moments.mean, low, high, nothing, nothing, undefined, images, p, nothing, floor, constant, confidence)


class RunningMeans:
    """Collects (n, m) values of n images at a time.

    Images are taken in blocks, however they come: where they are cut into calls changes no bit.

    Memory: m * 32 bytes; classes * m * 16 and 8 bytes an image where there are classes.
    """

    def __init__(
        self,
        columns: Sequence[Column],
        options: IntervalOptions = USUAL,
        classes: NDArray[np.int64] | None = None,
    ) -> None:
        """Start with no image.

        Args:
            columns: The m numbers.
            options: Of all intervals; only the bootstrap of classes draws.
            classes: The class of every image that will come, in their order. They are resampled if `class_count` says
                that there are enough of them.
        """
        self._options = options
        self._columns = tuple(columns)
        self._there = np.array([column.there for column in columns])
        self._moments = Moments.of(np.empty((0, len(columns))))
        self._waiting = np.empty((0, len(columns)))
        self.images = 0
        count = class_count(classes)
        self._classes = np.unique(classes, return_inverse=True)[1] if classes is not None and count else None
        self._by_class = np.zeros((count, 2 * len(columns)))  # sums, and how many images define each number

    def add(self, values: F64) -> None:
        """Take (n, m) float64 values; NaN where an image does not define a number."""
        values = np.where(self._there, values, np.nan)
        if self._classes is not None:
            own = self._classes[self.images : self.images + len(values)]
            if len(own) < len(values):
                raise IntegrityError("there are more images than classes of them were given")
            defined = np.isfinite(values)
            np.add.at(self._by_class, own, np.concatenate([np.where(defined, values, 0.0), defined], axis=1))
        self._waiting = np.concatenate([self._waiting, values])
        self.images += len(values)
        full = len(self._waiting) // BLOCK * BLOCK
        for start in range(0, full, BLOCK):
            self._moments = self._moments.joined(Moments.of(self._waiting[start : start + BLOCK]))
        self._waiting = self._waiting[full:]

    def means(self) -> Means:
        """The means of all images, and their intervals. The end: no image may follow.

        Raises:
            IntegrityError: Classes were given of another number of images.
        """
        moments = self._moments.joined(Moments.of(self._waiting))
        found = moments_means(moments, self._columns, self._options.confidence, self.images)
        if self._classes is None:
            return found
        if self.images != len(self._classes):
            raise IntegrityError(f"classes of {len(self._classes)} images were given, and there are {self.images}")
        numbers = len(self._columns)
        over = percentile_interval(
            self._by_class, lambda sums: _ratio(sums[:, :numbers], sums[:, numbers:]), self._options
        )
        few = (self._by_class[:, numbers:] > 0).sum(axis=0) < FEW_IMAGES  # of the classes define the number
        return with_classes(found, over.low, over.high, over.error, few)


def with_classes(means: Means, low: F64, high: F64, error: F64, few: NDArray[np.bool_]) -> Means:
    """Add an interval over classes; none where `few` of them define the number, or all images agree.

    Args:
        means: Of the images.
        low, high, error: (m,) of the bootstrap of classes: ends, and standard error.
        few: (m,)
    """
    none = few | means.constant | ~(error > means.floor)
    with np.errstate(invalid="ignore", divide="ignore"):
        p = bootstrap_p(means.value, error)
    low, high, p = (np.where(none, np.nan, values) for values in (low, high, p))
    return replace(means, class_low=low, class_high=high, class_p=p)


def _ratio(sums: F64, counts: F64) -> F64:
    return np.asarray(sums / np.where(counts > 0, counts, np.nan))


def class_count(classes: NDArray[np.int64] | None) -> int:
    """Count the classes to resample: 0 without labels, with few classes, or with fewer than two images a class.

    >>> class_count(np.arange(80) % 40), class_count(np.arange(80) % 10), class_count(np.arange(80))
    (40, 0, 0)
    """
    if classes is None or not len(classes) or classes.min() < 0:
        return 0
    count = len(np.unique(classes))
    return count if count >= FEW_IMAGES and len(classes) >= 2 * count else 0


def interval_notes(n: int) -> list[str]:
    """Notes on the intervals of means over n images."""
    if n == 1:
        return ["no interval: it is over images, and there is one image"]
    if n < MIN_IMAGES:
        return [f"no interval: n too small: {n} images, {MIN_IMAGES} are needed"]
    if n < FEW_IMAGES:
        return [
            f"{n} images: with fewer than {FEW_IMAGES} the intervals of very skewed numbers are too narrow, and no "
            "difference is called resolved"
        ]
    return []


def outdated_notes(attrs: Mapping[str, Any]) -> list[str]:
    """Notes on a kept result whose intervals an earlier version made."""
    version = attrs.get("intervals", 0)
    if version == INTERVALS:
        return []
    if version == INTERVALS - 1:
        return [
            f"made by an earlier version: its intervals over fewer than {FEW_IMAGES} images are narrower; make it again"
        ]
    return [
        "made by an earlier version: its intervals are too narrow where images are few or their values skewed, its "
        "differences are judged one by one, and some of its numbers are fixed by their grids; make it again"
    ]


def thin_notes(names: Sequence[str], means: Means) -> list[str]:
    """Notes on numbers that few of the images define, or that are the same in all images.

    Args:
        names: What the first numbers of `means` are called.
        means: Of at least as many numbers.
    """
    notes = []
    defined = (means.images - means.undefined).tolist()
    numbers = list(zip(names, defined, means.constant.tolist(), np.isfinite(means.low).tolist(), strict=False))
    none = [f"{name} ({n})" for name, n, _, _ in numbers if 0 < n < MIN_IMAGES]
    thin = [f"{name} ({n})" for name, n, _, _ in numbers if MIN_IMAGES <= n < FEW_IMAGES]
    same = [name for name, _, constant, there in numbers if constant and not there]
    if means.images >= MIN_IMAGES and none:
        notes.append(f"no interval: n too small: {MIN_IMAGES} images are needed, and fewer define (n) {_listed(none)}")
    if means.images >= FEW_IMAGES and thin:
        notes.append(
            f"fewer than {FEW_IMAGES} images define these (n); if very skewed, their intervals are too narrow: "
            f"{_listed(thin)}"
        )
    if same:
        notes.append(f"no interval: every image has the same value, but for rounding: {_listed(same)}")
    return notes


def _listed(names: Sequence[str]) -> str:
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return ", ".join(names[:_NAMED]) + more


def judged_columns(means: Means, family: NDArray[np.intp]) -> dict[str, F64]:
    """The verdicts on the columns `family` (k,) of `means`, judged together: over images, and over classes.

    Returns:
        `resolved` and `class_resolved`: (k,) float64, 1 told from 0, 0 not, NaN nothing can be said (`Verdict`); `p`,
        (k,) adjusted.
    """
    found = [means.at(column) for column in family.tolist()]
    images = judge(found, confidence=means.confidence)
    classes = judge([one.over_classes for one in found], confidence=means.confidence, least=0)  # 30 are there
    return {
        "resolved": np.array([one.verdict.code for one in images]),
        "p": np.array([one.p for one in images]),
        "class_resolved": np.array([one.verdict.code for one in classes]),
    }
