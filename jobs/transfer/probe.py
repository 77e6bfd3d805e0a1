"""`cvbench transfer probe`: linear probes on stored features, fitted on one split and tested on another."""

from __future__ import annotations

from dataclasses import replace

from cvbench.engine.analyses.base import Result
from cvbench.engine.probe.options import ProbeOptions, Schedule
from cvbench.engine.probe.parts import ProbeRun
from cvbench.engine.probe.result import Targets, probe_result
from cvbench.jobs.figures.charts.intervals import interval_chart
from cvbench.jobs.figures.evaluation_intervals import IntervalPanel
from cvbench.jobs.figures.probe import probe_figure, probes_figure
from cvbench.jobs.reading.matrix import Matrices
from cvbench.jobs.reading.reading import open_store
from cvbench.jobs.results.command import command_words, selection_of
from cvbench.jobs.results.entry import Entry
from cvbench.jobs.results.keep import Analysed, keep
from cvbench.jobs.results.question import Question
from cvbench.jobs.results.row import VALUE, Row
from cvbench.jobs.results.table import of_metrics
from cvbench.jobs.running.device import choose
from cvbench.jobs.running.hardware import Hardware
from cvbench.jobs.running.progress import Advanced, Ended, Listener, Note, Started, silent
from cvbench.jobs.transfer.probe_logits import check_kept, keep_logits
from cvbench.jobs.transfer.probe_options import PROBE, ProbeRequest
from cvbench.jobs.transfer.probe_rows import ARRAYS, NAMES, rows, said
from cvbench.jobs.transfer.probe_splits import Splits, open_splits
from cvbench.storage.datasets.groups import expand

__all__ = ["ENTRY", "ProbeOptions", "ProbeRequest", "probe"]

JOB = "transfer probe"


def probe(
    request: ProbeRequest, options: ProbeOptions, device: str = "cpu", listen: Listener = silent
) -> list[Analysed]:
    """Fit and test the probes of every data set; each result is kept in the store, with the test split.

    Memory: the features of one layer, about four times.

    Args:
        request: What to probe.
        options: How.
        device: "cpu" or "cuda", of torch.
        listen: Receives progress.

    Raises:
        DataUnavailableError: A split is not in the store; says which command adds it.
        IncompleteError: Samples are not there, and `request.partial` is not set.
        UsageError: Classes that differ between the splits, samples without a label, or too few.
    """
    store = open_store(request.store)
    found = [open_splits(store, dataset, request, options) for dataset in expand(request.datasets)]
    return [_one(splits, request, options, device, listen) for splits in found]


def _one(splits: Splits, request: ProbeRequest, options: ProbeOptions, device: str, listen: Listener) -> Analysed:
    from cvbench.engine.probe.recipes import probe as fit

    test = splits.roles["test"]
    layers, samples = test.selected.layers, test.samples
    if request.keep_logits:
        check_kept(layers)
    runs: list[list[ProbeRun]] = []
    listen(Started(JOB, test.where, len(layers), len(layers), 0))
    for note in (note for matrices in splits.roles.values() for note in matrices.notes):
        listen(Note(note))
    for index, layer in enumerate(layers):
        parts = splits.parts(layer)
        runs.append(fit(parts["train"], parts.get("val"), parts["test"], len(samples.classes), options, device))
        listen(Advanced(JOB, index, 1))
    listen(Ended(JOB))
    attrs = {
        "recipe": options.recipe,
        "options": options.as_dict(),
        "train_split": splits.names["train"],
        "val_split": splits.names.get("val", ""),
        "val_asked": request.val or "",
        "partial": request.partial,
        "variant": variant(options, splits),
        "failed": _failed(test),
    }
    tested = Targets(samples.positions, samples.labels, samples.classes)
    result = probe_result(layers, runs, tested, attrs, request.confidence)
    notes = [*splits.notes, *result.attrs["notes"]]
    result = replace(result, attrs={**result.attrs, "device": device, "notes": notes})
    identity = {
        "intervals": 3,  # raised when they are computed in another way; 2 compared no backbones
        "options": options.as_dict(),
        "device": device,
        "confidence": request.confidence,
        "splits": splits.identity(),
    }
    if request.keep_logits:
        for text in keep_logits(test, layers, runs, identity):
            listen(Note(text))
    return Analysed(result, test.selected, keep(test, result, identity), 0)


