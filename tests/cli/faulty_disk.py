"""The local disk as a store meets it, failing at a chosen call: for commands as a user types them."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import pytest

from cvbench.errors import ResourceError
from cvbench.storage.objects.local import LocalObjects

READS = ("get", "take", "part", "size", "survey", "blake3", "reading")
WRITES = ("create", "delete", "settle")


class Killed(BaseException):
    """The process ended here: nothing may catch it and go on."""


class FaultyDisk:
    """Counts the calls of every `LocalObjects`; from the `fail_at`-th on, or at it alone, they fail.

    Attributes:
        kind: "read" (any call, once), "full" (every write from there on), "killed" (once, after it took effect).
    """

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.calls = self.failed = 0
        self.fail_at, self.kind = 0, "read"
        for name in (*READS, *WRITES):
            monkeypatch.setattr(LocalObjects, name, self._counted(name, getattr(LocalObjects, name)))

    def fail(self, call: int, kind: str) -> None:
        """Fail at this call from now; 0 for none."""
        self.calls = self.failed = 0
        self.fail_at, self.kind = call, kind

    def _counted(self, name: str, method: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(method)
        def counted(place: LocalObjects, *given: Any, **named: Any) -> Any:
            self.calls += 1
            at, beyond = self.calls == self.fail_at, 0 < self.fail_at <= self.calls
            if (self.kind == "read" and at) or (self.kind == "full" and beyond and name == "create"):
                self.failed += 1
                what = "no space left for an object of the store" if self.kind == "full" else "cannot read an object"
                raise ResourceError(what, where=str(given[:1]), fix="run the same command again: it resumes")
            done = method(place, *given, **named)
            if self.kind == "killed" and at:
                self.failed += 1
                raise Killed
            return done

        return counted
