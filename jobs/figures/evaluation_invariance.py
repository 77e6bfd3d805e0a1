"""Accuracy and probability of the true class over the settings of a transform, one curve with a band per backbone."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from cvbench.engine.analyses.base import Result
from cvbench.jobs.figures.base import COLOURS, MARKERS
from cvbench.jobs.results.row import Row

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

PANELS = (("top1", "top-1 accuracy (%)"), ("true-class probability", "mean probability of the true class (%)"))


def places(settings: Sequence[str]) -> tuple[list[float], bool]:
    """Places of the settings on the axis, and whether they are to scale.

    One number each stands at its value, and so do pairs that lie along one line; other pairs are evenly spaced.

    >>> places(["scale=1", "scale=3"])
    ([1.0, 3.0], True)
    """
    values = [tuple(float(word) for word in text.partition("=")[2].split(",")) for text in settings]
    if all(len(set(value)) == 1 for value in values):
        return [value[0] for value in values], True
    for axis in (0, 1):
        if all(value[1 - axis] == 0 for value in values):
            return [value[axis] for value in values], True
    return [float(i) for i in range(len(values))], False


def invariance_figure(result: Result, rows: Sequence[Row]) -> Figure:
    """Two panels beside each other; the reference of each backbone is a hollow mark."""
    from matplotlib.figure import Figure

    shown = [row for row in rows if row.metric in dict(PANELS) and row.value is not None]
    names = list(dict.fromkeys(row.backbone for row in shown))
    settings = sorted(dict.fromkeys(row.factor for row in shown), key=_order)
    figure = Figure(figsize=(6.8, 3.1), layout="constrained")
    for number, (metric, label) in enumerate(PANELS):
        axis = figure.add_subplot(1, len(PANELS), number + 1)
        for i, name in enumerate(names):
            own = {row.factor: row for row in shown if row.metric == metric and row.backbone == name}
            _curve(axis, i, settings, own, f"{result.attrs['transform']}={result.attrs['start'][name]}")
        _axis(axis, settings, label, str(result.attrs["means"]))
        axis.set_ylim(0, 105 * max((row.high if row.high is not None else row.value or 0 for row in shown), default=1))
    figure.suptitle(f"{rows[0].dataset}: {result.attrs['transform']}, with 95 % intervals", fontsize=9)
    _legend(figure, names)
    return figure


def _curve(axis: Axes, number: int, settings: Sequence[str], own: dict[str, Row], start: str) -> None:
    colour, marker = COLOURS[number % len(COLOURS)], MARKERS[number % len(MARKERS)]
    at, scaled = places(settings)
    where = dict(zip(settings, at, strict=True))
    there = [row for factor in settings if (row := own.get(factor)) is not None]
    x, y, low, high = ([] for _ in range(4))
    for row in there:
        assert row.value is not None
        x.append(where[row.factor])
        y.append(100 * row.value)
        low.append(100 * (row.value if row.low is None else row.low))
        high.append(100 * (row.value if row.high is None else row.high))
    axis.fill_between(x, low, high, color=colour, alpha=0.2, linewidth=0)
    axis.plot(x, y, color=colour, linewidth=1.2, linestyle="-" if scaled else ":")  # slopes mean something, or not
    for row, left, height in zip(there, x, y, strict=True):
        face = "white" if row.factor == start else colour
        axis.plot([left], [height], marker=marker, ms=4.5, mfc=face, mec=colour, mew=1.0, linestyle="")


def _axis(axis: Axes, settings: Sequence[str], label: str, means: str) -> None:
    at, _ = places(settings)
    texts = [text.partition("=")[2] for text in settings]
    span = (max(at) - min(at)) or 1.0
    kept = [0]  # labels that would run into each other are left out, not the marks
    for i in range(1, len(at)):
        if at[i] - at[kept[-1]] >= 0.07 * span:
            kept.append(i)
    axis.set_xticks([at[i] for i in kept], [texts[i] for i in kept])
    axis.set_xticks(at, minor=True)
    axis.set_xlabel(means)
    axis.set_ylabel(label)
    axis.grid(axis="y", color="0.9", linewidth=0.6)
    axis.set_axisbelow(True)
    axis.spines[["top", "right"]].set_visible(False)


def _legend(figure: Figure, names: Sequence[str]) -> None:
    from matplotlib.lines import Line2D

    handles = [
        Line2D([], [], color=COLOURS[i % len(COLOURS)], marker=MARKERS[i % len(MARKERS)], ms=4.5, label=name)
        for i, name in enumerate(names)
    ]
    handles.append(Line2D([], [], color="0.3", marker="o", mfc="white", linestyle="", ms=4.5, label="reference"))
    figure.legend(handles=handles, loc="outside lower center", ncols=3, frameon=False, fontsize=7)


def _order(setting: str) -> tuple[float, ...]:
    return tuple(float(word) for word in setting.partition("=")[2].split(","))
