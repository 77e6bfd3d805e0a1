"""Linear probes as rows, and what is said of them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from cvbench.engine.analyses.base import Result
from cvbench.engine.probe.compare import COMPARED
from cvbench.engine.probe.result import NUMBERS
from cvbench.jobs.results.measured import ends_at, verdict_text
from cvbench.jobs.results.row import CHANCE, DIFFERENCE, REFERENCE, Row, known

NAMES = {
    "top1": "linear probe, top-1",
    "top5": "linear probe, top-5",
    "mean_per_class": "linear probe, mean per class",
}
RECALL = "linear probe, recall of a class"
ARRAYS = ("members", "penalty", *(f"seed_{name}" for name in NUMBERS))


def rows(result: Result) -> Iterator[Row]:
    """Every layer's top-1, top-5 and mean per class, the recall of every class, what the best guess gives, and the
    differences of backbones."""
    attrs = result.attrs
    layers = [Row(backbone=layer["backbone"], layer=layer["tap"]) for layer in attrs["layers"]]
    counts = {"n": attrs["samples"], "n_failed": attrs["failed"]}
    for i, row in enumerate(layers):
        for name, metric in NAMES.items():
            found = {**ends_at(result, name, i), **counts}
            yield replace(row, metric=metric, factor=attrs["variant"], **found)
    for i, row in enumerate(layers):
        for c, name in enumerate(result.coords["class"]):
            own = replace(row, metric=RECALL, factor=f"{attrs['recipe']}: {name}", n=int(result.data["members"][1][c]))
            yield replace(own, **ends_at(result, "recall", (i, c)))  # type: ignore[arg-type]
    members = result.data["members"][1]
    levels = {"top1": members.max() / members.sum(), "mean_per_class": 1 / len(members)}
    for name, level in levels.items():
        yield Row(metric=NAMES[name], factor=CHANCE, kind=REFERENCE, value=known(float(level)))
    for pair, (one, two) in enumerate(attrs.get("pairs", ())):  # an earlier version compared none
        row = replace(layers[one], backbone_b=layers[two].backbone, layer_b=layers[two].layer, kind=DIFFERENCE)
        yield from _differences(result, pair, replace(row, factor=attrs["variant"], **counts))


def _differences(result: Result, pair: int, template: Row) -> Iterator[Row]:
    for name in COMPARED:
        found = ends_at(result, f"difference_{name}", pair)
        p, flag = (known(float(result.data[f"difference_{name}_{end}"][1][pair])) for end in ("p", "resolved"))
        said = {"p": p, "verdict": verdict_text(flag, found["low"])}
        yield replace(template, metric=NAMES[name], **found, **said)  # type: ignore[arg-type]


def said(result: Result) -> Iterator[str]:
    """The penalties, and what the seeds differ by."""
    for i, layer in enumerate(result.attrs["layers"]):
        penalties = " ".join(f"{value:.3g}" for value in result.data["penalty"][1][i])
        tops = result.data["seed_top1"][1][i]
        spread = f"; standard deviation of top-1 over seeds {tops.std(ddof=1):.4f}" if len(tops) > 1 else ""
        yield f"{layer['backbone']}/{layer['tap']}: penalty {penalties}{spread}"
