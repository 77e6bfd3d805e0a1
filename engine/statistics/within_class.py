"""Means of what each sample has, by class, and their intervals within classes and over classes.

Within classes, for these classes and other samples of them: a jackknife over groups of samples, see
`cvbench.engine.statistics.jackknife`. A group is about a tenth of every class; without it all other samples are scored
anew, since the silhouette of each depends on all. Bootstrapping the values of the samples would miss that half of the
variance. The groups depend on the seed and on the classes alone, so differences of backbones on the same samples are
paired.

A class of two or one is in no group: without one of its two samples the other would have none to compare with. What
such classes weigh much in has no interval (`Replicates.uncertain`).

Over classes, for classes like these: a bootstrap of the class means; of few, Student's t, since it is too narrow then.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from cvbench.engine.statistics.bootstrap import bootstrap_p, percentile_interval
from cvbench.engine.statistics.estimate import FEW_IMAGES
from cvbench.engine.statistics.intervals import wilson
from cvbench.engine.statistics.jackknife import Scale, jackknife_interval, strata_groups
from cvbench.engine.statistics.options import IntervalOptions

F64 = NDArray[np.float64]
I64 = NDArray[np.int64]
Arrays = dict[str, tuple[tuple[str, ...], F64]]

NUMBERS = ("micro", "macro", "negative")
"""Mean over samples; mean over classes of their means; share of samples with a value < 0."""

LEAST = 3
"""Members of a class of which one can be left out."""
FEW_GROUPS = 3
"""Fewer groups of samples give no interval."""
TESTED = ("", "_low", "_high", "_p")
"""How the arrays of a difference end: value, interval, and p of "it is 0"."""
UNMOVED = 0.1
"""Weight of classes in no group above which a number has no interval."""
TOO_SMALL = "no interval: n too small"
UNKNOWN = "no interval within classes: other samples would be laid out on another map"


@dataclass(frozen=True, eq=False)
class Replicates:
    """Groups of samples to leave out, for the intervals of one set of samples.

    Attributes:
        labels: (n,) int64 of all samples.
        rows: (m,) int64 scored samples.
        confidence, seed: Coverage, and the seed of the groups.
        fixed: What the features would be of other samples is not known, as of a t-SNE map: no interval within classes.
    """

    labels: I64
    rows: I64
    confidence: float
    seed: int
    fixed: bool = False

    @cached_property
    def members(self) -> I64:
        """(K,) samples of each class."""
        return np.asarray(np.unique(self.labels, return_counts=True)[1])

    @cached_property
    def own(self) -> I64:
        """(m,) class of each scored sample."""
        return np.asarray(np.unique(self.labels, return_inverse=True)[1][self.rows])

    @cached_property
    def parts(self) -> I64 | None:
        """(n,) group of each sample, -1 for none; None for no interval, as if there are too few samples for groups."""
        if self.fixed:
            return None
        scored = np.zeros(len(self.labels), dtype=bool)
        scored[self.rows] = True
        found = strata_groups(np.unique(self.labels, return_inverse=True)[1], scored, LEAST, self.seed)
        return found if found.max() + 1 >= FEW_GROUPS else None

    @property
    def groups(self) -> int:
        """Number of groups that are left out, 0 for none."""
        return 0 if self.parts is None else int(self.parts.max()) + 1

    def uncertain(self, name: str) -> bool:
        """Whether a number has no interval, as classes that no group takes from would weigh more than `UNMOVED` in it.

        A class of one is at s = 0 whatever its sample, so it counts in the means over samples and in the indices alone.
        """
        small = self.members < LEAST
        if name == "macro":
            return bool((small & (self.members > 1)).mean() > UNMOVED)
        if name == "davies_bouldin":
            return bool(small.mean() > UNMOVED)
        return bool(self.members[small].sum() > UNMOVED * self.members.sum())

    def class_means(self, values: F64) -> F64:
        """(r, K) class means of (r, m) values of the scored samples; NaN values are not there."""
        count, found = len(self.members), []
        for row in values:
            there = ~np.isnan(row)
            found.append(
                np.bincount(self.own[there], row[there], count) / np.bincount(self.own[there], minlength=count)
            )
        return np.stack(found)

    def interval(
        self, table: F64, of: str, scale: Scale = "plain", degrees: F64 | float | None = None
    ) -> tuple[F64, F64, F64, F64]:
        """Value, low, high and p, each of the shape of a row of `table` (1 + g, ...): of all, then without each group.

        Args:
            table: The statistics.
            of: What they are, see `uncertain`.
            scale, degrees: See `jackknife_interval`.
        """
        value = table[0]
        if not self.groups or self.uncertain(of):
            nothing = np.full_like(value, np.nan)
            return value, nothing, nothing, nothing
        found = jackknife_interval(value, table[1:], confidence=self.confidence, scale=scale, degrees=degrees)
        return value, found.low, found.high, found.p

    def named(
        self, name: str, dims: tuple[str, ...], table: F64, scale: Scale = "plain", *, difference: bool = False
    ) -> Arrays:
        """Arrays of a result: `name`, _low and _high, or difference_`name` with _p, from statistics (1 + g, ...)."""
        found = self.interval(table, name, scale)
        if difference:
            return {f"difference_{name}{end}": (dims, each) for end, each in zip(TESTED, found, strict=True)}
        return {f"{name}{end}": (dims, each) for end, each in zip(TESTED[:3], found, strict=False)}

    @property
    def said(self) -> str:
        """Method of the intervals within classes, in words."""
        if not self.groups:
            return UNKNOWN if self.fixed else TOO_SMALL
        return (
            f"given the classes: jackknife over {self.groups} groups of samples, each an equal part of every class; "
            f"the others are scored anew; Student t with {self.groups - 1} degrees of freedom"
        )

    @property
    def notes(self) -> list[str]:
        """Notes on numbers without an interval."""
        if not self.groups:
            return [UNKNOWN if self.fixed else f"{TOO_SMALL} ({len(self.labels)} samples)"]
        without = [name for name in (*NUMBERS, "davies_bouldin") if self.uncertain(name)]
        if not without:
            return []
        small = int((self.members < LEAST).sum())
        return [f"{TOO_SMALL} for {', '.join(without)}: {small} of {len(self.members)} classes have 1 or 2 samples"]


@dataclass(frozen=True, eq=False)
class ClassMeans:
    """Class means of c columns (layers by metrics), (1 + g, K, c) float64: of s, and shares of samples with s < 0.

    Of all samples, then without each group. To keep s itself of every sample would take g times the memory of s.
    """

    s: F64
    below: F64

    @classmethod
    def of(cls, s: F64, replicates: Replicates) -> ClassMeans:
        """Compute the class means of one column (1 + g, m), NaN in the samples of the group that is left out."""
        below = np.where(np.isnan(s), np.nan, s < 0)
        return cls(replicates.class_means(s)[:, :, None], replicates.class_means(below)[:, :, None])

    @classmethod
    def joined(cls, columns: Sequence[ClassMeans]) -> ClassMeans:
        """All columns in one."""
        return cls(*(np.concatenate([getattr(each, name) for each in columns], axis=2) for name in ("s", "below")))


def over_samples(means: F64, replicates: Replicates) -> F64:
    """(1 + g, c) means over samples from class means (1 + g, K, c): a class weighs what it has of all samples."""
    return np.asarray(np.einsum("k,rkc->rc", replicates.members / replicates.members.sum(), means))


def summarise(found: ClassMeans, replicates: Replicates) -> dict[str, F64]:
    """Numbers of c columns with their intervals.

    Ends of the share below 0 are those of the jackknife or of the score interval of as many samples (Wilson 1927),
    whichever is farther: where no sample or all are below 0, leaving some out shows no spread. The interval of a class
    has as many degrees of freedom as its members less one, if that is fewer.

    Returns:
        Name -> (3, c): value, low and high of `NUMBERS`; per_class (3, K, c).
    """
    share, low, high, _ = replicates.interval(over_samples(found.below, replicates), "negative")
    m = len(replicates.rows)
    score = [wilson(round(p * m), m, replicates.confidence) for p in share]
    low, high = np.minimum(low, [each.low for each in score]), np.maximum(high, [each.high for each in score])
    degrees = np.maximum(np.minimum(replicates.groups, replicates.members) - 1.0, 1.0)[:, None]
    value, bottom, top, _ = replicates.interval(found.s, "class", degrees=degrees)
    few = (replicates.members < LEAST)[:, None]
    return {
        "micro": np.stack(replicates.interval(over_samples(found.s, replicates), "micro")[:3]),
        "macro": np.stack(replicates.interval(found.s.mean(axis=1), "macro")[:3]),
        "negative": np.stack([share, low.clip(0, 1), high.clip(0, 1)]),
        "per_class": np.stack([value, np.where(few, np.nan, bottom), np.where(few, np.nan, top)]),
    }


def over_classes(means: F64, options: IntervalOptions) -> tuple[F64, F64, F64]:
    """Low, high and p (c,) of the mean of (K, c) class means, for classes like these.

    A bootstrap of the classes; of fewer than `FEW_IMAGES` Student's t of their means, the jackknife's interval.
    """
    count = len(means)
    if count < FEW_IMAGES:
        left_out = (means.sum(axis=0) - means) / max(1, count - 1)
        few = jackknife_interval(means.mean(axis=0), left_out, confidence=options.confidence)
        return few.low, few.high, few.p
    found = percentile_interval(means, lambda sums: sums / count, options)
    return found.low, found.high, bootstrap_p(means.mean(axis=0), found.error)
