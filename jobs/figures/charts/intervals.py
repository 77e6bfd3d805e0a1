"""Interactive forms of numbers with their intervals: one line per factor and one mark per backbone, and differences."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from cvbench.engine.analyses.base import Result
from cvbench.engine.statistics.verdict import Verdict
from cvbench.jobs.figures.charts.base import ROWS, Panel, Told, Twin, columns_of, looked_at, spec_of
from cvbench.jobs.figures.evaluation_intervals import IntervalPanel, chance_levels, differences_of
from cvbench.jobs.results.row import Row

AROUND = 90  # pixels: axis, its title and the legend
LEAST, PER_MARK = 22, 13  # pixels of a line, and of each mark on it


def interval_chart(panel: IntervalPanel) -> Callable[[Result, Sequence[Row]], Twin | None]:
    """The function of an entry that makes the interactive form of `interval_figure`; None where nothing is defined."""
    return lambda result, rows: _twin(rows, panel)


def _twin(rows: Sequence[Row], said: IntervalPanel) -> Twin | None:
    shown = [(line, row) for row in rows if (line := said.line(row)) is not None and row.value is not None]
    if not shown:
        return None
    lines = list(dict.fromkeys(line for line, _ in shown))
    by, axis = (100.0, f"{said.axis} (%)") if said.percent else (1.0, said.axis)
    points = [_point(line, row.backbone, row, by, said.hollow(row)) for line, row in shown]
    level = None if said.reference is None else said.reference[0]
    levels = {line: by * one for line, one in chance_levels(rows, shown).items()}
    panels = [_panel(said.title, axis, points, lines, level, levels)]
    line_of = {row.factor: line for line, row in shown if row.factor}
    compared = [row for row in differences_of(rows, said.difference) if row.factor in line_of]
    if compared:
        beside = [_point(line_of[r.factor], r.subject, r, 1.0, r.verdict != Verdict.RESOLVED.value) for r in compared]
        title = f"{said.difference} difference; filled: resolved, after Holm"
        panels.append(_panel(title, f"{said.difference} difference", beside, lines, 0.0, {}))
    hollow = f"Hollow: {said.hollow_means}." if any(point["hollow"] for point in points) and said.hollow_means else ""
    dashed = f"Dashed: {said.reference[1]}." if said.reference is not None else ""
    guessed = "Grey tick: chance." if levels else ""
    return Twin(panels, about=" ".join(filter(None, (hollow, dashed, guessed))))


def _point(line: str, series: str, row: Row, by: float, hollow: bool) -> dict[str, Any]:
    """A mark; without an interval its ends are undefined. `by` is the scale of its numbers."""
    found = {"value": row.value, "low": row.low, "high": row.high}
    scaled = {name: None if value is None else by * value for name, value in found.items()}
    return {
        "line": line,
        "series": series,
        **scaled,
        "n": row.n,
        "verdict": row.verdict or "none",
        "hollow": hollow * 1,
    }


def _panel(
    title: str,
    axis: str,
    points: Sequence[Mapping[str, Any]],
    lines: Sequence[str],
    level: float | None,
    levels: Mapping[str, float],
) -> Panel:
    import altair as alt

    names = list(dict.fromkeys(point["series"] for point in points))
    ordered = sorted(points, key=lambda point: (lines.index(point["line"]), names.index(point["series"])))
    told: list[Told] = [
        ("of", "series", 0),
        ("on", "line", 0),
        (axis, "value", 4),
        ("from", "low", 4),
        ("to", "high", 4),
    ]
    told.append(("n", "n", 6))
    if any(point["verdict"] != "none" for point in points):
        told.append(("verdict", "verdict", 0))
    base = alt.Chart(alt.NamedData(ROWS))
    domain = alt.Scale(domain=names)
    legend = alt.Legend(title=None, orient="bottom", columns=1, labelLimit=260, symbolOpacity=1) if any(names) else None
    across = alt.X("value:Q", title=axis, scale=alt.Scale(zero=False), axis=alt.Axis(tickCount=6, labelOverlap=True))
    down = alt.Y("line:N", title=None, sort=None, scale=alt.Scale(domain=list(lines)), axis=alt.Axis(labelLimit=110))
    apart = alt.YOffset("series:N", sort=None, scale=domain)
    colour = alt.Color("series:N", sort=None, scale=domain, legend=legend)
    ends = alt.X("low:Q", title=axis, scale=alt.Scale(zero=False))
    bars = base.mark_rule(strokeWidth=2).encode(x=ends, x2="high:Q", y=down, yOffset=apart, color=colour)
    dots = base.mark_point(opacity=1).encode(
        x=across,
        y=down,
        yOffset=apart,
        color=colour,
        shape=alt.Shape("series:N", sort=None, scale=domain, legend=legend),
        fill=alt.Fill("series:N", sort=None, scale=domain, legend=legend),
        fillOpacity=alt.condition("datum.hollow == 1", alt.value(0), alt.value(1)),
        size=alt.condition(looked_at(), alt.value(150), alt.value(40)),
    )
    layers = [bars, dots]
    if level is not None:
        ruled = alt.Chart(alt.InlineData([{"level": level}])).mark_rule(strokeDash=[4, 3])
        layers.insert(0, ruled.encode(x=alt.X("level:Q", title=axis)))
    if levels:
        guessed = [{"line": line, "level": one} for line, one in levels.items()]
        ticks = alt.Chart(alt.InlineData(guessed)).mark_tick(thickness=2, bandSize=16, color="gray", opacity=0.7)
        layers.insert(0, ticks.encode(x=alt.X("level:Q", title=axis), y=down))
    height = AROUND + len(lines) * max(LEAST, PER_MARK * len(names))
    full = [(line, name) for line in lines for name in names] == [(one["line"], one["series"]) for one in ordered]
    spec = spec_of(alt.layer(*layers).resolve_scale(shape="shared"), height)
    return Panel(title, spec, columns_of(ordered), tuple(told), stride=-len(names) if full else 0)
