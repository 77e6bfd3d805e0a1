"""Commands of the analyses and evaluations: built from the registry, run, and shown in one way."""

from __future__ import annotations

import functools
import importlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

from cvbench.cli import options as shared
from cvbench.cli.command import command
from cvbench.cli.commands import OnDemand
from cvbench.cli.say import say
from cvbench.jobs import registry
from cvbench.options import Option

if TYPE_CHECKING:
    from cvbench.jobs.results.entry import Entry, Kept
    from cvbench.jobs.results.row import TidyRow


@dataclass(frozen=True)
class TableOutput(shared.Output):
    """What a command with one table leaves beside the store."""

    long: Annotated[bool, Option("Every row in the table, not only the main ones.")] = False


class Entries(OnDemand):
    """A group of the registry, and commands of its own."""

    group: ClassVar[str]
    tables: ClassVar[Mapping[str, str]]

    def lines(self) -> dict[str, str]:
        """Those of the registry, those of plugins among them, then the group's own."""
        if self.group == "analyze":
            _warn_of_plugins()
        return {name: place.line for name, place in registry.places(self.group).items()} | super().lines()

    def build(self, name: str) -> Any:
        """Build a command from its entry's forms."""
        place = None if name in self.places else registry.place_of(name)
        if place is None or place.group != self.group:
            return super().build(name)
        return entry_command(name, place, self.tables.get(name))


@functools.cache
def _warn_of_plugins() -> None:
    """Say once what is installed beside cvbench and not used."""
    for problem in registry.plugins().problems:
        say(f"warning: {problem}", err=True)


def group_of(name: str, tables: Mapping[str, str], places: Mapping[str, Any]) -> type[Entries]:
    """The class of a group.

    Args:
        name: As the registry has it.
        tables: Name of an entry -> the module with `document`, `records` and `table` that shows it in its own way.
        places: Commands that are no entries.
    """
    return type("Entries", (Entries,), {"group": name, "tables": tables, "places": places})


def entry_command(name: str, place: registry.Place, own: str | None) -> Any:
    """The command that runs an entry and shows what it has kept; `own` is the module that shows it, if it has one."""

    def act(*made: Any) -> None:
        from cvbench.cli.display import progress

        *asked, output = made
        entry = registry.entry_of(name)
        assert entry is not None
        assert entry.run is not None
        with progress() as listen:
            found = entry.run(*asked, listen)
        long = getattr(output, "long", False) or any(getattr(one, "every_row", False) for one in asked)
        show(entry, found, output.format, importlib.import_module(own) if own else _Tidy(entry, long))
        if output.out is not None:
            draw(entry, found, output.out)

    act.__doc__ = place.help
    output = shared.Output if own else TableOutput
    return command(name, [*registry.forms_of(name), output], act)


def show(entry: Entry, found: Sequence[Kept], form: str, way: Any) -> None:
    """Print what a command has kept as a table, JSON or CSV."""
    if form == "json":
        shared.echo_json({"schema_version": 1, **way.document(found)})
    elif form == "csv":
        shared.echo_csv(way.records(found))
    else:
        way.table(found)


def draw(entry: Entry, found: Sequence[Kept], folder: str) -> None:
    """Draw the figures into the folder asked for, and name the files."""
    from pathlib import Path

    files = []
    if entry.draw is not None:
        files = entry.draw(found, Path(folder))
    elif entry.figure is not None:
        for one in found:
            attrs = one.named.attrs
            parts = [entry.name, attrs["dataset"], attrs["split"], *(attrs.get(key) for key in entry.named_by)]
            files += entry.figure(one.named, Path(folder) / "-".join(filter(None, parts)), ("svg", "png"))
    for path in files:
        say(f"figure: {path}", err=True)


class _Tidy:
    """Shows the tidy rows, as of every entry without a table of its own."""

    def __init__(self, entry: Entry, long: bool) -> None:
        self._rows = entry.rows if long else entry.headline or entry.rows
        self._all = entry.rows
        self._name = entry.name

    def document(self, found: Sequence[Kept]) -> dict[str, Any]:
        """Rows, and how they were made."""
        results = [one.named for one in found]
        self._warn(found)
        hidden = ("options", "run", "notes", "verdicts")
        about = [{k: v for k, v in result.attrs.items() if k not in hidden} for result in results]
        spoken = {k: [s for result in results for s in result.attrs.get(k, [])] for k in ("notes", "verdicts")}
        stored = [one.path for one in found]
        return {"rows": self._flat(found), "protocols": about, **spoken, "stored": stored}

    def records(self, found: Sequence[Kept]) -> list[dict[str, Any]]:
        """Rows; the notes go to stderr, as the table has no place for them."""
        self._warn(found)
        for one in found:
            for note in one.named.attrs.get("notes", []):
                say(f"note: {note}", err=True)
        return self._flat(found)

    def table(self, found: Sequence[Kept]) -> None:
        """The main rows, then what is to be said of them."""
        self._warn(found)
        rows = [row for one in found for row in self._rows(one.named)]
        columns = ["dataset", "split", "backbone", "metric", "factor", "value", "low", "high", "n", "failed"]
        shared.echo_table(columns, [_cells(row) for row in rows])
        for one in found:
            attrs = one.named.attrs
            if isinstance(attrs.get("intervals"), str):
                say(f"intervals: {attrs['intervals']}")
            for kind in ("verdicts", "notes"):
                for text in attrs.get(kind, []):
                    say(f"{kind[:-1]}: {text}")
            say(f"result: {one.path} in the store")

    def _flat(self, found: Sequence[Kept]) -> list[dict[str, Any]]:
        from dataclasses import asdict

        return [asdict(row) for one in found for row in self._all(one.named)]

    def _warn(self, found: Sequence[Kept]) -> None:
        """What makes a number worthless is said on stderr too, whatever the format."""
        from cvbench.jobs.reading.lineage import WARNING

        for note in dict.fromkeys(note for one in found for note in one.named.attrs.get("notes", [])):
            if note.endswith(WARNING):
                say(f"warning: {note}", err=True)


def _cells(row: TidyRow) -> list[str]:
    names = [row.dataset, row.split, row.backbone, row.metric, row.factor]
    return [*names, *map(_number, (row.value, row.low, row.high)), str(row.n), str(row.n_failed)]


def _number(value: float | None) -> str:
    """Four decimals, but three digits of what is smaller, such as a p value."""
    if value is not None and 0 < abs(value) < 0.001:
        return f"{value:.2e}"
    return shared.number(value)
