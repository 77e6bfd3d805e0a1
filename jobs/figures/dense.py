"""The figure of `cvbench transfer dense`: images, their masks and the predictions; and the numbers by depth."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from cvbench.engine.analyses.base import Result
from cvbench.jobs.figures.base import COLOURS, LEGEND, MARKERS
from cvbench.jobs.results.measured import grid_text
from cvbench.jobs.results.row import DIFFERENCE, REFERENCE, VALUE, Row

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MAX_IMAGES = 8
SIDE = 1.7  # inches of a panel
PANELS = {
    "dense probe, mean IoU": "mean IoU",
    "dense probe, foreground IoU": "foreground IoU",
    "dense probe, accuracy of cells": "accuracy of cells",
}
"""Metric -> short name."""
_GROUND = (0.92, 0.92, 0.92)
_PALETTE = "tab20"


def class_colours(classes: NDArray[np.int64]) -> NDArray[np.uint8]:
    """(..., 3) RGB uint8 of classes, 0 the background in light grey; of more than 20 some share a colour."""
    from matplotlib import colormaps

    own = np.asarray([colormaps[_PALETTE](i)[:3] for i in (*range(0, 20, 2), *range(1, 20, 2))])
    found = np.where((classes > 0)[..., None], own[(classes - 1) % len(own)], _GROUND)
    return np.asarray((found * 255).round().astype(np.uint8))


def image_overlap(predicted: NDArray[np.int64], true: NDArray[np.int64]) -> float:
    """IoU of the foreground of one image, whatever its class is called; NaN where there is none."""
    union = int(((predicted > 0) | (true > 0)).sum())
    return int(((predicted > 0) & (true > 0)).sum()) / union if union else float("nan")


def named_cells(result: Result, classes: NDArray[np.int64]) -> str:
    """The name of the class, not the background, that has the most cells; "background" where no other has one."""
    objects = classes[classes > 0]
    return str(result.coords["class"][int(np.bincount(objects).argmax()) if len(objects) else 0])


def dense_figure(result: Result, rows: Sequence[Row]) -> Figure:
    """Draw a result of dense probes.

    One row per image, the first eight: the image as a backbone sees it, its mask at the common resolution, and the
    prediction from the last layer of each backbone, a colour per class. Below, the numbers over all images by depth,
    with what labels of a layer's own grid would reach, dashed; and what the backbones differ by.
    """
    from matplotlib.figure import Figure

    columns, ids = _columns(result), result.coords["image"][:MAX_IMAGES]
    differences = any(row.kind == DIFFERENCE for row in rows)
    below_height = 5.2 if differences else 3.6
    width, height = max(SIDE * len(columns), 8.4), (SIDE + 0.3) * len(ids)
    figure = Figure(figsize=(width + 0.3, height + below_height), layout="constrained")
    parts = figure.subfigures(2, 1, squeeze=False, height_ratios=(height + 0.5, below_height - 0.5))
    above, below = parts[0, 0], parts[1, 0]
    axes = above.subplots(len(ids), len(columns), squeeze=False)
    side = result.attrs["resolution"]
    above.suptitle(f"mask and predictions at {side}x{side} cells; a colour per class, grey: background", fontsize=8)
    for line, name in enumerate(ids):
        for axis, column in zip(axes[line], columns, strict=True):
            _panel(axis, result, column, line)
            axis.set_xticks([])
            axis.set_yticks([])
        axes[line][0].set_ylabel(name if len(name) <= 24 else f"…{name[-23:]}", fontsize=6)
    _numbers(below, result, rows, differences)
    return figure


def _columns(result: Result) -> list[tuple[str, int, int]]:
    """("picture", "true" or "predicted", its number, the picture that belongs to it)."""
    columns: list[tuple[str, int, int]] = []
    shown = None
    for drawn in result.attrs["drawn"]:
        picture = drawn["picture"]
        if picture != shown:
            columns += [("picture", picture, picture), ("true", picture, picture)]
        shown = picture
        columns.append(("predicted", drawn["layer"], picture))
    return columns


def _panel(axis: Axes, result: Result, column: tuple[str, int, int], line: int) -> None:
    what, number, picture = column
    values = result.data[f"{what}_{number}"][1][line]
    title, below = "mask", ""
    if what == "picture":
        axis.imshow(values, interpolation="nearest")
        title = f"input\n{values.shape[0]}x{values.shape[1]} pixels"
    else:
        axis.imshow(class_colours(values), interpolation="nearest")
        below = named_cells(result, values)
    if what == "predicted":
        layer = result.attrs["layers"][number]
        height, width = layer["grid"]
        title = f"{layer['backbone']}\n{layer['tap']}  {height}x{width}"
        below += f", IoU {image_overlap(values, result.data[f'true_{picture}'][1][line]):.2f}"
    axis.set_xlabel(below, fontsize=6, labelpad=2)
    if not line:
        axis.set_title(title, fontsize=7)


def _numbers(figure: Any, result: Result, rows: Sequence[Row], differences: bool) -> None:
    axes = figure.subplots(
        2 if differences else 1, len(PANELS), squeeze=False, height_ratios=[2.4, 1.0] if differences else [1.0]
    )
    for at, (metric, name) in enumerate(PANELS.items()):
        own = [row for row in rows if row.metric == metric]
        _depth(axes[0][at], result, own)
        axes[0][at].set_title(name, fontsize=8)
        if differences:
            _differences(axes[1][at], result, [row for row in own if row.kind == DIFFERENCE])
            axes[1][at].set_xlabel(f"difference of {name}")
            axes[1][at].tick_params(labelleft=at == 0)
    axes[0][0].legend(**LEGEND, fontsize=6)
    attrs = result.attrs
    said = f"bands: {attrs['confidence']:.0%} intervals over {attrs['samples']} images"
    said += "; below: first less second, on the same images" if differences else ""
    figure.suptitle(f"{said}\ndashed: the labels of the layer's own grid; dotted: background everywhere", fontsize=8)


def _depth(axis: Axes, result: Result, rows: Sequence[Row]) -> None:
    """One curve per backbone, with its references."""
    backbones = list(dict.fromkeys(layer["backbone"] for layer in result.attrs["layers"]))
    for i, backbone in enumerate(backbones):
        own = [row for row in rows if row.backbone == backbone]
        shown = [row for row in own if row.kind == VALUE]
        value, low, high = (
            np.array([np.nan if getattr(row, end) is None else getattr(row, end) for row in shown])
            for end in ("value", "low", "high")
        )
        depth, colour = np.linspace(0, 1, len(shown)), COLOURS[i % len(COLOURS)]
        if len(shown) == 1:
            axis.errorbar(depth, value, [value - low, high - value], color=colour, linewidth=1.0, capsize=2)
        axis.fill_between(depth, low, high, color=colour, alpha=0.25, linewidth=0)
        axis.plot(depth, value, label=backbone, color=colour, marker=MARKERS[i % len(MARKERS)], ms=3.5, linewidth=1.0)
        references = [row for row in own if row.kind == REFERENCE]  # two of each layer: its grid's, the background's
        for start, style in ((0, "--"), (1, ":")):
            level = [np.nan if row.value is None else row.value for row in references[start::2]]
            axis.plot(depth, level, color=colour, linestyle=style, linewidth=0.8, marker="_" if len(depth) == 1 else "")
    axis.set_xlim(-0.04, 1.04)
    axis.set_ylim(-0.02, 1.02)
    axis.set_xlabel("depth (0 first layer, 1 last)")


def _differences(axis: Axes, result: Result, rows: Sequence[Row]) -> None:
    """One line per pair of layers, named by their backbones and grids."""
    grids = {(one["backbone"], one["tap"]): grid_text(one["grid"]) for one in result.attrs["layers"]}
    names = [
        f"{row.backbone}, {grids[row.backbone, row.layer]}\n− {row.backbone_b}, {grids[row.backbone_b, row.layer_b]}"
        for row in rows
    ]
    ends = [[np.nan if end is None else end for end in (row.value, row.low, row.high)] for row in rows]
    value, low, high = np.array(ends, dtype=np.float64).T
    lines = np.arange(len(rows))
    axis.errorbar(
        value, lines, xerr=[value - low, high - value], fmt="o", color="black", ms=3.5, capsize=2, linewidth=1
    )
    axis.axvline(0, color="0.5", linewidth=0.6)
    axis.set_yticks(lines, names, fontsize=6)
    axis.set_ylim(len(rows) - 0.5, -0.5)
    axis.locator_params(axis="x", nbins=4)
