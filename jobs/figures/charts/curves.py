"""Curves with bands: numbers by frequency, by depth, by distance, by a setting, each with its interval."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from cvbench.engine.analyses.base import Result
from cvbench.jobs.figures.charts.base import ROWS, Panel, Told, Twin, columns_of, looked_at, spec_of
from cvbench.jobs.results.row import CURVE, VALUE, Row

DEPTH = "depth (0 first layer, 1 last)"
HEIGHT = 260  # pixels


@dataclass(frozen=True)
class Curves:
    """Words and axes of a panel of curves.

    Attributes:
        title, across, down: Above it, and at its axes.
        by_depth: Colours are by depth from the first layer to the last, not by curve.
        level: A horizontal line, None for none.
        logarithmic: The axis across.
        zero: 0 is on the axis down.
        unit: Ends of the axis down; None: as the numbers are.
    """

    title: str
    across: str
    down: str
    by_depth: bool = False
    level: float | None = None
    logarithmic: bool = False
    zero: bool = False
    unit: tuple[float, float] | None = None


def point(series: str, x: float, row: Row, *, name: str = "", depth: float = 0.0) -> dict[str, Any]:
    """A point of a curve; without an interval its ends are undefined."""
    ends = {"value": row.value, "low": row.low, "high": row.high}
    return {"series": series, "x": x, **ends, "name": name or series, "depth": depth}


def curves_panel(points: Iterable[Mapping[str, Any]], said: Curves) -> Panel:
    """One panel of the points of `point`, in the order of their curves."""
    import altair as alt

    columns = columns_of(points)
    names = list(dict.fromkeys(columns.get("series", ())))
    told: tuple[Told, ...] = (
        ("of", "name", 0),
        (said.across, "x", 4),
        (said.down, "value", 4),
        ("from", "low", 4),
        ("to", "high", 4),
    )
    base = alt.Chart(alt.NamedData(ROWS))
    if said.by_depth:
        bar = alt.Legend(title="depth", orient="bottom", gradientLength=120, direction="horizontal")
        colour: Any = alt.Color("depth:Q", scale=alt.Scale(domain=[0, 1]), legend=bar)
        shape: Any = alt.value("circle")
    else:
        legend = alt.Legend(title=None, orient="bottom", columns=1, labelLimit=260, symbolOpacity=1)
        colour = alt.Color("series:N", sort=None, scale=alt.Scale(domain=names), legend=legend)
        shape = alt.Shape("series:N", sort=None, scale=alt.Scale(domain=names), legend=legend)
    across = alt.X(
        "x:Q",
        title=said.across,
        scale=alt.Scale(type="log", base=2, nice=False) if said.logarithmic else alt.Scale(zero=False, nice=False),
        axis=alt.Axis(labelOverlap=True, grid=False, tickCount=6),
    )
    scale = alt.Scale(zero=said.zero) if said.unit is None else alt.Scale(domain=list(said.unit), clamp=True)
    down = alt.Y("value:Q", title=said.down, scale=scale, axis=alt.Axis(tickCount=6))
    band = base.mark_area(opacity=0.2).encode(
        x=across, y=alt.Y("low:Q", title=said.down, scale=scale), y2="high:Q", color=colour, detail="series:N"
    )
    line = base.mark_line(strokeWidth=1.6).encode(x=across, y=down, color=colour, detail="series:N")
    dots = base.mark_point(filled=True, opacity=1).encode(
        x=across,
        y=down,
        color=colour,
        shape=shape,
        size=alt.condition(looked_at(), alt.value(150), alt.value(28)),
    )
    layers = [band, line, dots]
    if said.level is not None:
        layers.insert(
            0, alt.Chart(alt.InlineData([{"level": said.level}])).mark_rule(strokeDash=[4, 3]).encode(y="level:Q")
        )
    chart = alt.layer(*layers).resolve_scale(shape="independent" if said.by_depth else "shared")
    return Panel(said.title, spec_of(chart, HEIGHT), columns, told)


def depths(layers: Sequence[Mapping[str, Any]]) -> dict[tuple[str, str], float]:
    """(backbone, tap) -> 0 at the first layer of its backbone, 1 at the last."""
    found: dict[tuple[str, str], float] = {}
    for name in dict.fromkeys(layer["backbone"] for layer in layers):
        taps = [layer["tap"] for layer in layers if layer["backbone"] == name]
        found |= {(name, tap): i / max(len(taps) - 1, 1) for i, tap in enumerate(taps)}
    return found


def depth_panel(
    result: Result, rows: Sequence[Row], metric: str, title: str, *, without: str = "", **said: Any
) -> Panel | None:
    """The number `metric` of every layer by its depth, a curve for each backbone; None if there is none.

    `without`: the note of rows that are no points; "": all are.
    """
    place = depths(result.attrs["layers"])
    own = [
        row
        for row in rows
        if (row.metric, row.kind) == (metric, VALUE) and (row.backbone, row.layer) in place and row.value is not None
    ]
    # Of a layer there can be numbers of several factors, such as the common grid: the first is of the layer as it is.
    first = {(row.backbone, row.layer): row for row in reversed(own)}
    points = [
        point(row.backbone, place[key], row, name=f"{row.backbone} {row.layer}")
        for key, row in sorted(first.items(), key=lambda item: list(place).index(item[0]))
        if not without or row.note != without
    ]
    return curves_panel(points, Curves(title, DEPTH, metric, **said)) if points else None


def spectra_chart(result: Result, rows: Sequence[Row]) -> Twin:
    """For each backbone the radial profile of every layer; then the share of energy at high frequencies by depth."""
    layers = result.attrs["layers"]
    place, metric = depths(layers), "relative log amplitude (nat)"
    radial = [row for row in rows if row.kind == CURVE and row.layer and row.value is not None]
    first = radial[0].metric if radial else metric
    panels, level = [], float(result.attrs["null_level"])
    ends = [end for row in radial if row.metric == first for end in (row.value, row.low, row.high) if end is not None]
    room = 0.05 * (max([*ends, level]) - min([*ends, level]))
    one_axis = (min([*ends, level]) - room, max([*ends, level]) + room)
    for name in dict.fromkeys(layer["backbone"] for layer in layers):
        points = [
            point(row.layer, row.at, row, name=row.layer, depth=place[name, row.layer])
            for row in radial
            if row.backbone == name and row.metric == first and row.at is not None
        ]
        across = "radial frequency / π of the layer's grid"
        panels.append(curves_panel(points, Curves(name, across, first, by_depth=True, level=level, unit=one_axis)))
    shares = depth_panel(result, rows, "energy share above 0.5 π", "high frequencies, without DC", unit=(0.0, 1.0))
    about = "Dashed: white noise. The static figure also has layer by frequency, and the frequencies of the image."
    return Twin([*panels, *([] if shares is None else [shares])], about=about)
