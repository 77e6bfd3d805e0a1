"""What `cvbench runs` reads from the logs of a store: which runs there were, how fast they were, and what failed."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from cvbench.errors import UnknownNameError
from cvbench.hints import command
from cvbench.storage.features import FeatureStore
from cvbench.storage.runs.log import events, runs

STAGES = ("decode_wait", "device", "write_wait", "commit")


@dataclass(frozen=True)
class Failure:
    """Something that failed in a run, and the last lines that its process wrote."""

    seconds: float
    what: str
    node: str
    process: int
    units: int
    lines: tuple[str, ...]


@dataclass(frozen=True)
class Run:
    """One run as its log has it.

    Attributes:
        name: It begins with the day and time of its beginning, in UTC.
        outcome: "done", "failed", "interrupted", or "no end" of one that was killed or still runs.
        seconds: Until the last event.
        stages: Seconds of its units by stage, all actors together.
        redone: Units that went back or were given out again.
        left_out: Events that the log had no room for.
    """

    name: str
    job: str = ""
    title: str = ""
    place: str = ""
    device: str = ""
    outcome: str = "no end"
    error: str = ""
    seconds: float = 0.0
    total: int = 0
    skipped: int = 0
    units: int = 0
    samples: int = 0
    bad: int = 0
    redone: int = 0
    left_out: int = 0
    stages: Mapping[str, float] = field(default_factory=dict)
    versions: Mapping[str, str] = field(default_factory=dict)
    failures: tuple[Failure, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def samples_per_second(self) -> float:
        """Samples a second of the whole run, with its start."""
        return self.samples / self.seconds if self.seconds else 0.0

    @property
    def idle(self) -> float | None:
        """Share of the time of its units in which the device waited, for images or for the writer; None if unknown."""
        busy, waited = self.stages.get("device", 0.0), sum(self.stages.get(name, 0.0) for name in STAGES[::2])
        return waited / (busy + waited) if busy + waited > 0 else None


def list_runs(url: str) -> list[Run]:
    """All runs whose logs are kept, the latest first.

    Raises:
        DataUnavailableError: There is no store.
    """
    objects = FeatureStore.open(url).objects
    return [read_run(name, events(objects, keys)) for name, keys in reversed(runs(objects).items())]


def find_run(url: str, name: str | None) -> Run:
    """A run by the beginning of its name; the latest if none is given.

    Raises:
        UnknownNameError: There is none, or several.
    """
    objects = FeatureStore.open(url).objects
    known = runs(objects)
    found = [one for one in known if name is None or one.startswith(name) or one.partition("-")[2].startswith(name)]
    if not found or (name is not None and len(found) > 1):
        raise UnknownNameError.among("run", name or "", list(known), fix=command("runs ls", store=url))
    return read_run(found[-1], events(objects, known[found[-1]]))


def read_run(name: str, told: Iterable[Mapping[str, Any]]) -> Run:
    """Sum up a log. What has not the type that it should have counts as nothing: a log is no more than said."""
    values: dict[str, Any] = {"name": name}
    stages: dict[str, float] = {}
    failures, notes = [], []
    counts: Counter[str] = Counter()
    for event in told:
        kind, at = event["event"], _number(event.get("t"))
        values["seconds"] = max(values.get("seconds", 0.0), at)
        if kind == "started":
            values |= {key: _text(event.get(key)) for key in ("job", "title", "place", "device")}
            values |= {key: int(_number(event.get(key))) for key in ("total", "units", "skipped")}
            values["versions"] = {str(k): _text(v) for k, v in _table(event.get("versions")).items()}
        elif kind == "unit":
            counts.update({key: int(_number(event.get(key))) for key in ("samples", "bad")})
            for stage, seconds in _table(event.get("seconds")).items():
                stages[str(stage)] = stages.get(str(stage), 0.0) + _number(seconds)
        elif kind in ("failure", "repeated"):
            counts["redone"] += int(_number(event.get("units")))
            if kind == "failure":
                failures.append(_failure(event, at))
        elif kind == "note":
            notes.append(_text(event.get("text")))
        elif kind == "ended":
            values |= {"outcome": _text(event.get("outcome")), "error": _text(_table(event.get("error")).get("what"))}
            values["left_out"] = int(_number(event.get("left_out")))
    values |= {**counts, "stages": dict(stages), "failures": tuple(failures), "notes": tuple(notes)}
    return Run(**values)


def _failure(event: Mapping[str, Any], at: float) -> Failure:
    lines = event.get("lines")
    return Failure(
        at,
        _text(event.get("what")),
        _text(event.get("node")),
        int(_number(event.get("process"))),
        int(_number(event.get("units"))),
        tuple(map(_text, lines)) if isinstance(lines, list) else (),
    )


def _number(value: Any) -> float:
    good = isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value < 1e15
    return float(value) if good and math.isfinite(value) else 0.0


def _text(value: Any) -> str:
    return value[:2000] if isinstance(value, str) else ""


def _table(value: Any) -> Mapping[Any, Any]:
    return value if isinstance(value, dict) else {}
