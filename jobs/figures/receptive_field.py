"""The figure of `cvbench analyze receptive-field`: radii by depth, and the share of the gradient by distance."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from cvbench.engine.analyses.base import Result
from cvbench.jobs.figures.base import COLOURS, LEGEND, MARKERS, fitted
from cvbench.jobs.results.row import Row

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def receptive_field_figure(result: Result, rows: Sequence[Row]) -> Figure:
    """Draw a result of receptive fields.

    Above, by depth the radii that hold half and 95 % of the gradient, one curve per backbone; dashed: a gradient that
    is the same everywhere. Below, one panel per backbone: the share within a distance, a curve per layer.
    """
    from matplotlib import colormaps
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import Normalize
    from matplotlib.figure import Figure

    layers = result.attrs["layers"]
    names = list(dict.fromkeys(layer["backbone"] for layer in layers))
    own = {name: [i for i, layer in enumerate(layers) if layer["backbone"] == name] for name in names}
    figure = Figure(figsize=(max(4.2 * len(names), 8.4), 7.4), layout="constrained")
    parts = figure.subfigures(2, 1, squeeze=False)
    for j, axis in enumerate(parts[0, 0].subplots(1, 2)):
        _radii(axis, result, own, j)
    axes = parts[1, 0].subplots(1, len(names), squeeze=False, sharey=True)[0]
    depth = ScalarMappable(Normalize(0, 1), colormaps["cividis"])
    for axis, name in zip(axes, names, strict=True):
        for place, i in zip(np.linspace(0, 1, len(own[name])), own[name], strict=True):
            across = result.data["distance"][1][i]
            value, low, high = (result.data[f"within{end}"][1][i] for end in ("", "_low", "_high"))
            axis.fill_between(across, low, high, color=depth.to_rgba(place), alpha=0.3, linewidth=0)
            axis.plot(across, value, color=depth.to_rgba(place), linewidth=1.0)
        axis.set_title(fitted(name))
        axis.set_xlabel("distance from the middle (pixels)")
        axis.set_ylim(0, 1.02)
    axes[0].set_ylabel("share of the gradient within")
    parts[1, 0].colorbar(depth, ax=list(axes), pad=0.01).set_label("depth (0 first layer, 1 last)")
    said = f"bands: {result.attrs['confidence']:.0%} intervals over {result.attrs['samples']} images"
    figure.suptitle(f"{said}; dashed: the same gradient everywhere", fontsize=8)
    return figure


def _radii(axis: Axes, result: Result, own: dict[str, list[int]], measure: int) -> None:
    for k, (name, rows) in enumerate(own.items()):
        value, low, high = (result.data[f"layers{end}"][1][rows, measure] for end in ("", "_low", "_high"))
        depth, colour = np.linspace(0, 1, len(rows)), COLOURS[k % len(COLOURS)]
        if len(rows) == 1:
            axis.errorbar(depth, value, [value - low, high - value], color=colour, linewidth=1.0, capsize=2)
        axis.fill_between(depth, low, high, color=colour, alpha=0.25, linewidth=0)
        line: dict[str, Any] = {"color": colour, "marker": MARKERS[k % len(MARKERS)], "ms": 3.5, "linewidth": 1.0}
        axis.plot(depth, value, label=name, **line)
        uniform = [result.attrs["layers"][i]["uniform"][measure] for i in rows]
        axis.plot(depth, uniform, color=colour, linewidth=0.8, linestyle="--")
    axis.set_ylim(bottom=0)
    axis.set_xlim(-0.02, 1.02)
    axis.set_xlabel("depth (0 first layer, 1 last)")
    axis.set_ylabel(f"radius of {('half', '95 %')[measure]} of the gradient (pixels)")
    axis.legend(**LEGEND, fontsize=7)
