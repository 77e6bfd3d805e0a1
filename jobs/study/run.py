"""Runs the steps of a study. Each is a job that finds what is there already and does the rest.

So nothing is kept of how far a run has come: after a kill at any point the same call goes on.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import AbstractContextManager

from cvbench.jobs.running.places import check_folder
from cvbench.jobs.running.progress import Listener
from cvbench.jobs.running.session import shared_ray
from cvbench.jobs.study.attempt import attempt, no_listener
from cvbench.jobs.study.budget import check_budget
from cvbench.jobs.study.check import check_study
from cvbench.jobs.study.journal import Journal
from cvbench.jobs.study.lanes import Lanes
from cvbench.jobs.study.outcomes import StepOutcome, outcome_of
from cvbench.jobs.study.schedule import Schedule
from cvbench.jobs.study.steps import Step, steps_of
from cvbench.jobs.study.study import Study


def run_study(
    study: Study,
    listening: Callable[[], AbstractContextManager[Listener]] = no_listener,
    on_end: Callable[[StepOutcome], None] = lambda ended: None,
) -> list[StepOutcome]:
    """Run every step that can be run, on one Ray or in this process. `check_outcomes` tells whether all went well.

    With `jobs` above 1, steps that do not wait for each other run side by side, each in a process of its own with its
    share of the cores; the report comes last, in this process.

    Args:
        study: What to run.
        listening: Gives a listener for the time of one step; of several at a time, where several run.
        on_end: Called after each step.

    Raises:
        UsageError: Something of the study does not exist, or fits nothing; before the first step.
        ResourceError: The report's folder cannot be written, or the budget is too small; before the first step.
    """
    check_study(study)
    check_folder(study.out)
    check_budget(study)
    journal, schedule = Journal(study.out), Schedule(steps_of(study), on_end)
    if study.jobs > 1:
        with Lanes(study, listening, journal) as lanes:
            lanes.run(schedule)
    with shared_ray():
        while (step := schedule.ready()) is not None:
            schedule.end(_run(step, listening, journal))
    return schedule.outcomes()


def _run(step: Step, listening: Callable[[], AbstractContextManager[Listener]], journal: Journal) -> StepOutcome:
    begin = time.monotonic()
    with listening() as listen:
        left, error = attempt(step, listen)
    journal.note(step.command, error)
    return outcome_of(step, time.monotonic() - begin, left, error)
