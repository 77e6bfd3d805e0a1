"""`cvbench store`: look into a feature store, check it, tidy it, take layers out."""

from __future__ import annotations

from typing import Annotated

import typer

from cvbench.cli.commands import Commands
from cvbench.cli.options import DEFAULT_STORE, Store, check_format, echo_json, echo_table, writable
from cvbench.cli.say import say
from cvbench.hints import command

app = Commands(no_args_is_help=True, help="Look into a feature store, check it, tidy it, take layers out.")

Output = Annotated[str, typer.Option("--format", help="table or json.")]
FORMATS = ("table", "json")
SCHEMA = {"schema_version": 1}


@app.command()
def info(store: Store = DEFAULT_STORE, format: Output = "table") -> None:
    """Show splits, layers and results of a store."""
    from cvbench.jobs.catalogue import store as job
    from cvbench.jobs.running.sizes import human

    check_format(format, FORMATS)
    found = job.info(store)
    if format == "json":
        echo_json({**SCHEMA, **found.as_dict()})
        return
    for split in found.splits:
        say(f"{split.dataset}/{split.split}: {split.samples} samples, units of {split.unit}, seed {split.seed}")
        for line in split.left_out:
            say(f"  not read: {line}")
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
            human(layer.bytes),
        ]
        for layer in found.layers
    ]
    echo_table(["layer", "shape", "dtype", "codec", "committed", "bad", "non-finite", "stored"], rows)
    for result in found.results:
        say(f"result {result.path}")


@app.command()
def verify(
    store: Store = DEFAULT_STORE,
    deep: Annotated[bool, typer.Option("--deep", help="Read every byte and compare digests.")] = False,
    format: Output = "table",
) -> None:
    """Compare a store with its ledger; exit code 4 if something committed is missing or damaged."""
    from cvbench.jobs.catalogue import store as job
    from cvbench.jobs.running.sizes import human

    check_format(format, FORMATS)
    report = job.verify(store, deep=deep)
    if format == "json":
        echo_json({**SCHEMA, **job.as_dict(report)})
    else:
        if report.problems:
            rows = [[p.kind, p.key, "" if p.unit is None else str(p.unit), p.message] for p in report.problems]
            echo_table(["finding", "key", "unit", "what"], rows)
        how = "every byte" if report.deep else "existence and sizes"
        say(
            f"{'ok' if report.ok else 'DAMAGED'}: {report.objects} objects, {human(report.bytes)}, "
            f"{report.commits} commits; compared {how}"
        )
        if not report.ok:
            said = "# forgets what is damaged; then the same extract"
            say(f"next: {command('store repair', store=store)}  {said}", err=True)
    if not report.ok:
        raise typer.Exit(4)


@app.command()
def repair(
    store: Store = DEFAULT_STORE,
    dry_run: Annotated[bool, typer.Option("--dry-run", "-n", help="Only say what would be forgotten.")] = False,
    format: Output = "table",
) -> None:
    """Forget what is damaged, so that the same commands make it again. Only while nothing writes to the store."""
    from cvbench.jobs.catalogue import store as job

    check_format(format, FORMATS)
    report = job.repair(store, dry_run=dry_run)
    if format == "json":
        left = [{"kind": p.kind, "key": p.key, "message": p.message} for p in report.left]
        found = {"store": report.url, "ok": report.ok, "dry_run": dry_run, "left": left}
        keys = {name: list(getattr(report, name)) for name in ("forgotten", "removed", "written", "awaited")}
        echo_json({**SCHEMA, **found, **keys})
    else:
        for key in (*report.forgotten, *report.written):
            say(key)
        would = "would be " if dry_run else ""
        say(
            f"{len(report.forgotten)} records {would}forgotten, {len(report.removed)} damaged objects {would}removed"
            + (f", {len(report.written)} nodes {would}written anew" if report.written else "")
        )
        for key in report.awaited:
            say(f"lost: {key}")
        if (report.forgotten or report.awaited) and not dry_run:
            say("next: the same `extract` and `analyze` make again what they held")
        for problem in report.left:
            say(f"left: {problem.key}: {problem.message}; move it out of the store, then repair once more", err=True)
    if not report.ok:
        raise typer.Exit(4)


@app.command()
def gc(
    store: Store = DEFAULT_STORE,
    orphans: Annotated[bool, typer.Option("--orphans", help="Also objects that no commit names.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", "-n", help="Only say what would be removed.")] = False,
    format: Output = "table",
) -> None:
    """Remove what killed processes left behind. Only while nothing writes to the store."""
    from cvbench.jobs.catalogue import store as job

    check_format(format, FORMATS)
    report = job.gc(store, orphans=orphans, dry_run=dry_run)
    if format == "json":
        echo_json({**SCHEMA, **job.as_dict(report)})
        return
    for key in report.removed:
        say(key)
    say(f"{len(report.removed)} objects {'would be ' if dry_run else ''}removed")


@app.command()
def export(
    group: Annotated[str, typer.Argument(help="dataset/split/backbone/view, as `store info` shows it.")],
    out: Annotated[str, typer.Option("--out", "-o", callback=writable, help="Folder for the files.")],
    store: Store = DEFAULT_STORE,
    tap: Annotated[list[str] | None, typer.Option("--tap", "-t", help="Layer; all if not given.")] = None,
    to: Annotated[str, typer.Option("--to", help="npy, npz or safetensors.")] = "npy",
    format: Output = "table",
) -> None:
    """Write layers as files for other tools, with samples.csv beside them."""
    from dataclasses import asdict

    from cvbench.jobs.catalogue import store as job
    from cvbench.jobs.running.sizes import human

    check_format(format, FORMATS)
    written = job.export(store, group, out, taps=tap or (), format=to)
    if format == "json":
        echo_json({**SCHEMA, "files": [asdict(file) for file in written]})
        return
    echo_table(["file", "rows", "size"], [[file.path, str(file.rows), human(file.bytes)] for file in written])
