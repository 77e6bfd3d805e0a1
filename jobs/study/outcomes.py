"""Outcomes of the steps of a study: done, failed or skipped, and what is said of those that are not done."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from cvbench.errors import IncompleteError
from cvbench.jobs.study.steps import Step

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


def outcome_of(step: Step, seconds: float, left: Sequence[str], error: dict[str, Any]) -> StepOutcome:
    """Outcome of a step that was attempted; `error` is empty unless it failed."""
    state = FAILED if error else DONE
    return StepOutcome(step.name, step.command, state, seconds, tuple(left), error)


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
