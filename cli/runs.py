"""`cvbench runs`: what the runs on a store did, how fast they were, and what failed."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Annotated, Any

from cvbench.cli import options as shared
from cvbench.cli.command import command
from cvbench.cli.commands import Commands, Place, on_demand
from cvbench.cli.say import say
from cvbench.options import Option

if TYPE_CHECKING:
    from cvbench.jobs.catalogue.runs import Failure, Run

SCHEMA = {"schema_version": 1}
PLACES: dict[str, Place] = {
    "ls": (
        "cvbench.cli.runs",
        "ls",
        "List the runs on a store: what, where, how fast, how ended.",
    ),
    "show": (
        "cvbench.cli.runs",
        "show",
        "Show one run: seconds of each stage, waiting, versions.",
    ),
    "failures": ("cvbench.cli.runs", "failures", "Show what failed in a run, and what the processes wrote last."),
}
app = Commands(cls=on_demand(PLACES), help="Runs on a store: what they did, and what failed.", no_args_is_help=True)


@app.callback()
def group() -> None:
    """Runs on a store: what they did, and what failed."""


@dataclass(frozen=True)
class Named:
    """A run by name."""

    run: Annotated[
        str | None, Option("Beginning of its name, or of the digits behind its time; default the latest.")
    ] = None


def _ls(kept: shared.StorePlace, printed: shared.Printed) -> None:
    """List the runs on a store: what, where, how fast, how ended."""
    from cvbench.jobs.catalogue.runs import list_runs

    found = list_runs(kept.store)
    if printed.format == "json":
        shared.echo_json({**SCHEMA, "runs": [_document(run) for run in found]})
        return
    rows = [
        [
            *(run.name, run.job, run.title, f"{run.place} {run.device}", str(run.samples), f"{run.seconds:.1f}"),
            *(f"{run.samples_per_second:.1f}", _count(run.redone), _count(len(run.failures)), run.outcome),
        ]
        for run in found
    ]
    columns = ["run", "job", "of", "where", "samples", "seconds", "samples/s", "redone", "failures", "outcome"]
    shared.echo_table(*shared.without_empty(columns, rows))


def _show(kept: shared.StorePlace, named: Named, printed: shared.Printed) -> None:
    """Show one run: seconds of each stage, waiting, versions.

    Waiting is the share of the time in which the device had nothing to do.
    """
    from cvbench.jobs.catalogue.runs import find_run

    run = find_run(kept.store, named.run)
    if printed.format == "json":
        shared.echo_json({**SCHEMA, **_document(run)})
        return
    say(f"{run.name}: {run.job} {run.title}, {run.outcome}{f': {run.error}' if run.error else ''}")
    say(f"  {run.samples} of {run.total - run.skipped} samples in {run.seconds:.1f} s, {run.samples_per_second:.1f}/s")
    say(f"  {run.place}, {run.device}; {run.bad} bad samples, {run.redone} units redone, {len(run.failures)} failures")
    if run.idle is not None:
        say(f"  the device waited {run.idle:.0%} of the time of its units")
    for stage, seconds in run.stages.items():
        say(f"    {stage}: {seconds:.1f} s")
    shared.say_wrapped("  versions: ", ", ".join(f"{name} {number}" for name, number in run.versions.items() if number))
    for note in run.notes:
        shared.say_wrapped("  note: ", note)
    if run.left_out:
        say(f"  {run.left_out} events are not in the log")


def _failures(kept: shared.StorePlace, named: Named, printed: shared.Printed) -> None:
    """Show what failed in a run, and what the processes wrote last."""
    from cvbench.jobs.catalogue.runs import find_run

    run = find_run(kept.store, named.run)
    if printed.format == "json":
        shared.echo_json({**SCHEMA, "run": run.name, "failures": [asdict(one) for one in run.failures]})
        return
    if not run.failures:
        say(f"{run.name}: nothing failed")
    for one in run.failures:
        _say_failure(one)


def _say_failure(one: Failure) -> None:
    where = f" on {one.node}, process {one.process}" if one.node else ""
    shared.say_wrapped(f"{one.seconds:.1f} s: ", f"{one.what}{where}; {one.units} units went back")
    for line in one.lines:
        say(f"    {line}")


def _document(run: Run) -> dict[str, Any]:
    return {**asdict(run), "samples_per_second": run.samples_per_second, "idle": run.idle}


def _count(number: int) -> str:
    return str(number) if number else ""


ls = command("ls", [shared.StorePlace, shared.Printed], _ls)
show = command("show", [shared.StorePlace, Named, shared.Printed], _show)
failures = command("failures", [shared.StorePlace, Named, shared.Printed], _failures)