def _failed(matrices: Matrices) -> int:
    """Samples that could not be read."""
    layer = next(iter(matrices.layers.values()))
    return sum(len(layer.commit(unit).bad) for unit in matrices.selected.units)


def variant(options: ProbeOptions, splits: Splits) -> str:
    """The recipe with everything a reader needs to tell it from another, as one line."""
    parts = [options.recipe]
    if options.recipe == "clip_lbfgs":
        parts.append(f"solver {options.solver}")
    else:
        schedule = options.schedule
        parts.append(f"{schedule.epochs} epochs, batch {schedule.batch}, rate {schedule.rate:g}")
    parts += [_chosen(options, splits), _fitted(options, splits)]
    if options.shots:
        parts.append(f"{options.shots} samples per class")
    return "; ".join([*parts, *filter(None, [splits.rule]), *splits.notes])


def _chosen(options: ProbeOptions, splits: Splits) -> str:
    """Words on the samples that chose the penalty."""
    train = splits.names["train"]
    if "val" in splits.names:
        return f"penalty chosen on {splits.names['val']}"
    if splits.held is not None:
        last = f"the last {splits.share:.0%} of {train} by SHA-256 of the id"
        return f"penalty chosen on {last} (VTAB's share, not its members)"
    if options.held_out > 0:
        return f"penalty chosen on {options.held_out:.0%} of {train}, held out"
    return "penalty fixed, no validation"


def _fitted(options: ProbeOptions, splits: Splits) -> str:
    """Words on the samples of the final fit, and on those of the test."""
    names = splits.names
    fitted = names["train"] if "val" not in names or options.shots else f"{names['train']} + {names['val']}"
    if splits.held is not None and options.shots:
        fitted = f"the rest of {fitted}"
    return f"fitted on {fitted}, tested on {names['test']}"


def _command(result: Result) -> list[str]:
    attrs = result.attrs
    layers = selection_of(result)
    request = ProbeRequest(
        store=layers.store,
        datasets=(attrs["dataset"],),
        backbones=layers.backbones,
        view=layers.view,
        taps=layers.taps,
        train=attrs["train_split"],
        val=attrs["val_asked"] or None,
        test=attrs["split"],
        partial=attrs.get("partial", False),
    )
    options = ProbeOptions(**{**attrs["options"], "schedule": Schedule(**attrs["options"]["schedule"])})
    return command_words("transfer probe", PROBE, request, options)


def _run(request: ProbeRequest, options: ProbeOptions, on: Hardware, listen: Listener) -> list[Analysed]:
    return probe(request, options, choose(on.device, "none").device, listen)


PREFIX = "linear probe, "
"""What the names of all lines would begin with."""


def _line(row: Row) -> str | None:
    shown = row.kind == VALUE and row.metric in NAMES.values()
    return f"{row.metric.removeprefix(PREFIX)}, {row.layer}" if shown else None


PANEL = IntervalPanel(title="linear probes on frozen features", axis="accuracy", line=_line, percent=True)

ENTRY = Entry(
    name="probe",
    title="Transfer: linear probe",
    about=(
        "How well a linear classifier on the frozen features tells the classes of a data set apart: the features stay, "
        "only the classifier is fitted, on the training split, with its penalty chosen on validation samples, and is "
        "tested once. Shown are top-1 and the mean of the classes' recalls, over the seeds; intervals are over the "
        "test samples, given the fitted probes: Wilson's, at the effective number of samples. Backbones are compared "
        "on the same samples, by the last probed layer of each, and judged together (Holm). The recipe, the splits "
        "and the solver stand with each number: compare only what has the same. Sources: Radford et al. 2021 "
        "(clip_lbfgs), CLIP_benchmark (clip_benchmark)."
    ),
    question=Question(
        NAMES["top1"],
        "A linear classifier on the features of {more} is right more often than on those of {less}",
        percent=True,
    ),
    unit="samples",
    rows=rows,
    command=_command,
    run=_run,
    headline=of_metrics(*NAMES.values()),
    figure=probe_figure,
    chart=interval_chart(PANEL),
    overview=probes_figure,
    arrays=ARRAYS,
    said=said,
    named_by=("recipe",),
    unsaid=("keep_logits",),
)
