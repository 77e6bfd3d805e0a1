"""What all figures share: one style, deterministic files (SVG, PNG, PDF), and the numbers beside them as CSV.

The same result gives the same bytes with the same matplotlib: no dates, no random ids, no display, no global state. The
solver of the layout sums in the order of its objects' addresses, so places differ in their last bits from draw to draw,
and SVG's clip paths are named by a digest of these bits: a figure is laid out once, and its places are rounded.

Names of others are drawn as they are: nothing in them is mathematics, and no control character reaches a file.
"""

from __future__ import annotations

import csv
import errno
import io
import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from cvbench.errors import ResourceError, UsageError
from cvbench.texts import csv_cell, printable

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure, FigureBase

COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000")  # Okabe & Ito 2008
MARKERS = "osD^vP*"  # told apart without colour too
LEGEND: Any = {"framealpha": 0.85, "edgecolor": "none"}  # of one inside a panel: no curve runs through its words
MAX_TICKS = 12
MAX_TAP, MAX_LINE = 24, 40  # characters of a tap's name, and of a line over a panel
_DIGITS = 6  # of a place, as a part of the figure: 0.001 pixels
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
    "text.parse_math": False,  # `$`, `_`, `^` and `\\` of a name are characters
    "axes.titlesize": 9,
    "axes.linewidth": 0.6,
    "figure.dpi": 100,
    "savefig.dpi": 160,
}


def save_figure(
    draw: Callable[[], Figure | None], rows: Iterable[Mapping[str, Any]], stem: Path, formats: Sequence[str]
) -> list[Path]:
    """Draw in the common style, away from the user's settings, and save the figure with its numbers beside it.

    Args:
        draw: Makes the figure; None: there is nothing to draw.
        rows: What `stem.csv` gets.
        stem: Path without suffix; folders are made.
        formats: Among svg, png and pdf.

    Returns:
        The files written, the CSV last; none without a figure.

    Raises:
        UsageError: another format.
    """
    for name in formats:
        if name not in _METADATA:
            raise UsageError(f"unknown figure format {name!r}", fix=f"one of {', '.join(_METADATA)}")
    stem.parent.mkdir(parents=True, exist_ok=True)
    files = []
    with _styled():
        figure = draw()
        if figure is None:
            return []
        _plain_texts(figure)
        _settle(figure)
        for name in formats:
            buffer = io.BytesIO()
            figure.savefig(buffer, format=name, metadata=_METADATA[name])
            files.append(_write(stem, name, buffer.getvalue()))
    return [*files, _write(stem, "csv", _csv(rows))]


def drawn(draw: Callable[[], Figure | None]) -> Figure | None:
    """The figure as it is saved, for a notebook: in the common style and laid out; None if there is nothing to draw."""
    with _styled():
        figure = draw()
        if figure is not None:
            _plain_texts(figure)
            _settle(figure)
        return figure


@contextmanager
def _styled() -> Iterator[None]:
    """The common style, away from the user's settings."""
    import matplotlib as mpl

    with mpl.rc_context():
        mpl.rcdefaults()
        mpl.rcParams.update(_STYLE)
        yield


def layer_ticks(axis: Axes, which: str, taps: Sequence[str], backbone: str) -> None:
    """Tap name and layer index at evenly spaced layers, the first and the last among them; of a long name its end."""
    shown = np.unique(np.linspace(0, len(taps) - 1, min(MAX_TICKS, len(taps))).round().astype(int)).tolist()
    name_layers(axis, which, shown, [f"{_end(taps[i], MAX_TAP)}  {i}" for i in shown], backbone)


def name_layers(axis: Axes, which: str, at: Sequence[float], texts: Sequence[str], backbone: str) -> None:
    """Put texts at places of an axis of layers, "x" or "y", and the backbone's name below."""
    if which == "x":
        axis.set_xticks(at, texts, rotation=90, fontsize=7)
        axis.set_xlabel(fitted(f"layer of {backbone}"))
    else:
        axis.set_yticks(at, texts, fontsize=7)
        axis.set_ylabel(fitted(f"layer of {backbone}"))


