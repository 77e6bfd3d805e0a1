"""Share of the positive activations of each layer: an analysis that lives beside cvbench."""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from cvbench.engine.analyses.base import Layer, Partial, Result
from cvbench.engine.analyses.layerwise import Layerwise
from cvbench.engine.arrays.array import Array, to_host
from cvbench.engine.statistics.intervals import mean_share
from cvbench.jobs.analyses.measure import analyze_maps
from cvbench.jobs.reading.options import layers
from cvbench.jobs.results.command import command_words, selection_of
from cvbench.jobs.results.entry import Entry, Live
from cvbench.jobs.results.row import Row, numbers_of
from cvbench.jobs.running.hardware import Hardware

FORMS = (layers(), Hardware)


class Positive(Layerwise):
    name = "positive"

    def measure_layer(self, index: int, layer: Layer, maps: Array) -> Partial:
        return {f"share/{index}": to_host((maps > 0).mean(axis=(1, 2, 3)))}

    def summarise(self, layers: Sequence[Layer], partials: Iterable[Partial]) -> Result:
        found, names = self.merge(partials), [{"backbone": one.backbone, "tap": one.tap} for one in layers]
        shares: dict[str, Any] = {f"share_{i}": (("image",), found[f"share/{i}"]) for i in range(len(layers))}
        return Result(self.name, {}, shares, {"layers": names})


def rows(result: Result) -> Iterator[Row]:
    for i, layer in enumerate(result.attrs["layers"]):
        mean = numbers_of(mean_share(result.data[f"share_{i}"][1]))
        yield Row(backbone=layer["backbone"], layer=layer["tap"], metric="positive share", **mean)


ENTRY = Entry(
    name="positive",
    title="Positive activations",
    about="Share of the activations of a layer that are positive, with intervals over images.",
    rows=rows,
    command=lambda result: command_words("analyze positive", FORMS, selection_of(result)),
    run=lambda selection, on, listen: [analyze_maps(Positive(), selection, on, listen)],
    forms=FORMS,
    live=Live(lambda setting: Positive()),
)
