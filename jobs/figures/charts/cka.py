"""CKA as heat maps to walk through: each cell says its two layers, the number and its interval."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from typing import Any

from cvbench.engine.analyses.base import Result
from cvbench.jobs.figures.charts.base import Panel, Told, Twin, columns_of, looked_at, spec_of
from cvbench.jobs.results.row import Row

TOLD = (("row", "row", 0), ("column", "column", 0), ("CKA", "cka", 3), ("from", "low", 3), ("to", "high", 3))


def cka_chart(result: Result, rows: Sequence[Row]) -> Twin:
    """One heat map within each backbone and one for each pair, the first layer bottom left, colours from 0 to 1."""
    layers = result.attrs["layers"]
    names = list(dict.fromkeys(layer["backbone"] for layer in layers))
    members = {name: [i for i, layer in enumerate(layers) if layer["backbone"] == name] for name in names}
    pairs = [*((name, name) for name in names), *itertools.combinations(names, 2)]
    panels = [_panel(result, row, column, members[row], members[column]) for row, column in pairs]
    return Twin(panels, about="Axes count layers from the first. Layers of two networks: rows against columns.")


def _panel(result: Result, row: str, column: str, down: Sequence[int], across: Sequence[int]) -> Panel:
    cells = list(_cells(result, down, across))
    spec = heat_map(f"layer of {row}", f"layer of {column}", "CKA", (0.0, 1.0), TOLD)
    title = row if row == column else f"{row} (rows) and {column} (columns)"
    return Panel(title, spec, columns_of(cells), TOLD, stride=len(across), aspect=1.0)


def _cells(result: Result, down: Sequence[int], across: Sequence[int]) -> Iterator[dict[str, Any]]:
    layers, (value, low, high) = result.attrs["layers"], (result.data[name][1] for name in ("cka", "low", "high"))
    for y, x in itertools.product(range(len(down)), range(len(across))):
        at = down[y], across[x]
        ends = {"low": float(low[at]), "high": float(high[at])}
        taps = {"row": layers[at[0]]["tap"], "column": layers[at[1]]["tap"]}
        yield {"x": x, "y": y, "cka": float(value[at]), **ends, **taps}


def heat_map(
    down: str, across: str, bar: str, ends: tuple[float, float], told: Sequence[Told], *, upwards: bool = True
) -> dict[str, Any]:
    """Vega-Lite of cells at the whole numbers `x` and `y`, coloured by the field that the third of `told` names.

    Args:
        down, across, bar: Titles of the axes and of the colour bar.
        ends: Of the colours.
        upwards: The first row stands below.
    """
    import altair as alt

    chart = (
        alt.Chart(alt.NamedData("rows"))
        .mark_rect()
        .encode(
            x=alt.X("x:O", title=across, axis=_axis()),
            y=alt.Y("y:O", title=down, sort="descending" if upwards else "ascending", axis=_axis()),
            color=alt.Color(
                f"{told[2][1]}:Q",
                scale=alt.Scale(domain=list(ends), clamp=True),
                legend=alt.Legend(title=bar, orient="bottom", gradientLength=140, direction="horizontal"),
            ),
            stroke=alt.condition(looked_at(), alt.value("#ff2d00"), alt.value(None)),
            strokeWidth=alt.value(2),
        )
    )
    return spec_of(chart)


def _axis() -> Any:
    import altair as alt

    return alt.Axis(labelOverlap=True, labelAngle=0, ticks=False, domain=False)
