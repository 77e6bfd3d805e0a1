"""What came of a fine-tuning run: numbers with their intervals, on what and how, and which samples are left out."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, replace

from cvbench.engine.analyses.base import Result
from cvbench.jobs.results.row import Row, placed
from cvbench.jobs.transfer import checkpoint
from cvbench.jobs.transfer.finetune_data import ReadOutcome
from cvbench.jobs.transfer.finetune_loop import Epoch
from cvbench.jobs.transfer.finetune_task import FinetuneTask

NAMES = {
    "top1": "fine-tuned, top-1",
    "top5": "fine-tuned, top-5",
    "mean_per_class": "fine-tuned, mean per class",
}


@dataclass(frozen=True)
class FinetuneReport:
    """Result of a fine-tuning.

    Attributes:
        dataset, split: What it was tested on, as in a store.
        spec: What opens the data set, below `data_root`.
        model: The backbone as --backbone takes it.
        weights: The file.
        numbers: "top1", "top5", "mean_per_class" -> {"value", "low", "high", "n"}.
        variant: Recipe and splits, as one line.
        trained_on: Different samples that were trained on.
        curve: A row per epoch.
        failed: Split -> samples that could not be read.
        unreadable: These, each with its reason.
        notes: What a reader must know.
        done_before: Nothing had to be trained.
    """

    dataset: str
    split: str
    spec: str
    data_root: str | None
    backbone: str
    model: str
    weights: str
    numbers: dict[str, dict[str, float | None]]
    variant: str
    interval: str
    trained_on: int
    curve: list[Epoch]
    failed: dict[str, int]
    unreadable: list[str]
    notes: list[str]
    files: list[str]
    done_before: bool


def make_report(task: FinetuneTask, done: bool) -> FinetuneReport:
    """Write the summary and the figure beside the weights.

    Raises:
        IncompleteError: Too many samples could not be read, and `task.partial` is not set.
    """
    from cvbench.jobs.figures.finetune import finetune_figure

    plain = checkpoint.read_plain(task.weights)
    line = variant(task)
    summary = {**plain, "variant": line, "notes": list(task.notes), "weights": task.weights.name}
    checkpoint.replace_file(task.file("json"), (json.dumps(summary, indent=2, sort_keys=True) + "\n").encode())
    files = finetune_figure(plain["curve"], f"{task.spec.key} on {task.dataset}", task.file("curve"))
    samples = {split: ReadOutcome(found["n"], tuple(found["unreadable"])) for split, found in plain["samples"].items()}
    for split, outcome in () if task.partial else samples.items():
        outcome.check(f"{task.dataset}/{split}")
    return FinetuneReport(
        dataset=task.name,
        split=task.test,
        spec=task.dataset,
        data_root=task.data_root,
        backbone=task.spec.key,
        model=f"{task.spec.name}={task.spec.model}" if task.spec.name else task.spec.model,
        weights=str(task.weights),
        numbers={name: plain["result"][name] for name in NAMES},
        variant=line,
        interval=plain["interval"],
        trained_on=plain["trained_on"],
        curve=plain["curve"],
        failed={split: len(outcome.unreadable) for split, outcome in samples.items()},
        unreadable=[name for outcome in samples.values() for name in outcome.unreadable],
        notes=list(task.notes),
        files=[str(path) for path in (task.weights, task.file("json"), *files)],
        done_before=done,
    )


def finetune_rows(report: FinetuneReport) -> list[Row]:
    """The numbers in the one schema of all tables; `run` is the file of the weights."""
    row = Row(backbone=report.backbone, factor=report.variant, n_failed=report.failed[report.split])
    rows = []
    for name, metric in NAMES.items():
        found = report.numbers[name]
        ends = {end: found[end] for end in ("value", "low", "high")}
        rows.append(replace(row, metric=metric, n=int(found["n"] or 0), **ends))  # type: ignore[arg-type]
    return placed(finetune_result(report), rows)


def finetune_result(report: FinetuneReport) -> Result:
    """The fields of the run in the JSON form, beside its rows."""
    told = {key: value for key, value in asdict(report).items() if key != "numbers"}
    return Result("finetune", {}, {}, {**told, "run": report.weights})


def variant(task: FinetuneTask) -> str:
    """The recipe and the splits, as one line."""
    made = task.recipe
    length = f"{made.epochs} epochs" if made.epochs else f"{made.steps} steps"
    parts = [made.name, f"{length}, batch {made.batch}, rate {made.rate:g}", _splits(task)]
    if made.examples:
        parts.append(f"{sum(made.examples):,} examples drawn by the seed (not VTAB's members)")
    parts += [task.rule] if task.rule else []
    return "; ".join([*parts, f"seed {task.seed}", task.precision, *task.notes])


def _splits(task: FinetuneTask) -> str:
    train, tested = " + ".join(task.train), f"the last weights tested on {task.test}"
    if not task.share:
        return f"trained on {train}, {tested}"
    last = f"the last {task.share:.0%} by SHA-256 of the id (VTAB's share, not its members)"
    if task.validate:
        return f"trained on {train} but for {last}, which validate, {tested}"
    return f"trained on {train}, of which {last} stand for val, {tested}"
