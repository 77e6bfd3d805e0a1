"""From maps and the measures of each sample to a labelled result: means, intervals, differences, spread over starts."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cvbench.engine.analyses.base import Layer, Result
from cvbench.engine.analyses.samples import Samples
from cvbench.engine.analyses.silhouette_means import Replicates, few_classes_note
from cvbench.engine.analyses.silhouette_pairs import backbone_pairs
from cvbench.engine.analyses.tsne_backends import Embedding
from cvbench.engine.analyses.tsne_means import WITHIN_CLASSES, Averages
from cvbench.engine.online import interval_notes, verdict

F64 = NDArray[np.float64]
Arrays = dict[str, tuple[tuple[str, ...], NDArray[Any]]]

ENDS = ("_low", "_high", "_class_low", "_class_high")
NAMED_ENDS = dict(zip(("low", "high", "class_low", "class_high"), ENDS, strict=True))
"""Ends of the intervals over samples and over classes: their names in a row, and how their arrays end."""

WITHOUT_MAP = ("purity_features", "accuracy_features")
"""Measures of the features alone: the same in every run."""


@dataclass(frozen=True, eq=False)
class Mapped:
    """One layer.

    Attributes:
        runs: R.
        values: For each run the measures, name -> (m,) float64 per measured sample (m may differ by name).
        class_means: Of the first run's silhouette, (1 + g, K) float64: of all samples, then without each group of the
            jackknife; None where it is not defined.
    """

    runs: Sequence[Embedding]
    values: Sequence[Mapping[str, F64]]
    class_means: F64 | None = None


def tsne_result(
    layers: Sequence[Layer],
    found: Sequence[Mapped],
    samples: Samples,
    measured: NDArray[np.int64],
    options: Mapping[str, Any],
    replicates: Replicates | None = None,
) -> Result:
    """The labelled result.

    Args:
        layers: L layers.
        found: Of each layer.
        replicates: Of the jackknife of the silhouette; None where it is not defined.
        samples: The rows that were mapped.
        measured: (m,) labels of the rows that the measures are of; a measure of fewer has the first of them.
        options: backend, seed, resamples, confidence, samples, samples_of, measured_samples, and what else is kept.

    Returns:
        map (layer, sample, axis) of the first run; label (sample,); kl (nats) and iterations (layer, run). Over (layer,
        measure): measures of the first run with _low, _high and, over classes, _class_low, _class_high;
        measures_mean and measures_sd over the runs; n, n_undefined samples behind them. With two backbones or more, of
        their last layers over (pair, measure): difference, of the same samples, with the same ends, and difference_n.
    """
    names = list(found[0].values[0])
    averages = Averages(measured, samples.labels, options["resamples"], options["confidence"], options["seed"])
    pairs = backbone_pairs(layers)
    data: Arrays = {
        "map": (("layer", "sample", "axis"), np.stack([layer.runs[0].map for layer in found])),
        "label": (("sample",), samples.labels),
        **_measures(names, found, averages, replicates),
        **_differences(names, found, averages, pairs, replicates),
        "kl": (("layer", "run"), np.array([[run.kl for run in layer.runs] for layer in found])),
        "iterations": (("layer", "run"), np.array([[run.iterations for run in layer.runs] for layer in found])),
    }
    labels, counts = np.unique(samples.labels, return_counts=True)
    coords = {
        "layer": [str(layer) for layer in layers],
        "sample": samples.positions.tolist(),
        "axis": ["x", "y"],
        "measure": names,
        "run": ["pca", *(f"random {at}" for at in range(1, len(found[0].runs)))],
    }
    if pairs:
        coords["pair"] = [f"{layers[a]} - {layers[b]}" for a, b in pairs]
    attrs = {
        **options,
        "learning_rates": list(found[0].runs[0].rates),
        "chance_purity": float(((counts / counts.sum()) ** 2).sum()) if (labels >= 0).all() else None,
        "labels": labels.tolist(),
        "class_names": [_name(int(label), samples.classes) for label in labels],
        "interval": "bootstrap over samples (silhouette: jackknife within classes), and over classes, given the map",
        "layers": [{"backbone": layer.backbone, "tap": layer.tap} for layer in layers],
        "pairs": [list(pair) for pair in pairs],
        "notes": list(_notes(samples, options)),
    }
    return Result(name="tsne", coords=coords, data=data, attrs=attrs)


def _measures(
    names: Sequence[str], found: Sequence[Mapped], averages: Averages, replicates: Replicates | None
) -> Arrays:
    """Every measure of every layer."""
    shape = (len(found), len(names))
    table = {key: np.full(shape, np.nan) for key in ("", *ENDS, "_mean", "_sd")}
    counted = np.zeros((2, *shape), dtype=np.int64)
    for i, layer in enumerate(found):
        for j, name in enumerate(names):
            values = layer.values[0][name]
            estimate = _estimate(averages, name, values, replicates, layer.class_means)
            for key, number in zip(("", *ENDS), estimate, strict=True):
                table[key][i, j] = number
            undefined = int(np.isnan(values).sum())
            counted[:, i, j] = len(values) - undefined, undefined
            means = np.array([averages.mean(name, run[name]) for run in layer.values])
            table["_mean"][i, j] = means.mean()
            if len(means) > 1 and not name.startswith(WITHOUT_MAP):
                table["_sd"][i, j] = means.std(ddof=1)
    data: Arrays = {f"measures{key}": (("layer", "measure"), value) for key, value in table.items()}
    return {**data, "n": (("layer", "measure"), counted[0]), "n_undefined": (("layer", "measure"), counted[1])}


def _differences(
    names: Sequence[str],
    found: Sequence[Mapped],
    averages: Averages,
    pairs: Sequence[tuple[int, int]],
    replicates: Replicates | None,
) -> Arrays:
    """Every measure of one layer less that of another, sample by sample: the interval of the mean is paired."""
    if not pairs:
        return {}
    table = {key: np.full((len(pairs), len(names)), np.nan) for key in ("", *ENDS)}
    counts = np.zeros((len(pairs), len(names)), dtype=np.int64)
    for i, (a, b) in enumerate(pairs):
        for j, name in enumerate(names):
            gaps = found[a].values[0][name] - found[b].values[0][name]
            first, second = found[a].class_means, found[b].class_means
            means = None if first is None or second is None else first - second
            for key, number in zip(("", *ENDS), _estimate(averages, name, gaps, replicates, means), strict=True):
                table[key][i, j] = number
            counts[i, j] = int((~np.isnan(gaps)).sum())
    data: Arrays = {f"difference{key}": (("pair", "measure"), value) for key, value in table.items()}
    return {**data, "difference_n": (("pair", "measure"), counts)}


def _estimate(
    averages: Averages, name: str, values: F64, replicates: Replicates | None, means: F64 | None
) -> tuple[float, ...]:
    """Mean, then its `ENDS`; those of the silhouette over samples from class means without each group, if there are."""
    if name not in WITHIN_CLASSES:
        ends = averages.over_samples(name, values)
    elif replicates is None or means is None:
        ends = (np.nan, np.nan)
    else:
        ends = averages.within_classes(means, replicates)
    return (averages.mean(name, values), *ends, *averages.over_classes(name, values))


def measure_rows(result: Result) -> Iterator[dict[str, Any]]:
    """One flat row per layer and measure; undefined numbers are None."""
    keys = {"value": "", **NAMED_ENDS, "mean_over_runs": "_mean", "sd_over_runs": "_sd"}
    for i, layer in enumerate(result.attrs["layers"]):
        for j, measure in enumerate(result.coords["measure"]):
            yield {
                **layer,
                "measure": measure,
                **{key: _number(result, f"measures{end}", i, j) for key, end in keys.items()},
                "n": int(result.data["n"][1][i, j]),
                "n_undefined": int(result.data["n_undefined"][1][i, j]),
            }


def difference_rows(result: Result) -> Iterator[dict[str, Any]]:
    """One flat row per pair of backbones and measure: the first less the second, and whether it is resolved.

    `resolved` is the `verdict` of the interval over samples, by the `n` that define the difference.
    """
    layers = result.attrs["layers"]
    for i, (a, b) in enumerate(result.attrs["pairs"]):
        for j, measure in enumerate(result.coords["measure"]):
            low, high = (float(result.data[f"difference{end}"][1][i, j]) for end in ENDS[:2])
            n = int(result.data["difference_n"][1][i, j])
            yield {
                "backbone_a": layers[a]["backbone"],
                "tap_a": layers[a]["tap"],
                "backbone_b": layers[b]["backbone"],
                "tap_b": layers[b]["tap"],
                "measure": measure,
                "value": _number(result, "difference", i, j),
                **{key: _number(result, f"difference{end}", i, j) for key, end in NAMED_ENDS.items()},
                "n": n,
                "n_undefined": sum(int(result.data[count][1][a, j]) for count in ("n", "n_undefined")) - n,
                "resolved": verdict(low, high, n),
            }


def point_rows(result: Result) -> Iterator[dict[str, Any]]:
    """One flat row per layer and sample: where it is on the map."""
    names = dict(zip(result.attrs["labels"], result.attrs["class_names"], strict=True))
    labels, positions = result.data["label"][1].tolist(), result.coords["sample"]
    for layer, points in zip(result.attrs["layers"], result.data["map"][1], strict=True):
        for position, label, (x, y) in zip(positions, labels, points.tolist(), strict=True):
            yield {**layer, "sample": position, "label": label, "class": names[label], "x": x, "y": y}


def _number(result: Result, name: str, i: int, j: int) -> float | None:
    value = float(result.data[name][1][i, j])
    return value if np.isfinite(value) else None


def _name(label: int, classes: Sequence[str]) -> str:
    return classes[label] if 0 <= label < len(classes) else ("no label" if label < 0 else str(label))


def _notes(samples: Samples, options: Mapping[str, Any]) -> Iterator[str]:
    classes = len(np.unique(samples.labels))
    if (samples.labels < 0).any():
        yield "some samples have no label: purity, accuracy and silhouette are undefined"
    elif classes < 2:
        yield "one class only: purity, accuracy and silhouette are undefined"
    elif classes == len(samples.labels):
        yield "every sample is alone in its class: purity, accuracy and silhouette are undefined"
    else:
        few = few_classes_note(classes)
        if few:
            yield few
    if options["samples"] < options["samples_of"]:
        yield f"the map is of {options['samples']} of {options['samples_of']} samples, each class in proportion"
    if options["measured_samples"] < options["samples"]:
        yield f"the measures are of {options['measured']} of the {options['samples']} samples, among all of them"
    yield from interval_notes(options["measured_samples"])
    if options["repeats"] < 5:
        yield "fewer than 5 runs: the spread over starts is not known well"
    yield "distances, areas and gaps on a t-SNE map carry no claim by themselves"
