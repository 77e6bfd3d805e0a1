"""`cvbench transfer ...`: what a backbone's features are worth on another data set."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cvbench import hints
from cvbench.cli import options as shared
from cvbench.cli.command import command
from cvbench.cli.commands import Commands, Place, on_demand
from cvbench.cli.say import say
from cvbench.jobs.transfer.finetune_options import FinetuneOptions
from cvbench.jobs.transfer.probe_options import PROBE, ProbeOptions, ProbeRequest
from cvbench.options import Form

if TYPE_CHECKING:
    from cvbench.jobs.results.keep import Analysed
    from cvbench.jobs.transfer.finetune import FinetuneReport

COMMANDS: dict[str, Place] = {
    "probe": (
        "cvbench.cli.transfer",
        "probe",
        "Fit linear classifiers on stored features of one split, test them on another. With 95 % intervals.",
    ),
    "finetune": (
        "cvbench.cli.transfer",
        "finetune",
        "Fine-tune a whole backbone on a data set and test it. The same command again resumes.",
    ),
}

app = Commands(cls=on_demand(COMMANDS), help="Linear probes and fine-tuning.", no_args_is_help=True)


@app.callback()
def group() -> None:
    """Linear probes and fine-tuning."""


def _probe(request: ProbeRequest, options: ProbeOptions, on: shared.Hardware, output: shared.Output) -> None:
    """Fit linear classifiers on stored features of one split, test them on another. With 95 % intervals."""
    from cvbench.cli.display import progress
    from cvbench.jobs.running.executor import choose_device
    from cvbench.jobs.transfer.probe import probe as run

    with progress() as listen:
        outcomes = run(request, options, choose_device(on.device, "none"), listen)
    _show_probe(outcomes, output.format)
    if output.out is not None:
        from pathlib import Path

        from cvbench.jobs.transfer.probe_rows import draw_probes

        places = "-".join(dict.fromkeys(outcome.selected.dataset for outcome in outcomes))
        results = [outcome.named for outcome in outcomes]
        for path in draw_probes(results, Path(output.out) / f"probe-{places}-{options.recipe}"):
            say(f"figure: {path}", err=True)


probe = command("probe", [*PROBE, Form(shared.Hardware, only=("device",)), shared.Output], _probe)


def _show_probe(outcomes: list[Analysed], output: str) -> None:
    from dataclasses import asdict

    from cvbench.jobs.transfer.probe import probe_json, probe_rows, probe_tidy

    if output == "json":
        paths = [outcome.path for outcome in outcomes]
        shared.echo_json({"schema_version": 1, **probe_json(outcomes), "stored": paths})
        return
    if output == "csv":
        shared.echo_csv([asdict(row) for row in probe_tidy(outcomes)])
        _say_notes([note for outcome in outcomes for note in outcome.result.attrs["notes"]], err=True)
        return
    cells = []
    for outcome in outcomes:
        for row in probe_rows(outcome.result):
            names = [outcome.selected.dataset, row["backbone"], row["tap"]]
            keys = ("top1", "top1_low", "top1_high", "top1_seed_std", "top5", "mean_per_class")
            cells.append([*names, *(shared.number(row[key]) for key in keys), row["penalty"], str(row["samples"])])
    columns = ["top-1", "low", "high", "seeds' std", "top-5", "mean per class", "penalty", "test samples"]
    shared.echo_table(["dataset", "backbone", "tap", *columns], cells)
    for outcome in outcomes:
        say(f"{outcome.selected.dataset}: {outcome.result.attrs['variant']}")
        said = outcome.result.attrs["variant"]
        _say_notes([note for note in outcome.result.attrs["notes"] if note not in said])
        say(f"result: {outcome.path} in the store")


def _say_notes(notes: list[str], err: bool = False) -> None:
    for note in notes:
        say(f"note: {note}", err=err)


_PROCESSES = {
    "gpus": "Processes, each with a GPU; default 1.",
    "threads": "CPU cores of a process; default all.",
}


def _finetune(options: FinetuneOptions, hardware: shared.Hardware, output: shared.Output) -> None:
    """Fine-tune a whole backbone on a data set and test it. The same command again resumes."""
    import os

    from cvbench.cli.display import progress
    from cvbench.jobs.transfer.finetune import finetune as run

    with progress() as listen:
        report = run(options, hardware.cluster(os.cpu_count() or 1), listen)
    _show_finetune(report, output.format)


finetune = command(
    "finetune",
    [FinetuneOptions, Form(shared.Hardware, help=_PROCESSES), Form(shared.Output, only=("format",))],
    _finetune,
)


def _show_finetune(report: FinetuneReport, output: str) -> None:
    from dataclasses import asdict

    from cvbench.jobs.transfer.finetune import finetune_rows

    tidy = [asdict(row) for row in finetune_rows(report)]
    if output == "json":
        shared.echo_json({"schema_version": 1, "rows": tidy, **asdict(report)})
        return
    if output == "csv":
        shared.echo_csv(tidy)
        _say_notes(report.notes, err=True)
        return
    rows = [
        [name, *(shared.number(found[key]) for key in ("value", "low", "high")), str(found["n"])]
        for name, found in report.numbers.items()
    ]
    shared.echo_table([f"{report.backbone} on {report.dataset}", "value", "low", "high", "test samples"], rows)
    say(f"{report.variant}; {report.trained_on} samples to train")
    say(f"intervals: {report.interval}")
    if report.unreadable:
        counts = ", ".join(f"{n} of {split}" for split, n in report.failed.items() if n)
        say(f"unreadable samples are left out, {counts}: {'; '.join(report.unreadable[:5])}", err=True)
    for path in report.files:
        say(f"file: {path}", err=True)
    say(f"next: {_next(report)}")


def _next(report: FinetuneReport) -> str:
    """What tests the weights on the images that they were not trained on, into a store of their own."""
    model, _, size = report.backbone.partition("@")
    return hints.command(
        "extract",
        dataset=report.spec,
        split=report.split,
        data_root=report.data_root,
        backbone=model,
        weights=report.weights,
        image_size=size or None,
        view="logits",
        store=report.weights.removesuffix(".safetensors") + ".zarr",
    )
