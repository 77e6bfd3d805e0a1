"""`cvbench store`: look into a feature store, check it, tidy it, take layers out, or remove them."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Annotated, Literal

import typer

from cvbench.cli import options as shared
from cvbench.cli.command import command
from cvbench.cli.commands import Commands, Place, on_demand
from cvbench.cli.results import say_removed
from cvbench.cli.say import say
from cvbench.hints import command as line
from cvbench.options import Option

PLACES: dict[str, Place] = {
    "info": ("cvbench.cli.store", "info", "Show splits, layers and results of a store."),
    "verify": (
        "cvbench.cli.store",
        "verify",
        "Compare a store with its ledger; exit code 4 if it is damaged.",
    ),
    "repair": (
        "cvbench.cli.store",
        "repair",
        "Forget what is damaged, so that the same commands make it again.",
    ),
    "gc": ("cvbench.cli.store", "gc", "Remove what killed processes left behind."),
    "rm": ("cvbench.cli.store", "rm", "Remove data sets, backbones, views or layers, and results."),
    "export": ("cvbench.cli.store", "export", "Write layers as files for other tools, with samples.csv beside them."),
}
_HELP = "Look into a feature store, check, tidy, export or empty it."
app = Commands(cls=on_demand(PLACES), help=_HELP, no_args_is_help=True)
SCHEMA = {"schema_version": 1}


@app.callback()
def group() -> None:
    """Look into a feature store, check, tidy, export or empty it."""


@dataclass(frozen=True)
class Deep:
    """Closeness of the look."""

    deep: Annotated[bool, Option("Read every byte and compare digests.")] = False


@dataclass(frozen=True)
class Orphans:
    """Things to tidy."""

    orphans: Annotated[bool, Option("Also objects that no commit names.")] = False
    force: Annotated[bool, Option("Even if a run is under way, as its log says: it was stopped.")] = False


@dataclass(frozen=True)
class Places:
    """Places in a store."""

    places: Annotated[
        tuple[str, ...], Option("DATASET, DATASET/SPLIT, and on with /BACKBONE, /VIEW and /LAYER.", alone=True)
    ]


@dataclass(frozen=True)
class Export:
    """Layers to write, and the place."""

    group: Annotated[str, Option("dataset/split/backbone/view, as `store info` shows it.", alone=True)]
    out: Annotated[str, Option("Folder for the files.", short="-o", check=shared.writable)]
    tap: Annotated[tuple[str, ...], Option("Layer; all if not given. Repeat.", short="-t")] = ()
    to: Annotated[Literal["npy", "npz", "safetensors"], Option("npy, npz or safetensors.")] = "npy"


def _info(kept: shared.StorePlace, printed: shared.Printed) -> None:
    """Show splits, layers and results of a store."""
    from cvbench.jobs.catalogue import store as job
    from cvbench.jobs.running.sizes import human

    found = job.info(kept.store)
    if printed.format == "json":
        shared.echo_json({**SCHEMA, **found.as_dict()})
        return
    sizes = {(s.dataset, s.split): s.samples for s in found.splits}
    for split in found.splits:
        say(f"{split.dataset}/{split.split}: {split.samples} samples, units of {split.unit}, seed {split.seed}")
        for text in split.left_out:
            say(f"  not read: {text}")
    groups: dict[str, list[list[str]]] = {}
    for layer in found.layers:
        total = sizes.get((layer.group.dataset, layer.group.split), layer.shape[0])
        shape = "x".join(map(str, layer.shape))
        counts = [f"{layer.committed}/{total}", *(str(n) if n else "" for n in (layer.bad, layer.nonfinite))]
        one = [layer.tap, shape, layer.dtype, layer.codec, *counts, human(layer.bytes)]
        groups.setdefault(layer.group.path, []).append(one)
    columns = ["layer", "shape", "dtype", "codec", "committed", "bad", "non-finite", "stored"]
    for path, rows in groups.items():
        say(path)
        shared.echo_table(*shared.without_empty(columns, rows))
    if found.results:
        say(f"{len(found.results)} result{'' if len(found.results) == 1 else 's'}")
        rows = [[one.short, one.analysis, f"{one.dataset}/{one.split}"] for one in found.results]
        shared.echo_table(["result", "analysis", "of"], rows)
    if not (found.splits or found.layers or found.results):
        say("0 splits, 0 layers, 0 results")
    if found.lost:
        say(f"the records of the ledger are missing, and {found.lost} and the like are not: nothing says what they are")
        say(
            f"next: put {found.url}/ledger back from a copy; or {line('store gc', orphans=True, store=found.url)}"
            "  # removes all of it; then the same extract",
            err=True,
        )


def _verify(kept: shared.StorePlace, how: Deep, printed: shared.Printed) -> None:
    """Compare a store with its ledger; exit code 4 if it is damaged. So it is if something committed is missing."""
    from cvbench.jobs.catalogue import store as job
    from cvbench.jobs.running.sizes import human

    report = job.verify(kept.store, deep=how.deep)
    if printed.format == "json":
        shared.echo_json({**SCHEMA, **job.as_dict(report)})
    else:
        if report.problems:
            rows = [[p.kind, p.key, "" if p.unit is None else str(p.unit), p.message] for p in report.problems]
            shared.echo_table(["finding", "key", "unit", "what"], rows)
        compared = "every byte" if report.deep else "existence and sizes"
        say(
            f"{'ok' if report.ok else 'DAMAGED'}: {report.objects} objects, {human(report.bytes)}, "
            f"{report.commits} commits; compared {compared}"
        )
        if not report.ok:
            said = "# forgets what is damaged; then the same extract"
            say(f"next: {line('store repair', store=kept.store)}  {said}", err=True)
    if not report.ok:
        raise typer.Exit(4)


def _repair(kept: shared.StorePlace, only: shared.DryRun, printed: shared.Printed) -> None:
    """Forget what is damaged, so that the same commands make it again. Only while nothing writes to the store."""
    from cvbench.jobs.catalogue import store as job

    report = job.repair(kept.store, dry_run=only.dry_run)
    if printed.format == "json":
        left = [{"kind": p.kind, "key": p.key, "message": p.message} for p in report.left]
        found = {"store": report.url, "ok": report.ok, "dry_run": only.dry_run, "left": left}
        keys = {name: list(getattr(report, name)) for name in ("forgotten", "removed", "written", "awaited")}
        shared.echo_json({**SCHEMA, **found, **keys})
    else:
        for key in (*report.forgotten, *report.written):
            say(key)
        would = "would be " if only.dry_run else ""
        say(
            f"{len(report.forgotten)} records {would}forgotten, {len(report.removed)} damaged objects {would}removed"
            + (f", {len(report.written)} nodes {would}written anew" if report.written else "")
        )
        for key in report.awaited:
            say(f"lost: {key}")
        if (report.forgotten or report.awaited) and not only.dry_run:
            say("next: the same `extract` and `analyze` make again what they held")
        for problem in report.left:
            say(f"left: {problem.key}: {problem.message}; move it out of the store, then repair once more", err=True)
    if not report.ok:
        raise typer.Exit(4)


def _gc(kept: shared.StorePlace, what: Orphans, only: shared.DryRun, printed: shared.Printed) -> None:
    """Remove what killed processes left behind. Only while nothing writes to the store."""
    from cvbench.jobs.catalogue import store as job

    report = job.gc(kept.store, orphans=what.orphans, dry_run=only.dry_run, force=what.force)
    if printed.format == "json":
        shared.echo_json({**SCHEMA, **job.as_dict(report)})
        return
    for key in report.removed:
        say(key)
    say(f"{len(report.removed)} objects {'would be ' if only.dry_run else ''}removed")


def _rm(what: Places, kept: shared.StorePlace, only: shared.DryRun, printed: shared.Printed) -> None:
    """Remove data sets, backbones, views or layers, and results. Asks nothing, and says what it removed.

    Killed at any point, the store can be read, and the next command that writes to it finishes. Only while nothing
    else writes to the store.
    """
    from cvbench.jobs.report.kept import remove_places

    say_removed(remove_places(kept.store, what.places, dry_run=only.dry_run), printed)


def _export(what: Export, kept: shared.StorePlace, printed: shared.Printed) -> None:
    """Write layers as files for other tools, with samples.csv beside them."""
    from cvbench.jobs.catalogue import store as job
    from cvbench.jobs.running.sizes import human

    written = job.export(kept.store, what.group, what.out, taps=what.tap, format=what.to)
    if printed.format == "json":
        shared.echo_json({**SCHEMA, "files": [asdict(file) for file in written]})
        return
    shared.echo_table(["file", "rows", "size"], [[file.path, str(file.rows), human(file.bytes)] for file in written])


info = command("info", [shared.StorePlace, shared.Printed], _info)
verify = command("verify", [shared.StorePlace, Deep, shared.Printed], _verify)
repair = command("repair", [shared.StorePlace, shared.DryRun, shared.Printed], _repair)
gc = command("gc", [shared.StorePlace, Orphans, shared.DryRun, shared.Printed], _gc)
rm = command("rm", [Places, shared.StorePlace, shared.DryRun, shared.Printed], _rm)
export = command("export", [Export, shared.StorePlace, shared.Printed], _export)
