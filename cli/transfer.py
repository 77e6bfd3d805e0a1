"""`cvbench transfer ...`: what a backbone's features are worth on another data set."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from cvbench.cli import options as shared

if TYPE_CHECKING:
    from cvbench.jobs.analyze import Analysed
    from cvbench.jobs.finetune import FinetuneReport

app = typer.Typer(help="Linear probes and fine-tuning.", no_args_is_help=True, rich_markup_mode=None)


@app.command()
def probe(
    dataset: Annotated[
        list[str], typer.Option("--dataset", "-d", help="Data sets of the store, or a group: @transfer. Repeat.")
    ],
    store: shared.Store = shared.DEFAULT_STORE,
    backbone: shared.Backbones = [],
    view: Annotated[str, typer.Option("--view", help="head, pooled, cls or logits.")] = "head",
    taps: shared.Layers = [],
    train_split: Annotated[str, typer.Option("--train-split", help="Split to fit on.")] = "train",
    val_split: Annotated[
        str | None,
        typer.Option("--val-split", help="Split that chooses the penalty; default 'val' where there is one."),
    ] = None,
    test_split: Annotated[str, typer.Option("--test-split", help="Split to test on, once.")] = "test",
    recipe: Annotated[str, typer.Option("--recipe", help="clip_benchmark or clip_lbfgs.")] = "clip_benchmark",
    solver: Annotated[str, typer.Option("--solver", help="Of clip_lbfgs: lbfgs (ours) or scikit-learn.")] = "lbfgs",
    seeds: Annotated[int, typer.Option("--seeds", min=1, help="How many seeds.")] = 3,
    seed: Annotated[int, typer.Option("--seed", min=0, help="The first seed; also of the bootstrap.")] = 0,
    shots: Annotated[int | None, typer.Option("--shots", min=1, help="Training samples per class.")] = None,
    hold_out: Annotated[
        float | None, typer.Option("--hold-out", help="Share of the training samples to validate on, without a split.")
    ] = None,
    epochs: Annotated[int, typer.Option("--epochs", min=1, help="Of clip_benchmark.")] = 10,
    batch_size: Annotated[int, typer.Option("--batch-size", "-b", min=1, help="Of clip_benchmark.")] = 64,
    lr: Annotated[float, typer.Option("--lr", min=0, help="Of clip_benchmark.")] = 0.1,
    resamples: shared.Resamples = 2000,
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
    request = ProbeRequest(store, tuple(dataset), tuple(backbone), view, tuple(taps), *splits, resamples)
    with progress() as listen:
        outcomes = run(request, options, choose_device(device, "none"), listen)
    _show_probe(outcomes, output)
    if out is not None:
        from pathlib import Path

        from cvbench.jobs.figures.probe import probe_figure

        names = "-".join(dict.fromkeys(outcome.selected.dataset for outcome in outcomes))
        results = [named(outcome) for outcome in outcomes]
        for path in probe_figure(results, Path(out) / f"probe-{names}-{recipe}"):
            typer.echo(f"figure: {path}", err=True)


def _show_probe(outcomes: list[Analysed], output: str) -> None:
    from cvbench.jobs.probe import probe_json, probe_rows

    if output == "json":
        paths = [outcome.path for outcome in outcomes]
        shared.echo_json({"schema_version": 1, **probe_json(outcomes), "stored": paths})
        return
    rows = [
        {"dataset": o.selected.dataset, "split": o.selected.split, **row}
        for o in outcomes
        for row in probe_rows(o.result)
    ]
    if output == "csv":
        shared.echo_csv(rows)
        return
    cells = []
    for row in rows:
        names = [row[key] for key in ("dataset", "backbone", "tap")]
        keys = ("top1", "top1_low", "top1_high", "top1_seed_std", "top5", "mean_per_class")
        cells.append([*names, *(shared.number(row[key]) for key in keys), row["penalty"], str(row["samples"])])
    columns = ["top-1", "low", "high", "seeds' std", "top-5", "mean per class", "penalty", "test samples"]
    shared.echo_table(["dataset", "backbone", "tap", *columns], cells)
    for outcome in outcomes:
        typer.echo(f"{outcome.selected.dataset}: {outcome.result.attrs['variant']}")
        for note in outcome.result.attrs["notes"]:
            typer.echo(f"note: {note}")
        typer.echo(f"result: {outcome.path} in the store")


@app.command()
def finetune(
    dataset: Annotated[str, typer.Option("--dataset", "-d", help="A name of `datasets ls`, or folder:PATH.")],
    backbone: Annotated[str, typer.Option("--backbone", "-m", help="timm model or alias.")],
    out: Annotated[str, typer.Option("--out", "-o", help="Folder for weights, curve and figure.")],
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
        bool, typer.Option("--validate", help="Test on val after every epoch, not train on it.")
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
    output: Annotated[str, typer.Option("--format", help="table or json.")] = "table",
) -> None:
    """Fine-tune a whole backbone on a data set and test it. The same command again resumes."""
    import os

    # Before torch starts its threads: where other processes want the cores too, threads that spin cost ten times more.
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    from cvbench.cli.display import progress
    from cvbench.jobs.finetune import FinetuneOptions
    from cvbench.jobs.finetune import finetune as run

    shared.check_format(output, ("table", "json"))
    changes = {"epochs": epochs, "batch_size": batch_size, "rate": lr, "average": ema, "mixup": mixup}
    options = FinetuneOptions(
        dataset,
        backbone,
        out,
        weights=weights,
        recipe=recipe,
        **changes,  # type: ignore[arg-type]
        image_size=image_size,
        seed=seed,
        precision=precision,
        train=tuple(train_split),
        test=test_split,
        validate=validate,
        data_root=data_root,
        checkpoint_seconds=checkpoint_seconds,
    )
    cluster = shared.cluster(address, device, gpus, threads or os.cpu_count())
    with progress() as listen:
        report = run(options, cluster, listen)
    _show_finetune(report, output)


def _show_finetune(report: FinetuneReport, output: str) -> None:
    from dataclasses import asdict

    if output == "json":
        shared.echo_json({"schema_version": 1, **asdict(report)})
        return
    rows = [
        [name, *(shared.number(found[key]) for key in ("value", "low", "high")), str(found["n"])]
        for name, found in report.numbers.items()
    ]
    shared.echo_table([f"{report.backbone} on {report.dataset}", "value", "low", "high", "test samples"], rows)
    typer.echo(f"{report.variant}; {report.trained_on} samples to train")
    typer.echo(f"intervals: {report.interval}")
    if report.unreadable:
        typer.echo(
            f"{len(report.unreadable)} unreadable samples are left out: {'; '.join(report.unreadable[:5])}", err=True
        )
    for path in report.files:
        typer.echo(f"file: {path}", err=True)
    size = report.backbone.partition("@")[2]
    typer.echo(
        f"next: cvbench extract --backbone {report.backbone.partition('@')[0]} --weights {report.weights}"
        f"{f' --image-size {size}' if size else ''} --dataset {report.dataset}"
    )
