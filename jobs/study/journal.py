"""What failed last, beside the report: for a person to look up. What is done is told by the store alone."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from cvbench.errors import CvbenchError
from cvbench.jobs.figures.base import write_whole

FILE = "failures.json"


class Journal:
    """The last failure of each step, by its command; a file only while there is one."""

    def __init__(self, folder: str) -> None:
        self._path = Path(folder).expanduser() / FILE

    def read(self) -> dict[str, dict[str, Any]]:
        """Command -> the fields of its last error, of all that failed; of a file that is damaged nothing."""
        try:
            found = json.loads(self._path.read_text(encoding="utf-8"))
        except (OSError, ValueError, RecursionError):
            return {}
        is_ours = isinstance(found, dict) and all(map(_is_error, found.values()))
        return found if is_ours else {}

    def note(self, command: str, error: Mapping[str, Any]) -> None:
        """Keep the fields of an error; or forget what failed before, where they are empty.

        Raises:
            ResourceError: The file cannot be written.
        """
        found = self.read()
        if error:
            self._write({**found, command: error})
        elif found.pop(command, None) is not None:
            self._write(found)

    def _write(self, found: Mapping[str, Any]) -> None:
        if not found:
            self._path.unlink(missing_ok=True)
            return
        self._path.parent.mkdir(parents=True, exist_ok=True)
        text = json.dumps(found, indent=1, ensure_ascii=False, sort_keys=True)
        write_whole(self._path, text.encode(errors="backslashreplace"))


def _is_error(fields: object) -> bool:
    """Whether it is what `described` gives, whoever wrote it."""
    if not isinstance(fields, dict):
        return False
    texts = (fields.get(name) for name in ("code", "what", "where", "why", "fix"))
    return isinstance(fields.get("did_you_mean", []), list) and all(isinstance(one, str | None) for one in texts)


def described(error: Exception) -> dict[str, Any]:
    """The fields of an error; of one that nobody raised on purpose, its kind."""
    if isinstance(error, CvbenchError):
        return error.as_dict()
    text = " ".join(str(error).split())[:500]
    return {
        "code": "bug",
        "what": f"{type(error).__name__}: {text}",
        "where": _where(error),
        "why": "an error that cvbench does not expect",
        "fix": "the command below with `cvbench -v`, and report what it prints",
        "did_you_mean": [],
    }


def _where(error: Exception) -> str | None:
    import traceback

    frames = traceback.extract_tb(error.__traceback__)
    return f"{Path(frames[-1].filename).name}:{frames[-1].lineno}" if frames else None
