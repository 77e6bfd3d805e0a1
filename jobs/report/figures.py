"""The figures of a report: drawn into its folder, and made part of the page."""

from __future__ import annotations

import base64
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from cvbench.jobs.figures.draw import FORMATS as FORMATS
from cvbench.jobs.figures.draw import draw, draw_overview
from cvbench.jobs.report.collect import Item, drawing
from cvbench.jobs.report.finding import finding

MAX_SVG = 1_000_000  # bytes; above, the page carries the PNG
MOST_BYTES = 8_000_000
"""Of a page; its figures have what all else leaves."""
FOLDER = "figures"
_DOTS = 160  # per inch, of the PNG files
_PIXELS = 96  # per inch, of a page


@dataclass(frozen=True)
class Picture:
    """A figure as the page shows it.

    Attributes:
        source: A data URI; "" of one for which the page has no room. As the source of an image a drawing cannot run
            scripts, and its ids meet no other's.
        alt: What it shows, with what is found, for who cannot see it.
        smaller: The PNG where `source` is an SVG, another data URI; "" if it is the larger of the two.
        width, height: In CSS pixels, as it was drawn.
        files: (suffix, path relative to the page), to take along.
    """

    source: str
    alt: str
    width: int
    height: int
    files: tuple[tuple[str, str], ...]
    smaller: str = ""


def draw_item(item: Item, folder: Path, formats: Sequence[str] = FORMATS) -> Picture | None:
    """Draw the figure of a result into `folder/figures`, SVG and PNG among `formats`; None if its entry has none.

    Raises:
        IntegrityError: The result has not what its figure needs, though its rows could be read.
    """
    entry = item.entry
    if entry is None:
        return None
    with drawing(item):
        files = draw(entry, item.result, item.rows, folder / FOLDER / item.name, formats)
        found = finding(item.headline, entry.question)
        said = " ".join(filter(None, (f"{entry.title}, {item.key.dataset}/{item.key.split}.", found)))
    return picture(files, said) if files else None


def draw_items(items: Sequence[Item], folder: Path, formats: Sequence[str] = FORMATS) -> Picture | None:
    """Draw the results of one analysis beside each other; None if its entry does not, or finds nothing to compare."""
    entry = items[0].entry
    if entry is None:
        return None
    rows = [row for item in items for row in item.rows]
    files = draw_overview(entry, [item.result for item in items], rows, folder / FOLDER / entry.name, formats)
    said = finding([row for item in items for row in item.headline], entry.question)
    return picture(files, f"{entry.title}, side by side. {said}".rstrip()) if files else None


def picture(files: Sequence[Path], alt: str) -> Picture:
    """Make a picture from the files of one figure, an SVG and a PNG among them."""
    paths = {path.suffix[1:]: path for path in files}
    svg, png = paths["svg"].read_bytes(), paths["png"].read_bytes()
    drawing, pixels = _uri("svg+xml", svg), _uri("png", png)
    source = drawing if len(svg) <= MAX_SVG else pixels
    width, height = (round(dots * _PIXELS / _DOTS) for dots in struct.unpack(">II", png[16:24]))  # of the PNG's header
    links = tuple((suffix, f"{FOLDER}/{path.name}") for suffix, path in paths.items())
    smaller = pixels if len(pixels) < len(source) else ""
    return Picture(source, alt, width, height, links, smaller)


def _uri(kind: str, data: bytes) -> str:
    return f"data:image/{kind};base64,{base64.b64encode(data).decode()}"


def linked(pictures: Mapping[str, Picture | None]) -> dict[str, Picture | None]:
    """The figures as links to their files alone."""
    return {name: one and replace(one, source="", smaller="") for name, one in pictures.items()}


def fit(pictures: Mapping[str, Picture | None], room: int) -> dict[str, Picture | None]:
    """The figures as far as a page has room: of the largest first the PNG, then only the links to their files.

    Args:
        pictures: By name.
        room: Bytes that they may have together.
    """
    fitted = dict(pictures)

    def largest(smaller: bool) -> str | None:
        sizes = {
            name: len(one.source) for name, one in fitted.items() if one is not None and (one.smaller or not smaller)
        }
        return max(sizes, key=sizes.__getitem__) if sizes else None

    while sum(len(one.source) for one in fitted.values() if one is not None) > max(room, 0):
        if (name := largest(smaller=True)) is not None and (one := fitted[name]) is not None:
            fitted[name] = replace(one, source=one.smaller, smaller="")
        elif (name := largest(smaller=False)) is not None and (one := fitted[name]) is not None:
            fitted[name] = replace(one, source="")
    return fitted
