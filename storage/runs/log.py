"""One run's log: events as JSON lines in objects that are made once, at most so many; and its reading.

    ledger/_runs/20261129T013000-3f9a1c2b/0000.jsonl      one event a line: {"t": 12.5, "event": "unit", ...}

The ledger's own node is an array without elements, so what walks a Zarr hierarchy passes the logs by. A data set cannot
be called `_runs`. A log is untrusted when read, as all of a store is: bounded, and a line that is no event is left out.
"""

from __future__ import annotations

import datetime
import json
import re
import time
import uuid
from collections.abc import Iterator, Mapping
from typing import Any

from cvbench.errors import CvbenchError
from cvbench.storage.objects import writers
from cvbench.storage.objects.base import Objects
from cvbench.storage.objects.keys import LEDGER

RUNS = f"{LEDGER}/_runs"
MOST_SEGMENTS, MOST_BYTES = 64, 1 << 18
"""Segments of one run, and bytes of each: 16 MiB a run."""
RESERVED = 4
"""Segments kept for what is not a unit: failures and the end."""
MOST_RUNS = 100
"""Runs whose logs a store keeps; a new one removes the oldest."""
FLUSH = 60.0
"""Seconds after which events that are held are written: what a killed driver loses."""
_KEY = re.compile(rf"{RUNS}/(\d{{8}}T\d{{6}}-[0-9a-f]{{8}})/(\d{{4}})\.jsonl")
_SECRETS = re.compile(
    r"(?i)\b(A(?:KIA|SIA)[0-9A-Z]{16}|hf_[A-Za-z0-9]{16,}"
    r"|(?<=://)[^/\s:@]+:[^/\s@]+(?=@)"
    r"|(?:[\w-]*(?:token|secret|password|passwd|credential|signature|access_?key)[\w-]*[\"']?\s*[=:]\s*)[\"']?[^\s\"',;&]+)"
)


def is_log(key: str) -> bool:
    """Whether a key is that of a segment of a log."""
    return _KEY.fullmatch(key) is not None


def without_secrets(text: str) -> str:
    """A text of others, such as a worker's log, without what looks like a secret.

    >>> without_secrets("s3 failed: AWS_SECRET_ACCESS_KEY=abc/def at s3://me:pw@bucket")
    's3 failed: *** at s3://***@bucket'
    """
    return _SECRETS.sub("***", text)


class RunLog:
    """Writes the log of one run. Nothing that goes wrong here ends the run; what is not written is counted."""

    def __init__(self, objects: Objects) -> None:
        now = datetime.datetime.now(datetime.UTC)
        # Names sort as the runs began, those of one second too; the last digits keep apart what began together.
        self.name = f"{now:%Y%m%dT%H%M%S}-{now.microsecond:05x}{uuid.uuid4().hex[:3]}"
        self.left_out = 0
        self._objects = objects
        self._begin = self._flushed = time.monotonic()
        self._lines: list[bytes] = []
        self._size = self._segments = 0
        self._tidy()

    def begin(self) -> None:
        """Say at once that a run is under way, and whose: see `under_way`."""
        self.add("begun", {"writer": writers.mark()})
        self.flush()

    def add(self, event: str, fields: Mapping[str, Any], *, matters: bool = True) -> None:
        """Add an event; one that does not matter may be left out once the log is nearly full."""
        seconds = round(time.monotonic() - self._begin, 3)
        line = json.dumps({"t": seconds, "event": event, **_clean(fields)}).encode() + b"\n"
        if len(line) > MOST_BYTES:
            self.left_out += 1
            return
        if self._size + len(line) > MOST_BYTES:
            self.flush()
        if self._segments >= MOST_SEGMENTS - (0 if matters else RESERVED):
            self.left_out += 1
            return
        self._lines.append(line)
        self._size += len(line)
        if time.monotonic() - self._flushed > FLUSH:
            self.flush()

    def flush(self) -> None:
        """Write what is held."""
        self._flushed = time.monotonic()
        if not self._lines or self._segments >= MOST_SEGMENTS:
            self.left_out += len(self._lines)
        else:
            try:
                self._objects.create(f"{RUNS}/{self.name}/{self._segments:04d}.jsonl", b"".join(self._lines))
                self._segments += 1
            except CvbenchError:  # a full disk, a store to read only: the run itself says so, or need not
                self.left_out += len(self._lines)
        self._lines, self._size = [], 0

    def _tidy(self) -> None:
        """Remove the oldest logs, but for as many as a store keeps."""
        try:
            kept = runs(self._objects)
            for name in list(kept)[: max(0, len(kept) - MOST_RUNS + 1)]:
                for key in kept[name]:
                    self._objects.delete(key)
        except CvbenchError:
            return


def _clean(value: Any) -> Any:
    """A value without secrets in its texts."""
    if isinstance(value, str):
        return without_secrets(value)
    if isinstance(value, Mapping):
        return {key: _clean(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [_clean(one) for one in value]
    return value


def runs(objects: Objects) -> dict[str, list[str]]:
    """Name of each run -> keys of its segments, oldest first."""
    found: dict[str, list[str]] = {}
    for key in sorted(objects.list(f"{RUNS}/")):
        match = _KEY.fullmatch(key)
        if match is not None and int(match[2]) < MOST_SEGMENTS:
            found.setdefault(match[1], []).append(key)
    return found


def events(objects: Objects, keys: list[str]) -> Iterator[dict[str, Any]]:
    """The events of a run, in order.

    Raises:
        IntegrityError: A segment is larger than any that was written.
    """
    for key in keys[:MOST_SEGMENTS]:
        for line in (objects.take(key, MOST_BYTES) or b"").splitlines():
            try:
                event = json.loads(line)
            except (ValueError, RecursionError):
                continue
            if isinstance(event, dict) and isinstance(event.get("event"), str):
                yield event
