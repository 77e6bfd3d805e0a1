"""`cvbench datasets`: what can be read, what it is, and whether its files are whole."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated

import typer

from cvbench.cli.options import DataRoot, Split, check_format, echo_json, echo_table

if TYPE_CHECKING:
    from cvbench.jobs.datasets import Report

app = typer.Typer(help="List, describe and check data sets.", no_args_is_help=True, rich_markup_mode=None)

_SCHEMA = {"schema_version": 1}
_SHOWN = 20

Name = Annotated[str, typer.Argument(metavar="DATASET", help="A name of `datasets ls`, or folder:PATH.")]
Format = Annotated[str, typer.Option("--format", help="table or json.")]


@app.command("list", hidden=True)
@app.command("ls")
def ls(data_root: DataRoot = None, output: Format = "table") -> None:
    """List the data sets, and where they are under the data root."""
    check_format(output, ("table", "json"))
    from cvbench.jobs.datasets import list_datasets

    rows = list_datasets(data_root)
    if output == "json":
        echo_json({**_SCHEMA, "datasets": [row.as_dict() for row in rows]})
        return
    echo_table(
        ["name", "classes", "images", "title", "found"],
        [
            [
                "folder:PATH" if row.info.name == "folder" else row.info.name,
                "" if row.info.classes is None else str(row.info.classes),
                _counts(row.info.counts),
                row.info.title,
                row.found or "-",
            ]
            for row in rows
        ],
    )


@app.command()
def info(dataset: Name, data_root: DataRoot = None, output: Format = "table") -> None:
    """Describe a data set: splits, counts, licence, and the files that are expected."""
    check_format(output, ("table", "json"))
    from cvbench.jobs.datasets import describe_dataset

    row = describe_dataset(dataset, data_root)
    if output == "json":
        echo_json({**_SCHEMA, **row.as_dict()})
        return
    known = row.info
    pairs = [
        ("name", known.name),
        ("title", known.title),
        ("splits", ", ".join(f"{name} (default)" if name == known.default_split else name for name in known.splits)),
        ("images", _counts(known.counts)),
        ("classes", "" if known.classes is None else str(known.classes)),
        ("licence", known.licence),
        ("homepage", known.homepage),
        *(("expects", line) for line in known.tree.splitlines()),
        ("found", row.found or "not under the data root"),
    ]
    for name, value in pairs:
        if value:
            typer.echo(f"{name:<9} {value}")


@app.command()
def verify(
    dataset: Name,
    data_root: DataRoot = None,
    split: Split = None,
    deep: Annotated[bool, typer.Option("--deep", help="Also decode every image.")] = False,
    output: Format = "table",
) -> None:
    """Check the counts, and that every file is there; with --deep decode every image. Exit code 4 on any problem.

    Without --split every image of the data set is checked.
    """
    check_format(output, ("table", "json"))
    from cvbench.errors import IntegrityError
    from cvbench.jobs.datasets import verify as check

    report = check(dataset, data_root, split, deep)
    if output == "json":
        echo_json({**_SCHEMA, **report.as_dict()})
    else:
        _print_report(report)
    if not report.ok:
        first = report.problems[0]
        raise IntegrityError(
            f"{dataset}: {len(report.problems):,} problem{'s' * (len(report.problems) > 1)}",
            where=first.where,
            why=f"{first.kind}: {first.message}",
        )


def _counts(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{split} {count:,}" for split, count in counts.items())


def _print_report(report: Report) -> None:
    echo_table(
        ["split", "images", "published", "classes", "MB", "decoded"],
        [
            [
                row.split,
                f"{row.images:,}",
                "-" if row.expected is None else f"{row.expected:,}",
                str(row.classes),
                f"{row.bytes / 1e6:,.1f}",
                f"{row.decoded:,}" if row.decoded else "-",
            ]
            for row in report.splits
        ],
    )
    typer.echo("" if report.problems else "no problem found")
    if report.problems:
        echo_table(["problem", "where", "what"], [[p.kind, p.where, p.message] for p in report.problems[:_SHOWN]])
    if len(report.problems) > _SHOWN:
        typer.echo(f"... and {len(report.problems) - _SHOWN:,} more; --format json names them all")
