"""Differences of the silhouette between backbones, paired: the same samples, and the same resamples of them.

A difference of means over samples is the mean of the differences of the samples, so it has the interval of a mean. One
that contains 0 is not resolved: these samples do not say which of the two is the higher.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import combinations
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cvbench.engine.analyses.base import Layer, Result
from cvbench.engine.bootstrap import resolved

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
    layers: Sequence[Layer], found: Mapping[tuple[int, int], Sequence[Mapping[str, tuple[float, float, float]]]]
) -> tuple[dict[str, list[Any]], dict[str, tuple[tuple[str, ...], F64]], list[list[int]]]:
    """What a result gets of its pairs: coordinates, arrays and the numbers of the layers; nothing if there is no pair.

    Args:
        layers: All layers.
        found: Pair -> for each metric: micro, macro and macro_over_classes of the differences, with their intervals.
    """
    if not found:
        return {}, {}, []
    data: dict[str, tuple[tuple[str, ...], F64]] = {}
    for kind in KINDS:
        source = "macro_over_classes" if kind == "over_classes" else kind
        table = np.array([[metric[source] for metric in metrics] for metrics in found.values()], dtype=np.float64)
        for end, name in enumerate(("", "_low", "_high")):
            data[f"difference_{kind}{name}"] = (("pair", "metric"), table[..., end])
    names = [f"{layers[a]} - {layers[b]}" for a, b in found]
    return {"pair": names}, data, [list(pair) for pair in found]


def difference_rows(result: Result) -> Iterator[dict[str, Any]]:
    """One flat row per pair of backbones, metric and kind: names, value, low, high and whether it is resolved."""
    layers = result.attrs["layers"]
    for p, (a, b) in enumerate(result.attrs["pairs"]):
        for j, metric in enumerate(result.attrs["metrics"]):
            for kind, interval in KINDS.items():
                value, low, high = (
                    float(result.data[f"difference_{kind}{end}"][1][p, j]) for end in ("", "_low", "_high")
                )
                yield {
                    "a": layers[a]["backbone"],
                    "b": layers[b]["backbone"],
                    "tap_a": layers[a]["tap"],
                    "tap_b": layers[b]["tap"],
                    "metric": metric,
                    "space": result.attrs["space"],
                    "mean": "micro" if kind == "micro" else "macro",
                    "difference": value,
                    "low": low,
                    "high": high,
                    "resolved": resolved(low, high),
                    "interval": interval,
                }
