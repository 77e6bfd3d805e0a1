"""Runs the steps of a study one after the other. Each is a job that finds what is there already and does the rest.

So nothing is kept of how far a run has come: after a kill at any point the same call goes on.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from typing import Any

from cvbench.errors import IncompleteError
from cvbench.jobs.running.places import check_folder
from cvbench.jobs.running.progress import Listener, silent
from cvbench.jobs.running.session import shared_ray
from cvbench.jobs.study.budget import check_budget
from cvbench.jobs.study.journal import Journal
from cvbench.jobs.study.steps import REPORT, Step, steps_of
from cvbench.jobs.study.study import Study, check_study

DONE, FAILED, SKIPPED = "done", "failed", "skipped"


@dataclass(frozen=True)
class StepOutcome:
    """Outcome of a step.

    Attributes:
        state: "done", "failed" or "skipped": one that it needs is not done.
        left: Paths of results in the store, or files.
        error: Fields of the error of a failed one.
        because: Names of the steps that a skipped one needs.
    """

    name: str
    command: str
    state: str
    seconds: float = 0.0
    left: tuple[str, ...] = ()
    error: dict[str, Any] = field(default_factory=dict)
    because: tuple[str, ...] = ()


@contextmanager
def no_listener() -> Iterator[Listener]:
    """Give a listener that ignores everything."""
    yield silent


def run_study(
    study: Study,
    listening: Callable[[], AbstractContextManager[Listener]] = no_listener,
    on_end: Callable[[StepOutcome], None] = lambda ended: None,
) -> list[StepOutcome]:
    """Run every step that can be run, on one Ray or in this process. `check_outcomes` tells whether all went well.

    Args:
        study: What to run.
        listening: Gives a listener for the time of one step.
        on_end: Called after each step.

    Raises:
        UsageError: Something of the study does not exist, or fits nothing; before the first step.
        ResourceError: The report's folder cannot be written, or the budget is too small; before the first step.
    """
    check_study(study)
    check_folder(study.out)
    check_budget(study)
    steps, journal = steps_of(study), Journal(study.out)
    found: dict[str, StepOutcome] = {}
    with shared_ray():
        for step in steps:
            lacking = tuple(name for name in step.needs if found[name].state != DONE)
            nothing = step.name == REPORT and not any(one.state == DONE for one in found.values())
            if lacking or nothing:
                found[step.name] = StepOutcome(step.name, step.command, SKIPPED, because=lacking or tuple(found))
            else:
                found[step.name] = _run(step, listening, journal)
            on_end(found[step.name])
    return list(found.values())


def _run(step: Step, listening: Callable[[], AbstractContextManager[Listener]], journal: Journal) -> StepOutcome:
    begin = time.monotonic()
    try:
        with listening() as listen:
            left = tuple(step.run(listen))
    except Exception as error:  # of any kind, a plugin's too: the other branches go on
        if _is_interrupt(error):
            raise
        fields = journal.failed(step.command, error)
        return StepOutcome(step.name, step.command, FAILED, time.monotonic() - begin, error=fields)
    journal.mended(step.command)
    return StepOutcome(step.name, step.command, DONE, time.monotonic() - begin, left)


def _is_interrupt(error: BaseException) -> bool:
    """Whether it came while an interrupt unwound the step: what tidies up can fail for it."""
    seen: BaseException | None = error
    while seen is not None:
        if isinstance(seen, KeyboardInterrupt):
            return True
        seen = seen.__cause__ or seen.__context__
    return False


def check_outcomes(ended: Sequence[StepOutcome]) -> None:
    """Refuse outcomes that are not all done.

    Raises:
        IncompleteError: Some steps failed; names each with its error and the command that repeats it.
    """
    failed = [one for one in ended if one.state == FAILED]
    skipped = [one for one in ended if one.state == SKIPPED]
    if not failed and not skipped:
        return
    lines = [line for one in failed for line in failure_lines(one.name, one.error, one.command)]
    lines += [f"{one.name}: skipped, as it needs {', '.join(one.because)}" for one in skipped]
    also = f", {len(skipped)} were skipped" if skipped else ""
    raise IncompleteError(
        "\n".join([f"{len(failed)} of {len(ended)} steps failed{also}", *lines]),
        fix="mend it, and the same command does what is missing",
    )


def failure_lines(name: str, error: dict[str, Any], command: str) -> Iterator[str]:
    """A failure, for a person."""
    yield f"{name}: {error.get('what', 'failed')}"
    near = error.get("did_you_mean")
    rows = {"did you mean": ", ".join(map(str, near)) if near else None}
    rows |= {key: error.get(key) for key in ("where", "why", "fix")}
    yield from (f"  {key}: {value}" for key, value in {**rows, "again": command}.items() if value)
