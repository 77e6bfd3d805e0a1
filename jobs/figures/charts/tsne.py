"""t-SNE maps to walk through: each point says its class and, where the images can be read, shows its image."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from cvbench.engine.analyses.base import Result
from cvbench.jobs.figures.charts.base import ROWS, Panel, Samples, Twin, columns_of, looked_at, spec_of
from cvbench.jobs.results.row import Row

LEGEND = 20
"""Classes up to which there is a legend; a click on it keeps one class."""
MOST_POINTS = 20_000
TOLD = (("class", "class", 0), ("image", "sample", 9))


def tsne_chart(result: Result, rows: Sequence[Row]) -> Twin:
    """A map for each layer, classes in the same colours everywhere.

    Of more layers than `MOST_POINTS` has room for those of last layers, and of more points evenly spaced ones.
    """
    attrs, positions = result.attrs, result.coords["sample"]
    names = dict(zip(attrs["labels"], attrs["class_names"], strict=True))
    own = [names[label] for label in result.data["label"][1].tolist()]
    drawn = list(range(len(attrs["layers"])))
    if len(drawn) * len(own) > MOST_POINTS:
        drawn = list({layer["backbone"]: i for i, layer in enumerate(attrs["layers"])}.values())
    every = max(1, -(-len(drawn) * len(own) // MOST_POINTS))
    several = len({attrs["layers"][i]["tap"] for i in drawn}) > len({attrs["layers"][i]["backbone"] for i in drawn})
    panels = []
    for i in drawn:
        layer, points = attrs["layers"][i], result.data["map"][1][i].tolist()
        cells = [
            {"x": x, "y": y, "class": name, "sample": position}
            for name, position, (x, y) in list(zip(own, positions, points, strict=True))[::every]
        ]
        title = f"{layer['backbone']} {layer['tap']}" if several else layer["backbone"]
        panels.append(Panel(title, _spec(list(names.values())), columns_of(cells), TOLD, aspect=1.0))
    samples = Samples(str(attrs["dataset"]), str(attrs["split"]), [int(at) for at in positions[::every]])
    said = ["Only neighbourhoods can be read."]
    said += ["A click on the legend keeps one class."] if len(names) <= LEGEND else []
    said += ["The static figure has all layers."] if len(drawn) < len(attrs["layers"]) else []
    said += [f"One of {every} points is shown; the static figure has all."] if every > 1 else []
    return Twin(panels, about=" ".join(said), samples=samples)


def _spec(names: Sequence[str]) -> dict[str, Any]:
    import altair as alt

    few = len(names) <= LEGEND
    kept = alt.selection_point(name="kept", fields=["class"], bind="legend") if few else None
    legend = alt.Legend(title=None, orient="bottom", columns=3, labelLimit=72) if few else None
    scheme: Any = "category20" if few else "turbo"
    scale = alt.Scale(domain=list(names)) if len(names) <= 10 else alt.Scale(domain=list(names), scheme=scheme)
    axis = alt.Axis(labels=False, ticks=False, grid=False, domain=False, title=None)
    points = (
        alt.Chart(alt.NamedData(ROWS))
        .mark_point(filled=True)
        .encode(
            x=alt.X("x:Q", axis=axis, scale=alt.Scale(zero=False)),
            y=alt.Y("y:Q", axis=axis, scale=alt.Scale(zero=False)),
            color=alt.Color("class:N", sort=None, scale=scale, legend=legend),
            size=alt.condition(looked_at(), alt.value(220), alt.value(34)),
            opacity=alt.value(0.8) if kept is None else alt.condition(kept, alt.value(0.8), alt.value(0.07)),
        )
    )
    if kept is None:
        return spec_of(points)
    shape = alt.Shape("class:N", sort=None, scale=alt.Scale(domain=list(names)), legend=legend)
    return spec_of(points.encode(shape=shape).add_params(kept))
