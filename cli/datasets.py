"""`cvbench datasets`: what can be read, what it is, whether its files are whole, and where they come from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

import typer

from cvbench.cli import options as shared
from cvbench.cli.command import command
from cvbench.cli.commands import Commands, Place, on_demand
from cvbench.cli.options import echo_json, echo_table
from cvbench.cli.say import say
from cvbench.options import Option

if TYPE_CHECKING:
    from cvbench.jobs.catalogue.datasets import Verification
    from cvbench.jobs.catalogue.download import Listener, Terms

PLACES: dict[str, Place] = {
    "ls": ("cvbench.cli.datasets", "ls", "List the data sets, and where they are under the data root."),
    "info": (
        "cvbench.cli.datasets",
        "info",
        "Describe a data set: splits, counts, licence, expected files.",
    ),
    "verify": (
        "cvbench.cli.datasets",
        "verify",
        "Check the counts and files; with --deep decode every image.",
    ),
    "download": (
        "cvbench.cli.datasets",
        "download",
        "Fetch the official archives, check and unpack them.",
    ),
}
app = Commands(
    cls=on_demand(PLACES, {"list": "ls"}), help="List, describe, check and download data sets.", no_args_is_help=True
)

_SCHEMA = {"schema_version": 1}
_SHOWN = 20


@app.callback()
def group() -> None:
    """List, describe, check and download data sets."""


@dataclass(frozen=True)
class Root:
    """Folder of the data sets."""

    data_root: Annotated[str | None, Option("Folder that holds the data sets.", variable="CVBENCH_DATA")] = None


@dataclass(frozen=True)
class Named:
    """One data set."""

    dataset: Annotated[str, Option("A name of `datasets ls`, or such as folder:PATH or table:FILE.", alone=True)]


@dataclass(frozen=True)
class OfTable:
    """Columns of a table."""

    columns: Annotated[
        str | None, Option("What the columns of a table are: label=species,path=file; see `datasets info table`.")
    ] = None


@dataclass(frozen=True)
class Checked:
    """Part of it that is checked."""

    split: Annotated[str | None, Option("Split of the data set; the default is all of it.")] = None
    deep: Annotated[bool, Option("Also decode every image.")] = False


@dataclass(frozen=True)
class Fetched:
    """Manner of fetching."""

    accept_licence: Annotated[bool, Option("Accept the licence without being asked.")] = False
    keep_archives: Annotated[bool, Option("Keep the archives after unpacking.")] = False


def _ls(root: Root, printed: shared.Printed) -> None:
    """List the data sets, and where they are under the data root."""
    from cvbench.jobs.catalogue.datasets import list_datasets, list_groups

    rows, problems = list_datasets(root.data_root)
    for error in problems:
        say(f"warning: {error.what} ({error.where}): {error.why or error.fix}", err=True)
    if printed.format == "json":
        echo_json({**_SCHEMA, "datasets": [row.as_dict() for row in rows], "groups": list_groups()})
        return
    echo_table(
        ["name", "classes", "images", "title", "found"],
        [
            [
                f"{row.info.name}:PATH" if row.info.of_files else row.info.name,
                "" if row.info.classes is None else str(row.info.classes),
                _counts(row.info.counts, most=3),
                row.info.title,
                row.found or "-",
            ]
            for row in rows
        ],
    )
    say()
    echo_table(["group", "data sets"], [[name, ", ".join(members)] for name, members in list_groups().items()])


def _info(named: Named, table: OfTable, root: Root, printed: shared.Printed) -> None:
    """Describe a data set: splits, counts, licence, expected files. Of folder:PATH what it holds."""
    from cvbench.jobs.catalogue.datasets import describe_dataset

    row = describe_dataset(named.dataset, root.data_root, table.columns)
    if printed.format == "json":
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
        *(("note", line) for line in known.notes.splitlines()),
        ("forms", f"{known.name}:{known.argument}" if known.argument else ""),
        ("found", row.found or "not under the data root"),
        *(("holds", f"{split.split}: {split.images:,} images, {split.classes:,} classes") for split in row.splits),
        *(("left out", f"{split.split}: {entry.text}") for split in row.splits for entry in split.left_out),
    ]
    for name, value in pairs:
        if value:
            say(f"{name:<9} {value}")


def _verify(named: Named, what: Checked, table: OfTable, root: Root, printed: shared.Printed) -> None:
    """Check the counts and files; with --deep decode every image. Exit code 4 on any problem.

    Without --split every image of the data set is checked.
    """
    from cvbench.cli.display import progress
    from cvbench.errors import IntegrityError
    from cvbench.jobs.catalogue.datasets import verify as check

    with progress() as listen:
        report = check(named.dataset, root.data_root, what.split, what.deep, columns=table.columns, listen=listen)
    if printed.format == "json":
        echo_json({**_SCHEMA, **report.as_dict()})
    else:
        _print_report(report)
    if not report.ok:
        first = report.problems[0]
        raise IntegrityError(
            f"{named.dataset}: {len(report.problems):,} problem{'s' * (len(report.problems) > 1)}",
            where=first.where,
            why=f"{first.kind}: {first.message}",
        )


def _download(named: Named, how: Fetched, root: Root, printed: shared.Printed) -> None:
    """Fetch the official archives, check and unpack them. The same command again resumes.

    The licence is shown, and must be accepted: at the prompt, or by --accept-licence.
    """
    from cvbench.jobs.catalogue.download import download as run
    from cvbench.jobs.catalogue.download import present, terms

    dataset, data_root = named.dataset, root.data_root
    result = present(dataset, data_root)
    if result is None:
        accepted = _agree(terms(dataset, data_root), how.accept_licence)
        result = run(dataset, data_root, accepted=accepted, keep=how.keep_archives, listen=_progress())
    if printed.format == "json":
        echo_json({**_SCHEMA, **result.as_dict()})
        return
    say(f"{dataset}: {f'{result.files:,} files in' if result.fetched else 'is there already:'} {result.folder}")
    if result.fetched:
        rows = [[file, f"{size:,}", sha256, url or "an earlier attempt"] for file, size, sha256, url in result.fetched]
        echo_table(["file", "bytes", "sha256", "from"], rows)


def _agree(terms: Terms, accepted: bool) -> bool:
    """Show the conditions on stderr, and ask if a person is there."""
    import sys

    lines = [
        f"{terms.title}: {terms.homepage}",
        f"licence: {terms.licence}",
        *(f"from: {url}" for url in terms.files),
        f"to: {terms.folder}",
    ]
    if terms.unchecked:
        lines.append(
            f"no checksum is published of {', '.join(terms.unchecked)}: that of the first download is recorded"
        )
    say("\n".join(lines), err=True)
    if accepted or not sys.stdin.isatty():
        return accepted
    return typer.confirm("Do you accept the licence?", err=True)


def _progress(interval: float = 5.0) -> Listener:
    """A listener that prints a line to stderr every few seconds, and at the end of each file."""
    import time

    from cvbench.jobs.running.sizes import human

    last = [time.monotonic()]

    def listen(file: str, done: int, total: int | None) -> None:
        if done == total or time.monotonic() - last[0] >= interval:
            last[0] = time.monotonic()
            of_total = "" if total is None else f" of {human(total)}"
            say(f"{file}: {human(done)}{of_total}", err=True)

    return listen


def _counts(counts: Mapping[str, int], most: int | None = None) -> str:
    parts = [f"{split} {count:,}" for split, count in counts.items()]
    shown = parts if most is None or len(parts) <= most else [*parts[:most], "..."]
    return ", ".join(shown)


def _print_report(report: Verification) -> None:
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
    for row in report.splits:
        for entry in row.left_out:
            say(f"{row.split}: {entry.text}")
    say("" if report.problems else "no problem found")
    if report.problems:
        echo_table(["problem", "where", "what"], [[p.kind, p.where, p.message] for p in report.problems[:_SHOWN]])
    if len(report.problems) > _SHOWN:
        say(f"... and {len(report.problems) - _SHOWN:,} more; --format json names them all")


ls = command("ls", [Root, shared.Printed], _ls)
info = command("info", [Named, OfTable, Root, shared.Printed], _info)
verify = command("verify", [Named, Checked, OfTable, Root, shared.Printed], _verify)
download = command("download", [Named, Fetched, Root, shared.Printed], _download)
