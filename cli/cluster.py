"""`cvbench cluster`: look at the nodes of a cluster, and reckon what a run on one takes and costs."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING

import typer

from cvbench.cli import options as shared
from cvbench.cli.command import command
from cvbench.cli.commands import Commands, Place, on_demand
from cvbench.cli.say import say
from cvbench.jobs.catalogue.cluster import ClusterOptions
from cvbench.jobs.catalogue.cluster_plan import Prices
from cvbench.jobs.extraction.options import EXTRACT, ExtractOptions, Rates, jobs_of

if TYPE_CHECKING:
    from cvbench.jobs.catalogue.cluster_plan import ClusterPlan

PLACES: dict[str, Place] = {
    "doctor": ("cvbench.cli.cluster", "doctor", "Look at every node of a cluster: what differs, what is in the way."),
    "plan": (
        "cvbench.cli.cluster",
        "plan",
        "Say hours, GPU-hours, bytes, requests and cost.",
    ),
}
app = Commands(cls=on_demand(PLACES), help="Look at a cluster; plan a run on one.", no_args_is_help=True)


@app.callback()
def group() -> None:
    """Look at a cluster; plan a run on one."""


def _doctor(options: ClusterOptions, printed: shared.Printed) -> None:
    """Look at every node of a cluster: what differs, what is in the way.

    Exit code 8 if anything is: other versions, a card without kernels, no space, a clock that is out, a store that
    nodes do not share or that lets two of them write the same object, a data set that a node does not see, a dashboard
    that is open to all.
    """
    from cvbench.jobs.catalogue.cluster import cluster_doctor, shown

    report = cluster_doctor(options)
    if printed.format == "json":
        shared.echo_json({"schema_version": 1, "ok": report.ok, **asdict(report)})
    else:
        say(f"{report.address}: {report.nodes} nodes")
        for node, one in shown(report.findings):
            state = one.state if one.state != "problem" else "PROBLEM"
            shared.say_wrapped(f"{state:7}  {node}: {one.name}: ", one.said)
            if one.fix and one.state != "ok":
                shared.say_wrapped(f"{'':9}", f"fix: {one.fix}")
    if not report.ok:
        raise typer.Exit(8)


def _plan(
    asked: list[ExtractOptions], hardware: shared.Hardware, rates: Rates, prices: Prices, printed: shared.Printed
) -> None:
    """Say hours, GPU-hours, bytes, requests and cost. Nothing runs."""
    from cvbench.jobs.catalogue.cluster_plan import cluster_plan

    found = cluster_plan(jobs_of(asked), hardware.gpus or 1, rates, prices)
    if printed.format == "json":
        shared.echo_json({"schema_version": 1, **asdict(found)})
        return
    _show_plan(found)


def _show_plan(found: ClusterPlan) -> None:
    for one in found.lines:
        shared.say_wrapped(f"{one.name}: {one.shown}  ", f"({one.basis})")
    for note in found.notes:
        shared.say_wrapped("note: ", note)
    for advice in found.advice:
        shared.say_wrapped("does not fit: ", advice)


doctor = command("doctor", [ClusterOptions, shared.Printed], _doctor)
plan = command("plan", [*EXTRACT, Rates, Prices, shared.Printed], _plan)
