"""`cvbench store`: look into a feature store, check it, tidy it, take layers out."""

from __future__ import annotations

from typing import Annotated, Any

import typer

app = typer.Typer(
    no_args_is_help=True, rich_markup_mode=None, help="Look into a feature store, check it, tidy it, take layers out."
)

Store = Annotated[str, typer.Option("--store", help="Path or URL of the store.")]
Output = Annotated[str, typer.Option("--format", help="table or json.")]
DEFAULT = "./cvbench.zarr"


@app.command()
def info(store: Store = DEFAULT, format: Output = "table") -> None:
    """Show splits, layers and results of a store."""
    from cvbench.jobs import store as job

    found = job.info(store)
    if _json(format, found.as_dict()):
        return
    for split in found.splits:
        typer.echo(f"{split.dataset}/{split.split}: {split.samples} samples, units of {split.unit}, seed {split.seed}")
    sizes = {(s.dataset, s.split): s.samples for s in found.splits}
    rows = [
        [
            layer.path,
            "x".join(map(str, layer.shape)),
            layer.dtype,
            layer.codec,
            f"{layer.committed}/{sizes.get((layer.group.dataset, layer.group.split), layer.shape[0])}",
            str(layer.bad),
            str(layer.nonfinite),
            _bytes(layer.bytes),
        ]
        for layer in found.layers
    ]
    _table(["layer", "shape", "dtype", "codec", "committed", "bad", "non-finite", "stored"], rows)
    for result in found.results:
        typer.echo(f"result {result.path}")


@app.command()
def verify(
    store: Store = DEFAULT,
    deep: Annotated[bool, typer.Option("--deep", help="Read every byte and compare digests.")] = False,
    format: Output = "table",
) -> None:
    """Compare a store with its ledger; exit code 4 if something committed is missing or damaged."""
    from cvbench.jobs import store as job

    report = job.verify(store, deep=deep)
    if not _json(format, job.as_dict(report)):
        if report.problems:
            rows = [[p.kind, p.key, "" if p.unit is None else str(p.unit), p.message] for p in report.problems]
            _table(["finding", "key", "unit", "what"], rows)
        how = "every byte" if report.deep else "existence and sizes"
        typer.echo(
            f"{'ok' if report.ok else 'DAMAGED'}: {report.objects} objects, {_bytes(report.bytes)}, "
            f"{report.commits} commits; compared {how}"
        )
    if not report.ok:
        raise typer.Exit(4)


@app.command()
def gc(
    store: Store = DEFAULT,
    orphans: Annotated[bool, typer.Option("--orphans", help="Also objects that no commit names.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", "-n", help="Only say what would be removed.")] = False,
    format: Output = "table",
) -> None:
    """Remove what killed processes left behind. Only while nothing writes to the store."""
    from cvbench.jobs import store as job

    report = job.gc(store, orphans=orphans, dry_run=dry_run)
    if not _json(format, job.as_dict(report)):
        for key in report.removed:
            typer.echo(key)
        typer.echo(f"{len(report.removed)} objects {'would be ' if dry_run else ''}removed")


@app.command()
def export(
    group: Annotated[str, typer.Argument(help="dataset/split/backbone/view, as `store info` shows it.")],
    out: Annotated[str, typer.Option("--out", "-o", help="Folder for the files.")],
    store: Store = DEFAULT,
    tap: Annotated[list[str] | None, typer.Option("--tap", "-t", help="Layer; all if not given.")] = None,
    to: Annotated[str, typer.Option("--to", help="npy, npz or safetensors.")] = "npy",
    format: Output = "table",
) -> None:
    """Write layers as files for other tools, with samples.csv beside them."""
    from dataclasses import asdict

    from cvbench.jobs import store as job

    written = job.export(store, group, out, taps=tap or (), format=to)
    if not _json(format, {"files": [asdict(file) for file in written]}):
        rows = [[file.path, str(file.rows), _bytes(file.bytes)] for file in written]
        _table(["file", "rows", "size"], rows)


def _json(format: str, document: Any) -> bool:
    """Print `document` if JSON is asked for; whether it was."""
    if format == "json":
        import json

        typer.echo(json.dumps({"schema_version": 1, **document}, indent=2))
        return True
    if format != "table":
        raise typer.BadParameter("expected table or json", param_hint="--format")
    return False


def _table(header: list[str], rows: list[list[str]]) -> None:
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(*header, box=box.SIMPLE_HEAD, pad_edge=False)
    for row in rows:
        # Text, not markup: keys and messages are data. Control characters never reach the terminal.
        table.add_row(*(Text("".join(c for c in cell if c.isprintable()), overflow="fold") for cell in row))
    Console().print(table)


def _bytes(count: int) -> str:
    value, units = float(count), ["B", "kB", "MB", "GB", "TB"]
    while value >= 1000 and len(units) > 1:
        value, units = value / 1000, units[1:]
    return f"{value:.0f} {units[0]}" if units[0] == "B" else f"{value:.1f} {units[0]}"
