"""`cvbench analyze attention`: how far, how evenly and at what the heads of transformers look."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

from cvbench.engine.analyses.attention.result import HEAD_TABLE, AttentionLayer, summarise_attention
from cvbench.engine.analyses.base import Result
from cvbench.engine.statistics.options import IntervalOptions
from cvbench.jobs.analyses.passes.job import Passed, made_words, run_pass
from cvbench.jobs.analyses.passes.numbers import IN_ROWS, Tapped
from cvbench.jobs.analyses.passes.rows import block_rows, verdict_columns
from cvbench.jobs.analyses.passes.tables import unit_tables
from cvbench.jobs.extraction.options import ExtractOptions
from cvbench.jobs.figures.attention import attention_figure
from cvbench.jobs.figures.charts.base import Twin
from cvbench.jobs.figures.charts.curves import DEPTH, Curves, curves_panel, depth_panel, depths, point
from cvbench.jobs.results.entry import Entry
from cvbench.jobs.results.keep import Analysed, keep
from cvbench.jobs.results.question import Question
from cvbench.jobs.results.row import DIFFERENCE, REFERENCE, VALUE, Row
from cvbench.jobs.running.cluster import Cluster
from cvbench.jobs.running.hardware import Hardware
from cvbench.jobs.running.progress import Listener, silent
from cvbench.options import typed_words

if TYPE_CHECKING:
    from torch import Tensor

    from cvbench.engine.models.backbones import Backbone

DISTANCE = "attention distance (pixels)"
METRICS = {
    "distance": DISTANCE,
    "distance_raw": "attention distance, prefix tokens at 0 (pixels)",
    "entropy": "attention entropy (nats)",
    "class_mass": "attention on the class token",
    "register_mass": "attention on registers",
    "relative": "attention distance / that of uniform attention",
    "range": "attention distance, largest less smallest head (pixels)",
    "farthest": "attention distance of the farthest head / that of uniform attention",
}
"""Measure -> its metric."""
HEADLINE = ("distance", "range", "class_mass", "register_mass")


@dataclass(frozen=True)
class AttentionNumbers:
    """The pass: the attention of every head of every layer of each image."""

    name: str = "attention"
    view: str = "attention"

    @property
    def made(self) -> Mapping[str, Any]:
        """The measures, and the version of what computes them."""
        from cvbench.engine.analyses.attention.kernel import MEASURES

        return {"measures": list(MEASURES), "attention_version": 3}

    def layers(self, backbone: Backbone) -> tuple[dict[str, Tapped], list[str]]:
        """Every layer in which all tokens attend to all; see `engine.analyses.attention.capture`."""
        from cvbench.engine.analyses.attention.capture import attention_layers
        from cvbench.engine.analyses.attention.kernel import MEASURES

        found, refused = attention_layers(backbone)
        kept = {}
        for tap, one in found.items():
            attrs = {"heads": one.heads, **asdict(one.tokens)}
            del attrs["digits"]  # the numbers know of them
            made = IN_ROWS if one.tokens.digits else {}
            kept[tap] = Tapped((one.heads, len(MEASURES)), ("head", "measure"), attrs, made)
        whys = dict.fromkeys(refused.values())
        of = {why: [tap for tap, given in refused.items() if given == why] for why in whys}
        return kept, [f"{len(taps)} layers are not measured, from {taps[0]} on: {why}" for why, taps in of.items()]

    def variants(self, backbone: Backbone) -> Sequence[Backbone]:
        """None."""
        return ()

    def measure(
        self, backbone: Backbone, variants: Sequence[Backbone], images: Tensor, taps: Mapping[str, Tapped]
    ) -> dict[str, Tensor]:
        """(B, heads, 5) of each layer."""
        from cvbench.engine.analyses.attention.capture import measure_attention

        return measure_attention(backbone, images, {tap: one.shape[0] for tap, one in taps.items()})


def attention(
    options: ExtractOptions, intervals: IntervalOptions, cluster: Cluster, listen: Listener = silent
) -> Analysed:
    """Measure the attention of the images that the store has no numbers of; the result is kept in the store.

    Raises:
        UsageError: No backbone has attention of all positions over all positions.
        CvbenchError: As `run_pass`.
    """
    found = run_pass(AttentionNumbers(), options, cluster, listen)
    reading = found.reading
    result = summarise_attention(_layers(found), unit_tables(reading), intervals, reading.classes)
    result.attrs.update(
        notes=[*found.notes, *result.attrs["notes"]],
        unreadable=found.unreadable,
        command=made_words("attention", options, typed_words(intervals)),
    )
    numbers = [result.attrs["intervals"], result.coords["measure"]]
    path = keep(reading, result, [asdict(intervals), *numbers, reading.identity])
    return Analysed(result, reading.selected, path, found.computed)


def _layers(found: Passed) -> list[AttentionLayer]:
    layers = []
    for layer, one in found.layers.items():
        heads, grid, stride = one.attrs["heads"], one.attrs["grid"], one.attrs["stride"]
        prefix = one.attrs["prefix"], one.attrs["class_token"]
        layers.append(AttentionLayer(layer, heads, (grid[0], grid[1]), *prefix, (stride[0], stride[1])))
    return layers


def rows(result: Result) -> Iterator[Row]:
    """Every layer's means over its heads, what uniform attention would give, every head, and the differences."""
    names = result.coords["measure"]  # an earlier version had fewer
    for i, layer in enumerate(result.attrs["layers"]):
        template = Row(backbone=layer["backbone"], layer=layer["tap"])
        yield from block_rows(result, "layers", i, names, METRICS, template)
        for name in ("distance", "entropy"):
            uniform = {"kind": REFERENCE, "factor": "uniform attention", "value": layer[f"uniform_{name}"]}
            yield replace(template, metric=METRICS[name], **uniform)
    for i, (number, head) in enumerate(result.attrs["heads"]):
        layer = result.attrs["layers"][number]
        template = Row(backbone=layer["backbone"], layer=layer["tap"], factor=f"head {head}")
        yield from block_rows(result, "heads", i, names[: len(HEAD_TABLE)], METRICS, template)
    for i, pair in enumerate(result.attrs["pairs"]):
        one, two = (result.attrs["layers"][number] for number in pair)
        sides = {"backbone": one["backbone"], "layer": one["tap"]}
        other = {"backbone_b": two["backbone"], "layer_b": two["tap"]}
        template = Row(**sides, **other, kind=DIFFERENCE)
        for row in block_rows(result, "difference", i, names, METRICS, template):
            yield replace(row, **verdict_columns(result, i, [METRICS[name] for name in names].index(row.metric), row))


