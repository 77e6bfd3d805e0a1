"""Every pair of backbones on the same samples: rows, and what may be said.

All differences that one result judges by one metric are a family: their p values are adjusted together (Holm 1979), and
a verdict needs an adjusted p below 0.05 and an interval that leaves out 0. The intervals are of each difference alone.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cvbench.engine.holm import holm
from cvbench.engine.metrics.intervals import Difference, Estimate, Options
from cvbench.engine.metrics.paired import (
    Comparison,
    compare,
    compare_classes,
    compare_ratios,
    compare_units,
    is_resolved,
    verdict,
)
from cvbench.jobs.evaluation.table import ADJUSTED, Table

DIFFERENCE, EXACT, MID_P, HOLM = "top1 difference", "McNemar exact p", "McNemar mid-p", "McNemar exact p (Holm)"
CLASS_DIFFERENCE = "mean per class difference"
TEST = "exact McNemar"
FAMILY = "verdicts need an interval without 0 and p < 0.05 after Holm's adjustment over {}"
TOO_SMALL = "no interval: n too small"


@dataclass(frozen=True)
class Pair:
    """Two backbones on one data set, and which samples each gets right."""

    dataset: str
    names: tuple[str, str]
    found: Comparison


def pairs_of(dataset: str, correct: Mapping[str, NDArray[np.bool_]], options: Options) -> list[Pair]:
    """Every pair; `correct` has (n,) bool of the same samples for each backbone."""
    return [
        Pair(dataset, (a, b), compare(correct[a], correct[b], options)) for a, b in itertools.combinations(correct, 2)
    ]


def compare_pairs(correct: Mapping[str, NDArray[np.bool_]], table: Table, options: Options) -> list[str]:
    """Add the paired rows of every pair of backbones to the table; one sentence per pair."""
    pairs = pairs_of(table.dataset, correct, options)
    return [judge(table, pair, p, len(pairs)) for pair, p in zip(pairs, adjusted(pairs), strict=True)]


def adjusted(pairs: Sequence[Pair]) -> list[float]:
    """The exact p values of a family."""
    return [float(p) for p in holm([pair.found.exact for pair in pairs])]


def judge(table: Table, pair: Pair, p: float, family: int) -> str:
    """Add the rows of a pair and say its verdict.

    Args:
        table: Stands at the data set of the pair.
        pair: What was found.
        p: Its exact p, adjusted.
        family: How many are judged together.
    """
    name, found = " vs ".join(pair.names), pair.found
    table.add(name, DIFFERENCE, "", found.difference)
    table.plain(name, EXACT, "", found.exact, found.difference.n)
    table.plain(name, MID_P, "", found.mid_p, found.difference.n)
    if family > 1:
        table.plain(name, HOLM, "", p, found.difference.n)
    return f"{pair.dataset}: {verdict(found.difference, pair.names, p, TEST)}"


def compare_clusters(
    correct: Mapping[str, NDArray[np.bool_]], units: NDArray[np.str_], table: Table, options: Options
) -> list[str]:
    """As `compare_pairs` where samples come in clusters of alike ones: (n,) the cluster of each."""
    return _points(
        correct, lambda a, b: compare_units(correct[a], correct[b], units, options), table, DIFFERENCE, "score test"
    )


def compare_class_means(
    correct: Mapping[str, NDArray[np.bool_]], labels: NDArray[np.int64], table: Table, options: Options
) -> list[str]:
    """As `compare_pairs` for the mean per-class accuracy."""

    def found(a: str, b: str) -> Difference:
        return compare_classes(correct[a], correct[b], labels, options)

    return _points(correct, found, table, CLASS_DIFFERENCE, "score test", ", mean per class")


def _points(
    names: Iterable[str],
    find: Callable[[str, str], Difference],
    table: Table,
    metric: str,
    test: str,
    what: str = "",
) -> list[str]:
    """Rows and verdicts of a difference of accuracies with its own p."""
    pairs = list(itertools.combinations(names, 2))
    found = [find(a, b) for a, b in pairs]
    sentences = []
    for pair, estimate, p in zip(pairs, found, holm([one.p for one in found]).tolist(), strict=True):
        _rows(table, " vs ".join(pair), metric, "", estimate, p)
        sentences.append(f"{table.dataset}{what}: {verdict(estimate, pair, p, test)}")
    return sentences


def compare_shares(
    parts: Mapping[str, tuple[NDArray[np.bool_], NDArray[np.bool_]]], table: Table, options: Options, metric: str
) -> list[str]:
    """As `compare_pairs` for shares hits / (hits + misses): backbone -> (hit, miss), (n,) bool each."""
    pairs = list(itertools.combinations(parts, 2))
    found = [compare_ratios(parts[a], parts[b], options) for a, b in pairs]
    sentences = []
    for (a, b), estimate, p in zip(pairs, found, holm([one.p for one in found]).tolist(), strict=True):
        _rows(table, f"{a} vs {b}", metric, "", estimate, p)
        more = "differ" if is_resolved(estimate, p) else "the difference is not resolved"
        sentences.append(f"{table.dataset}: {metric} of {a} and {b}: {more} ({_shown(estimate, p)})")
    return sentences


@dataclass(frozen=True)
class Factor:
    """A difference of two backbones where a factor is present.

    Attributes:
        name: Of the factor.
        estimate: A less B.
        p: Not adjusted.
    """

    name: str
    estimate: Estimate
    p: float


def judge_factors(
    found: Mapping[tuple[str, str], Sequence[Factor]], table: Table, metric: str, *, better: str, worse: str
) -> list[str]:
    """Add the differences of every pair and factor to the table, and say which are resolved: a sentence per pair.

    The p values of all factors and pairs are adjusted together.

    Args:
        found: Pair -> its factors.
        table: For the rows.
        metric: Of the rows.
        better, worse: What is said of A where its number is larger, and where it is smaller.
    """
    adjusted_p = iter(holm([one.p for factors in found.values() for one in factors]).tolist())
    sentences = []
    for (a, b), factors in found.items():
        said: dict[str, list[str]] = {better: [], worse: []}
        open_ones, small = [], []
        for one in factors:
            p = next(adjusted_p)
            _rows(table, f"{a} vs {b}", metric, one.name, one.estimate, p)
            name = one.name.replace("_", " ")
            if np.isnan(one.estimate.value):
                continue
            if np.isnan(one.estimate.low):
                small.append(name)
            elif is_resolved(one.estimate, p):
                said[better if one.estimate.value > 0 else worse].append(f"{name} ({_shown(one.estimate, p)})")
            else:
                open_ones.append(name)
        parts = [f"{a} {words} in {', '.join(names)}" for words, names in said.items() if names]
        parts += [f"not resolved: {', '.join(open_ones)}"] if open_ones else []
        parts += [f"{TOO_SMALL}: {', '.join(small)}"] if small else []
        sentences.append(f"{table.dataset}, {metric} of {a} and {b}: {'; '.join(parts) or 'no factor has an image'}")
    return sentences


def _rows(table: Table, name: str, metric: str, factor: str, estimate: Estimate, p: float) -> None:
    table.add(name, metric, factor, estimate)
    table.plain(name, metric + ADJUSTED, factor, p, estimate.n)


def _shown(estimate: Estimate, p: float) -> str:
    if np.isnan(estimate.low):
        return f"{estimate.value:+.3f}, {TOO_SMALL}"
    return f"{estimate.value:+.3f} [{estimate.low:+.3f}, {estimate.high:+.3f}], p = {p:.3g}"
