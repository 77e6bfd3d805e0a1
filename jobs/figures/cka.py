"""The figure of `cvbench analyze cka`: heat maps within each backbone and across each pair."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from cvbench.engine.analyses.base import Result
from cvbench.jobs.figures.base import fitted
from cvbench.jobs.figures.stages import layer_axis
from cvbench.jobs.reading.views import MAPS, view_words
from cvbench.jobs.results.row import Row

if TYPE_CHECKING:
    from matplotlib.figure import Figure

PANELS_PER_ROW = 2
ESTIMATORS = {"minibatch": "HSIC1, minibatch", "debiased": "HSIC1, all samples", "biased": "HSIC0, biased"}


@dataclass(frozen=True)
class HeatMap:
    """CKA of the layers of one backbone (rows) against those of another or the same (columns)."""

    row: str
    column: str
    row_taps: list[str]
    column_taps: list[str]
    values: NDArray[np.float64]


def cka_figure(result: Result, rows: Sequence[Row]) -> Figure:
    """Heat maps of a CKA result: one panel within each backbone, then one per pair of backbones.

    All panels share one colour scale from 0 to 1; the first layer is at the bottom left. Values outside the scale take
    its end colours, and the colour bar then ends in a point; undefined entries are grey.
    """
    return _draw([(_title(result), list(_panels(result)))], _label(result))


def cka_overview(results: Sequence[Result], rows: Sequence[Row]) -> Figure | None:
    """Heat maps of all positions, and below those of other views of the same backbones and samples' data set.

    Of results that differ in none of this, the one of the most samples. Estimators are not mixed: the minibatch one is
    drawn. None if no data set has all positions and another view.
    """
    kept: dict[tuple[str, ...], dict[str, Result]] = {}
    for result in results:
        attrs = result.attrs
        if attrs["estimator"] != "minibatch":
            continue
        names = dict.fromkeys(layer["backbone"] for layer in attrs["layers"])
        views = kept.setdefault((attrs["dataset"], attrs["split"], *names), {})
        other = views.get(attrs["view"])
        if other is None or attrs["samples"] > other.attrs["samples"]:
            views[attrs["view"]] = result
    shown = [
        views[view]
        for views in kept.values()
        for view in sorted(views, key=lambda view: view != MAPS)
        if MAPS in views and len(views) > 1
    ]
    blocks = [(f"{one.attrs['dataset']}/{one.attrs['split']}: {_title(one)}", list(_panels(one))) for one in shown]
    return _draw(blocks, _label(shown[0])) if shown else None


def _title(result: Result) -> str:
    return f"linear CKA, {view_words(result.attrs)}" + (f" (view {view})" if (view := result.attrs.get("view")) else "")


def _panels(result: Result) -> Iterator[HeatMap]:
    layers: list[Mapping[str, str]] = result.attrs["layers"]
    values = result.data["cka"][1]
    names = list(dict.fromkeys(layer["backbone"] for layer in layers))
    members = {name: [i for i, layer in enumerate(layers) if layer["backbone"] == name] for name in names}
    for row, column in [*((name, name) for name in names), *itertools.combinations(names, 2)]:
        taps = {name: [layers[i]["tap"] for i in members[name]] for name in (row, column)}
        yield HeatMap(row, column, taps[row], taps[column], values[np.ix_(members[row], members[column])])


def _draw(blocks: Sequence[tuple[str, Sequence[HeatMap]]], label: str) -> Figure:
    """Blocks of panels below each other, each under its title."""
    from matplotlib import colormaps
    from matplotlib.figure import Figure

    columns = min(PANELS_PER_ROW, max(len(panels) for _, panels in blocks))
    lines = [math.ceil(len(panels) / columns) for _, panels in blocks]
    figure = Figure(figsize=(4.1 * columns + 0.7, 4.4 * sum(lines) + 0.3 * len(blocks)), layout="constrained")
    colours = colormaps["viridis"].with_extremes(bad="0.8")  # even in lightness, told apart by colour-blind readers
    parts = figure.subfigures(len(blocks), 1, squeeze=False, height_ratios=lines).ravel()
    for part, (title, panels), rows in zip(parts, blocks, lines, strict=True):
        part.suptitle(title)
        axes = part.subplots(rows, columns, squeeze=False).ravel()
        for axis, panel in zip(axes, panels, strict=False):
            image = axis.imshow(panel.values, cmap=colours, vmin=0, vmax=1, origin="lower", aspect="auto")
            axis.set_box_aspect(1)
            axis.set_title(fitted(panel.row if panel.row == panel.column else f"{panel.row} × {panel.column}"))
            layer_axis(axis, "x", panel.column_taps, panel.column)
            layer_axis(axis, "y", panel.row_taps, panel.row)
        for axis in axes[len(panels) :]:
            axis.set_axis_off()
        style: dict[str, Any] = {"shrink": 0.8 / rows, "aspect": 16, "anchor": (0.0, 1.0), "pad": 0.02}
        bar = part.colorbar(image, ax=axes.tolist(), extend=_extend(panels), **style)
        bar.set_label(label)
    return figure


def _extend(panels: Sequence[HeatMap]) -> str:
    """Choose the pointed ends of the colour bar: those beyond which values lie."""
    beyond = np.concatenate([panel.values.ravel() for panel in panels])
    low, high = bool((beyond < -1e-9).any()), bool((beyond > 1 + 1e-9).any())
    return {(False, False): "neither", (True, False): "min", (False, True): "max", (True, True): "both"}[low, high]


def _label(result: Result) -> str:
    return f"linear CKA ({ESTIMATORS[result.attrs['estimator']]})"
