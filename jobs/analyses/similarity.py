"""`cvbench analyze similarity`: similarity between local features of the `maps` view."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from cvbench.engine.analyses.base import Result
from cvbench.engine.analyses.checks import check_grid
from cvbench.engine.analyses.similarity.measure import WANTS, Similarity, image_matrices
from cvbench.engine.analyses.similarity.result import FLOOR, MEASURES, TABLE, UNRESOLVED, VERSIONS
from cvbench.engine.statistics.options import IntervalOptions
from cvbench.engine.statistics.running import outdated_notes
from cvbench.jobs.analyses.measure import analyze, measuring
from cvbench.jobs.analyses.options import SIMILARITY, SimilarityOptions
from cvbench.jobs.extraction.live import kept_live
from cvbench.jobs.figures.charts.layers import similarity_chart
from cvbench.jobs.figures.similarity import similarity_figure, similarity_images_figure
from cvbench.jobs.reading.options import Selection
from cvbench.jobs.reading.reading import last_layers, open_store, read
from cvbench.jobs.results.command import command_words, interval_options, selection_of
from cvbench.jobs.results.entry import Entry, Live, LiveSetting
from cvbench.jobs.results.keep import Analysed, keep
from cvbench.jobs.results.measured import curve_rows, end_rows, grid_text, left_out, measure_rows, on_common_grid
from cvbench.jobs.results.question import Question
from cvbench.jobs.results.row import DIFFERENCE, Row, known
from cvbench.jobs.running.cluster import Cluster
from cvbench.jobs.running.hardware import Hardware
from cvbench.jobs.running.progress import Listener, silent

VIEW = "maps"

QUANTITIES = {
    "mean": "mean patch similarity",
    "mean_absolute": "mean absolute patch similarity",
    "contrast": "neighbour contrast",
    "length": "correlation length (grid steps)",
    "length_pixels": "correlation length (pixels)",
    "profile": "similarity by distance",
}


def similarity(selection: Selection, options: IntervalOptions, cluster: Cluster, listen: Listener = silent) -> Analysed:
    """Similarity within every selected layer's maps, whatever view the selection names; the result is kept.

    Raises:
        UnknownNameError: The store has no maps; says which `cvbench extract` adds them.
        UsageError: A layer without spatial extent that is named, or no layer with it, before anything is measured.
    """
    store, selection = open_store(selection.store), replace(selection, view=VIEW)
    if (kept := kept_live(store, "similarity", selection, notes=outdated_notes)) is not None:
        return kept
    reading = read(selection, store).with_grids(WANTS, selection.taps)
    chosen = {"intervals": options, "classes": reading.classes}
    analysis = Similarity.between(reading.grids(WANTS), reading.input_sizes, **chosen)
    return analyze(analysis, reading, cluster, listen)


def image_similarity(selection: Selection, ids: Sequence[str]) -> Analysed:
    """The matrices of single images in the last selected layer of each backbone; kept as `similarity-images`.

    Memory: for each backbone and image, two P x P matrices in float32.

    Raises:
        UnknownNameError: No such sample; names the nearest.
        DataUnavailableError: A sample without maps.
    """
    reading = read(replace(selection, view=VIEW))
    rows = reading.find(ids)
    result = Result("similarity-images", {"image": [], "version": list(VERSIONS)}, {}, {"layers": []})
    result.coords["image"] += [str(reading.info.ids[row]) for row in rows]
    for i, layer in enumerate(last_layers(reading.selected.layers)):
        maps = reading.take(layer, rows.tolist())
        height, width = check_grid(layer, maps.shape, WANTS)
        size = height * width
        dims = ("image", "version", f"patch_{size}", f"patch_again_{size}")
        result.data[f"matrix_{i}"] = (dims, image_matrices(maps))
        result.attrs["layers"].append({"backbone": layer.backbone, "tap": layer.tap, "grid": [height, width]})
    identity = {"images": result.coords["image"], **reading.identity}
    return Analysed(result, reading.selected, keep(reading, result, identity), 0)


def rows(result: Result) -> Iterator[Row]:
    """Every layer's measures and profile, raw and centred; then the last layers on the common grid, and differences."""
    for i, layer in enumerate(result.attrs["layers"]):
        grid = grid_text(layer["grid"])
        own = Row(backbone=layer["backbone"], layer=layer["tap"], factor=f"grid {grid}")
        for version, name in enumerate(VERSIONS):
            yield from _measures(result, "measures", "n_undefined", (i, version), layer["grid"], own, layer["stride"])
            undefined = _without_direction(result, i, version)
            counts = {"n": result.attrs["samples"] - undefined, "n_failed": left_out(result) + undefined}
            point = replace(
                own, metric=f"{QUANTITIES['profile']}, {name}", factor=f"distance, steps of the grid {grid}"
            )
            yield from curve_rows(result, "profile", (i, version), range(max(layer["grid"])), replace(point, **counts))
    for variable, i, shared in on_common_grid(result):
        for version in range(len(VERSIONS)):
            at, grid = (i, version), result.attrs["common_grid"]
            fine = [one for one in (shared.backbone, shared.backbone_b) if _below_a_step(result, one, version)]
            for row in _measures(result, variable, f"{variable}_undefined", at, grid, shared):
                is_length = row.metric.startswith(QUANTITIES["length"]) and row.kind == DIFFERENCE
                yield _unmeasured(row) if is_length and fine else row


