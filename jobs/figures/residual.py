"""The figure of `cvbench analyze residual`: |branch| / |skip| by depth, a column for each backbone."""

from __future__ import annotations

from collections.abc import Sequence
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


def residual_figure(result: Result, rows: Sequence[Row]) -> Figure:
    """Draw a result of residual sums.

    One column per backbone, in one logarithmic scale: a colour for each kind of branch, a dash for each kind of tokens;
    dotted: a branch as large as its skip connection.
    """
    from matplotlib.figure import Figure

    layers = result.attrs["layers"]
    names = list(dict.fromkeys(layer["backbone"] for layer in layers))
    figure = Figure(figsize=(max(4.2 * len(names), 7.2), 4.4), layout="constrained")
    axes = figure.subplots(1, len(names), squeeze=False, sharey="row")[0]
    for axis, name in zip(axes, names, strict=True):
        own = [i for i, layer in enumerate(layers) if layer["backbone"] == name]
        _curves(axis, result, own)
        axis.axhline(1, color="0.3", linewidth=0.8, linestyle=":")
        axis.set_yscale("log")
        axis.set_title(fitted(name))
        axis.legend(**LEGEND, fontsize=7)
        layer_ticks(axis, "x", [layers[i]["tap"] for i in own], name)
    axes[0].set_ylabel("norm of the branch / norm of the skip")
    said = f"bands: {result.attrs['confidence']:.0%} intervals over {result.attrs['samples']} images"
    figure.suptitle(f"{said}; dotted: branch and skip of one norm", fontsize=8)
    return figure


def _curves(axis: Axes, result: Result, own: Sequence[int]) -> None:
    layers = result.attrs["layers"]
    for k, part in enumerate(dict.fromkeys(layers[i]["part"] for i in own)):
        its = [i for i in own if layers[i]["part"] == part]
        places, colour = [own.index(i) for i in its], COLOURS[k % len(COLOURS)]
        for measure, dashes in LINES.items():
            j = result.coords["measure"].index(measure)
            value, low, high = (result.data[f"layers{end}"][1][its, j] for end in ("", "_low", "_high"))
            if not np.isfinite(value).any():
                continue
            line: dict[str, Any] = {"color": colour, "marker": MARKERS[k % len(MARKERS)], "ms": 3.5, "linewidth": 1.0}
            label = f"{part or 'block'}, {measure.replace('_', ' ')}"
            axis.fill_between(places, low, high, color=colour, alpha=0.2, linewidth=0)
            axis.plot(places, value, label=label, linestyle=dashes, **line)
