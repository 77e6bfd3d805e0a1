"""The numbers of a `cam` result as JSON, as flat rows, and in the report. Needs no torch."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from cvbench.engine.analyses.base import Result
from cvbench.engine.bootstrap import resolved
from cvbench.engine.cam.measures import MAP_MEASURES
from cvbench.jobs.section import Section, TidyRow
from cvbench.jobs.sections import tidy_row

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

    `resolved` says of a difference whether its interval excludes 0; it is None for a mean.
    """
    images = result.attrs["images"]
    for i, row in enumerate(result.attrs["rows"]):
        names = {"backbone": row["backbone"], "target": row["target"], "grid": _grid(row), "common": row["common"]}
        for j, measure in enumerate(result.coords["measure"]):
            undefined = int(result.data["n_undefined"][1][i, j])
            if row["target"] or measure not in MAP_MEASURES:  # of the baseline only what it is there for
                values = _values(result, ("value", "low", "high"), i, j)
                yield {
                    **names, "measure": measure, **values, "n": images - undefined, "n_undefined": undefined,
                    "resolved": None,
                }  # fmt: skip
    common = next(row for row in result.attrs["rows"] if row["common"])
    for i, (one, two) in enumerate(result.attrs["pairs"]):
        names = {"backbone": f"{one} - {two}", "target": "", "grid": _grid(common), "common": True}
        for j, measure in enumerate(result.coords["measure"]):
            values = _values(result, ("difference", "difference_low", "difference_high"), i, j)
            count = int(result.data["difference_n"][1][i, j])
            told = resolved(*(result.data[f"difference_{end}"][1][i, j] for end in ("low", "high")))
            yield {**names, "measure": measure, **values, "n": count, "n_undefined": images - count, "resolved": told}


def cam_json(result: Result, dataset: str) -> dict[str, Any]:
    """The JSON form of `cvbench analyze cam --format json`."""
    attrs = result.attrs
    keys = ("method", "class", "correct_only", "images", "unreadable", "backbones", "resamples", "confidence", "seed")
    return {
        "dataset": dataset,
        **{key: attrs[key] for key in (*keys, "interval", "notes")},
        "examples": result.coords.get("example", []),
        "measures": list(cam_rows(result)),
    }


def tidy_rows(result: Result) -> Iterator[TidyRow]:
    """Every measure of every backbone on both grids, and the differences on the common one."""
    for row in cam_rows(result):
        yield _tidy(result, row)


def headline_rows(result: Result) -> Iterator[TidyRow]:
    """Width, concentration and, with boxes, where: on the common grid."""
    for row in cam_rows(result):
        if row["common"] and row["measure"] in HEADLINE:
            yield _tidy(result, row)


def _tidy(result: Result, row: dict[str, Any]) -> TidyRow:
    metric = MEASURES[row["measure"]]
    if row["resolved"] is not None:
        metric = f"difference in {metric}" + ("" if row["resolved"] else " (not resolved)")
    kind = "the grid of all" if row["common"] else "its own grid"
    factor = f"{result.attrs['title']}, class {result.attrs['class']}, {row['grid']}, {kind}"
    estimate = (row["value"], row["low"], row["high"])
    failed = row["n_undefined"] + result.attrs.get("unreadable", 0)
    return tidy_row(result, row["backbone"], metric, factor, estimate, row["n"], failed)


def _grid(row: dict[str, Any]) -> str:
    return "x".join(map(str, row["grid"]))


def _values(result: Result, names: tuple[str, str, str], i: int, j: int) -> dict[str, float | None]:
    found = {}
    for key, name in zip(("value", "low", "high"), names, strict=True):
        value = float(result.data[name][1][i, j])
        found[key] = value if math.isfinite(value) else None
    return found


def _figure(result: Result, stem: Path, formats: Sequence[str]) -> list[Path]:
    from cvbench.jobs.figures.cam import cam_figure

    return cam_figure(result, stem, formats)


SECTION = Section(
    analysis="cam",
    title="Where the evidence lies: class activation maps",
    about=(
        "For each image, the cells of a late layer that speak for a class, by default the backbone's own top-1: the "
        "activation weighted by the gradient of the class's logit. Overlays are scaled image by image and show no "
        "amounts. Numbers are means over images on the grid that all backbones share, with a bootstrap over images; a "
        "difference whose interval contains 0 is not resolved. n counts images with a map; left out are unreadable "
        "images and maps without any positive cell. A map says where a class is read off this layer, not what a "
        "backbone needs. Source: Selvaraju et al. 2017."
    ),
    rows=tidy_rows,
    options=lambda result: list(result.attrs["command"]),
    figure=_figure,
    headline=headline_rows,
)
