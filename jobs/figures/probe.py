"""The figure of `cvbench transfer probe`: top-1 and mean per class, one point per data set, backbone and recipe."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from cvbench.engine.analyses.base import Result
from cvbench.jobs.figures.base import COLOURS, MARKERS
from cvbench.jobs.results.row import Row

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

PANELS = {"top1": "top-1 accuracy (%)", "mean_per_class": "mean of the classes' recalls (%)"}


@dataclass(frozen=True)
class Probe:
    """One layer of one result; `numbers`: of `PANELS`, each value, low and high, NaN where undefined."""

    dataset: str
    backbone: str
    tap: str
    recipe: str
    numbers: dict[str, tuple[float, ...]]


def probe_figure(result: Result, rows: Sequence[Row]) -> Figure:
    """Draw one result, see `probes_figure`."""
    return _draw([result])


def probes_figure(results: Sequence[Result], rows: Sequence[Row]) -> Figure | None:
    """Draw probe results beside each other, each number with its interval; None if all are of one data set.

    Args:
        results: Of `probe`; `attrs` names `dataset`.
        rows: Of all of them.
    """
    return _draw(results) if len({result.attrs["dataset"] for result in results}) > 1 else None


def _probes(result: Result) -> list[Probe]:
    attrs, data = result.attrs, result.data
    return [
        Probe(
            attrs["dataset"],
            layer["backbone"],
            layer["tap"],
            attrs["recipe"],
            {key: tuple(float(data[f"{key}{end}"][1][i]) for end in ("", "_low", "_high")) for key in PANELS},
        )
        for i, layer in enumerate(attrs["layers"])
    ]


def _series(probe: Probe, many: bool) -> str:
    return f"{probe.backbone}, {probe.recipe}" if many else probe.backbone


def _draw(results: Sequence[Result]) -> Figure:
    from matplotlib.figure import Figure

    probes = [probe for result in results for probe in _probes(result)]
    confidence = results[0].attrs["confidence"]
    many = len({probe.recipe for probe in probes}) > 1
    places = list(dict.fromkeys(_place(probe, probes) for probe in probes))
    names = list(dict.fromkeys(_series(probe, many) for probe in probes))
    height = 1.6 + len(places) * (0.25 + 0.16 * len(names))
    figure = Figure(figsize=(8.4, height), layout="constrained")
    axes = figure.subplots(1, 2, sharey=True)
    for axis, (key, label) in zip(axes, PANELS.items(), strict=True):
        for s, name in enumerate(names):
            mine = [probe for probe in probes if _series(probe, many) == name]
            shift = (s - (len(names) - 1) / 2) * 0.7 / len(names)
            _points(axis, key, mine, [places.index(_place(probe, probes)) + shift for probe in mine], s, name)
        for result in results:
            own = [places.index(_place(probe, probes)) for probe in probes if probe.dataset == result.attrs["dataset"]]
            _guess(axis, 100 * _level(result, key), own)
        axis.set_xlabel(label)
        axis.grid(axis="x", color="0.9", linewidth=0.6)
        axis.set_axisbelow(True)
        for side in ("top", "right"):
            axis.spines[side].set_visible(False)
    axes[0].set_yticks(range(len(places)), places)
    axes[0].set_ylim(len(places) - 0.4, -0.6)  # the first on top
    handles, labels = axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper left", ncols=2, frameon=False)
    told = f"bars: {confidence:.0%} interval over test samples; dotted: chance"
    figure.supxlabel(f"linear probes on frozen features; {told}", fontsize=7)
    return figure


def _level(result: Result, key: str) -> float:
    """Accuracy of the best guess without an image."""
    members = result.data["members"][1]
    return float(members.max() / members.sum()) if key == "top1" else 1 / len(members)


def _guess(axis: Axes, level: float, at: Sequence[int]) -> None:
    for y in dict.fromkeys(at):
        axis.plot([level, level], [y - 0.4, y + 0.4], color="0.4", linewidth=1.0, linestyle=":", zorder=1)


def _place(probe: Probe, probes: Sequence[Probe]) -> str:
    """The data set; with several layers of a backbone, the layer too."""
    layers = {(other.backbone, other.tap) for other in probes}
    deep = len(layers) > len({backbone for backbone, _ in layers})
    return f"{probe.dataset}, {probe.tap}" if deep else probe.dataset


def _points(axis: Axes, key: str, probes: Sequence[Probe], at: Sequence[float], series: int, name: str) -> None:
    value, low, high = 100 * np.array([probe.numbers[key] for probe in probes]).T
    reach = np.array([value - low, high - value]).clip(min=0)
    colour, marker = COLOURS[series % len(COLOURS)], MARKERS[series % len(MARKERS)]
    axis.errorbar(value, at, xerr=reach, fmt=marker, color=colour, ms=4, elinewidth=1.0, capsize=2.0, label=name)
    for x, y in zip(value, at, strict=True):
        axis.annotate(f"{x:.1f}", (x, y), xytext=(0, 4), textcoords="offset points", ha="center", fontsize=6)
