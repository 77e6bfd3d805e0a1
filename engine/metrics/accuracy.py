"""Top-k accuracy, mean per-class accuracy, and multi-label hits."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from cvbench.engine.metrics.intervals import Estimate, Options, counted_interval, wilson
from cvbench.engine.metrics.scores import I64, Scores


def top_k(scores: Scores, k: int, classes: int, confidence: float = 0.95) -> Estimate:
    """Share of samples whose true class is among the k first, with Wilson's interval over samples.

    Equal logits count lower index first, as argmax does. NaN if there are no more than k classes: it would be 1.
    """
    if classes <= k:
        return Estimate(float("nan"), float("nan"), float("nan"), 0)
    return wilson(int((scores.rank < k).sum()), len(scores), confidence)


def mean_per_class(correct: NDArray[np.bool_], labels: I64, options: Options) -> Estimate:
    """Mean over the classes of their accuracy (balanced accuracy, mean per-class recall); bootstrap over samples.

    Classes without a sample are left out; a resample without a sample of some class averages over the others.

    Args:
        correct: (n,) bool.
        labels: (n,) int64 >= 0.
    """
    names, own = np.unique(labels, return_inverse=True)
    if not len(names):
        return Estimate(float("nan"), float("nan"), float("nan"), 0)
    # A kind is (class, right or wrong). Its sums are two columns per class, so draw the kinds directly.
    kinds = 2 * len(names)
    counts = np.bincount(2 * own + correct, minlength=kinds)
    value = _balanced(counts[None].astype(np.float64))[0]
    rng = np.random.default_rng(options.seed)
    drawn = [
        _balanced(rng.multinomial(len(labels), counts / len(labels), size=size).astype(np.float64))
        for size in _parts(options.resamples, 2**22 // kinds + 1)
    ]
    ends = [(1 - options.confidence) / 2, (1 + options.confidence) / 2]
    low, high = np.quantile(np.concatenate(drawn), ends)
    return Estimate(float(value), float(low), float(high), len(labels))


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


def worst_classes(correct: NDArray[np.bool_], labels: I64, k: int, options: Options) -> Estimate:
    """Accuracy over all samples of the k classes with the lowest accuracy (ImageNet-X's worst-k-class accuracy).

    The classes are chosen once, on all samples, ties by lower label; the interval is over their samples, given them.
    NaN if there are no more than k classes.
    """
    names, own, n = np.unique(labels, return_inverse=True, return_counts=True)
    if len(names) <= k:
        return Estimate(float("nan"), float("nan"), float("nan"), 0)
    rate = np.bincount(own, weights=correct) / n
    chosen = np.isin(own, np.argsort(rate, kind="stable")[:k])
    size = int(chosen.sum())
    found = counted_interval(correct[chosen][:, None], lambda sums: sums / size, options)
    return Estimate(float(correct[chosen].mean()), float(found.low[0]), float(found.high[0]), size)


def _balanced(counts: NDArray[np.float64]) -> NDArray[np.float64]:
    """(r, 2K) counts of (wrong, right) per class -> (r,) mean over the classes that have a sample."""
    wrong, right = counts[:, ::2], counts[:, 1::2]
    n = wrong + right
    there = n > 0
    rates = np.divide(right, n, out=np.zeros_like(right), where=there)
    mean: NDArray[np.float64] = rates.sum(axis=1) / there.sum(axis=1)
    return mean


def _parts(total: int, size: int) -> list[int]:
    return [min(size, total - start) for start in range(0, total, size)]
