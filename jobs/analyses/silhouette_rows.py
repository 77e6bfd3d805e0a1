"""Silhouettes as rows, the few of the short table, and what is said of them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np

from cvbench.engine.analyses.base import Result
from cvbench.engine.analyses.silhouette.companions import COMPANIONS
from cvbench.engine.analyses.silhouette.pairs import CLASSES, Difference, differences
from cvbench.engine.statistics.verdict import Verdict
from cvbench.jobs.results.measured import end_rows, ends_at, left_out
from cvbench.jobs.results.row import CHANCE, DIFFERENCE, REFERENCE, Row, known, numbers_of

NAMES = {
    "micro": "silhouette, mean over samples",
    "macro": "silhouette, mean of class means",
    "negative": "share of samples with negative silhouette",
}
OF_CLASS = "silhouette of a class"
_METRICS = {**NAMES, **COMPANIONS, "over_classes": NAMES["macro"]}


def rows(result: Result) -> Iterator[Row]:
    """Every layer and metric: the means and the share below 0, then every class; companions; pairs of backbones."""
    attrs, data = result.attrs, result.data
    scored = data["scored"][1]
    layers = [
        Row(backbone=layer["backbone"], layer=layer["tap"], n_failed=left_out(result)) for layer in attrs["layers"]
    ]
    for i, j in np.ndindex(*data["micro"][1].shape):
        row = replace(layers[i], factor=f"{attrs['metrics'][j]}, {attrs['space']}", n=attrs["scored_samples"])
        for name, metric in NAMES.items():
            found = {**ends_at(result, name, (i, j)), **_over_classes(result, name, (i, j))}
            yield replace(row, metric=metric, **found)  # type: ignore[arg-type]
        for c, name in enumerate(result.coords["class"]):
            own = replace(row, metric=OF_CLASS, factor=f"{row.factor}: {name}", n=int(scored[c]))
            yield replace(own, **ends_at(result, "per_class", (i, j, c)))  # type: ignore[arg-type]
    for i, row in enumerate(layers):
        for name in (name for name in COMPANIONS if name in data):
            own = replace(row, metric=COMPANIONS[name], factor=f"euclidean, {attrs['space']}", n=attrs["samples"])
            yield replace(own, **ends_at(result, name, i))  # type: ignore[arg-type]
    for name in ("micro", "macro"):  # of labels that have nothing to do with the features it is 0 or a little below
        yield Row(metric=NAMES[name], factor=CHANCE, kind=REFERENCE, value=0.0)
    yield from _differences(result)


def _over_classes(result: Result, name: str, at: tuple[int, int]) -> dict[str, float | None]:
    """The ends of the interval for classes like these, which the mean of class means has."""
    if name != "macro":
        return {}
    return {f"class_{end}": known(float(result.data[f"macro_over_classes_{end}"][1][at])) for end in ("low", "high")}


def _differences(result: Result) -> Iterator[Row]:
    """Paired differences between the last layers of two backbones, each with both of its intervals."""
    found = differences(result)
    over = {(one.layers, one.metric): one for one in found if one.way == CLASSES}
    for one in found:
        if one.way != CLASSES:
            yield _difference(result, one, over.get((one.layers, one.metric)) if one.kind == "macro" else None)


def _difference(result: Result, one: Difference, over: Difference | None) -> Row:
    attrs = result.attrs
    first, second = (attrs["layers"][layer] for layer in one.layers)
    estimate = one.judged.found
    row = Row(
        backbone=first["backbone"],
        layer=first["tap"],
        backbone_b=second["backbone"],
        layer_b=second["tap"],
        metric=_METRICS[one.kind],
        factor=f"{one.metric}, {attrs['space']}",
        kind=DIFFERENCE,
        **numbers_of(estimate),
        n_failed=left_out(result),
        p=known(one.judged.p),
        verdict=one.judged.verdict.value,
    )
    if one.judged.verdict is Verdict.NO_INTERVAL and attrs.get("space_option") == "tsne":
        row = replace(row, verdict="")  # no number of samples would give one
    if over is None:
        return row
    ends = {"class_low": known(over.judged.found.low), "class_high": known(over.judged.found.high)}
    return replace(row, **ends, class_verdict=over.judged.verdict.value)  # type: ignore[arg-type]


def headline(result: Result, found: Sequence[Row]) -> Iterator[Row]:
    """Differences of means; then means and shares below 0 of each backbone's first and last layer, by every metric."""
    means = NAMES["micro"], NAMES["macro"]
    yield from (row for row in found if row.kind == DIFFERENCE and row.metric in means)
    ends = list(end_rows(found))
    for metric in NAMES.values():
        yield from (row for row in ends if row.metric == metric)


def said(result: Result) -> Iterator[str]:
    """Sentences on the intervals over classes, the samples in a class, and what a map does not measure."""
    attrs, members = result.attrs, result.data["members"][1]
    yield f"{len(members)} classes of {np.median(members):g} samples (median); {attrs['samples']} samples in all"
    if "interval_over_classes" in attrs:
        yield f"over classes: {attrs['interval_over_classes']}"
    if attrs.get("space_option") == "tsne":
        yield "t-SNE can make clusters look more apart than they are: its silhouette is of the picture"
        if "cosine" in attrs["metrics"]:
            yield "the cosine on a t-SNE map depends on where its centre lies: read the Euclidean one"


def comparison_notes(results: Sequence[Result]) -> Iterator[str]:
    """Notes for a reader who compares results of several data sets or spaces; `attrs` names `dataset`."""
    sizes = {result.attrs["dataset"]: float(np.median(result.data["members"][1])) for result in results}
    if sizes and max(sizes.values()) > 1.5 * min(sizes.values()):
        shown = ", ".join(f"{name} {size:g}" for name, size in sizes.items())
        yield f"samples per class differ ({shown}, medians): compare layers within a data set, not across"
    for dataset in sizes:
        own = [result for result in results if result.attrs["dataset"] == dataset]
        if len({tuple(np.argsort(-result.data["micro"][1][:, 0], kind="stable")) for result in own}) > 1:
            named = ", ".join(result.attrs["space"] for result in own)
            yield f"{dataset}: the order of the layers depends on the space ({named})"


def caution(result: Result) -> list[str]:
    """Warnings of what is known to be wrong with a result of an earlier version."""
    older = "given the mean distances" in result.attrs["interval"]
    return ["of an earlier version: its intervals within classes are too narrow; make it again"] if older else []
