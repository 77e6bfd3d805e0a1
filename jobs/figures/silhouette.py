"""The figure of `cvbench analyze silhouette`: bars per data set and backbone, or curves by depth.

The same result gives the same bytes with the same matplotlib, as for every figure (see `cvbench.jobs.figures.base`).
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from cvbench.engine.analyses.base import Result
from cvbench.jobs.figures.base import COLOURS, MARKERS
from cvbench.jobs.results.row import Row

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

F64 = NDArray[np.float64]
MAX_WIDTH = 13.0  # inches, of all panels of a row


@dataclass(frozen=True)
class Point:
    """The mean over samples of one layer by one metric; ends of its interval are NaN without one.

    Attributes:
        place: Data set and split.
        way: Metric, view and space.
        size: Samples, and how many of them are scored.
    """

    place: str
    way: str
    backbone: str
    value: float
    low: float
    high: float
    size: tuple[int, int]


def silhouette_figure(result: Result, rows: Sequence[Row]) -> Figure:
    """Draw one result, see `silhouettes_figure`."""
    return _draw([result])


def silhouettes_figure(results: Sequence[Result], rows: Sequence[Row]) -> Figure:
    """Draw results beside each other, each number with its interval, all on one scale.

    One layer per backbone: bars, a panel per metric and space, a group per data set (Table 1 of the study). With more
    layers: curves over the depth of the backbone, a panel per data set, metric and space. Of results that differ in
    nothing of this, the one with the most samples.

    Args:
        results: Of `silhouette`; `attrs` names `dataset`, `split` and `view`.
        rows: Of all of them.
    """
    return _draw(results)


def compared(results: Sequence[Result]) -> Sequence[Result]:
    """Those that can stand beside each other: of one layer of each backbone, or all if none is so."""
    return single_layers(results) or results


def single_layers(results: Sequence[Result]) -> list[Result]:
    """The results that have one layer of each backbone."""

    def names(result: Result) -> list[str]:
        return [layer["backbone"] for layer in result.attrs["layers"]]

    return [result for result in results if len(names(result)) == len(set(names(result)))]


def _points(result: Result) -> Iterator[Point]:
    attrs = result.attrs
    place, size = f"{attrs['dataset']}/{attrs['split']}", (attrs["samples"], attrs["scored_samples"])
    for i, layer in enumerate(attrs["layers"]):
        for j, metric in enumerate(attrs["metrics"]):
            value, low, high = (float(result.data[f"micro{end}"][1][i, j]) for end in ("", "_low", "_high"))
            way = f"{metric}, view {attrs['view']}\n{attrs['space']}"
            yield Point(place, way, layer["backbone"], value, low, high, size)


def _distinct(results: Sequence[Result], *, deep: bool) -> list[Point]:
    """The points to draw: by place and way, of bars also by backbone, those of the result with the most samples."""
    kept: dict[tuple[str, ...], list[Point]] = {}
    for result in results:
        own: dict[tuple[str, ...], list[Point]] = {}
        for point in _points(result):
            own.setdefault((point.place, point.way, "" if deep else point.backbone), []).append(point)
        kept |= {key: new for key, new in own.items() if key not in kept or new[0].size > kept[key][0].size}
    return [point for points in kept.values() for point in points]


def _draw(results: Sequence[Result]) -> Figure:
    from matplotlib.figure import Figure

    deep = len(single_layers(results)) < len(results)
    points = _distinct(results, deep=deep)
    backbones = list(dict.fromkeys(point.backbone for point in points))
    panels: dict[tuple[str, ...], list[Point]] = {}
    for point in points:
        panels.setdefault((point.place, point.way) if deep else (point.way,), []).append(point)
    groups = 1 if deep else max(len({point.place for point in panel}) for panel in panels.values())
    width = 4.2 if deep else max(3.6, 0.9 + 0.55 * groups * len(backbones))
    lines = math.ceil(len(panels) / max(1, int(MAX_WIDTH // width)))
    columns = math.ceil(len(panels) / lines)
    figure = Figure(figsize=(width * columns, 3.2 * lines + 0.4), layout="constrained")
    axes = figure.subplots(lines, columns, squeeze=False, sharey=True).ravel()
    for axis, (title, panel) in zip(axes, panels.items(), strict=False):
        (_curves if deep else _bars)(axis, panel, backbones)
        axis.axhline(0, color="0.2", linewidth=0.6)
        axis.set_title("\n".join(title))
        axis.yaxis.set_tick_params(labelleft=True)
        for side in ("top", "right"):
            axis.spines[side].set_visible(False)
    for axis in axes[::columns]:
        axis.set_ylabel("silhouette, mean over samples")
    for axis in axes[len(panels) :]:
        axis.set_axis_off()
    handles, labels = axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper left", ncols=max(1, int(width * columns // 2.2)), frameon=False)
    return figure


def _bars(axis: Axes, panel: Sequence[Point], backbones: Sequence[str]) -> None:
    places = list(dict.fromkeys(point.place for point in panel))
    thick = 0.8 / len(backbones)
    for b, backbone in enumerate(backbones):
        mine = [point for point in panel if point.backbone == backbone]
        at = np.array([places.index(point.place) + (b - (len(backbones) - 1) / 2) * thick for point in mine])
        value, *ends = _columns(mine)
        low, high = (np.where(np.isnan(end), value, end) for end in ends)  # without an interval a bar stands alone
        colour = COLOURS[b % len(COLOURS)]
        axis.bar(at, value, 0.9 * thick, color=colour, alpha=0.75, label=backbone, edgecolor="0.2", linewidth=0.5)
        reach = np.array([value - low, high - value]).clip(min=0)
        axis.errorbar(at, value, yerr=reach, fmt="none", ecolor="0.1", elinewidth=0.9, capsize=2.5)
        for x, y, bottom, top in zip(at, value, low, high, strict=True):
            up = y >= 0
            axis.annotate(
                label(y),
                (x, top if up else bottom),
                xytext=(0, 3 if up else -3),
                textcoords="offset points",
                ha="center",
                va="bottom" if up else "top",
                fontsize=6,
            )
    axis.set_xticks(range(len(places)), places)
    axis.set_xlim(-0.6, len(places) - 0.4)
    axis.margins(y=0.15)


def label(value: float) -> str:
    """Three digits; what rounds to 0 has no sign.

    >>> label(-0.0004), label(-0.0006)
    ('0.000', '-0.001')
    """
    return f"{value:.3f}".replace("-0.000", "0.000")


def _curves(axis: Axes, panel: Sequence[Point], backbones: Sequence[str]) -> None:
    for b, backbone in enumerate(backbones):
        mine = [point for point in panel if point.backbone == backbone]
        depths = np.linspace(0, 1, len(mine))
        value, low, high = _columns(mine)
        colour = COLOURS[b % len(COLOURS)]
        axis.fill_between(depths, low, high, color=colour, alpha=0.25, linewidth=0)
        axis.plot(depths, value, color=colour, marker=MARKERS[b % len(MARKERS)], ms=4, linewidth=1.0, label=backbone)
    axis.set_xlim(-0.02, 1.02)
    axis.set_xlabel("depth (0 first layer, 1 last)")


def _columns(points: Sequence[Point]) -> tuple[F64, F64, F64]:
    values = np.array([(point.value, point.low, point.high) for point in points], dtype=np.float64).reshape(-1, 3)
    return values[:, 0], values[:, 1], values[:, 2]
