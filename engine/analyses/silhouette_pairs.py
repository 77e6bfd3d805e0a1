"""Differences of the silhouette between backbones, paired: the same samples, and the same resamples of them.

A difference of means over samples is the mean of the differences of the samples, so it has the interval of a mean. One
that contains 0 is not resolved: these samples do not say which of the two is the higher.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import combinations
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from cvbench.engine.analyses.base import Layer, Result
from cvbench.engine.analyses.silhouette_companions import COMPANIONS
from cvbench.engine.analyses.silhouette_means import summarise
from cvbench.engine.bootstrap import resolved
from cvbench.engine.online import verdict

if TYPE_CHECKING:
    from cvbench.engine.analyses.silhouette_result import Scored

F64 = NDArray[np.float64]
KINDS = {
    "micro": "bootstrap within classes",
    "macro": "bootstrap within classes",
    "over_classes": "bootstrap of classes",
}
"""What differs and how its interval is made: means over samples, and over classes twice."""


def backbone_pairs(layers: Sequence[Layer]) -> list[tuple[int, int]]:
    """Each pair of backbones, by the number of the last layer of each."""
    last = {layer.backbone: at for at, layer in enumerate(layers)}
    return list(combinations(last.values(), 2))


def pair_data(
    scored: Scored, members: NDArray[np.int64], pairs: Sequence[tuple[int, int]], options: Mapping[str, Any]
) -> dict[str, tuple[tuple[str, ...], F64]]:
    """The arrays of a result's pairs, each (pair, metric); nothing if there is no pair.

    Args:
        scored: The silhouettes.
        members: (K,) samples of each class.
        pairs: Numbers of layers.
        options: resamples, confidence and seed of the bootstrap.
    """
    if not pairs:
        return {}
    gaps = np.stack([scored.s[a] - scored.s[b] for a, b in pairs])  # (pair, metric, sample)
    own = np.unique(scored.labels, return_inverse=True)[1]
    seeded = (options["resamples"], options["confidence"], options["seed"])
    found = summarise(gaps.reshape(-1, gaps.shape[2]).T, own, members, *seeded, per_class=False)
    data: dict[str, tuple[tuple[str, ...], F64]] = {}
    for kind in KINDS:
        source = found["macro_over_classes" if kind == "over_classes" else kind]
        for values, end in zip(source, ("", "_low", "_high"), strict=True):
            data[f"difference_{kind}{end}"] = (("pair", "metric"), values.reshape(gaps.shape[:2]))
    return data


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
                yield _row(result, p, (f"difference_{name}", (p,)), "euclidean", name, "bootstrap within classes")


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
