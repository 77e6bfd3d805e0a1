"""Every pair of backbones on the same samples: rows, and what may be said.

All differences that one result judges by one metric are a family: their p values are adjusted together (Holm 1979), see
`cvbench.engine.statistics.verdict`. The intervals are of each difference alone.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cvbench.engine.statistics.estimate import FEW_IMAGES, Estimate
from cvbench.engine.statistics.paired import Comparison, compare, compare_classes, compare_ratios, compare_units
from cvbench.engine.statistics.verdict import Judged, Verdict, judge
from cvbench.jobs.results.table import Table

TOP1, MEAN, EXACT, MID_P = "top1", "mean per class", "McNemar exact p", "McNemar mid-p"
TEST = "exact McNemar"
FAMILY = (
    "verdicts need an interval without 0, p < 0.05 after Holm's adjustment over {}, and "
    f"{FEW_IMAGES} images that define the difference"
)


def state(what: str, names: tuple[str, str], judged: Judged, *, points: bool = False, test: str = "") -> str:
    """State in a sentence what may be said of a difference of A less B: the one wording of all evaluations.

    Args:
        what: Of what, and where.
        names: A and B.
        judged: The difference and its verdict.
        points: Whether the difference is one of percentages.
        test: What p is of, in words.

    >>> state("birds, top1", ("a", "b"), Judged(Estimate(-0.1, -0.2, -0.02, 100), 0.01, Verdict.RESOLVED), points=True)
    'birds, top1: b is above a (resolved): +10.00 points [+2.00, +20.00], p = 0.01, 100 images'
    >>> state("birds, bias", ("a", "b"), Judged(Estimate(0.1, -0.1, 0.3, 100), 0.4, Verdict.NOT_RESOLVED))
    'birds, bias: a and b (not resolved): +0.100 [-0.100, +0.300], p = 0.4, 100 images'
    """
    a, b = names
    found = judged.found
    who = f"{a} and {b}"
    if judged.verdict is Verdict.RESOLVED:
        higher, lower = (a, b) if found.value > 0 else (b, a)
        who = f"{higher} is above {lower}"
        if found.value < 0:
            found = Estimate(-found.value, -found.high, -found.low, found.n)
    shown = _shown(Judged(found, judged.p, judged.verdict), points=points, test=test)
    return f"{what}: {who} ({judged.verdict.value}): {shown}, {found.n:,} images"


def _shown(judged: Judged, *, points: bool = False, test: str = "") -> str:
    """The numbers of a difference."""
    by, form, unit = (100, "+.2f", " points") if points else (1, "+.3f", "")
    value, low, high = (by * end for end in (judged.found.value, judged.found.low, judged.found.high))
    if np.isnan(low):
        return f"{value:{form}}{unit}"
    return f"{value:{form}}{unit} [{low:{form}}, {high:{form}}], {test}{' ' if test else ''}p = {judged.p:.3g}"


@dataclass(frozen=True)
class Pair:
    """Two backbones on one data set, and which samples each gets right."""

    dataset: str
    names: tuple[str, str]
    found: Comparison


def pairs_of(dataset: str, correct: Mapping[str, NDArray[np.bool_]]) -> list[Pair]:
    """Every pair; `correct` has (n,) bool of the same samples for each backbone."""
    return [Pair(dataset, (a, b), compare(correct[a], correct[b])) for a, b in itertools.combinations(correct, 2)]


def compare_pairs(correct: Mapping[str, NDArray[np.bool_]], table: Table) -> list[str]:
    """Add the paired rows of every pair of backbones to the table; one sentence per pair."""
    pairs = pairs_of(table.dataset, correct)
    return [add_pair(table, pair, judged) for pair, judged in zip(pairs, judge_pairs(pairs), strict=True)]


def judge_pairs(pairs: Sequence[Pair]) -> list[Judged]:
    """The verdicts on the accuracies of a family, by McNemar's exact test."""
    return judge([pair.found.difference for pair in pairs])


def add_pair(table: Table, pair: Pair, judged: Judged) -> str:
    """Add the rows of a pair and say its verdict.

    Args:
        table: Stands at the data set of the pair.
        pair: What was found.
        judged: Its verdict.
    """
    (a, b), n = pair.names, pair.found.difference.n
    table.difference(pair.names, TOP1, "", judged)
    table.test(a, EXACT, "", pair.found.exact, n, backbone_b=b)
    table.test(a, MID_P, "", pair.found.mid_p, n, backbone_b=b)
    return state(f"{pair.dataset}, top1", pair.names, judged, points=True, test=TEST)


def compare_clusters(correct: Mapping[str, NDArray[np.bool_]], units: NDArray[np.str_], table: Table) -> list[str]:
    """Compare as `compare_pairs` where samples come in clusters of alike ones: (n,) the cluster of each."""
    return _compare(correct, lambda a, b: compare_units(correct[a], correct[b], units), table, TOP1, points=True)


def compare_class_means(correct: Mapping[str, NDArray[np.bool_]], labels: NDArray[np.int64], table: Table) -> list[str]:
    """Compare as `compare_pairs` the mean per-class accuracy."""

    def found(a: str, b: str) -> Estimate:
        return compare_classes(correct[a], correct[b], labels)

    return _compare(correct, found, table, MEAN, points=True)


def compare_shares(
    parts: Mapping[str, tuple[NDArray[np.bool_], NDArray[np.bool_]]], table: Table, metric: str
) -> list[str]:
    """Compare as `compare_pairs` shares hits / (hits + misses): backbone -> (hit, miss), (n,) bool each."""
    return _compare(parts, lambda a, b: compare_ratios(parts[a], parts[b]), table, metric)


def _compare(
    names: Iterable[str], find: Callable[[str, str], Estimate], table: Table, metric: str, *, points: bool = False
) -> list[str]:
    """Rows and verdicts of a difference with its own p."""
    pairs = list(itertools.combinations(names, 2))
    sentences = []
    for pair, judged in zip(pairs, judge([find(a, b) for a, b in pairs]), strict=True):
        table.difference(pair, metric, "", judged)
        test = "score test" if points else ""
        sentences.append(state(f"{table.dataset}, {metric}", pair, judged, points=points, test=test))
    return sentences


def judge_factors(found: Mapping[tuple[str, str], Mapping[str, Estimate]], table: Table, metric: str) -> list[str]:
    """Add the differences of every pair and factor to the table, and say which are resolved: a sentence per pair.

    The p values of all factors and pairs are adjusted together.

    Args:
        found: Pair -> factor -> A less B.
        table: For the rows.
        metric: Of the rows.
    """
    verdicts = iter(judge([one for factors in found.values() for one in factors.values()]))
    sentences = []
    for (a, b), factors in found.items():
        above, below = f"{a} is above {b} (resolved)", f"{b} is above {a} (resolved)"
        said: dict[str, list[str]] = {above: [], below: [], **{one.value: [] for one in Verdict}}
        for factor, judged in zip(factors, verdicts, strict=False):
            table.difference((a, b), metric, factor, judged)
            name, value = factor.replace("_", " "), judged.found.value
            if judged.verdict is Verdict.RESOLVED:
                said[above if value > 0 else below].append(f"{name} ({_shown(judged)})")
            elif not np.isnan(value):
                said[judged.verdict.value].append(name)
        parts = "; ".join(f"{words}: {', '.join(names)}" for words, names in said.items() if names)
        what = f"{table.dataset}, {metric} difference of {a} and {b}"
        sentences.append(f"{what}: {parts or 'no factor has an image'}")
    return sentences
