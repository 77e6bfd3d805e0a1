"""`cvbench analyze maps`: channel-mean feature maps of chosen samples beside their images; numbers over all images."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

from cvbench.engine.analyses.base import Result
from cvbench.engine.analyses.grid import check_grid
from cvbench.engine.analyses.maps import WANTS, ChannelMaps, InputBoxes
from cvbench.engine.bootstrap import resolved
from cvbench.engine.kernels.channel_maps import KINDS
from cvbench.errors import UnknownNameError
from cvbench.jobs.analyze import (
    Analysed,
    MeasureRecipe,
    MeasureWorker,
    Selection,
    keep,
    measure_units,
    partials_of,
    readable_rows,
    select,
)
from cvbench.jobs.executor import Cluster
from cvbench.jobs.maps_images import add_pictures, boxes_digest, input_boxes, open_images
from cvbench.jobs.progress import Listener, silent
from cvbench.jobs.request import absolute
from cvbench.jobs.samples import find_samples, readable_positions
from cvbench.jobs.section import Section, TidyRow
from cvbench.jobs.sections import bootstrap_options, end_layers, selection_options, tidy_row
from cvbench.storage.features import FeatureStore
from cvbench.storage.units import Unit

VIEW = "maps"
FIRST = 4
"""Samples that are drawn if none is named."""


@dataclass(frozen=True)
class MapsOptions:
    """What to draw, and how to estimate.

    Attributes:
        images: Sample ids; empty for the first readable ones.
        measure: Which kind of map the figure shows, of `KINDS`; the result has all.
        source: The data set as `extract` was given it; None if the store's name says it, as "folder:PATH" needs.
        data_root: Folder of the data sets.
        resamples, seed: Of the bootstrap over images.
    """

    images: tuple[str, ...] = ()
    measure: str = "mean"
    source: str | None = None
    data_root: str | None = None
    resamples: int = 2000
    seed: int = 0


def maps(selection: Selection, options: MapsOptions, cluster: Cluster, listen: Listener = silent) -> Analysed:
    """Maps of the chosen samples, and numbers over all images of the selected layers' maps; the result is kept.

    Memory: beside that of the analysis, the chosen samples' maps, and 32 bytes per sample and backbone for boxes.

    Raises:
        UnknownNameError: The store has no maps (says which `cvbench extract` adds them), a sample or a measure that
            does not exist.
        DataUnavailableError: A sample without maps.
        UsageError: A layer without spatial extent, before anything is measured.
    """
    if options.measure not in KINDS:
        raise UnknownNameError.among("measure", options.measure, KINDS, fix=f"--measure {', '.join(KINDS)}")
    selection = Selection(**{**asdict(selection), "store": absolute(selection.store), "view": VIEW})
    opened = FeatureStore.open(selection.store)  # for reading: an analysis never makes a store
    selected = select(opened, selection)
    for layer in selected.layers:
        check_grid(layer, opened.encoding(selected.group(layer), layer.tap).shape, WANTS)
    there = readable_positions(opened, selected)
    rows = find_samples(opened, selected, options.images) if options.images else there[:FIRST]
    dataset, notes = open_images(opened, selected, options.source, options.data_root)
    boxes, said = input_boxes(opened, selected, dataset, there)
    analysis = ChannelMaps(boxes_digest(boxes), options.resamples, seed=options.seed)
    store = FeatureStore.open(opened.url, mode="a")
    key, measured = measure_units(analysis, store, selected, cluster, listen, partial(MapsRecipe, boxes=boxes))
    result = analysis.summarise(selected.layers, partials_of(store, key, selected.units))
    said["notes"] = [*result.attrs["notes"], *notes, *said["notes"]]
    result.attrs.update(said, measure=options.measure, images_named=bool(options.images), source=options.source)
    add_pictures(result, opened, selected, rows, dataset)
    shown = [options.measure, result.coords["image"], dataset is not None, options.source]
    path = keep(store, selected, result, [key.name, dict(analysis.summary_dict()), shown])
    return Analysed(result, selected, path, measured)


@dataclass(frozen=True)
class MapsRecipe(MeasureRecipe):
    """As `MeasureRecipe`, with the boxes of all samples."""

    boxes: Mapping[str, InputBoxes] = field(default_factory=dict)

    def build(self) -> MapsWorker:
        """Open the store."""
        return MapsWorker(self, self.boxes)


class MapsWorker(MeasureWorker):
    """Gives the analysis the boxes of the unit before it is measured."""

    def __init__(self, recipe: MeasureRecipe, boxes: Mapping[str, InputBoxes]) -> None:
        super().__init__(recipe)
        self._boxes = boxes

    def run(self, task: Unit) -> int:
        """Measure one unit; the number of samples that counted."""
        rows = task.start + readable_rows(self._layers.values(), task)
        unit = {name: InputBoxes(own.boxes[rows], own.size) for name, own in self._boxes.items()}
        analysis = self.recipe.analysis
        assert isinstance(analysis, ChannelMaps)
        self.recipe = replace(self.recipe, analysis=replace(analysis, unit=unit))
        return super().run(task)


QUANTITIES = {
    "outlier_rate": "outlier-token rate",
    "foreground_share": "foreground share",
    "box_share": "box's share of the area",
    "foreground_excess": "foreground share less the box's",
    "contrast": "foreground-background contrast",
    "outliers_outside": "share of outlier tokens outside the box",
}


def maps_json(result: Result, dataset: str) -> dict[str, Any]:
    """The JSON form of `cvbench analyze maps --format json`; undefined numbers are null. The maps are in the store."""
    layers = [{**layer, "measures": list(_measures(result, i))} for i, layer in enumerate(result.attrs["layers"])]
    attrs = {key: value for key, value in result.attrs.items() if key not in ("layers", "drawn")}
    return {"dataset": dataset, "images": result.coords["image"], "layers": layers, **attrs}


def maps_rows(result: Result) -> Iterator[dict[str, Any]]:
    """One row per layer and measure; undefined numbers are None."""
    for i, layer in enumerate(result.attrs["layers"]):
        names = {"backbone": layer["backbone"], "tap": layer["tap"], "grid": "x".join(map(str, layer["grid"]))}
        for measure in _measures(result, i):
            yield {**names, "quantity": measure.pop("name"), **measure}


def _measures(result: Result, layer: int) -> Iterator[dict[str, Any]]:
    """The measures of a layer; `resolved` of the excess and the contrast: whether their interval leaves out 0."""
    tables = {key: result.data[f"measures{end}"][1][layer].tolist() for key, end in _ENDS.items()}
    undefined = result.data["n_undefined"][1][layer].tolist()
    for j, name in enumerate(result.coords["measure"]):
        found = {key: values[j] if math.isfinite(values[j]) else None for key, values in tables.items()}
        tested = name in ("foreground_excess", "contrast")
        yield {"name": name, **found, "n_undefined": undefined[j], "resolved": _resolved(**found) if tested else None}


def _resolved(value: float | None, low: float | None, high: float | None) -> bool | None:
    return None if low is None or high is None else resolved(low, high)


_ENDS = {"value": "", "low": "_low", "high": "_high"}


def tidy_rows(result: Result) -> Iterator[TidyRow]:
    """Every layer's measures."""
    attrs = result.attrs
    unreadable = attrs.get("samples_in_units", attrs["samples"]) - attrs["samples"]
    for row in maps_rows(result):
        undefined = row["n_undefined"]
        estimate = (row["value"], row["low"], row["high"])
        factor = f"{row['tap']} ({row['grid']})"
        counts = (attrs["samples"] - undefined, unreadable + undefined)
        yield tidy_row(result, row["backbone"], QUANTITIES[row["quantity"]], factor, estimate, *counts)


