"""The local disk as a store meets it, failing at a chosen call: for commands as a user types them."""

from __future__ import annotations

import errno
import functools
import os
from collections.abc import Callable
from typing import Any

import pytest

from cvbench.errors import ResourceError
from cvbench.storage.objects import folders
from cvbench.storage.objects.local import LocalObjects

READS = ("get", "take", "part", "size", "survey", "blake3", "reading")
WRITES = ("create", "delete", "settle")


class Killed(BaseException):
    """The process ended here: nothing may catch it and go on."""


class FaultyDisk:
    """Counts the calls of every `LocalObjects`; from the `fail_at`-th on, or at it alone, they fail.

    Attributes:
        kind: "read" (any call, once), "full" (every write from there on), "killed" (once, after it took effect), "sync"
            (of the fsyncs of folders, which alone are counted then, one, as the system says it).
    """

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.calls = self.failed = 0
        self.fail_at, self.kind = 0, "read"
        for name in (*READS, *WRITES):
            monkeypatch.setattr(LocalObjects, name, self._counted(name, getattr(LocalObjects, name)))
        monkeypatch.setattr(folders, "sync", self._sync(folders.sync))

    def fail(self, call: int, kind: str) -> None:
        """Fail at this call from now; 0 for none."""
        self.calls = self.failed = 0
        self.fail_at, self.kind = call, kind

    def _sync(self, sync: Callable[[int], None]) -> Callable[[int], None]:
        def counted(at: int) -> None:
            self.calls += self.kind == "sync"
            if self.kind == "sync" and self.calls == self.fail_at:
                self.failed += 1
                code = (errno.EIO, errno.ENOSPC)[self.calls % 2]
                raise OSError(code, os.strerror(code))
            sync(at)

        return counted

    def _counted(self, name: str, method: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(method)
        def counted(place: LocalObjects, *given: Any, **named: Any) -> Any:
            self.calls += self.kind != "sync"
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
