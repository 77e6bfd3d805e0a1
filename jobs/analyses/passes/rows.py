"""Rows of the results of a pass, see `engine.analyses.layer_means`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from cvbench.engine.analyses.base import Result
from cvbench.jobs.results.measured import class_verdict, ends_at, left_out, verdict_text
from cvbench.jobs.results.row import DIFFERENCE, Row, known


def block_rows(
    result: Result, variable: str, line: int, names: Sequence[str], metrics: Mapping[str, str], template: Row
) -> Iterator[Row]:
    """A row for each measure that is defined in a line of a block.

    Args:
        result: Its attributes have `samples`.
        variable, line: Of the block.
        names: Of its measures, in their order.
        metrics: Measure -> its metric.
        template: The columns that all have.
    """
    for j, name in enumerate(names):
        found: dict[str, Any] = ends_at(result, variable, (line, j))
        undefined = int(result.data[f"{variable}_undefined"][1][line, j])
        if found["value"] is not None:
            n = result.attrs["samples"] - undefined
            yield replace(template, metric=metrics[name], **found, n=n, n_failed=left_out(result) + undefined)


def verdict_columns(result: Result, pair: int, measure: int, row: Row) -> dict[str, Any]:
    """The columns of a row that judge a difference."""
    p, over_images, over_classes = (
        known(float(result.data[f"difference_{end}"][1][pair, measure])) for end in ("p", "resolved", "class_resolved")
    )
    return {"p": p, "verdict": verdict_text(over_images, row.low), "class_verdict": class_verdict(row, over_classes)}


def pair_rows(result: Result, names: Sequence[str], metrics: Mapping[str, str]) -> Iterator[Row]:
    """The difference of each two layers that were compared, by each measure, judged.

    Args:
        result: Its attributes have `layers`, each with backbone and tap, and `pairs` of their numbers.
        names, metrics: As `block_rows` takes them.
    """
    order = [metrics[name] for name in names]
    for i, pair in enumerate(result.attrs["pairs"]):
        one, two = (result.attrs["layers"][number] for number in pair)
        sides = {"backbone": one["backbone"], "layer": one["tap"]}
        template = Row(**sides, backbone_b=two["backbone"], layer_b=two["tap"], kind=DIFFERENCE)
        for row in block_rows(result, "difference", i, names, metrics, template):
            yield replace(row, **verdict_columns(result, i, order.index(row.metric), row))
