"""ImageNet-X: how much more often a backbone errs when a factor is present (Idrissi et al. 2022).

    accuracy(f)    = share of the images with factor f that are right
    error_ratio(f) = (1 - accuracy(f)) / (1 - accuracy overall)

"Overall" is over all annotated images (the reference), or over the whole validation set.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cvbench.engine.statistics.estimate import Estimate
from cvbench.engine.statistics.intervals import counted_interval, moved_interval, wilson
from cvbench.engine.statistics.options import IntervalOptions
from cvbench.engine.statistics.paired import Comparison, compare

F64 = NDArray[np.float64]


@dataclass(frozen=True)
class FactorErrors:
    """Errors by F factors, in their order.

    Attributes:
        accuracy: Of the images with the factor, Wilson's interval; n is their number.
        ratio: Error ratio, bootstrap over images (numerator and denominator together); n as above. Where all images of
            a factor are right, or all wrong, no resample differs: the interval there is Wilson's of the factor's
            errors, divided by the errors overall.
        overall: Accuracy that the ratios compare with.
        mean_ratio: Unweighted mean of the defined ratios ("Average" of the chart of Vishniakov et al. 2024).
        worst: Lowest accuracy of any factor, and which it is; None if no factor has an image.
        undefined: (F,) int64 resamples in which a factor had no image, or nothing was wrong.
    """

    accuracy: list[Estimate]
    ratio: list[Estimate]
    overall: Estimate
    mean_ratio: Estimate
    worst: int | None
    undefined: NDArray[np.int64]


def factor_errors(
    correct: NDArray[np.bool_],
    factors: NDArray[np.bool_],
    options: IntervalOptions,
    counted: NDArray[np.bool_] | None = None,
) -> FactorErrors:
    """Accuracy and error ratio of each factor.

    A factor without an image, and every ratio if nothing is wrong, is NaN: 0/0 is neither 0 nor 1.

    Args:
        correct: (n,) bool, of all images that "overall" is over.
        factors: (n, F) bool; several or none per image. False throughout for images that are not annotated.
        options: Of the intervals.
        counted: (n,) bool, the images that "overall" is over; None: all.
    """
    included = np.ones(len(correct), bool) if counted is None else counted
    count = factors.shape[1]
    accuracy = [
        wilson(int(correct[has].sum()), int(has.sum()), options.confidence)
        for has in factors.T.astype(bool, copy=False)
    ]
    wrong = ~correct
    rows = np.concatenate([(wrong & included)[:, None], included[:, None], factors & wrong[:, None], factors], axis=1)

    def statistic(sums: F64) -> F64:
        ratios = _ratios(sums, count)
        return np.concatenate([ratios, _mean_defined(ratios)[:, None]], axis=1)

    right = float((correct & included).sum() / max(included.sum(), 1))
    value = statistic(rows.sum(axis=0, dtype=np.float64)[None])[0]
    found = counted_interval(rows, statistic, options)
    ends = list(zip(value.tolist(), found.low.tolist(), found.high.tolist(), strict=True))
    ratio = [_ratio(*end, of=estimate, wrong=1 - right) for end, estimate in zip(ends, accuracy, strict=False)]
    overall = wilson(int((correct & included).sum()), int(included.sum()), options.confidence)
    there = [i for i, estimate in enumerate(accuracy) if estimate.n]
    worst = min(there, key=lambda i: accuracy[i].value) if there else None
    return FactorErrors(accuracy, ratio, overall, _known(*ends[-1], n=overall.n), worst, found.undefined[:count])


@dataclass(frozen=True)
class FactorDifferences:
    """A less B, of F factors in their order.

    Attributes:
        ratio: Of the error ratios, see `moved_interval`; n counts the images with the factor.
        accuracy: Of the accuracies of the images with the factor, with McNemar's test.
    """

    ratio: list[Estimate]
    accuracy: list[Comparison]


def compare_factors(
    a: NDArray[np.bool_],
    b: NDArray[np.bool_],
    factors: NDArray[np.bool_],
    counted: NDArray[np.bool_] | None = None,
    confidence: float = 0.95,
) -> FactorDifferences:
    """Two backbones on the same images, factor by factor; arguments as in `factor_errors`.

    A ratio e_f / e of the errors with the factor and overall moves by (w_i - e_f) / (n_f e) with an image of the factor
    and by -e_f (w_i - e) / (n e^2) with any image counted, w_i = 1 where it is wrong.
    """
    included = np.ones(len(a), bool) if counted is None else counted
    wrong = [(~right).astype(np.float64) for right in (a, b)]
    n = int(included.sum())
    overall = [float(w[included].mean()) if n else float("nan") for w in wrong]
    ratios, accuracies = [], []
    for has in factors.T.astype(bool, copy=False):
        accuracies.append(compare(a[has], b[has], confidence))
        size = int(has.sum())
        if not size or not all(e > 0 for e in overall):
            ratios.append(Estimate(n=size))
            continue
        moved, values = np.zeros(len(a)), []
        for sign, w, e in zip((1, -1), wrong, overall, strict=True):
            own = float(w[has].mean())
            values.append(own / e)
            moved += sign * (has * (w - own) / (size * e) - included * own * (w - e) / (n * e * e))
        reach = (1 / overall[0] + 1 / overall[1]) / 2 / size
        ratios.append(moved_interval(values[0] - values[1], moved, reach, size, size, confidence))
    return FactorDifferences(ratios, accuracies)


def metaclass_correct(
    predicted: NDArray[np.int64], labels: NDArray[np.int64], names: Sequence[str]
) -> NDArray[np.bool_]:
    """(n,) bool: the predicted class has the metaclass of the true one.

    Args:
        names: Metaclass of each class.
    """
    _, code = np.unique(np.array(names), return_inverse=True)
    same: NDArray[np.bool_] = code[predicted] == code[labels]
    return same


def _ratios(sums: F64, factors: int) -> F64:
    """(r, 2 + 2F) sums of wrong, all, wrong with factor, with factor -> (r, F) error ratios."""
    wrong, n, wrong_with, n_with = sums[:, :1], sums[:, 1:2], sums[:, 2 : 2 + factors], sums[:, 2 + factors :]
    with np.errstate(divide="ignore", invalid="ignore"):
        ratios = (wrong_with / n_with) / (wrong / n)
    return np.where((n_with > 0) & (wrong > 0), ratios, np.nan)


def _mean_defined(ratios: F64) -> F64:
    known = ~np.isnan(ratios)
    with np.errstate(invalid="ignore"):
        mean: F64 = np.where(known, ratios, 0).sum(axis=1) / known.sum(axis=1)
    return mean


def _ratio(value: float, low: float, high: float, of: Estimate, wrong: float) -> Estimate:
    """An error ratio; `of` is the accuracy with the factor, `wrong` the share of errors overall."""
    if of.n and of.value in (0.0, 1.0) and wrong > 0:
        low, high = (1 - of.high) / wrong, (1 - of.low) / wrong
    return _known(value, low, high, of.n)


def _known(value: float, low: float, high: float, n: int) -> Estimate:
    """An undefined value has no interval, even where some resample defines it."""
    return Estimate(value, low, high, n) if np.isfinite(value) else Estimate(n=n)
