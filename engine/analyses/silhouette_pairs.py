"""Differences of the silhouette between backbones, paired: of the same samples, and without the same groups of them.

The jackknife of a difference is that of any other number. An interval that contains 0 is not resolved: these samples do
not say which of the two is the higher. The two kinds answer two questions: `micro` and `macro` whether other samples of
these classes would show the difference again, `over_classes` whether other classes would.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import combinations
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cvbench.engine.analyses.base import Layer, Result
from cvbench.engine.analyses.silhouette_companions import COMPANIONS
from cvbench.engine.analyses.silhouette_means import ClassMeans, Replicates, over_classes, over_samples
from cvbench.engine.bootstrap import resolved
from cvbench.engine.online import verdict

F64 = NDArray[np.float64]
WITHIN = "jackknife within classes"
CLASSES = "resampling of classes"
KINDS = {"micro": WITHIN, "macro": WITHIN, "over_classes": CLASSES}
"""What differs and how its interval is made: means over samples, and over classes twice."""


def backbone_pairs(layers: Sequence[Layer]) -> list[tuple[int, int]]:
    """Each pair of backbones, by the number of the last layer of each."""
    last = {layer.backbone: at for at, layer in enumerate(layers)}
    return list(combinations(last.values(), 2))


def pair_data(
    found: ClassMeans,
    metrics: int,
    pairs: Sequence[tuple[int, int]],
    replicates: Replicates,
    options: Mapping[str, Any],
) -> dict[str, tuple[tuple[str, ...], F64]]:
    """The arrays of a result's pairs, each (pair, metric); nothing if there is no pair.

    Args:
        found: Columns are layers by metrics.
        metrics: How many.
        pairs: Numbers of layers.
        replicates: How intervals within classes are made.
        options: resamples, confidence and seed of the bootstrap of classes.
    """
    if not pairs:
        return {}
    layered = found.s.reshape(*found.s.shape[:2], -1, metrics)
    gaps = np.stack([layered[:, :, a] - layered[:, :, b] for a, b in pairs], axis=2)  # (1 + g, class, pair, metric)
    flat, shape, dims = gaps.reshape(*gaps.shape[:2], -1), gaps.shape[2:], ("pair", "metric")
    seeded = (options["resamples"], options["confidence"], options["seed"])
    macro = flat.mean(axis=1)
    ends = {
        "micro": replicates.interval(over_samples(flat, replicates), "micro"),
        "macro": replicates.interval(macro, "macro"),
        "over_classes": (macro[0], *over_classes(flat[0], *seeded)),
    }
    return {
        f"difference_{kind}{end}": (dims, values.reshape(shape))
        for kind, three in ends.items()
        for values, end in zip(three, ("", "_low", "_high"), strict=True)
    }


def difference_rows(result: Result) -> Iterator[dict[str, Any]]:
    """One flat row per pair of backbones, metric and kind: names, value, low, high and whether it is resolved.

    Then one for each companion, which is of no metric but the Euclidean. `resolved` is None where fewer samples than
    `FEW_IMAGES` would have to be trusted; intervals over classes are taken as they are, a note says how few they are.
    """
    for p in range(len(result.attrs["pairs"])):
        for j, metric in enumerate(result.attrs["metrics"]):
            for kind, interval in KINDS.items():
                mean = "micro" if kind == "micro" else "macro"
                yield _row(result, p, (f"difference_{kind}", (p, j)), metric, mean, interval)
        for name in COMPANIONS:
            if f"difference_{name}" in result.data:
                yield _row(result, p, (f"difference_{name}", (p,)), "euclidean", name, WITHIN)


def _row(
    result: Result, pair: int, place: tuple[str, tuple[int, ...]], metric: str, mean: str, interval: str
) -> dict[str, Any]:
    name, at = place
    a, b = (result.attrs["layers"][layer] for layer in result.attrs["pairs"][pair])
    n = result.attrs["samples" if mean in COMPANIONS else "scored_samples"]
    value, low, high = (float(result.data[f"{name}{end}"][1][at]) for end in ("", "_low", "_high"))
    return {
        "a": a["backbone"],
        "b": b["backbone"],
        "tap_a": a["tap"],
        "tap_b": b["tap"],
        "metric": metric,
        "space": result.attrs["space"],
        "mean": mean,
        "difference": value,
        "low": low,
        "high": high,
        "resolved": resolved(low, high) if interval == KINDS["over_classes"] else verdict(low, high, n),
        "interval": interval,
    }