def fitted(text: str, most: int = MAX_LINE) -> str:
    """A text in lines of at most `most` characters: broken at blanks, a longer word behind a dot or an underscore, and
    where there is none, anywhere.

    >>> fitted("layer of vit_base_patch16_224.augreg_in21k", 24)
    'layer of vit_base_\\npatch16_224.augreg_in21k'
    """
    lines = [""]
    for word in text.split(" "):
        pieces = [word] if len(word) <= most else re.findall(rf"[^._]{{1,{most - 1}}}[._]*|[._]+", word)
        for k, piece in enumerate(pieces):
            blank = " " if lines[-1] and not k else ""
            if len(lines[-1]) + len(blank) + len(piece) > most:
                lines.append(piece)
            else:
                lines[-1] += blank + piece
    return "\n".join(filter(None, lines))


def _end(text: str, most: int) -> str:
    return text if len(text) <= most else f"…{text[1 - most :]}"


def _plain_texts(figure: Figure) -> None:
    """Write control characters of names as their codes: XML has no place for them. Write powers of ten as numbers.

    A logarithmic axis would write them in the language of formulas, which is off here.
    """
    from matplotlib.text import Text
    from matplotlib.ticker import FuncFormatter, LogFormatterMathtext, NullFormatter

    def plain(text_of: Callable[..., str]) -> Callable[..., str]:
        return lambda *place: printable(str(text_of(*place)), keep="\n")

    for artist in figure.findobj(Text):
        if isinstance(artist, Text):
            artist.set_text(printable(artist.get_text(), keep="\n"))
    for axes in figure.axes:
        for axis in (axes.xaxis, axes.yaxis):
            formatter = axis.get_major_formatter()
            if isinstance(formatter, FuncFormatter):  # what `set_xticks` makes of texts
                formatter.func = plain(formatter.func)
            if isinstance(formatter, LogFormatterMathtext):
                low, high = np.log10(axis.get_view_interval())
                few = np.floor(high) - np.ceil(low) < 1  # one power is in view, or none
                axis.set_major_formatter(FuncFormatter(_number))
                axis.set_minor_formatter(FuncFormatter(_number) if few else NullFormatter())


def _number(value: float, _place: int | None = None) -> str:
    return f"{value:g}"


def _settle(figure: Figure) -> None:
    """Lay a figure out, for every format the same, and round all places to a millionth of it."""
    engine = figure.get_layout_engine()
    if engine is not None:
        # The first pass does not know yet how large the labels are that it makes room for: it would cut some.
        engine.execute(figure)
        engine.execute(figure)
        figure.set_layout_engine("none")
        # It leaves a place holder instead, for which matplotlib draws before it draws each file.
        figure._layout_engine = None  # type: ignore[attr-defined, unused-ignore]
    for axes in figure.axes:
        x0, y0, x1, y1 = np.round(axes.get_position(original=True).extents, _DIGITS).tolist()
        axes.set_position((x0, y0, x1 - x0, y1 - y0))
    _settle_parts(figure)


def _settle_parts(figure: FigureBase) -> None:
    for text in figure.texts:
        x, y = text.get_position()
        text.set_position((round(x, _DIGITS), round(y, _DIGITS)))
    for part in figure.subfigs:
        part.bbox_relative.p0 = np.round(part.bbox_relative.p0, _DIGITS)
        part.bbox_relative.p1 = np.round(part.bbox_relative.p1, _DIGITS)
        _settle_parts(part)


def _csv(rows: Iterable[Mapping[str, Any]]) -> bytes:
    text = io.StringIO()
    table = list(rows)
    writer = csv.DictWriter(text, fieldnames=list(table[0]), lineterminator="\n")
    writer.writeheader()
    # Floats are in their shortest exact form, undefined ones empty.
    writer.writerows({name: csv_cell(value) for name, value in row.items()} for row in table)
    return text.getvalue().encode(errors="backslashreplace")


def _write(stem: Path, suffix: str, data: bytes) -> Path:
    path = stem.with_name(f"{stem.name}.{suffix}")
    write_whole(path, data)
    return path


def write_whole(path: Path, data: bytes) -> None:
    """Write a file so that a kill or a full disk leaves the old one or the new one, never a part. Its folder exists.

    Raises:
        ResourceError: It cannot be written; says whether room is what lacks.
    """
    beside = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        beside.write_bytes(data)
        os.replace(beside, path)
    except OSError as error:
        beside.unlink(missing_ok=True)
        raise cannot_write(error, path) from error


def cannot_write(error: OSError, path: Path, what: str = "a file") -> ResourceError:
    """The error of a file or folder that cannot be written, with what would help."""
    full = error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
    return ResourceError(
        f"{what} cannot be written",
        where=str(error.filename or path),
        why=error.strerror or str(error),
        fix="free space there, or --out with a folder on another disk"
        if full
        else "--out with a folder that can be written",
    )
