"""What of a study is there already, as the store tells it: nothing is run, and nothing but the store is believed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from cvbench.errors import CvbenchError, DataUnavailableError
from cvbench.jobs.extraction.arrays import existing_store
from cvbench.jobs.extraction.plan import PlanReport
from cvbench.jobs.reading.views import MAPS
from cvbench.jobs.report import PAGE
from cvbench.jobs.report.collect import Item, collect, public_url
from cvbench.jobs.report.tables import shows
from cvbench.jobs.running.places import absolute
from cvbench.jobs.running.sizes import human
from cvbench.jobs.study.check import check_study
from cvbench.jobs.study.forecast import Forecasts
from cvbench.jobs.study.journal import Journal
from cvbench.jobs.study.matching import backbones_of, is_of, lacking
from cvbench.jobs.study.outcomes import DONE
from cvbench.jobs.study.steps import Computation, Extraction, Fitting, Reporting, Step, steps_of
from cvbench.jobs.study.study import Study

MISSING, PARTLY, FAILED = "missing", "partly", "failed"


@dataclass(frozen=True)
class StepState:
    """State of a step, as the store tells it.

    Attributes:
        state: "done"; "partly" there; "missing"; or "failed": missing, and its last run ended in an error.
        said: In words.
        units_done, units_total, bytes: Of an extraction; bytes are still to be written, uncompressed.
        hours: Expected of what is left of an extraction or a training; None of other steps, which are not reckoned.
        results: Paths in the store.
        error: Fields of the last failure, or why the step cannot be looked at.
        waits: Names of the steps that it needs and that are not done.
    """

    name: str
    command: str
    needs: tuple[str, ...]
    state: str
    said: str
    units_done: int | None = None
    units_total: int | None = None
    bytes: int | None = None
    hours: float | None = None
    results: tuple[str, ...] = ()
    error: dict[str, Any] = field(default_factory=dict)
    waits: tuple[str, ...] = ()

    @property
    def words(self) -> str:
        """The state in words, and which steps come first."""
        return f"{self.said}; after {', '.join(self.waits)}" if self.waits else self.said


def states_of(study: Study) -> list[StepState]:
    """Find the state of each step, in their order.

    Raises:
        UsageError: As `run_study`.
        IntegrityError: The store is damaged.
    """
    check_study(study)
    steps, failures = steps_of(study), Journal(study.out).read()
    items, forecasts = _items(study), Forecasts(study)
    found: dict[str, StepState] = {}
    for step in steps:
        one = _look(step, items, found, forecasts)
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


def _look(step: Step, items: Sequence[Item], found: Mapping[str, StepState], forecasts: Forecasts) -> StepState:
    if isinstance(step, Fitting):
        return _training(step, forecasts)
    waits = [name for name in step.needs if found[name].state != DONE]
    if isinstance(step, Extraction):
        return _extraction(step, items, waits, forecasts)
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


def _training(step: Fitting, forecasts: Forecasts) -> StepState:
    if Path(step.weights).expanduser().is_file():
        return StepState(step.name, step.command, step.needs, DONE, step.weights)
    try:
        images, hours = forecasts.training(step)
    except CvbenchError as error:
        return _unplanned(step, error)
    said = f"to be trained on {images:,} images, those of every epoch counted, into {step.weights}"
    return StepState(step.name, step.command, step.needs, MISSING, said, hours=hours)


def _unplanned(step: Step, error: CvbenchError) -> StepState:
    """State of a step that would fail as things are, its images not being there, say."""
    is_absent = isinstance(error, DataUnavailableError)
    state, said = (MISSING, error.what) if is_absent else (FAILED, f"cannot be planned: {error.what}")
    return StepState(step.name, step.command, step.needs, state, said, error=error.as_dict())


def _extraction(step: Extraction, items: Sequence[Item], waits: Sequence[str], forecasts: Forecasts) -> StepState:
    try:
        planned, absent = forecasts.extraction(step)
    except CvbenchError as error:
        return _unplanned(step, error)
    done, total = planned.units_done, planned.units_total
    live = _live(step, items, planned)
    lacking = [name for name in step.options.analyses if name not in live]
    published = ", as published: they are not here" if absent else ""
    said = [f"{done} of {total} units of {planned.samples:,} samples{published}"] if done < total else []
    said += [f"{human(planned.bytes_total)} to write"] if done < total else []
    said += [f"{', '.join(lacking)} to be measured"] if lacking else []
    state = DONE if not said else PARTLY if done else MISSING
    if waits:  # its weights are not there yet, so what the store holds is not known to be of them
        state = PARTLY if done else MISSING
    return StepState(
        step.name,
        step.command,
        step.needs,
        state,
        ", ".join(said) or f"all {total} units of {planned.samples:,} samples",
        done,
        total,
        planned.bytes_total,
        planned.hours_expected,
        tuple(live.values()),
        absent,
        tuple(waits),
    )


def _live(step: Extraction, items: Sequence[Item], planned: PlanReport) -> dict[str, str]:
    """Live analyses of the extraction that the store has of all its samples, with their paths."""
    names = {layer.group.backbone for layer in planned.layers}
    return {
        name: item.key.path
        for name in step.options.analyses
        for item in items
        if item.key.analysis == name and (item.key.dataset, item.key.split) == (planned.dataset, planned.split)
        if item.result.attrs.get("view") == MAPS and backbones_of(item) == names
        if item.result.attrs.get("samples_in_units", 0) >= planned.samples
    }


def _computation(step: Computation, items: Sequence[Item], waits: Sequence[str]) -> StepState:
    kept = [item for item in items if item.entry is not None and item.key.analysis == step.entry and is_of(step, item)]
    whole = [item for item in kept if not item.grown]
    paths = tuple(item.key.path for item in whole or kept)
    if waits:
        state = PARTLY if kept else MISSING
        return StepState(
            step.name, step.command, step.needs, state, "to be computed", results=paths, waits=tuple(waits)
        )
    if whole and (missing := lacking(step, whole)):
        said = f"there is none of {', '.join(missing)}"
        return StepState(step.name, step.command, step.needs, PARTLY, said, results=paths)
    if whole:
        return StepState(step.name, step.command, step.needs, DONE, ", ".join(paths), results=paths)
    if kept:
        said = f"{paths[0]} is of fewer samples than the store has now"
        return StepState(step.name, step.command, step.needs, PARTLY, said, results=paths)
    return StepState(step.name, step.command, step.needs, MISSING, "to be computed")
