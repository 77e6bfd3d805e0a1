"""`cvbench analyze similarity`: similarity between local features of the `maps` view; JSON, rows and the report."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from cvbench.engine.analyses.base import Result
from cvbench.engine.analyses.checks import check_grid
from cvbench.engine.analyses.similarity.measure import WANTS, Similarity, image_matrices
from cvbench.engine.analyses.similarity.result import MEASURES, TABLE, VERSIONS
from cvbench.engine.statistics.measure import Measure
from cvbench.engine.statistics.options import IntervalOptions
from cvbench.engine.statistics.running import outdated_notes
from cvbench.jobs.analyses.measure import analyze, measuring
from cvbench.jobs.analyses.options import SIMILARITY, SimilarityOptions
from cvbench.jobs.extraction.live import kept_live
from cvbench.jobs.figures.similarity import similarity_figure, similarity_images_figure
from cvbench.jobs.reading.options import Selection
from cvbench.jobs.reading.reading import last_layers, open_store, read
from cvbench.jobs.results.entry import Entry, Live, LiveSetting
from cvbench.jobs.results.keep import Analysed, keep
from cvbench.jobs.results.row import TidyRow
from cvbench.jobs.results.tidy import command_words, end_layers, interval_options, selection_of, tidy_row
from cvbench.jobs.results.words import CLASSES, estimates, grid_text, measures, on_common_grid, over_classes, verdict_of
from cvbench.jobs.running.executor import Cluster
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
        UsageError: A layer without spatial extent, before anything is measured.
    """
    store, selection = open_store(selection.store), replace(selection, view=VIEW)
    if (kept := kept_live(store, "similarity", selection, notes=outdated_notes)) is not None:
        return kept
    reading = read(selection, store)
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


def similarity_json(result: Result, dataset: str) -> dict[str, Any]:
    """The JSON form of `cvbench analyze similarity --format json`; undefined numbers are null.

    `layers`: per layer its names, grid, channels, stride, and per version the measures and the `profile` by grid
    step. `common`: the same measures of the last layers on `common_grid`; `differences` between them, each with its
    verdict `resolved`. Measures have `class_low` and `class_high` too, the interval over resampled classes. The
    matrices and correlograms are in the stored result.
    """
    layers = []
    for i, layer in enumerate(result.attrs["layers"]):
        versions = {}
        for version, name in enumerate(VERSIONS):
            found = estimates(result, "profile", (i, version))
            reach = max(layer["grid"])
            profile = {key: values[:reach] for key, values in found.items()}
            versions[name] = {"measures": list(_native(result, i, version)), "profile": profile}
        layers.append({**layer, **versions})
    rows = list(similarity_rows(result))
    common = [row for row in rows if row["quantity"].endswith("_common")]
    differences = [row for row in rows if row["quantity"].endswith("_difference")]
    attrs = {key: value for key, value in result.attrs.items() if key != "layers"}
    return {"dataset": dataset, "layers": layers, "common": common, "differences": differences, **attrs}


def similarity_rows(result: Result) -> Iterator[dict[str, Any]]:
    """One row per layer, version and number; undefined numbers are None.

    Quantities: the measures, `length_pixels` where the stride is known, `profile` by grid `step`; then the measures of
    the last layers on the common grid, `..._common`, and what two backbones differ by there, `..._difference`, with
    the verdict `resolved` (null if too few images define it) and its `p`, adjusted for all differences. `reason` says
    why a measure has no value on a grid.
    """
    for i, layer in enumerate(result.attrs["layers"]):
        names = {"backbone": layer["backbone"], "tap": layer["tap"], "grid": grid_text(layer["grid"])}
        for version, name in enumerate(VERSIONS):
            own = list(_native(result, i, version))
            for measure in own:
                yield _row(names, name, measure.pop("name"), **measure)
            found = estimates(result, "profile", (i, version))
            undefined = _without_direction(result, i, version)
            for step in range(max(layer["grid"])):
                ends = {key: values[step] for key, values in found.items()}
                yield _row(names, name, "profile", step=step, n_undefined=undefined, **ends)
    for variable, i, names in on_common_grid(result):
        for version, name in enumerate(VERSIONS):
            place = (result.attrs["common_grid"],)
            alone = MEASURES if variable == "difference" else ()
            for measure in measures(
                result, variable, f"{variable}_undefined", (i, version), _tables()[version], *place, alone
            ):
                yield _row(names, name, f"{measure.pop('name')}_{variable}", **measure)


def _without_direction(result: Result, layer: int, version: int) -> int:
    """Images that no profile counts; earlier results say it of the mean similarity only."""
    if "profile_undefined" in result.data:
        return int(result.data["profile_undefined"][1][layer, version])
    return int(result.data["n_undefined"][1][layer, version, MEASURES.index("mean")])


def _tables() -> tuple[dict[str, Measure], dict[str, Measure]]:
    """The measures of each version, by name."""
    raw, centred = TABLE[: len(MEASURES)], TABLE[len(MEASURES) :]
    return dict(zip(MEASURES, raw, strict=True)), dict(zip(MEASURES, centred, strict=True))


def _row(names: dict[str, str], version: str, quantity: str, **found: Any) -> dict[str, Any]:
    empty = dict.fromkeys(("step", "value", "low", "high", "class_low", "class_high"))
    verdict = dict.fromkeys(("p", "resolved", "class_resolved", "reason"))
    return {**names, "version": version, "quantity": quantity, **empty, "n_undefined": 0, **verdict, **found}


