"""`cvbench analyze cam`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from cvbench.cli import extract
from cvbench.cli import options as shared

if TYPE_CHECKING:
    from cvbench.jobs.analyze import Analysed


def cam(
    dataset: Annotated[str, typer.Option("--dataset", "-d", help="Data set, as for extract: the images are read.")],
    backbone: extract.Backbones = extract.PAIR,
    store: shared.Store = shared.DEFAULT_STORE,
    split: shared.Split = None,
    data_root: shared.DataRoot = None,
    weights: extract.Weights = ["pretrained"],
    method: Annotated[
        str, typer.Option("--method", help="gradcam, gradcam++, layercam, hirescam or eigencam.")
    ] = "gradcam",
    choice: Annotated[
        str, typer.Option("--class", help="Whose evidence: predicted (each image's top-1), label, or a class index.")
    ] = "predicted",
    target: Annotated[
        list[str], typer.Option("--target", help="Target layer, a name or glob; default by family. Repeat.")
    ] = [],
    correct_only: Annotated[
        bool, typer.Option("--correct-only", help="Only images that every backbone classifies as labelled.")
    ] = False,
    tolerance: Annotated[
        float, typer.Option("--tolerance", min=0, help="Pixels that boxes grow by in the pointing game.")
    ] = 0.0,
    image: Annotated[list[str], typer.Option("--image", help="Sample id to draw; default the first few. Repeat.")] = [],
    examples: Annotated[int, typer.Option("--examples", min=0, max=24, help="How many samples to draw.")] = 6,
    limit: extract.Limit = None,
    batch_size: extract.BatchSize = "auto",
    image_size: extract.ImageSize = None,
    unit: extract.UnitSize = None,
    precision: extract.Precision = "fp32",
    decoder: extract.Decoder = "fast",
    max_unreadable: extract.MaxUnreadable = 0.01,
    resamples: shared.Resamples = 2000,
    seed: Annotated[int, typer.Option("--seed", min=0, help="Seed of the bootstrap.")] = 0,
    out: shared.Out = None,
    address: shared.Address = "local",
    device: shared.Device = "auto",
    gpus: shared.Gpus = None,
    threads: shared.Threads = None,
    output: shared.Format = "table",
) -> None:
    """Class activation maps (Grad-CAM and its kin), kept in the store, and what is measured on them."""
    from cvbench.cli.display import progress
    from cvbench.jobs.cam import CamOptions, MapOptions
    from cvbench.jobs.cam import cam as run
    from cvbench.jobs.request import ExtractOptions

    shared.check_format(output, ("table", "json", "csv"))
    wanted = ExtractOptions(
        dataset=dataset,
        backbones=tuple(backbone),
        store=store,
        split=split,
        data_root=data_root,
        weights=tuple(weights),
        limit=shared.size(limit, "--limit"),
        batch_size=None if batch_size == "auto" else shared.size(batch_size, "--batch-size"),
        image_size=image_size,
        unit=unit,
        precision=precision,
        decoder=decoder,  # type: ignore[arg-type]
        max_unreadable=max_unreadable,
    )
    maps = MapOptions(method, choice, tuple(target))
    options = CamOptions(maps, correct_only, tolerance, examples, tuple(image), resamples, seed)
    cluster = shared.cluster(address, device, gpus, threads)
    with progress() as listen:
        analysed = run(wanted, options, cluster, listen)
    _show_cam(analysed, output)
    if out is not None:
        from pathlib import Path

        from cvbench.jobs.figures.cam import cam_figure

        name = f"cam-{analysed.selected.dataset}-{analysed.selected.split}-{analysed.selected.view}"
        for path in cam_figure(analysed.result, Path(out) / name):
            typer.echo(f"figure: {path}", err=True)


def _show_cam(analysed: Analysed, output: str) -> None:
    from cvbench.jobs.cam import cam_json, cam_rows

    result, selected = analysed.result, analysed.selected
    rows = list(cam_rows(result))
    if output == "json":
        shared.echo_json({"schema_version": 1, **cam_json(result, selected.dataset), "stored": analysed.path})
        return
    if output == "csv":
        shared.echo_csv(rows)
        return
    cells = []
    for row in rows:
        names = [row["backbone"], row["grid"], "all" if row["common"] else "own", row["measure"]]
        numbers = [shared.number(row[key]) for key in ("value", "low", "high")]
        told = "" if row["resolved"] is None else ("resolved" if row["resolved"] else "not resolved")
        cells.append([*names, *numbers, str(row["n"]), str(row["n_undefined"]), told])
    columns = ["backbone", "grid", "of", "measure", "mean", "low", "high", "images", "undefined", "difference"]
    shared.echo_table(columns, cells)
    for backbone in result.attrs["backbones"]:
        typer.echo(
            f"{backbone['backbone']}: target {backbone['target']}, class {result.attrs['class']}, "
            f"mean probability {backbone['mean_probability']:.3f}"
        )
    typer.echo(f"{selected.dataset}/{selected.split}: {result.attrs['title']}; 95 % intervals: bootstrap over images")
    if "box_share" in result.coords["measure"]:
        typer.echo(result.attrs["baseline"])
    for note in result.attrs["notes"]:
        typer.echo(f"note: {note}")
    typer.echo(f"maps: view {selected.view} in the store")
    typer.echo(f"result: {analysed.path} in the store")