def _below_a_step(result: Result, backbone: str, version: int) -> bool:
    """Whether the correlation length of a compared layer is below one step of the common grid."""
    names = [label.rpartition("/")[0] for label in result.coords["compared"]]
    if backbone not in names:
        return False
    return bool(result.data["common"][1][names.index(backbone), version, MEASURES.index("length")] < FLOOR)


def _unmeasured(row: Row) -> Row:
    row = replace(row, value=None, low=None, high=None, class_low=None, class_high=None)
    return replace(row, p=None, verdict="", class_verdict="", note=UNRESOLVED)


def _measures(
    result: Result,
    variable: str,
    count: str,
    at: tuple[int, int],
    grid: Sequence[int],
    template: Row,
    stride: float | None = None,
) -> Iterator[Row]:
    """The measures of one version, in steps of the grid; the length after that in pixels, where a step has so many."""
    table = dict(zip(MEASURES, TABLE[: len(MEASURES)] if at[1] == 0 else TABLE[len(MEASURES) :], strict=True))
    named = replace(template, metric=f", {VERSIONS[at[1]]}")
    tested = MEASURES if variable == DIFFERENCE else ()
    for row in measure_rows(result, variable, count, at, table, grid, named, QUANTITIES, tested):
        is_length = row.metric.startswith(QUANTITIES["length"])
        if is_length and variable != DIFFERENCE and row.value is not None and row.value < FLOOR:
            row = replace(row, note=UNRESOLVED)
        yield row
        if stride is not None and is_length:
            ends = {name: getattr(row, name) for name in ("value", "low", "high", "class_low", "class_high")}
            pixels: dict[str, Any] = {name: None if end is None else end * stride for name, end in ends.items()}
            yield replace(row, metric=f"{QUANTITIES['length_pixels']}{named.metric}", **pixels)


def _without_direction(result: Result, layer: int, version: int) -> int:
    """Images that no profile counts; earlier results say it of the mean similarity only."""
    if "profile_undefined" in result.data:
        return int(result.data["profile_undefined"][1][layer, version])
    return int(result.data["n_undefined"][1][layer, version, MEASURES.index("mean")])


MAIN = (f"{QUANTITIES['mean']}, raw", f"{QUANTITIES['contrast']}, centred")


