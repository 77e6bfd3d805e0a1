"""How an error is said on stderr: lines for a person or, with `--format json`, one JSON document in one line.

Standard output has results only. There too the document goes to stderr, among the lines of progress, and last of all.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from itertools import pairwise

from cvbench.cli.say import say
from cvbench.errors import CvbenchError


def wants_json(words: Sequence[str]) -> bool:
    """Whether a command line asks for JSON; looked at before it is parsed, which may be what fails.

    >>> wants_json(["store", "info", "--format", "json"]), wants_json(["run", "--format=json"]), wants_json(["json"])
    (True, True, False)
    >>> wants_json([])
    False
    """
    pairs = pairwise([*words, ""])
    return any(word == "--format=json" or (word, after) == ("--format", "json") for word, after in pairs)


def complain(error: CvbenchError, exit_code: int, *, as_json: bool, trace: str = "") -> None:
    """Say what went wrong, with the traceback if there is one to be shown."""
    if as_json:
        _say_document(error.as_dict(), exit_code, trace)
        return
    if trace:
        say(trace, err=True)
    complain_text(str(error))


def interrupted(text: str, exit_code: int, *, as_json: bool) -> None:
    """Say that the work was interrupted, and how it goes on."""
    if as_json:
        _say_document({**CvbenchError(text).as_dict(), "code": "interrupted"}, exit_code, "")
    else:
        complain_text(text)


def complain_text(text: str) -> None:
    """Print lines of an error, those behind the first indented."""
    first, *rest = text.split("\n")
    say("\n".join([f"cvbench: {first}", *(f"  {line}" for line in rest)]), err=True)


def _say_document(fields: Mapping[str, object], exit_code: int, trace: str) -> None:
    document = {"schema_version": 1, "event": "error", **fields, "exit_code": exit_code}
    say(json.dumps(document | ({"traceback": trace} if trace else {})), err=True)
