"""`cvbench transfer ...`: what a backbone's features are worth on another data set."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cvbench import hints
from cvbench.cli import options as shared
from cvbench.cli.command import command
from cvbench.cli.commands import Commands, Place
from cvbench.cli.entries import group_of
from cvbench.cli.say import say
from cvbench.jobs.transfer.finetune_options import FINETUNE, FinetuneOptions
from cvbench.options import Form

if TYPE_CHECKING:
    from cvbench.jobs.transfer.finetune import FinetuneReport

OTHERS: dict[str, Place] = {
    "finetune": (
        "cvbench.cli.transfer",
        "finetune",
        "Fine-tune a whole backbone on a data set and test it.",
    ),
}

app = Commands(cls=group_of("transfer", OTHERS), help="Linear probes and fine-tuning.", no_args_is_help=True)


@app.callback()
def group() -> None:
    """Linear probes and fine-tuning."""


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
    [*FINETUNE, Form(shared.Output, only=("format",))],
    _finetune,
)


def _show_finetune(report: FinetuneReport, output: str) -> None:
    from cvbench.cli.rows import echo_rows
    from cvbench.jobs.results.document import csv_text, document
    from cvbench.jobs.transfer.finetune import finetune_result, finetune_rows

    rows = finetune_rows(report)
    if output == "json":
        shared.echo_json(document([(finetune_result(report), ())], rows))
        return
    if output == "csv":
        say(csv_text(rows).removesuffix("\n"))
        for note in report.notes:
            say(f"note: {note}", err=True)
        return
    echo_rows(rows)
    say(f"{report.trained_on} samples to train")
    say(f"intervals: {report.interval}")
    if report.unreadable:
        counts = ", ".join(f"{n} of {split}" for split, n in report.failed.items() if n)
        say(f"unreadable samples are left out, {counts}: {'; '.join(report.unreadable[:5])}", err=True)
    for path in report.files:
        say(f"file: {path}", err=True)
    say(f"next: {_next(report)}")


def _next(report: FinetuneReport) -> str:
    """The command that tests the weights on images that they were not trained on, into a store of their own."""
    size = report.backbone.partition("@")[2]
    return hints.command(
        "extract",
        dataset=report.spec,
        split=report.split,
        data_root=report.data_root,
        backbone=report.model,
        weights=report.weights,
        image_size=size or None,
        view="logits",
        store=report.weights.removesuffix(".safetensors") + ".zarr",
    )
