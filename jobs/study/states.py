"""What of a study is there already, as the store tells it: nothing is run, and nothing but the store is believed."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from cvbench.errors import CvbenchError
from cvbench.jobs.extraction.arrays import existing_store
from cvbench.jobs.extraction.backbones import specs_of
from cvbench.jobs.extraction.options import ExtractOptions
from cvbench.jobs.extraction.plan import plan
from cvbench.jobs.reading.selection import is_wanted
from cvbench.jobs.reading.views import MAPS
from cvbench.jobs.report import PAGE
from cvbench.jobs.report.collect import Item, collect, public_url
from cvbench.jobs.report.tables import shows
from cvbench.jobs.running.hardware import Hardware
from cvbench.jobs.running.places import absolute
from cvbench.jobs.running.sizes import human
from cvbench.jobs.study.journal import Journal
from cvbench.jobs.study.run import DONE
from cvbench.jobs.study.steps import Computation, Extraction, Fitting, Reporting, Step, steps_of
from cvbench.jobs.study.study import Study, check_study
from cvbench.options import Form
from cvbench.storage.datasets import key_of_spec

MISSING, PARTLY, FAILED = "missing", "partly", "failed"
PLACE = {"store", "dataset", "split", "backbone", "taps", "data_root", "source"}
"""Options that say of what a result is, and where; its layers are compared instead."""


@dataclass(frozen=True)
class StepState:
    """State of a step, as the store tells it.

    Attributes:
        state: "done"; "partly" there; "missing"; or "failed": missing, and its last run ended in an error.
        said: In words.
        units_done, units_total, bytes: Of an extraction; bytes are still to be written, uncompressed.
        results: Paths in the store.
        error: Fields of the last failure, or why the step cannot be looked at.
    """

    name: str
    command: str
    needs: tuple[str, ...]
    state: str
    said: str
    units_done: int | None = None
    units_total: int | None = None
    bytes: int | None = None
    results: tuple[str, ...] = ()
    error: dict[str, Any] = field(default_factory=dict)


def states_of(study: Study) -> list[StepState]:
    """Find the state of each step, in their order.

    Raises:
        UsageError: As `run_study`.
        IntegrityError: The store is damaged.
    """
    check_study(study)
    steps, failures = steps_of(study), Journal(study.out).read()
    items = _items(study)
    found: dict[str, StepState] = {}
    for step in steps:
        one = _look(step, items, found)
        if one.state not in (DONE, FAILED) and step.command in failures:
            error = failures[step.command]
            one = replace(one, state=FAILED, said=f"{one.said}; failed: {error.get('what', '')}", error=error)
        found[step.name] = one
    return list(found.values())


def _items(study: Study) -> list[Item]:
    store = existing_store(absolute(study.store))
    if store is None:
        return []
    try:
        return collect(store, public_url(study.store))
    except CvbenchError as error:
        if error.code == "data-unavailable":  # no result yet
            return []
        raise


def _look(step: Step, items: Sequence[Item], found: Mapping[str, StepState]) -> StepState:
    if isinstance(step, Fitting):
        there = Path(step.weights).expanduser().is_file()
        said = step.weights if there else f"to be trained into {step.weights}"
        return StepState(step.name, step.command, step.needs, DONE if there else MISSING, said)
    waits = [name for name in step.needs if found[name].state != DONE]
    if isinstance(step, Extraction):
        if waits:  # its weights are not there yet
            return StepState(step.name, step.command, step.needs, MISSING, f"after {', '.join(waits)}")
        return _extraction(step, items)
    if isinstance(step, Computation):
        return _computation(step, items, waits)
    assert isinstance(step, Reporting)
    return _report(step, items)


def _report(step: Reporting, items: Sequence[Item]) -> StepState:
    folder = Path(step.out).expanduser()
    page = folder / PAGE
    if not page.exists():
        return StepState(step.name, step.command, step.needs, MISSING, f"to be written to {page}")
    if not shows(folder, items):
        return StepState(step.name, step.command, step.needs, PARTLY, f"{page} shows other results than the store has")
    return StepState(step.name, step.command, step.needs, DONE, f"written anew to {page}")


def _extraction(step: Extraction, items: Sequence[Item]) -> StepState:
    try:
        planned = plan(step.options)
    except CvbenchError as error:  # the images are not there, say: the step would fail
        why = error.as_dict()
        return StepState(step.name, step.command, step.needs, FAILED, f"cannot be planned: {error.what}", error=why)
    done, total = planned.units_done, planned.units_total
    names = {layer.group.backbone for layer in planned.layers}
    live = {
        name: item.key.path
        for name in step.options.analyses
        for item in items
        if item.key.analysis == name and (item.key.dataset, item.key.split) == (planned.dataset, planned.split)
        if item.result.attrs.get("view") == MAPS and _backbones(item) == names
        if item.result.attrs.get("samples_in_units", 0) >= planned.samples
    }
    lacking = [name for name in step.options.analyses if name not in live]
    said = [f"{done} of {total} units of {planned.samples:,} samples"] if done < total else []
    said += [f"{human(planned.bytes_total)} to write"] if done < total else []
    said += [f"{', '.join(lacking)} to be measured"] if lacking else []
    state = DONE if not said else PARTLY if done else MISSING
    return StepState(
        step.name,
        step.command,
        step.needs,
        state,
        ", ".join(said) or f"all {total} units of {planned.samples:,} samples",
        done,
        total,
        planned.bytes_total,
        tuple(live.values()),
    )


def _computation(step: Computation, items: Sequence[Item], waits: Sequence[str]) -> StepState:
    kept = [item for item in items if item.entry is not None and item.key.analysis == step.entry and _is_of(step, item)]
    whole = [item for item in kept if not item.grown]
    paths = tuple(item.key.path for item in whole or kept)
    if waits:
        said = f"after {', '.join(waits)}"
        return StepState(step.name, step.command, step.needs, PARTLY if kept else MISSING, said, results=paths)
    if whole:
        return StepState(step.name, step.command, step.needs, DONE, ", ".join(paths), results=paths)
    if kept:
        said = f"{paths[0]} is of fewer samples than the store has now"
        return StepState(step.name, step.command, step.needs, PARTLY, said, results=paths)
    return StepState(step.name, step.command, step.needs, MISSING, "to be computed")


def _is_of(step: Computation, item: Item) -> bool:
    """Whether a result is one that the step would keep: of the same layers, made by the same options.

    What a command chooses by itself where nothing is said may be anything.
    """
    key, wanted = item.key, _typed(step)
    its = _read_words(shlex.split(item.command), step.forms)
    if step.images and all(name != key.dataset or split not in (None, key.split) for name, split in step.images):
        return False
    if not step.images and wanted.get("dataset") and _keys(wanted["dataset"]) != _keys(its.get("dataset") or ()):
        return False
    if wanted.get("backbone") and _wanted_backbones(step, wanted["backbone"]) != _backbones(item):
        return False
    if "taps" in wanted and not _has_taps(item, wanted["taps"]):
        return False
    unsaid = {*PLACE, *(() if item.entry is None else item.entry.unsaid)}
    return all(
        value in (None, [], "auto") or str(value) == str(its.get(name))
        for name, value in wanted.items()
        if name not in unsaid and (name in its or name not in _OF_EXTRACTION)
    )


def _wanted_backbones(step: Computation, typed: Sequence[str]) -> set[str]:
    """Names that the results have: of a step that loads models itself these are not what is typed."""
    for made in step.asked:
        if isinstance(made, ExtractOptions):
            return {spec.key for spec in specs_of(made)}
    return {*typed}


_OF_EXTRACTION = {one.key for one in Form(ExtractOptions).fields()}
"""Of these a result says only what it depends on."""


def _keys(specs: Iterable[str]) -> set[str]:
    return {*map(key_of_spec, specs)}


def _has_taps(item: Item, patterns: Sequence[str]) -> bool:
    """Whether a result has the layers that these patterns choose of those that the store has."""
    if not patterns:
        return item.live or bool(item.result.attrs.get("all_taps"))
    return all(is_wanted(layer["tap"], patterns) for layer in _layers(item))


def _layers(item: Item) -> list[dict[str, Any]]:
    return [layer for layer in item.result.attrs.get("layers", ()) if isinstance(layer, dict) and "tap" in layer]


def _backbones(item: Item) -> set[str]:
    named = {str(layer["backbone"]) for layer in _layers(item)}
    return named or {name for row in item.rows for name in (row.backbone, row.backbone_b) if name}


def _typed(step: Computation) -> dict[str, Any]:
    """Key -> value as typed, of every option of a step but where it runs."""
    found: dict[str, Any] = {}
    for form, made in zip(step.forms, step.asked, strict=False):
        if form.options is Hardware:
            continue
        for one in form.fields():
            value = made[0] if isinstance(made, list) else made
            for name in one.path:
                value = getattr(value, name)
            found[one.key] = [value] if one.key == form.each and value is not None else one.typed(value)
    return found


def _read_words(words: Sequence[str], forms: Sequence[Form]) -> dict[str, Any]:
    """Key -> value as typed, of the words of a command of cvbench; defaults where nothing is typed."""
    fields = {one.name: one for form in forms for one in form.fields()}
    found = {one.key: one.default for one in fields.values() if one.key not in _OF_EXTRACTION}
    at, typed = 0, dict[str, Any]()
    while at < len(words):
        one = fields.get(words[at])
        at += 1
        if one is None:
            continue
        if one.kind is bool:
            typed[one.key] = True
            continue
        value = words[at] if at < len(words) else ""
        typed[one.key] = [*typed.get(one.key, []), value] if one.kind == list[str] else value
        at += 1
    return {**found, **typed}
