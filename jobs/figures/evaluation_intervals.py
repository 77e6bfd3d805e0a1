"""Numbers with their intervals, one line per factor and one mark per backbone: the figure of most evaluations."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from cvbench.engine.analyses.base import Result
from cvbench.engine.statistics.verdict import Verdict
from cvbench.jobs.figures.base import COLOURS, MARKERS
from cvbench.jobs.results.row import CHANCE, DIFFERENCE, REFERENCE, Row

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


@dataclass(frozen=True)
class IntervalPanel:
    """Texts, lines and marks of a figure.

    Attributes:
        title, axis: Texts.
        line: Row -> which line it is on; None: it is not shown.
        hollow: Row -> whether its mark is hollow: what the filled one is compared with.
        hollow_means: What a hollow mark is, for the legend; "" if there are none.
        reference: Where a vertical line stands, and what it means.
        percent: Values are shares, shown in percent.
        difference: Metric whose differences between backbones by factor are drawn beside, on the same lines; "": none.
    """

    title: str
    axis: str
    line: Callable[[Row], str | None]
    hollow: Callable[[Row], bool] = lambda row: False
    hollow_means: str = ""
    reference: tuple[float, str] | None = None
    percent: bool = False
    difference: str = ""


def interval_figure(panel: IntervalPanel) -> Callable[[Result, Sequence[Row]], Figure]:
    """The drawing function of an entry; lines keep the order of the rows, undefined numbers are left out."""
    return lambda result, rows: _draw(rows, panel)


def differences_of(rows: Sequence[Row], metric: str) -> list[Row]:
    """Differences of the pairs of backbones in a metric; undefined ones are left out."""
    return [row for row in rows if (row.metric, row.kind) == (metric, DIFFERENCE) and row.value is not None]


def chance_levels(rows: Sequence[Row], shown: Sequence[tuple[str, Row]]) -> dict[str, float]:
    """Line -> what guessing would give there, of the lines for which the rows say it.

    Args:
        rows: All of a result.
        shown: Each line with one of its rows.
    """
    known = {(row.dataset, row.metric): row.value for row in rows if (row.kind, row.factor) == (REFERENCE, CHANCE)}
    found = {line: known.get((row.dataset, row.metric)) for line, row in shown}
    return {line: level for line, level in found.items() if level is not None}


def _draw(rows: Sequence[Row], panel: IntervalPanel) -> Figure:
    from matplotlib.figure import Figure

    shown = [(line, row) for row in rows if (line := panel.line(row)) is not None and row.value is not None]
    lines = list(dict.fromkeys(line for line, _ in shown))
    names = list(dict.fromkeys(row.backbone for _, row in shown))
    height = 1.4 + len(lines) * max(0.26, 0.13 * len(names) + 0.08)
    compared = differences_of(rows, panel.difference)
    figure = Figure(figsize=(9.6 if compared else 6.4, height), layout="constrained")
    grid = figure.add_gridspec(1, 2 if compared else 1, width_ratios=[2, 1] if compared else None)
    axis = figure.add_subplot(grid[0, 0])
    step = 0.7 / max(len(names), 1)
    for line, row in shown:
        number = names.index(row.backbone)
        at = lines.index(line) + (number - (len(names) - 1) / 2) * step
        _mark(axis, at, row, number, panel)
    levels = chance_levels(rows, shown)
    for line, level in levels.items():
        at, by = lines.index(line), 100 if panel.percent else 1
        axis.plot([by * level] * 2, [at - 0.45, at + 0.45], color="0.4", linewidth=1.0, linestyle=":", zorder=1)
    for y in range(len(lines) - 1):
        axis.axhline(y + 0.5, color="0.9", linewidth=0.6, zorder=0)
    if panel.reference is not None:
        axis.axvline(panel.reference[0], color="0.4", linewidth=0.8, linestyle="--", zorder=1)
        place: dict[str, Any] = {
            "xycoords": ("data", "axes fraction"),
            "xytext": (3, -2),
            "textcoords": "offset points",
        }
        axis.annotate(panel.reference[1], (panel.reference[0], 1), **place, fontsize=6, color="0.4", va="top")
    axis.set_yticks(range(len(lines)), lines)
    axis.set_ylim(len(lines) - 0.5, -0.5 if panel.reference is None else -0.8)
    axis.set_xlabel(f"{panel.axis} (%)" if panel.percent else panel.axis)
    axis.set_title(panel.title)
    axis.spines[["top", "right"]].set_visible(False)
    _legend(figure, names, panel, any(panel.hollow(row) for _, row in shown), guessing=bool(levels))
    if compared:
        place_of = {row.factor: lines.index(line) for line, row in shown if row.factor}
        beside = figure.add_subplot(grid[0, 1], sharey=axis)
        beside.tick_params(labelleft=False)
        draw_differences(beside, [row for row in compared if row.factor in place_of], place_of)
        beside.set_xlabel(f"{panel.difference} difference\nfilled: resolved, after Holm")
        beside.spines[["top", "right"]].set_visible(False)
    return figure


def draw_differences(axis: Axes, shown: Sequence[Row], lines: Mapping[str, int], by: float = 1) -> None:
    """Differences of pairs of backbones with their intervals, one line a factor; filled where they are resolved.

    Args:
        axis: Its lines count downwards.
        shown: The differences.
        lines: Factor -> its line.
        by: Scale of the values.
    """
    pairs = list(dict.fromkeys(row.subject for row in shown))
    for number, pair in enumerate(pairs):
        colour, marker = COLOURS[(number + 2) % len(COLOURS)], MARKERS[number % len(MARKERS)]
        for row in shown:
            if row.subject != pair or row.value is None:
                continue
            at = lines[row.factor] + (number - (len(pairs) - 1) / 2) * 0.7 / len(pairs)
            if row.low is not None and row.high is not None:
                axis.plot([by * row.low, by * row.high], [at, at], color=colour, linewidth=1.1, solid_capstyle="butt")
            face = colour if row.verdict == Verdict.RESOLVED.value else "white"
            axis.plot([by * row.value], [at], marker=marker, ms=4.5, mfc=face, mec=colour, mew=1.0, linestyle="")
    axis.axvline(0, color="0.4", linewidth=0.8, linestyle="--", zorder=1)
    axis.set_title("\n".join(pairs), fontsize=7)


def _mark(axis: Axes, at: float, row: Row, number: int, panel: IntervalPanel) -> None:
    by = 100 if panel.percent else 1
    assert row.value is not None
    colour, marker = COLOURS[number % len(COLOURS)], MARKERS[number % len(MARKERS)]
    if row.low is not None and row.high is not None:
        axis.plot([by * row.low, by * row.high], [at, at], color=colour, linewidth=1.1, solid_capstyle="butt")
    face = "white" if panel.hollow(row) else colour
    axis.plot([by * row.value], [at], marker=marker, ms=4.5, mfc=face, mec=colour, mew=1.0, linestyle="")


def _legend(figure: Figure, names: Sequence[str], panel: IntervalPanel, hollow: bool, *, guessing: bool) -> None:
    from matplotlib.lines import Line2D

    handles = [
        Line2D([], [], color=COLOURS[i % len(COLOURS)], marker=MARKERS[i % len(MARKERS)], ms=4.5, label=name)
        for i, name in enumerate(names)
        if name  # effects are of no backbone
    ]
    if hollow:
        empty = Line2D([], [], color="0.3", marker="o", mfc="white", linestyle="", ms=4.5, label=panel.hollow_means)
        handles.append(empty)
    if guessing:
        handles.append(Line2D([], [], color="0.4", linestyle=":", label=CHANCE))
    if handles:
        figure.legend(handles=handles, loc="outside lower center", ncols=2, frameon=False, fontsize=7)
