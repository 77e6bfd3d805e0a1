"""From maps and the measures of each sample to a labelled result: means, intervals over samples, spread over starts."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cvbench.engine.analyses.base import Layer, Result
from cvbench.engine.analyses.samples import Samples
from cvbench.engine.analyses.tsne_backends import Embedding
from cvbench.engine.bootstrap import percentile_interval

F64 = NDArray[np.float64]

WITHOUT_MAP = ("purity_features", "accuracy_features")
"""Measures of the features alone: the same in every run."""


@dataclass(frozen=True, eq=False)
class Mapped:
    """One layer: R runs, and for each the measures, name -> (m,) float64 per measured sample (m may differ by name)."""

    runs: Sequence[Embedding]
    values: Sequence[Mapping[str, F64]]


def tsne_result(
    layers: Sequence[Layer], found: Sequence[Mapped], samples: Samples, options: Mapping[str, Any]
) -> Result:
    """The labelled result.

    Args:
        layers: L layers.
        found: Of each layer.
        samples: The rows that were mapped.
        options: backend, seed, resamples, confidence, samples, samples_of, measured and all that is to be remembered.

    Returns:
        map (layer, sample, axis) of the first run; label (sample,); measures of the first run, _low and _high, with
        measures_mean and measures_sd over the runs (layer, measure); n, n_undefined (layer, measure) samples behind
        them; kl (nats) and iterations (layer, run).
    """
    names = list(found[0].values[0])
    shape = (len(layers), len(names))
    table = {key: np.full(shape, np.nan) for key in ("", "_low", "_high", "_mean", "_sd")}
    counted = np.zeros((2, *shape), dtype=np.int64)
    for i, layer in enumerate(found):
        for j, name in enumerate(names):
            table[""][i, j], table["_low"][i, j], table["_high"][i, j] = mean_interval(layer.values[0][name], options)
            undefined = int(np.isnan(layer.values[0][name]).sum())
            counted[:, i, j] = len(layer.values[0][name]) - undefined, undefined
            means = np.array([mean_interval(run[name], None)[0] for run in layer.values])
            table["_mean"][i, j] = means.mean()
            if len(means) > 1 and not name.startswith(WITHOUT_MAP):
                table["_sd"][i, j] = means.std(ddof=1)
    data: dict[str, tuple[tuple[str, ...], NDArray[Any]]] = {
        "map": (("layer", "sample", "axis"), np.stack([layer.runs[0].map for layer in found])),
        "label": (("sample",), samples.labels),
        **{f"measures{key}": (("layer", "measure"), value) for key, value in table.items()},
        "n": (("layer", "measure"), counted[0]),
        "n_undefined": (("layer", "measure"), counted[1]),
        "kl": (("layer", "run"), np.array([[run.kl for run in layer.runs] for layer in found])),
        "iterations": (("layer", "run"), np.array([[run.iterations for run in layer.runs] for layer in found])),
    }
    labels, counts = np.unique(samples.labels, return_counts=True)
    first = found[0].runs[0]
    return Result(
        name="tsne",
        coords={
            "layer": [str(layer) for layer in layers],
            "sample": samples.positions.tolist(),
            "axis": ["x", "y"],
            "measure": names,
            "run": ["pca", *(f"random {at}" for at in range(1, len(found[0].runs)))],
        },
        data=data,
        attrs={
            **options,
            "learning_rates": list(first.rates),
            "chance_purity": float(((counts / counts.sum()) ** 2).sum()) if (labels >= 0).all() else None,
            "labels": labels.tolist(),
            "class_names": [_name(int(label), samples.classes) for label in labels],
            "interval": "bootstrap over samples, given the map",
            "layers": [{"backbone": layer.backbone, "tap": layer.tap} for layer in layers],
            "notes": list(_notes(samples, options)),
        },
    )


def mean_interval(values: F64, options: Mapping[str, Any] | None) -> tuple[float, float, float]:
    """Mean of the defined values and the ends of its interval, NaN if none is; without `options` only the mean."""
    defined = values[~np.isnan(values)]
    if not len(defined):
        return (np.nan,) * 3
    if options is None:
        return float(defined.mean()), np.nan, np.nan
    found = percentile_interval(
        defined[:, None],
        lambda sums: sums / len(defined),
        resamples=options["resamples"],
        confidence=options["confidence"],
        seed=options["seed"],
    )
    return float(defined.mean()), float(found.low[0]), float(found.high[0])


def measure_rows(result: Result) -> Iterator[dict[str, Any]]:
    """One flat row per layer and measure; undefined numbers are None."""
    for i, layer in enumerate(result.attrs["layers"]):
        for j, measure in enumerate(result.coords["measure"]):
            keys = {"value": "", "low": "_low", "high": "_high", "mean_over_runs": "_mean", "sd_over_runs": "_sd"}
            numbers = {key: float(result.data[f"measures{end}"][1][i, j]) for key, end in keys.items()}
            yield {
                **layer,
                "measure": measure,
                **{key: value if np.isfinite(value) else None for key, value in numbers.items()},
                "n": int(result.data["n"][1][i, j]),
                "n_undefined": int(result.data["n_undefined"][1][i, j]),
            }


def point_rows(result: Result) -> Iterator[dict[str, Any]]:
    """One flat row per layer and sample: where it is on the map."""
    names = dict(zip(result.attrs["labels"], result.attrs["class_names"], strict=True))
    labels, positions = result.data["label"][1].tolist(), result.coords["sample"]
    for layer, points in zip(result.attrs["layers"], result.data["map"][1], strict=True):
        for position, label, (x, y) in zip(positions, labels, points.tolist(), strict=True):
            yield {**layer, "sample": position, "label": label, "class": names[label], "x": x, "y": y}


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
    if options["samples"] < options["samples_of"]:
        yield f"the map is of {options['samples']} of {options['samples_of']} samples, each class in proportion"
    if options["measured"] < options["samples"]:
        yield f"the measures are of {options['measured']} of the {options['samples']} samples, among all of them"
    if options["repeats"] < 5:
        yield "fewer than 5 runs: the spread over starts is not known well"
    yield "distances, areas and gaps on a t-SNE map carry no claim by themselves"
