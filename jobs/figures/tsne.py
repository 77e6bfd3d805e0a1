"""The figure of `cvbench analyze tsne`: a map per layer, classes in the same colours everywhere.

The same result gives the same bytes with the same matplotlib, as for every figure (see `cvbench.jobs.figures.base`).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from cvbench.engine.analyses.base import Result
from cvbench.jobs.figures.base import COLOURS, MARKERS
from cvbench.jobs.results.row import Row

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

PANELS_PER_ROW = 3
LEGEND = 20
"""Classes up to which there is a legend, and a mark of its own for each class."""
LABEL, LETTERS = 34, 18
"""Letters of a class name in it at most, and letters that stand on an inch."""
DENSE = 50_000
"""Points above which a panel is a picture: in each cell the mean colour, the darker the more points."""
CELLS = 400
MANY = (*COLOURS, "#8c564b", "#7f7f7f", "#bcbd22")
"""Of up to ten classes no two share a colour; of up to twenty no two share colour and shape."""


def tsne_figure(result: Result, rows: Sequence[Row]) -> Figure:
    """Draw the maps of a t-SNE result, one panel per layer, axes equal and without numbers."""
    from matplotlib.figure import Figure

    layers, maps = result.attrs["layers"], result.data["map"][1]
    own = np.searchsorted(result.attrs["labels"], result.data["label"][1])
    columns = min(PANELS_PER_ROW, len(layers))
    lines = math.ceil(len(layers) / columns)
    figure = Figure(figsize=(4.2 * columns, 4.85 * lines + 0.6), layout="constrained")
    axes = figure.subplots(lines, columns, squeeze=False).ravel()
    several = len({layer["tap"] for layer in layers}) > len({layer["backbone"] for layer in layers})
    for i, (axis, layer) in enumerate(zip(axes, layers, strict=False)):
        _panel(axis, maps[i], own, result)
        axis.set_title(f"{layer['backbone']}  {layer['tap']}" if several else layer["backbone"])
        axis.set_xlabel(_caption(result, i), fontsize=7)
    for axis in axes[len(layers) :]:
        axis.set_axis_off()
    _legend(figure, result)
    return figure


def _panel(axis: Axes, points: NDArray[np.float64], own: NDArray[np.int64], result: Result) -> None:
    classes = len(result.attrs["labels"])
    if len(points) > DENSE:
        picture, extent = density(points, own, _colours(classes))
        axis.imshow(picture, extent=extent, origin="lower", interpolation="nearest")
    else:
        size = float(np.clip(6000 / len(points), 1.0, 14.0))
        shapes = _markers(classes)
        for shape in dict.fromkeys(shapes):
            mine = np.isin(own, [c for c in range(classes) if shapes[c] == shape])
            colours = _colours(classes)[own[mine]]
            style: dict[str, Any] = {"marker": shape, "s": size, "linewidths": 0, "alpha": 0.8, "rasterized": True}
            axis.scatter(points[mine, 0], points[mine, 1], c=colours, **style)
    axis.set_aspect("equal", adjustable="datalim")
    axis.set_box_aspect(1)
    axis.set_xticks([])
    axis.set_yticks([])


def density(
    points: NDArray[np.float64], own: NDArray[np.int64], colours: NDArray[np.float64]
) -> tuple[NDArray[np.float64], tuple[float, float, float, float]]:
    """Picture (CELLS, CELLS, 3) of many points, and its extent: white without points, else the mean colour.

    Args:
        points: (n, 2).
        own: (n,) class of each.
        colours: (K, 3) in 0 .. 1.
    """
    middle = (points.max(axis=0) + points.min(axis=0)) / 2
    half = float((points.max(axis=0) - points.min(axis=0)).max() / 2) * 1.02 or 1.0
    cell = ((points - middle + half) / (2 * half) * CELLS).astype(np.int64).clip(0, CELLS - 1)
    flat = cell[:, 1] * CELLS + cell[:, 0]
    counts = np.bincount(flat, minlength=CELLS * CELLS).astype(np.float64)
    sums = np.stack([np.bincount(flat, colours[own, c], CELLS * CELLS) for c in range(3)], axis=1)
    mean = sums / np.maximum(counts, 1)[:, None]
    strength = (0.25 + 0.75 * np.log1p(counts) / np.log1p(counts.max()))[:, None] * (counts > 0)[:, None]
    picture = (1 - strength) + strength * mean
    extent = (middle[0] - half, middle[0] + half, middle[1] - half, middle[1] + half)
    return picture.reshape(CELLS, CELLS, 3), extent


def _colours(classes: int) -> NDArray[np.float64]:
    """(K, 3): a class has the same colour in every panel. Few classes: told apart without colour vision too."""
    from matplotlib import colormaps
    from matplotlib.colors import to_rgb

    if classes <= LEGEND:
        few = COLOURS if classes <= len(COLOURS) else MANY
        return np.array([to_rgb(few[c % len(few)]) for c in range(classes)])
    # Neighbours in the list of classes get unlike colours: steps of the golden ratio around the map.
    return np.array(colormaps["turbo"](np.arange(classes) * 0.618034 % 1.0))[:, :3]


def _markers(classes: int) -> list[str]:
    if classes > LEGEND:
        return ["o"] * classes
    return [MARKERS[(c + c // len(MANY)) % len(MARKERS)] for c in range(classes)]


def _caption(result: Result, layer: int) -> str:
    measures = result.coords["measure"]

    def shown(name: str) -> str:
        at = layer, measures.index(name)
        value, low, high = (float(result.data[f"measures{end}"][1][at]) for end in ("", "_low", "_high"))
        ends = f" [{low:.3f}, {high:.3f}]" if math.isfinite(low) and math.isfinite(high) else ""
        return f"{value:.3f}{ends}" if math.isfinite(value) else "-"

    return (
        f"trustworthiness (k = 10) {shown('trustworthiness_10')}\n"
        f"kNN purity (k = 10), map {shown('purity_map_10')}\n"
        f"kNN purity (k = 10), features {shown('purity_features_10')}\n"
        f"silhouette of the map {shown('silhouette_map')}\n"
        f"KL divergence {float(result.data['kl'][1][layer, 0]):.3f} nat"
    )


def _legend(figure: Figure, result: Result) -> None:
    from matplotlib.lines import Line2D

    attrs = result.attrs
    names = attrs["class_names"]
    said = (
        f"t-SNE ({attrs['backend']} {attrs['backend_version']}), perplexity {attrs['perplexity']:g}, "
        f"{attrs['samples']} images; only neighbourhoods can be read; [ ]: {attrs['confidence']:.0%} interval"
    )
    if len(names) > LEGEND:
        figure.supxlabel(f"{said}; {len(names)} classes, each in its own colour", fontsize=7)
        return
    figure.supxlabel(said, fontsize=7)
    colours, shapes = _colours(len(names)), _markers(len(names))
    labels = [name if len(name) <= LABEL else f"{name[: LABEL - 1]}…" for name in names]
    marks = [
        Line2D([], [], linestyle="", marker=shape, color=tuple(colour), markersize=5, label=label)
        for shape, colour, label in zip(shapes, colours, labels, strict=True)
    ]
    fitting = int(figure.get_figwidth() * LETTERS / (max(map(len, labels)) + 7))  # a mark and its gaps: 7 letters
    columns = min(len(names), 10, max(fitting, 1))
    figure.legend(handles=marks, loc="outside upper center", ncols=columns, frameon=False, fontsize=7)
