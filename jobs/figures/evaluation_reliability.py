"""The reliability diagram: accuracy by confidence, the gap between them, and how many samples each bar stands for."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from cvbench.engine.analyses.base import Result
from cvbench.jobs.figures.base import COLOURS
from cvbench.jobs.results.row import Row

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

ACCURACY, CONFIDENCE = "bin accuracy", "bin confidence"
PANELS_PER_ROW = 4


def reliability_figure(result: Result, rows: Sequence[Row]) -> Figure:
    """One column per backbone: the bars above, the share of the samples in each bin below.

    A bar is the accuracy in its bin with Wilson's interval; a point is the mean confidence there. The gap between the
    two is what the ECE averages. Empty bins have no bar.
    """
    from matplotlib.figure import Figure

    names = list(dict.fromkeys(row.backbone for row in rows if row.metric == ACCURACY))
    wide = min(len(names), PANELS_PER_ROW)
    deep = -(-len(names) // PANELS_PER_ROW)
    figure = Figure(figsize=(3.1 * wide + 0.4, 4.2 * deep), layout="constrained")
    grid = figure.add_gridspec(2 * deep, wide, height_ratios=[3, 1] * deep)
    for number, name in enumerate(names):
        row, column = divmod(number, PANELS_PER_ROW)
        bars = figure.add_subplot(grid[2 * row, column])
        counts = figure.add_subplot(grid[2 * row + 1, column], sharex=bars)
        own = [r for r in rows if r.backbone == name and not r.backbone_b]
        _panel(bars, counts, own)
        ece = next((r for r in own if r.metric == "ECE" and not r.factor), None)
        debiased = next((r for r in own if r.metric == "ECE, debiased" and not r.factor), None)
        bars.set_title(
            name + ("" if ece is None or ece.value is None else f"\nECE {ece.value:.3f}{_debiased(debiased)}"),
            fontsize=8,
        )
        if column == 0:
            bars.set_ylabel("accuracy in the bin")
            counts.set_ylabel("samples (%)")
        counts.set_xlabel("confidence")
    _legend(figure)
    return figure


def _debiased(row: Row | None) -> str:
    """Behind the plain ECE, which has no interval: the one that has."""
    if row is None or row.value is None:
        return ""
    ends = "no interval" if row.low is None or row.high is None else f"{row.low:.3f}, {row.high:.3f}"
    return f", debiased {row.value:.3f} [{ends}]"


def _legend(figure: Figure) -> None:
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    handles = [
        Patch(color=COLOURS[5], label="accuracy"),
        Line2D([], [], color="black", linewidth=0.7, label="its 95 % interval"),
        Line2D([], [], color=COLOURS[1], marker="o", ms=2.5, linewidth=1.4, label="gap to the mean confidence"),
    ]
    figure.legend(handles=handles, loc="outside lower center", ncols=3, frameon=False, fontsize=7)


def _panel(bars: Axes, counts: Axes, rows: Sequence[Row]) -> None:
    accuracy = [row for row in rows if row.metric == ACCURACY]
    confidence = {row.factor: row.value for row in rows if row.metric == CONFIDENCE}
    total = sum(row.n for row in accuracy)
    bars.plot([0, 1], [0, 1], color="0.4", linewidth=0.8, linestyle="--")
    for row in accuracy:
        low, high = map(float, re.findall(r"[0-9.e-]+", row.factor))
        box: dict[str, Any] = {"align": "edge", "edgecolor": "white", "linewidth": 0.5}
        counts.bar(low, 100 * row.n / total, high - low, color=COLOURS[0], **box)
        mean = confidence.get(row.factor)
        if row.value is None or row.low is None or row.high is None or mean is None:
            continue
        bars.bar(low, row.value, high - low, color=COLOURS[5], **box)
        bars.plot([mean, mean], [row.value, mean], color=COLOURS[1], linewidth=1.4)
        bars.plot([mean, mean], [row.low, row.high], color="black", linewidth=0.7)
        bars.plot([mean], [mean], marker="o", ms=2.5, color=COLOURS[1], linestyle="")
    bars.set_xlim(0, 1)
    bars.set_ylim(0, 1)
    bars.tick_params(labelbottom=False)
    for axis in (bars, counts):
        axis.spines[["top", "right"]].set_visible(False)
