"""The numbers of a `cam` result as JSON, as flat rows, and in the report. Needs no torch."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from cvbench.engine.analyses.base import Result
from cvbench.engine.analyses.cam.boxed import BOX_TABLE, RATIO_TABLE
from cvbench.engine.analyses.cam.measures import MAP_MEASURES, TABLE
from cvbench.engine.analyses.cam.summary import CENTRED, ENDS, RAW
from cvbench.engine.statistics.estimate import Estimate
from cvbench.engine.statistics.verdict import Verdict, verdict
from cvbench.jobs.figures.cam import cam_figure
from cvbench.jobs.results.row import TidyRow
from cvbench.jobs.results.tidy import tidy_row
from cvbench.jobs.results.words import grid_text, verdict_of

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


def cam_rows(result: Result) -> Iterator[dict[str, Any]]:
    """One row per backbone, grid and measure, then one per pair and measure; undefined numbers are None.

    `kind` is mean or difference; `version` raw, or centred over positions. `low` and `high` are over images,
    `class_low` and `class_high` over resampled classes. `resolved` and `class_resolved` are the verdicts on differences
    of centred maps, judged together, `p` is adjusted for all of them; None for a mean, a difference of raw maps, and
    where too few images or classes define the difference to say so. `reason` says why a measure has no value.
    """
    images = result.attrs["images"]
    for i, row in enumerate(result.attrs["rows"]):
        names = {
            "backbone": row["backbone"],
            "target": row["target"],
            "grid": grid_text(row["grid"]),
            "common": row["common"],
            "version": row.get("version", RAW),
        }
        for j, measure in enumerate(result.coords["measure"]):
            undefined = int(result.data["n_undefined"][1][i, j])
            if row["target"] or measure not in MAP_MEASURES:  # of the baseline only what it is there for
                values = {key: _value(result, key, i, j) for key in ENDS}
                yield {
                    **names, "kind": "mean", "measure": measure, **values, "n": images - undefined,
                    "n_undefined": undefined, "p": None, "resolved": None, "class_resolved": None,
                    "reason": _REASONS[measure](row["grid"]),
                }  # fmt: skip
    common = next(row for row in result.attrs["rows"] if row["common"])
    versions = result.attrs.get("pair_versions") or [RAW] * len(result.attrs["pairs"])
    for i, ((one, two), version) in enumerate(zip(result.attrs["pairs"], versions, strict=True)):
        names = {"backbone": f"{one} vs {two}", "target": "", "grid": grid_text(common["grid"]), "common": True}
        names["version"] = version
        for j, measure in enumerate(result.coords["measure"]):
            values = {
                key: _value(result, "difference" if key == "value" else f"difference_{key}", i, j) for key in ENDS
            }
            count = int(result.data["difference_n"][1][i, j])
            yield {
                **names, "kind": "difference", "measure": measure, **values, "n": count, "n_undefined": images - count,
                **_judged(result, i, j, values, count), "reason": _REASONS[measure](common["grid"]),
            }  # fmt: skip


_REASONS = {measure.name: measure.reason for measure in (*TABLE, *BOX_TABLE, *RATIO_TABLE)}


def _judged(result: Result, i: int, j: int, values: dict[str, float | None], count: int) -> dict[str, Any]:
    """The verdicts on a difference; those of its intervals alone where no family was judged."""
    if "difference_resolved" not in result.data:
        ends: dict[str, Any] = {key: math.nan if value is None else value for key, value in values.items()}
        found = Estimate(**ends, n=count)
        of_classes = verdict(found.over_classes, least=0).flag
        return {"p": None, "resolved": verdict(found).flag, "class_resolved": of_classes}
    said = {key: _value(result, f"difference_{key}", i, j) for key in ("resolved", "class_resolved")}
    verdicts = {key: None if value is None else bool(value) for key, value in said.items()}
    return {"p": _value(result, "difference_p", i, j), **verdicts}


def verdict_text(row: Mapping[str, Any]) -> str:
    """What a row of `cam_rows` says of a difference, for a reader; nothing of a mean."""
    if row.get("reason"):
        return str(row["reason"])
    if row["kind"] == "mean":
        return ""
    if row.get("version") == RAW and row["resolved"] is None:
        return "see centred"
    over_images = verdict_of(row).value
    if row["class_resolved"] in (None, row["resolved"]):
        return over_images
    return f"{over_images}, over classes {Verdict.of(row['class_resolved'], row['class_low']).value}"


def cam_json(result: Result, dataset: str) -> dict[str, Any]:
    """The JSON form of `cvbench analyze cam --format json`."""
    attrs = result.attrs
    keys = ("method", "class", "correct_only", "images", "unreadable", "backbones", "resamples", "confidence", "seed")
    return {
        "dataset": dataset,
        **{key: attrs[key] for key in (*keys, "pooled", "interval", "class_interval", "notes")},
        "family": attrs.get("family", ""),
        "examples": result.coords.get("example", []),
        "measures": list(cam_rows(result)),
    }


def tidy_rows(result: Result) -> Iterator[TidyRow]:
    """Every measure of every backbone on both grids, and the differences on the common one.

    Where classes were resampled, each number comes twice, with either interval; `n` counts classes in the second.
    """
    for row in cam_rows(result):
        yield _tidy(result, row)
        if row["class_low"] is not None:
            yield _tidy(result, row, of_classes=True)


def headline_rows(result: Result) -> Iterator[TidyRow]:
    """Width, concentration and, with boxes, where: on the common grid, of centred maps the differences too."""
    rows = [row for row in cam_rows(result) if row["common"] and row["measure"] in HEADLINE and not row["reason"]]
    judged = CENTRED if any(row["version"] == CENTRED for row in rows) else RAW
    yield from (_tidy(result, row) for row in rows if row["kind"] == "difference" and row["version"] == judged)
    yield from (_tidy(result, row) for row in rows if row["kind"] == "mean")


def _tidy(result: Result, row: dict[str, Any], *, of_classes: bool = False) -> TidyRow:
    end = "class_" if of_classes else ""
    metric = MEASURES[row["measure"]] + (", interval over classes" if of_classes else "")
    if row["kind"] == "difference":
        said = Verdict.of(row[f"{end}resolved"], row[f"{end}low"]).mark
        unjudged = row["version"] == RAW and row[f"{end}resolved"] is None
        metric = f"difference in {metric}{' (see centred)' if unjudged else said}"
    metric += f" ({row['reason']})" if row["reason"] else ""
    maps = "" if row["version"] == RAW else "centred maps, "
    factor = f"{result.attrs['title']}, class {result.attrs['class']}, {maps}{row['grid']}, {grid_name(row)}"
    estimate = (row["value"], row[f"{end}low"], row[f"{end}high"])
    n = result.attrs["resampled_classes"] if of_classes else row["n"]
    failed = row["n_undefined"] + result.attrs.get("unreadable", 0)
    return tidy_row(result, row["backbone"], metric, factor, estimate, n, failed)


def grid_name(row: dict[str, Any]) -> str:
    """Whose grid a row of `cam_rows` was measured on."""
    return "common grid" if row["common"] else "own grid"


def _value(result: Result, name: str, i: int, j: int) -> float | None:
    value = float(result.data[name][1][i, j]) if name in result.data else math.nan
    return value if math.isfinite(value) else None


def draw_cam(result: Result, stem: Path, formats: Sequence[str] = ("svg", "png")) -> list[Path]:
    """Draw a result with its rows; see `cam_figure`."""
    return cam_figure(result, cam_rows(result), MEASURES, stem, formats)
