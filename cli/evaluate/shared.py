"""Options of the benchmarks, and how their one table is shown."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

from cvbench.cli import options as shared
from cvbench.cli.command import Form
from cvbench.cli.say import say
from cvbench.jobs.reading.options import Selection
from cvbench.options import Option

if TYPE_CHECKING:
    from collections.abc import Sequence

    from cvbench.jobs.evaluation.shared import Evaluated
    from cvbench.jobs.results.section import Section

STORE = {"store": shared.DEFAULT_STORE}


def selected(dataset: str = "Data set, if the store holds several.") -> Form:
    """The options that say which backbones and data set of a store are meant; `dataset`: the help."""
    return Form(Selection, ("store", "dataset", "split", "backbone"), help={"dataset": dataset}, defaults=STORE)


SEVERAL = Form(
    Selection,
    ("store", "dataset", "split", "backbone"),
    each="dataset",
    help={"dataset": "Data sets, if the store holds several. Repeat."},
    defaults=STORE,
)
"""The same, of several data sets."""


@dataclass(frozen=True)
class TableOutput(shared.Output):
    """What a benchmark leaves beside the store."""

    long: Annotated[bool, Option("Every row in the table, not only the main ones.")] = False


def show(found: Sequence[Evaluated], section: Section, asked: TableOutput, *, long: bool = False) -> None:
    """Print results as a table, JSON or CSV, and draw their figure into the folder asked for."""
    from pathlib import Path

    from cvbench.jobs.results.table import flat, tidy_rows

    results = [evaluated.result for evaluated in found]
    _warn([note for result in results for note in result.attrs.get("notes", [])])
    rows = [row for result in results for row in tidy_rows(result)]
    if asked.format == "json":
        hidden = ("options", "run", "notes", "verdicts")
        about = [{k: v for k, v in result.attrs.items() if k not in hidden} for result in results]
        spoken = {k: [s for result in results for s in result.attrs.get(k, [])] for k in ("notes", "verdicts")}
        stored = [evaluated.path for evaluated in found]
        shared.echo_json(
            {"schema_version": 1, "rows": [flat(row) for row in rows], "protocols": about, **spoken, "stored": stored}
        )
    elif asked.format == "csv":
        shared.echo_csv([flat(row) for row in rows])
        for note in (note for result in results for note in result.attrs.get("notes", [])):
            say(f"note: {note}", err=True)  # the table has no place for it
    else:
        main = section.headline or section.rows
        _table([row for result in results for row in (section.rows if long or asked.long else main)(result)], found)
    if asked.out is not None and section.figure is not None:
        for result in results:
            parts = [section.analysis, result.attrs["dataset"], result.attrs["split"], result.attrs.get("transform")]
            stem = "-".join(part for part in parts if part)
            for path in section.figure(result, Path(asked.out) / stem, ("svg", "png")):
                say(f"figure: {path}", err=True)


def _warn(notes: Sequence[str]) -> None:
    """What makes a number worthless is said on stderr too, whatever the format."""
    from cvbench.jobs.reading.lineage import WARNING

    for note in dict.fromkeys(notes):
        if note.endswith(WARNING):
            say(f"warning: {note}", err=True)


def _table(rows: list, found: Sequence[Evaluated]) -> None:  # type: ignore[type-arg]
    cells = []
    for row in rows:
        names = [row.dataset, row.split, row.backbone, row.metric, row.factor]
        cells.append([*names, *map(_number, (row.value, row.low, row.high)), str(row.n), str(row.n_failed)])
    columns = ["dataset", "split", "backbone", "metric", "factor", "value", "low", "high", "n", "failed"]
    shared.echo_table(columns, cells)
    for evaluated in found:
        attrs = evaluated.result.attrs
        say(f"intervals: {attrs['intervals']}")
        for kind in ("verdicts", "notes"):
            for text in attrs.get(kind, []):
                say(f"{kind[:-1]}: {text}")
        say(f"result: {evaluated.path} in the store")


def _number(value: float | None) -> str:
    """Four decimals, but three digits of what is smaller, such as a p value."""
    if value is not None and 0 < abs(value) < 0.001:
        return f"{value:.2e}"
    return shared.number(value)
