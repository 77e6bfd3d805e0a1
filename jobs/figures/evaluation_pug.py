"""The figure of `cvbench eval pug`: accuracy at every value of what varies, one panel per subset."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from cvbench.engine.analyses.base import Result
from cvbench.jobs.figures.base import COLOURS, MARKERS
from cvbench.jobs.figures.evaluation_intervals import differences_of, draw_differences
from cvbench.jobs.results.row import CHANCE, REFERENCE, VALUE, Row

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

GROUP, AT_VALUE = "factor accuracy", "accuracy at a value"
COLUMNS = 3
UNITS = {"Pitch": "degrees", "Yaw": "degrees", "Roll": "degrees", "Scale": "scale"}
MANY = 12  # values beyond which their names do not fit


def pug_figure(result: Result, rows: Sequence[Row]) -> Figure:
    """The factors, their differences, then a curve per subset: accuracy at every value, with intervals over objects.

    Dotted: what guessing gives, where the rows say it. Subsets of many values (the worlds) are sorted by the first
    backbone's accuracy and not named one by one.
    """
    from matplotlib.figure import Figure

    groups = [row for row in rows if (row.metric, row.kind) == (GROUP, VALUE)]
    names = list(dict.fromkeys(row.backbone for row in groups))
    subsets = list(dict.fromkeys(row.factor.partition("=")[0] for row in rows if row.metric == AT_VALUE))
    panels = [("factors", groups)]
    panels += [(s, [r for r in rows if r.metric == AT_VALUE and r.factor.startswith(f"{s}=")]) for s in subsets]
    compared = differences_of(rows, GROUP)
    level = next((row.value for row in rows if (row.metric, row.kind) == (GROUP, REFERENCE)), None)
    panels[1:1] = [("", compared)] if compared else []
    deep = math.ceil(len(panels) / COLUMNS)
    figure = Figure(figsize=(9.5, 2.5 * deep + 0.4), layout="constrained")
    first: Axes | None = None
    for number, (title, own) in enumerate(panels):
        if own is compared:
            _differences(figure.add_subplot(deep, COLUMNS, number + 1), own)
            continue
        axis = figure.add_subplot(deep, COLUMNS, number + 1, sharey=first)
        first = first or axis
        _panel(axis, title, own, names)
        if level is not None:
            axis.axhline(100 * level, color="0.4", linewidth=1.0, linestyle=":", zorder=1, label=CHANCE)
        if number % COLUMNS == 0:
            axis.set_ylabel("accuracy (%)")
        else:
            axis.tick_params(labelleft=False)
    assert first is not None
    handles, labels = first.get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=2, frameon=False, fontsize=7)
    return figure


def _differences(axis: Axes, shown: Sequence[Row]) -> None:
    factors = list(dict.fromkeys(row.factor for row in shown))
    draw_differences(axis, shown, {factor: i for i, factor in enumerate(factors)}, by=100)
    axis.set_yticks(range(len(factors)), factors, fontsize=6)
    axis.set_ylim(len(factors) - 0.5, -0.5)
    axis.set_xlabel("difference in points; filled: resolved, after Holm", fontsize=6)
    axis.spines[["top", "right"]].set_visible(False)


def _panel(axis: Axes, title: str, rows: Sequence[Row], names: Sequence[str]) -> None:
    values = list(dict.fromkeys(row.factor.rpartition("=")[2] for row in rows))
    if len(values) > MANY:
        first = {row.factor.rpartition("=")[2]: row.value or 0.0 for row in rows if row.backbone == names[0]}
        values.sort(key=lambda value: first.get(value, 0.0))
    continuous = title != "factors" and all(map(_is_number, values))
    for number, name in enumerate(names):
        own = {row.factor.rpartition("=")[2]: row for row in rows if row.backbone == name and row.value is not None}
        at = [i for i, value in enumerate(values) if value in own]
        found = [own[values[i]] for i in at]
        colour = COLOURS[number % len(COLOURS)]
        means = [100 * (row.value or 0.0) for row in found]
        shift = 0.12 * (number - (len(names) - 1) / 2)  # so that intervals do not hide each other
        places = [i + shift for i in at]
        axis.plot(
            places,
            means,
            linestyle="-" if continuous else "none",
            color=colour,
            marker=MARKERS[number % len(MARKERS)],
            ms=3,
            linewidth=1,
            label=name,
        )
        for i, row in zip(places, found, strict=True):
            if row.low is not None and row.high is not None:
                axis.plot([i, i], [100 * row.low, 100 * row.high], color=colour, linewidth=0.9)
    axis.set_title(title.replace("_", " ").lower())
    if len(values) > MANY:
        axis.set_xticks([])
        axis.set_xlabel(f"{len(values)} values, by accuracy of {names[0]}", fontsize=6)
    else:
        axis.set_xticks(range(len(values)), values, rotation=0 if max(map(len, values)) < 5 else 35, fontsize=6)
        axis.set_xlabel(UNITS.get(title.rpartition("_")[2], ""), fontsize=6)
    axis.spines[["top", "right"]].set_visible(False)


def _is_number(text: str) -> bool:
    """Whether neighbouring values may be joined by a line; the default is a number that is not written."""
    try:
        float(text)
    except ValueError:
        return text == "default"
    return True
