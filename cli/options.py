"""Options that several commands share."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Annotated, Literal

from cvbench.cli.say import say
from cvbench.jobs.reading.options import DEFAULT_STORE as DEFAULT_STORE
from cvbench.jobs.running.hardware import Hardware as Hardware
from cvbench.options import Option

_SHELL_WORD = re.compile(
    r"""(?:'[^']*'|"(?:\\.|[^"\\])*"|\\.|\S)+"""
)  # with its quotes; of any text, also a broken one


def writable(out: str | None) -> str | None:
    """The value of an --out, if a folder can be made of it: said before the work.

    Raises:
        UsageError, ResourceError: See `jobs.running.places.check_folder`.
    """
    if out is not None:
        from cvbench.jobs.running.places import check_folder

        check_folder(out)
    return out


@dataclass(frozen=True)
class Output:
    """Output options of a command with a table of numbers."""

    out: Annotated[
        str | None,
        Option("Folder for the figure (SVG, PNG) and the numbers behind it (CSV).", short="-o", check=writable),
    ] = None
    format: Annotated[Literal["table", "json", "csv"], Option("table, json or csv.")] = "table"
    long: Annotated[bool, Option("Every row in the table, not only the main ones.")] = False

    def __post_init__(self) -> None:
        check_format(self.format, ("table", "json", "csv"))


@dataclass(frozen=True)
class Printed:
    """Output options of a command without a table of numbers."""

    format: Annotated[Literal["table", "json"], Option("table or json.")] = "table"

    def __post_init__(self) -> None:
        check_format(self.format, ("table", "json"))


@dataclass(frozen=True)
class StorePlace:
    """The store that a command is of."""

    store: Annotated[str, Option("Path or URL of the feature store.")] = DEFAULT_STORE


@dataclass(frozen=True)
class OwnClaims:
    """Claims of one's own, judged beside the published ones."""

    claims: Annotated[
        tuple[str, ...],
        Option("TOML file of claims of your own, judged beside the published ones; again for another."),
    ] = ()


@dataclass(frozen=True)
class DryRun:
    """Whether to look only."""

    dry_run: Annotated[bool, Option("Only say what would be done.", short="-n")] = False


def echo_json(value: object) -> None:
    """Print one JSON document to stdout; NaN becomes null, since JSON has none."""
    import json

    from cvbench.texts import json_value

    say(json.dumps(json_value(value), indent=2))


def echo_table(columns: list[str], rows: list[list[str]]) -> None:
    """Print a table to stdout: laid out for the width of a terminal, a row a line in a pipe.

    Cells are data, not markup; control characters in them never reach the terminal.
    """
    import sys

    from cvbench.cli.table import table_lines
    from cvbench.texts import printable

    clean = [[printable(cell) for cell in row] for row in rows]
    for line in table_lines(columns, clean, width() if sys.stdout.isatty() else None):
        say(line)


def echo_csv(rows: list[dict[str, object]]) -> None:
    """Print rows with the same keys as CSV to stdout; None is an empty field, a formula of a spreadsheet is quoted."""
    import csv
    import io

    from cvbench.texts import csv_cell

    if rows:
        text = io.StringIO()
        writer = csv.DictWriter(text, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows({name: csv_cell(value) for name, value in row.items()} for row in rows)
        say(text.getvalue().removesuffix("\n"))


def width() -> int:
    """Columns of the terminal, or what COLUMNS says; 80 where there is none."""
    import shutil

    return max(shutil.get_terminal_size((80, 24)).columns, 40)


def say_wrapped(head: str, text: str) -> None:
    """Print a text behind a head, further lines below its beginning; no word is broken."""
    import textwrap

    lines = textwrap.TextWrapper(
        width(), initial_indent=head, subsequent_indent=" " * len(head), break_long_words=False, break_on_hyphens=False
    )
    say(lines.fill(text))


def say_folded(text: str, indent: str = "") -> None:
    """Print a text: on a terminal its further lines are set in by four more, no word broken; in a pipe it is a line."""
    import sys
    import textwrap

    wide = width() if sys.stdout.isatty() else sys.maxsize
    lines = textwrap.TextWrapper(wide, indent, f"{indent}    ", break_long_words=False, break_on_hyphens=False)
    say(lines.fill(text))


def say_command(command: str, indent: str = "", head: str = "") -> None:
    """Print a command to paste behind a head: a line, or where a terminal is narrower one below the other.

    The command goes on behind a backslash, as shells read it.
    """
    import sys

    line = f"{head} {command}" if head else command
    if not sys.stdout.isatty() or len(indent) + len(line) <= width():
        say(f"{indent}{line}")
        return
    if head:
        say_folded(head, indent)
        indent += "  "
    lines = [indent]
    for word in _SHELL_WORD.findall(command):
        if lines[-1].strip() and len(lines[-1]) + len(word) + len(" \\") > width():
            lines.append(f"{indent}    ")
        lines[-1] += f"{word} "
    say(" \\\n".join(part.removesuffix(" ") for part in lines))


def without_empty(columns: list[str], rows: list[list[str]]) -> tuple[list[str], list[list[str]]]:
    """A table without the columns that say nothing in any row.

    >>> without_empty(["layer", "bad"], [["a", ""], ["b", ""]])
    (['layer'], [['a'], ['b']])
    """
    kept = [i for i in range(len(columns)) if any(row[i] for row in rows)]
    return [columns[i] for i in kept], [[row[i] for i in kept] for row in rows]


def number(value: float | None) -> str:
    """A number for a table; undefined is a dash."""
    return "-" if value is None else f"{value:.4f}"


def check_format(given: str, known: tuple[str, ...]) -> None:
    """Refuse an output format that does not exist, before the work starts.

    Raises:
        UnknownNameError: `given` is not in `known`.
    """
    from cvbench.errors import UnknownNameError

    if given not in known:
        raise UnknownNameError.among("format", given, known, fix=f"--format {', '.join(known)}")
