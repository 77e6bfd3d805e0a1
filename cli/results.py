"""`cvbench results`: what a store has found, one by one."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Annotated, Any

from cvbench.cli import options as shared
from cvbench.cli.command import command
from cvbench.cli.commands import Commands, Place, on_demand
from cvbench.cli.rows import in_words, named
from cvbench.cli.say import say
from cvbench.options import Option

if TYPE_CHECKING:
    from cvbench.jobs.report.kept import Change, Comparison, Listed, RemoveReport

SCHEMA = {"schema_version": 1}
PLACES: dict[str, Place] = {
    "ls": ("cvbench.cli.results", "ls", "List results: of what, when, the main number, the command."),
    "show": ("cvbench.cli.results", "show", "Show the numbers of results, as the commands that made them did."),
    "diff": ("cvbench.cli.results", "diff", "Set two results of one analysis beside each other, number by number."),
    "rm": ("cvbench.cli.results", "rm", "Remove results; the report no longer shows them. Asks nothing."),
}
app = Commands(cls=on_demand(PLACES), help="List, show, compare and remove results.", no_args_is_help=True)


@app.callback()
def group() -> None:
    """List, show, compare and remove results."""


@dataclass(frozen=True)
class Named:
    """Results by name."""

    results: Annotated[
        tuple[str, ...], Option("First digits of the digest, as `results ls` shows them; or the path.", alone=True)
    ]


@dataclass(frozen=True)
class Two:
    """Two results by name."""

    first: Annotated[str, Option("First digits of the digest, or the path.", alone=True)]
    second: Annotated[str, Option("The same of the other.", alone=True)]


@dataclass(frozen=True)
class Every:
    """Whether all is shown."""

    long: Annotated[bool, Option("Every number, not only the main ones.")] = False


def _ls(kept: shared.StorePlace, printed: shared.Printed) -> None:
    """List results: of what, when, the main number, the command."""
    from cvbench.jobs.report.kept import listed

    found = listed(kept.store)
    if printed.format == "json":
        shared.echo_json({**SCHEMA, "store": kept.store, "results": [one.as_dict() for one in found]})
        return
    for one in found:
        _say_listed(one)
    say(f"{len(found)} result{'' if len(found) == 1 else 's'}")


def _say_listed(one: Listed) -> None:
    key, made = one.item.key, "" if one.made is None else f"  {one.made:%Y-%m-%d %H:%M} UTC"
    shared.say_folded(f"{one.short}  {key.analysis}  {key.dataset}/{key.split}{made}  {len(one.item.rows)} numbers")
    indent = " " * 10
    if one.main is not None:
        shared.say_folded(in_words(one.main), indent)
    if one.item.command:
        shared.say_command(one.item.command, indent)
    else:
        shared.say_folded(one.item.problem, indent)


def _show(asked: Named, kept: shared.StorePlace, every: Every, printed: shared.Printed) -> None:
    """Show the numbers of results, as the commands that made them did."""
    from cvbench.cli.entries import Shown, show
    from cvbench.jobs.report.kept import find

    found = [one.item for one in find(kept.store, asked.results)]
    shown = [Shown(item.entry, item.result, item.rows, item.key.path) for item in found if item.entry is not None]
    show(shown, printed.format, long=every.long)
    for item in found:
        if item.entry is None:
            say(f"{item.key.path}: {item.problem}", err=True)
        elif printed.format == "table":
            shared.say_command(item.command, head="made by:")


def _diff(two: Two, kept: shared.StorePlace, every: Every, printed: shared.Printed) -> None:
    """Set two results of one analysis beside each other, number by number.

    The difference is the second less the first; what their settings differ in stands above.
    """
    from cvbench.jobs.report.kept import compare

    found = compare(kept.store, two.first, two.second)
    if printed.format == "json":
        shared.echo_json({**SCHEMA, **_comparison(found)})
        return
    say(f"{found.first.item.key.path} and {found.second.item.key.path}")
    for name, values in found.settings.items():
        say(f"{name}: {' | '.join(_shortened(value) for value in values)}")
    other = [one for one in found.changes if one.first != one.second]
    shown = found.changes if every.long else other
    if shown:
        rows = [[*named(one.row), *map(shared.number, _values(one))] for one in shown]
        shared.echo_table(["metric", "of", "where", "first", "second", "difference"], rows)
    say(f"{len(other)} of {len(found.changes)} numbers differ")


def _shortened(value: Any) -> str:
    text = str(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def _values(one: Change) -> tuple[float | None, ...]:
    return one.first, one.second, one.difference


def _comparison(found: Comparison) -> dict[str, Any]:
    from cvbench.jobs.results.row import plain

    numbers = [
        {**plain(one.row), "value": None, "first": one.first, "second": one.second, "difference": one.difference}
        for one in found.changes
    ]
    settings = {name: {"first": one, "second": two} for name, (one, two) in found.settings.items()}
    return {
        "first": found.first.item.key.path,
        "second": found.second.item.key.path,
        "settings": settings,
        "numbers": numbers,
    }


def _rm(asked: Named, kept: shared.StorePlace, only: shared.DryRun, printed: shared.Printed) -> None:
    """Remove results; the report no longer shows them. Asks nothing, and says what it removed.

    What was measured unit by unit for them stays: the same command gives them again at once. Only while nothing writes
    to the store.
    """
    from cvbench.jobs.report.kept import remove_results

    say_removed(remove_results(kept.store, asked.results, dry_run=only.dry_run), printed)


def say_removed(report: RemoveReport, printed: shared.Printed) -> None:
    """Say what was removed of a store."""
    from cvbench.jobs.running.sizes import counted, human

    if printed.format == "json":
        shared.echo_json(
            {**SCHEMA, **{"store" if key == "url" else key: value for key, value in asdict(report).items()}}
        )
        return
    for kind in ("splits", "layers", "results"):
        for path in getattr(report, kind):
            say(f"{kind[:-1]:<7} {path}")
    would = "would be " if report.dry_run else ""
    counts = f"{counted(len(report.layers), 'layer')}, {counted(len(report.results), 'result')}"
    say(f"{counts}, {report.objects} objects {would}removed; {human(report.bytes)} of features")


ls = command("ls", [shared.StorePlace, shared.Printed], _ls)
show = command("show", [Named, shared.StorePlace, Every, shared.Printed], _show)
diff = command("diff", [Two, shared.StorePlace, Every, shared.Printed], _diff)
rm = command("rm", [Named, shared.StorePlace, shared.DryRun, shared.Printed], _rm)
