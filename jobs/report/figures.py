"""The figures of a report: drawn into its folder, and made part of the page."""

from __future__ import annotations

import base64
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from cvbench.errors import CvbenchError, IntegrityError
from cvbench.jobs.figures.draw import FORMATS as FORMATS
from cvbench.jobs.figures.draw import draw, draw_overview
from cvbench.jobs.report.collect import Item

MAX_SVG = 1_000_000  # bytes; above, the page carries the PNG
FOLDER = "figures"
_DOTS = 160  # per inch, of the PNG files
_PIXELS = 96  # per inch, of a page


@dataclass(frozen=True)
class Picture:
    """A figure as the page shows it.

    Attributes:
        source: A data URI. As the source of an image a drawing cannot run scripts, and its ids meet no other's.
        alt: What it shows, for who cannot see it.
        width: In CSS pixels, as it was drawn.
        files: (suffix, path relative to the page), to take along.
    """

    source: str
    alt: str
    width: int
    files: tuple[tuple[str, str], ...]


def draw_item(item: Item, folder: Path, formats: Sequence[str] = FORMATS) -> Picture | None:
    """Draw the figure of a result into `folder/figures`, SVG and PNG among `formats`; None if its entry has none.

    Raises:
        IntegrityError: The result has not what its figure needs, though its rows could be read.
    """
    entry = item.entry
    if entry is None:
        return None
    try:
        files = draw(entry, item.result, item.rows, folder / FOLDER / item.name, formats)
    except CvbenchError:
        raise
    except Exception as error:  # whatever another version, or somebody else, has put into it
        raise IntegrityError(
            "the figure of a result cannot be drawn",
            where=item.key.path,
            why=f"{type(error).__name__}: {error}",
            fix="use the cvbench that made it, or run its analysis again",
        ) from error
    return picture(files, f"{entry.title}, {item.key.dataset}/{item.key.split}") if files else None


def draw_items(items: Sequence[Item], folder: Path, formats: Sequence[str] = FORMATS) -> Picture | None:
    """Draw the results of one analysis beside each other; None if its entry does not, or finds nothing to compare."""
    entry = items[0].entry
    if entry is None:
        return None
    rows = [row for item in items for row in item.rows]
    files = draw_overview(entry, [item.result for item in items], rows, folder / FOLDER / entry.name, formats)
    return picture(files, f"{entry.title}, side by side") if files else None


def picture(files: Sequence[Path], alt: str) -> Picture:
    """Make a picture from the files of one figure, an SVG and a PNG among them."""
    paths = {path.suffix[1:]: path for path in files}
    svg, png = paths["svg"].read_bytes(), paths["png"].read_bytes()
    kind, data = ("svg+xml", svg) if len(svg) <= MAX_SVG else ("png", png)
    source = f"data:image/{kind};base64,{base64.b64encode(data).decode()}"
    (dots,) = struct.unpack(">I", png[16:20])  # the width in the PNG's header
    links = tuple((suffix, f"{FOLDER}/{path.name}") for suffix, path in paths.items())
    return Picture(source, alt, round(dots * _PIXELS / _DOTS), links)
