"""From maps and the measures of each sample to a labelled result: means, intervals, differences, spread over starts."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cvbench.engine.analyses.base import Layer, Result
from cvbench.engine.analyses.samples import Samples
from cvbench.engine.analyses.silhouette.pairs import backbone_pairs
from cvbench.engine.analyses.tsne.averages import LEAST, NO_INTERVAL, Averages, jackknifed
from cvbench.engine.analyses.tsne.backends import Embedding
from cvbench.engine.statistics.estimate import FEW_IMAGES, Estimate
from cvbench.engine.statistics.mean_interval import ROUNDING
from cvbench.engine.statistics.measure import Measure, share
from cvbench.engine.statistics.options import IntervalOptions
from cvbench.engine.statistics.verdict import FAMILY, judge

F64 = NDArray[np.float64]
Arrays = dict[str, tuple[tuple[str, ...], NDArray[Any]]]

FIELDS = {"": "value", "_low": "low", "_high": "high", "_class_low": "class_low", "_class_high": "class_high"}
"""How an array ends -> what it has of an `Estimate`."""

TABLE = (
    share("trustworthiness", "no neighbour on the map is a stranger in the features"),
    share("continuity", "no neighbour in the features is a stranger on the map"),
    share("recall", "share of the k nearest in the features that are so on the map"),
    share("purity_features", "share of the k nearest of the same class, in the features"),
    share("purity_map", "the same on the map"),
    share("accuracy_features", "whether most of the k nearest are of the same class, in the features"),
    share("accuracy_map", "the same on the map"),
    Measure("silhouette_map", "silhouette of the classes on the map", least=-1.0, most=1.0),
    Measure("distance_order", "Spearman correlation of the distances of each sample", least=-1.0, most=1.0),
)
"""The measures; all but the last two of k neighbours, and only where n > 2 k: with fewer samples most are neighbours of
each. `distance_order` needs three samples, the class measures two classes that are not all of one sample."""


def measure_of(name: str) -> Measure:
    """The measure of a name such as "recall_10"."""
    return next(measure for measure in TABLE if name in (measure.name, f"{measure.name}_{name.rpartition('_')[2]}"))


WITHOUT_MAP = ("purity_features", "accuracy_features")
"""Measures of the features alone: the same in every run."""


@dataclass(frozen=True, eq=False)
class Mapped:
    """One layer.

    Attributes:
        runs: R of them.
        values: For each the measures, name -> (m,) float64 per measured sample (m may differ by name).
        left_out: Name -> (groups,) the mean of the first run without each group of samples; empty for no interval.
    """

    runs: Sequence[Embedding]
    values: Sequence[Mapping[str, F64]]
    left_out: Mapping[str, F64]


def tsne_result(
    layers: Sequence[Layer],
    found: Sequence[Mapped],
    samples: Samples,
    measured: NDArray[np.int64],
    options: Mapping[str, Any],
    intervals: IntervalOptions,
) -> Result:
    """The labelled result.

    Args:
        layers: L layers.
        found: Of each layer.
        samples: The rows that were mapped.
        measured: (m,) labels of the rows that the measures are of; a measure of fewer has the first of them.
        options: backend, samples, samples_of, measured_samples, and what else is kept.
        intervals: How they are made.

    Returns:
        map (layer, sample, axis) of the first run; label (sample,); kl (nats) and iterations (layer, run). Over (layer,
        measure): measures of the first run with _low, _high and, over classes, _class_low, _class_high;
        measures_mean and measures_sd over the runs; n, n_undefined samples behind them. With two backbones or more, of
        their last layers over (pair, measure): difference, of the same samples, with the same ends, and difference_n.
    """
    names = list(found[0].values[0])
    averages = Averages(measured, samples.labels, intervals)
    pairs = backbone_pairs(layers)
    data: Arrays = {
        "map": (("layer", "sample", "axis"), np.stack([layer.runs[0].map for layer in found])),
        "label": (("sample",), samples.labels),
        **_measures(names, found, averages),
        **_differences(names, found, averages, pairs),
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
        "interval": "jackknife over groups of samples, and spread over starts; over classes: bootstrap, given the map",
        "family": FAMILY,
        "layers": [{"backbone": layer.backbone, "tap": layer.tap} for layer in layers],
        "pairs": [list(pair) for pair in pairs],
        "notes": [*_notes(samples, options), *_constant_notes(names, data, options)],
    }
    return Result(name="tsne", coords=coords, data=data, attrs=attrs)


def _measures(names: Sequence[str], found: Sequence[Mapped], averages: Averages) -> Arrays:
    """Every measure of every layer."""
    shape = (len(found), len(names))
    table = {key: np.full(shape, np.nan) for key in (*FIELDS, "_mean", "_sd")}
    counted = np.zeros((2, *shape), dtype=np.int64)
    for i, layer in enumerate(found):
        for j, name in enumerate(names):
            values = layer.values[0][name]
            means = np.array([averages.mean(name, run[name]) for run in layer.values])
            spread = _over_starts(name, means)
            estimate = _estimate(averages, name, values, layer.left_out.get(name, _NOTHING), spread)
            for key, field in FIELDS.items():
                table[key][i, j] = getattr(estimate, field)
            undefined = int(np.isnan(values).sum())
            counted[:, i, j] = len(values) - undefined, undefined
            table["_mean"][i, j] = means.mean()
            if len(means) > 1 and not name.startswith(WITHOUT_MAP):
                table["_sd"][i, j] = spread**0.5
    data: Arrays = {f"measures{key}": (("layer", "measure"), value) for key, value in table.items()}
    return {**data, "n": (("layer", "measure"), counted[0]), "n_undefined": (("layer", "measure"), counted[1])}


def _differences(
    names: Sequence[str], found: Sequence[Mapped], averages: Averages, pairs: Sequence[tuple[int, int]]
) -> Arrays:
    """Every measure of one layer less that of another, sample by sample: the interval of the mean is paired."""
    if not pairs:
        return {}
    estimates = []
    for a, b in pairs:
        for name in names:
            gaps = found[a].values[0][name] - found[b].values[0][name]
            left_out = found[a].left_out.get(name, _NOTHING) - found[b].left_out.get(name, _NOTHING)
            runs = ([averages.mean(name, run[name]) for run in found[at].values] for at in (a, b))
            spread = sum(_over_starts(name, np.array(means)) for means in runs)
            estimates.append(_estimate(averages, name, gaps, left_out, spread, paired=True))
    judged = judge(estimates, confidence=averages.options.confidence)
    classes = judge([one.over_classes for one in estimates], confidence=averages.options.confidence, least=0)

    def table(numbers: Sequence[float]) -> tuple[tuple[str, ...], NDArray[Any]]:
        return ("pair", "measure"), np.array(numbers).reshape(len(pairs), len(names))

    data = {f"difference{key}": table([getattr(one, name) for one in estimates]) for key, name in FIELDS.items()}
    return {
        **data,
        "difference_p": table([one.p for one in judged]),
        "difference_resolved": table([one.verdict.code for one in judged]),
        "difference_class_resolved": table([one.verdict.code for one in classes]),
        "difference_n": table([one.n for one in estimates]),
    }


_NOTHING = np.empty(0)


def _over_starts(name: str, means: F64) -> float:
    """Variance over the starts of the map; 0 of one run, and of what no map has a part in."""
    return float(means.var(ddof=1)) if len(means) > 1 and not name.startswith(WITHOUT_MAP) else 0.0


def _estimate(
    averages: Averages, name: str, values: F64, left_out: F64, spread: float, *, paired: bool = False
) -> Estimate:
    """The mean, its ends cut at what the measure cannot leave."""
    mean = averages.mean(name, values)
    left_out = _NOTHING if name.startswith(NO_INTERVAL) else left_out
    low, high, p = jackknifed(mean, left_out, averages.options.confidence, spread)
    kind = measure_of(name)
    least, most = (kind.least - kind.most, kind.most - kind.least) if paired else (kind.least, kind.most)
    ends = float(np.maximum(low, least)), float(np.minimum(high, most)), int((~np.isnan(values)).sum()), p
    equal = bool(len(values)) and bool((np.abs(values) <= ROUNDING).all())
    return Estimate(mean, *ends, *averages.over_classes(name, values), floor=ROUNDING, constant=equal)


def point_rows(result: Result) -> Iterator[dict[str, Any]]:
    """One flat row per layer and sample: where it is on the map."""
    names = dict(zip(result.attrs["labels"], result.attrs["class_names"], strict=True))
    labels, positions = result.data["label"][1].tolist(), result.coords["sample"]
    for layer, points in zip(result.attrs["layers"], result.data["map"][1], strict=True):
        for position, label, (x, y) in zip(positions, labels, points.tolist(), strict=True):
            yield {**layer, "sample": position, "label": label, "class": names[label], "x": x, "y": y}


def _name(label: int, classes: Sequence[str]) -> str:
    return classes[label] if 0 <= label < len(classes) else ("no label" if label < 0 else str(label))


def _constant_notes(names: Sequence[str], data: Arrays, options: Mapping[str, Any]) -> Iterator[str]:
    """Notes on the measures that have no interval though there are samples enough."""
    value, low = (data[name][1] for name in ("measures", "measures_low"))
    yield "no interval over samples of purity and silhouette on the map: its layout decides them more"
    lost: NDArray[np.bool_] = np.isfinite(value) & np.isnan(low)
    none = [name for at, name in enumerate(names) if lost[:, at].any() and not name.startswith(NO_INTERVAL)]
    if none and options["samples"] >= LEAST:
        yield f"no interval: the same without any tenth of the samples, in a layer: {', '.join(none)}"


def _notes(samples: Samples, options: Mapping[str, Any]) -> Iterator[str]:
    classes = len(np.unique(samples.labels))
    if (samples.labels < 0).any():
        yield "some samples have no label: purity, accuracy and silhouette are undefined"
    elif classes < 2:
        yield "one class only: purity, accuracy and silhouette are undefined"
    elif classes == len(samples.labels):
        yield "every sample is alone in its class: purity, accuracy and silhouette are undefined"
    elif classes < FEW_IMAGES:
        yield f"no interval over classes: n too small: {classes} classes, {FEW_IMAGES} are needed"
    if options["samples"] < options["samples_of"]:
        yield f"the map is of {options['samples']} of {options['samples_of']} samples, each class in proportion"
    if options["measured_samples"] < options["samples"]:
        yield f"the measures are of {options['measured']} of the {options['samples']} samples, among all of them"
    if options["samples"] < LEAST:
        yield f"no interval: n too small: {options['samples']} samples, {LEAST} are needed"
    elif options["measured_samples"] < FEW_IMAGES:
        yield f"{options['measured_samples']} measured samples: with fewer than {FEW_IMAGES} no difference is resolved"
    unusable = [k for k in (5, 10, 30) if 2 * k >= options["samples"]]
    if unusable:
        yield f"not measurable with {options['samples']} samples: neighbourhoods of k = {', '.join(map(str, unusable))}"
    if options["repeats"] < 5:
        yield "fewer than 5 runs: the spread over starts is not known well"
    yield "distances, areas and gaps on a t-SNE map carry no claim by themselves"
