"""`cvbench extract` and `cvbench plan`."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Annotated, Any

from cvbench import hints
from cvbench.cli import options as shared
from cvbench.cli.command import command
from cvbench.cli.say import say
from cvbench.jobs.extraction.backbones import list_taps
from cvbench.jobs.extraction.options import EXTRACT, PLAN, ExtractOptions, Rates, jobs_of
from cvbench.jobs.reading.views import MAPS, POOLED, is_vector
from cvbench.options import Option

if TYPE_CHECKING:
    from cvbench.jobs.extraction.job import ExtractReport
    from cvbench.jobs.extraction.plan import PlanReport
    from cvbench.jobs.extraction.space import LayerPlan


@dataclass(frozen=True)
class Detail:
    """The detail in which a plan is said."""

    long: Annotated[bool, Option("For the plan: each layer, not those that are alike as one.")] = False


@dataclass(frozen=True)
class PlanOnly:
    """Whether to look only."""

    plan: Annotated[bool, Option("Only say what would be done.", short="-n")] = False


def _extract(
    asked: list[ExtractOptions],
    hardware: shared.Hardware,
    only: PlanOnly,
    rates: Rates,
    detail: Detail,
    printed: shared.Printed,
) -> None:
    """Stream data sets through backbones and keep layerwise features. The same command again resumes."""
    jobs = jobs_of(asked)
    if asked[0].taps == ("list",):
        _list_taps(jobs[0], printed)
        return
    if only.plan:
        _show_plans(jobs, hardware, rates, detail, printed)
        return
    from cvbench.cli.display import progress
    from cvbench.jobs.extraction.extract import extract as run
    from cvbench.jobs.extraction.plan import check_together
    from cvbench.jobs.registry import find_live

    cluster = hardware.cluster()
    live = find_live(jobs[0].analyses)
    check_together(jobs)
    reports = []
    try:
        for job in jobs:
            with progress() as listen:
                reports.append(run(job, cluster, listen, live))
            if printed.format == "table":
                _show(reports[-1])
    finally:  # what is done is said, whatever became of the next
        if printed.format == "json":
            _echo_documents([asdict(report) for report in reports])


def _plan(
    asked: list[ExtractOptions], hardware: shared.Hardware, rates: Rates, detail: Detail, printed: shared.Printed
) -> None:
    """Say bytes, hours and the bottleneck of an extraction. Nothing runs, no weights are loaded."""
    _extract(asked, hardware, PlanOnly(plan=True), rates, detail, printed)


extract = command("extract", [*EXTRACT, PlanOnly, Rates, Detail, shared.Printed], _extract)
plan = command("plan", [*PLAN, Detail, shared.Printed], _plan)


def _list_taps(job: ExtractOptions, printed: shared.Printed) -> None:
    found = list_taps(job)
    if printed.format == "json":
        shared.echo_json({"schema_version": 1, "backbones": found})
        return
    for model, taps in found.items():
        for tap, layout in taps.items():
            say(f"{model}\t{tap}\t{layout}")


def _echo_documents(found: list[dict[str, Any]]) -> None:
    """One JSON document: that of the data set, or a list of those of several."""
    documents = [{"schema_version": 1, **one} for one in found]
    shared.echo_json(documents[0] if len(documents) == 1 else documents)


def _show(report: ExtractReport) -> None:
    from cvbench.jobs.running.sizes import counted

    done = f"{report.computed} samples computed" if report.computed else "nothing to do"
    say(f"{report.dataset}/{report.split}: {report.samples} samples, {counted(report.layers, 'layer')}, {done}")
    if report.unreadable:
        say(f"  {len(report.unreadable)} unreadable samples are kept as NaN rows:", err=True)
        for sample in report.unreadable[:10]:
            say(f"    {sample.id}: {sample.reason}", err=True)
    for layer, count in report.nonfinite.items():
        say(f"  {count} non-finite values in {layer}: {report.advice[layer]}", err=True)
    say(f"  store: {report.store}")
    for path in report.results:
        say(f"  result: {path} in the store")
    shared.say_command(_next(report), "  ", "next: ")


def _next(report: ExtractReport) -> str:
    """The command that shows something of what there is now."""
    if report.results:
        return hints.command("report", store=report.store, out="report")
    place = {"store": report.store, "dataset": report.dataset, "split": report.split}
    if {POOLED, MAPS} & {*report.views}:
        return hints.command("analyze cka", **place)
    if "logits" in report.views:
        return hints.command("eval accuracy", **place)
    vectors = [view for view in report.views if is_vector(view)]
    if not vectors or report.split.startswith("train"):  # how classes stand apart is asked of samples not trained on
        return hints.command("store info", store=report.store)
    return hints.command("analyze silhouette", **place, view=None if "head" in vectors else vectors[0])


def _show_plans(
    jobs: list[ExtractOptions], hardware: shared.Hardware, rates: Rates, detail: Detail, printed: shared.Printed
) -> None:
    from cvbench.jobs.extraction.plan import plan as run

    reports = [run(job, gpus=hardware.gpus or 0, cores=hardware.threads, **vars(rates), published=True) for job in jobs]
    if printed.format == "json":
        _echo_documents([_plan_json(report) for report in reports])
        return
    for report in reports:
        _plan_text(report, long=detail.long)


def _plan_json(report: PlanReport) -> dict[str, Any]:
    layers = [
        {
            **asdict(layer.group),
            "tap": layer.tap,
            "shape": list(layer.shape),
            "dtype": layer.dtype,
            "samples": layer.samples,
            "bytes": layer.bytes,
        }
        for layer in report.layers
    ]
    totals = {"bytes_by_view": report.bytes_by_view, "hours_expected": report.hours_expected}
    return {**asdict(report), "layers": layers, **totals}


def _plan_text(report: PlanReport, *, long: bool) -> None:
    """Print what decides first, then the layers: alike ones as one, or each."""
    from cvbench.jobs.running.sizes import duration, human

    of = " as published: the images are not here" if report.published else ""
    say(f"{report.dataset}/{report.split}: {report.samples} samples{of}")
    say(f"units: {report.units_done} of {report.units_total} done")
    free = "unknown" if report.free_bytes is None else human(report.free_bytes)
    by_view = ", ".join(f"{view} {human(size)}" for view, size in report.bytes_by_view.items())
    say(f"to write: {human(report.bytes_total)} ({by_view}); free: {free}")
    hours = f"; {report.hours_expected * report.gpus:.2g} GPU-hours" if report.gpus else ""
    say(f"expected: {duration(report.hours_expected)}, as the stages overlap{hours}; start-up is not counted")
    for stage, its in report.hours.items():
        mark = "  <- bottleneck" if stage == report.bottleneck else ""
        shared.say_wrapped(f"  {stage}: ", f"{duration(its)} at {report.rates[stage]}{mark}")
    shared.say_wrapped("--compile: ", report.compile)
    for note in report.notes:
        shared.say_wrapped("note: ", note)
    if not report.fits:
        say(f"does not fit: {report.advice}")
    shared.echo_table(*_layer_table(report, long=long))
    if not long:
        say("--long lists each layer")


def _layer_table(report: PlanReport, *, long: bool) -> tuple[list[str], list[list[str]]]:
    """Columns and rows of the layers; without `long` those of one backbone, view, shape and number as one row."""
    from cvbench.jobs.running.sizes import human

    alike: dict[tuple[str, ...], list[LayerPlan]] = {}
    for layer in report.layers:
        shape = "x".join(map(str, layer.shape))
        key = (layer.group.backbone, layer.group.view, shape, layer.dtype, str(layer.samples))
        alike.setdefault((*key, layer.tap) if long else key, []).append(layer)
    rows = []
    for (backbone, view, shape, dtype, samples, *_), layers in alike.items():
        taps = layers[0].tap if len(layers) == 1 else f"{layers[0].tap} to {layers[-1].tap} ({len(layers)})"
        rows.append([backbone, view, taps, shape, dtype, samples, human(sum(layer.bytes for layer in layers))])
    return ["backbone", "view", "layers", "shape", "dtype", "samples to do", "bytes"], rows
