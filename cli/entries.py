"""Commands of the analyses and evaluations: built from the registry, run, and shown in one way."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from cvbench.cli import options as shared
from cvbench.cli.command import command
from cvbench.cli.commands import OnDemand
from cvbench.cli.rows import echo_rows
from cvbench.cli.say import say
from cvbench.jobs import registry

if TYPE_CHECKING:
    from cvbench.jobs.results.entry import Entry, Kept, Result
    from cvbench.jobs.results.row import Row


class Entries(OnDemand):
    """A group of the registry, and commands of its own."""

    group: ClassVar[str]

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
        return entry_command(name, place)


@functools.cache
def _warn_of_plugins() -> None:
    """Say once what is installed beside cvbench and not used."""
    for problem in registry.plugins().problems:
        say(f"warning: {problem}", err=True)


def group_of(name: str, places: Mapping[str, Any]) -> type[Entries]:
    """The class of a group.

    Args:
        name: As the registry has it.
        places: Commands that are no entries.
    """
    return type("Entries", (Entries,), {"group": name, "places": places})


def entry_command(name: str, place: registry.Place) -> Any:
    """The command that runs an entry and shows what it has kept."""

    def act(*made: Any) -> None:
        from cvbench.cli.display import progress

        *asked, output = made
        entry = registry.entry_of(name)
        assert entry is not None
        assert entry.run is not None
        with progress() as listen:
            found = [Shown.of(one) for one in entry.run(*asked, listen)]
        long = output.long or any(getattr(one, "every_row", False) for one in asked)
        show(found, output.format, long=long)
        if output.out is not None:
            draw(entry, found, output.out)

    act.__doc__ = place.help
    return command(name, [*registry.forms_of(name), shared.Output], act)


@dataclass(frozen=True)
class Shown:
    """A kept result with its entry and its rows."""

    entry: Entry
    result: Result
    rows: Sequence[Row]
    path: str

    @classmethod
    def of(cls, kept: Kept) -> Shown:
        """Make one from what a command has kept, which need not be a result of its own entry."""
        entry, named = registry.entry_of(kept.result.name), kept.named
        assert entry is not None
        return cls(entry, named, entry.rows_of(named), kept.path)


def show(found: Sequence[Shown], form: str, *, long: bool) -> None:
    """Print results as tables, JSON or CSV; the one way of all commands that make them."""
    from cvbench.jobs.results.document import csv_text, document

    rows = [row for one in found for row in one.rows]
    _warn(found)
    if form == "json":
        shared.echo_json(document([(one.result, one.entry.arrays) for one in found], rows))
    elif form == "csv":
        say(csv_text(rows).removesuffix("\n"))
        for one in found:  # the table has no place for them
            for note in one.result.attrs.get("notes", []):
                say(f"note: {note}", err=True)
    else:
        echo_rows([row for one in found for row in (one.rows if long else one.entry.main_rows(one.result, one.rows))])
        for one in found:
            _say_about(one, long=long)


def _say_about(one: Shown, *, long: bool) -> None:
    """Print a result's sentences, notes and place under its numbers."""
    from cvbench.jobs.running.sizes import counted

    attrs = one.result.attrs
    for text in one.entry.sentences(one.result, one.rows):
        shared.say_folded(text)
    for note in attrs.get("notes", []):
        shared.say_folded(f"note: {note}")
    shared.say_folded(
        f"result: {one.path} in the store ({counted(len(one.rows), 'number')}{'' if long else '; --long shows all'})"
    )


def _warn(found: Sequence[Shown]) -> None:
    """Repeat on stderr, whatever the format, the notes that make a number worthless."""
    from cvbench.jobs.reading.lineage import WARNING

    for note in dict.fromkeys(note for one in found for note in one.result.attrs.get("notes", [])):
        if note.endswith(WARNING):
            say(f"warning: {note}", err=True)


def draw(entry: Entry, found: Sequence[Shown], folder: str) -> None:
    """Draw the figures into the folder asked for, and name the files."""
    from pathlib import Path

    from cvbench.jobs.figures import draw as figures

    files = []
    for one in found:
        attrs = one.result.attrs
        parts = [one.entry.name, attrs["dataset"], attrs["split"], *(attrs.get(key) for key in one.entry.named_by)]
        files += figures.draw(one.entry, one.result, one.rows, Path(folder) / "-".join(filter(None, parts)))
    own = [one for one in found if one.entry is entry]
    rows = [row for one in own for row in one.rows]
    files += figures.draw_overview(entry, [one.result for one in own], rows, Path(folder) / entry.name)
    for path in files:
        say(f"figure: {path}", err=True)