def _native(result: Result, layer: int, version: int) -> Iterator[dict[str, Any]]:
    """The measures of a layer on its own grid, the length in pixels after that in steps."""
    stride = result.attrs["layers"][layer]["stride"]
    grid = result.attrs["layers"][layer]["grid"]
    for measure in measures(result, "measures", "n_undefined", (layer, version), _tables()[version], grid):
        yield measure
        if measure["name"] == "length" and stride is not None:
            ends = ("value", "low", "high", "class_low", "class_high")
            scaled = {key: None if measure[key] is None else measure[key] * stride for key in ends}
            yield {**measure, **scaled, "name": "length_pixels"}


def tidy_rows(result: Result) -> Iterator[TidyRow]:
    """Every layer's measures and profile, the common grid and the differences."""
    for row in similarity_rows(result):
        yield _tidy(result, row)
        for found in over_classes(row):
            yield _tidy(result, found, CLASSES)


def headline_rows(result: Result) -> Iterator[TidyRow]:
    """What the backbones differ by, the raw mean similarity first; then the same of first and last layers.

    Raw is the mean, which is what the study compares; of centred features it is fixed by their definition. Contrast and
    length are of centred features, where the mean feature of the image does not hide them.
    """
    layers = result.attrs["layers"]
    ends = {(layers[i]["backbone"], layers[i]["tap"]) for i in end_layers(result)}
    rows = [row for row in similarity_rows(result) if not row["reason"]]
    main = (("raw", "mean"), ("centred", "contrast"), ("centred", "length"))
    for version, name in main:
        for row in rows:
            if (row["version"], row["quantity"]) == (version, f"{name}_difference"):
                yield _tidy(result, row)
    for row in rows:
        of_layer = (row["version"], row["quantity"]) in (*main[:2], ("centred", "length_pixels"))
        if of_layer and (row["backbone"], row["tap"]) in ends:
            yield _tidy(result, row)


def _tidy(result: Result, row: dict[str, Any], marked: str = "") -> TidyRow:
    attrs, quantity = result.attrs, row["quantity"]
    for ending, words in (("_common", " on the common grid"), ("_difference", ": difference on the common grid")):
        if quantity.endswith(ending):
            base = quantity.removesuffix(ending)
            metric = QUANTITIES[base] + words
            break
    else:
        metric = QUANTITIES[quantity]
    step = "" if row["step"] is None else f" at {row['step']} steps"
    factor = f"{row['tap']} ({row['grid']}){step}"
    undefined = row["n_undefined"]
    failed = attrs.get("samples_in_units", attrs["samples"]) - attrs["samples"] + undefined
    estimate = (row["value"], row["low"], row["high"])
    said = verdict_of(row).mark if quantity.endswith("_difference") else ""
    said = f" ({row['reason']})" if row["reason"] else said
    named = f"{metric}, {row['version']}{marked}{said}"
    return tidy_row(result, row["backbone"], named, factor, estimate, attrs["samples"] - undefined, failed)


def _command(result: Result) -> list[str]:
    options = SimilarityOptions(intervals=interval_options(result))
    return command_words("analyze similarity", SIMILARITY, selection_of(result), options)


def _run(selection: Selection, options: SimilarityOptions, on: Hardware, listen: Listener) -> list[Analysed]:
    """The means over all images, and the matrices of those that are named: these first, since they may not be there."""
    cluster = measuring(on)
    images = [image_similarity(selection, options.images)] if options.images else []
    return [similarity(selection, options.intervals, cluster, listen), *images]


def _live(setting: LiveSetting) -> Similarity:
    grids = {layer: check_grid(layer, shape, "--analyze similarity") for layer, shape in setting.shapes.items()}
    return Similarity.between(grids, setting.inputs)


def _draw(found: Sequence[Analysed], folder: Path) -> list[Path]:
    selected = found[0].selected
    stem = folder / f"similarity-{selected.dataset}-{selected.split}"
    files = draw_similarity(found[0].result, stem)
    for images in found[1:]:
        files += similarity_images_figure(images.result, stem.with_name(f"{stem.name}-images"))
    return files


def draw_similarity(result: Result, stem: Path, formats: Sequence[str] = ("svg", "png")) -> list[Path]:
    """Draw a result with its rows; see `similarity_figure`."""
    return similarity_figure(result, similarity_rows(result), stem, formats)


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
    rows=tidy_rows,
    command=_command,
    run=_run,
    figure=draw_similarity,
    headline=headline_rows,
    draw=_draw,
    live=Live(_live, of_classes=True),
)


def image_tidy_rows(result: Result) -> Iterator[TidyRow]:
    """The mean similarity of different positions in each image; single images have no interval."""
    for i, layer in enumerate(result.attrs["layers"]):
        matrices = result.data[f"matrix_{i}"][1].astype(np.float64)
        positions = matrices.shape[-1]
        off = matrices.sum(axis=(2, 3)) - matrices.trace(axis1=2, axis2=3)
        for image, values in zip(result.coords["image"], off / (positions * (positions - 1)), strict=True):
            for version, value in zip(VERSIONS, values.tolist(), strict=True):
                metric = f"{QUANTITIES['mean']}, {version}"
                yield tidy_row(result, layer["backbone"], metric, f"{layer['tap']}, {image}", (value, None, None), 1)


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
    rows=image_tidy_rows,
    command=_images_command,
    figure=similarity_images_figure,
)
