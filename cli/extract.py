"""`cvbench extract` and `cvbench plan`."""

from __future__ import annotations

import inspect
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cvbench.cli import options as shared
from cvbench.cli.say import say

if TYPE_CHECKING:
    from cvbench.jobs.extract import ExtractReport
    from cvbench.jobs.plan import PlanReport
    from cvbench.jobs.request import ExtractOptions

PAIR = ["convnext-base", "vit-base-16"]

Datasets = Annotated[
    list[str],
    typer.Option(
        "--dataset", "-d", help="A name of `datasets ls`, folder:PATH, @paper; NAME+scale=2 transforms. Repeat."
    ),
]
Backbones = Annotated[list[str], typer.Option("--backbone", "-m", help="timm model or alias. Repeat.")]
Weights = Annotated[
    list[str], typer.Option("--weights", help="pretrained, random, FILE.safetensors, or MODEL=FILE.safetensors.")
]
Taps = Annotated[
    list[str], typer.Option("--taps", help="blocks, paper, a module name or a glob; 'list' prints what there is.")
]
Views = Annotated[list[str], typer.Option("--view", help="pooled, maps, head or logits. Repeat.")]
Maps = Annotated[str, typer.Option("--maps", help="Samples that the maps view covers: a number or 'all'.")]
Limit = Annotated[str | None, typer.Option("--limit", help="Samples to cover, rounded up to whole units.")]
BatchSize = Annotated[str, typer.Option("--batch-size", "-b", help="Images per forward pass, or 'auto'.")]
ImageSize = Annotated[
    int | None, typer.Option("--image-size", min=8, help="Input size in pixels, if not the model's own.")
]
UnitSize = Annotated[
    int | None, typer.Option("--unit", min=4, help="Samples of one unit of work; frozen in the store.")
]
Precision = Annotated[str, typer.Option("--precision", help="fp32, bf16 or fp16 (autocast).")]
Dtype = Annotated[str, typer.Option("--dtype", help="Stored type of pooled and maps: float16 or float32.")]
KeepBits = Annotated[
    int | None, typer.Option("--keep-bits", min=1, max=10, help="Round mantissas to this many bits, on the device.")
]
Codec = Annotated[
    str, typer.Option("--codec", help="none, zstd, blosc-zstd, blosc-lz4, or with a filter: bitround5+zstd.")
]
Decoder = Annotated[
    str,
    typer.Option(
        "--decoder",
        help="fast: turned by EXIF, alpha on white; pil: timm's pixels, EXIF ignored, alpha dropped (as --preprocess).",
    ),
]
Preprocess = Annotated[
    str,
    typer.Option(
        "--preprocess", help="model: each its own; beyond_inet or pug: the rules of those studies, shared by all."
    ),
]
Seed = Annotated[int, typer.Option("--seed", help="Seed of the sample order.")]
Analyses = Annotated[
    list[str],
    typer.Option("--analyze", help="cka, spectra, similarity: measured live on whole maps, none is stored. Repeat."),
]
MaxUnreadable = Annotated[
    float, typer.Option("--max-unreadable", min=0, max=1, help="Share of unreadable samples that is tolerated.")
]
MaxBytes = Annotated[str | None, typer.Option("--max-bytes", help="Refuse to write more than this, e.g. 20GB.")]
Rate = Annotated[
    float | None, typer.Option("--rate", min=0.001, help="For the plan: images/s per GPU or core, all backbones.")
]
DiskRate = Annotated[
    float, typer.Option("--disk-mb-s", min=0.1, help="For the plan: write bandwidth of the store in MB/s.")
]
Format = Annotated[str, typer.Option("--format", help="table or json.")]


def extract(
    dataset: Datasets,
    backbone: Backbones = PAIR,
    store: shared.Store = shared.DEFAULT_STORE,
    split: shared.Split = None,
    data_root: shared.DataRoot = None,
    weights: Weights = ["pretrained"],
    taps: Taps = ["blocks"],
    view: Views = ["pooled"],
    maps: Maps = "1024",
    limit: Limit = None,
    batch_size: BatchSize = "auto",
    image_size: ImageSize = None,
    unit: UnitSize = None,
    precision: Precision = "fp32",
    dtype: Dtype = "float16",
    keep_bits: KeepBits = None,
    codec: Codec = "none",
    decoder: Decoder = "fast",
    preprocess: Preprocess = "model",
    seed: Seed = 0,
    analyze: Analyses = [],
    max_unreadable: MaxUnreadable = 0.01,
    max_bytes: MaxBytes = None,
    address: shared.Address = "local",
    device: shared.Device = "auto",
    gpus: shared.Gpus = None,
    threads: shared.Threads = None,
    plan_only: Annotated[bool, typer.Option("--plan", "-n", help="Only say what would be done.")] = False,
    rate: Rate = None,
    disk_mb_s: DiskRate = 1000.0,
    output: Format = "table",
) -> None:
    """Stream data sets through backbones and keep layerwise features. The same command again resumes."""
    values = dict(locals())
    shared.check_format(output, ("table", "json"))
    jobs = _all_options(dataset, values)
    if taps == ["list"]:
        _list_taps(jobs[0])
        return
    if plan_only:
        _show_plans(jobs, gpus or 0, rate, disk_mb_s, output)
        return
    from cvbench.cli.display import progress
    from cvbench.jobs.extract import extract as run
    from cvbench.jobs.plan import check_together

    cluster = shared.cluster(address, device, gpus, threads)
    check_together(jobs)
    reports = []
    try:
        for job in jobs:
            with progress() as listen:
                reports.append(run(job, cluster, listen))
            if output == "table":
                _show(reports[-1])
    finally:  # what is done is said, whatever became of the next
        if output == "json":
            _echo_documents([asdict(report) for report in reports])


