"""`cvbench analyze receptive-field`: how far around a position the input changes it, layer by layer."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

from cvbench.engine.analyses.base import Result
from cvbench.engine.analyses.receptive.result import TABLE, FieldLayer, summarise_fields
from cvbench.errors import UnknownNameError, UsageError
from cvbench.jobs.analyses.options import ReceptiveOptions
from cvbench.jobs.analyses.passes.job import Passed, made_words, run_pass
from cvbench.jobs.analyses.passes.numbers import IN_ROWS, Tapped
from cvbench.jobs.analyses.passes.rows import block_rows, pair_rows
from cvbench.jobs.analyses.passes.tables import unit_tables
from cvbench.jobs.extraction.options import ExtractOptions
from cvbench.jobs.figures.charts.base import Twin
from cvbench.jobs.figures.charts.curves import Curves, curves_panel, depth_panel, depths, point
from cvbench.jobs.figures.receptive_field import receptive_field_figure
from cvbench.jobs.results.entry import Entry
from cvbench.jobs.results.keep import Analysed, keep
from cvbench.jobs.results.measured import curve_rows, end_rows, left_out
from cvbench.jobs.results.question import Question
from cvbench.jobs.results.row import CURVE, DIFFERENCE, REFERENCE, VALUE, Row
from cvbench.jobs.running.cluster import Cluster
from cvbench.jobs.running.hardware import Hardware
from cvbench.jobs.running.progress import Listener, silent
from cvbench.options import typed_words

if TYPE_CHECKING:
    from torch import Tensor

    from cvbench.engine.models.backbones import Backbone

HALF = "receptive field, radius of half (pixels)"
METRICS = {
    "radius_50": HALF,
    "radius_95": "receptive field, radius of 95 % (pixels)",
    "radius_50_squared": "receptive field, radius of half of the square (pixels)",
    "radius_95_squared": "receptive field, radius of 95 % of the square (pixels)",
    "relative": "receptive field, radius of half / that of a uniform one",
}
"""Measure -> its metric."""
BOX = {"rows": "receptive field, height (pixels)", "columns": "receptive field, width (pixels)"}
WITHIN = "share of the gradient within a distance"
MADE = "summed output"


@dataclass(frozen=True)
class FieldNumbers:
    """The pass: the gradient of the middle position of each tap of each image.

    Attributes:
        taps: Patterns of taps.
        output: What is made of the channels: "sum" or "signs".
    """

    taps: tuple[str, ...]
    output: Any = "sum"
    name: str = "receptive-field"

    @property
    def view(self) -> str:
        """One for each way to take the output."""
        return self.name if self.output == "sum" else f"{self.name}.{self.output}"

    @property
    def made(self) -> Mapping[str, Any]:
        """The measures, and the version of what computes them."""
        from cvbench.engine.analyses.receptive.gradient import CHUNK, CURVE, MEASURES

        numbers = {"measures": list(MEASURES), "curve": CURVE, "chunk": CHUNK, "output": self.output}
        return {**numbers, "receptive_version": 1}

    def layers(self, backbone: Backbone) -> tuple[dict[str, Tapped], list[str]]:
        """The taps that lie on a grid, and whose output has a gradient."""
        from cvbench.engine.analyses.cam.target import has_grid
        from cvbench.engine.analyses.receptive.gradient import CURVE, MEASURES, Field, cancelled_layers

        layouts = backbone.layouts(_matching(backbone, self.taps))
        taps = [tap for tap, layout in layouts.items() if has_grid(layout)]
        flat = [tap for tap in layouts if tap not in taps]
        if not taps:
            raise UsageError(
                f"no tap of {backbone.spec.key} among {', '.join(self.taps)} lies on a grid of the image",
                fix="--taps list of `cvbench extract` shows what there is",
            )
        constant = cancelled_layers(backbone, taps) if self.output == "sum" else []
        kept = [tap for tap in taps if tap not in constant]
        if not kept:
            raise UsageError(
                f"the channels of {', '.join(constant)} sum to a constant, so that their sum has no gradient",
                where=backbone.spec.key,
                fix="--output signs",
            )
        said = [f"{len(flat)} taps lie on no grid: {', '.join(flat[:3])}"] if flat else []
        if constant:
            said.append(f"the channels sum to a constant, so --output signs is needed: {', '.join(constant[:3])}")
        size = backbone.preprocess.geometry.size
        shape = (len(MEASURES) + CURVE,)
        return {
            tap: Tapped(
                shape, ("number",), _where(Field.of(layouts[tap], size)), IN_ROWS if layouts[tap].digits else {}
            )
            for tap in kept
        }, said

    def variants(self, backbone: Backbone) -> Sequence[Backbone]:
        """None."""
        return ()

    def measure(
        self, backbone: Backbone, variants: Sequence[Backbone], images: Tensor, taps: Mapping[str, Tapped]
    ) -> dict[str, Tensor]:
        """(B, 6 + steps) of each tap."""
        from cvbench.engine.analyses.receptive.gradient import measure_fields

        return measure_fields(backbone, images, list(taps), self.output)


def _matching(backbone: Backbone, patterns: Sequence[str]) -> list[str]:
    """The taps of a backbone; a pattern may be another family's, if one is its own."""
    found, refused = set[str](), list[UnknownNameError]()
    for pattern in patterns:
        try:
            found.update(backbone.resolve_taps([pattern]))
        except UnknownNameError as error:
            refused.append(error)
    if not found:
        raise refused[0]
    return [tap for tap in backbone.tap_names() if tap in found]


