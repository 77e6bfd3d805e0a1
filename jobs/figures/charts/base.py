"""What all interactive figures share: panels of a Vega-Lite chart and its numbers, and how they become JSON.

A chart's numbers are kept by column, texts as codes, and rounded to six digits: a page carries many of them. Nothing in
a chart is taken for markup or for code: names are data, and field names are ours.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from cvbench.texts import printable

if TYPE_CHECKING:
    import altair as alt

ROWS = "rows"
"""The name of a chart's numbers."""
AT = "at"
"""The parameter of a chart that has the number `i` of the row that is looked at; -1: none."""

Told = tuple[str, str, int]
"""(what it is, field, significant digits or 0 for text): a part of what is said of a row."""


@dataclass(frozen=True)
class Panel:
    """One chart of a figure.

    Attributes:
        title: Above it.
        spec: Vega-Lite, of the width of its container; its data are named `ROWS`.
        columns: The numbers, all of one length.
        told: What is said of the row that is looked at.
        stride: Rows from one to the one above it, for the arrow keys; 0: none is above another.
        aspect: Height by width; 0: the spec has a height.
    """

    title: str
    spec: Mapping[str, Any]
    columns: Mapping[str, Sequence[Any]]
    told: Sequence[Told]
    stride: int = 0
    aspect: float = 0.0

    @property
    def rows(self) -> int:
        return len(next(iter(self.columns.values()), ()))

    def as_dict(self) -> dict[str, Any]:
        """The form that the page's script draws."""
        return {
            "title": printable(self.title),
            "spec": _plain(self.spec),
            "rows": self.rows,
            "columns": {name: packed(values) for name, values in self.columns.items()},
            "told": self.told,
            "stride": self.stride,
            "aspect": self.aspect,
        }


@dataclass(frozen=True)
class Cell:
    """A picture of a gallery at one step: `over` is drawn over it, as large, unless it is ""; data URIs."""

    over: str
    text: str


@dataclass(frozen=True)
class Gallery:
    """Pictures side by side, all of which one slider changes.

    Attributes:
        slider: What it chooses.
        steps: What is chosen at each of its places.
        columns: Above each column, a backbone's name.
        names: Of the rows, one for each example.
        images: Row, column -> the picture below, a data URI or "".
        cells: Row, column, step -> what lies over it.
    """

    slider: str
    steps: Sequence[str]
    columns: Sequence[str]
    names: Sequence[str]
    images: Sequence[Sequence[str]]
    cells: Sequence[Sequence[Sequence[Cell]]]

    def as_dict(self) -> dict[str, Any]:
        """The form that the page's script draws; each picture once."""
        pictures: dict[str, int] = {"": 0}

        def number(picture: str) -> int:
            return pictures.setdefault(picture, len(pictures))

        images = [[number(picture) for picture in row] for row in self.images]
        over = [[[[number(cell.over), printable(cell.text)] for cell in steps] for steps in row] for row in self.cells]
        return {
            "slider": self.slider,
            "steps": [printable(step) for step in self.steps],
            "columns": [printable(name) for name in self.columns],
            "names": [printable(name) for name in self.names],
            "images": images,
            "cells": over,
            "pictures": list(pictures),
        }


@dataclass(frozen=True)
class Samples:
    """Whose pictures a chart's rows can show: a field has the place of each in the split, as it is stored."""

    dataset: str
    split: str
    rows: Sequence[int]


@dataclass(frozen=True)
class Twin:
    """The interactive form of a figure.

    Attributes:
        panels, gallery: What is drawn.
        about: How to read it with a mouse or with keys, and what only the static figure has.
        samples: The images that its rows are of; None: they are of none.
    """

    panels: Sequence[Panel] = ()
    gallery: Gallery | None = None
    about: str = ""
    samples: Samples | None = None

    @property
    def rows(self) -> int:
        return sum(panel.rows for panel in self.panels)

    def as_dict(self) -> dict[str, Any]:
        """Plain JSON form."""
        gallery = None if self.gallery is None else self.gallery.as_dict()
        return {"panels": [panel.as_dict() for panel in self.panels], "gallery": gallery}


def _plain(value: Any) -> Any:
    """A specification with control characters of names as codes, as they are in the columns."""
    if isinstance(value, Mapping):
        return {key: _plain(part) for key, part in value.items()}
    if isinstance(value, list):
        return [_plain(part) for part in value]
    return printable(value) if isinstance(value, str) else value


def packed(values: Sequence[Any]) -> Any:
    """A column as JSON: numbers to six digits, null for one that is undefined; texts as codes of their levels.

    >>> packed([0.12345678, float("nan"), 3]), packed(["b", "a", "b"])
    ([0.123457, None, 3], {'levels': ['b', 'a'], 'codes': [0, 1, 0]})
    """
    if values and isinstance(values[0], str):
        levels = {text: i for i, text in enumerate(dict.fromkeys(values))}
        return {"levels": [printable(text) for text in levels], "codes": [levels[text] for text in values]}
    return [_short(value) for value in values]


def _short(value: Any) -> Any:
    if value is None or not math.isfinite(value):
        return None
    short = float(f"{value:.6g}")
    return int(short) if short.is_integer() and abs(short) < 1e15 else short


def columns_of(rows: Iterable[Mapping[str, Any]]) -> dict[str, list[Any]]:
    """Rows by column, with the number `i` of each; all rows have the same fields."""
    table = [{"i": i, **row} for i, row in enumerate(rows)]
    return {name: [row[name] for row in table] for name in (table[0] if table else {"i": 0})}


def spec_of(chart: alt.Chart | alt.LayerChart, height: int = 0) -> dict[str, Any]:
    """A chart as Vega-Lite: as wide as its container, with the parameter `AT`. Names of fields are ours, so no text of
    data stands in it where Vega would take it for an expression."""
    import altair as alt

    sized = chart.properties(width="container", **({"height": height} if height else {}))
    with alt.data_transformers.enable("default"):
        spec: dict[str, Any] = sized.add_params(alt.param(name=AT, value=-1)).to_dict()
    spec.pop("config", None)  # the page's script gives one for light and for dark
    return spec


def looked_at() -> str:
    """The expression that is true of the row that is looked at."""
    return f"datum.i === {AT}"
