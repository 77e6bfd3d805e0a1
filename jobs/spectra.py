"""`cvbench analyze spectra`: Fourier spectra of the `maps` view, and their forms as JSON and as rows."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

from cvbench.engine.analyses.base import Result
from cvbench.engine.analyses.spectra import Spectra, check_grid
from cvbench.jobs.analyze import Analysed, Selection, analyze, select
from cvbench.jobs.executor import Cluster
from cvbench.jobs.progress import Listener, silent
from cvbench.jobs.request import absolute
from cvbench.storage.features import FeatureStore

VIEW = "maps"


@dataclass(frozen=True)
class SpectraOptions:
    """Attributes:
    resamples, seed: Of the bootstrap over images.
    """

    resamples: int = 2000
    seed: int = 0


def spectra(selection: Selection, options: SpectraOptions, cluster: Cluster, listen: Listener = silent) -> Analysed:
    """Spectra of every selected layer's maps, whatever view the selection names; the result is kept in the store.

    Raises:
        UnknownNameError: The store has no maps; says which `cvbench extract` adds them.
        UsageError: A layer without spatial extent, before anything is measured.
    """
    selection = Selection(**{**asdict(selection), "store": absolute(selection.store), "view": VIEW})
    opened = FeatureStore.open(selection.store)  # for reading: an analysis never makes a store
    selected = select(opened, selection)
    for layer in selected.layers:
        check_grid(layer, opened.encoding(selected.group(layer), layer.tap).shape)
    analysis = Spectra(resamples=options.resamples, seed=options.seed)
    return analyze(analysis, FeatureStore.open(selection.store, mode="a"), selected, cluster, listen)


def spectra_json(result: Result, dataset: str) -> dict[str, Any]:
    """The JSON form of `cvbench analyze spectra --format json`; undefined numbers are null.

    `layers`: per layer its names, grid, channels, `radial` and `diagonal` at its own bins, `profile` at the common
    `frequency`, and `measures` by name; each value with `low` and `high`.
    """
    layers = []
    for i, layer in enumerate(result.attrs["layers"]):
        axis = _numbers(result, "bin_frequency", i)
        length = sum(value is not None for value in axis)
        reach = sum(value is not None for value in _numbers(result, "diagonal", i))
        layers.append(
            {
                **layer,
                "radial": {"frequency": axis[:length], **_estimates(result, "radial", i, length)},
                "diagonal": {"frequency": axis[:reach], **_estimates(result, "diagonal", i, reach)},
                "profile": _estimates(result, "profile", i),
                "measures": list(_measures(result, i)),
            }
        )
    attrs = {key: value for key, value in result.attrs.items() if key != "layers"}
    return {"dataset": dataset, "frequency": result.coords["frequency"], "layers": layers, **attrs}


def spectra_rows(result: Result) -> Iterator[dict[str, Any]]:
    """One row per layer, quantity and frequency; the frequency of a measure, and undefined numbers, are None.

    Quantities: `radial`, `diagonal` at the layer's own bins; `profile` on the axis of all layers; the measures.
    """
    for i, layer in enumerate(result.attrs["layers"]):
        named = {"backbone": layer["backbone"], "tap": layer["tap"], "grid": "x".join(map(str, layer["grid"]))}
        axes = {"radial": "bin_frequency", "diagonal": "bin_frequency", "profile": None}
        for quantity, axis in axes.items():
            places = _numbers(result, axis, i) if axis else result.coords["frequency"]
            found = _estimates(result, quantity, i)
            for at, value, low, high in zip(places, found["value"], found["low"], found["high"], strict=True):
                if value is not None:
                    row = {"quantity": quantity, "frequency": at, "value": value, "low": low, "high": high}
                    yield {**named, **row, "n_undefined": 0, "white_noise": None}
        for measure in _measures(result, i):
            yield {**named, "quantity": measure.pop("name"), "frequency": None, **measure}


def _measures(result: Result, layer: int) -> Iterator[dict[str, Any]]:
    found = _estimates(result, "measures", layer)
    undefined = result.data["n_undefined"][1][layer].tolist()
    noise = _numbers(result, "white_noise", layer)
    for j, name in enumerate(result.coords["measure"]):
        values = {key: found[key][j] for key in ("value", "low", "high")}
        yield {"name": name, **values, "n_undefined": undefined[j], "white_noise": noise[j]}


def _estimates(result: Result, name: str, layer: int, length: int | None = None) -> dict[str, list[float | None]]:
    parts = {"value": "", "low": "_low", "high": "_high"}
    return {key: _numbers(result, name + suffix, layer)[:length] for key, suffix in parts.items()}


def _numbers(result: Result, name: str, layer: int) -> list[float | None]:
    return [value if math.isfinite(value) else None for value in result.data[name][1][layer].tolist()]
