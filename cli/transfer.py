"""`cvbench transfer ...`: what a backbone's features are worth on another data set."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from cvbench.cli import options as shared
from cvbench.cli.commands import Commands
from cvbench.cli.say import say

if TYPE_CHECKING:
    from cvbench.jobs.analyze import Analysed
    from cvbench.jobs.finetune import FinetuneOptions, FinetuneReport

Partial = Annotated[
    bool, typer.Option("--partial", help="Accept a part of the samples: fewer than published, extracted or readable.")
]

app = Commands(help="Linear probes and fine-tuning.", no_args_is_help=True)


@app.command()
def probe(
    dataset: Annotated[
        list[str], typer.Option("--dataset", "-d", help="Such as dtd, dtd:2, or a group: @transfer. Repeat.")
    ],
    store: shared.Store = shared.DEFAULT_STORE,
    backbone: shared.Backbones = [],
    view: Annotated[str, typer.Option("--view", help="head, pooled, cls or logits.")] = "head",
    taps: shared.Layers = [],
    train_split: Annotated[
        str | None, typer.Option("--train-split", help="Split to fit on; default train, else trainval.")
    ] = None,
    val_split: Annotated[
        str | None,
        typer.Option("--val-split", help="Split that chooses the penalty; default val, else VTAB's share of train."),
    ] = None,
    test_split: Annotated[str, typer.Option("--test-split", help="Split to test on, once.")] = "test",
    recipe: Annotated[str, typer.Option("--recipe", help="clip_benchmark or clip_lbfgs.")] = "clip_benchmark",
    solver: Annotated[str, typer.Option("--solver", help="Of clip_lbfgs: lbfgs (ours) or scikit-learn.")] = "lbfgs",
    seeds: Annotated[int, typer.Option("--seeds", min=1, help="How many seeds.")] = 3,
    seed: Annotated[int, typer.Option("--seed", min=0, help="The first seed.")] = 0,
    shots: Annotated[int | None, typer.Option("--shots", min=1, help="Training samples per class.")] = None,
    hold_out: Annotated[
        float | None,
        typer.Option("--hold-out", help="Share of train to validate on, drawn by the seed, if no split does."),
    ] = None,
    epochs: Annotated[int, typer.Option("--epochs", min=1, help="Of clip_benchmark.")] = 10,
    batch_size: Annotated[int, typer.Option("--batch-size", "-b", min=1, help="Of clip_benchmark.")] = 64,
    lr: Annotated[float, typer.Option("--lr", min=0, help="Of clip_benchmark.")] = 0.1,
    partial: Partial = False,
    out: shared.Out = None,
    device: shared.Device = "auto",
    output: shared.Format = "table",
) -> None:
    """Fit linear classifiers on stored features of one split, test them on another. With 95 % intervals."""
    from cvbench.cli.display import progress
    from cvbench.jobs.executor import choose_device
    from cvbench.jobs.probe import ProbeRequest, named, probe_options
    from cvbench.jobs.probe import probe as run

    shared.check_format(output, ("table", "json", "csv"))
    schedule = (epochs, batch_size, lr)
    options = probe_options(recipe, solver, seeds, seed, shots, hold_out, schedule)
    splits = (train_split, val_split, test_split)
    names = (tuple(dataset), tuple(backbone), view, tuple(taps))
    request = ProbeRequest(store, *names, *splits, partial=partial)
    with progress() as listen:
        outcomes = run(request, options, choose_device(device, "none"), listen)
    _show_probe(outcomes, output)
    if out is not None:
        from pathlib import Path

        from cvbench.jobs.probe_rows import draw_probes

        places = "-".join(dict.fromkeys(outcome.selected.dataset for outcome in outcomes))
        results = [named(outcome) for outcome in outcomes]
        for path in draw_probes(results, Path(out) / f"probe-{places}-{recipe}"):
            say(f"figure: {path}", err=True)


def _show_probe(outcomes: list[Analysed], output: str) -> None:
    from dataclasses import asdict

    from cvbench.jobs.probe import probe_json, probe_rows, probe_tidy

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


@app.command()
def finetune(
    dataset: Annotated[str, typer.Option("--dataset", "-d", help="A name of `datasets ls`, or folder:PATH.")],
    backbone: Annotated[str, typer.Option("--backbone", "-m", help="timm model or alias.")],
    out: Annotated[
        str, typer.Option("--out", "-o", callback=shared.writable, help="Folder for weights, curve and figure.")
    ],
    weights: Annotated[str, typer.Option("--weights", help="pretrained, random or FILE.safetensors.")] = "pretrained",
    recipe: Annotated[str, typer.Option("--recipe", help="modern, vtab_finetune or vtab_1k.")] = "modern",
    epochs: Annotated[int | None, typer.Option("--epochs", min=1, help="Instead of the recipe's.")] = None,
    batch_size: Annotated[int | None, typer.Option("--batch-size", "-b", min=1, help="Over all processes.")] = None,
    lr: Annotated[float | None, typer.Option("--lr", min=0, help="Peak rate, instead of the recipe's.")] = None,
    ema: Annotated[float | None, typer.Option("--ema", min=0, max=1, help="Average the weights, e.g. 0.999.")] = None,
    mixup: Annotated[float | None, typer.Option("--mixup", min=0, help="Mixup's alpha; off by default.")] = None,
    image_size: Annotated[
        int | None, typer.Option("--image-size", min=8, help="Input size in pixels, if not the model's own.")
    ] = None,
    seed: Annotated[int, typer.Option("--seed", min=0, help="Seed of all that is drawn at random.")] = 0,
    precision: Annotated[str, typer.Option("--precision", help="fp32, bf16 or fp16 (autocast).")] = "fp32",
    train_split: Annotated[
        list[str], typer.Option("--train-split", help="Splits to train on; default train and val. Repeat.")
    ] = [],
    test_split: Annotated[str, typer.Option("--test-split", help="Split to test the last weights on.")] = "test",
    validate: Annotated[
        bool,
        typer.Option(
            "--validate", help="Test on val, or VTAB's share of train, after every epoch; do not train on it."
        ),
    ] = False,
    data_root: shared.DataRoot = None,
    address: shared.Address = "local",
    device: shared.Device = "auto",
    gpus: Annotated[int | None, typer.Option("--gpus", min=1, help="Processes, each with a GPU; default 1.")] = None,
    threads: Annotated[
        int | None, typer.Option("--threads", min=1, help="CPU cores of a process; default all.")
    ] = None,
    checkpoint_seconds: Annotated[
        float, typer.Option("--checkpoint-seconds", min=0, help="Between checkpoints.")
    ] = 30.0,
    partial: Partial = False,
    output: shared.Format = "table",
) -> None:
    """Fine-tune a whole backbone on a data set and test it. The same command again resumes."""
    import os

    values = dict(locals())
    from cvbench.cli.display import progress
    from cvbench.jobs.finetune import finetune as run

    shared.check_format(output, ("table", "json", "csv"))
    cluster = shared.cluster(address, device, gpus, threads or os.cpu_count())
    with progress() as listen:
        report = run(_finetune_options(values), cluster, listen)
    _show_finetune(report, output)


def _finetune_options(values: dict[str, Any]) -> FinetuneOptions:
    from cvbench.jobs.finetune import FinetuneOptions

    same = ["dataset", "backbone", "out", "weights", "recipe", "epochs", "batch_size", "mixup", "image_size", "seed"]
    same += ["precision", "validate", "data_root", "checkpoint_seconds", "partial"]
    return FinetuneOptions(
        rate=values["lr"],
        average=values["ema"],
        train=tuple(values["train_split"]),
        test=values["test_split"],
        **{name: values[name] for name in same},
    )


def _show_finetune(report: FinetuneReport, output: str) -> None:
    from dataclasses import asdict

    from cvbench.jobs.finetune import finetune_rows

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
    from cvbench.hints import command

    model, _, size = report.backbone.partition("@")
    return command(
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
