"""Options that several commands share."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from cvbench.cli.say import say
from cvbench.options import Option

if TYPE_CHECKING:
    from cvbench.jobs.results.words import IntervalOptions
    from cvbench.jobs.running.executor import Cluster

DEFAULT_STORE = "./cvbench.zarr"


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
class Hardware:
    """Where a command runs."""

    address: Annotated[
        str,
        Option(
            '"local" starts a private Ray, "none" runs in this process, else the address of a Ray cluster.',
            variable="CVBENCH_ADDRESS",
        ),
    ] = "local"
    device: Annotated[str, Option("auto, cpu or cuda.")] = "auto"
    gpus: Annotated[int | None, Option("How many GPUs (actors) to use; default all.", least=1)] = None
    threads: Annotated[int | None, Option("CPU cores of one actor (CPU only).", least=1)] = None

    def cluster(self, threads: int = 1) -> Cluster:
        """The cluster that is meant; `threads` if nothing was said of them.

        Raises:
            UnknownNameError: A device that does not exist.
        """
        return cluster(self.address, self.device, self.gpus, self.threads or threads)


@dataclass(frozen=True)
class Output:
    """What a command leaves beside the store."""

    out: Annotated[
        str | None,
        Option("Folder for the figure (SVG, PNG) and the numbers behind it (CSV).", short="-o", check=writable),
    ] = None
    format: Annotated[Literal["table", "json", "csv"], Option("table, json or csv.")] = "table"

    def __post_init__(self) -> None:
        check_format(self.format, ("table", "json", "csv"))


@dataclass(frozen=True)
class Printed:
    """How a command without a table of numbers prints."""

    format: Annotated[Literal["table", "json"], Option("table or json.")] = "table"

    def __post_init__(self) -> None:
        check_format(self.format, ("table", "json"))


Store = Annotated[str, typer.Option("--store", help="Path or URL of the feature store.")]
DataRoot = Annotated[
    str | None, typer.Option("--data-root", envvar="CVBENCH_DATA", help="Folder that holds the data sets.")
]
Split = Annotated[str | None, typer.Option("--split", help="Split of the data set; the default is the data set's own.")]
Address = Annotated[
    str,
    typer.Option(
        "--address",
        envvar="CVBENCH_ADDRESS",
        help='"local" starts a private Ray, "none" runs in this process, else the address of a Ray cluster.',
    ),
]
Gpus = Annotated[int | None, typer.Option("--gpus", min=1, help="How many GPUs (actors) to use; default all.")]
Device = Annotated[str, typer.Option("--device", help="auto, cpu or cuda.")]
Threads = Annotated[int | None, typer.Option("--threads", min=1, help="CPU cores of one actor (CPU only).")]

OneDataset = Annotated[str | None, typer.Option("--dataset", "-d", help="Data set, if the store holds several.")]
Datasets = Annotated[list[str], typer.Option("--dataset", "-d", help="Data sets, if the store holds several. Repeat.")]
Backbones = Annotated[list[str], typer.Option("--backbone", "-m", help="Backbones; default all. Repeat.")]
Layers = Annotated[list[str], typer.Option("--taps", help="Layers, names or globs; default all. Repeat.")]
Resamples = Annotated[int, typer.Option("--resamples", min=1, help="Resamples, for the intervals that draw any.")]
Seed = Annotated[int, typer.Option("--seed", min=0, help="Seed of all that is drawn at random.")]
Out = Annotated[
    str | None,
    typer.Option(
        "--out", "-o", callback=writable, help="Folder for the figure (SVG, PNG) and the numbers behind it (CSV)."
    ),
]
Format = Annotated[str, typer.Option("--format", help="table, json or csv.")]


def cluster(address: str, device: str, gpus: int | None, threads: int | None) -> Cluster:
    """The cluster that the options describe.

    Raises:
        UsageError: A device that does not exist.
    """
    from cvbench.jobs.running.executor import Cluster, choose_device

    return Cluster(address=address, device=choose_device(device, address), actors=gpus, threads=threads or 1)


def intervals(resamples: int, seed: int) -> IntervalOptions:
    """The options of the intervals."""
    from cvbench.jobs.results.words import IntervalOptions

    return IntervalOptions(resamples=resamples, seed=seed)


def size(text: str | None, name: str) -> int | None:
    """A count: "all" or None is None, else a positive number.

    Raises:
        BadParameter: Neither.
    """
    if text is None or text == "all":
        return None
    if not text.isdigit() or int(text) < 1:
        raise typer.BadParameter(f"{name} {text}: give a positive number or 'all'")
    return int(text)


def echo_json(value: object) -> None:
    """Print one JSON document to stdout; NaN becomes null, since JSON has none."""
    import json

    say(json.dumps(_plain(value), indent=2))


def echo_table(columns: list[str], rows: list[list[str]]) -> None:
    """Print a table to stdout: folded to the width of a terminal, never cut or folded in a pipe.

    Cells are data, not markup; control characters in them never reach the terminal.
    """
    import sys

    from cvbench.texts import printable

    clean = [[printable(cell) for cell in row] for row in rows]
    if sys.stdout.isatty():
        from rich.console import Console
        from rich.table import Table
        from rich.text import Text

        table = Table(*columns, box=None, pad_edge=False, header_style="bold")
        for row in clean:
            table.add_row(*(Text(cell, overflow="fold") for cell in row))
        Console().print(table)
        return
    widths = [max(map(len, column)) for column in zip(columns, *clean, strict=True)]
    for row in [columns, *clean]:
        say("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


def _plain(value: object) -> object:
    import math

    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if hasattr(value, "item") and not isinstance(value, str):
        return _plain(value.item())
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


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
