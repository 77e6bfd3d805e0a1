"""`cvbench analyze cam`: heat maps of every image and backbone, kept in the store, and what is measured on them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cvbench.engine.analyses.base import Result
from cvbench.engine.analyses.cam.boxed import GAUSSIAN_WIDTH
from cvbench.engine.analyses.cam.choice import CHOICE
from cvbench.engine.analyses.cam.measures import MAP_MEASURES
from cvbench.engine.analyses.cam.summary import CENTRED, RAW, Measured, summarise
from cvbench.engine.statistics.running import INTERVALS
from cvbench.errors import DataUnavailableError, UnknownNameError, UsageError
from cvbench.hints import option_words
from cvbench.jobs.analyses.cam.backbones import chosen
from cvbench.jobs.analyses.cam.maps import MapJob, prepare_maps
from cvbench.jobs.analyses.cam.measure import BASELINE, measure_maps, selected_maps
from cvbench.jobs.analyses.cam.options import CamOptions
from cvbench.jobs.analyses.cam.rows import MEASURES, headline, points, rows, said
from cvbench.jobs.analyses.cam.worker import choice_tap
from cvbench.jobs.extraction.job import run_units
from cvbench.jobs.extraction.options import PAIR, ExtractOptions
from cvbench.jobs.figures.cam import cam_figure
from cvbench.jobs.figures.charts.galleries import cam_chart, cams_chart, compared_cams
from cvbench.jobs.reading.pictures import boxes_of, inputs_of
from cvbench.jobs.reading.reading import Reading
from cvbench.jobs.results.entry import Entry
from cvbench.jobs.results.keep import Analysed, keep
from cvbench.jobs.results.question import Question
from cvbench.jobs.running.cluster import Cluster
from cvbench.jobs.running.hardware import Hardware
from cvbench.jobs.running.progress import Listener, Note, silent
from cvbench.options import Form, typed_words

F64 = NDArray[np.float64]


def cam(options: ExtractOptions, asked: CamOptions, cluster: Cluster, listen: Listener = silent) -> Analysed:
    """Compute the maps that the store lacks, measure all that were asked for, and keep the result in the store.

    Maps are read unit by unit. Memory: one unit of maps, the measures, (n, 9) float64 per backbone and grid, (n, 14)
    with boxes, and what `summarise` takes.

    Args:
        options: Data set, backbones, weights and so on; `views`, `taps`, `maps` and `dtype` have no meaning here.
            Without backbones: those that the store has of these images, see `chosen`.
        asked: Which maps, and what to make of them.
        cluster: Where maps are computed; what is measured on them is measured here.
        listen: Receives progress.

    Returns:
        The result (see `engine.analyses.cam.summary`), with `image_<i>`, `map_<i>` and `choice_<i>` of the examples of
        the i-th backbone; `measured` is the number of images whose maps were computed now.

    Raises:
        CvbenchError: As `prepare_maps` and `extract`.
        UsageError: `correct_only` without labels, or where no image is left.
    """
    options, digests = chosen(options)
    job = prepare_maps(options, asked.maps, cluster, digests)
    listen(Note(f"weights: {', '.join(f'{name} {word}' for name, word in _weights(job).items())}"))
    if asked.correct_only:
        _check_label_space(job)
    _check_images(job, asked.images)
    report = run_units(job.units, cluster, "analyze cam", listen)
    reading = Reading(job.units.store, selected_maps(job))
    there, tables, choices = measure_maps(reading, job, correct_only=asked.correct_only, tolerance=asked.tolerance)
    if not len(there):
        raise UsageError(
            "no image is left: no backbone's top-1 is the label of the same image", fix="leave --correct-only out"
        )
    attrs = _attrs(job, choices, options, asked) | {"samples": len(there), "unreadable": len(report.unreadable)}
    labels = job.units.split.labels[there]
    result = summarise(tables, asked.intervals, attrs, labels)
    if asked.images:
        _add_examples(result, reading, job, _named_rows(reading, asked.images), "drawn: the images that were named")
    else:
        _add_examples(result, reading, job, *drawn(tables, there, asked.examples))
    settings = {**asdict(asked), "maps": asdict(job.options), "pooled": attrs["pooled"]}
    settings |= {"intervals": [INTERVALS, asdict(asked.intervals)], "versions": [RAW, CENTRED], "drawn": DRAWN}
    path = keep(reading, result, [settings, reading.identity])
    return Analysed(result, reading.selected, path, report.computed)


def _check_label_space(job: MapJob) -> None:
    for name in job.targets:
        if not job.knows_labels(name):
            raise UsageError(
                f"the head of {name} does not know the labels of {job.dataset.name}, so none of its answers is right",
                fix="weights with a head for this data set, or without --correct-only",
            )


def _check_images(job: MapJob, images: Sequence[str]) -> None:
    known = set(job.dataset.ids) if images else set()
    for name in images:
        if name not in known:
            raise UnknownNameError.among(f"sample of {job.dataset.name}:", name, job.dataset.ids[:20_000])


def _attrs(job: MapJob, choices: dict[str, F64], options: ExtractOptions, asked: CamOptions) -> dict[str, Any]:
    from cvbench.engine.analyses.cam.methods import find_method

    method = find_method(job.options.method)
    backbones = [
        {
            "backbone": name,
            "target": job.targets[name],
            "weights": _weights(job)[name],
            "classes": job.described[name].head_sizes["logits"],
            "knows_labels": job.knows_labels(name),
            "mean_probability": float(table[:, CHOICE.index("probability")].mean()),
        }
        for name, table in choices.items()
    ]
    notes = list(job.notes)
    if len({description.preprocess.geometry for description in job.described.values()}) > 1:
        notes.append(
            "the backbones crop or resize differently: their grids do not cover quite the same part of an image"
        )
    if not method.needs_gradient:
        notes.append(f"{method.title} knows no class: the map is of {method.instead}")
    return {
        "layers": [{"backbone": name, "tap": target} for name, target in job.targets.items()],
        "backbones": backbones,
        "method": job.options.method,
        "title": method.title,
        "class": job.options.choice,
        "correct_only": asked.correct_only,
        "tolerance": asked.tolerance,
        "precision": options.precision,
        "pooled": "L",  # what was averaged for the common grid: the positive part of a map, not the signed one
        "baseline": f"{BASELINE}: in the image's middle, standard deviation {GAUSSIAN_WIDTH:g} of its height and width",
        "notes": notes,
        "command": _words(options, asked),
    }


def _weights(job: MapJob) -> dict[str, str]:
    """Backbone -> its weights: a word, or the name of their file."""
    return {name: Path(described.spec.weights).name for name, described in job.described.items()}


def _words(options: ExtractOptions, asked: CamOptions) -> list[str]:
    """Arguments after `cvbench` of the command that makes this result again, without `--store`."""
    made = {key: value for key, value in typed_words(asked).items() if key not in _UNSAID}
    return ["analyze", "cam", *option_words({**_READ.words(options), **made})]


_READ = Form(
    ExtractOptions,
    ("dataset", "split", "backbone", "weights", "limit", "image_size", "precision", "decoder"),
    defaults={"backbone": [], "weights": []},
)  # what the result depends on, not where it was or how fast
_UNSAID = ("image", "examples")  # what is drawn, not what is measured


DRAWN = 2  # raised when images are chosen in another way; 1: the first, whatever their maps


def drawn(tables: Sequence[Measured], rows: NDArray[np.int64], most: int) -> tuple[NDArray[np.int64], str]:
    """Choose the images to be drawn: an empty map has nothing to look at.

    Args:
        tables: Measures of the images at `rows`; all of a map without a positive cell are NaN.
        rows: (n,) store positions.
        most: How many to choose.

    Returns:
        Store positions, and the rule in words.
    """
    common = [one.table for one in tables if one.common and one.version == RAW and one.backbone != BASELINE]
    positive = np.logical_and.reduce([np.isfinite(one[:, : len(MAP_MEASURES)]).any(axis=1) for one in common])
    empty = f"{int((~positive).sum()):,} of {len(rows):,} images have a map without any"
    if not positive.any():
        return rows[:most], f"drawn: the first images; {empty}"
    rule = "drawn: the first images with a positive cell in the map of every backbone"
    return rows[positive][:most], f"{rule}; {empty}"


def _add_examples(result: Result, reading: Reading, job: MapJob, shown: NDArray[np.int64], rule: str) -> None:
    """Put the images to be drawn into the result, each as every backbone sees it, with raw map, choice and box."""
    if not len(shown):
        return
    result.attrs["drawn"] = rule
    split = job.units.split
    geometries = {name: job.described[name].preprocess.geometry for name in job.targets}
    inputs = inputs_of(job.dataset, split, shown, geometries)
    boxes = boxes_of(job.dataset, split)
    inside = dict(zip(job.targets, boxes.at(shown, list(geometries.values())), strict=True)) if boxes else {}
    result.coords["example"] = [str(split.ids[row]) for row in shown]
    for i, layer in enumerate(reading.selected.layers):
        name = layer.backbone
        maps, choice = (reading.take(layer, shown.tolist(), tap) for tap in (layer.tap, choice_tap(layer.tap)))
        result.data[f"image_{i}"] = (("example", f"y_{i}", f"x_{i}", "rgb"), inputs[name])
        result.data[f"map_{i}"] = (("example", f"row_{i}", f"column_{i}"), maps)
        result.data[f"choice_{i}"] = (("example", "choice"), choice.astype(np.float64))
        if inside:
            result.data[f"box_{i}"] = (("example", "corner"), inside[name])
        names = split.classes if job.knows_labels(name) else None
        result.attrs["backbones"][i]["examples"] = [
            {key: _class_name(value, names) for key, value in zip(CHOICE[:2], pair, strict=True)}
            for pair in choice[:, :2].astype(int).tolist()
        ]
    labels = split.labels[shown].tolist()
    result.attrs["example_labels"] = [split.classes[label] if label >= 0 else None for label in labels]


def _named_rows(reading: Reading, images: Sequence[str]) -> NDArray[np.int64]:
    try:
        return reading.find(images)
    except DataUnavailableError as error:
        error.fix = error.fix and "a larger --limit"
        raise


def _class_name(index: int, names: Sequence[str] | None) -> str:
    return f"class {index}" if names is None else names[index]


def _command(result: Result) -> list[str]:
    """The words of the command, with what earlier versions left out as it was a default then."""
    words = list(result.attrs["command"])
    then = {"backbone": PAIR, "weights": ("pretrained",)}
    return [*words, *option_words({name: value for name, value in then.items() if f"--{name}" not in words})]


def _run(wanted: ExtractOptions, options: CamOptions, on: Hardware, listen: Listener) -> list[Analysed]:
    return [cam(wanted, options, on.cluster(), listen)]


ENTRY = Entry(
    name="cam",
    title="Where the evidence lies: class activation maps",
    about=(
        "For each image, the cells of a late layer that speak for a class, by default the backbone's own top-1: the "
        "activation weighted by the gradient of the class's logit; two methods read the attention of all layers of a "
        "transformer instead. Overlays are scaled image by image and show no "
        "amounts. Numbers are means over images on the common grid, the coarsest of all, to which the positive part of "
        "finer maps is averaged. A backbone that pools and then normalises has a raw map that sums to zero over "
        "positions by construction, so that it looks concentrated, while another's is free: differences are therefore "
        "judged on centred maps, less their mean over positions, where all are under that constraint. They are judged "
        "together (Holm); one whose interval contains 0 is not resolved, and with fewer than 30 images none is. A "
        "measure that a grid is too small for is not printed. Intervals are over images, with many classes also over "
        "these. n counts images "
        "with a map, or classes; left out are unreadable images and maps without any positive cell. A map says where a "
        "class is read off this layer, not what a backbone needs. Source: Selvaraju et al. 2017."
    ),
    question=Question(
        "effective area, share of the grid", "The maps of {more} cover more of the image than those of {less}"
    ),
    rows=rows,
    command=_command,
    run=_run,
    headline=headline,
    figure=partial(cam_figure, labels=MEASURES),
    chart=cam_chart,
    charts=cams_chart,
    charted=compared_cams,
    arrays=("example",),
    points=points,
    said=said,
    named_by=("view",),
    unsaid=_UNSAID,
)
