"""Options of the benchmarks, and how their one table is shown."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from cvbench.cli import options as shared
from cvbench.cli.say import say

if TYPE_CHECKING:
    from collections.abc import Sequence

    from cvbench.jobs.evaluation.samples import EvalOptions
    from cvbench.jobs.evaluation.shared import Evaluated
    from cvbench.jobs.section import Section

Partial = Annotated[bool, typer.Option("--partial", help="Accept a part of the data set; n says how much.")]
AllowChance = Annotated[
    bool, typer.Option("--allow-chance", help="Report an accuracy near chance (random weights), not refuse it.")
]
AllColumns = Annotated[
    bool, typer.Option("--all-columns", help="Do not select the outputs of a class subset: argmax over all.")
]
Long = Annotated[bool, typer.Option("--long", help="Every row in the table, not only the main ones.")]


def eval_options(partial: bool, allow_chance: bool) -> EvalOptions:
    """The options that all benchmarks share."""
    from cvbench.jobs.evaluation.samples import EvalOptions

    return EvalOptions(partial, allow_chance)


def show(found: Sequence[Evaluated], section: Section, output: str, out: str | None, long: bool) -> None:
    """Print results as a table, JSON or CSV, and draw their figure into the folder `out`."""
    from pathlib import Path

    from cvbench.jobs.evaluation.table import flat, tidy_rows

    results = [evaluated.result for evaluated in found]
    _warn([note for result in results for note in result.attrs.get("notes", [])])
    rows = [row for result in results for row in tidy_rows(result)]
    if output == "json":
        hidden = ("options", "run", "notes", "verdicts")
        about = [{k: v for k, v in result.attrs.items() if k not in hidden} for result in results]
        spoken = {k: [s for result in results for s in result.attrs.get(k, [])] for k in ("notes", "verdicts")}
        stored = [evaluated.path for evaluated in found]
        shared.echo_json(
            {"schema_version": 1, "rows": [flat(row) for row in rows], "protocols": about, **spoken, "stored": stored}
        )
    elif output == "csv":
        shared.echo_csv([flat(row) for row in rows])
        for note in (note for result in results for note in result.attrs.get("notes", [])):
            say(f"note: {note}", err=True)  # the table has no place for it
    else:
        main = section.headline or section.rows
        _table([row for result in results for row in (section.rows if long else main)(result)], found)
    if out is not None and section.figure is not None:
        for result in results:
            parts = [section.analysis, result.attrs["dataset"], result.attrs["split"], result.attrs.get("transform")]
            stem = "-".join(part for part in parts if part)
            for path in section.figure(result, Path(out) / stem, ("svg", "png")):
                say(f"figure: {path}", err=True)


def _warn(notes: Sequence[str]) -> None:
    """What makes a number worthless is said on stderr too, whatever the format."""
    from cvbench.jobs.lineage import WARNING

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
