"""`cvbench.extract` and `cvbench.plan`: data sets through backbones into a feature store."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cache
from typing import TYPE_CHECKING, Any

from cvbench.api import markup
from cvbench.api.calls import Call, forms
from cvbench.api.entries import pasted
from cvbench.api.stores import Store, open_store
from cvbench.errors import UsageError
from cvbench.jobs.extraction.options import EXTRACT, PLAN, ExtractOptions, Rates, jobs_of

if TYPE_CHECKING:
    import pandas as pd

    from cvbench.api.result import Result
    from cvbench.jobs.extraction.job import ExtractReport
    from cvbench.jobs.extraction.plan import PlanReport
    from cvbench.jobs.running.hardware import Hardware
    from cvbench.jobs.running.progress import Event, Listener

_LEADING = ("dataset",)
_SAID = {
    "dataset": "A name of `cvbench datasets ls`, folder:PATH, table:FILE, @paper; NAME+scale=2 transforms. Repeat.",
    "taps": "blocks, paper, module names or globs; `cvbench.taps` lists what there is.",
}
_FORM = replace(EXTRACT[0], help={**EXTRACT[0].help, **_SAID})


class Extracted:
    """Outcome of an extraction.

    Attributes:
        reports: One for each data set: samples, those computed now, unreadable ones, results measured on the way.
        store: What has the features now.
        notes: What a reader must know, such as samples that whole units add.
        command: The command line that does the same.
    """

    def __init__(self, reports: Sequence[ExtractReport], store: Store, notes: Sequence[str], command: str) -> None:
        self.reports, self.store, self.notes, self.command = tuple(reports), store, tuple(notes), command

    @property
    def computed(self) -> int:
        """Samples that were computed now; 0 if all was there."""
        return sum(report.computed for report in self.reports)

    @property
    def results(self) -> list[Result]:
        """Results that were measured while the layers were computed, see the option `analyses`."""
        paths = {path for report in self.reports for path in report.results}
        return [one for one in self.store.results() if paths & {*one.paths}] if paths else []

    def __repr__(self) -> str:
        names = ", ".join(f"{one.dataset}/{one.split}" for one in self.reports)
        return f"Extracted({names}: {self.computed} samples computed, into {self.store.url!r})"

    def _repr_html_(self) -> str:
        columns = ("data set", "samples", "computed now", "layers", "unreadable")
        rows = [
            (f"{one.dataset}/{one.split}", f"{one.samples:,}", f"{one.computed:,}", one.layers, len(one.unreadable))
            for one in self.reports
        ]
        notes = [markup.line(f"note: {note}") for note in self.notes]
        told = markup.table(columns, rows, numbers=columns[1:])
        return markup.box(f"Extracted into {self.store.url}", told, *notes, markup.code(self.command))


class Plan:
    """Forecast of an extraction: nothing ran.

    Attributes:
        reports: One for each data set: units, layers, bytes, hours and the rates that they come from.
        command: The command line that extracts it.
    """

    def __init__(self, reports: Sequence[PlanReport], command: str) -> None:
        self.reports, self.command = tuple(reports), command

    @property
    def samples(self) -> int:
        """Samples that it covers."""
        return sum(report.samples for report in self.reports)

    @property
    def bytes(self) -> int:
        """Uncompressed bytes still to be written."""
        return sum(report.bytes_total for report in self.reports)

    @property
    def hours(self) -> float:
        """Expected time of the run."""
        return sum(report.hours_expected for report in self.reports)

    @property
    def fits(self) -> bool:
        """Whether each data set fits the disk and the option `max_bytes`."""
        return all(report.fits for report in self.reports)

    @property
    def advice(self) -> tuple[str, ...]:
        """Options that would make them fit, in words."""
        return tuple(report.advice for report in self.reports if report.advice)

    def to_pandas(self) -> pd.DataFrame:
        """One row for each layer: its shape, and what is still to be computed and written."""
        import pandas as pd

        columns = ["dataset", "backbone", "view", "layer", "shape", "dtype", "samples", "bytes"]
        rows = [
            (
                f"{one.group.dataset}/{one.group.split}",
                one.group.backbone,
                one.group.view,
                one.tap,
                one.shape,
                one.dtype,
                one.samples,
                one.bytes,
            )
            for report in self.reports
            for one in report.layers
        ]
        return pd.DataFrame(rows, columns=columns)

    def __repr__(self) -> str:
        from cvbench.jobs.running.sizes import duration, human

        names = ", ".join(f"{one.dataset}/{one.split}" for one in self.reports)
        return f"Plan({names}: {human(self.bytes)} to write, {duration(self.hours)}{'' if self.fits else ', no room'})"

    def _repr_html_(self) -> str:
        from cvbench.jobs.running.sizes import duration, human

        columns = ("data set", "samples", "units done", "layers", "to write", "expected", "bottleneck")
        rows = [
            (
                f"{one.dataset}/{one.split}",
                f"{one.samples:,}",
                f"{one.units_done} of {one.units_total}",
                len(one.layers),
                human(one.bytes_total),
                duration(one.hours_expected),
                f"{one.bottleneck}: {one.rates[one.bottleneck]}",
            )
            for one in self.reports
        ]
        advice = [markup.line(f"does not fit: {text}") for text in self.advice]
        table = markup.table(columns, rows, numbers=columns[1:6])
        return markup.box("Plan; nothing ran", table, *advice, markup.code(self.command))


def _extract(call: Call, listen: Listener, asked: list[ExtractOptions], hardware: Hardware) -> Extracted:
    from cvbench.jobs.extraction.extract import extract
    from cvbench.jobs.extraction.plan import check_together
    from cvbench.jobs.registry import find_live
    from cvbench.jobs.running.progress import Note

    jobs = _jobs(asked)
    cluster = hardware.cluster((os.cpu_count() or 1) if hardware.address == "none" else 1)
    live = find_live(jobs[0].analyses)
    check_together(jobs)
    notes: list[str] = []

    def heard(event: Event) -> None:
        if isinstance(event, Note):
            notes.append(event.text)
        listen(event)

    reports = [extract(job, cluster, heard, live) for job in jobs]
    return Extracted(reports, open_store(jobs[0].store), list(dict.fromkeys(notes)), pasted(call, [asked, hardware]))


def _plan(call: Call, listen: Listener, asked: list[ExtractOptions], hardware: Hardware, rates: Rates) -> Plan:
    from cvbench.jobs.extraction.plan import plan

    reports = [plan(job, gpus=hardware.gpus or 0, cores=hardware.threads, **vars(rates)) for job in _jobs(asked)]
    return Plan(reports, pasted(call_of("extract"), [asked, hardware]))


def _jobs(asked: list[ExtractOptions]) -> list[ExtractOptions]:
    if not asked[0].dataset:
        raise UsageError("dataset: no data set is given", fix="dataset='digits', or another of `cvbench datasets ls`")
    if asked[0].taps == ("list",):
        raise UsageError("taps='list' lists nothing here", fix="cvbench.taps(backbones)")
    return jobs_of(asked)


@cache
def call_of(name: str) -> Call:
    """The call of `extract`, or of `plan`."""
    if name == "plan":
        about = "Say bytes, hours and the bottleneck of an extraction. Nothing runs, no weights are loaded."
        return Call(name, name, forms((_FORM, *PLAN[1:])), about, _plan, Plan, "The forecast.", _LEADING, listens=False)
    about = "Stream data sets through backbones and keep layerwise features. The same call again resumes."
    return Call(
        name, name, forms((_FORM, *EXTRACT[1:])), about, _extract, Extracted, "What was done, and the store.", _LEADING
    )


@cache
def function(name: str) -> Callable[..., Any]:
    """The function `cvbench.extract`, or `cvbench.plan`."""
    return call_of(name).function("cvbench")


def taps(backbones: str | Sequence[str], **options: Any) -> pd.DataFrame:
    """List everything that can be tapped of backbones, with its shape; no weights are loaded.

    Args:
        backbones: timm models, aliases, or module:function of one's own.
        options: Others of `cvbench.extract` that decide what is built, such as `image_size`.

    Returns:
        Columns `backbone`, `tap` and `shape`: height x width x channels.

    Raises:
        UnknownNameError: No such model.
    """
    import pandas as pd

    from cvbench.jobs.extraction.backbones import list_taps

    call = call_of("extract")
    (job, *_), _ = call.made(call.bound((), {"dataset": "digits", "backbones": backbones, **options}))
    listed = list_taps(job)
    rows = [(name, tap, shape) for name, found in listed.items() for tap, shape in found.items()]
    return pd.DataFrame(rows, columns=["backbone", "tap", "shape"])


def datasets(data_root: str | os.PathLike[str] | None = None) -> pd.DataFrame:
    """List the data sets that can be extracted by name, and where they are; `cvbench datasets ls` does the same.

    Args:
        data_root: Folder that holds the data sets; None: the variable CVBENCH_DATA.

    Returns:
        Columns `name`, `title`, `classes`, `splits`, `default`, `images` and `found`: the place, if it is there.
    """
    import pandas as pd

    from cvbench.jobs.catalogue.datasets import list_datasets

    found, _ = list_datasets(None if data_root is None else os.fspath(data_root))
    columns = ["name", "title", "classes", "splits", "default", "images", "found"]
    rows = []
    for one in found:
        info = one.info
        name, images = (
            f"{info.name}:PATH" if info.of_files else info.name,
            info.counts.get("all") or sum(info.counts.values()) or None,
        )
        rows.append((name, info.title, info.classes, info.splits, info.default_split, images, one.found))
    return pd.DataFrame(rows, columns=columns).astype({"classes": "Int64", "images": "Int64"})
