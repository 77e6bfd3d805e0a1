"""From the silhouette of each sample to a labelled result: means, shares, classes, intervals."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cvbench.engine.analyses.base import Layer, Result
from cvbench.engine.analyses.silhouette_pairs import backbone_pairs, pair_data
from cvbench.engine.bootstrap import percentile_interval, resample_weights

F64 = NDArray[np.float64]

NUMBERS = ("micro", "macro", "negative")
"""Mean over samples; mean over classes of their means; share of samples with s < 0."""


@dataclass(frozen=True, eq=False)
class Scored:
    """The silhouette of m of n samples in L layers by M metrics.

    Attributes:
        s: (L, M, m) float64.
        positions: (m,) int64 place in the store.
        labels: (m,) int64, every class among them.
        all_labels: (n,) int64, of the samples that were the reference.
        names: Label -> name of the class.
    """

    s: F64
    positions: NDArray[np.int64]
    labels: NDArray[np.int64]
    all_labels: NDArray[np.int64]
    names: Mapping[int, str]


def silhouette_result(layers: Sequence[Layer], scored: Scored, options: Mapping[str, Any]) -> Result:
    """The labelled result.

    Intervals are a bootstrap of the s within each class, given the mean distances. `macro_over_classes` resamples the
    classes instead: for a claim about classes like these, not about these.

    Args:
        layers: L layers.
        scored: What was found.
        options: metrics (M), space, space_label, sample, resamples, confidence, seed.

    Returns:
        For each of `NUMBERS`: itself, _low and _high (layer, metric); macro_over_classes_low, _high; per_class, _low
        and _high (layer, metric, class); silhouette (layer, metric, sample); members, scored (class,) int64. With two
        backbones or more: difference_micro, _macro and _over_classes, each also _low and _high (pair, metric).
    """
    labels, own, drawn = np.unique(scored.labels, return_inverse=True, return_counts=True)
    members = np.bincount(np.searchsorted(labels, scored.all_labels))
    shape = scored.s.shape[:2]
    table = {key: np.empty(shape) for name in (*NUMBERS, "macro_over_classes") for key in _keys(name)}
    table |= {key: np.empty((*shape, len(labels))) for key in _keys("per_class")}

    def summary(s: F64) -> dict[str, tuple[Any, Any, Any]]:
        return summarise(s, own, members, options["resamples"], options["confidence"], options["seed"])

    for at in np.ndindex(*shape):
        found = summary(scored.s[at])
        for name, values in found.items():
            for key, value in zip(_keys(name), values, strict=True):
                table[key][at] = value
    del table["macro_over_classes"]  # the value is that of macro
    data: dict[str, tuple[tuple[str, ...], NDArray[Any]]] = {
        key: (("layer", "metric", "class")[: value.ndim], value) for key, value in table.items()
    }
    data["silhouette"] = (("layer", "metric", "sample"), scored.s)
    data["members"] = (("class",), members)
    data["scored"] = (("class",), drawn)
    differences = {
        (a, b): [summary(scored.s[a, j] - scored.s[b, j]) for j in range(shape[1])] for a, b in backbone_pairs(layers)
    }
    pair_names, of_pairs, pairs = pair_data(layers, differences)
    return Result(
        name="silhouette",
        coords={
            "layer": [str(layer) for layer in layers],
            "metric": list(options["metrics"]),
            "class": [scored.names.get(int(label), str(label)) for label in labels],
            "sample": scored.positions.tolist(),
            **pair_names,
        },
        data={**data, **of_pairs},
        attrs={
            **{key: value for key, value in options.items() if key != "space_label"},
            "space": options["space_label"],
            "space_option": options["space"],
            "pairs": pairs,
            "samples": len(scored.all_labels),
            "scored_samples": len(scored.labels),
            "interval": "bootstrap of s within classes, given the mean distances",
            "layers": [{"backbone": layer.backbone, "tap": layer.tap} for layer in layers],
            "labels": labels.tolist(),
            "notes": list(_notes(layers, options["metrics"], table["micro"], members)),
        },
    )


def summarise(
    s: F64, own: NDArray[np.int64], members: NDArray[np.int64], resamples: int, confidence: float, seed: int
) -> dict[str, tuple[Any, Any, Any]]:
    """Name -> (value, low, high): `NUMBERS` and macro_over_classes as numbers, per_class as (K,) float64.

    Memory: resamples * K * 16 bytes.

    Args:
        s: (m,) float64.
        own: (m,) class of each, 0 <= own < K, every class present.
        members: (K,) int64 samples of each class in all: the weights of the classes in `micro` and `negative`.
        resamples, confidence, seed: Of the bootstrap. The draws depend on the seed and on m alone: two layers with the
            same samples have the same.
    """
    weights = members / members.sum()
    seeds = np.random.SeedSequence(seed).generate_state(len(members))  # one stream per class
    values = np.stack([s, s < 0], axis=1)
    point, drawn = np.empty((len(members), 2)), np.empty((resamples, len(members), 2))
    for at, its_seed in enumerate(seeds):
        mine = values[own == at]
        point[at] = mine.mean(axis=0)
        sums = [weight @ mine for weight in resample_weights(len(mine), resamples, int(its_seed))]
        drawn[:, at] = np.concatenate(sums) / len(mine)

    def numbers(means: F64) -> F64:
        """(..., K, 2) class means of s and of s < 0 -> (..., 3)."""
        s_means, shares = means[..., 0], means[..., 1]
        return np.stack([s_means @ weights, s_means.mean(axis=-1), shares @ weights], axis=-1)

    ends = [(1 - confidence) / 2, (1 + confidence) / 2]
    low, high = np.quantile(numbers(drawn), ends, axis=0)
    class_low, class_high = np.quantile(drawn[..., 0], ends, axis=0)
    over = percentile_interval(
        point[:, :1], lambda sums: sums / len(members), resamples=resamples, confidence=confidence, seed=seed
    )
    value = numbers(point)
    return {
        **{name: (value[i], low[i], high[i]) for i, name in enumerate(NUMBERS)},
        "macro_over_classes": (value[1], over.low[0], over.high[0]),
        "per_class": (point[:, 0], class_low, class_high),
    }


def silhouette_rows(result: Result) -> Iterator[dict[str, Any]]:
    """One flat row per layer and metric: names, counts, numbers and the ends of their intervals."""
    attrs = result.attrs
    members = result.data["members"][1]
    for i, layer in enumerate(attrs["layers"]):
        for j, metric in enumerate(attrs["metrics"]):
            numbers = {key: float(v[i, j]) for key, (dims, v) in result.data.items() if dims == ("layer", "metric")}
            yield {
                "backbone": layer["backbone"],
                "tap": layer["tap"],
                "metric": metric,
                "space": attrs["space"],
                "samples": attrs["samples"],
                "scored": attrs["scored_samples"],
                "classes": len(members),
                "median_per_class": float(np.median(members)),
                **numbers,
            }


def silhouette_json(result: Result) -> list[dict[str, Any]]:
    """The rows, each with its classes."""
    names, labels = result.coords["class"], result.attrs["labels"]
    members, scored = result.data["members"][1], result.data["scored"][1]
    value, low, high = (result.data[key][1] for key in _keys("per_class"))
    rows = list(silhouette_rows(result))
    for row, (i, j) in zip(rows, np.ndindex(value.shape[0], value.shape[1]), strict=True):
        row["per_class"] = [
            {
                "label": labels[c],
                "class": names[c],
                "samples": int(members[c]),
                "scored": int(scored[c]),
                "silhouette": float(value[i, j, c]),
                "low": float(low[i, j, c]),
                "high": float(high[i, j, c]),
            }
            for c in range(len(names))
        ]
    return rows


def _keys(name: str) -> tuple[str, str, str]:
    return name, f"{name}_low", f"{name}_high"


def _notes(layers: Sequence[Layer], metrics: Sequence[str], micro: F64, members: NDArray[np.int64]) -> Iterator[str]:
    alone = int((members == 1).sum())
    if alone:
        yield f"{alone} classes have one sample, whose s is 0 by definition"
    ranks = {metric: tuple(np.argsort(-micro[:, j], kind="stable")) for j, metric in enumerate(metrics)}
    if len(layers) > 1 and len(set(ranks.values())) > 1:
        yield f"the order of the layers depends on the metric ({', '.join(metrics)})"
