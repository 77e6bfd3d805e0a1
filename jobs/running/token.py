"""Ray's token: whoever reads it can run code as us, and Ray writes it for all users of the machine to read."""

from __future__ import annotations

import os
import secrets
import stat
import tempfile
from contextlib import suppress
from pathlib import Path


def token_file() -> Path | None:
    """The file that Ray reads its token from; None where it has it from the environment, or wants none."""
    if os.environ.get("RAY_AUTH_MODE", "token").lower() != "token" or os.environ.get("RAY_AUTH_TOKEN"):
        return None
    named = os.environ.get("RAY_AUTH_TOKEN_PATH")
    return Path(named) if named else Path.home() / ".ray" / "auth_token"


def is_open(path: Path) -> bool:
    """Whether others than its owner may read a file."""
    try:
        return bool(path.stat().st_mode & (stat.S_IRWXG | stat.S_IRWXO))
    except OSError:
        return False


def own_token() -> None:
    """Before a private Ray starts: make its token, if there is none, for its owner alone; close one that is open.

    A token that a variable names is its owner's business. What cannot be written Ray itself will complain of.
    """
    path = token_file()
    if path is None or os.environ.get("RAY_AUTH_TOKEN_PATH"):
        return
    with suppress(OSError):
        if is_open(path) and path.stat().st_uid == os.geteuid():
            path.chmod(0o600)
        if not path.exists():
            _make(path)


def _make(path: Path) -> None:
    """Write it whole or not at all: another run may start at the same time."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    descriptor, name = tempfile.mkstemp(dir=path.parent)  # which nobody else can read
    try:
        with os.fdopen(descriptor, "w") as file:
            file.write(secrets.token_hex(32))
        with suppress(FileExistsError):
            os.link(name, path)
    finally:
        os.unlink(name)
