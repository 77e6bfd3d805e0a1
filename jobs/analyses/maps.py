"""`cvbench analyze maps`: channel-mean feature maps of chosen samples beside their images; numbers over all images."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

from cvbench.engine.analyses.base import Layer, Partial, Result, Rows
from cvbench.engine.analyses.maps.kernel import KINDS
from cvbench.engine.analyses.maps.measure import OF_ALL, OF_BOXES, TESTED, WANTS, ChannelMaps, InputBoxes
from cvbench.engine.arrays.array import Array
from cvbench.errors import UnknownNameError
from cvbench.jobs.analyses.maps_images import add_pictures, boxes_digest, input_boxes, open_images
from cvbench.jobs.analyses.measure import MeasureRecipe, measure_units, measuring
from cvbench.jobs.analyses.options import MAPS, MapsOptions
from cvbench.jobs.figures.maps import maps_figure
from cvbench.jobs.reading.options import Selection
from cvbench.jobs.reading.reading import read
from cvbench.jobs.results.entry import Entry
from cvbench.jobs.results.keep import Analysed, keep, partials_of
from cvbench.jobs.results.row import TidyRow
from cvbench.jobs.results.tidy import command_words, end_layers, interval_options, selection_of, tidy_row
from cvbench.jobs.results.words import CLASSES, grid_text, measures, on_common_grid, over_classes, verdict_of
from cvbench.jobs.running.executor import Cluster
from cvbench.jobs.running.hardware import Hardware
from cvbench.jobs.running.progress import Listener, silent
from cvbench.storage.features.units import Unit

VIEW = "maps"
FIRST = 4
"""Samples that are drawn if none is named."""


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
    reading = read(replace(selection, view=VIEW))
    grids, selected = reading.grids(WANTS), reading.selected
    rows = reading.find(options.images) if options.images else reading.rows[:FIRST]
    dataset, notes = open_images(reading, options.source, options.data_root)
    boxes, said = input_boxes(reading, dataset)
    chosen = {"intervals": options.intervals, "classes": reading.classes}
    analysis = ChannelMaps.between(grids, boxes_digest(boxes), **chosen)
    key, measured = measure_units(analysis, reading, cluster, listen, partial(MapsRecipe, boxes=boxes))
    result = analysis.summarise(selected.layers, partials_of(reading.store, key, selected.units))
    said["notes"] = [*result.attrs["notes"], *notes, *said["notes"]]
    result.attrs.update(said, measure=options.measure, images_named=bool(options.images), source=options.source)
    add_pictures(result, reading, rows, dataset)
    shown = [options.measure, result.coords["image"], dataset is not None, options.source]
    path = keep(reading, result, [key.name, dict(analysis.summary_dict()), shown])
    return Analysed(result, selected, path, measured)


@dataclass(frozen=True)
class MapsRecipe(MeasureRecipe):
    """As `MeasureRecipe`, with the boxes of all samples: the analysis gets those of the unit it measures."""

    boxes: Mapping[str, InputBoxes] = field(default_factory=dict)

    def measure(self, unit: Unit, read: Callable[[Layer], Array], rows: Rows) -> Partial:
        assert isinstance(self.analysis, ChannelMaps)
        at = unit.start + rows
        inside = {name: InputBoxes(own.boxes[at], own.size) for name, own in self.boxes.items()}
        return self.analysis.measure(self.reading.selected.layers, read, rows, inside)


QUANTITIES = {
    "outlier_rate": "outlier-token rate",
    "foreground_share": "foreground share",
    "box_share": "box's share of the area",
    "foreground_excess": "foreground share less the box's",
    "contrast": "foreground-background contrast",
    "outliers_outside": "share of outlier tokens outside the box",
}
COMPARED = ("outlier_rate_difference", "foreground_excess_difference", "contrast_difference")
"""What a short table tells of two backbones."""


def maps_json(result: Result, dataset: str) -> dict[str, Any]:
    """The JSON form of `cvbench analyze maps --format json`; undefined numbers are null. The maps are in the store.

    `layers`: per layer its names, grid and measures. `common`: the measures of the last layers on `common_grid`;
    `differences` between them. Each number has its intervals; `resolved` is the verdict on what may be 0.
    """
    layers = [{**layer, "measures": list(_native(result, i))} for i, layer in enumerate(result.attrs["layers"])]
    attrs = {key: value for key, value in result.attrs.items() if key not in ("layers", "drawn")}
    rows = list(maps_rows(result))
    common = [row for row in rows if row["quantity"].endswith("_common")]
    differences = [row for row in rows if row["quantity"].endswith("_difference")]
    found = {"layers": layers, "common": common, "differences": differences}
    return {"dataset": dataset, "images": result.coords["image"], **found, **attrs}


def maps_rows(result: Result) -> Iterator[dict[str, Any]]:
    """One row per layer and measure; undefined numbers are None.

    Then the measures of the last layers on the common grid, `..._common`, and what two backbones differ by there,
    `..._difference`. `resolved` is the verdict on differences, on the excess and on the contrast.
    """
    for i, layer in enumerate(result.attrs["layers"]):
        names = {"backbone": layer["backbone"], "tap": layer["tap"], "grid": grid_text(layer["grid"])}
        for measure in _native(result, i):
            yield {**names, "quantity": measure.pop("name"), **measure}
    for variable, i, names in on_common_grid(result):
        for measure in _judged(result, variable, f"{variable}_undefined", i, result.attrs["common_grid"]):
            yield {**names, "quantity": f"{measure.pop('name')}_{variable}", **measure}


def _native(result: Result, layer: int) -> Iterator[dict[str, Any]]:
    """The measures of a layer on its own grid."""
    yield from _judged(result, "measures", "n_undefined", layer, result.attrs["layers"][layer]["grid"])


def _judged(result: Result, variable: str, count: str, at: int, grid: Sequence[int]) -> Iterator[dict[str, Any]]:
    """One row of a variable, with the verdicts on differences and on `TESTED`."""
    table = {measure.name: measure for measure in (*OF_ALL, *OF_BOXES)}
    yield from measures(result, variable, count, at, table, grid, table if variable == "difference" else TESTED)


def tidy_rows(result: Result) -> Iterator[TidyRow]:
    """Every layer's measures, those on the common grid, and the differences there."""
    for row in maps_rows(result):
        yield _tidy(result, row)
        for found in over_classes(row):
            yield _tidy(result, found, CLASSES)


