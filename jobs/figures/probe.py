"""The figure of `cvbench transfer probe`: top-1 and mean per class, one point per data set, backbone and recipe."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from cvbench.jobs.figures.base import COLOURS, MARKERS, save_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Row = Mapping[str, Any]
PANELS = {"top1": "top-1 accuracy (%)", "mean_per_class": "mean of the classes' recalls (%)"}


def probe_figure(rows: Sequence[Row], confidence: float, stem: Path, formats: Sequence[str]) -> list[Path]:
    """Draw probe results beside each other, each number with its interval.

    Args:
        rows: Of one or several results, each row with its `dataset`.
        confidence: Of the intervals, between 0 and 1.
        stem: Path without suffix; folders are made. `stem.csv` gets the rows.
        formats: Among svg, png and pdf.

    Returns:
        The files written, the CSV last.

    Raises:
        UsageError: another format.
    """
    return save_figure(lambda: _draw(rows, confidence), rows, stem, formats)


def _series(row: Row, many: bool) -> str:
    return f"{row['backbone']}, {row['recipe']}" if many else str(row["backbone"])


def _draw(rows: Sequence[Row], confidence: float) -> Figure:
    from matplotlib.figure import Figure

    many = len({row["recipe"] for row in rows}) > 1
    places = list(dict.fromkeys(_place(row, rows) for row in rows))
    names = list(dict.fromkeys(_series(row, many) for row in rows))
    height = 1.6 + len(places) * (0.25 + 0.16 * len(names))
    figure = Figure(figsize=(8.4, height), layout="constrained")
    axes = figure.subplots(1, 2, sharey=True)
    for axis, (key, label) in zip(axes, PANELS.items(), strict=True):
        for s, name in enumerate(names):
            mine = [row for row in rows if _series(row, many) == name]
            shift = (s - (len(names) - 1) / 2) * 0.7 / len(names)
            _points(axis, key, mine, [places.index(_place(row, rows)) + shift for row in mine], s, name)
        axis.set_xlabel(label)
        axis.grid(axis="x", color="0.9", linewidth=0.6)
        axis.set_axisbelow(True)
        for side in ("top", "right"):
            axis.spines[side].set_visible(False)
    axes[0].set_yticks(range(len(places)), places)
    axes[0].set_ylim(len(places) - 0.4, -0.6)  # the first on top
    handles, labels = axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper left", ncols=2, frameon=False)
    figure.supxlabel(f"linear probes on frozen features; bars: {confidence:.0%} interval over test samples", fontsize=7)
    return figure


def _place(row: Row, rows: Sequence[Row]) -> str:
    """The data set; with several layers of a backbone, the layer too."""
    layers = {(other["backbone"], other["tap"]) for other in rows}
    deep = len(layers) > len({backbone for backbone, _ in layers})
    return f"{row['dataset']}, {row['tap']}" if deep else str(row["dataset"])


def _points(axis: Axes, key: str, rows: Sequence[Row], at: Sequence[float], series: int, name: str) -> None:
    value, low, high = (
        100 * np.array([np.nan if row[f"{key}{end}"] is None else row[f"{key}{end}"] for row in rows])
        for end in ("", "_low", "_high")
    )
    reach = np.array([value - low, high - value]).clip(min=0)
    colour, marker = COLOURS[series % len(COLOURS)], MARKERS[series % len(MARKERS)]
    axis.errorbar(value, at, xerr=reach, fmt=marker, color=colour, ms=4, elinewidth=1.0, capsize=2.0, label=name)
    for x, y in zip(value, at, strict=True):
        axis.annotate(f"{x:.1f}", (x, y), xytext=(0, 4), textcoords="offset points", ha="center", fontsize=6)
