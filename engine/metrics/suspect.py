"""Is an accuracy that looks like chance a fact about the backbone, or are the labels in another order?"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from cvbench.engine.metrics.scores import I64
from cvbench.engine.statistics.intervals import wilson

MARGIN = 0.02
RENAMED = 0.25


@dataclass(frozen=True)
class Chance:
    """Comparison of an accuracy with chance.

    Attributes:
        near: The interval of (accuracy - 1/K) / (1 - 1/K) starts below `MARGIN`: hardly anything right beyond chance.
        accuracy: Share of samples that are right.
        renamed: Share that would be right if each true class were given the name it is predicted as most, one to one.
        constant: Share of the samples that get the most frequent prediction.
    """

    near: bool
    accuracy: float
    renamed: float
    constant: float

    @property
    def other_order(self) -> bool:
        """The classes look right, but under other names."""
        return self.renamed > max(RENAMED, 3 * self.accuracy)


def against_chance(predicted: I64, labels: I64, classes: int) -> Chance:
    """Compare n >= 1 predictions with their labels, (n,) int64 each, of `classes` >= 2 classes."""
    n = len(labels)
    found = wilson(int((predicted == labels).sum()), n)
    chance = 1 / classes
    near = (found.low - chance) / (1 - chance) < MARGIN
    constant = float(np.bincount(predicted, minlength=1).max() / n)
    return Chance(near, found.value, _best_renaming(predicted, labels, classes) if near else found.value, constant)


def chance_of(hits: int, n: int, chance: float, predicted: I64) -> Chance:
    """Compare n >= 1 decisions with chance, as `against_chance`, where guessing would get a share of `chance` right."""
    found = wilson(hits, n)
    near = (found.low - chance) / (1 - chance) < MARGIN
    return Chance(near, found.value, found.value, float(np.unique(predicted, return_counts=True)[1].max() / n))


def _best_renaming(predicted: I64, labels: I64, classes: int) -> float:
    """Share of samples that a one-to-one renaming gets right, chosen greedily by the largest counts."""
    pairs, counts = np.unique(labels * classes + predicted, return_counts=True)
    taken_label, taken_class = np.zeros(classes, bool), np.zeros(classes, bool)
    right = 0
    for at in np.argsort(-counts, kind="stable"):
        label, name = divmod(int(pairs[at]), classes)
        if not (taken_label[label] or taken_class[name]):
            taken_label[label] = taken_class[name] = True
            right += int(counts[at])
    return right / len(labels)
