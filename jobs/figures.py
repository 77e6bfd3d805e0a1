"""Figures of results: SVG, PNG or PDF, with the numbers behind them as CSV beside.

The same result gives the same bytes with the same matplotlib: no dates, no random ids, no display, no global state.
"""

from __future__ import annotations

import csv
import io
import itertools
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from cvbench.engine.analyses.base import Result
from cvbench.engine.analyses.cka_result import cka_rows
from cvbench.errors import UsageError

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Without these every file would carry the time or the version of the library.
_METADATA: dict[str, dict[str, None]] = {
    "svg": {"Date": None, "Creator": None},
    "png": {"Software": None},
    "pdf": {"CreationDate": None, "Creator": None, "Producer": None},
}
_STYLE: Any = {  # matplotlib types its keys as one long Literal
    "svg.hashsalt": "cvbench",
    "svg.fonttype": "path",  # looks the same where the font is not installed
    "font.family": "DejaVu Sans",  # ships with matplotlib
    "font.size": 8,
    "axes.titlesize": 9,
    "axes.linewidth": 0.6,
    "figure.dpi": 100,
    "savefig.dpi": 160,
}
MAX_TICKS = 12
PANELS_PER_ROW = 3
ESTIMATORS = {"minibatch": "HSIC1, minibatch", "debiased": "HSIC1, all samples", "biased": "HSIC0, biased"}


@dataclass(frozen=True)
class Panel:
    """CKA of the layers of one backbone (rows) against those of another or the same (columns)."""

    row: str
    column: str
    row_taps: list[str]
    column_taps: list[str]
    values: NDArray[np.float64]


def cka_heatmaps(result: Result, stem: Path, formats: Sequence[str] = ("svg", "png")) -> list[Path]:
    """Heat maps of a CKA result: one panel within each backbone, then one per pair of backbones.

    All panels share one colour scale from 0 to 1; the first layer is at the bottom left. Values outside the scale take
    its end colours, and the colour bar then ends in a point; undefined entries are grey.

    Args:
        result: Of `cka`.
        stem: Path without suffix; folders are made. `stem.csv` gets the numbers (see `cka_rows`).
        formats: Among svg, png and pdf.

    Returns:
        The files written, the CSV last.

    Raises:
        UsageError: another format.
    """
    return save_figure(lambda: _draw(list(_panels(result)), _label(result)), cka_rows(result), stem, formats)


def save_figure(
    draw: Callable[[], Figure], rows: Iterable[Mapping[str, Any]], stem: Path, formats: Sequence[str]
) -> list[Path]:
    """Draw in the common style, away from the user's settings, and save the figure with its numbers beside it.

    Args:
        draw: Makes the figure.
        rows: What `stem.csv` gets.
        stem: Path without suffix; folders are made.
        formats: Among svg, png and pdf.

    Returns:
        The files written, the CSV last.

    Raises:
        UsageError: another format.
    """
    for name in formats:
        if name not in _METADATA:
            raise UsageError(f"unknown figure format {name!r}", fix=f"one of {', '.join(_METADATA)}")
    import matplotlib as mpl

    stem.parent.mkdir(parents=True, exist_ok=True)
    files = []
    with mpl.rc_context():
        mpl.rcdefaults()
        mpl.rcParams.update(_STYLE)
        figure = draw()
        for name in formats:
            buffer = io.BytesIO()
            figure.savefig(buffer, format=name, metadata=_METADATA[name])
            files.append(_write(stem, name, buffer.getvalue()))
    return [*files, _write(stem, "csv", _csv(rows))]


def _panels(result: Result) -> Iterator[Panel]:
    layers: list[Mapping[str, str]] = result.attrs["layers"]
    values = result.data["cka"][1]
    names = list(dict.fromkeys(layer["backbone"] for layer in layers))
    members = {name: [i for i, layer in enumerate(layers) if layer["backbone"] == name] for name in names}
    for row, column in [*((name, name) for name in names), *itertools.combinations(names, 2)]:
        taps = {name: [layers[i]["tap"] for i in members[name]] for name in (row, column)}
        yield Panel(row, column, taps[row], taps[column], values[np.ix_(members[row], members[column])])


def _draw(panels: Sequence[Panel], label: str) -> Figure:
    from matplotlib import colormaps
    from matplotlib.figure import Figure

    columns = min(PANELS_PER_ROW, len(panels))
    rows = math.ceil(len(panels) / columns)
    figure = Figure(figsize=(4.1 * columns + 0.7, 4.4 * rows), layout="constrained")
    axes = figure.subplots(rows, columns, squeeze=False).ravel()
    colours = colormaps["viridis"].with_extremes(bad="0.8")  # even in lightness, told apart by colour-blind readers
    for axis, panel in zip(axes, panels, strict=False):
        image = axis.imshow(panel.values, cmap=colours, vmin=0, vmax=1, origin="lower", aspect="auto")
        axis.set_box_aspect(1)
        axis.set_title(panel.row if panel.row == panel.column else f"{panel.row} × {panel.column}")
        layer_ticks(axis, "x", panel.column_taps, panel.column)
        layer_ticks(axis, "y", panel.row_taps, panel.row)
    for axis in axes[len(panels) :]:
        axis.set_axis_off()
    beyond = np.concatenate([panel.values.ravel() for panel in panels])
    low, high = bool((beyond < -1e-9).any()), bool((beyond > 1 + 1e-9).any())
    extend = {(False, False): "neither", (True, False): "min", (False, True): "max", (True, True): "both"}[low, high]
    bar = figure.colorbar(image, ax=axes.tolist(), shrink=0.9, pad=0.01, extend=extend)
    bar.set_label(label)
    return figure


def layer_ticks(axis: Axes, which: str, taps: Sequence[str], backbone: str) -> None:
    """Layer index and tap name at evenly spaced layers, the first and the last among them."""
    shown = np.unique(np.linspace(0, len(taps) - 1, min(MAX_TICKS, len(taps))).round().astype(int)).tolist()
    texts = [f"{taps[i]}  {i}" for i in shown]
    if which == "x":
        axis.set_xticks(shown, texts, rotation=90, fontsize=6)
        axis.set_xlabel(f"layer of {backbone}")
    else:
        axis.set_yticks(shown, texts, fontsize=6)
        axis.set_ylabel(f"layer of {backbone}")


def _label(result: Result) -> str:
    return f"linear CKA ({ESTIMATORS[result.attrs['estimator']]})"


def _csv(rows: Iterable[Mapping[str, Any]]) -> bytes:
    text = io.StringIO()
    table = list(rows)
    writer = csv.DictWriter(text, fieldnames=list(table[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(table)  # floats in their shortest exact form, undefined ones empty
    return text.getvalue().encode()


def _write(stem: Path, suffix: str, data: bytes) -> Path:
    path = stem.with_name(f"{stem.name}.{suffix}")
    path.write_bytes(data)
    return path