def headline_rows(result: Result) -> Iterator[TidyRow]:
    """First and last layers."""
    layers = result.attrs["layers"]
    wanted = set()
    for i in end_layers(result):
        grid = "x".join(map(str, layers[i]["grid"]))
        wanted.add((layers[i]["backbone"], f"{layers[i]['tap']} ({grid})"))
    return (row for row in tidy_rows(result) if (row.backbone, row.factor) in wanted)


def _command(result: Result) -> list[str]:
    attrs = result.attrs
    words = ["analyze", "maps", *selection_options(result), *bootstrap_options(result)]
    if attrs["measure"] != "mean":
        words += ["--measure", attrs["measure"]]
    if attrs["images_named"]:
        words += [word for name in result.coords["image"] for word in ("--image", name)]
    return words + (["--source", attrs["source"]] if attrs["source"] else [])


def _figure(result: Result, stem: Path, formats: Sequence[str]) -> list[Path]:
    from cvbench.jobs.figures.maps import maps_figure  # which needs this module

    return maps_figure(result, stem, formats)


SECTION = Section(
    analysis="maps",
    title="Feature maps of single images, and what they rest on",
    about=(
        "One number per position of a layer: by default the mean over channels, scaled from its least to its greatest "
        "value in each panel. The signed mean cancels; the numbers are of the channel L2 norm. The foreground share "
        "is read beside the box's share of the area, which a uniform map has. Positions of outlying norm can look "
        "like attention to the background and are artefacts of some ViTs: read the outlier-token rate first. Intervals "
        "are a bootstrap over images. Source for outliers: Darcet et al. 2024."
    ),
    rows=tidy_rows,
    options=_command,
    figure=_figure,
    headline=headline_rows,
)
