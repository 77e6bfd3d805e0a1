"""The figure of `cvbench analyze spectra`: curves per layer, layer x frequency maps, and the high-frequency share.

The same result gives the same bytes with the same matplotlib, as for every figure (see `cvbench.jobs.figures.base`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from cvbench.engine.analyses.base import Result
from cvbench.jobs.figures.base import COLOURS, MARKERS, layer_ticks, save_figure
from cvbench.jobs.spectra import spectra_rows

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

SHARE = "share_above_0.5"


@dataclass(frozen=True)
class Stack:
    """The layers of one backbone, first to last: their rows in the result, tap names and grids."""

    backbone: str
    rows: list[int]
    taps: list[str]
    grids: list[tuple[int, ...]]

    @property
    def stages(self) -> list[int]:
        """Layers at which the grid changes."""
        return [i for i in range(1, len(self.grids)) if self.grids[i] != self.grids[i - 1]]


def spectra_figure(result: Result, stem: Path, formats: Sequence[str] = ("svg", "png")) -> list[Path]:
    """Draw a spectra result.

    One column per backbone: above, the radial profile of each layer at its own bins; below, layer by frequency on the
    axis that all layers reach. Under them the energy share above half the Nyquist frequency, by depth.

    Args:
        result: Of `spectra`.
        stem: Path without suffix; folders are made. `stem.csv` gets the numbers (see `spectra_rows`).
        formats: Among svg, png and pdf.

    Returns:
        The files written, the CSV last.

    Raises:
        UsageError: another format.
    """
    return save_figure(lambda: _draw(result), spectra_rows(result), stem, formats)


def _stacks(result: Result) -> list[Stack]:
    layers = result.attrs["layers"]
    stacks = []
    for name in dict.fromkeys(layer["backbone"] for layer in layers):
        rows = [i for i, layer in enumerate(layers) if layer["backbone"] == name]
        taps, grids = [layers[i]["tap"] for i in rows], [tuple(layers[i]["grid"]) for i in rows]
        stacks.append(Stack(name, rows, taps, grids))
    return stacks


def _draw(result: Result) -> Figure:
    from matplotlib.figure import Figure

    stacks = _stacks(result)
    columns = len(stacks)
    figure = Figure(figsize=(max(6.0, 4.2 * columns + 1.2), 10.0), layout="constrained")
    grid = figure.add_gridspec(3, columns, height_ratios=(1.0, 1.1, 0.8))
    curves: list[Axes] = []
    for column in range(columns):
        curves.append(figure.add_subplot(grid[0, column], sharey=curves[0] if curves else None))
    maps = [figure.add_subplot(grid[1, column]) for column in range(columns)]
    for stack, axis in zip(stacks, curves, strict=True):
        _curves(axis, stack, result)
    curves[0].set_ylabel("relative log amplitude (nat)")
    figure.colorbar(_depth_scale(), ax=curves, pad=0.01).set_label("depth (0 first layer, 1 last)")
    profile = result.data["profile"][1]
    for stack, axis in zip(stacks, maps, strict=True):
        image = _map(axis, stack, result, (float(profile.min()), float(profile.max())))
    figure.colorbar(image, ax=maps, pad=0.01).set_label("relative log amplitude (nat)")
    _shares(figure.add_subplot(grid[2, :]), stacks, result)
    return figure


def _depth_scale() -> Any:
    from matplotlib import colormaps
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import Normalize

    return ScalarMappable(Normalize(0, 1), colormaps["cividis"])  # even in lightness, for colour-blind readers too


def _curves(axis: Axes, stack: Stack, result: Result) -> None:
    scale = _depth_scale()
    for depth, row in zip(_depths(stack), stack.rows, strict=True):
        frequency, value = result.data["bin_frequency"][1][row], result.data["radial"][1][row]
        reached = np.isfinite(frequency)
        axis.plot(frequency[reached], value[reached], color=scale.to_rgba(depth), linewidth=1.0, marker=".", ms=2.5)
    level = result.attrs["null_level"]
    axis.axhline(level, color="0.3", linewidth=0.8, linestyle="--")
    axis.annotate(
        "white noise",
        (1, level),
        xycoords=("axes fraction", "data"),
        xytext=(-2, 2),
        textcoords="offset points",
        ha="right",
        fontsize=6,
        color="0.3",
    )
    axis.set_title(stack.backbone)
    axis.set_xlim(0, 1)
    axis.set_xlabel("radial frequency / π per position of the layer's own grid")


def _map(axis: Axes, stack: Stack, result: Result, limits: tuple[float, float]) -> Any:
    """Layer by frequency; returns what the colour bar explains. White lines: the grid changes."""
    values: NDArray[np.float64] = result.data["profile"][1][stack.rows]
    edges = np.arange(len(stack.rows) + 1) - 0.5
    common = np.array(result.coords["frequency"])
    between = (common[1:] + common[:-1]) / 2
    columns = np.concatenate([common[:1], between, common[-1:]])
    image = axis.pcolormesh(
        columns, edges, values, cmap="viridis", vmin=limits[0], vmax=max(limits[1], limits[0] + 1e-9), rasterized=True
    )
    for at in stack.stages:
        axis.axhline(at - 0.5, color="white", linewidth=1.0)
    layer_ticks(axis, "y", stack.taps, stack.backbone)
    axis.set_xlabel("radial frequency / π per position, on the axis of all layers")
    return image


def _shares(axis: Axes, stacks: Sequence[Stack], result: Result) -> None:
    at = result.coords["measure"].index(SHARE)
    value, low, high, noise = (
        result.data[name][1][:, at] for name in ("measures", "measures_low", "measures_high", "white_noise")
    )
    for i, stack in enumerate(stacks):
        colour, depths = COLOURS[i % len(COLOURS)], _depths(stack)
        axis.fill_between(depths, low[stack.rows], high[stack.rows], color=colour, alpha=0.25, linewidth=0)
        label: dict[str, Any] = {"color": colour, "marker": MARKERS[i % len(MARKERS)], "ms": 4, "linewidth": 1.0}
        axis.plot(depths, value[stack.rows], label=stack.backbone, **label)
        axis.plot(depths, noise[stack.rows], color=colour, linewidth=0.7, linestyle=":")
    axis.set_xlim(-0.02, 1.02)
    axis.set_ylim(0, 1)
    axis.set_xlabel("depth (0 first layer, 1 last)")
    axis.set_ylabel("energy share above 0.5 π")
    axis.set_title(
        f"high frequencies without DC; band: {result.attrs['confidence']:.0%} interval over "
        f"{result.attrs['samples']} images; dotted: white noise"
    )
    axis.legend(frameon=False, fontsize=7)


def _depths(stack: Stack) -> NDArray[np.float64]:
    return np.linspace(0, 1, len(stack.rows))