def headline(result: Result, found: Sequence[Row]) -> Iterator[Row]:
    """Differences of the backbones, the raw mean similarity first; then the same of first and last layers.

    Raw is the mean, which is what the study compares; of centred features it is fixed by their definition. Contrast and
    length are of centred features, where the mean feature of the image does not hide them.
    """
    defined = [row for row in found if not row.note]
    for metric in (*MAIN, f"{QUANTITIES['length']}, centred"):
        yield from (row for row in defined if (row.metric, row.kind) == (metric, DIFFERENCE))
    own = [row for row in end_rows(found) if row.factor.startswith("grid") and not row.note]
    yield from (row for row in own if row.metric in (*MAIN, f"{QUANTITIES['length_pixels']}, centred"))


def _said(result: Result) -> Iterator[str]:
    attrs = result.attrs
    classes = f"; over classes: {attrs['classes']} classes resampled" if attrs.get("classes") else ""
    yield f"{attrs['confidence']:.0%} intervals over {attrs['samples']} images{classes}"


def _command(result: Result) -> list[str]:
    options = SimilarityOptions(intervals=interval_options(result))
    return command_words("analyze similarity", SIMILARITY, selection_of(result), options)


def _run(selection: Selection, options: SimilarityOptions, on: Hardware, listen: Listener) -> list[Analysed]:
    """The means over all images, and the matrices of those that are named: these first, since they may not be there."""
    cluster = measuring(on, listen)
    images = [image_similarity(selection, options.images)] if options.images else []
    return [similarity(selection, options.intervals, cluster, listen), *images]


def _live(setting: LiveSetting) -> Similarity:
    grids = {layer: (height, width) for layer, (_, height, width, _) in setting.shapes.items()}
    return Similarity.between(grids, setting.inputs)


ENTRY = Entry(
    name="similarity",
    title="Similarity between local features",
    about=(
        "Cosines between the features at every two positions of an image, averaged over images, without class tokens. "
        "In the matrices positions run row by row, so lines parallel to the diagonal are neighbours in other rows. Raw "
        "cosines are mostly the cosine with the image's mean feature; centred ones have it subtracted, so that their "
        "mean is fixed. The correlation length is the distance at which similarity has fallen to 1/e. Layers on "
        "different grids are not comparable: differences are taken between last layers averaged to one grid, judged "
        "together (Holm), and not resolved where their interval contains 0. A measure that a grid is too small for is "
        "not printed. Intervals are over images. Sources: Gong et al. 2021 for the mean patch similarity."
    ),
    question=Question(MAIN[0], "In the last layer, the positions of {more} are more alike than those of {less}"),
    unit="images",
    rows=rows,
    command=_command,
    run=_run,
    headline=headline,
    figure=similarity_figure,
    chart=similarity_chart,
    said=_said,
    live=Live(_live, of_classes=True, wants=WANTS),
)


def image_rows(result: Result) -> Iterator[Row]:
    """The mean similarity of different positions in each image; single images have no interval."""
    for i, layer in enumerate(result.attrs["layers"]):
        matrices = result.data[f"matrix_{i}"][1].astype(np.float64)
        positions = matrices.shape[-1]
        off = matrices.sum(axis=(2, 3)) - matrices.trace(axis1=2, axis2=3)
        for image, values in zip(result.coords["image"], off / (positions * (positions - 1)), strict=True):
            own = Row(backbone=layer["backbone"], layer=layer["tap"], factor=image, n=1)
            for version, value in zip(VERSIONS, values.tolist(), strict=True):
                yield replace(own, metric=f"{QUANTITIES['mean']}, {version}", value=known(value))


def _images_command(result: Result) -> list[str]:
    options = SimilarityOptions(images=tuple(result.coords["image"]))
    return command_words("analyze similarity", SIMILARITY, selection_of(result), options)


IMAGES_ENTRY = Entry(
    name="similarity-images",
    title="Similarity between local features of single images",
    about=(
        "The matrix of cosines between the features at every two positions, for the images that were asked for and the "
        "last selected layer of each backbone. Positions run row by row. Single images have no interval."
    ),
    rows=image_rows,
    command=_images_command,
    figure=similarity_images_figure,
)