def headline_rows(result: Result) -> Iterator[TidyRow]:
    """What the backbones differ by; first and last layers."""
    layers = result.attrs["layers"]
    wanted = {(layers[i]["backbone"], layers[i]["tap"]) for i in end_layers(result)}
    rows = list(maps_rows(result))
    for row in rows:
        if row["quantity"] in COMPARED and not row["reason"]:
            yield _tidy(result, row)
    for row in rows:
        if (row["backbone"], row["tap"]) in wanted and row["quantity"] in QUANTITIES and not row["reason"]:
            yield _tidy(result, row)


def _tidy(result: Result, row: dict[str, Any], marked: str = "") -> TidyRow:
    attrs, quantity = result.attrs, row["quantity"]
    base = quantity.removesuffix("_common").removesuffix("_difference")
    difference = quantity.endswith("_difference")
    words = " on the common grid" if quantity.endswith("_common") else ""
    metric = QUANTITIES[base] + words + marked
    metric = f"difference of {metric}{verdict_of(row).mark}" if difference else metric
    metric += f" ({row['reason']})" if row["reason"] else ""
    undefined = row["n_undefined"]
    unreadable = attrs.get("samples_in_units", attrs["samples"]) - attrs["samples"]
    estimate = (row["value"], row["low"], row["high"])
    counts = (attrs["samples"] - undefined, unreadable + undefined)
    return tidy_row(result, row["backbone"], metric, f"{row['tap']} ({row['grid']})", estimate, *counts)


def _command(result: Result) -> list[str]:
    attrs = result.attrs
    images = tuple(result.coords["image"]) if attrs["images_named"] else ()
    options = MapsOptions(images, attrs["measure"], attrs["source"], intervals=interval_options(result))
    return command_words("analyze maps", MAPS, selection_of(result), options)


def _run(selection: Selection, options: MapsOptions, on: Hardware, listen: Listener) -> list[Analysed]:
    return [maps(selection, options, measuring(on), listen)]


def draw_maps(result: Result, stem: Path, formats: Sequence[str] = ("svg", "png")) -> list[Path]:
    """Draw a result with its rows; see `maps_figure`."""
    return maps_figure(result, maps_rows(result), stem, formats)


ENTRY = Entry(
    name="maps",
    title="Feature maps of single images, and what they rest on",
    about=(
        "One number per position of a layer: by default the mean over channels, scaled from its least to its greatest "
        "value in each panel. The signed mean cancels; the numbers are of the channel L2 norm. The foreground share "
        "is read beside the box's share of the area, which a uniform map has. Positions of outlying norm can look "
        "like attention to the background and are artefacts of some ViTs: read the outlier-token rate first. Layers on "
        "different grids are not comparable: differences are taken between the norms of last layers averaged to one "
        "grid, image by image, and judged together (Holm). A measure that a grid is too small for is not printed. "
        "Intervals are over images. Source for outliers: Darcet et al. 2024."
    ),
    rows=tidy_rows,
    command=_command,
    run=_run,
    figure=draw_maps,
    headline=headline_rows,
)
