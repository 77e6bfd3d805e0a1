"""Differences of the silhouette between backbones, paired: of the same samples, and without the same groups of them.

The jackknife of a difference is that of any other number. The two kinds answer two questions: `micro` and `macro`
whether other samples of these classes would show the difference again, `over_classes` whether other classes would. Each
kind is one family of verdicts.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from cvbench.engine.analyses.base import Layer, Result
from cvbench.engine.analyses.silhouette.companions import COMPANIONS
from cvbench.engine.statistics.estimate import FEW_IMAGES, Estimate
from cvbench.engine.statistics.options import IntervalOptions
from cvbench.engine.statistics.verdict import Judged, judge, verdict
from cvbench.engine.statistics.within_class import TESTED, ClassMeans, Replicates, over_classes, over_samples

F64 = NDArray[np.float64]
WITHIN = "jackknife within classes"
CLASSES = "resampling of classes"
KINDS = {"micro": WITHIN, "macro": WITHIN, "over_classes": CLASSES}
"""What differs and how its interval is made: means over samples, and over classes twice."""
FAMILY = (
    "differences of one result are judged together, those over classes apart: p is Holm's, and resolved needs it below "
    "5 %"
)
"""What a legend says of verdicts."""


def backbone_pairs(layers: Sequence[Layer]) -> list[tuple[int, int]]:
    """Each pair of backbones, by the number of the last layer of each."""
    last = {layer.backbone: at for at, layer in enumerate(layers)}
    return list(combinations(last.values(), 2))


def pair_data(
    found: ClassMeans,
    metrics: int,
    pairs: Sequence[tuple[int, int]],
    replicates: Replicates,
    options: IntervalOptions,
) -> dict[str, tuple[tuple[str, ...], F64]]:
    """The arrays of a result's pairs, each (pair, metric); nothing if there is no pair.

    Args:
        found: Columns are layers by metrics.
        metrics: How many.
        pairs: Numbers of layers.
        replicates: How intervals within classes are made.
        options: Of the interval over classes.
    """
    if not pairs:
        return {}
    layered = found.s.reshape(*found.s.shape[:2], -1, metrics)
    gaps = np.stack([layered[:, :, a] - layered[:, :, b] for a, b in pairs], axis=2)  # (1 + g, class, pair, metric)
    flat, shape, dims = gaps.reshape(*gaps.shape[:2], -1), gaps.shape[2:], ("pair", "metric")
    macro = flat.mean(axis=1)
    ends = {
        "micro": replicates.interval(over_samples(flat, replicates), "micro"),
        "macro": replicates.interval(macro, "macro"),
        "over_classes": (macro[0], *over_classes(flat[0], options)),
    }
    return {
        f"difference_{kind}{end}": (dims, values.reshape(shape))
        for kind, found_ends in ends.items()
        for values, end in zip(found_ends, TESTED, strict=True)
    }


@dataclass(frozen=True)
class Difference:
    """One backbone less another.

    Attributes:
        layers: Numbers of both layers.
        kind: Of `KINDS`, or one of `COMPANIONS`.
        metric: That of the distances.
        judged: The difference, with its verdict. Its p is NaN in an earlier result, judged one by one.
    """

    layers: tuple[int, int]
    kind: str
    metric: str
    judged: Judged

    @property
    def way(self) -> str:
        """The method of its interval: `WITHIN` or `CLASSES`."""
        return KINDS.get(self.kind, WITHIN)


def differences(result: Result) -> list[Difference]:
    """Judge, of every pair of backbones, each of `KINDS` by every metric, then the companions, which are Euclidean.

    Nothing is resolved where fewer samples than `FEW_IMAGES` would have to be trusted; intervals over classes are taken
    as they are, a note says how few they are.
    """
    found = [(*where, _estimate(result, *where[:2])) for where in _places(result)]
    judged: dict[int, Judged] = {}
    for way in (WITHIN, CLASSES):
        own = [at for at, (kind, *_) in enumerate(found) if KINDS.get(kind, WITHIN) == way]
        family = [found[at][-1] for at in own]
        how = {"confidence": result.attrs["confidence"], "least": FEW_IMAGES if way == WITHIN else 0}
        if "difference_micro_p" in result.data:
            said = judge(family, **how)
        else:
            said = [Judged(one, math.nan, verdict(one, **how)) for one in family]
        judged.update(zip(own, said, strict=True))
    pairs = result.attrs["pairs"]
    return [
        Difference((pairs[at[0]][0], pairs[at[0]][1]), kind, metric, judged[number])
        for number, (kind, at, metric, _) in enumerate(found)
    ]


def _places(result: Result) -> Iterator[tuple[str, tuple[int, ...], str]]:
    """The kind of each difference, its indices in its variable, and the metric."""
    for p in range(len(result.attrs["pairs"])):
        for j, metric in enumerate(result.attrs["metrics"]):
            yield from ((kind, (p, j), metric) for kind in KINDS)
        yield from ((name, (p,), "euclidean") for name in COMPANIONS if f"difference_{name}" in result.data)


def _estimate(result: Result, kind: str, at: tuple[int, ...]) -> Estimate:
    ends = [f"difference_{kind}{end}" for end in TESTED]
    value, low, high, p = (float(result.data[end][1][at]) if end in result.data else math.nan for end in ends)
    return Estimate(value, low, high, result.attrs["samples" if kind in COMPANIONS else "scored_samples"], p)
