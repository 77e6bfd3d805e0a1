"""From the silhouette of each sample to a labelled result: means, shares, classes, companions, intervals."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cvbench.engine.analyses.base import Layer, Result
from cvbench.engine.analyses.silhouette.companions import companion_data
from cvbench.engine.analyses.silhouette.pairs import FAMILY, backbone_pairs, pair_data
from cvbench.engine.statistics.options import IntervalOptions
from cvbench.engine.statistics.within_class import ClassMeans, Replicates, over_classes, summarise

F64 = NDArray[np.float64]
Arrays = dict[str, tuple[tuple[str, ...], NDArray[Any]]]


@dataclass(frozen=True, eq=False)
class Scored:
    """Scores of m of n samples in L layers by M metrics.

    Attributes:
        s: (L, M, m) float64.
        means: Class means of s, columns layers by metrics: of all samples, then without each group.
        companions: (1 + g, L, 3) float64, of all n samples, then without each group; may be left out.
        positions: (m,) int64 place in the store.
        names: Label -> name of the class.
    """

    s: F64
    means: ClassMeans
    companions: F64 | None
    positions: NDArray[np.int64]
    names: Mapping[int, str]


def silhouette_result(
    layers: Sequence[Layer],
    scored: Scored,
    replicates: Replicates,
    options: Mapping[str, Any],
    intervals: IntervalOptions,
) -> Result:
    """The labelled result.

    Intervals are of these classes, by a jackknife over samples. `macro_over_classes` resamples the classes instead: for
    a claim about classes like these, not about these. See `cvbench.engine.statistics.within_class`.

    Args:
        layers: L layers.
        scored: What was found.
        replicates: Of the samples.
        options: metrics (M), space, space_label, and what else is kept.
        intervals: How those over classes are made.

    Returns:
        For each of `NUMBERS`: itself, _low and _high (layer, metric); macro_over_classes_low, _high; per_class, _low
        and _high (layer, metric, class); silhouette (layer, metric, sample); members, scored (class,) int64. For each
        of `COMPANIONS`: itself, _low and _high (layer,). With two backbones or more: difference_micro, _macro and
        _over_classes (pair, metric), and of the companions (pair,), also _low, _high and _p. NaN ends: no interval.
    """
    labels, members = np.unique(replicates.labels), replicates.members
    table = _means(scored, replicates, intervals)
    pairs = backbone_pairs(layers)
    data: Arrays = {
        **table,
        "silhouette": (("layer", "metric", "sample"), scored.s),
        "members": (("class",), members),
        "scored": (("class",), np.bincount(replicates.own, minlength=len(members))),
        **pair_data(scored.means, len(options["metrics"]), pairs, replicates, intervals),
    }
    if scored.companions is not None:
        data |= companion_data(scored.companions, pairs, replicates)
    coords = {
        "layer": [str(layer) for layer in layers],
        "metric": list(options["metrics"]),
        "class": [scored.names.get(int(label), str(label)) for label in labels],
        "sample": scored.positions.tolist(),
    }
    if pairs:
        coords["pair"] = [f"{layers[a]} - {layers[b]}" for a, b in pairs]
    notes = [*_notes(layers, options["metrics"], table["micro"][1], members), *replicates.notes]
    attrs = {**_attributes(layers, replicates, options), "pairs": [list(pair) for pair in pairs], "notes": notes}
    return Result(name="silhouette", coords=coords, data=data, attrs=attrs)


def _attributes(layers: Sequence[Layer], replicates: Replicates, options: Mapping[str, Any]) -> dict[str, Any]:
    """Attributes on the data and on the purpose of the intervals."""
    return {
        **{key: value for key, value in options.items() if key != "space_label"},
        "space": options["space_label"],
        "space_option": options["space"],
        "samples": len(replicates.labels),
        "scored_samples": len(replicates.rows),
        "interval": replicates.said,
        "family": FAMILY,
        "interval_over_classes": "for classes like these: bootstrap of the class means, Student t of fewer than 30",
        "layers": [{"backbone": layer.backbone, "tap": layer.tap} for layer in layers],
        "labels": np.unique(replicates.labels).tolist(),
    }


def _means(scored: Scored, replicates: Replicates, intervals: IntervalOptions) -> Arrays:
    """Means and classes of every layer and metric, with their intervals."""
    shape, classes = scored.s.shape[:2], len(replicates.members)
    data: Arrays = {}
    for name, values in summarise(scored.means, replicates).items():
        for key, value in zip(_keys(name), values, strict=True):
            layered = value.reshape(*shape) if value.ndim == 1 else value.T.reshape(*shape, classes)
            data[key] = (("layer", "metric", "class")[: layered.ndim], layered)
    ends = over_classes(scored.means.s[0], intervals)
    for key, value in zip(_keys("macro_over_classes")[1:], ends, strict=False):
        data[key] = (("layer", "metric"), value.reshape(*shape))
    return data


def _keys(name: str) -> tuple[str, str, str]:
    return name, f"{name}_low", f"{name}_high"


def _notes(layers: Sequence[Layer], metrics: Sequence[str], micro: F64, members: NDArray[np.int64]) -> Iterator[str]:
    alone = int((members == 1).sum())
    if alone:
        yield f"{alone} classes have one sample, whose s is 0 by definition"
    ranks = {metric: tuple(np.argsort(-micro[:, j], kind="stable")) for j, metric in enumerate(metrics)}
    if len(layers) > 1 and len(set(ranks.values())) > 1:
        yield f"the order of the layers depends on the metric ({', '.join(metrics)})"
