"""The objects that a path or URL means."""

from __future__ import annotations

from pathlib import Path

from cvbench.errors import UsageError
from cvbench.storage.objects.base import Objects
from cvbench.storage.objects.local import LocalObjects
from cvbench.storage.objects.memory import MemoryObjects
from cvbench.storage.objects.remote import REMOTE_SCHEMES, RemoteObjects


def open_objects(url: str | Path) -> Objects:
    """The objects at a path (`./x.zarr`, `file:///...`), in memory (`memory://NAME`) or at `s3://bucket/prefix` etc.

    Raises:
        UsageError: A URL whose scheme is not known.
    """
    text = str(url)
    scheme, separator, rest = text.partition("://")
    if not separator:
        return LocalObjects(Path(text).expanduser())
    if scheme == "file":
        return LocalObjects(rest)
    if scheme == "memory":
        return MemoryObjects(rest)
    if scheme in REMOTE_SCHEMES:
        return RemoteObjects(text)
    raise UsageError(f"unknown kind of store {scheme}://", where=text, fix="use a path, s3://, gs:// or az://")
