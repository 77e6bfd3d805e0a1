"""The numbers of a `cam` result as rows, and what is said of them. Needs no torch."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from cvbench.engine.analyses.base import Result
from cvbench.engine.analyses.cam.boxed import BOX_TABLE, RATIO_TABLE
from cvbench.engine.analyses.cam.measures import MAP_MEASURES, TABLE
from cvbench.engine.analyses.cam.summary import ENDS, RAW
from cvbench.engine.statistics.estimate import Estimate
from cvbench.engine.statistics.verdict import verdict
from cvbench.jobs.results.measured import class_verdict, grid_text, verdict_text
from cvbench.jobs.results.row import DIFFERENCE, REFERENCE, Row, known, placed, plain

MEASURES = {
    "centroid_y": "centroid, share of the height",
    "centroid_x": "centroid, share of the width",
    "radius": "RMS radius, share of the diagonal",
    "anisotropy": "anisotropy",
    "entropy": "entropy, normalised",
    "effective_area": "effective area, share of the grid",
    "gini": "sparseness (Gini)",
    "gaussian_r2": "R² of one Gaussian",
    "half_max_area": "area at half maximum, share of the grid",
    "energy_in_box": "energy in the box",
    "pointing_game": "pointing game",
    "box_share": "box area, share of the image",
    "box_iou": "IoU of the box",
    "localised": "share with IoU of 0.5 or more",
    "energy_over_share": "energy in the box / box area",
    "pointing_over_share": "pointing game / box area",
}
"""Measure -> what it is called for a reader."""
HEADLINE = ("radius", "effective_area", "gini", "gaussian_r2", "energy_in_box", "pointing_game", "box_share")
ANYWHERE = ("centroid_y", "centroid_x")
"""Measures that any grid is large enough for."""
COMMON, OWN, CENTRED_MAPS = "common grid", "own grid", ", centred maps"
UNJUDGED = "not judged: see centred maps"
_REASONS = {measure.name: measure.reason for measure in (*TABLE, *BOX_TABLE, *RATIO_TABLE)}


def rows(result: Result) -> Iterator[Row]:
    """Every measure of every backbone on each grid, then the differences on the common one.

    Of centred maps where `factor` says so. Differences of raw maps are not judged, where there are centred ones.
    """
    described = result.attrs["rows"]
    for i, line in enumerate(described):
        template = Row(backbone=line["backbone"], layer=line["target"], factor=_factor(line))
        if line["target"]:
            yield from _means(result, i, line["grid"], template, result.coords["measure"])
        else:  # the baseline: only what it is there for
            boxed = [name for name in result.coords["measure"] if name not in MAP_MEASURES]
            yield from _means(result, i, line["grid"], replace(template, kind=REFERENCE), boxed)
    common = next(line for line in described if line["common"])
    targets = {line["backbone"]: line["target"] for line in described}
    versions = result.attrs.get("pair_versions") or [RAW] * len(result.attrs["pairs"])
    for i, ((one, two), version) in enumerate(zip(result.attrs["pairs"], versions, strict=True)):
        sides = {"backbone": one, "layer": targets[one], "backbone_b": two, "layer_b": targets[two]}
        template = Row(**sides, kind=DIFFERENCE, factor=_factor({**common, "version": version}))
        yield from _differences(result, i, common["grid"], template, raw=version == RAW)


def _factor(line: Mapping[str, Any]) -> str:
    centred = "" if line.get("version", RAW) == RAW else CENTRED_MAPS
    return f"{COMMON if line['common'] else OWN} {grid_text(line['grid'])}{centred}"


def _means(result: Result, i: int, grid: Sequence[int], template: Row, measures: Sequence[str]) -> Iterator[Row]:
    for measure in measures:
        j = result.coords["measure"].index(measure)
        undefined = int(result.data["n_undefined"][1][i, j])
        yield _row(result, dict(zip(ENDS, ENDS, strict=True)), (i, j), undefined, template, _REASONS[measure](grid))


def _differences(result: Result, i: int, grid: Sequence[int], template: Row, *, raw: bool) -> Iterator[Row]:
    names = {name: "difference" if name == "value" else f"difference_{name}" for name in ENDS}
    unjudged = UNJUDGED if raw and "difference_resolved" in result.data else None
    for j, measure in enumerate(result.coords["measure"]):
        undefined = result.attrs["images"] - int(result.data["difference_n"][1][i, j])
        row = _row(result, names, (i, j), undefined, template, _REASONS[measure](grid) or unjudged)
        yield row if row.note or row.value is None else replace(row, **_judged(result, (i, j), row))


def _row(
    result: Result, names: Mapping[str, str], at: tuple[int, int], undefined: int, template: Row, note: str | None
) -> Row:
    """The number at one place of the variables `names`, and of how many images it is."""
    found: dict[str, Any] = {column: _value(result, name, at) for column, name in names.items()}
    found |= {"n": result.attrs["images"] - undefined, "n_failed": undefined + result.attrs.get("unreadable", 0)}
    return replace(template, metric=MEASURES[result.coords["measure"][at[1]]], **found, note=note or "")


def _judged(result: Result, at: tuple[int, int], row: Row) -> dict[str, Any]:
    """The verdicts on a difference; those of its intervals alone where no family was judged."""
    if "difference_resolved" not in result.data:
        value, low, high = (math.nan if end is None else end for end in (row.value, row.low, row.high))
        return {"verdict": verdict(Estimate(value, low, high, row.n)).value, "class_verdict": class_verdict(row)}
    p, over_images, over_classes = (
        _value(result, f"difference_{name}", at) for name in ("p", "resolved", "class_resolved")
    )
    return {"p": p, "verdict": verdict_text(over_images, row.low), "class_verdict": class_verdict(row, over_classes)}


def _value(result: Result, name: str, at: tuple[int, int]) -> float | None:
    return known(float(result.data[name][1][at])) if name in result.data else None


def headline(result: Result, found: Sequence[Row]) -> Iterator[Row]:
    """Width, concentration and, with boxes, where: on the common grid, of centred maps the differences too.

    On a grid that is too small for all of these, the centres.
    """
    common = [row for row in found if row.factor.startswith(COMMON) and (row.value is not None or not row.note)]
    for names in (HEADLINE, ANYWHERE):
        words = [MEASURES[name] for name in names]
        main = [row for row in common if row.metric in words]
        if main:
            break
    apart = [row for row in main if row.kind == DIFFERENCE]
    yield from [row for row in apart if row.factor.endswith(CENTRED_MAPS)] or apart
    yield from (row for row in main if row.kind != DIFFERENCE)


def said(result: Result) -> Iterator[str]:
    """Sentences on the maps, their method and class, and on the reference of boxes."""
    attrs = result.attrs
    sure = ", ".join(f"{one['backbone']} {one['mean_probability']:.3f}" for one in attrs["backbones"])
    yield f"{attrs['title']}, class {attrs['class']}; its mean probability: {sure}"
    weights = ", ".join(f"{one['backbone']} {one['weights']}" for one in attrs["backbones"] if "weights" in one)
    if weights:
        yield f"weights: {weights}"
    if "drawn" in attrs:
        yield attrs["drawn"]
    if "box_share" in result.coords["measure"]:
        yield attrs["baseline"]
        yield from _no_better_than_a_guess(result)
    if attrs.get("class_interval"):
        yield f"intervals over classes: {attrs['class_interval']}"


def _no_better_than_a_guess(result: Result) -> Iterator[str]:
    """Name the backbones whose maps have no more in the box than the centred Gaussian, on the common grid."""
    common = [row for row in rows(result) if row.factor.startswith(COMMON) and not row.factor.endswith(CENTRED_MAPS)]
    found = [row for row in common if row.metric == MEASURES["energy_in_box"] and not row.backbone_b]
    guess = next((row.value for row in found if row.kind == REFERENCE), None)
    for row in found:
        if guess is not None and row.value is not None and row.kind != REFERENCE and row.value <= guess:
            yield (
                f"{row.subject}: {row.value:.3f} of the map lies in the box, of the centred Gaussian {guess:.3f}: "
                "these maps say no more of where the object is than that it is in the middle"
            )


def points(result: Result) -> Iterator[dict[str, Any]]:
    """The rows with an empty `sample`; for every example and backbone the raw signed cells, row by row."""
    for row in placed(result, rows(result)):
        yield {"sample": "", **plain(row), "cell_row": None, "cell_column": None}
    for i, backbone in enumerate(result.attrs["backbones"]):
        for k, sample in enumerate(result.coords.get("example", [])):
            cells = result.data[f"map_{i}"][1][k]
            names = {"backbone": backbone["backbone"], "layer": backbone["target"], "metric": "raw map"}
            (template,) = placed(result, [Row(**names, factor=f"{OWN} {grid_text(cells.shape)}", n=1)])
            for (line, column), value in np.ndenumerate(cells):
                row = replace(template, value=known(value))
                yield {"sample": sample, **plain(row), "cell_row": line, "cell_column": column}
