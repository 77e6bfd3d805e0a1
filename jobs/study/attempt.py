"""One attempt at a step of a study."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from cvbench.errors import lacking
from cvbench.jobs.running.progress import Listener, silent
from cvbench.jobs.study.journal import described
from cvbench.jobs.study.steps import Step


@contextmanager
def no_listener() -> Iterator[Listener]:
    """Give a listener that ignores everything."""
    yield silent


def attempt(step: Step, listen: Listener) -> tuple[tuple[str, ...], dict[str, Any]]:
    """Run a step; what it has left, and the fields of its error: empty unless it failed.

    Raises:
        KeyboardInterrupt: It was interrupted; or an error that an interrupt is the cause of.
    """
    try:
        return tuple(step.run(listen)), {}
    except Exception as error:  # of any kind, a plugin's too: the other branches go on
        if _is_interrupt(error):
            raise
        return (), described(lacking(error) or error)


def _is_interrupt(error: BaseException) -> bool:
    """Whether it came while an interrupt unwound the step: what tidies up can fail for it."""
    seen: BaseException | None = error
    while seen is not None:
        if isinstance(seen, KeyboardInterrupt):
            return True
        seen = seen.__cause__ or seen.__context__
    return False
