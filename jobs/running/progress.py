"""What a running job tells whoever listens. Jobs never print; the command line decides how this looks."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Started:
    """A job knows its work: `total` samples in `units` units, of which `skipped` samples were there already."""

    job: str
    title: str
    total: int
    units: int
    skipped: int


@dataclass(frozen=True)
class Advanced:
    """A unit is done."""

    job: str
    unit: int
    samples: int
    bad: int = 0
    seconds: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Ended:
    """The job is over."""

    job: str


@dataclass(frozen=True)
class Note:
    """Something a person should read."""

    text: str


@dataclass(frozen=True)
class Failed:
    """An actor was lost, or a task of one failed; `units` go back to be computed again.

    Attributes:
        what: What is known of it.
        node, process: Where it was; "" and 0 if it never said.
        lines: The last that it wrote.
    """

    what: str
    units: int
    node: str = ""
    process: int = 0
    lines: tuple[str, ...] = ()


@dataclass(frozen=True)
class Repeated:
    """So many units are given to a second actor as well: they are overdue."""

    units: int


Event = Started | Advanced | Ended | Note | Failed | Repeated


Listener = Callable[[Event], None]
"""Receives events, in order, in the driver's thread."""


def silent(event: Event) -> None:
    """A listener that ignores everything."""
