"""Names and keys of what a store holds: what may be one at all.

A key may come from a stranger's record, so nothing is opened, made or removed before `check_key` has seen it.
"""

from __future__ import annotations

import re

from cvbench.errors import IntegrityError, UsageError

LEDGER = "ledger"
REPAIR = "`store repair` with the same --store forgets what is damaged; the same `extract` makes it again"
"""The way back from damage, for error messages."""


MAX_SOURCE = 8_192
"""Characters of what a store says of where images were."""

RESERVED = {LEDGER, "results", "partials", "samples"}
NAME = r"[A-Za-z0-9][A-Za-z0-9._@=+-]{0,199}"
_NAME = re.compile(NAME)
_KEY = re.compile(r"(?!(?:.*/)?\.{0,2}(?:/|$))[^\\\x00-\x1f\x7f]{1,4000}")


def check_name(kind: str, name: str) -> str:
    """`name` if it is a safe path segment, so that no name leaves the store or hides another.

    Raises:
        UsageError: Empty, reserved, too long, or with characters outside `A-Za-z0-9._@=+-`.
    """
    if not is_name(name):
        raise UsageError(f"{name!r} cannot be the name of a {kind}", why="allowed: letters, digits and ._@=+-")
    return name


def is_name(name: str) -> bool:
    """Whether `check_name` accepts it: what lies under another name is not ours."""
    return _NAME.fullmatch(name) is not None and name not in RESERVED and name != "zarr.json"


def check_key(key: str) -> str:
    """`key` if it is relative and normal: no empty, `.` or `..` part, no backslash, no control character.

    Raises:
        IntegrityError: Anything else: such a key could name something outside the store.
    """
    if not _KEY.fullmatch(key):
        raise IntegrityError(
            "a key that could lead out of the store is refused",
            where=repr(key[:200]),
            why="keys are relative, with no empty, '.' or '..' part, no backslash and no control character",
        )
    return key
