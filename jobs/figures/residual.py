"""The figure of `cvbench analyze residual`: |branch| / |skip| and what a sum changes by depth, a column a backbone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from cvbench.engine.analyses.base import Result
from cvbench.jobs.figures.base import COLOURS, LEGEND, MARKERS, fitted, layer_ticks
from cvbench.jobs.results.row import Row

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

LINES = {"patches": "-", "class_token": "--", "registers": ":"}
"""Measure -> how its curve is drawn."""
CHANGES = {
    "high_frequency": "energy share above 0.5 $\\pi$,\nbehind less before",
    "variance": "ln spatial variance,\nbehind over before",
}
"""Change -> the title of its axis."""


def residual_figure(result: Result, rows: Sequence[Row]) -> Figure:
    """Draw a result of residual sums.

    One column per backbone. Above, in one logarithmic scale: a colour for each kind of branch, a dash for each kind of
    tokens; dotted: a branch as large as its skip connection. Below, what each sum changes; dotted: nothing.
    """
    from matplotlib.figure import Figure

    layers = result.attrs["layers"]
    names = list(dict.fromkeys(layer["backbone"] for layer in layers))
    shown = [name for name in CHANGES if name in result.coords["measure"]]
    figure = Figure(figsize=(max(4.2 * len(names), 7.2), 4.4 + 2.2 * len(shown)), layout="constrained")
    heights = [2.0, *[1.0] * len(shown)]
    axes = figure.subplots(len(heights), len(names), squeeze=False, sharey="row", height_ratios=heights)
    for k, name in enumerate(names):
        own = [i for i, layer in enumerate(layers) if layer["backbone"] == name]
        _curves(axes[0, k], result, own, LINES)
        axes[0, k].axhline(1, color="0.3", linewidth=0.8, linestyle=":")
        axes[0, k].set_yscale("log")
        axes[0, k].set_title(fitted(name))
        axes[0, k].legend(**LEGEND, fontsize=7)
        for axis, change in zip(axes[1:, k], shown, strict=True):
            _curves(axis, result, own, {change: "-"})
            axis.axhline(0, color="0.3", linewidth=0.8, linestyle=":")
        for axis in axes[:, k]:
            layer_ticks(axis, "x", [layers[i]["tap"] for i in own], name)
    axes[0, 0].set_ylabel("norm of the branch / norm of the skip")
    for axis, change in zip(axes[1:, 0], shown, strict=True):
        axis.set_ylabel(CHANGES[change], fontsize=8)
    said = f"bands: {result.attrs['confidence']:.0%} intervals over {result.attrs['samples']} images"
    figure.suptitle(f"{said}; dotted: branch and skip of one norm, and below no change", fontsize=8)
    return figure


def _curves(axis: Axes, result: Result, own: Sequence[int], lines: Mapping[str, str]) -> None:
    layers = result.attrs["layers"]
    for k, part in enumerate(dict.fromkeys(layers[i]["part"] for i in own)):
        its = [i for i in own if layers[i]["part"] == part]
        places, colour = [own.index(i) for i in its], COLOURS[k % len(COLOURS)]
        for measure, dashes in lines.items():
            j = result.coords["measure"].index(measure)
            value, low, high = (result.data[f"layers{end}"][1][its, j] for end in ("", "_low", "_high"))
            if not np.isfinite(value).any():
                continue
            line: dict[str, Any] = {"color": colour, "marker": MARKERS[k % len(MARKERS)], "ms": 3.5, "linewidth": 1.0}
            label = f"{part or 'block'}, {measure.replace('_', ' ')}"
            axis.fill_between(places, low, high, color=colour, alpha=0.2, linewidth=0)
            axis.plot(places, value, label=label, linestyle=dashes, **line)