def headline(result: Result, found: Sequence[Row]) -> Iterator[Row]:
    """Differences of backbones and depths, then the first and the last layer of each backbone."""
    words = [METRICS[name] for name in HEADLINE]
    relative = METRICS["relative"]
    differences = [row for row in found if row.kind == DIFFERENCE]
    yield from (row for row in differences if row.metric == (relative if row.backbone != row.backbone_b else DISTANCE))
    ends: dict[str, list[str]] = {}
    for layer in result.attrs["layers"]:
        ends.setdefault(layer["backbone"], []).append(layer["tap"])
    for name in words:
        for row in found:
            own = (row.kind, row.metric, row.factor) == (VALUE, name, "")
            if own and row.layer in (ends[row.backbone][0], ends[row.backbone][-1]):
                yield row


def _said(result: Result) -> Iterator[str]:
    for (name, *grid), distance in {
        (layer["backbone"], *layer["grid"]): layer["uniform_distance"] for layer in result.attrs["layers"]
    }.items():
        where = f" on {grid[0]} x {grid[1]} patches"
        yield f"{name}: attention that is the same everywhere has distance {distance:.1f}{where}"


def attention_chart(result: Result, found: Sequence[Row]) -> Twin:
    """The distance of every head by depth, a panel for each backbone; then the share of the class token by depth."""
    place = depths(result.attrs["layers"])
    panels = []
    for name in dict.fromkeys(layer["backbone"] for layer in result.attrs["layers"]):
        points = [
            point(row.factor, place[name, row.layer], row, name=f"{row.layer} {row.factor}")
            for row in found
            if (row.backbone, row.metric, row.kind) == (name, DISTANCE, VALUE) and row.factor
        ]
        points.sort(key=lambda one: int(str(one["series"]).rpartition(" ")[2]))
        panels.append(curves_panel(points, Curves(name, DEPTH, DISTANCE, zero=True)))
    for name in ("class_mass", "register_mass"):
        panel = depth_panel(result, [row for row in found if not row.factor], METRICS[name], METRICS[name])
        panels += [] if panel is None else [panel]
    return Twin(panels, about="A curve joins the heads of one number, which are not the same head in every layer.")


def _command(result: Result) -> list[str]:
    return list(result.attrs["command"])


def _run(wanted: ExtractOptions, intervals: IntervalOptions, on: Hardware, listen: Listener) -> list[Analysed]:
    return [attention(wanted, intervals, on.cluster(), listen)]


ENTRY = Entry(
    name="attention",
    title="How far attention looks",
    about=(
        "Of every head of every self-attention layer: the mean distance in pixels between the patch that looks and "
        "the patches that it looks at, weighted by attention, one dot per head and layer; the dashed line is "
        "attention that is the same everywhere. Attention to class token and registers is left out of the distance "
        "and shown by itself. Heads that look near and heads that look far in one layer are what Raghu et al. 2021 "
        "describe for the first layers of ViTs. Numbers are means over images, which n counts, with intervals over "
        "images; differences are judged together (Holm), and with fewer than 30 images none is resolved. Attention "
        "says where a head reads, not what its values carry. Sources: Dosovitskiy et al. 2021, Raghu et al. 2021."
    ),
    question=Question("attention distance*", "Heads of {more} look further than those of {less}"),
    unit="images",
    rows=rows,
    command=_command,
    run=_run,
    headline=headline,
    figure=attention_figure,
    chart=attention_chart,
    said=_said,
)
