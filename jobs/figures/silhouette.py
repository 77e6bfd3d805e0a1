"""The figure of `cvbench analyze silhouette`: bars per data set and backbone, or curves by depth.

The same result gives the same bytes with the same matplotlib, as for every figure (see `cvbench.jobs.figures.base`).
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from cvbench.engine.analyses.base import Result
from cvbench.engine.analyses.silhouette.result import silhouette_rows
from cvbench.jobs.figures.base import COLOURS, MARKERS, save_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Row = dict[str, Any]
MAX_WIDTH = 13.0  # inches, of all panels of a row


def silhouette_figure(results: Sequence[Result], stem: Path, formats: Sequence[str] = ("svg", "png")) -> list[Path]:
    """Draw silhouette results beside each other, each number with its interval, all on one scale.

    One layer per backbone: bars, a panel per metric and space, a group per data set (Table 1 of the study); of results
    that differ in nothing of this, the one with the most samples. With more layers: curves over the depth of the
    backbone, a panel per data set, metric and space.

    Args:
        results: Of `silhouette`; `attrs` names `dataset`, `split` and `view`.
        stem: Path without suffix; folders are made. `stem.csv` gets the rows (see `silhouette_rows`).
        formats: Among svg, png and pdf.

    Returns:
        The files written, the CSV last.

    Raises:
        UsageError: another format.
    """
    rows = [row for result in results for row in _rows(result)]
    deep = len(single_layers(results)) < len(results)
    return save_figure(lambda: _draw(rows if deep else list(_distinct(rows)), deep), rows, stem, formats)


def _rows(result: Result) -> Iterator[Row]:
    place = {key: result.attrs[key] for key in ("dataset", "split", "view")}
    yield from ({**place, **row} for row in silhouette_rows(result))


def single_layers(results: Sequence[Result]) -> list[Result]:
    """The results that have one layer of each backbone."""

    def names(result: Result) -> list[str]:
        return [layer["backbone"] for layer in result.attrs["layers"]]

    return [result for result in results if len(names(result)) == len(set(names(result)))]


def _distinct(rows: Sequence[Row]) -> Iterable[Row]:
    kept: dict[tuple[str, ...], Row] = {}
    for row in rows:
        key = (_place(row), row["backbone"], _way(row))
        if key not in kept or (row["samples"], row["scored"]) > (kept[key]["samples"], kept[key]["scored"]):
            kept[key] = row
    return kept.values()


def _draw(rows: Sequence[Row], deep: bool) -> Figure:
    from matplotlib.figure import Figure

    backbones = list(dict.fromkeys(row["backbone"] for row in rows))
    panels: dict[tuple[str, ...], list[Row]] = {}
    for row in rows:
        panels.setdefault((_place(row), _way(row)) if deep else (_way(row),), []).append(row)
    groups = 1 if deep else max(len({_place(row) for row in panel}) for panel in panels.values())
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


def _bars(axis: Axes, panel: Sequence[Row], backbones: Sequence[str]) -> None:
    places = list(dict.fromkeys(_place(row) for row in panel))
    thick = 0.8 / len(backbones)
    for b, backbone in enumerate(backbones):
        mine = [row for row in panel if row["backbone"] == backbone]
        at = np.array([places.index(_place(row)) + (b - (len(backbones) - 1) / 2) * thick for row in mine])
        value, *ends = (np.array([row[key] for row in mine]) for key in ("micro", "micro_low", "micro_high"))
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


def _curves(axis: Axes, panel: Sequence[Row], backbones: Sequence[str]) -> None:
    for b, backbone in enumerate(backbones):
        mine = [row for row in panel if row["backbone"] == backbone]
        depths = np.linspace(0, 1, len(mine))
        value, low, high = (np.array([row[key] for row in mine]) for key in ("micro", "micro_low", "micro_high"))
        colour = COLOURS[b % len(COLOURS)]
        axis.fill_between(depths, low, high, color=colour, alpha=0.25, linewidth=0)
        axis.plot(depths, value, color=colour, marker=MARKERS[b % len(MARKERS)], ms=4, linewidth=1.0, label=backbone)
    axis.set_xlim(-0.02, 1.02)
    axis.set_xlabel("depth (0 first layer, 1 last)")


def _place(row: Row) -> str:
    return f"{row['dataset']}/{row['split']}"


def _way(row: Row) -> str:
    return f"{row['metric']}, view {row['view']}\n{row['space']}"