def _where(field: Any) -> dict[str, Any]:
    return {
        "grid": list(field.grid),
        "size": list(field.size),
        "curve": field.curve().tolist(),
        "uniform": list(field.uniform_radii()),
    }


def receptive_field(
    options: ExtractOptions, asked: ReceptiveOptions, cluster: Cluster, listen: Listener = silent
) -> Analysed:
    """Measure the receptive fields that the store has no numbers of; the result is kept in the store.

    Raises:
        UnknownNameError: A pattern that matches in no backbone.
        UsageError: No tap lies on a grid, or no gradient can be taken.
        CvbenchError: As `run_pass`.
    """
    found = run_pass(FieldNumbers(options.taps, asked.output), options, cluster, listen, taps=options.taps)
    reading = found.reading
    result = summarise_fields(_layers(found), unit_tables(reading), asked.intervals, reading.classes)
    result.attrs.update(
        notes=[*found.notes, *result.attrs["notes"]],
        unreadable=found.unreadable,
        output=asked.output,
        command=made_words("receptive-field", options, typed_words(asked), taps=True),
    )
    path = keep(reading, result, [asdict(asked), result.attrs["intervals"], reading.identity])
    return Analysed(result, reading.selected, path, found.computed)


def _layers(found: Passed) -> list[FieldLayer]:
    layers = []
    for layer, one in found.layers.items():
        grid, size, uniform = one.attrs["grid"], one.attrs["size"], one.attrs["uniform"]
        ends = (grid[0], grid[1]), (size[0], size[1]), tuple(one.attrs["curve"]), (uniform[0], uniform[1])
        layers.append(FieldLayer(layer, *ends))
    return layers


def rows(result: Result) -> Iterator[Row]:
    """Every layer's radii, box, and share by distance; what a uniform gradient would give; the differences."""
    names = [measure.name for measure in TABLE]
    for i, layer in enumerate(result.attrs["layers"]):
        template = Row(backbone=layer["backbone"], layer=layer["tap"])
        yield from block_rows(result, "layers", i, names, METRICS, template)
        for name, value in zip(("radius_50", "radius_95"), layer["uniform"], strict=True):
            yield replace(
                template, metric=METRICS[name], kind=REFERENCE, factor="the same gradient everywhere", value=value
            )
        counted = replace(template, n=result.attrs["samples"], n_failed=left_out(result))
        for side, value in zip(result.coords["side"], result.data["box"][1][i].tolist(), strict=True):
            yield replace(counted, metric=BOX[side], value=value, note="largest of all images")
        places = result.data["distance"][1][i].tolist()
        yield from curve_rows(result, "within", (i,), places, replace(counted, metric=WITHIN, factor="pixels"))
    yield from pair_rows(result, names, METRICS)


def headline(result: Result, found: Sequence[Row]) -> Iterator[Row]:
    """Differences of backbones and depths, then the first and the last layer of each backbone."""
    for row in found:
        between = row.backbone != row.backbone_b
        if row.kind == DIFFERENCE and row.metric == (METRICS["relative"] if between else HALF):
            yield row
    ends = list(end_rows(found))
    for metric in (HALF, METRICS["radius_95"], *BOX.values()):
        yield from (row for row in ends if (row.kind, row.metric) == (VALUE, metric))


def _said(result: Result) -> Iterator[str]:
    words = {"sum": "the sum of its channels", "signs": "the sum of its channels, each with a random sign"}
    yield f"the gradient is of {words[result.attrs['output']]}, at the middle position of each layer"


def receptive_field_chart(result: Result, found: Sequence[Row]) -> Twin:
    """By depth the radii; for each backbone the share within a distance of every layer."""
    place = depths(result.attrs["layers"])
    panels = [depth_panel(result, found, METRICS[name], METRICS[name]) for name in ("radius_50", "radius_95")]
    kept = [panel for panel in panels if panel is not None]
    for name in dict.fromkeys(layer["backbone"] for layer in result.attrs["layers"]):
        points = [
            point(row.layer, row.at, row, name=row.layer, depth=place[name, row.layer])
            for row in found
            if (row.backbone, row.kind) == (name, CURVE) and row.at is not None
        ]
        said = Curves(name, "distance from the middle (pixels)", WITHIN, by_depth=True, unit=(0.0, 1.0))
        kept.append(curves_panel(points, said))
    return Twin(kept)


def _command(result: Result) -> list[str]:
    return list(result.attrs["command"])


def _run(wanted: ExtractOptions, asked: ReceptiveOptions, on: Hardware, listen: Listener) -> list[Analysed]:
    return [receptive_field(wanted, asked, on.cluster(), listen)]


ENTRY = Entry(
    name="receptive-field",
    title="Effective receptive fields",
    about=(
        "How far around the middle position of a layer the pixels of the input change it: the gradient of that "
        "position's summed output with respect to the input, and the radius within which half and 95 % of its absolute "
        "values lie. Dashed: a gradient that is the same everywhere. The box around all pixels that have any gradient "
        "is at most the geometric receptive field, which is larger than what counts. Numbers are means over images, "
        "which n counts, with intervals over images; the box is the largest of all images; differences are judged "
        "together (Holm), and with fewer than 30 images none is resolved. A gradient says what a small change of a "
        "pixel would do, not what the layer responds to. Source: Luo et al. 2016."
    ),
    question=Question("receptive field, radius of half*", "Positions of {more} see further than those of {less}"),
    unit="images",
    rows=rows,
    command=_command,
    run=_run,
    headline=headline,
    figure=receptive_field_figure,
    chart=receptive_field_chart,
    said=_said,
)