def plan(**values: Any) -> None:
    """Say bytes, hours and the bottleneck of an extraction. Nothing runs, no weights are loaded."""
    extract(**values, plan_only=True)


def _same_options(command: Any, of: Any, without: str) -> None:
    """Give `command` the options of another command, one left out: a line that is typed for one fits the other."""
    shape = inspect.signature(of, eval_str=True)
    command.__signature__ = shape.replace(parameters=[p for name, p in shape.parameters.items() if name != without])
    command.__annotations__ = {name: hint for name, hint in of.__annotations__.items() if name != without}


_same_options(plan, extract, without="plan_only")


def _all_options(specs: list[str], values: dict[str, Any]) -> list[ExtractOptions]:
    from cvbench.jobs.request import check_keys, datasets_of

    datasets = datasets_of(specs)
    check_keys(datasets, values["data_root"])
    return [_options(dataset, values) for dataset in datasets]


def _options(dataset: str, values: dict[str, Any]) -> ExtractOptions:
    from cvbench.jobs.request import ExtractOptions

    batch = values["batch_size"]
    plain = ("store", "split", "data_root", "image_size", "unit", "dtype")
    extras = ("precision", "keep_bits", "codec", "decoder", "preprocess", "seed", "max_unreadable")
    return ExtractOptions(
        dataset=dataset,
        backbones=tuple(values["backbone"]),
        weights=tuple(values["weights"]),
        taps=tuple(values["taps"]),
        views=tuple(dict.fromkeys(values["view"])),
        maps=shared.size(values["maps"], "--maps"),
        limit=shared.size(values["limit"], "--limit"),
        batch_size=None if batch == "auto" else shared.size(batch, "--batch-size"),
        max_bytes=shared.byte_count(values["max_bytes"]),
        analyses=tuple(name for text in values.get("analyze", ()) for name in text.split(",")),
        **{name: values[name] for name in plain},
        **{name: values[name] for name in extras if name in values},
    )


def _list_taps(job: ExtractOptions) -> None:
    from cvbench.jobs.request import list_taps

    for model, taps in list_taps(job).items():
        for tap, layout in taps.items():
            say(f"{model}\t{tap}\t{layout}")


def _echo_documents(found: list[dict[str, Any]]) -> None:
    """One JSON document: that of the data set, or a list of those of several."""
    documents = [{"schema_version": 1, **one} for one in found]
    shared.echo_json(documents[0] if len(documents) == 1 else documents)


def _show(report: ExtractReport) -> None:
    done = f"{report.computed} samples computed" if report.computed else "nothing to do"
    say(f"{report.dataset}/{report.split}: {report.samples} samples, {report.layers} layers, {done}")
    if report.unreadable:
        say(f"  {len(report.unreadable)} unreadable samples are kept as NaN rows:", err=True)
        for sample in report.unreadable[:10]:
            say(f"    {sample.id}: {sample.reason}", err=True)
    for layer, count in report.nonfinite.items():
        say(f"  {count} non-finite values in {layer}: try --precision bf16 or --dtype float32", err=True)
    say(f"  store: {report.store}")
    for path in report.results:
        say(f"  result: {path} in the store")
    say(f"  next:  {_next(report)}")


def _next(report: ExtractReport) -> str:
    """The command that shows something of what there is now."""
    from cvbench.hints import command

    if report.results:
        return command("report", store=report.store, out="report")
    name = "analyze cka"
    if not set(report.views) & {"pooled", "maps"}:
        name = "eval accuracy" if "logits" in report.views else "analyze silhouette"
    return command(name, store=report.store, dataset=report.dataset, split=report.split)


def _show_plans(jobs: list[ExtractOptions], gpus: int, rate: float | None, disk_mb_s: float, output: str) -> None:
    from cvbench.jobs.plan import plan as run

    reports = [run(job, gpus=gpus, rate=rate, disk_mb_s=disk_mb_s) for job in jobs]
    if output == "json":
        _echo_documents([_plan_json(report) for report in reports])
        return
    for report in reports:
        _plan_table(report)


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


def _plan_table(report: PlanReport) -> None:
    from cvbench.jobs.sizes import human

    rows = [
        [
            layer.group.backbone,
            layer.group.view,
            layer.tap,
            "x".join(map(str, layer.shape)),
            layer.dtype,
            str(layer.samples),
            human(layer.bytes),
        ]
        for layer in report.layers
    ]
    shared.echo_table(["backbone", "view", "tap", "shape", "dtype", "samples to do", "bytes"], rows)
    free = "unknown" if report.free_bytes is None else human(report.free_bytes)
    say(f"{report.dataset}/{report.split}: {report.samples} samples")
    say(f"units: {report.units_done} of {report.units_total} done")
    by_view = ", ".join(f"{view} {human(size)}" for view, size in report.bytes_by_view.items())
    say(f"to write: {human(report.bytes_total)} ({by_view}); free: {free}")
    for stage, hours in report.hours.items():
        mark = "  <- bottleneck" if stage == report.bottleneck else ""
        say(f"{stage}: {_duration(hours)} at {report.rates[stage]}{mark}")
    say(f"expected: {_duration(report.hours_expected)}, as the stages overlap")
    if not report.fits:
        say(f"does not fit: {report.advice}")


def _duration(hours: float) -> str:
    return f"{hours:.1f} h" if hours >= 1 else f"{hours * 60:.1f} min"
