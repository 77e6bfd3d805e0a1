"""`cvbench analyze maps`: channel-mean feature maps of chosen samples beside their images; numbers over all images."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial

from cvbench.engine.analyses.base import Layer, Partial, Result, Rows
from cvbench.engine.analyses.maps.colours import WAYS
from cvbench.engine.analyses.maps.kernel import KINDS
from cvbench.engine.analyses.maps.measure import OF_ALL, OF_BOXES, TESTED, WANTS, ChannelMaps, InputBoxes
from cvbench.engine.arrays.array import Array
from cvbench.errors import UnknownNameError
from cvbench.jobs.analyses.maps_images import add_pictures, boxes_digest, input_boxes, open_images
from cvbench.jobs.analyses.measure import MeasureRecipe, measure_units, measuring
from cvbench.jobs.analyses.options import MAPS, MapsOptions
from cvbench.jobs.figures.charts.galleries import maps_chart
from cvbench.jobs.figures.maps import maps_figure
from cvbench.jobs.reading.options import Selection
from cvbench.jobs.reading.reading import read
from cvbench.jobs.results.command import command_words, interval_options, selection_of
from cvbench.jobs.results.entry import Entry
from cvbench.jobs.results.keep import Analysed, keep, partials_of
from cvbench.jobs.results.measured import end_rows, grid_text, measure_rows, on_common_grid
from cvbench.jobs.results.question import Question
from cvbench.jobs.results.row import DIFFERENCE, Row
from cvbench.jobs.running.cluster import Cluster
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
        UsageError: A layer without spatial extent that is named, or no layer with it, before anything is measured.
    """
    known = (*KINDS, *WAYS)
    if options.measure not in known:
        raise UnknownNameError.among("measure", options.measure, known, fix=f"--measure {', '.join(known)}")
    reading = read(replace(selection, view=VIEW)).with_grids(WANTS, selection.taps)
    grids, selected = reading.grids(WANTS), reading.selected
    drawn = reading.find(options.images) if options.images else reading.rows[:FIRST]
    dataset, notes = open_images(reading, options.source, options.data_root)
    boxes, said = input_boxes(reading, dataset)
    chosen = {"intervals": options.intervals, "classes": reading.classes}
    analysis = ChannelMaps.between(grids, boxes_digest(boxes), **chosen)
    key, measured = measure_units(analysis, reading, cluster, listen, partial(MapsRecipe, boxes=boxes))
    result = analysis.summarise(selected.layers, partials_of(reading.store, key, selected.units))
    said["notes"] = [*result.attrs["notes"], *selected.notes, *notes, *said["notes"]]
    result.attrs.update(said, measure=options.measure, images_named=bool(options.images), source=options.source)
    add_pictures(result, reading, drawn, dataset, WAYS.get(options.measure))
    shown = [options.measure, result.coords["image"], dataset is not None, options.source]
    path = keep(reading, result, [key.name, dict(analysis.summary_dict()), shown])
    return Analysed(result, selected, path, measured)


@dataclass(frozen=True)
class MapsRecipe(MeasureRecipe):
    """Recipe with the boxes of all samples: the analysis gets those of the unit it measures."""

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
    "outliers_excess": "share of outlier tokens outside the box less the area's",
}
COMPARED = ("outlier_rate", "foreground_excess", "contrast")
"""What a short table tells of two backbones."""
MEASURED = {measure.name: measure for measure in (*OF_ALL, *OF_BOXES)}
OWN = "own grid"


def rows(result: Result) -> Iterator[Row]:
    """Every layer's measures, those of the last layers on the common grid, and what they differ by there."""
    for i, layer in enumerate(result.attrs["layers"]):
        template = Row(backbone=layer["backbone"], layer=layer["tap"], factor=f"{OWN} {grid_text(layer['grid'])}")
        yield from _of_line(result, ("measures", "n_undefined"), i, layer["grid"], template)
    for variable, i, template in on_common_grid(result):
        yield from _of_line(result, (variable, f"{variable}_undefined"), i, result.attrs["common_grid"], template)


def _of_line(result: Result, names: tuple[str, str], at: int, grid: Sequence[int], template: Row) -> Iterator[Row]:
    """A row for each measure in one line; judged are differences and `TESTED`."""
    tested = MEASURED if template.kind == DIFFERENCE else TESTED
    return measure_rows(result, *names, (at,), MEASURED, grid, template, QUANTITIES, tested)


def headline(result: Result, found: Sequence[Row]) -> Iterator[Row]:
    """Differences of the backbones; first and last layers."""
    compared = {QUANTITIES[name] for name in COMPARED}
    yield from (row for row in found if row.kind == DIFFERENCE and row.metric in compared and not row.note)
    yield from (row for row in end_rows(found) if row.factor.startswith(OWN) and not row.note)


def _said(result: Result) -> Iterator[str]:
    yield f"drawn: {', '.join(result.coords['image'])}"
    if result.attrs.get("classes"):
        yield f"over classes: {result.attrs['classes']} classes resampled"


def _command(result: Result) -> list[str]:
    attrs = result.attrs
    images = tuple(result.coords["image"]) if attrs["images_named"] else ()
    options = MapsOptions(images, attrs["measure"], attrs["source"], intervals=interval_options(result))
    return command_words("analyze maps", MAPS, selection_of(result), options)


def _run(selection: Selection, options: MapsOptions, on: Hardware, listen: Listener) -> list[Analysed]:
    return [maps(selection, options, measuring(on, listen), listen)]


ENTRY = Entry(
    name="maps",
    title="Feature maps of single images, and what they rest on",
    about=(
        "One number per position of a layer: by default the mean over channels, scaled from its least to its greatest"
        " value in each panel; `pca` draws the first three principal components of the drawn images' positions in "
        "colours that have no meaning but likeness. The signed mean cancels; the numbers are of the channel L2 norm. "
        "The foreground share is read beside the box's share of the area, which a uniform map has. Positions of "
        "outlying norm can look like attention to the background and are artefacts of some ViTs: read the outlier-"
        "token rate first. Layers on different grids are not comparable: differences are taken between the norms of "
        "last layers averaged to one grid, image by image, and judged together (Holm). A measure that a grid is too "
        "small for is not printed. Intervals are over images. Source for outliers: Darcet et al. 2024."
    ),
    question=Question(
        "foreground share less the box's", "The last maps of {more} lie more on the object than those of {less}"
    ),
    unit="images",
    rows=rows,
    command=_command,
    run=_run,
    headline=headline,
    figure=maps_figure,
    chart=maps_chart,
    arrays=("image",),
    said=_said,
)
