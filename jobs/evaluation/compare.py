"""Every pair of backbones on the same samples: rows, and what may be said."""

from __future__ import annotations

import itertools
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from cvbench.engine.metrics.intervals import Options
from cvbench.engine.metrics.paired import compare, compare_classes, compare_ratios, compare_units, holm, verdict
from cvbench.jobs.evaluation.table import Table

DIFFERENCE, EXACT, MID_P, HOLM = "top1 difference", "McNemar exact p", "McNemar mid-p", "McNemar exact p (Holm)"
CLASS_DIFFERENCE = "mean per class difference"


def compare_pairs(
    correct: Mapping[str, NDArray[np.bool_]], table: Table, options: Options, units: NDArray[np.str_] | None = None
) -> list[str]:
    """Add the paired rows of every pair of backbones to the table.

    Args:
        correct: Backbone -> (n,) bool, of the same samples.
        units: (n,) cluster of each sample, where samples are not independent: an interval over clusters, no test.

    Returns:
        One sentence per pair; p values are adjusted for the number of pairs (Holm 1979).
    """
    pairs = list(itertools.combinations(correct, 2))
    sentences = []
    if units is not None:
        for a, b in pairs:
            estimate = compare_units(correct[a], correct[b], units, options)
            table.add(f"{a} vs {b}", DIFFERENCE, "", estimate)
            sentences.append(f"{table.dataset}: {verdict(estimate, (a, b))}")
        return sentences
    found = [compare(correct[a], correct[b], options) for a, b in pairs]
    adjusted = holm([comparison.exact for comparison in found])
    for (a, b), comparison, p in zip(pairs, found, adjusted, strict=True):
        name, n = f"{a} vs {b}", comparison.difference.n
        table.add(name, DIFFERENCE, "", comparison.difference)
        table.plain(name, EXACT, "", comparison.exact, n)
        table.plain(name, MID_P, "", comparison.mid_p, n)
        if len(pairs) > 1:
            table.plain(name, HOLM, "", p, n)
        sentences.append(f"{table.dataset}: {verdict(comparison.difference, (a, b), p)}")
    return sentences


def compare_class_means(
    correct: Mapping[str, NDArray[np.bool_]], labels: NDArray[np.int64], table: Table, options: Options
) -> list[str]:
    """As `compare_pairs` for the mean per-class accuracy: an interval over samples, for which there is no test."""
    sentences = []
    for a, b in itertools.combinations(correct, 2):
        estimate = compare_classes(correct[a], correct[b], labels, options)
        table.add(f"{a} vs {b}", CLASS_DIFFERENCE, "", estimate)
        sentences.append(f"{table.dataset}, mean per class: {verdict(estimate, (a, b))}")
    return sentences


def compare_shares(
    parts: Mapping[str, tuple[NDArray[np.bool_], NDArray[np.bool_]]], table: Table, options: Options, metric: str
) -> list[str]:
    """As `compare_pairs` for shares hits / (hits + misses): backbone -> (hit, miss), (n,) bool each."""
    sentences = []
    for a, b in itertools.combinations(parts, 2):
        estimate = compare_ratios(parts[a], parts[b], options)
        table.add(f"{a} vs {b}", metric, "", estimate)
        points = f"{estimate.value:+.3f} [{estimate.low:+.3f}, {estimate.high:+.3f}]"
        more = "differ" if estimate.low * estimate.high > 0 else "the difference is not resolved"
        sentences.append(f"{table.dataset}: {metric} of {a} and {b}: {more} ({points})")
    return sentences
