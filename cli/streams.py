"""What becomes of output that nobody takes: a reader that left (`| head`), a full disk (`> FILE`), a closed stream.

The work goes on, and its end decides the exit code: what was computed is in the store, or reported as an error. Only
where all went well does output that a disk did not take count, as the error that it is.
"""

from __future__ import annotations

import io
import os
import sys
from typing import Any

from cvbench.errors import ResourceError


class _Stream(io.TextIOWrapper):
    """A standard stream over the same buffer. Once it cannot be written to, it leads nowhere.

    Attributes:
        error: Why it could not be written to.
    """

    def __init__(self, stream: Any) -> None:
        names = ("encoding", "errors", "line_buffering", "write_through")
        super().__init__(stream.buffer, **{name: getattr(stream, name) for name in names})
        self.error: OSError | None = None
        self._before = stream  # it would close the buffer with its own end

    def write(self, text: str) -> int:
        try:
            return super().write(text)
        except OSError as error:
            self._lose(error)
            return len(text)

    def flush(self) -> None:
        try:
            super().flush()
        except OSError as error:
            self._lose(error)

    def _lose(self, error: OSError) -> None:
        self.error = self.error or error
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, self.fileno())
        os.close(nowhere)


def guard() -> None:
    """Guard this process's standard streams; those that are no files (a test's) stay as they are."""
    for name in ("stdout", "stderr"):
        stream: Any = getattr(sys, name)
        if stream is None:  # closed by who started us
            setattr(sys, name, open(os.devnull, "w"))  # noqa: SIM115 - until the process ends
        elif hasattr(stream, "buffer") and _has_descriptor(stream):
            stream.flush()
            setattr(sys, name, _Stream(stream))


def check() -> None:
    """Flush the output, and say if a part of it could not be written although its reader was there.

    Raises:
        ResourceError: The disk is full, say.
    """
    if sys.stdout is not None:
        sys.stdout.flush()
    error = getattr(sys.stdout, "error", None)
    if error is not None and not isinstance(error, BrokenPipeError):
        raise ResourceError(
            "the output cannot be written",
            where="standard output",
            why=error.strerror or str(error),
            fix="make room, or send it elsewhere; what was computed is kept",
        )


def _has_descriptor(stream: Any) -> bool:
    try:
        stream.fileno()
    except (OSError, ValueError):
        return False
    return True
