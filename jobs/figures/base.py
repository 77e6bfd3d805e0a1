"""What all figures share: one style, deterministic files (SVG, PNG, PDF), and the numbers beside them as CSV.

The same result gives the same bytes with the same matplotlib: no dates, no random ids, no display, no global state.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from cvbench.errors import UsageError

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000")  # Okabe & Ito 2008
MARKERS = "osD^vP*"  # told apart without colour too
MAX_TICKS = 12
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
