"""Which step of a study is next, by those that have ended."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from cvbench.jobs.study.outcomes import DONE, SKIPPED, StepOutcome
from cvbench.jobs.study.steps import REPORT, Step


class Schedule:
    """Steps of a study, each of which is waiting, running or has ended.

    Attributes:
        ended: Name -> its outcome.
    """

    def __init__(self, steps: Sequence[Step], on_end: Callable[[StepOutcome], None]) -> None:
        """Begin with all steps waiting.

        Args:
            steps: In an order in which each comes after those that it needs and follows.
            on_end: Called as each step ends.
        """
        self.ended: dict[str, StepOutcome] = {}
        self._steps, self._on_end = tuple(steps), on_end
        self._running: set[str] = set()

    def ready(self) -> Step | None:
        """Give the first step that can run now; those that no longer can are skipped on the way."""
        for step in self._steps:
            if step.name in self.ended or step.name in self._running:
                continue
            if not {*step.needs, *step.follows} <= set(self.ended):
                continue
            lacking = tuple(name for name in step.needs if self.ended[name].state != DONE)
            nothing = step.name == REPORT and not any(one.state == DONE for one in self.ended.values())
            if not lacking and not nothing:
                return step
            self.end(StepOutcome(step.name, step.command, SKIPPED, because=lacking or tuple(self.ended)))
        return None

    def begin(self, step: Step) -> None:
        """Take a step as running."""
        self._running.add(step.name)

    def end(self, outcome: StepOutcome) -> None:
        """Take a step as ended."""
        self._running.discard(outcome.name)
        self.ended[outcome.name] = outcome
        self._on_end(outcome)

    def outcomes(self) -> list[StepOutcome]:
        """List the outcomes in the order of the steps."""
        return [self.ended[step.name] for step in self._steps if step.name in self.ended]
