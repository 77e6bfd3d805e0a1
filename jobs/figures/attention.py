"""The figure of `cvbench analyze attention`: distance against depth, one dot a head; entropy and prefix below."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from cvbench.engine.analyses.base import Result
from cvbench.jobs.figures.base import COLOURS, LEGEND, MARKERS, fitted, layer_ticks
from cvbench.jobs.results.row import Row

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def attention_figure(result: Result, rows: Sequence[Row]) -> Figure:
    """Draw an attention result.

    One column per backbone: the distance of every head of every layer with its interval, in one scale; dashed: uniform
    attention. Below, by layer the entropy of the heads as a share of uniform attention's, and the attention on class
    token and registers.
    """
    from matplotlib.figure import Figure

    names = list(dict.fromkeys(layer["backbone"] for layer in result.attrs["layers"]))
    figure = Figure(figsize=(max(4.2 * len(names), 7.2), 8.6), layout="constrained")
    axes = figure.subplots(3, len(names), squeeze=False, sharey="row")
    for i, name in enumerate(names):
        layers = [k for k, layer in enumerate(result.attrs["layers"]) if layer["backbone"] == name]
        _distances(axes[0, i], result, layers, COLOURS[i % len(COLOURS)])
        axes[0, i].set_title(fitted(name))
        _entropies(axes[1, i], result, layers, COLOURS[i % len(COLOURS)])
        _masses(axes[2, i], result, layers)
        for axis in axes[:, i]:
            layer_ticks(axis, "x", [result.attrs["layers"][k]["tap"] for k in layers], name)
    highest = np.nanmax([result.data[f"heads{end}"][1][:, 0] for end in ("", "_high")])
    axes[0, 0].set_ylim(0, 1.08 * max(highest, *(layer["uniform_distance"] for layer in result.attrs["layers"])))
    axes[0, 0].set_ylabel("attention distance (pixels)")
    axes[1, 0].set_ylabel("entropy / that of uniform attention")
    axes[2, 0].set_ylabel("share of the attention of patches")
    said = f"{result.attrs['confidence']:.0%} intervals over {result.attrs['samples']} images"
    figure.suptitle(f"one dot per head; bars: {said}; dashed: uniform attention", fontsize=8)
    return figure


def _heads(result: Result, layer: int) -> list[int]:
    return [k for k, (number, _) in enumerate(result.attrs["heads"]) if number == layer]


def _table(result: Result, name: str) -> list[NDArray[Any]]:
    j = result.coords["head_measure"].index(name)
    return [result.data[f"heads{end}"][1][:, j] for end in ("", "_low", "_high")]


def _distances(axis: Axes, result: Result, layers: Sequence[int], colour: str) -> None:
    value, low, high = _table(result, "distance")
    for x, layer in enumerate(layers):
        own = _heads(result, layer)
        _dots(axis, x, value[own], low[own], high[own], colour)
    uniform = [result.attrs["layers"][layer]["uniform_distance"] for layer in layers]
    axis.plot(range(len(layers)), uniform, color="0.3", linewidth=0.8, linestyle="--")


def _entropies(axis: Axes, result: Result, layers: Sequence[int], colour: str) -> None:
    value, low, high = _table(result, "entropy")
    for x, layer in enumerate(layers):
        own, most = _heads(result, layer), result.attrs["layers"][layer]["uniform_entropy"]
        _dots(axis, x, value[own] / most, low[own] / most, high[own] / most, colour)
    axis.axhline(1, color="0.3", linewidth=0.8, linestyle="--")
    axis.set_ylim(0, 1.03)


def _dots(axis: Axes, x: int, value: NDArray[Any], low: NDArray[Any], high: NDArray[Any], colour: str) -> None:
    """The heads of a layer side by side, the nearest first."""
    order = np.argsort(value, kind="stable")
    places = x + np.linspace(-0.25, 0.25, len(order)) if len(order) > 1 else np.array([float(x)])
    value, low, high = value[order], low[order], high[order]
    reach = np.nan_to_num([np.maximum(value - low, 0), np.maximum(high - value, 0)])
    axis.errorbar(places, value, reach, fmt="o", ms=2.5, color=colour, linewidth=0.6)


def _masses(axis: Axes, result: Result, layers: Sequence[int]) -> None:
    """The mean over heads; a layer without such tokens has no point."""
    for k, (name, label) in enumerate((("class_mass", "class token"), ("register_mass", "registers"))):
        j = result.coords["measure"].index(name)
        value, low, high = (result.data[f"layers{end}"][1][layers, j] for end in ("", "_low", "_high"))
        if np.isfinite(value).any():
            places, colour = np.arange(len(layers)), COLOURS[k + 2]
            axis.fill_between(places, low, high, color=colour, alpha=0.25, linewidth=0)
            axis.plot(places, value, label=label, color=colour, marker=MARKERS[k], ms=3.5, linewidth=1.0)
            axis.legend(**LEGEND, fontsize=7)
    axis.set_ylim(0, 1)
