"""Top-k accuracy, mean per-class accuracy, and multi-label hits."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from cvbench.engine.metrics.scores import I64, Scores
from cvbench.engine.statistics.estimate import Estimate
from cvbench.engine.statistics.intervals import stratified, wilson


def top_k(scores: Scores, k: int, classes: int, confidence: float = 0.95) -> Estimate:
    """Share of samples whose true class is among the k first, with Wilson's interval over samples.

    Equal logits count lower index first, as argmax does. NaN if there are no more than k classes: it would be 1.
    """
    if classes <= k:
        return Estimate()
    return wilson(int((scores.rank < k).sum()), len(scores), confidence)


def mean_per_class(correct: NDArray[np.bool_], labels: I64, confidence: float = 0.95) -> Estimate:
    """Mean over the classes of their accuracy (balanced accuracy, mean per-class recall).

    Wilson's interval at the effective size of a stratified mean, see `stratified`; classes without a sample are left
    out.

    Args:
        correct: (n,) bool.
        labels: (n,) int64 >= 0.
    """
    if not len(labels):
        return Estimate()
    own = np.unique(labels, return_inverse=True)[1]
    return stratified(correct.astype(np.float64), own).share(confidence, len(labels))


def multi_label(predicted: I64, accepted: Sequence[Sequence[int]], confidence: float = 0.95) -> Estimate:
    """Share of samples whose prediction is among the accepted labels; samples that accept none are left out (ReaL).

    Beyer et al. 2020. Wilson's interval over the samples that count.
    """
    counted = [i for i, labels in enumerate(accepted) if len(labels)]
    hits = sum(int(predicted[i]) in accepted[i] for i in counted)
    return wilson(hits, len(counted), confidence)


def per_class(correct: NDArray[np.bool_], labels: I64, classes: int, confidence: float = 0.95) -> list[Estimate]:
    """Accuracy of each of the classes 0 <= c < `classes`, NaN without a sample; Wilson's interval over its samples."""
    n = np.bincount(labels, minlength=classes)
    hits = np.bincount(labels[correct], minlength=classes)
    return [wilson(int(h), int(m), confidence) for h, m in zip(hits, n, strict=True)]


def worst_classes(correct: NDArray[np.bool_], labels: I64, k: int) -> Estimate:
    """Accuracy over all samples of the k classes with the lowest accuracy (ImageNet-X's worst-k-class accuracy).

    The classes are chosen on the samples that they are then judged by, ties by lower label, so the number is too low
    for these classes by an unknown amount: it has no interval. NaN if there are no more than k classes.
    """
    names, own, n = np.unique(labels, return_inverse=True, return_counts=True)
    if len(names) <= k:
        return Estimate()
    rate = np.bincount(own, weights=correct) / n
    chosen = np.isin(own, np.argsort(rate, kind="stable")[:k])
    return Estimate(float(correct[chosen].mean()), n=int(chosen.sum()))
