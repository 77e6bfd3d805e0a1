"""What a study may cost, looked at before its first step."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from cvbench.errors import CvbenchError, ResourceError
from cvbench.jobs.running.sizes import enough, human
from cvbench.jobs.study.forecast import Forecasts
from cvbench.jobs.study.steps import Extraction, Fitting, steps_of
from cvbench.jobs.study.study import Study


@dataclass(frozen=True)
class Cost:
    """Bytes and hours that an extraction or a training still needs, as planned."""

    step: str
    bytes: int
    hours: float


def costs(study: Study) -> list[Cost]:
    """List the costs of what is still to be extracted and trained, but for what cannot be planned."""
    found, forecasts = [], Forecasts(study)
    for step in steps_of(study):
        with suppress(CvbenchError):  # images of which nobody published a number, say: the step says it
            if isinstance(step, Extraction):
                planned, _ = forecasts.extraction(step)
                found.append(Cost(step.name, planned.bytes_total, planned.hours_expected))
            elif isinstance(step, Fitting) and not Path(step.weights).expanduser().is_file():
                found.append(Cost(step.name, 0, forecasts.training(step)[1]))
    return found


def check_budget(study: Study) -> None:
    """Refuse a study whose extractions would cost more than its budget.

    Raises:
        ResourceError: Says how much, what takes most of it, and what to change.
    """
    if study.most_bytes is None and study.most_hours is None:
        return
    every = costs(study)
    size, hours = sum(one.bytes for one in every), sum(one.hours for one in every)
    where = study.document.place(("budget",))
    if study.most_bytes is not None and size > study.most_bytes:
        most = max(every, key=lambda one: one.bytes)
        raise ResourceError(
            f"{human(size)} are to be written and the budget is {human(study.most_bytes)}",
            where=where,
            why=f"most of it, {human(most.bytes)}, is of {most.step}",
            fix=f"fewer maps or a limit, such as --set extract.maps=64; or --set budget.bytes={enough(size)}",
        )
    if study.most_hours is not None and hours > study.most_hours:
        most = max(every, key=lambda one: one.hours)
        raise ResourceError(
            f"{hours:.2g} hours of extraction and training are planned and the budget is {study.most_hours:g}",
            where=where,
            why=f"most of it, {most.hours:.2g} hours, is of {most.step}",
            fix=f"a limit, such as --set extract.limit=500; or --set budget.hours={hours * 1.1:.2g}",
        )
